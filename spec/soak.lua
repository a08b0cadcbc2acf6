-- What one test cannot show: hours of everything, and of one thing. `make soak` runs this:
--
--   lua5.4 spec/soak.lua [--fetches=N] SECONDS [SEED]
--
-- Two parts share the seconds, each a process of its own: soak/faults.lua does anything behind a
-- proxy that breaks something in every request, soak/fetches.lua fetches from nginx. With N the
-- second does so many, and the first has all the time. Ends with a line that tells the sums, and
-- with 1 if a promise was broken, a descriptor is missing or memory has grown. The seed decides
-- what is done and what breaks; when that happens is the machine's.

package.path = "spec/?.lua;" .. package.path

local literal = require "support.literal"
local process = require "support.process"
local shell = require "support.shell"

local DRAINS = 120 -- seconds that a part may take beyond its own
local SLOWEST = 100 -- fetches a second, on a machine that is busy with something else
local SIGNALS = 128 -- a shell's status of a signal

local fetches, words = 0, {}
for _, word in ipairs(arg) do
  local count = word:match "^%-%-fetches=(%d+)$"
  fetches = count and math.tointeger(tonumber(count)) or fetches
  if not count then words[#words + 1] = word end
end
local seconds, seed = tonumber(words[1]), math.tointeger(tonumber(words[2] or os.time()))
if not (seconds and seconds >= 0 and seed) then
  error("usage: lua5.4 spec/soak.lua [--fetches=N] SECONDS [SEED]", 0)
end

-- How a part is run: with the shim that counts what malloc gives, where there is one, and an end.
local function command_of(part, limit, arguments)
  local command = { "exec env" }
  local path, preload = process.shim "memory"
  if path and not process.is_sanitized() then
    command[#command + 1] = ("SOAK_MEMORY=%s LD_PRELOAD=%s")
      :format(shell.quoted(path), shell.quoted(preload))
  else
    print("soak: malloc is not counted, " .. (path and "not run: sanitizers do that" or preload))
  end
  if process.has "timeout" then
    command[#command + 1] = ("timeout -s ABRT %d"):format(math.ceil(limit))
  end
  command[#command + 1] = ("%s spec/soak/%s.lua %s 2>&1")
    :format(shell.quoted(shell.interpreter()), part, table.concat(arguments, " "))
  return table.concat(command, " ")
end

local good, sums = true, {}

-- What ended a process that did not end well.
local function cause(how, status)
  if how == "exit" and status == 124 then return "it hung" end
  if how == "exit" and status > SIGNALS then how, status = "signal", status - SIGNALS end
  return how == "signal" and ("it crashed, by signal %d"):format(status)
    or ("it ended with %d"):format(status)
end

local function run(part, limit, ...)
  local pipe = assert(io.popen(command_of(part, limit, { ... })))
  for line in pipe:lines() do
    local sum = line:match "^sum (.*)$"
    if sum then sums[#sums + 1] = literal.read(sum) else print(line) end
    io.stdout:flush()
  end
  local ok, how, status = pipe:close()
  if ok then return end
  good = false
  print(("soak: BROKEN: %s: %s; once more by: make soak SECONDS=%g SEED=%d%s"):format(part,
    cause(how, status), seconds, seed, fetches > 0 and " FETCHES=" .. fetches or ""))
end

-- "1 to 2 and 3 to 4", of all parts.
local function growth(field, unit)
  local spans = {}
  for n, sum in ipairs(sums) do
    local function value(sample)
      return sample[field] and ("%.0f"):format(sample[field] / unit) or "?"
    end
    spans[n] = value(sum.first) .. " to " .. value(sum.last)
  end
  return table.concat(spans, " and ")
end

print(("soak: seed %d"):format(seed))
local share = fetches > 0 and seconds or seconds / 2
if share > 0 then
  run("faults", 2 * share + DRAINS, share, seed)
else
  print "soak: under faults: not run, there is no time"
end
if share > 0 or fetches > 0 then
  run("fetches", fetches > 0 and fetches / SLOWEST + DRAINS or share + DRAINS, share, fetches)
end

local counts = {}
for n, sum in ipairs(sums) do counts[n] = ("%d %s"):format(sum.last.count, sum.what) end
print(("soak: %s; descriptors %s; Lua heap %s KiB; malloc %s KiB; RSS %s KiB, after the warm-up")
  :format(table.concat(counts, ", "), growth("descriptors", 1), growth("heap", 1024),
  growth("held", 1024), growth("memory", 1024)))
if not good then os.exit(1, true) end
