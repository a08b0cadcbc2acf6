-- Values as one line of JSON each, for --json and the state file. Knows the traps of lua-cjson that
-- concern output; must not know where it goes.
--
-- lua-cjson writes strings and fractions here. Left to itself it would write 14 digits of an
-- integer, {} for every empty list, and the keys in another order each time.

local errors = require "mjtask.errors"
local exits = require "mjtask.cli.exits"

local json = {}

local encoder -- our own: options of the shared instance are anybody's

local function get_encoder()
  if not encoder then
    encoder = exits.need("cjson", "JSON needs", "lua-cjson").new()
  end
  return encoder
end

-- Fields of tasks, of receipts and of ours that are lists also when they are empty: the decoder
-- gives the same table for {} and [].
local LISTS = {
  buttons = true, images = true, ids = true, saved = true, presses = true, tasks = true,
  imageUrls = true, image_urls = true, videoUrls = true, video_urls = true,
}

-- What a terminal must not see is an escape here, too: JSON is often looked at.
local function escaped(code)
  if not code then return "\\ufffd" end
  if code < 0x10000 then return ("\\u%04x"):format(code) end
  code = code - 0x10000
  return ("\\u%04x\\u%04x"):format(0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))
end

local function text(value)
  return errors.visible((get_encoder().encode(value):gsub("\\/", "/")), escaped)
end

local write

local function list(values)
  local parts = {}
  for at, value in ipairs(values) do parts[at] = write(value) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function object(values)
  local keys, parts = {}, {}
  for key in next, values do keys[#keys + 1] = key end
  table.sort(keys)
  for at, key in ipairs(keys) do
    parts[at] = text(key) .. ":" .. write(rawget(values, key), key)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

function write(value, name)
  if math.type(value) == "integer" then return ("%d"):format(value) end
  if type(value) == "string" then return text(value) end
  if type(value) ~= "table" then return get_encoder().encode(value) end
  if #value > 0 or LISTS[name] and next(value) == nil then return list(value) end
  return object(value)
end

--- A value that came from a decoder, or is like one: strings, numbers, booleans, lists, and tables
--- whose keys are strings, which go out in their order.
---@param value any
---@return string
function json.line(value)
  return write(value)
end

return json
