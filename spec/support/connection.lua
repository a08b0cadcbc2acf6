-- One HTTP/1.1 connection of the server: reads requests, writes answers, breaks off on demand.
-- Knows nothing of tasks. Every method may suspend the connection's coroutine.
--
-- With TLS `sock` speaks that, and `plain` is what it speaks over; without they are the same.

local socket = require "socket"
local loop = require "support.loop"

local connection = {}

local methods = {}
local mt = { __name = "connection", __index = methods }

local GONE = {}   -- raised when the peer has left; connection.serve takes it

local TLS_HANDSHAKE = 22   -- first byte of a client that takes us for a TLS server

local REASONS = {
  [200] = "OK", [201] = "Created", [202] = "Accepted", [204] = "No Content",
  [301] = "Moved Permanently", [302] = "Found", [307] = "Temporary Redirect",
  [308] = "Permanent Redirect", [400] = "Bad Request", [401] = "Unauthorized",
  [403] = "Forbidden", [404] = "Not Found", [408] = "Request Timeout",
  [429] = "Too Many Requests", [500] = "Internal Server Error", [502] = "Bad Gateway",
  [503] = "Service Unavailable", [504] = "Gateway Timeout",
}

-- The head of an answer { status, type, headers }, and the lines given, which frame its body.
function connection.head(answer, framing)
  local status = answer.status or 200
  local lines = { string.format("HTTP/1.1 %d %s", status, REASONS[status] or "Other") }
  if answer.type then lines[#lines + 1] = "Content-Type: " .. answer.type end
  for name, value in pairs(answer.headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  table.move(framing, 1, #framing, #lines + 1, lines)
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- The usual framing of an answer's body.
function connection.length(answer)
  if answer.status == 204 then return {} end
  return { "Content-Length: " .. #(answer.body or "") }
end

-- What a socket that does not block must be waited for; anything else is the peer's end.
local function wait(sock, problem, way)
  if problem == "wantread" or problem == "wantwrite" then
    way = problem == "wantread" and "read" or "write"
  elseif problem ~= "timeout" then
    error(GONE, 0)
  end
  loop.wait(sock, way)
end

function methods:receive()
  while true do
    local data, problem, part = self.sock:receive(65536)
    data = data or part
    if #data > 0 then return data end
    wait(self.sock, problem, "read")
  end
end

function methods:send(bytes)
  local from = 1
  while from <= #bytes do
    local last, problem, part = self.sock:send(bytes, from)
    from = (last or part) + 1
    if problem then wait(self.sock, problem, "write") end
  end
end

methods.sleep = function(_, seconds) return loop.sleep(seconds) end

-- Says nothing more until the peer leaves.
function methods:hang()
  while true do self:receive() end
end

-- Speaks TLS from here on, by tls.lua's means.
function methods:secure(tls, certificate, newest)
  self.tls = tls
  self.sock = tls.wrap(self.plain, certificate, newest)
  if not tls.handshake(self.sock) then error(GONE, 0) end
end

-- Where `cuts` is set, without a word of TLS before.
function methods:close()
  self.closed = true
  if self.sock == self.plain then
    self.plain:close()
  elseif self.cuts then
    self.tls.cut(self.sock, self.plain)
  else
    self.tls.close(self.sock, self.plain)
  end
end

-- Closes with RST in place of FIN.
function methods:reset()
  self.plain:setoption("linger", { on = true, timeout = 0 })
  self.cuts = true
  self:close()
end

-- close: true closes after the answer and says so, "silent" closes without saying.
function methods:reply(answer, close)
  local framing = connection.length(answer)
  if close == true then framing[#framing + 1] = "Connection: close" end
  self:send(connection.head(answer, framing) .. (answer.body or ""))
  if close or self.last then self:close() end
end

local function parse_head(text)
  local method, path, version, rest = text:match("^(%S+) (%S+) HTTP/(1%.[01])\r\n(.*)$")
  if not method then return { malformed = text, headers = {} } end
  local headers = {}
  for name, value in rest:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)\r\n") do
    name = name:lower()
    value = value:gsub("[ \t]+$", "")
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return { method = method, path = path, version = version, headers = headers }
end

function methods:read_head()
  while true do
    local _, stop = self.buffer:find("\r\n\r\n", 1, true)
    if stop then
      local text = self.buffer:sub(1, stop - 2)
      self.buffer = self.buffer:sub(stop + 1)
      return parse_head(text)
    end
    self.buffer = self.buffer .. self:receive()
    if self.buffer:byte() == TLS_HANDSHAKE then return parse_head(self.buffer) end
  end
end

function methods:read_body(length)
  local parts, have = { self.buffer }, #self.buffer
  while have < length do
    local part = self:receive()
    parts[#parts + 1], have = part, have + #part
  end
  local all = table.concat(parts)
  self.buffer = all:sub(length + 1)
  return all:sub(1, length)
end

function methods:read_request()
  local request = self:read_head()
  local wish = (request.headers.connection or ""):lower()
  self.last = request.malformed or wish == "close"
    or request.version == "1.0" and wish ~= "keep-alive"
  if request.headers.expect == "100-continue" then self:send("HTTP/1.1 100 Continue\r\n\r\n") end
  request.body = self:read_body(tonumber(request.headers["content-length"]) or 0)
  return request
end

-- An accepted socket as a connection.
function connection.new(sock, port)
  sock:settimeout(0)
  sock:setoption("tcp-nodelay", true)
  return setmetatable({ sock = sock, plain = sock, port = port, buffer = "", requests = 0 }, mt)
end

-- One to a port of 127.0.0.1; nobody there shows in its first use.
function connection.dial(port)
  local sock = socket.tcp()
  sock:settimeout(0)
  sock:connect("127.0.0.1", port)
  loop.wait(sock, "write")
  return connection.new(sock, port)
end

-- Runs f(...) until it returns or a peer has left. What else goes wrong is told, not raised.
function connection.guard(f, ...)
  local ok, problem = xpcall(f, function(e)
    return e == GONE and GONE or debug.traceback(e, 2)
  end, ...)
  if not ok and problem ~= GONE then io.stderr:write(problem, "\n") end
end

-- Runs accept(connection), then handle(connection, request) for each request until either side
-- closes. `secure(connection)`, if there is one, comes before the first.
function connection.serve(sock, port, accept, handle, secure)
  local self = connection.new(sock, port)
  accept(self)
  connection.guard(function()
    if secure then secure(self) end
    while not self.closed do
      local request = self:read_request()
      self.requests = self.requests + 1
      handle(self, request)
    end
  end)
  if not self.closed then self:close() end
end

return connection
