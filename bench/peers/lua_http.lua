-- lua-http and lua-cjson. MODE: "request", its own request:go, a connection each; "kept", streams
-- over INFLIGHT connections that are kept. Debian has it for 5.3 only; it is plain Lua, and runs.

package.path = package.path .. ";/usr/share/lua/5.3/?.lua;/usr/share/lua/5.2/?.lua"

local cjson = require "cjson"
local cqueues = require "cqueues"

local url, count = os.getenv "URL", math.tointeger(tonumber(os.getenv "COUNT"))
local inflight = math.tointeger(tonumber(os.getenv "INFLIGHT" or 1))
local scheme, host, port, path = url:match "^(%w+)://([^:/]+):(%d+)(.*)$"
local is_tls = scheme == "https"

local started, buttons = 0, 0

local function take(headers, stream)
  assert(headers:get ":status" == "200", headers:get ":status")
  buttons = buttons + #cjson.decode(assert(stream:get_body_as_string())).buttons
end

-- The certificate is checked against CAFILE.
local function new_context()
  local context = require "http.tls".new_client_context()
  context:getStore():add(os.getenv "CAFILE")
  context:setVerify(require "openssl.ssl.context".VERIFY_PEER)
  return context
end

local function by_request()
  local request = require "http.request"
  for _ = 1, count do
    local asked = request.new_from_uri(url)
    asked.headers:upsert("authorization", "key")
    take(assert(asked:go(30)))
    started = started + 1
  end
end

local function connect()
  return assert(require "http.client".connect({
    host = host, port = tonumber(port), tls = is_tls, sendname = false,
    ctx = is_tls and new_context() or nil,
    version = is_tls and tonumber(os.getenv "VERSION" or 1.1) or nil,
  }, 30))
end

-- One connection, fetch after fetch.
local function work()
  local headers_of = require "http.headers"
  local connection = connect()
  while started < count do
    started = started + 1
    local asked = headers_of.new()
    asked:append(":method", "GET")
    asked:append(":scheme", scheme)
    asked:append(":authority", host .. ":" .. port)
    asked:append(":path", path)
    asked:append("authorization", "key")
    local stream = connection:new_stream()
    assert(stream:write_headers(asked, true))
    local headers = assert(stream:get_headers())
    take(headers, stream)
  end
  connection:close()
end

if os.getenv "MODE" == "request" then
  by_request()
else
  local loop = cqueues.new()
  for _ = 1, inflight do loop:wrap(work) end
  assert(loop:loop())
end
print(("done %d %d"):format(started, buttons))
