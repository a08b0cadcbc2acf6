-- Measures everything, and prints it as Markdown: `make bench`, `make bench-quick`. A full run also
-- writes RESULTS.md and the plot. Nothing here fails because something is slow.
--
--   lua5.4 bench/run.lua full|quick|check

package.path = package.path .. ";spec/?.lua"

local machine = require "bench.machine"
local counted = require "bench.counted"
local delays = require "bench.delays"
local others = require "bench.others"
local overshoot = require "bench.overshoot"
local plan = require "bench.plan"
local report = require "bench.report"
local rounds = require "bench.rounds"
local server = require "bench.server"
local watched = require "bench.watched"

-- scale: of each row's count; sizes: of watches; seconds: that one is looked at; pace: to the
-- tasks' real one; tries: of each time limit.
local MODES = {
  full = { rounds = 6, scale = 1, sizes = { 1, 10, 100, 1000, 10000, 100000 }, seconds = 3,
    pace = 1, tries = 20 },
  quick = { rounds = 2, scale = 0.15, sizes = { 1, 10, 100, 1000, 10000 }, seconds = 1,
    pace = 0.2, tries = 3 },
  -- does everything run? The numbers mean nothing
  check = { rounds = 1, scale = 0.001, sizes = { 1, 10, 100 }, seconds = 0.2, pace = 0.05,
    tries = 1, counted = { "receive" } },
}

local BUSY = 0.7 -- load average of the last minute
local COUNTED = {
  "receive", "plain_c", "core", "fetch", "plain_c_16", "core_16", "fetch_16",
  "floor_seed", "core_seed",
}
local OTHERS = 0.05 -- of our cores: more of that is too much
local RESULTS, PLOT = "bench/RESULTS.md", "bench/growth.svg"
local DATA = machine.build .. "/bench/growth.dat"

local function tell(line)
  io.stderr:write(os.date "%H:%M:%S ", line, "\n")
end

local function load_average()
  return machine.read "/proc/loadavg":match "^%S+ %S+ %S+"
end

-- Times of a busy machine are nobody's times.
local function warning(load)
  if tonumber(load:match "%S+") < BUSY then return "" end
  return "\n**The machine was busy when this began: the times below say little.**\n"
end

-- What is measured: the version, and the commit where this is a checkout of its own.
local function version()
  local commit = machine.output(
    "git ls-files --error-unmatch bench/run.lua >/dev/null && git describe --always --dirty")
  return ("mjtask %s, %s"):format(require "mjtask"._VERSION,
    commit and "commit " .. commit:match "%S+" or "unknown commit")
end

local function heading(name, mode, started, before)
  return table.concat({
    "# Results\n",
    ("A %s run of %s: %d rounds, %d s in all."):format(name,
      os.date("!%Y-%m-%d %H:%M UTC", started), mode.rounds, os.time() - started),
    "How each figure comes about is in the [README](README.md).\n",
    "- " .. version(),
    "- " .. machine.name(),
    "- " .. table.concat(machine.versions(), ", "),
    ("- load average before and after: %s; %s"):format(before, load_average()),
    warning(before),
  }, "\n")
end

-- What a section gives, or { missing, failed }: one that fails takes nothing from the others. But
-- Ctrl-C is an error, too, and ends all.
local function attempt(name, section, ...)
  local ok, result = pcall(section, ...)
  if ok then return result end
  local why = tostring(result)
  if why:find "interrupted!$" then error(why, 0) end -- lua5.4's own word
  tell(("%s failed: %s"):format(name, why))
  return { missing = "it failed", failed = true }
end

-- Draws how costs grow.
local function plot(growth)
  if not machine.version "gnuplot" then return { missing = "gnuplot is not installed" } end
  if growth.missing then return growth end
  do
    local file <close> = assert(io.open(DATA, "w"))
    for _, row in ipairs(growth) do
      if not row.missing then
        file:write(("%d %.3f %.1f %.1f\n"):format(row.tasks, row.cpu * 1e6, row.rss, row.heap))
      end
    end
  end
  local output, why = machine.output(("gnuplot -e \"data='%s'; svg='%s'\" bench/growth.gp")
    :format(DATA, PLOT))
  if not output then error(why, 0) end
  return { text = "![CPU of a look and memory of a task, by the number of tasks](growth.svg)\n" }
end

-- All groups, in the results' order: clients, the watch, decoders.
local function groups_of(s, facts)
  local groups, decoders = plan.clients(s), plan.decoders(s)
  groups[#groups + 1] = watched.group(s, facts)
  return table.move(decoders, 1, #decoders, #groups + 1, groups)
end

-- The groups that the rounds run, and their results with all the others.
local function measure(s, mode)
  local facts = {}
  local groups = groups_of(s, facts)
  return groups, {
    facts = facts,
    costs = rounds.run(groups, mode.rounds, mode.scale, tell),
    counted = attempt("counting", counted.rows, groups, mode.counted or COUNTED, tell),
    growth = attempt("growth", watched.growth, s, mode.sizes, mode.seconds, tell),
    quiet = attempt("the pause", watched.quiet, s, 1000),
  }
end

-- This process and what it starts keep away from the clients' core.
local function step_aside()
  local pipe <close> = assert(io.popen "echo $PPID")
  machine.pin_server(tonumber(pipe:read "l"))
end

-- Rows of which a run failed, and the next did not, by name; nil: none.
local function repeated_of(all)
  local list = {}
  for key, cost in pairs(all.costs) do
    if cost.again and not cost.failed then list[#list + 1] = key end
  end
  table.sort(list)
  return #list > 0 and table.concat(list, ", ") or nil
end

-- What did not do what it should, by name; nil: nothing.
local function failed_of(all)
  local list = {}
  for key, cost in pairs(all.costs) do
    if cost.failed then list[#list + 1] = key end
  end
  for _, row in ipairs(all.growth) do
    if row.failed then list[#list + 1] = row.tasks .. " tasks watched" end
  end
  for _, section in ipairs { "counted", "growth", "quiet", "delays", "overshoot", "plot" } do
    if all[section].failed then list[#list + 1] = section end
  end
  table.sort(list)
  return #list > 0 and table.concat(list, ", ") or nil
end

-- What is to be known before the figures are: `share` of our cores was others'.
local function caution(share, repeated, failed)
  local lines = {}
  if share > OTHERS then
    lines[1] = ("**Others used %.0f %% of our cores meanwhile: the times below say little.**\n")
      :format(share * 100)
  end
  if repeated then
    lines[#lines + 1] = "**Run again after a failure: " .. repeated .. ".**\n"
  end
  if failed then lines[#lines + 1] = "**Not everything ran: " .. failed .. " failed.**\n" end
  return #lines > 0 and "\n" .. table.concat(lines, "\n") or ""
end

-- Everything, as a text; what is to be known before it; and what failed.
local function run(name, mode)
  local started, before, watch = os.time(), load_average(), others.watch()
  local groups, all
  do
    local s <close> = server.start()
    groups, all = measure(s, mode)
  end
  tell "waiting for tasks"
  all.delays = attempt("waiting", delays.run, mode.pace)
  tell "running into time limits"
  all.overshoot = attempt("time limits", overshoot.run, mode.tries)
  all.plot = name == "full" and attempt("plot", plot, all.growth) or {}
  local failed = failed_of(all)
  local before_all = caution(watch(), repeated_of(all), failed)
  return report.write(heading(name, mode, started, before) .. before_all, groups, all, {
    lua_part = plan.lua_part, choices = plan.choices,
    plot = all.plot.missing and ("Plot: not run: %s.\n"):format(all.plot.missing) or all.plot.text,
    delays = delays.describe(mode.pace), overshoot = overshoot.describe(mode.tries),
  }), before_all, failed
end

local name = arg[1] or "quick"
local mode = MODES[name] or error("full, quick or check, not " .. name, 0)
local missing = server.missing()
  or not machine.version "lua-cjson" and "lua-cjson is not installed"
  or machine.read "/proc/self/schedstat" == "" and "this kernel keeps no /proc/self/schedstat"
if missing then
  io.stderr:write("not run: ", missing, "; see make bench-deps\n")
  os.exit(1)
end

step_aside()
local text, before_all, failed = run(name, mode)
if name == "full" then
  local file <close> = assert(io.open(RESULTS, "w"))
  assert(file:write(text))
  io.stderr:write(RESULTS, " is written.\n", before_all)
end
if name == "check" then
  for what in text:gmatch "\n| ([^|]* | not run: [^|]*)" do print(what) end
else
  io.write(text)
end
if failed then error("not everything ran: " .. failed .. " failed", 0) end
if name == "check" then print "bench-check: all the rest ran" end
