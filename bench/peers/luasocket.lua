-- luasocket and lua-cjson: a connection each, as http.request does it; or, with MODE=kept, by a
-- socket that does not close, which http.request is made to use.

local cjson = require "cjson"
local http = require "socket.http"
local ltn12 = require "ltn12"
local socket = require "socket"

local url, count = os.getenv "URL", math.tointeger(tonumber(os.getenv "COUNT"))

local kept

-- A socket as http.request wants it: connects once, closes never. Without TCP_NODELAY, which can be
-- set only then, each request would wait for the server's delayed acknowledgement.
local function keep()
  if kept then return kept end
  local sock = assert(socket.tcp())
  local connected = false
  kept = {
    connect = function(_, host, port)
      if connected then return 1 end
      connected = true
      local ok, why = sock:connect(host, port)
      return ok and sock:setoption("tcp-nodelay", true), why
    end,
    close = function() return 1 end,
    settimeout = function(_, ...) return sock:settimeout(...) end,
    send = function(_, ...) return sock:send(...) end,
    receive = function(_, ...) return sock:receive(...) end,
  }
  return kept
end

local is_kept = os.getenv "MODE" == "kept"
local headers = { Authorization = "key", connection = is_kept and "keep-alive" or nil }

local buttons = 0
for _ = 1, count do
  local parts = {}
  local ok, status = http.request {
    url = url, headers = headers, sink = ltn12.sink.table(parts), create = is_kept and keep or nil,
  }
  assert(ok and status == 200, status)
  buttons = buttons + #cjson.decode(table.concat(parts)).buttons
end
print(("done %d %d"):format(count, buttons))
