-- Every corner of the grammar in which JSON decoders are known to go astray, class by class as test
-- suites of JSON have them, in documents of our own. Where in a document the fault is said to be,
-- decode_spec.lua checks. Python's decoder, where there is one, has to agree.

local core = require "mjtask.core"
local differential = require "support.differential"

local GOOD, REPLACED, BAD = "=", "~", "-"

local sets = {
  { mark = GOOD, name = "accepts", list = {
    -- arrays
    "[]", " [] ", "[ \t\n\r ]", "[[] \t]", '[""]', "[false]", "[null]", "[null, 1, \"1\", {}]",
    "[ 7]",
    "[7 ]", "[1\n]", " [1]", "[2] ", "[1,null,null,null,2]", "[[[[]]],[[]],[]]",
    -- numbers
    "[17e35]", "[0e+1]", "[0e1]", "[0E-0]", "[1E22]", "[1E-2]", "[1E+2]", "[3e5]", "[12.5]",
    "[-0]", "[-0.0]", "[-1]", "[-12]", "[-1.5e-7]", "[20e1]", "[12]", "[12.5678]",
    "[12.345e-678]", "[0.000000000000000000000000000000000000000000000000000000000000001]",
    "[-0.000000000000000000000000000000000000000000000000000000000000001]",
    "[100000000000000000000]", "[-99999999999999999999]", "[1.0e+28, -1.0e+28]",
    -- objects
    "{}", '{"":0}', '{"k":[]}', '{"k":"v","l":"w"}', '{"k":"v","k":"v"}', '{"k":"v","k":"w"}',
    '{"k\\u0000l":42}', '{\n"k":"v"\n}', '{"least":-1.0e+28,"most":1.0e+28}',
    '{"k":[{"id":"' .. ("x"):rep(60) .. '"}],"id":"' .. ("x"):rep(60) .. '"}',
    '{"t":"\\u043F\\u043e\\u043B"}',
    -- strings
    '["\\u0061\\u012a\\u12AB"]', '["\\ud801\\udc37"]', '["\\ud83d\\ude39\\ud83d\\udc8d"]',
    '["\\"\\\\\\/\\b\\f\\n\\r\\t"]', '["\\\\u0000"]', '["\\""]', '["a/*b*/c/*d//e"]', '["\\\\a"]',
    '["\\\\n"]', '["\\u0012"]', '["\\uFFFF"]', '["\u{FFFF}"]', '["\u{10FFFF}"]', '["\u{1BFFF}"]',
    '["\\uDBFF\\uDFFE"]', '["\u{2028}\u{2029}"]', '["\\u0000"]', '["\\u002c"]', '["\u{3C0}"]',
    '["a b"]', '" "', '["\\uA66D"]', '["\\u0022"]', '["\\u005C"]', '["\\u200B"]', '["\\u2064"]',
    '["\\uFDD0"]', '["\\u0821"]', '["\\u0123"]', '["\u{20AC}\u{1D11E}"]', '["a\x7Fb"]',
    '["\u{A0}"]',
    '["new\\u00A0line"]', '["\\u0060\\u012a"]',
    -- alone
    '"text"', "42", "-0.1", "null", "true", "false", '""', "[true]\n", "\xEF\xBB\xBF{}",
  } },
  { mark = REPLACED, name = "replaces in", list = {
    '["\\uDADA"]', '["\\uD888\\u1234"]', '["\\uD800\\n"]', '["\\uDd1ea"]', '["\\uD800\\uD800\\n"]',
    '["\\ud800"]', '["\\ud800abc"]', '["\\uDd1e\\uD834"]', '["\\uDFAA"]', '{"\\uDFAA":0}',
    '["\xE6\x97\xA5\xD1\x88\xFA"]', '["\xED\xA0\x80"]', '["\xE9"]', '["\xF4\xBF\xBF\xBF"]',
    '["\x81"]', '["\xC0\xAF"]', '["\xFC\x83\xBF\xBF\xBF\xBF"]', '["\xFC\x80\x80\x80\x80\x80"]',
    '["\xE0\xFF"]', '["\xFF"]', '{"\x80":0}', '["\\ud83d","\xFF"]', '{"a":"\\ud83d","a":1}',
  } },
  { mark = BAD, name = "rejects", list = {
    -- arrays
    "[1 true]", "[a\xE5]", '["": 1]', '[""],', "[,1]", "[1,,2]", '["x",,]', '["x"]]', '["",]',
    '["x"',
    "[x", "[3[4]]", "[\xFF]", "[1:2]", "[1;2]", "[,]", "[-]", "[   , \"\"]", '["a",\n4\n,1,',
    "[1,]",
    "[1,,]", '["\va"\\f]', "[*]", '[""', "[1,", "[1,\n1\n,1", "[{}", "[\"\",", "[[]", "[}", "[)",
    -- words
    "[fals]", "[nul]", "[tru]", "[nulll]", "[falsee]", "[TRUE]", "[True]", "[None]", "[nil]",
    "[undefined]", "truefalse", "n", "t", "f",
    -- numbers
    "123\0", "[++1234]", "[+1]", "[+Inf]", "[-01]", "[-1.0.]", "[-2.]", "[-NaN]", "[.-1]",
    "[.2e-3]",
    "[0.1.2]", "[0.3e+]", "[0.3e]", "[0.e1]", "[0E+]", "[0E]", "[0e+]", "[0e]", "[1.0e+]",
    "[1.0e-]",
    "[1.0e]", "[1 000.0]", "[1eE2]", "[2.e+3]", "[2.e-3]", "[2.e3]", "[9.e+]", "[Inf]", "[NaN]",
    "[\u{FF11}]", "[1+2]", "[0x1]", "[0x42]", "[0b1]", "[0o7]", "[Infinity]", "[0e+-1]",
    "[-9.9foo]",
    "[12\xE5]", "[1e1\xE5]", "[0\xE5]", "[-Infinity]", "[-foo]", "[- 1]", "[-012]", "[-.12]",
    "[-1x]",
    "[1ea]", "[1e\xE5]", "[1.]", "[.1]", "[@1]", "[1.2a-3]", "[1.5H-3]", "[012]", "[1_0]", "[1,0,]",
    "[1e400]", "[-1e400]", "[0.4e" .. ("9"):rep(30) .. "]", "[1" .. ("0"):rep(400) .. "]", "--1",
    "1-",
    -- objects
    '["x", truth]', '{[: "x"}', '{"x", null}', '{"x"::"b"}', "{\u{1F504}}", '{"a":"a" 1}',
    "{'a':0}", '{"\xB9":"0",}', '{"a" b}', '{:"b"}', '{"a" "b"}', '{"a":', '{"a"', "{1:1}",
    "{9E9:1}",
    "{null:null}", '{"a":0,,,,}', "{'a'}", '{"a":0,}', '{"a":"b"}/**/', '{"a":"b"}/**//',
    '{"a":"b"}//', '{"a":"b"}/', '{"a":"b",,"c":"d"}', '{a:"b"}', '{"a":"a', '{"f":"b","a"}',
    '{"a":"b"}#', "{true:1}", "{[]:1}", '{"a":1 "b":2}', '{"a":1;"b":2}', '{"a"=1}', '{"a"=>1}',
    '{"a":b}', "{,}", '{,"a":1}', '{"a":1}}', '{"a":1]',
    -- strings
    " ", '["\\uD800\\"]', '["\\uD800\\u"]', '["\\uD800\\u1"]', '["\\uD800\\u1x"]', "[\u{E9}]",
    '["\\\0"]', '["\\x00"]', '["\\\\\\"]', '["\\\t"]', '["\\\u{1F300}"]', '["\\"]', '["\\u00A"]',
    '["\\uD834\\uDd"]', '["\\uD800\\uD800\\x"]', '["\\u\xE5"]', '["\\a"]', '["\\uqqqq"]',
    '["\\\xE5"]', '[\\u0020"x"]', "[\\n]", '"', "['a']", "abc", '["\\', '["a\0a"]', '["new\nline"]',
    '["\t"]', '"\\UA66D"', '""x', '["\\u 061"]', '["\\u-061"]', '["\\u0x61"]', '["\\e"]',
    '["a\rb"]',
    '["\x1F"]', '"\\u', '"\\u0', '"\\u00', '"\\u006', '"\\', '"a', '["a]', '{"a:1}',
    -- the document
    ("["):rep(100000), ('[{"":'):rep(50000), "[\u{2060}]", "\xEF\xBB\xBF", "<.>", "[<null>]",
    "[1]x", "[1]]", '["a', "a\u{E5}", "1]", '{"x": true,', "[][]", "]", "}", "\xEF\xBB{}", "\xE5",
    "[",
    "", "[\0]", "2@", "{}}", '{"":', '{"a":/*c*/"b"}', '{"a": true} "x"', "['", "[,", "[{", '["a"',
    "{", "{]", "{[", '{"a', "{'a'", '["\\{["\\{["\\{', "\u{E9}", "*", '{"a":"b"}#{}', '[\\u000A""]',
    "[1", "[ false, nul", "[ true, fals", "[ false, tru", '{"asd":"asd"', "\u{E5}", "\u{2060}[]",
    "[\f]", "\f[]", "[]\v", "\0[]", "[]\0", "//\n[]", "[]//", "\xFE\xFF\0[\0]", "\xFF\xFE[\0]\0",
    "[\0\"\0a\0\"\0]\0", "\xEF\xBB\xBF\xEF\xBB\xBF[]", ("["):rep(65) .. ("]"):rep(65), ",", ":",
    "\\",
    "1 2", "[] []", "[]\x1A", ")]}',\n[]", "<?xml?>", "callback([])",
  } },
}

local function outcome(json)
  local value, message, offset = core.decode(json)
  if message then
    assert.is_nil(value)
    assert.truthy(offset >= 0 and offset <= #json)
    assert.is_nil((core.decode(json, { strict = true })))
    return BAD
  end
  local _, fault = core.decode(json, { strict = true })
  return fault and REPLACED or GOOD
end

describe("the minefield #J1:", function()
  for _, set in ipairs(sets) do
    for _, json in ipairs(set.list) do
      local name = #json > 60 and json:sub(1, 40) .. "… of " .. #json or json
      it(("%s %q"):format(set.name, name), function() assert.equal(set.mark, outcome(json)) end)
    end
  end

  it("is the same to Python's decoder", function()
    local missing = differential.missing()
    if missing then return pending("not run: " .. missing) end
    local list = {}
    for _, set in ipairs(sets) do table.move(set.list, 1, #set.list, #list + 1, list) end
    local counts = differential.compare(list, function(json, ours, theirs)
      error(("%q: %s, %s"):format(json:sub(1, 100), ours, theirs))
    end)
    for _, set in ipairs(sets) do assert.equal(#set.list, counts[set.mark]) end
  end)
end)
