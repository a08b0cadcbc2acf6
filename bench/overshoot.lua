-- Promised time limits against servers that do not answer, answer for ever, or cannot be found: by
-- how many milliseconds each is overshot. The local proxy and the mute resolver play them.

local proxy = require "support.proxy"
local machine = require "bench.machine"
local rounds = require "bench.rounds"

local overshoot = {}

local LIMIT = 0.3 -- seconds

-- Name, fault (none: the task never ends), call.
local CASES = {
  { "no byte of an answer, timeout", "stall", "timeout" },
  { "no byte of an answer, request_timeout", "stall", "request_timeout" },
  { "half a body, then nothing, timeout", "stall_body", "timeout" },
  { "a byte every 0.1 s, timeout", "drip", "timeout" },
  { "a byte every 0.1 s, request_timeout", "drip", "request_timeout" },
  { "a task that never ends, wait", nil, "wait" },
}

-- The output of a try, judged.
local function result_of(name, output)
  local list = {}
  for over in output:gmatch "over (%-?[%d.]+)" do list[#list + 1] = tonumber(over) end
  if #list == 0 then error(name .. ": " .. output, 0) end
  local least, most = rounds.range(list)
  return { name = name, median = rounds.median(list), least = least, most = most }
end

local SCRIPT = "bench/own/overshoot.lua"

-- `wrap`: a script that runs ours.
local function run(env, wrap)
  local words = { machine.pin() .. machine.lua_command, wrap or "", SCRIPT }
  local pipe = assert(io.popen("exec 2>&1 </dev/null; "
    .. machine.command(table.concat(words, " "), env)))
  local output = pipe:read "a"
  pipe:close()
  return output
end

local function unresolved(times)
  local name = "a name that no server resolves, timeout"
  local output = run({
    BASE = "https://proxy.test", ID = "1", CALL = "timeout", LIMIT = LIMIT, TIMES = times,
  }, "spec/support/mute_resolver.lua")
  local why = output:match "not run: ([^\n]*)"
  return why and { name = name, missing = why } or result_of(name, output)
end

--- Every case, `times` tries each; milliseconds.
---@param times integer
---@return { name: string, median?: number, least?: number, most?: number, missing?: string }[]
function overshoot.run(times)
  local p <close> = proxy.start()
  local results = {}
  for n, case in ipairs(CASES) do
    local name, fault, call = table.unpack(case, 1, 3)
    local id = ("%d"):format(1735030480000000 + n)
    p:task(id, fault and { life = "done", fault = fault } or { life = "stuck" })
    local output = run { BASE = p.url, ID = id, CALL = call, LIMIT = LIMIT, TIMES = times }
    results[n] = result_of(name, output)
  end
  results[#results + 1] = unresolved(times)
  return results
end

--- In words, for the table's heading.
---@param times integer
---@return string
function overshoot.describe(times)
  return ("Limits of %g s, %d tries each."):format(LIMIT, times)
end

return overshoot
