-- Who may in: each rule says whether a request's headers hold the key. Knows no words of refusal.

local auth = {}

local function secret(headers, key)
  return headers["mj-api-secret"] == key
end

local function raw(headers, key)
  return headers.authorization == key
end

local function bearer(headers, key)
  return headers.authorization == "Bearer " .. key
end

-- The whole Authorization counts; where there is one, the other header is never looked at.
local function net(headers, key)
  local given = headers.authorization or ""
  if given ~= "" then return given == key end
  return secret(headers, key)
end

-- "Bearer " in this exact case and "sk-" are taken off. A channel after a "-" is for
-- administrators: it is forbidden, which is not the same as a wrong key.
local function go(headers, key)
  local given = (headers.authorization or ""):gsub("^Bearer ", "")
  if given == "" or given == "midjourney-proxy" then given = headers["mj-api-secret"] or "" end
  given = given:gsub("^Bearer ", ""):gsub("^sk%-", "")
  key = key:gsub("^sk%-", "")
  if given == key then return true end
  return false, given:sub(1, #key + 1) == key .. "-" and "channel" or nil
end

auth.java, auth.ts, auth.php, auth["mj-api-secret"] = secret, secret, secret, secret
auth.net = net
auth.go = go
auth.raw = raw
auth.bearer, auth.plus = bearer, bearer
auth.none = function() return true end

return auth
