-- luasec's https.request, which makes a connection each, and lua-cjson. The certificate is checked.

local cjson = require "cjson"
local https = require "ssl.https"
local ltn12 = require "ltn12"

local url, count = os.getenv "URL", math.tointeger(tonumber(os.getenv "COUNT"))

local buttons = 0
for _ = 1, count do
  local parts = {}
  local ok, status = https.request {
    url = url, headers = { Authorization = "key" }, sink = ltn12.sink.table(parts),
    verify = "peer", cafile = os.getenv "CAFILE", protocol = "any",
    options = { "all", "no_sslv2", "no_sslv3", "no_tlsv1", "no_tlsv1_1" },
  }
  assert(ok and status == 200, status)
  buttons = buttons + #cjson.decode(table.concat(parts)).buttons
end
print(("done %d %d"):format(count, buttons))
