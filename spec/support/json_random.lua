-- Makes JSON documents of every shape, at random but the same ones from the same seed, together
-- with the values they stand for. Knows nothing of any decoder.

local json_random = {}

local generator_mt = {}
generator_mt.__index = generator_mt

-- What a null stands for in a value that was made: a decoder's own null is put in its place.
json_random.null = setmetatable({}, { __tostring = function() return "null" end })

-- options: depth (4), most levels; width (5), of most containers; null (true), whether there are
-- nulls.
function json_random.new(seed, options)
  options = options or {}
  return setmetatable({
    state = seed | 1,
    depth = options.depth or 4,
    width = options.width or 5,
    null = options.null ~= false,
  }, generator_mt)
end

-- An integer from 0 to n - 1 (a 64-bit xorshift: math.random belongs to the caller).
function generator_mt:below(n)
  local x = self.state
  x = x ~ (x << 13)
  x = x ~ (x >> 7)
  x = x ~ (x << 17)
  self.state = x
  return (x >> 11) % n
end

function generator_mt:pick(list)
  return list[self:below(#list) + 1]
end

local SPACES = { "", "", "", "", "", "", " ", "\n", "\t", "\r\n", "  \n    " }

function generator_mt:space()
  return self:pick(SPACES)
end

local PLAIN = { "a", "Z", "0", " ", "/", "{", "]", ",", ":", "'", "~", "\x7F", "MJ::JOB",
  "https://cdn.example/x.png?ex=1&", "a longer piece of text, as in prompts" }
local SHORT = { ['\\"'] = '"', ["\\\\"] = "\\", ["\\/"] = "/", ["\\b"] = "\b", ["\\f"] = "\f",
  ["\\n"] = "\n", ["\\r"] = "\r", ["\\t"] = "\t" }
local SHORT_KEYS = { '\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t" }
local FIRST_BEYOND = { 0x80, 0x800, 0x10000, 0x110000 } -- of each length of UTF-8

local function escape_of(code, format)
  if code < 0x10000 then return format:format(code) end
  code = code - 0x10000
  return format:format(0xD800 + (code >> 10)) .. format:format(0xDC00 + (code & 0x3FF))
end

-- A piece of a string as JSON spells it, and as it is.
function generator_mt:piece()
  local kind = self:below(10)
  if kind < 6 then
    local text = self:pick(PLAIN)
    return text, text
  elseif kind == 6 then
    local spelt = self:pick(SHORT_KEYS)
    return spelt, SHORT[spelt]
  end
  local length = self:below(4) + 1
  local low = length > 1 and FIRST_BEYOND[length - 1] or 0
  local code = low + self:below(FIRST_BEYOND[length] - low)
  if code >= 0xD800 and code <= 0xDFFF then code = 0xFFFD end
  local text = utf8.char(code)
  if kind == 7 and code >= 0x20 and not text:find '["\\]' then return text, text end
  return escape_of(code, self:below(2) == 0 and "\\u%04x" or "\\u%04X"), text
end

function generator_mt:string()
  local spelt, plain = {}, {}
  for i = 1, self:below(self:below(8) == 0 and 30 or 5) do
    spelt[i], plain[i] = self:piece()
  end
  return '"' .. table.concat(spelt) .. '"', table.concat(plain)
end

function generator_mt:integer()
  local bits = self:below(64)
  local magnitude = bits == 0 and 0 or self:below(math.maxinteger) >> (63 - bits)
  local value = self:below(2) == 0 and magnitude or -magnitude
  return ("%d"):format(value), value
end

local FLOATS = { "%.1f", "%.3f", "%.17g", "%.6e", "%.0E", "%.16e" }

-- Read back with Lua's own tonumber: the spelling, not the number, is what is at random.
function generator_mt:float()
  local magnitude = (self:below(1 << 52) / (1 << 40)) * 10.0 ^ (self:below(40) - 20)
  if self:below(10) == 0 then magnitude = magnitude * 10.0 ^ (self:below(500) - 270) end
  local spelt = self:pick(FLOATS):format(self:below(2) == 0 and magnitude or -magnitude)
  if not spelt:find "[.eE]" then spelt = spelt .. ".0" end
  return spelt, assert(tonumber(spelt))
end

function generator_mt:array(depth)
  local spelt, value = {}, {}
  local length = self:below(20) == 0 and self:below(200) or self:below(self.width)
  for i = 1, length do
    spelt[i], value[i] = self:value(depth)
  end
  return "[" .. table.concat(spelt, ",") .. (length == 0 and self:space() or "") .. "]", value
end

function generator_mt:object(depth)
  local spelt, value = {}, {}
  local last
  for i = 1, self:below(20) == 0 and self:below(100) or self:below(self.width) do
    local key_spelt, key = self:string()
    if last and self:below(20) == 0 then key_spelt, key = last[1], last[2] end -- twice
    local spelt_value
    spelt_value, value[key] = self:value(depth)
    spelt[i] = self:space() .. key_spelt .. self:space() .. ":" .. spelt_value
    last = { key_spelt, key }
  end
  if #spelt == 0 then spelt[1] = self:space() end
  return "{" .. table.concat(spelt, ",") .. "}", value
end

-- A value with spaces around it: its spelling, and itself.
function generator_mt:value(depth)
  local kind = self:below(depth > 0 and 12 or 8)
  local spelt, value
  if kind < 3 then
    spelt, value = self:string()
  elseif kind < 5 then
    spelt, value = self:integer()
  elseif kind == 5 then
    spelt, value = self:float()
  elseif kind == 6 then
    value = self:below(2) == 0
    spelt = tostring(value)
  elseif kind == 7 then
    if self.null then spelt, value = "null", json_random.null else spelt, value = "0", 0 end
  elseif kind < 10 then
    spelt, value = self:array(depth - 1)
  else
    spelt, value = self:object(depth - 1)
  end
  return self:space() .. spelt .. self:space(), value
end

function generator_mt:document()
  return self:value(self.depth)
end

return json_random
