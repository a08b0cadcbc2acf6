-- Lists of a hundred tasks, one after another, by mjtask's fetch_many. COUNT is of lists.

local setting = require "bench.own.setting"

local count = setting.number "COUNT"
local ids = setting.ids(100)
local mj <close> = setting.client()

local buttons = 0
for _ = 1, count do
  local tasks = assert(mj:fetch_many(ids))
  for _, task in pairs(tasks) do buttons = buttons + #task.buttons end
end
setting.report(count, buttons)
