-- The proxy that behaves and misbehaves, as a process of its own:
--   lua5.4 spec/support/server.lua [--port=N] [--other-port=N] [--address=127.0.0.1]
--     [--certificates=FOLDER] [--report=FILE]
-- With certificates both ports speak TLS, and a third one does not, for the control. It ends when
-- its standard input does, or on POST /control/quit.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/../?.lua;" .. package.path

local loop = require "support.loop"
local serving = require "support.serving"

local options = { fixtures = here .. "/../fixtures/" }
for _, word in ipairs(arg) do
  local name, value = word:match("^%-%-([%l-]+)=(.*)$")
  if not name then error("unknown argument: " .. word, 0) end
  options[name] = value
end

if options.certificates then
  options.tls = require "support.tls"
  options.tls.folder = options.certificates
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

local ports, origin = serving.start(options)
loop.spawn(watch_input)
if options.report then
  report(options.report, ports)
else
  print(("%s%d and, as another origin, %s%d; the control is on http://127.0.0.1:%d")
    :format(origin, ports.port, origin, ports.other, ports.control))
end
loop.run()
