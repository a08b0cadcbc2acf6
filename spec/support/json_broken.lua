-- Makes documents that are hardly JSON, at random but the same ones from the same seed: good ones
-- with something changed, and the corners of the grammar. Knows nothing of any decoder.

local json_random = require "support.json_random"

local json_broken = {}

local maker_mt = {}
maker_mt.__index = maker_mt

function json_broken.new(seed)
  return setmetatable({ good = json_random.new(seed) }, maker_mt)
end

local PIECES = {
  "{", "}", "[", "]", ",", ":", '"', "\\", "'", "0", "1", "-", "+", ".", "e", "E", " ", "\t", "\r",
  "\n", "\0", "\x1F", "\x7F", "\f", "\v", "u", "\\u", "\\ud83d", "\\udd04", "\\uDBFF\\uDFFF",
  "\\u0000", "\\x41", "\\/", "true", "false", "null", "NaN", "Infinity", "-Infinity", "nul", "True",
  "\xEF\xBB\xBF", "\x80", "\xBF", "\xC0\xAF", "\xC3", "\xE2\x82", "\xED\xA0\x80", "\xED\xB0\x80",
  "\xF0\x9F\x94\x84", "\xF0\x9F\x94", "\xF4\x90\x80\x80", "\xF8\x88", "\xFF", "\u{A0}", "\u{2028}",
  "1e999", "-0", "-0.0", "0x1", "01", "1.", ".5", "/*", "//", "#", "\"a\":", "[],", "{}", '"",',
}

local function random_bytes(good)
  local bytes = {}
  for i = 1, good:below(4) + 1 do bytes[i] = string.char(good:below(256)) end
  return table.concat(bytes)
end

-- Each takes a document and gives another.
local changes = {
  function(good, json) -- cut
    return json:sub(1, good:below(#json + 1))
  end,
  function(good, json) -- take something out
    local at = good:below(#json + 1)
    return json:sub(1, at) .. json:sub(at + good:below(3) + 2)
  end,
  function(good, json) -- put something in
    local at = good:below(#json + 1)
    return json:sub(1, at) .. good:pick(PIECES) .. json:sub(at + 1)
  end,
  function(good, json) -- change something
    local at = good:below(#json + 1)
    return json:sub(1, at) .. good:pick(PIECES) .. json:sub(at + good:below(4) + 2)
  end,
  function(good, json) -- change bytes
    local at = good:below(#json + 1)
    local bytes = random_bytes(good)
    return json:sub(1, at) .. bytes .. json:sub(at + #bytes + 1)
  end,
  function(good, json) -- say something twice
    local from = good:below(#json + 1)
    local to = from + good:below(20)
    return json:sub(1, to) .. json:sub(from + 1)
  end,
}

local function digits(good, most)
  local out = {}
  for i = 1, good:below(most) + 1 do out[i] = good:below(10) end
  return table.concat(out)
end

local EDGES = {
  "9007199254740992", "9007199254740993", "9223372036854775807", "9223372036854775808",
  "18446744073709551615", "18446744073709551616", "1.7976931348623157e308",
  "1.7976931348623159e308", "4.9406564584124654e-324", "2.4703282292062327e-324",
  "2.2250738585072011e-308", "0.1", "1e23", "8.5e22", "5e-324", "1e309", "0e0",
}

local function number(good)
  local kind = good:below(5)
  local sign = good:below(3) == 0 and "-" or ""
  if kind == 0 then return sign .. good:pick(EDGES) end
  if kind == 1 then return sign .. digits(good, 25) end -- with zeros in front, too
  if kind == 2 then return sign .. good:below(10) .. "." .. digits(good, 40) end
  local mantissa = (1 + good:below(9)) .. "." .. digits(good, 18)
  if kind == 3 then return sign .. mantissa .. "e" .. good:below(660) - 330 end
  return sign .. digits(good, 400) .. "." .. digits(good, 900) .. "E" .. good:below(900) - 450
end

local UNITS = { "\\ud83d", "\\udd04", "\\uD83D\\uDD04", "\\u0041", "\\n", "x", "\u{E9}", "\xF0\x9F",
  "\xED\xA0\xBD", "\xC3", "\xA9", "\\\\", '\\"', "plain text of some length", "\\u00" }

local function text(good)
  local out = {}
  for i = 1, good:below(12) do out[i] = good:pick(UNITS) end
  return '"' .. table.concat(out) .. '"'
end

local function nest(good)
  local open, close = {}, {}
  local levels = 58 + good:below(12)
  for i = 1, levels do
    local is_array = good:below(2) == 0
    open[i], close[levels + 1 - i] = is_array and "[" or '{"a":', is_array and "]" or "}"
  end
  return table.concat(open) .. good:pick { "", "1", "[]", "null" } .. table.concat(close)
end

local KEYS = { '"a"', '"\\u0061"', '"b"', '"\\ud83d"', '"\\udd04"', '"\xFF"', '"\u{FFFD}"', '""' }

local function twice(good)
  local members = {}
  for i = 1, good:below(6) do
    members[i] = good:pick(KEYS) .. ":" .. good:pick { "null", "1", '"\\ud83d"', "{}", "[2]" }
  end
  return "{" .. table.concat(members, ",") .. "}"
end

local corners = { number, number, text, text, nest, twice }

--- A document that may be good.
function maker_mt:document()
  local good = self.good
  local kind = good:below(8)
  if kind == 0 then return (good:document()) end
  if kind <= 2 then
    local corner = good:pick(corners)(good)
    return good:below(2) == 0 and "[" .. corner .. "]" or corner
  end
  local json = good:document()
  for _ = 1, good:below(3) + 1 do json = good:pick(changes)(good, json) end
  return json
end

return json_broken
