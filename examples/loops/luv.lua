-- Waits for many tasks at once in the loop of libuv, beside whatever else runs in it.
-- MJTASK_URL=https://... MJTASK_KEY=... lua5.4 luv.lua 1735030480754475 1724963337114767

local uv = require "luv"
local luv = require "mjtask.loop.luv"
local mjtask = require "mjtask"
local mj <close> = mjtask.new { loop = luv.loop() }

for _, id in ipairs(arg) do
  luv.go(function() -- in here calls park the coroutine
    local task, err = mj:wait(id)
    print(id, task and task.imageUrl or err)
  end)
end

uv.run()
