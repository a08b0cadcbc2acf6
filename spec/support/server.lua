-- The proxy that behaves and misbehaves, as a process of its own:
--   lua5.4 spec/support/server.lua [--port=N] [--other-port=N] [--report=FILE]
-- It ends when its standard input does, or on POST /control/quit.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/../?.lua;" .. package.path

local socket = require "socket"
local connection = require "support.connection"
local control = require "support.control"
local lives = require "support.lives"
local loop = require "support.loop"
local service = require "support.service"

local options = { port = "0", ["other-port"] = "0" }
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

local function listen(wish)
  local listener = assert(socket.bind("127.0.0.1", tonumber(wish), 512))
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
        loop.spawn(connection.serve, sock, port, control.accept, handle)
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

-- Written beside and renamed, so that a reader finds all of it or nothing.
local function report(file, text)
  local out = assert(io.open(file .. ".new", "w"))
  out:write(text)
  out:close()
  assert(os.rename(file .. ".new", file))
end

lives.load_seeds(here .. "/../fixtures/")
local port, other = listen(options.port), listen(options["other-port"])
service.listen(port, other)
service.reset()
loop.spawn(watch_input)
if options.report then
  report(options.report, port .. " " .. other .. "\n")
else
  print(("http://127.0.0.1:%d and, as another origin, http://127.0.0.1:%d"):format(port, other))
end
loop.run()
