-- What goes out in a submit: bodies as JSON, pictures as data URLs. Knows lua-cjson's traps; knows
-- no network.

local body = {}

local DEPTH = 32 -- tables in tables; a body of the API has three
local LARGEST = 10 ^ 14 - 1 -- lua-cjson writes 14 digits

local encoder -- our own: options of the shared instance are anybody's

local function get_encoder()
  if not encoder then
    local ok, cjson = pcall(require, "cjson")
    if not ok then
      local reason = tostring(cjson):match("^[^\n]*"):gsub(":$", "") -- then all the places follow
      error("submits and presses need lua-cjson: " .. reason, 0)
    end
    encoder = cjson.new()
  end
  return encoder
end

--- Raises if there is no lua-cjson, before anything is sent that would be in vain.
function body.ready()
  get_encoder()
end

local check_value

local function check_table(value, name, depth)
  if depth > DEPTH then error(("%s is nested too deep, or holds itself"):format(name), 0) end
  local count, length = 0, #value
  for key in pairs(value) do
    count = count + 1
    if length > 0 and not (math.type(key) == "integer" and key >= 1 and key <= length) then
      error(("%s is neither a list nor an object: it has the key %s")
        :format(name, tostring(key)), 0)
    elseif length == 0 and type(key) ~= "string" then
      error(("%s has a key that is no string: %s"):format(name, tostring(key)), 0)
    end
  end
  if length > 0 and count ~= length then error(("%s is a list with holes"):format(name), 0) end
  for key, inner in pairs(value) do
    if length == 0 and not utf8.len(key) then
      error(name .. " has a key that is not UTF-8", 0)
    end
    local where = length > 0 and ("%s[%d]"):format(name, key) or ("%s.%s"):format(name, key)
    check_value(inner, where, depth + 1)
  end
end

-- Raises for what JSON cannot say, and for what lua-cjson would say wrongly.
function check_value(value, name, depth)
  local kind = type(value)
  if kind == "table" then return check_table(value, name, depth) end
  if kind == "string" then
    if not utf8.len(value) then error(name .. " is not UTF-8", 0) end
  elseif kind == "number" then
    if value ~= value or value >= math.huge or value <= -math.huge then
      error(name .. " is not a finite number", 0)
    elseif math.tointeger(value) and (value > LARGEST or value < -LARGEST) then
      error(name .. " has more than 14 digits: give ids as strings", 0)
    end
  elseif kind ~= "boolean" and value ~= get_encoder().null then
    error(("%s is a %s, which JSON does not have"):format(name, kind), 0)
  end
end

--- The body as JSON. Raises, naming the field, for functions, NaN, lists with holes, integers of
--- more than 14 digits, and text that is not UTF-8. `{}` is an object; cjson.null is null.
---@param value table
---@return string json
function body.encode(value)
  check_value(value, "body", 1)
  local own = get_encoder()
  -- A buffer of its own for each call lua-cjson would lose where Lua has no memory for the result.
  own.encode_keep_buffer(true)
  local json = own.encode(value)
  own.encode_keep_buffer(false) -- a picture of megabytes need not stay
  return json
end

-- ---- data URLs ----------------------------------------------------------------------------------

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local pairs_of_digits -- all 4096 of them, made at the first use

local function make_digits()
  pairs_of_digits = {}
  for high = 1, 64 do
    for low = 1, 64 do
      pairs_of_digits[#pairs_of_digits + 1] = alphabet:sub(high, high) .. alphabet:sub(low, low)
    end
  end
end

local function encode_three(text)
  local a, b, c = text:byte(1, 3)
  local bits = a << 16 | b << 8 | c
  return pairs_of_digits[(bits >> 12) + 1] .. pairs_of_digits[(bits & 0xFFF) + 1]
end

local function base64(bytes)
  if not pairs_of_digits then make_digits() end
  local rest = #bytes % 3
  local whole = bytes:sub(1, #bytes - rest):gsub("...", encode_three)
  if rest == 0 then return whole end
  local last = encode_three(bytes:sub(-rest) .. ("\0"):rep(3 - rest))
  return whole .. last:sub(1, rest + 1) .. ("="):rep(3 - rest)
end

local mime_pattern = "^[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+$"

local signs = {
  { "^\x89PNG\r\n\x1A\n", "image/png" },
  { "^\xFF\xD8\xFF", "image/jpeg" },
  { "^GIF8[79]a", "image/gif" },
  { "^RIFF....WEBP", "image/webp" },
}

--- A picture's bytes as blend, describe and masks want them: data:image/png;base64,…
---@param bytes string
---@param mime? string default: what the bytes say they are, else image/png
---@return string url
function body.data_url(bytes, mime)
  if type(bytes) ~= "string" then
    error(("bytes: a string expected, got %s"):format(type(bytes)), 2)
  end
  if mime ~= nil and (type(mime) ~= "string" or not mime:find(mime_pattern)) then
    error("mime: a type such as image/png expected", 2)
  end
  for _, sign in ipairs(signs) do
    if not mime and bytes:find(sign[1]) then mime = sign[2] end
  end
  return ("data:%s;base64,%s"):format(mime or "image/png", base64(bytes))
end

return body
