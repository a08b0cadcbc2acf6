-- Says how the tasks of the fleet ended, and how many are open.
-- MJTASK_REDIS=redis://:WORD@HOST lua5.4 results.lua

package.path = (arg[0]:match "^.*/" or "") .. "?.lua;" .. package.path
local cjson = require "cjson"
local fleet = require "fleet"

local results, open = fleet.connect():results()
for id, text in pairs(results) do
  local result = cjson.decode(text)
  print(id, result.image or result.error or result.outcome)
end
io.stderr:write(open, " open\n")
