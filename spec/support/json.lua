-- Writes JSON the way a given family of servers spells it. Knows no field of a task.

local json = {}

json.null = setmetatable({}, { __name = "null" })      -- written as null
json.absent = setmetatable({}, { __name = "absent" })  -- the key is left out
json.list = setmetatable({}, { __name = "list" })      -- the empty array; {} is the empty object

local ALWAYS = {
  ['"'] = '\\"', ["\\"] = "\\\\",
  ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
}
for byte = 0, 31 do
  local char = string.char(byte)
  ALWAYS[char] = ALWAYS[char] or string.format("\\u%04x", byte)
end

local ASTRAL = "[\xF0-\xF4][\x80-\xBF][\x80-\xBF][\x80-\xBF]"

local function surrogates(char)
  local code = utf8.codepoint(char) - 0x10000
  return string.format("\\u%04X\\u%04X", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))
end

local function each_key(object, rank)
  local keys = {}
  for key, value in pairs(object) do
    if value ~= json.absent then keys[#keys + 1] = key end
  end
  table.sort(keys, function(a, b)
    local ra, rb = rank[a] or math.huge, rank[b] or math.huge
    if ra ~= rb then return ra < rb end
    return a < b
  end)
  return ipairs(keys)
end

-- habits.escapes: further characters and their spelling; habits.astral: what lies beyond the
-- BMP goes out as two escapes; habits.order: the keys' order, others follow by name.
function json.writer(habits)
  local escapes = setmetatable(habits.escapes or {}, { __index = ALWAYS })
  local rank = {}
  for place, key in ipairs(habits.order or {}) do rank[key] = place end

  local function quote(text)
    text = text:gsub(".", function(char) return escapes[char] end)
    if habits.astral then text = text:gsub(ASTRAL, surrogates) end
    return '"' .. text .. '"'
  end

  local write

  local function array(values)
    local out = {}
    for place, value in ipairs(values) do out[place] = write(value) end
    return "[" .. table.concat(out, ",") .. "]"
  end

  local function object(values)
    local out = {}
    for _, key in each_key(values, rank) do
      out[#out + 1] = quote(key) .. ":" .. write(values[key])
    end
    return "{" .. table.concat(out, ",") .. "}"
  end

  function write(value)
    if value == json.null then return "null" end
    if type(value) == "string" then return quote(value) end
    if type(value) ~= "table" then return tostring(value) end
    if value == json.list or #value > 0 then return array(value) end
    return object(value)
  end

  return write
end

return json
