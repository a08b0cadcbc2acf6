-- The image host: pictures and redirects by path. Knows nothing of sockets; the misbehaviour is
-- that of faults.lua.

local pictures = require "support.pictures"

local images = {}

--- A picture for whatever path, by the end of its name.
function images.picture(request)
  local body, type = pictures.of(request.path:gsub("[?#].*", ""))
  return { status = 200, body = body, type = type }
end

--- /hop/3/REST leads to /hop/2/REST … and from /hop/1/REST to /REST.
function images.hop(request)
  local left, rest = request.path:match("^/hop/(%d+)(/.*)$")
  left = math.tointeger(tonumber(left)) or 0
  local target = left > 1 and ("/hop/%d%s"):format(left - 1, rest) or rest or "/"
  return { status = 302, headers = { Location = target }, body = "moved", type = "text/plain" }
end

--- /to/TARGET leads to TARGET, which stands there with % escapes.
function images.to(_, target)
  return { status = 302, headers = { Location = target }, body = "" }
end

return images
