-- The server in one piece: its ports, and which room answers at each. Knows sockets; must not know
-- who started it, nor what ends it.

local socket = require "socket"
local connection = require "support.connection"
local control = require "support.control"
local forwarder = require "support.forwarder"
local lives = require "support.lives"
local loop = require "support.loop"
local relay = require "support.relay"
local service = require "support.service"

local serving = {}

local function handle(c, request)
  if request.malformed then
    control.note(c, request)
    c:reply({ status = 400 }, true)
  elseif not control.take(c, request) then
    control.note(c, request)
    service.serve(c, request)
  end
end

local function serve_control(sock, port)
  connection.serve(sock, port, control.accept, handle)
end

local function serve_relay(sock, port)
  connection.serve(sock, port, function() end, relay.handle)
end

-- `take(sock, port)` runs for each connection, in a coroutine of its own.
local function listen(address, wish, take)
  local listener = assert(socket.bind(address, tonumber(wish), 512))
  listener:settimeout(0)
  local _, port = listener:getsockname()
  port = math.tointeger(tonumber(port))
  loop.spawn(function()
    while true do
      loop.wait(listener, "read")
      local sock = listener:accept()
      if sock and sock:getfd() >= socket._SETSIZE then   -- more than select can take
        sock:close()
      elseif sock then
        loop.spawn(take, sock, port)
      end
    end
  end)
  return port
end

--- Listens, and serves once loop.run is called. Raises where it cannot.
---@param options { port?: string, ["other-port"]?: string, address?: string, fixtures: string,
---  tls?: table } tls: tls.lua, with its folder: then both ports speak that
---@return table<string, integer> ports port, other, control, relay, forwarder
---@return string origin of both ports, to which the number is added
function serving.start(options)
  local tls, address = options.tls, options.address or "127.0.0.1"
  local function secure(c) service.secure(c, tls) end
  local function serve(sock, port)
    connection.serve(sock, port, control.accept, handle, tls and secure)
  end
  lives.load_seeds(options.fixtures)
  local ports = {
    port = listen(address, options.port or "0", serve),
    other = listen(address, options["other-port"] or "0", serve),
  }
  ports.control = tls and listen(address, "0", serve_control) or ports.port
  ports.relay = listen(address, "0", serve_relay)
  ports.forwarder = listen(address, "0", function(sock) forwarder.serve(sock, ports.port) end)
  local origin = tls and "https://localhost:" or "http://127.0.0.1:"
  service.listen(origin .. ports.port, origin .. ports.other)
  service.reset()
  return ports, origin
end

return serving
