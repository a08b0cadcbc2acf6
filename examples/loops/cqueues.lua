-- Waits for many tasks at once in a controller of cqueues, as lua-http has one.
-- MJTASK_URL=https://... MJTASK_KEY=... lua5.4 cqueues.lua 1735030480754475 1724963337114767

local cq = require "cqueues".new()
local mjtask = require "mjtask"
local mj <close> = mjtask.new { loop = require "mjtask.loop.cqueues".loop(cq) }

for _, id in ipairs(arg) do
  cq:wrap(function() -- in here calls park the coroutine
    local task, err = mj:wait(id)
    print(id, task and task.imageUrl or err)
  end)
end

assert(cq:loop())
