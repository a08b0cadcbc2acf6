-- By how much promised time limits are overshot, in milliseconds: fetches and waits from BASE that
-- can only end by their limit, TIMES each, LIMIT seconds. Prints a number for each try.

local core = require "mjtask.core"
local setting = require "bench.own.setting"

local limit, times = tonumber(setting.text "LIMIT"), setting.number "TIMES"
local mj <close> = setting.client { retries = 0, proxy = "" }

local calls = {
  timeout = function(id) return mj:fetch(id, { timeout = limit }) end,
  request_timeout = function(id) return mj:fetch(id, { request_timeout = limit }) end,
  wait = function(id) return mj:wait(id, { timeout = limit, interval = 0.1 }) end,
}

for _ = 1, times do
  local before = core.now()
  local task, err = calls[setting.text "CALL"](setting.text "ID")
  local took = core.now() - before
  if task or err.kind ~= "timeout" then error("no timeout: " .. tostring(err), 0) end
  print(("over %.3f"):format((took - limit) * 1000))
end
