-- Waits for a task inside darktable, by darktable's own sleep: so its other scripts run meanwhile,
-- which they could not if the call blocked.
--
--   MJTASK_PROVIDER=sku MJTASK_KEY=... darktable-cli in.ppm out.jpg \
--     --core --luacmd 'dofile("examples/darktable/mjtask.lua")("1735030480754475")'

local dt = require "darktable"
local mjtask = require "mjtask"
local timer = require "mjtask.loop.timer"

local function wait(id)
  local mj <close> = mjtask.new {
    loop = timer.loop(function(seconds) dt.control.sleep(math.ceil(seconds * 1000)) end, true),
  }
  local task = assert(mj:wait(id))
  return "the task's picture: " .. (task:images()[1] or "none")
end

return function(id)
  local ended = false
  -- darktable-cli leaves when its picture is exported, whatever scripts do: it waits for us here.
  dt.register_event("mjtask", "exit", function()
    while not ended do dt.control.sleep(50) end
  end)
  local _, said = pcall(wait, id)
  ended = true
  print(said)
end
