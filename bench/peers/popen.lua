-- The curl program by io.popen, and lua-cjson: what needs no library at all.

local cjson = require "cjson"

local url, count = os.getenv "URL", math.tointeger(tonumber(os.getenv "COUNT"))
local cafile = os.getenv "CAFILE"
local command = ("curl -sS --fail -H 'Authorization: key' %s '%s'")
  :format(cafile and "--cacert '" .. cafile .. "'" or "", url)

local buttons = 0
for _ = 1, count do
  local pipe <close> = assert(io.popen(command))
  buttons = buttons + #cjson.decode(pipe:read "a").buttons
end
print(("done %d %d"):format(count, buttons))
