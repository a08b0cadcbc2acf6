-- Waits for many tasks at once in a host that has a sleep of its own and watches no descriptors.
-- Here it is a round of coroutines; copas.pause or darktable's sleep go in its place.
-- MJTASK_URL=https://... MJTASK_KEY=... lua5.4 timer.lua 1735030480754475 1724963337114767

local socket = require "socket"
local mjtask = require "mjtask"
local timer = require "mjtask.loop.timer"
local mj <close> = mjtask.new { loop = timer.loop(coroutine.yield) } -- sleep(seconds)

local running = {}
for at, id in ipairs(arg) do
  running[at] = coroutine.wrap(function() -- in here calls park the coroutine
    local task, err = mj:wait(id)
    print(id, task and task.imageUrl or err)
  end)
end

while #running > 0 do
  local least = math.huge
  for at = #running, 1, -1 do
    local seconds = running[at]()
    if seconds then least = math.min(least, seconds) else table.remove(running, at) end
  end
  socket.sleep(#running > 0 and least or 0)
end
