-- Waits for tasks, and looks at one as soon as a hook came for it: lighttpd/notify.lua notes hooks
-- in a spool, this reads it. Anyone can send a hook, so it is a hint and no more: what has become
-- of a task only its server tells. A hook that is lost costs an interval.
--
-- MJTASK_SPOOL=/run/mjtask/hints MJTASK_PROVIDER=sku MJTASK_KEY=... lua5.4 webhook.lua ID...

local mjtask = require "mjtask"

if not arg[1] then error("usage: webhook.lua ID...", 0) end

local GLANCE = 0.2 -- seconds between two looks into the spool

local spool = assert(os.getenv "MJTASK_SPOOL", "MJTASK_SPOOL: where the hooks are noted")
local position = 0 -- bytes of it that were read

-- The lines that were added since the last call, as far as they are whole.
local function news()
  local file <close> = io.open(spool, "r")
  local size = file and file:seek "end" or 0
  if size < position then position = 0 end -- notify.lua has begun it anew
  if size == position then return "" end
  file:seek("set", position)
  local text = (file:read "a" or ""):match "^.*\n" or ""
  position = position + #text
  return text
end

news() -- what came before us tells nothing: the first look is at once

local mj <close> = mjtask.new { interval = 60 }

mj:watch(arg, function(id, task, err)
  if id then print(id .. ": " .. (task and task:images()[1] or tostring(err))) end
end)

while mj:step(GLANCE) do
  for id in news():gmatch "(%S+) [a-z_]+\n" do mj:hint(id) end
end
