-- A spec's side of the proxy: starts server.lua as a process of its own, and rules it.
--
--   local proxy = require "support.proxy"
--   local p = proxy.start()            -- in setup;  p:stop() in teardown;  p:reset() before each
--   p:set { dialect = "net", key = "secret" }
--   p:task("1735030480000001", { life = "failure" })

local http = require "socket.http"
local ltn12 = require "ltn12"
local socket = require "socket"
local json = require "support.json"
local literal = require "support.literal"
local shell = require "support.shell"

local START_SECONDS = 5
local CONTROL_SECONDS = 10

local proxy = { null = json.null, absent = json.absent, list = json.list }

local methods = {}
local mt = { __name = "proxy", __index = methods }

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."

local function read_ports(file)
  local input = io.open(file, "r")
  local text = input and input:read("a") or ""
  if input then input:close() end
  local port, other = text:match("^(%d+) (%d+)\n")
  return math.tointeger(tonumber(port)), math.tointeger(tonumber(other))
end

local function wait_for_ports(file)
  local deadline = socket.gettime() + START_SECONDS
  while socket.gettime() < deadline do
    local port, other = read_ports(file)
    if port then return port, other end
    socket.sleep(0.01)
  end
  error("the proxy did not start within " .. START_SECONDS .. " s")
end

function proxy.start()
  local file = os.tmpname()
  local command = ("exec %s %s --report=%s"):format(
    shell.quoted(shell.interpreter()), shell.quoted(here .. "/server.lua"), shell.quoted(file))
  local self = setmetatable({ process = assert(io.popen(command, "w")) }, mt)
  local ok, port, other = pcall(wait_for_ports, file)
  os.remove(file)
  if not ok then
    self:stop()
    error(port, 2)
  end
  self.port, self.other_port = port, other
  self.url, self.other_url = "http://127.0.0.1:" .. port, "http://127.0.0.1:" .. other
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
    url = self.url .. "/control/" .. name, method = "POST", create = new_socket,
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

function methods:connections()
  return call(self, "connections")
end

function methods:stop()
  if self.process then self.process:close() end
  self.process = nil
end

mt.__close = methods.stop

return proxy
