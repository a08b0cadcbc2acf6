-- One fetch after another by mjtask, as a script would. A client of the measurements: settings come
-- from the environment, it ends by saying how much it has done.

local setting = require "bench.own.setting"

local count, id = setting.number "COUNT", setting.text "ID"
local mj <close> = setting.client()

local buttons = 0
for _ = 1, count do
  local task = assert(mj:fetch(id))
  buttons = buttons + #task.buttons
end
setting.report(count, buttons)
