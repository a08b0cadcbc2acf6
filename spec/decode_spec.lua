-- The room of decode.c: RFC 8259 exactly, and what it leaves open the way design.md says.
-- Cases are tables: what the case is about, the document, what comes out.

local core = require "mjtask.core"

local decode = core.decode

local FFFD = "\u{FFFD}"
local END = "unexpected end of the document"

-- A seed, less the line end after it.
local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return (text:gsub("%s+$", ""))
end

local seeds = {
  sku = read_file "spec/fixtures/sku.json",
  pawmaas = read_file "spec/fixtures/pawmaas.json",
}

-- A value as text in which nothing is lost: 1 and 1.0, 0.0 and -0.0, all bytes.
local function show(value)
  if math.type(value) == "float" then return ("%a"):format(value) end
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local keys, out = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return show(a) < show(b) end)
  for i, key in ipairs(keys) do out[i] = show(key) .. "=" .. show(value[key]) end
  return "{" .. table.concat(out, ",") .. "}"
end

local function gives(expected, json, options)
  local value, message, offset = decode(json, options)
  assert.equal(show(expected), show(value),
    message and ("%s at %d of %s"):format(message, offset, json:sub(1, 200)))
  assert.is_nil(message)
end

local function fails(message, offset, json, options)
  local value, got_message, got_offset = decode(json, options)
  assert.is_nil(value)
  assert.equal(message, got_message, json:sub(1, 200))
  assert.equal(offset, got_offset, json:sub(1, 200))
end

local function each_accepted(cases)
  for _, case in ipairs(cases) do
    local name, json, expected = case[1], case[2], case[3]
    it("accepts " .. name, function() gives(expected, json) end)
  end
end

local function each_rejected(cases)
  for _, case in ipairs(cases) do
    local name, json, message, offset = case[1], case[2], case[3], case[4]
    it("rejects " .. name, function() fails(message, offset, json) end)
  end
end

describe("decode: grammar #J1", function()
  each_accepted {
    { "an empty object", "{}", {} },
    { "an empty array", "[]", {} },
    { "spaces in empty ones", "[ { \n } , [\t\r\n] ]", { {}, {} } },
    { "a string alone", '"a"', "a" },
    { "an empty string alone", '""', "" },
    { "an integer alone", "7", 7 },
    { "a float alone", "7.5", 7.5 },
    { "true alone", "true", true },
    { "false alone", "false", false },
    { "all kinds in an array", '[1,-2.5,"x",true,false,[],{}]',
      { 1, -2.5, "x", true, false, {}, {} } },
    { "an object of all kinds", '{"a":1,"b":[2],"c":{"d":"e"},"f":true}',
      { a = 1, b = { 2 }, c = { d = "e" }, f = true } },
    { "an empty key", '{"":1}', { [""] = 1 } },
    { "an escaped key", '{"\\u0061\\n":1}', { ["a\n"] = 1 } },
    { "a key with a NUL", '{"a\\u0000b":1}', { ["a\0b"] = 1 } },
    { "keys that Lua knows", '{"__index":1,"__gc":2,"__proto__":3}',
      { __index = 1, __gc = 2, ["__proto__"] = 3 } },
    { "keys that look like numbers", '{"1":"a","2":"b"}', { ["1"] = "a", ["2"] = "b" } },
    { "each kind of space around everything",
      " \t\r\n{ \t\r\n\"a\" \t\r\n: \t\r\n[ \t\r\n1 \t\r\n, \t\r\n2 \t\r\n] \t\r\n} \t\r\n",
      { a = { 1, 2 } } },
    { "a byte order mark", "\xEF\xBB\xBF[1]", { 1 } },
    { "DEL in a string", '"\x7F"', "\x7F" },
    { "U+2028 in a string", '"\u{2028}"', "\u{2028}" },
  }

  each_rejected {
    { "nothing", "", END, 0 },
    { "only spaces", " \n", END, 2 },
    { "only a byte order mark", "\xEF\xBB\xBF", END, 3 },
    { "two byte order marks", "\xEF\xBB\xBF\xEF\xBB\xBF1", "value expected", 3 },
    { "half a byte order mark", "\xEF\xBB1", "value expected", 0 },
    { "UTF-16", "\xFE\xFF\0[\0]", "value expected", 0 },
    { "an open array", "[1", END, 2 },
    { "an open object", '{"a":1', END, 6 },
    { "an array closed twice", "[1]]", "unexpected data after the document", 3 },
    { "an array closed as an object", "[1}", "',' or ']' expected", 2 },
    { "an object closed as an array", '{"a":1]', "',' or '}' expected", 6 },
    { "a comma at the end of an array", "[1,]", "value expected", 3 },
    { "a comma at the end of an object", '{"a":1,}', "key expected", 7 },
    { "a comma at the start of an array", "[,1]", "value expected", 1 },
    { "a comma at the start of an object", '{,"a":1}', "key expected", 1 },
    { "two commas in an array", "[1,,2]", "value expected", 3 },
    { "two commas in an object", '{"a":1,,"b":2}', "key expected", 7 },
    { "no comma in an array", "[1 2]", "',' or ']' expected", 3 },
    { "no comma in an object", '{"a":1 "b":2}', "',' or '}' expected", 7 },
    { "no colon", '{"a" 1}', "':' expected", 5 },
    { "two colons", '{"a"::1}', "value expected", 5 },
    { "an equals sign", '{"a"=1}', "':' expected", 4 },
    { "a colon in an array", '["a":1]', "',' or ']' expected", 4 },
    { "a key without a value", '{"a"}', "':' expected", 4 },
    { "a key with a colon only", '{"a":}', "value expected", 5 },
    { "a number as a key", "{1:1}", "key expected", 1 },
    { "a bare key", "{a:1}", "key expected", 1 },
    { "a key in single quotes", "{'a':1}", "key expected", 1 },
    { "a string in single quotes", "'a'", "value expected", 0 },
    { "a word that is none", "[nul]", "value expected", 4 },
    { "True", "True", "value expected", 0 },
    { "tru", "tru", END, 3 },
    { "truE", "[truE]", "value expected", 4 },
    { "truee", "truee", "unexpected data after the document", 4 },
    { "nullnull", "nullnull", "unexpected data after the document", 4 },
    { "undefined", "undefined", "value expected", 0 },
    { "a comment", "[1/**/]", "',' or ']' expected", 2 },
    { "a line comment", "1 // one", "unexpected data after the document", 2 },
    { "HTML", "<html></html>", "value expected", 0 },
    { "two documents", "{}{}", "unexpected data after the document", 2 },
    { "two documents in lines", "1\n2", "unexpected data after the document", 2 },
    { "a NUL at the end", "[1]\0", "unexpected data after the document", 3 },
    { "a NUL and more", "[1]\0garbage", "unexpected data after the document", 3 },
    { "a NUL inside", "[1,\0]", "value expected", 3 },
    { "a NUL alone", "\0", "value expected", 0 },
    { "a form feed as space", "[\f1]", "value expected", 1 },
    { "a vertical tab as space", "[\v1]", "value expected", 1 },
    { "a no-break space", "[\u{A0}1]", "value expected", 1 },
    { "a byte order mark inside", "[\xEF\xBB\xBF1]", "value expected", 1 },
    { "a DEL", "[\x7F]", "value expected", 1 },
    { "an open string", '"abc', END, 4 },
    { "a quote alone", '"', END, 1 },
    { "a string that ends in its escape", '"a\\', END, 3 },
    { "a string that ends in a quote's escape", '"a\\"', END, 4 },
  }

  for byte = 0, 255 do
    local c = string.char(byte)
    if not c:find "[ \t\r\n]" then
      it(("rejects byte 0x%02X after a document"):format(byte), function()
        fails("unexpected data after the document", 3, "[1]" .. c)
      end)
    end
  end
end)

describe("decode: numbers #J3", function()
  each_accepted {
    { "0", "0", 0 },
    { "-0 as the integer it is", "-0", 0 },
    { "-0.0 as the float it is", "-0.0", -0.0 },
    { "-0e0", "-0e0", -0.0 },
    { "0.0", "0.0", 0.0 },
    { "2.0 as a float", "2.0", 2.0 },
    { "1e0 as a float", "1e0", 1.0 },
    { "an upper-case exponent", "1E2", 100.0 },
    { "a plus in the exponent", "1e+2", 100.0 },
    { "a minus in the exponent", "25e-1", 2.5 },
    { "zeros in the exponent", "1e0002", 100.0 },
    { "all parts", "-12.5e-1", -1.25 },
    { "18 digits", "999999999999999999", 999999999999999999 },
    { "19 digits", "1000000000000000000", 1000000000000000000 },
    { "2^53 + 1", "9007199254740993", 9007199254740993 },
    { "a time in milliseconds", "1735030481000", 1735030481000 },
    { "the largest integer", "9223372036854775807", math.maxinteger },
    { "the smallest integer", "-9223372036854775808", math.mininteger },
    { "one above the largest", "9223372036854775808", 2.0 ^ 63 },
    { "one below the smallest", "-9223372036854775809", -2.0 ^ 63 },
    { "2^64 - 1", "18446744073709551615", 2.0 ^ 64 },
    { "2^64", "18446744073709551616", 2.0 ^ 64 },
    { "what wraps to a small integer", "18446744073709551617", 2.0 ^ 64 },
    { "the largest of 19 digits", "9999999999999999999", 9999999999999999999.0 },
    { "20 digits", "10000000000000000000", 1e19 },
    { "a large integer as a float", "9007199254740993.0", 2.0 ^ 53 },
    { "the largest float", "1.7976931348623157e308", 0x1.fffffffffffffp1023 },
    { "what just rounds down to the largest float", "1.7976931348623158e308",
      0x1.fffffffffffffp1023 },
    { "the smallest normal float", "2.2250738585072014e-308", 0x1p-1022 },
    { "the largest subnormal", "2.225073858507201e-308", 0x0.fffffffffffffp-1022 },
    { "the smallest subnormal", "4.9406564584124654e-324", 0x1p-1074 },
    { "what underflows", "1e-400", 0.0 },
    { "what underflows below 0", "-1e-400", -0.0 },
    { "an exponent of five digits, downwards", "1e-10000", 0.0 },
    { "another", "1e-12001", 0.0 },
    { "an exponent far out, downwards", "1e-99999999999999999999999", 0.0 },
    { "0 with an exponent far out", "0e99999999999999999999999", 0.0 },
    { "0.000 with an exponent far out", "-0.000e99999999999999999999999", -0.0 },
    { "a tie, to even", "1.00000000000000011102230246251565404236316680908203125", 1.0 },
    { "a tie and a little", "1.00000000000000011102230246251565404236316680908203126",
      0x1.0000000000001p0 },
    { "a tie and a little very far out",
      "1.00000000000000011102230246251565404236316680908203125" .. ("0"):rep(5000) .. "1",
      0x1.0000000000001p0 },
    { "a tie and a little and zeros very far out",
      "1.00000000000000011102230246251565404236316680908203125" .. ("0"):rep(5000) .. "10",
      0x1.0000000000001p0 },
    { "a tie of an integer and a little very far out",
      "9007199254740993" .. ("0"):rep(5000) .. "1e-5001", 0x1.0000000000001p53 },
    { "a tie and zeros",
      "1.00000000000000011102230246251565404236316680908203125" .. ("0"):rep(5000), 1.0 },
    { "10,000 digits of a fraction", "0." .. ("3"):rep(10000), 1 / 3 },
    { "10,000 zeros and an exponent", "0." .. ("0"):rep(10000) .. "1e10001", 1.0 },
    { "10,000 digits and an exponent", "1" .. ("0"):rep(10000) .. "e-10000", 1.0 },
    { "10,000 digits, a point and an exponent", "12" .. ("0"):rep(10000) .. ".5e-10000", 12.0 },
    { "10,000 zeros", "0." .. ("0"):rep(10000), 0.0 },
  }

  each_rejected {
    { "10,000 digits", ("1"):rep(10000), "number too large", 0 },
    { "an overflow", "[1e309]", "number too large", 1 },
    { "an overflow below 0", "[-1e309]", "number too large", 1 },
    { "what just rounds up to infinity", "1.7976931348623159e308", "number too large", 0 },
    { "an exponent of five digits", "1e10000", "number too large", 0 },
    { "another exponent of five digits", "1e12001", "number too large", 0 },
    { "an exponent far out", "1e99999999999999999999999", "number too large", 0 },
    { "an exponent that wraps to 0", "1e18446744073709551616", "number too large", 0 },
    { "a minus alone", "[-]", "digit expected", 2 },
    { "a minus at the end", "-", END, 1 },
    { "a plus", "+1", "value expected", 0 },
    { "two minuses", "--1", "digit expected", 1 },
    { "a space after the minus", "- 1", "digit expected", 1 },
    { "a leading zero", "[01]", "',' or ']' expected", 2 },
    { "a leading zero below 0", "[-01]", "',' or ']' expected", 3 },
    { "two zeros", "00", "unexpected data after the document", 1 },
    { "no digit before the point", ".5", "value expected", 0 },
    { "no digit before the point, below 0", "-.5", "digit expected", 1 },
    { "no digit after the point", "[1.]", "digit expected", 3 },
    { "no digit between point and exponent", "1.e2", "digit expected", 2 },
    { "a point at the end", "1.", END, 2 },
    { "two points", "[1.2.3]", "',' or ']' expected", 4 },
    { "no digit in the exponent", "[1e]", "digit expected", 3 },
    { "a sign alone in the exponent", "[1e+]", "digit expected", 4 },
    { "an exponent at the end", "1e", END, 2 },
    { "an exponent's sign at the end", "1e-", END, 3 },
    { "two exponents", "[1e2e3]", "',' or ']' expected", 4 },
    { "a fraction in the exponent", "[1e2.5]", "',' or ']' expected", 4 },
    { "hexadecimal", "0x10", "unexpected data after the document", 1 },
    { "hexadecimal floats", "[0x1p4]", "',' or ']' expected", 2 },
    { "NaN", "NaN", "value expected", 0 },
    { "-NaN", "-NaN", "digit expected", 1 },
    { "nan", "[nan]", "value expected", 2 },
    { "Infinity", "Infinity", "value expected", 0 },
    { "-Infinity", "-Infinity", "digit expected", 1 },
    { "inf", "inf", "value expected", 0 },
    { "a separator", "[1_000]", "',' or ']' expected", 2 },
    { "a decimal comma", "1,5", "unexpected data after the document", 1 },
    { "digits of other scripts", "\u{0661}", "value expected", 0 },
    { "full-width digits", "\u{FF11}", "value expected", 0 },
    { "a suffix", "[1n]", "',' or ']' expected", 2 },
  }

  it("is exact around every power of two and of ten", function()
    for bits = 0, 62 do
      for delta = -2, 2 do
        local n = (1 << bits) + delta
        gives(n, ("%d"):format(n))
        gives(-n, ("%d"):format(-n))
      end
    end
    for digits = 1, 18 do
      local n = assert(math.tointeger("1" .. ("0"):rep(digits)))
      for delta = -1, 1 do gives(n + delta, ("%d"):format(n + delta)) end
    end
  end)

  it("reads floats as Lua does", function()
    math.randomseed(8259)
    for _ = 1, 20000 do
      local bits = math.random(0)
      local float = string.unpack("n", string.pack("j", bits))
      if float == float and math.abs(float) ~= math.huge then
        local text = ("%.17g"):format(float)
        if not text:find "[.e]" then text = text .. ".0" end
        gives(float, text)
      end
    end
    for _ = 1, 20000 do -- short ones, as servers send them, and odd ones
      local text = ("%d.%de%d"):format(math.random(0, 10 ^ math.random(1, 15) // 1 | 0),
        math.random(0, 10 ^ math.random(1, 15) // 1 | 0), math.random(-330, 280))
      gives(tonumber(text), text)
    end
  end)

  it("reads floats of every length as Lua does", function()
    math.randomseed(768)
    local digits = {}
    for i = 1, 1600 do digits[i] = math.random(0, 9) end
    digits = table.concat(digits)
    for length = 1, 1600, 7 do
      local text = "0." .. digits:sub(1, length)
      gives(tonumber(text), text)
      text = "1" .. digits:sub(1, length) .. "e-" .. length
      gives(tonumber(text), text)
    end
    for length = 760, 780 do -- where digits begin to be counted only
      for _, last in ipairs { "0", "1", "5", "9" } do
        local text = "3" .. digits:sub(1, length) .. last .. ".25e-" .. length
        gives(tonumber(text), text)
      end
    end
  end)

  -- 3^n halves of the smallest float, as decimals: 3^n * 5^1075 / 10^1075, some 767 digits.
  it("tells ties of the smallest floats from their neighbours", function()
    local digits = { 1 } -- least first
    local function multiply(by)
      local carry = 0
      for i = 1, #digits do
        carry = carry + digits[i] * by
        digits[i], carry = carry % 10, carry // 10
      end
      if carry > 0 then digits[#digits + 1] = carry end
    end
    for _ = 1, 1075 do multiply(5) end
    for n = 1, 33 do
      multiply(3)
      local text = table.concat(digits):reverse()
      local below = (3 ^ n // 1 | 0) // 2
      local even = below + below % 2
      assert.equal("5", text:sub(-1))
      gives(below * 0x1p-1074, text:sub(1, -2) .. "4e-1075")
      gives(even * 0x1p-1074, text .. "e-1075")
      gives((below + 1) * 0x1p-1074, text .. "01e-1077")
    end
  end)

  it("does not ask the locale for a decimal point", function()
    local before = os.setlocale()
    local found
    for _, name in ipairs { "de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "nl_NL.UTF-8" } do
      found = found or os.setlocale(name, "numeric")
    end
    if not found then return pending "no locale with a decimal comma here" end
    local value, long = decode "[1.5, 2.25e1]", decode("1." .. ("3"):rep(1000))
    local comma = decode "1,5"
    os.setlocale(before)
    assert.equal(show { 1.5, 22.5 }, show(value))
    assert.equal(4 / 3, long)
    assert.is_nil(comma)
  end)
end)

describe("decode: strings #J4", function()
  each_accepted {
    { "each short escape", [["\"\\\/\b\f\n\r\t"]], '"\\/\b\f\n\r\t' },
    { "\\u0000, and what follows", [["a\u0000b"]], "a\0b" },
    { "hexadecimal digits of both cases", [["\u00e9\u00E9\uaBcD"]], "\u{E9}\u{E9}\u{ABCD}" },
    { "the last of one byte", [["\u007f"]], "\x7F" },
    { "the first of two bytes", [["\u0080"]], "\u{80}" },
    { "the last of two bytes", [["\u07FF"]], "\u{7FF}" },
    { "the first of three bytes", [["\u0800"]], "\u{800}" },
    { "the last before the surrogates", [["\uD7FF"]], "\u{D7FF}" },
    { "the first after the surrogates", [["\uE000"]], "\u{E000}" },
    { "the last of three bytes", [["\uFFFF"]], "\u{FFFF}" },
    { "the first pair", [["\uD800\uDC00"]], "\u{10000}" },
    { "the last pair", [["\uDBFF\uDFFF"]], "\u{10FFFF}" },
    { "a pair in lower case", [["\ud83d\udd04"]], "\u{1F504}" },
    { "two pairs", [["\uD83D\uDD04\uD83D\uDD04"]], "\u{1F504}\u{1F504}" },
    { "an escaped backslash before a u", [["\\u0041"]], "\\u0041" },
    { "an escaped backslash before a quote", [["\\"]], "\\" },
    { "UTF-8 of each length", '"$\u{A2}\u{20AC}\u{10348}"', "$\u{A2}\u{20AC}\u{10348}" },
    { "noncharacters", '"\u{FFFE}\u{FFFF}\u{10FFFF}"', "\u{FFFE}\u{FFFF}\u{10FFFF}" },
    { "a byte order mark in a string", '"\u{FEFF}a"', "\u{FEFF}a" },
  }

  each_rejected {
    { "an escape that is none", [["\a"]], "no such escape", 2 },
    { "an escaped single quote", [["\'"]], "no such escape", 2 },
    { "\\v", [["\v"]], "no such escape", 2 },
    { "\\x41", [["\x41"]], "no such escape", 2 },
    { "\\0", [["\0"]], "no such escape", 2 },
    { "\\U", [["\U0041"]], "no such escape", 2 },
    { "an escaped line end", '"\\\n"', "no such escape", 2 },
    { "an escaped NUL byte", '"\\\0"', "no such escape", 2 },
    { "\\u without digits", [["\u"]], "hexadecimal digit expected", 3 },
    { "\\u with one digit", [["\u1"]], "hexadecimal digit expected", 4 },
    { "\\u with three digits", [["\u123"]], "hexadecimal digit expected", 6 },
    { "\\u with three digits and more", [["\u123g5678"]], "hexadecimal digit expected", 6 },
    { "\\u with a sign", [["\u+123"]], "hexadecimal digit expected", 3 },
    { "\\u with a space", [["\u 123"]], "hexadecimal digit expected", 3 },
    { "\\u cut short", [["\u12]], END, 5 },
    { "\\u{41}", [["\u{41}"]], "hexadecimal digit expected", 3 },
    { "a pair whose second is bad", [["\uD800\uDCG0"]], "hexadecimal digit expected", 11 },
    { "a pair cut short", [["\uD800\uDC]], END, 11 },
    { "a bad escape in a key", [[{"\a":1}]], "no such escape", 3 },
  }

  it("rejects every raw control character, at every place of a word", function()
    for byte = 0, 0x1F do
      for before = 0, 34 do
        local c, text = string.char(byte), ("x"):rep(before)
        fails("control character in a string", before + 1, '"' .. text .. c .. ("y"):rep(40) .. '"')
        fails("control character in a string", before + 3, '"\\n' .. text .. c .. 'y"')
      end
    end
  end)

  it("knows every escape of four digits", function()
    for code = 0, 0xFFFF do
      local expected = code >= 0xD800 and code <= 0xDFFF and FFFD or utf8.char(code)
      local value = decode(('"\\u%04x"'):format(code))
      if value ~= expected then gives(expected, ('"\\u%04x"'):format(code)) end
      value = decode(('"a\\u%04Xb"'):format(code))
      if value ~= "a" .. expected .. "b" then gives(expected, ('"\\u%04X"'):format(code)) end
    end
  end)

  it("makes pairs of the right halves, and U+FFFD of the others", function()
    local pieces = {
      { "\\uD83D", "high" }, { "\\uDBFF", "high" }, { "\\uDC00", "low" }, { "\\uDD04", "low" },
      { "\\u0041", "other", "A" }, { "\\n", "other", "\n" }, { "B", "other", "B" },
      { "\u{E9}", "other", "\u{E9}" },
    }
    local function value_of(escape) return tonumber(escape:sub(3), 16) end
    local function expect(sequence)
      local out, i = {}, 1
      while i <= #sequence do
        local piece, next_piece = sequence[i], sequence[i + 1]
        if piece[2] == "high" and next_piece and next_piece[2] == "low" then
          out[#out + 1] = utf8.char(0x10000 + ((value_of(piece[1]) - 0xD800) << 10)
            + (value_of(next_piece[1]) - 0xDC00))
          i = i + 2
        else
          out[#out + 1] = piece[3] or FFFD
          i = i + 1
        end
      end
      return table.concat(out)
    end
    for _, a in ipairs(pieces) do
      for _, b in ipairs(pieces) do
        for _, c in ipairs(pieces) do
          for _, d in ipairs(pieces) do
            local json = '"' .. a[1] .. b[1] .. c[1] .. d[1] .. '"'
            local expected = expect { a, b, c, d }
            gives(expected, json)
            if expected:find(FFFD, 1, true) then
              local value, message = decode(json, { strict = true })
              assert.is_nil(value, json)
              assert.equal("lone surrogate", message)
            else
              gives(expected, json, { strict = true })
            end
          end
        end
      end
    end
  end)

  -- One U+FFFD for each maximal subpart, as browsers do it: the table of the Unicode standard's
  -- section 3.9, and each class of bad bytes.
  local bad_utf8 = {
    { "a lone continuation", "\x80", 1 },
    { "two continuations", "\x80\xBF", 2 },
    { "C0 and C1", "\xC0\xC1", 2 },
    { "overlong, two bytes", "\xC0\xAF", 2 },
    { "overlong, three bytes", "\xE0\x80\xAF", 3 },
    { "overlong, three bytes, the last", "\xE0\x9F\xBF", 3 },
    { "overlong, four bytes", "\xF0\x80\x80\xAF", 4 },
    { "overlong, four bytes, the last", "\xF0\x8F\xBF\xBF", 4 },
    { "the first surrogate", "\xED\xA0\x80", 3 },
    { "the last surrogate", "\xED\xBF\xBF", 3 },
    { "a pair of surrogates", "\xED\xA0\xBD\xED\xB4\x84", 6 },
    { "above U+10FFFF", "\xF4\x90\x80\x80", 4 },
    { "F5 to FF", "\xF5\xF6\xF7\xF8\xF9\xFA\xFB\xFC\xFD\xFE\xFF", 11 },
    { "five bytes of old", "\xF8\x88\x80\x80\x80", 5 },
    { "two of three bytes", "\xE2\x82", 1 },
    { "one of three bytes", "\xE2", 1 },
    { "three of four bytes", "\xF0\x9F\x94", 1 },
    { "two of four bytes", "\xF0\x9F", 1 },
    { "one of four bytes", "\xF0", 1 },
    { "one of two bytes", "\xC3", 1 },
    { "cut sequences in a row", "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF", 4 },
    { "the standard's example", "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82", 8 },
    { "the last of F4 cut", "\xF4\x8F\xBF", 1 },
    { "Latin-1", "\xE9", 1 },
  }

  for _, case in ipairs(bad_utf8) do
    local name, bytes, count = case[1], case[2], case[3]
    it("replaces " .. name, function()
      for before = 0, 33 do
        local text = ("x"):rep(before)
        for _, after in ipairs { "", "y", "\u{E9}", ("z"):rep(40), "\\n" } do
          local tail = after == "\\n" and "\n" or after
          local json = '"' .. text .. bytes .. after .. '"'
          gives(text .. FFFD:rep(count) .. tail, json)
          fails("bad UTF-8", before + 1, json, { strict = true })
        end
      end
      gives({ [FFFD:rep(count)] = 1 }, '{"' .. bytes .. '":1}')
      fails("bad UTF-8", 2, '{"' .. bytes .. '":1}', { strict = true })
    end)
  end

  it("replaces what a cut sequence leaves before good text", function()
    gives("a" .. FFFD .. "b" .. FFFD .. FFFD .. "c" .. FFFD .. "d",
      '"a\xF1\x80\x80b\xE1\x80\xC2c\x80d"')
  end)

  it("tells every second byte from a bad one", function()
    for lead = 0x80, 0xFF do
      for second = 0x80, 0xFF do
        local bytes = string.char(lead, second) .. "\x80\x80"
        local good = utf8.len(bytes) or utf8.len(bytes:sub(1, 3)) or utf8.len(bytes:sub(1, 2))
        local value = decode('"' .. bytes .. '"')
        assert.truthy(utf8.len(value))
        assert.equal(good ~= nil and not bytes:find "^\xF4[\x90-\xFF]", value:sub(1, 3) ~= FFFD,
          ("%02X %02X"):format(lead, second))
      end
    end
  end)

  it("takes every character as it is, raw and escaped", function()
    for code = 0x20, 0x10FFFF, 37 do
      if code < 0xD800 or code > 0xDFFF then
        local c = utf8.char(code)
        local escaped = code < 0x10000 and ("\\u%04x"):format(code)
          or ("\\u%04x\\u%04x"):format(0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code & 0x3FF))
        local json = '"' .. escaped .. (c:find '["\\]' and "" or c) .. '"'
        local value = decode(json, { strict = true })
        if value ~= c .. (c:find '["\\]' and "" or c) then gives(c .. c, json) end
      end
    end
  end)

  -- Text is scanned by blocks of 8 and 16 bytes: every thing at every place of strings of every
  -- length, at every alignment, at the end of the document and before more of it.
  describe("by blocks", function()
    local things = {
      { "nothing", "", "" }, { "a quote", '\\"', '"' }, { "a backslash", "\\\\", "\\" },
      { "an escape", "\\u00e9", "\u{E9}" }, { "a pair", "\\ud83d\\udd04", "\u{1F504}" },
      { "two bytes", "\u{E9}", "\u{E9}" }, { "three bytes", "\u{5E7D}", "\u{5E7D}" },
      { "four bytes", "\u{1F504}", "\u{1F504}" }, { "a bad byte", "\xFF", FFFD },
      { "DEL", "\x7F", "\x7F" }, { "a space", " ", " " }, { "a bracket", "]", "]" },
    }
    for _, thing in ipairs(things) do
      it("finds " .. thing[1] .. " at every place", function()
        for length = 0, 36 do
          for place = 0, length do
            local before, after = ("a"):rep(place), ("z"):rep(length - place)
            local expected = before .. thing[3] .. after
            local json = '"' .. before .. thing[2] .. after .. '"'
            local shift = (" "):rep((length * 7 + place) % 16)
            local one, two = decode(shift .. json), decode(shift .. "[" .. json .. ",true]")
            if one ~= expected or two[1] ~= expected or two[2] ~= true then
              gives(expected, json)
              gives({ expected, true }, "[" .. json .. ",true]")
            end
            local value, message, offset = decode(shift .. json:sub(1, -2))
            assert.is_nil(value)
            assert.equal(END, message)
            assert.equal(#shift + #json - 1, offset)
          end
        end
      end)
    end
  end)

  it("makes room for any string with escapes", function()
    for _, length in ipairs { 1, 200, 252, 253, 254, 255, 256, 257, 767, 768, 769, 1020, 1021, 1022,
      1023, 1024, 1025, 2047, 2048, 2049, 5000, 100000 } do
      local text = ("x"):rep(length)
      gives(text .. "\n", '"' .. text .. '\\n"')
      gives("\n" .. text, '"\\n' .. text .. '"')
      gives(("\u{5E7D}"):rep(length), '"' .. ("\\u5e7d"):rep(length) .. '"')
      gives(("\u{1F504}"):rep(length), '"' .. ("\\ud83d\\udd04"):rep(length) .. '"')
      gives(("\n"):rep(length), '"' .. ("\\n"):rep(length) .. '"')
      gives(text .. ("\u{5E7D}"):rep(300), '"' .. text .. ("\\u5e7d"):rep(300) .. '"')
      gives(text .. ("\u{1F504}"):rep(300), '"' .. text .. ("\\ud83d\\udd04"):rep(300) .. '"')
      gives(FFFD:rep(length), '"' .. ("\xFF"):rep(length) .. '"')
      gives(("a" .. FFFD .. "\n"):rep(length), '"' .. ("a\xFF\\n"):rep(length) .. '"')
    end
  end)

  it("starts each string with an empty scratch", function()
    gives({ "a\n", "b\t", "", "c", "\\" }, [==[["a\n","b\t","","c","\\"]]==])
    gives({ ["k\n"] = "v\n", ["l\n"] = "w" }, [[{"k\n":"v\n","l\n":"w"}]])
  end)
end)

describe("decode: null", function()
  local NULL = setmetatable({}, { __tostring = function() return "NULL" end })
  local keep = { null = NULL }

  it("alone is nil, without a message", function()
    local results = table.pack(decode "null")
    assert.equal(1, results.n)
    assert.is_nil(results[1])
  end)

  it("is absent from objects", function()
    gives({ b = 1 }, '{"a":null,"b":1,"c":null}')
    gives({}, '{"a":null}')
  end)

  it("is skipped in arrays, which stay sequences", function()
    gives({ 1, 2, 3 }, "[null,1,null,null,2,3,null]")
    gives({}, "[null]")
    gives({ {}, {} }, "[[null],null,{}]")
    local json, expected = {}, {}
    for i = 1, 1000 do
      json[i] = i % 3 == 0 and "null" or tostring(i)
      if i % 3 ~= 0 then expected[#expected + 1] = i end
    end
    gives(expected, "[" .. table.concat(json, ",") .. "]")
    gives({}, "[" .. ("null,"):rep(1000) .. "null]")
  end)

  it("is what the caller says it is", function()
    assert.equal(NULL, decode("null", keep))
    assert.equal(NULL, decode('{"a":null}', keep).a)
    local array = decode("[null,1,null]", keep)
    assert.equal(3, #array)
    assert.equal(NULL, array[1])
    assert.equal(NULL, array[3])
    gives({ "x", 1, "x" }, "[null,1,null]", { null = "x" })
    local long = decode("[" .. ("null,"):rep(999) .. "null]", keep)
    assert.equal(1000, #long)
    assert.equal(NULL, long[1000])
  end)

  it("is a word like the others", function()
    fails(END, 3, "nul")
    fails("value expected", 4, "[nulL]")
  end)
end)

describe("decode: duplicate keys #J5", function()
  each_accepted {
    { "two: the last wins", '{"a":1,"a":2}', { a = 2 } },
    { "a null after a value: absent", '{"a":1,"a":null}', {} },
    { "a null before a value", '{"a":null,"a":1}', { a = 1 } },
    { "a null between values", '{"a":1,"a":null,"a":3,"b":4}', { a = 3, b = 4 } },
    { "one spelt with an escape", '{"a":1,"\\u0061":2}', { a = 2 } },
    { "long ones", '{"' .. ("k"):rep(100) .. '":1,"' .. ("k"):rep(100) .. '":2}',
      { [("k"):rep(100)] = 2 } },
    { "different kinds", '{"a":{"b":1},"a":[2]}', { a = { 2 } } },
  }

  it("keep the sentinel if it comes last", function()
    gives({ a = "null" }, '{"a":1,"a":null}', { null = "null" })
    gives({ a = 1 }, '{"a":null,"a":1}', { null = "null" })
  end)
end)

-- The fields of tasks are at hand, by a hash: see read_key.
describe("decode: keys", function()
  it("are told apart by every byte and by their length", function()
    local json, expected = {}, {}
    for _, key in ipairs { "axbxc", "aybxc", "axbyc", "aybyc", "axbbxc", "a", "aa", "aaa", "aba",
      ("k"):rep(31), ("k"):rep(32), ("k"):rep(33), "abc ", "abc", "\0", "a\0a", "é", "è" } do
      if not expected[key] then json[#json + 1] = ('"%s":%d'):format(
        key:gsub("%z", "\\u0000"), #json + 1) end
      expected[key] = expected[key] or #json
    end
    for _ = 1, 3 do gives(expected, "{" .. table.concat(json, ",") .. "}") end
  end)
end)

describe("decode: containers", function()
  it("holds arrays of any length, in order", function()
    for _, length in ipairs { 0, 1, 2, 3, 62, 63, 64, 65, 66, 127, 128, 129, 192, 193, 1000,
      100000 } do
      local json, expected = {}, {}
      for i = 1, length do json[i], expected[i] = tostring(i * 3), i * 3 end
      local array = decode("[" .. table.concat(json, ",") .. "]")
      assert.equal(length, #array)
      for i = 1, length do
        if array[i] ~= expected[i] then assert.equal(expected[i], array[i]) end
      end
      assert.is_nil(array[length + 1])
    end
  end)

  it("holds objects of any size, after others of any size", function()
    local objects, expected = {}, {}
    for i, size in ipairs { 0, 1, 100, 0, 1, 2, 63, 64, 65, 1, 17, 1000, 3, 8, 9, 0, 5 } do
      local pairs_, object = {}, {}
      for k = 1, size do
        pairs_[k], object["k" .. k] = ('"k%d":%d'):format(k, k * i), k * i
      end
      objects[i], expected[i] = "{" .. table.concat(pairs_, ",") .. "}", object
    end
    gives(expected, "[" .. table.concat(objects, ",") .. "]")
    gives({ a = expected, b = expected },
      ('{"a":[%s],"b":[%s]}'):format(table.concat(objects, ","), table.concat(objects, ",")))
  end)

  it("holds arrays in arrays on both sides of a batch", function()
    local inner = "[" .. ("1,"):rep(69) .. "1]"
    local outer = decode("[" .. (inner .. ","):rep(69) .. inner .. "]")
    assert.equal(70, #outer)
    for i = 1, 70 do assert.equal(70, #outer[i]) end
  end)

  it("makes a table of its own for each", function()
    local value = decode "[{},{},[],[]]"
    value[1].x = 1
    assert.is_nil(next(value[2]))
    assert.not_equal(value[3], value[4])
    assert.is_nil(getmetatable(value))
  end)
end)

describe("decode: limits #J2", function()
  local function nest(levels, open, close, inside)
    return open:rep(levels) .. inside .. close:rep(levels)
  end

  it("of depth: 64 levels, and no more", function()
    assert.truthy(decode(nest(64, "[", "]", "1")))
    fails("nested too deep", 64, nest(65, "[", "]", "1"))
    assert.truthy(decode(nest(64, '{"a":', "}", "1")))
    fails("nested too deep", 64 * 5, nest(65, '{"a":', "}", "1"))
    assert.truthy(decode(nest(32, '[{"a":', "}]", "1")))
    fails("nested too deep", 32 * 6, nest(32, '[{"a":', "}]", "[]"))
  end)

  it("of depth: siblings do not count", function()
    assert.equal(1001, #decode("[" .. ("[[{}]],"):rep(1000) .. nest(63, "[", "]", "1") .. "]"))
  end)

  it("of depth: a million brackets fail at the 65th", function()
    fails("nested too deep", 64, ("["):rep(1000000))
    fails("nested too deep", 64 * 5, ('{"a":'):rep(1000000))
    fails("nested too deep", 64, ("["):rep(1000000), { null = 1, strict = true })
  end)

  it("of depth: by option, up to a ceiling", function()
    gives(1, "1", { max_depth = 0 })
    fails("nested too deep", 0, "[]", { max_depth = 0 })
    gives({ {} }, "[[]]", { max_depth = 2 })
    fails("nested too deep", 2, "[[[]]]", { max_depth = 2 })
    assert.truthy(decode(nest(1000, "[", "]", "1"), { max_depth = 1000000 }))
    fails("nested too deep", 1000, ("["):rep(1000000), { max_depth = 1000000 })
    local full = ("1,"):rep(63) -- as much of the Lua stack as a level takes
    assert.truthy(decode(nest(1000, "[" .. full, "]", "1"), { max_depth = 1000 }))
  end)

  it("of size", function()
    gives({ 1 }, "[1]", { max_size = 3 })
    fails("document too large", 2, "[1]", { max_size = 2 })
    fails("document too large", 0, "1", { max_size = 0 })
    fails(END, 0, "", { max_size = 0 })
    local eight = 8 << 20
    gives(("x"):rep(eight - 2), '"' .. ("x"):rep(eight - 2) .. '"')
    fails("document too large", eight, '"' .. ("x"):rep(eight - 1) .. '"')
    gives(("x"):rep(eight - 1), '"' .. ("x"):rep(eight - 1) .. '"', { max_size = eight + 1 })
  end)
end)

describe("decode: cut and broken documents #J1 #J8", function()
  for name, seed in pairs(seeds) do
    it("rejects " .. name .. " cut at every byte, at its end", function()
      for size = 0, #seed - 1 do
        local value, message, offset = decode(seed:sub(1, size))
        if value ~= nil or message ~= END or offset ~= size then
          fails(END, size, seed:sub(1, size))
        end
        value, message, offset = decode(seed:sub(1, size), { strict = true, null = 0 })
        if value ~= nil or message ~= END or offset ~= size then
          fails(END, size, seed:sub(1, size), { strict = true, null = 0 })
        end
      end
    end)

    it("rejects " .. name .. " with more after it", function()
      for _, more in ipairs { "\0", "}", ",", "1", '"', "{}", "\0\0\0", "\xEF\xBB\xBF" } do
        fails("unexpected data after the document", #seed, seed .. more)
      end
    end)

    it("survives " .. name .. " with any byte replaced", function()
      for place = 1, #seed do
        for _, byte in ipairs { "\0", '"', "\\", "{", "]", ",", "\x80", "\xF0", "9", "-" } do
          local json = seed:sub(1, place - 1) .. byte .. seed:sub(place + 1)
          local value, message, offset = decode(json)
          if value == nil then
            assert.equal("string", type(message))
            assert.truthy(offset >= 0 and offset <= #json)
          end
        end
      end
    end)
  end
end)

describe("decode: tasks", function()
  it("reads the first seed", function()
    local task = decode(seeds.sku)
    local prompt = task.prompt
    assert.equal(469, #prompt)
    assert.equal("Ghost warriors are weird and mysterious.", prompt:sub(1, 40))
    assert.equal("--s 550", prompt:sub(-7))
    local expected = {
      id = "1735030480754475", action = "IMAGINE", status = "SUCCESS",
      prompt = prompt, promptEn = prompt, description = "/imagine " .. prompt,
      submitTime = 1735030481000, startTime = 1735030482000, finishTime = 1735030513000,
      progress = "100%", cost = 2.0,
      imageUrl = "https://cdn.discordapp.com/attachments/1300017421079285816/1321038423603023894/"
        .. "elijah_henderson7782_Ghost_warriors_are_weird_and_mysterious._I_"
        .. "3182402e-79db-44e7-b9d7-0e63b94539d1.png?ex=676bc867&is=676a76e7"
        .. "&hm=c1a61d04e43df35124b25fb6f1fb3f24ac405c0e032b7fafbd2b6004d3f182f0&",
      state = "", seed = "", buttons = {},
      properties = {
        flags = 0, nonce = "1592587638030860288", botType = "MID_JOURNEY",
        messageId = "1321038423821258774", notifyHook = "", finalPrompt = prompt,
        messageHash = "3182402e-79db-44e7-b9d7-0e63b94539d1",
        messageContent = "**" .. prompt .. "** - <@1313218194701418518> (relaxed)",
        discordChannelId = "8449902090796547417", discordInstanceId = "5686143011994952502",
        progressMessageId = "1321038298575274054",
      },
    }
    for i, button in ipairs {
      { "upsample::1", "U1" }, { "upsample::2", "U2" }, { "upsample::3", "U3" },
      { "upsample::4", "U4" }, { "reroll::0", "", "\u{1F504}", "::SOLO" },
      { "variation::1", "V1" }, { "variation::2", "V2" }, { "variation::3", "V3" },
      { "variation::4", "V4" },
    } do
      expected.buttons[i] = {
        customId = "MJ::JOB::" .. button[1] .. "::3182402e-79db-44e7-b9d7-0e63b94539d1"
          .. (button[4] or ""),
        emoji = button[3] or "", label = button[2], type = 2, style = 2,
      }
    end
    assert.equal(show(expected), show(task))
    assert.equal("integer", math.type(task.submitTime))
    assert.equal("float", math.type(task.cost))
    assert.is_nil(task.failReason)
    assert.equal(show(expected), show(decode(seeds.sku, { strict = true })))
    expected.failReason = "none"
    assert.equal(show(expected), show(decode(seeds.sku, { null = "none" })))
  end)

  it("reads the second seed", function()
    local task = decode(seeds.pawmaas)
    local expected = {
      id = "1724963337114767", action = "IMAGINE", customId = "", botType = "",
      prompt = "a black dog flying", promptEn = "a black dog flying",
      description = "Submit success", state = "", submitTime = 1724963337114,
      startTime = 1724963338763, finishTime = 1724963365565,
      imageUrl = "http://localhost:3001/mj/image/1724963337114767", status = "SUCCESS",
      progress = "100%", failReason = "", buttons = {}, maskBase64 = "",
      properties = { finalPrompt = "a black dog flying", finalZhPrompt = "" },
    }
    for i, button in ipairs {
      { "upsample::1", "U1" }, { "upsample::2", "U2" }, { "upsample::3", "U3" },
      { "upsample::4", "U4" }, { "reroll::0", "", "\u{1F504}", "::SOLO" },
      { "variation::1", "V1" }, { "variation::2", "V2" }, { "variation::3", "V3" },
      { "variation::4", "V4" },
    } do
      expected.buttons[i] = {
        customId = "MJ::JOB::" .. button[1] .. "::e1a4d7e8-8292-412c-aab0-fce932e90479"
          .. (button[4] or ""),
        emoji = button[3] or "", label = button[2], type = 2, style = 2,
      }
    end
    assert.equal(show(expected), show(task))
  end)

  it("keeps a task whose prompt was cut inside an emoji", function()
    gives({ id = "1", prompt = "a cat " .. FFFD }, [[{"id":"1","prompt":"a cat \ud83d"}]])
  end)
end)

describe("decode: the host", function()
  it("may run finalizers at any allocation, which decode too", function()
    local running, runs = true, 0
    local function litter()
      setmetatable({}, { __gc = function()
        if not running then return end
        runs = runs + 1
        local inner = decode [==[{"a\n":["\u00e9",1.5,{"b":"\t"}]}]==]
        assert(inner["a\n"][1] == "\u{E9}" and inner["a\n"][3].b == "\t")
        litter()
      end })
    end
    local pause, multiplier = collectgarbage("setpause", 0), collectgarbage("setstepmul", 1000)
    local escaped = seeds.sku:gsub("Ghost", "\\u0047host")
    local before = show(decode(seeds.sku))
    for _ = 1, 100 do litter() end
    for _ = 1, 300 do
      local value = decode(escaped)
      if show(value) ~= before then assert.equal(before, show(value)) end
    end
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", multiplier)
    running = false
    assert.truthy(runs >= 100, runs)
  end)

  it("gets the same from a coroutine with a stack of its own", function()
    local value = coroutine.wrap(function() return decode(seeds.sku) end)()
    assert.equal(show(decode(seeds.sku)), show(value))
  end)

  it("keeps nothing after errors", function()
    local function count()
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    local json = '["' .. ("\\n"):rep(5000) .. '",{"a":[1,2,'
    for _ = 1, 10 do decode(json) end
    local before = count()
    for _ = 1, 1000 do decode(json) end
    assert.truthy(count() - before < 16)
  end)
end)
