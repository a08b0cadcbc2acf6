-- Waits for many tasks at once, by callback: no loop but the client's own steps.
-- MJTASK_URL=https://... MJTASK_KEY=... lua5.4 callback.lua 1735030480754475 1724963337114767

local mjtask = require "mjtask"
local mj <close> = mjtask.new()

for _, id in ipairs(arg) do
  mj:wait(id, {
    progress = function(task, percent) print(id, task.status, percent) end,
  }, function(task, err)
    print(id, task and task.imageUrl or err)
  end)
end

while mj:step() do end
