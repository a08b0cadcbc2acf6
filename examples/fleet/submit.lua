-- Hands tasks to the fleet: these, or without arguments those that come in, an id a line.
-- MJTASK_REDIS=redis://:WORD@HOST lua5.4 submit.lua [ID...]

package.path = (arg[0]:match "^.*/" or "") .. "?.lua;" .. package.path
local fleet = require "fleet"

local queue = fleet.connect()

local function submit(id)
  if not fleet.is_id(id) then error("no id of a task: " .. id, 0) end
  queue:submit(id)
end

for _, id in ipairs(arg) do submit(id) end
if not arg[1] then
  for id in io.lines() do submit(id) end
end
