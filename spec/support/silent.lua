-- A listener on [::1] that lets nobody in: its queue is full, so that who connects hears nothing.
--
--   local silent <close>, reason = require "support.silent" (port)

local socket = require "socket"

local ENOUGH = 8 -- connections that fill any queue of none
local PATIENCE = 0.1 -- seconds

return function(port)
  local listener = socket.tcp6()
  if not listener or not listener:bind("::1", port) or not listener:listen(0) then
    return nil, "not run: there is no IPv6 on loopback here"
  end
  local held = setmetatable({ listener }, { __close = function(self)
    for _, sock in ipairs(self) do sock:close() end
  end })
  for _ = 1, ENOUGH do
    local sock = socket.tcp6()
    held[#held + 1] = sock
    sock:settimeout(PATIENCE)
    local connected, problem = sock:connect("::1", port)
    if problem == "timeout" then return held end
    if not connected then break end
  end
  return nil, "not run: a queue that is full lets connections in here"
end
