-- Waits for a task, presses one of its buttons, waits for what that makes, and saves the picture.
-- MJTASK_PROVIDER=sku MJTASK_KEY=... lua5.4 upscale.lua 1735030480754475 U1 ghost.png

local mjtask = require "mjtask"
local id, label, path = table.unpack(arg)
local mj <close> = mjtask.new()

local task = assert(mj:wait(id))
local up = assert(mj:wait(assert(mj:press(task, label))))
print("saved " .. assert(mj:download(up, path)))
