-- The proxy that behaves and misbehaves, as a process of its own:
--   lua5.4 spec/support/server.lua [--port=N] [--other-port=N] [--address=127.0.0.1]
--     [--certificates=FOLDER] [--report=FILE]
-- With certificates both ports speak TLS, and a third one does not, for the control. It ends when
-- its standard input does, or on POST /control/quit.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/../?.lua;" .. package.path

local socket = require "socket"
local connection = require "support.connection"
local control = require "support.control"
local forwarder = require "support.forwarder"
local lives = require "support.lives"
local loop = require "support.loop"
local relay = require "support.relay"
local service = require "support.service"

local options = { port = "0", ["other-port"] = "0", address = "127.0.0.1" }
for _, word in ipairs(arg) do
  local name, value = word:match("^%-%-([%l-]+)=(.*)$")
  if not name then error("unknown argument: " .. word, 0) end
  options[name] = value
end

local function handle(c, request)
  if request.malformed then
    control.note(c, request)
    c:reply({ status = 400 }, true)
  elseif not control.take(c, request) then
    control.note(c, request)
    service.serve(c, request)
  end
end

local tls = options.certificates and require "support.tls"
if tls then tls.folder = options.certificates end

local function secure(c)
  service.secure(c, tls)
end

local function serve(sock, port)
  connection.serve(sock, port, control.accept, handle, tls and secure)
end

local function serve_control(sock, port)
  connection.serve(sock, port, control.accept, handle)
end

local function serve_relay(sock, port)
  connection.serve(sock, port, function() end, relay.handle)
end

-- `take(sock, port)` runs for each connection, in a coroutine of its own.
local function listen(wish, take)
  local listener = assert(socket.bind(options.address, tonumber(wish), 512))
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

-- The parent is gone when standard input ends: nothing is ever read from it but that.
local function watch_input()
  local input = { getfd = function() return 0 end, dirty = function() return false end }
  io.stdin:setvbuf("no")
  repeat loop.wait(input, "read") until not io.stdin:read(1)
  loop.stop()
end

-- A line for each port. Written beside and renamed, so that a reader finds all of it or nothing.
local function report(file, ports)
  local out = assert(io.open(file .. ".new", "w"))
  for name, port in pairs(ports) do out:write(name, " ", port, "\n") end
  out:close()
  assert(os.rename(file .. ".new", file))
end

lives.load_seeds(here .. "/../fixtures/")
local ports = { port = listen(options.port, serve), other = listen(options["other-port"], serve) }
ports.control = tls and listen("0", serve_control) or ports.port
ports.relay = listen("0", serve_relay)
ports.forwarder = listen("0", function(sock) forwarder.serve(sock, ports.port) end)
local origin = tls and "https://localhost:" or "http://127.0.0.1:"
service.listen(origin .. ports.port, origin .. ports.other)
service.reset()
loop.spawn(watch_input)
if options.report then
  report(options.report, ports)
else
  print(("%s%d and, as another origin, %s%d; the control is on http://127.0.0.1:%d")
    :format(origin, ports.port, origin, ports.other, ports.control))
end
loop.run()
