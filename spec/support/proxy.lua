-- A spec's side of the proxy: starts server.lua as a process of its own, and rules it.
--
--   local proxy = require "support.proxy"
--   local p = proxy.start()            -- in setup;  p:stop() in teardown;  p:reset() before each
--   local p = proxy.start { tls = true }   -- with p.cafile; if proxy.no_tls() gives no reason
--   p:set { dialect = "net", key = "secret" }
--   p:task("1735030480000001", { life = "failure" })

local http = require "socket.http"
local ltn12 = require "ltn12"
local socket = require "socket"
local certificates = require "support.certificates"
local json = require "support.json"
local literal = require "support.literal"
local shell = require "support.shell"

local START_SECONDS = 5
local CONTROL_SECONDS = 10

local proxy = { null = json.null, absent = json.absent, list = json.list }

local methods = {}
local mt = { __name = "proxy", __index = methods }

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."

-- By name; nil while nothing is written yet.
local function read_ports(file)
  local input = io.open(file, "r")
  local text = input and input:read("a") or ""
  if input then input:close() end
  local ports = {}
  for name, port in text:gmatch "(%l+) (%d+)\n" do ports[name] = math.tointeger(tonumber(port)) end
  return next(ports) and ports
end

local function wait_for_ports(file)
  local deadline = socket.gettime() + START_SECONDS
  while socket.gettime() < deadline do
    local ports = read_ports(file)
    if ports then return ports end
    socket.sleep(0.01)
  end
  error("the proxy did not start within " .. START_SECONDS .. " s")
end

-- Nil if it can speak TLS, else why not.
function proxy.no_tls()
  local missing = certificates.missing()
  if not missing and not pcall(require, "ssl") then missing = "LuaSec is not installed" end
  return missing and "not run: " .. missing
end

-- options: tls, whether both origins speak that; address, where it listens (127.0.0.1; elsewhere
-- only in a namespace of its own).
function proxy.start(options)
  local secure = options and options.tls
  local file = os.tmpname()
  local command = ("exec %s %s --report=%s"):format(
    shell.quoted(shell.interpreter()), shell.quoted(here .. "/server.lua"), shell.quoted(file))
  if options and options.address then command = command .. " --address=" .. options.address end
  if secure then command = command .. " --certificates=" .. shell.quoted(certificates.path()) end
  local self = setmetatable({ process = assert(io.popen(command, "w")) }, mt)
  local ok, ports = pcall(wait_for_ports, file)
  os.remove(file)
  if not ok then
    self:stop()
    error(ports, 2)
  end
  local origin = secure and "https://localhost:" or "http://127.0.0.1:"
  self.port, self.other_port = ports.port, ports.other
  self.url, self.other_url = origin .. ports.port, origin .. ports.other
  self.forwarder_url = origin .. ports.forwarder
  self.plain_url = "http://127.0.0.1:" .. ports.control
  self.relay_url = "http://127.0.0.1:" .. ports.relay
  self.cafile = secure and certificates.path "ca.pem" or nil
  return self
end

-- The URL of a port where nobody listens.
function proxy.closed_url()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  listener:close()
  return "http://127.0.0.1:" .. port
end

local function new_socket()
  local sock = socket.tcp()
  sock:settimeout(CONTROL_SECONDS)
  return sock
end

local function call(self, name, value)
  local body, answer = literal.write(value), {}
  local ok, status = http.request {
    url = self.plain_url .. "/control/" .. name, method = "POST", create = new_socket,
    headers = { ["content-length"] = #body }, proxy = false,
    source = ltn12.source.string(body), sink = ltn12.sink.table(answer),
  }
  local text = table.concat(answer)
  if not ok or status ~= 200 then error("proxy: " .. (ok and text or status), 3) end
  return literal.read(text)
end

-- Back to how it started: no settings, the two seeds only, an empty log.
function methods:reset()
  call(self, "reset")
end

function methods:set(changes)
  call(self, "set", changes)
end

function methods:task(id, definition)
  call(self, "task/" .. id, definition or {})
  return id
end

-- The same for many tasks, in one call.
function methods:tasks(ids, definition)
  call(self, "tasks", { ids = ids, definition = definition })
  return ids
end

-- Every request since the reset but the control's: { method, path, headers, body, connection,
-- port, at }.
function methods:log()
  return call(self, "log")
end

-- What requests met by chance since the reset: how often, by name.
function methods:met()
  return call(self, "met")
end

-- What the way by forwarder_url is like from here on: see forwarder.lua.
function methods:forward(what)
  call(self, "forward", what)
end

-- How the relay behaves from here on, see relay.lua; and what it was asked since.
function methods:relay(what)
  call(self, "relay", what)
end

function methods:relayed()
  return call(self, "relayed")
end

function methods:connections()
  return call(self, "connections")
end

function methods:stop()
  if self.process then self.process:close() end
  self.process = nil
end

mt.__close = methods.stop

return proxy
