-- Watches TASKS tasks that do not end, every INTERVAL seconds, until it is killed or SECONDS are
-- over; is observed from outside.

local setting = require "bench.own.setting"

local interval = tonumber(setting.text "INTERVAL")
local mj <close> = setting.client()

mj:watch(setting.ids(setting.number "TASKS"), {
  interval = interval, max_interval = interval, timeout = setting.number "SECONDS",
}, function(id, task, err)
  if id and err and err.kind ~= "timeout" or task then error(tostring(err or task.status)) end
end)
while mj:step() do end
