-- Results as Markdown. Knows their shape; measures nothing and judges nothing by itself.

local counted = require "bench.counted"
local rounds = require "bench.rounds"
local targets = require "bench.targets"

local report = {}

local MICRO = 1e6
local PAGED = 10000 -- tasks: of fewer, pages that were free before are most of what they take
local RESOLUTION = 0.9 -- rows that are closer cannot be told apart on a machine as ours

local function rule(columns)
  local cells = {}
  for n = 1, columns do cells[n] = n == 1 and "---" or "---:" end
  return "|" .. table.concat(cells, "|") .. "|"
end

-- A table: heads and rows of cells.
local function grid(heads, rows)
  local lines = { "| " .. table.concat(heads, " | ") .. " |", rule(#heads) }
  for _, cells in ipairs(rows) do lines[#lines + 1] = "| " .. table.concat(cells, " | ") .. " |" end
  return table.concat(lines, "\n") .. "\n"
end

-- Microseconds, with as many digits as are worth it.
local function micro(seconds)
  local value = seconds * MICRO
  return (value < 10 and "%.2f" or value < 100 and "%.1f" or "%.0f"):format(value)
end

local function span(list)
  local least, most = rounds.range(list)
  return micro(least) .. " … " .. micro(most)
end

local function thousands(number)
  local text = ("%d"):format(number)
  local grouped = text:reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (grouped:gsub("^,", ""))
end

-- ---- parts --------------------------------------------------------------------------------------

-- Why targets are not reached; those with the same reason together.
local function reasons_of(list)
  local lines, by_reason = {}, {}
  for _, target in ipairs(list) do
    local whats = by_reason[target.why]
    if whats then
      whats[#whats + 1] = target.what
    elseif target.why then
      by_reason[target.why] = { target.what }
      lines[#lines + 1] = target.why
    end
  end
  for n, why in ipairs(lines) do
    lines[n] = ("- %s: %s.\n"):format(table.concat(by_reason[why], "; "), why)
  end
  return #lines > 0 and "\nWhy targets are not reached:\n\n" .. table.concat(lines) or ""
end

local function target_table(all)
  local rows, reached = {}, 0
  local list = targets.judge(all)
  for n, target in ipairs(list) do
    rows[n] = { target.what, "≤ " .. target.limit, target.value, target.verdict, target.least }
    if target.reached then reached = reached + 1 end
  end
  return ("%d of %d reached. Ratios are of CPU time in one round, of all rounds the median. \"At "
    .. "least\": if a fetch were only libcurl that decodes nothing, and our decoder.\n\n")
    :format(reached, #list)
    .. grid({ "target", "limit", "measured", "verdict", "at least" }, rows) .. reasons_of(list)
end

local function cost_row(group, row, costs)
  local cost = costs[row.key]
  local name = row.own and "**" .. row.name .. "**" or row.name
  if cost.missing then return { name, "not run: " .. cost.missing, "", "", "", "", "" } end
  local function against(what)
    local ratio = rounds.ratio(costs, row.key, group.anchor, what)
    return ratio and ("%.2f"):format(ratio) or "–"
  end
  return {
    name, micro(rounds.median(cost.cpu)), span(cost.cpu), against "cpu",
    micro(rounds.median(cost.wall)), span(cost.wall), against "wall",
  }
end

local function name_of(groups, key)
  for _, group in ipairs(groups) do
    for _, row in ipairs(group.rows) do
      if row.key == key then return row.name end
    end
  end
end

local function cost_table(groups, group, costs)
  local heads = { "", "CPU", "least … most", "CPU ratio", "wall", "least … most",
    "wall ratio" }
  local columns = group.timeless and 4 or #heads
  local rows = {}
  for n, row in ipairs(group.rows) do
    rows[n] = table.move(cost_row(group, row, costs), 1, columns, 1, {})
  end
  return ("Microseconds a %s; ratios to: %s.\n\n"):format(group.unit or "fetch",
    name_of(groups, group.anchor)) .. grid(table.move(heads, 1, columns, 1, {}), rows)
end

local function own_of(group, key)
  for _, row in ipairs(group.rows) do
    if row.own and (not key or row.key == key) then return row end
  end
end

-- Peers that took less than what they are beside: that row of ours, else the group's first.
local function better_in(group, costs, what, word, lines)
  local function middle(row)
    local list = costs[row.key][what]
    return list and rounds.median(list)
  end
  for _, row in ipairs(group.rows) do
    local own = not (row.own or row.floor or row.variant) and own_of(group, row.beside)
    local theirs, ours = own and middle(row), own and middle(own)
    if theirs and ours and theirs < ours then
      lines[#lines + 1] = ("- %s: **%s** took less %s than %s, %s against %s µs%s"):format(
        group.title, row.name, word, own.name, micro(theirs), micro(ours),
        theirs > RESOLUTION * ours and " (less than can be told apart)" or "")
    end
  end
end

local function sooner(all, lines)
  if all.delays.missing then return end
  local own = all.delays[1]
  for _, row in ipairs(all.delays) do
    if not row.name:find "^mjtask" and row.median < own.median then
      lines[#lines + 1] = ("- Time to the answer: **%s** knew sooner than %s, %.2f against "
        .. "%.2f s, for %.1f requests a task against %.1f"):format(row.name, own.name, row.median,
        own.median, row.requests, own.requests)
    end
  end
end

local function better(groups, all)
  local lines = {}
  for _, group in ipairs(groups) do
    better_in(group, all.costs, "cpu", "CPU", lines)
    if not group.timeless then better_in(group, all.costs, "wall", "time", lines) end
  end
  sooner(all, lines)
  if #lines == 0 then return "Nowhere in this run.\n" end
  return table.concat(lines, "\n") .. "\n"
end

-- CPU of pairs of rows: what, the key of the one, that of the other.
local function pair_table(heads, list, costs)
  local rows = {}
  for n, pair in ipairs(list) do
    local what, one, other = table.unpack(pair)
    local ratio = rounds.ratio(costs, one, other, "cpu")
    local function cpu(key)
      return costs[key] and costs[key].cpu and micro(rounds.median(costs[key].cpu)) or "not run"
    end
    rows[n] = { what, cpu(one), cpu(other), ratio and ("%.2f"):format(ratio) or "–" }
  end
  return "Microseconds of CPU, of rows above and below.\n\n" .. grid(heads, rows)
end

local function counted_table(groups, all)
  local rows = {}
  for _, group in ipairs(groups) do
    for _, row in ipairs(group.rows) do
      local count = all.counted[row.key]
      if count then
        rows[#rows + 1] = {
          row.own and "**" .. row.name .. "**" or row.name,
          count.instructions and thousands(math.floor(count.instructions))
            or "not run: " .. count.missing,
          count.calls and ("%.2f"):format(count.calls) or "–",
          count.names and next(count.names) and counted.list(count.names) or "–",
        }
      end
    end
  end
  return grid({ "one fetch, or document", "instructions, user space", "system calls", "which" },
    rows)
end

local function growth_table(all)
  local rows = {}
  for n, row in ipairs(all.growth) do
    local function bytes(what)
      return row.tasks < PAGED and "–" or ("%.0f"):format(row[what])
    end
    rows[n] = row.missing and { thousands(row.tasks), "not run: " .. row.missing } or {
      thousands(row.tasks), ("%.3g s"):format(row.interval), micro(row.cpu), thousands(row.looks),
      ("%d"):format(row.connections), ("%.0f"):format(row.heap), bytes "rss", bytes "peak",
    }
  end
  return grid({ "tasks", "a look every", "CPU of a look, µs", "looks seen", "connections in all",
    "Lua's heap, bytes a task", "memory, bytes a task", "at its peak" }, rows)
end

local function delay_table(all)
  local rows = {}
  for n, row in ipairs(all.delays) do
    rows[n] = {
      row.name, ("%.3g s"):format(row.interval), ("%.2f"):format(row.median),
      ("%.2f … %.2f"):format(row.least, row.most), ("%.1f"):format(row.requests),
    }
  end
  return grid({ "", "interval", "delay, s", "least … most", "requests a task" }, rows)
end

local function overshoot_table(all)
  local rows = {}
  for n, row in ipairs(all.overshoot) do
    rows[n] = row.missing and { row.name, "not run: " .. row.missing, "" }
      or { row.name, ("%.1f"):format(row.median),
        ("%.1f … %.1f"):format(row.least, row.most) }
  end
  return grid({ "limit", "over it, ms", "least … most" }, rows)
end

local function quiet_line(all)
  local quiet = all.quiet
  return ("Between their looks, in %g s: %.0f µs of CPU, %d wake-ups, %s system calls; looks that "
    .. "fell into it: %d.\n"):format(quiet.seconds, quiet.cpu * MICRO, quiet.wakeups,
    quiet.calls or "(no strace)", quiet.looks)
end

-- What `write` makes of a part of the results; or why that part is not there.
local function unless_missing(part, write, ...)
  return part.missing and ("Not run: %s.\n"):format(part.missing) or write(...)
end

--- The whole, as a text. `heading`: lines of what ran where and when.
---@param heading string
---@param groups table[]
---@param all bench.Results
---@param notes { lua_part: table[], choices: table[], delays: string, overshoot: string,
---  plot?: string }
---@return string
function report.write(heading, groups, all, notes)
  local parts = { heading }
  local function add(title, ...)
    parts[#parts + 1] = "## " .. title .. "\n"
    for _, part in ipairs { ... } do parts[#parts + 1] = part end
  end
  add("Targets", target_table(all))
  add("Where a peer was better", better(groups, all))
  add("What Lua adds", pair_table({ "mjtask", "whole", "its core alone", "ratio" },
    notes.lua_part, all.costs))
  add("What choices are worth", pair_table({ "choice", "with", "without", "ratio" },
    notes.choices, all.costs))
  for _, group in ipairs(groups) do add(group.title, cost_table(groups, group, all.costs)) end
  add("Instructions and system calls", unless_missing(all.counted, counted_table, groups, all))
  add("From one task to very many", unless_missing(all.growth, growth_table, all), notes.plot)
  add("1,000 waiting tasks", unless_missing(all.quiet, quiet_line, all))
  add("Time to the answer", notes.delays .. "\n", unless_missing(all.delays, delay_table, all))
  add("Time limits", notes.overshoot .. "\n", unless_missing(all.overshoot, overshoot_table, all))
  return table.concat(parts, "\n")
end

return report
