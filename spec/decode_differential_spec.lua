-- The decoder against lua-cjson, document by document; and the list of where they differ, because
-- lua-cjson is wrong or knows other rules. Its newer forks have integers: both kinds pass here.
-- Against Python's decoder, too, which is right: `make differential` does that a million times.

local cjson = require("cjson").new()
local core = require "mjtask.core"
local differential = require "support.differential"
local json_random = require "support.json_random"

local decode = core.decode
local NULL = json_random.null

-- Fewer where spec/run.lua makes the collector work all the time.
local DOCUMENTS = os.getenv "MJTASK_GC" and 1000 or 20000

-- Are both the same, to the type of each number? Objects and arrays are tables alike.
local function same(a, b)
  if a == b then return math.type(a) == math.type(b) end
  if type(a) ~= "table" or type(b) ~= "table" or a == NULL or b == NULL then return false end
  local count = 0
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
    count = count + 1
  end
  for _ in pairs(b) do count = count - 1 end
  return count == 0
end

-- Is `theirs`, from lua-cjson, what `ours` is, but that integers may be floats?
local function alike(ours, theirs)
  if ours == NULL then return theirs == cjson.null end
  if type(ours) == "number" then
    return type(theirs) == "number" and ours + 0.0 == theirs + 0.0
  end
  if type(ours) ~= "table" then return ours == theirs end
  if type(theirs) ~= "table" then return false end
  local count = 0
  for key, value in pairs(ours) do
    if not alike(value, theirs[key]) then return false end
    count = count + 1
  end
  for _ in pairs(theirs) do count = count - 1 end
  return count == 0
end

-- `value` as the decoder makes it when nulls are left out.
local function without_nulls(value)
  if type(value) ~= "table" then return value end
  local out = {}
  if #value > 0 then
    for _, element in ipairs(value) do
      if element ~= NULL then out[#out + 1] = without_nulls(element) end
    end
  else
    for key, element in pairs(value) do
      if element ~= NULL then out[key] = without_nulls(element) end
    end
  end
  return out
end

describe("decode and lua-cjson #J1", function()
  it("agree on many documents, and with what was meant", function()
    local generator = json_random.new(20260101)
    local kept = { null = NULL }
    local bytes, tables = 0, 0
    for i = 1, DOCUMENTS do
      local json, meant = generator:document()
      local ours, message, offset = decode(json, kept)
      if message or not same(meant, ours) or not alike(ours, cjson.decode(json)) then
        error(("document %d differs: %s (%s at %s)"):format(i, json, message, offset))
      end
      bytes = bytes + #json
      if type(meant) == "table" and meant ~= NULL then
        tables = tables + 1
        if not same(without_nulls(meant), decode(json)) then
          error(("document %d differs without nulls: %s"):format(i, json))
        end
      end
    end
    assert.truthy(bytes > 100 * DOCUMENTS and tables > DOCUMENTS // 4, "too small a set")
  end)

  it("agree on the seeds", function()
    for _, name in ipairs { "sku", "pawmaas" } do
      local file = assert(io.open("spec/fixtures/" .. name .. ".json", "rb"))
      local json = file:read "a"
      file:close()
      assert.truthy(alike(decode(json, { null = NULL }), cjson.decode(json)), name)
    end
  end)

  it("agree that a document cut short is none", function()
    local generator = json_random.new(8259, { width = 4, depth = 3 })
    local cuts = 0
    while cuts < 5000 do
      local json = generator:document():match "^%s*(.-)%s*$"
      if json:find "^[%[{\"]" and #json > 1 then
        local cut = json:sub(1, generator:below(#json - 1) + 1)
        local value, message, offset = decode(cut)
        assert.is_nil(value)
        if message ~= "unexpected end of the document" or offset ~= #cut then
          error(("%s at %s: %s"):format(message, offset, cut))
        end
        assert.is_false(pcall(cjson.decode, cut))
        cuts = cuts + 1
      end
    end
  end)
end)

describe("decode and Python's decoder", function()
  it("agree bit by bit, on good and on broken documents", function()
    local missing = differential.missing()
    if missing then return pending("not run: " .. missing) end
    local documents = DOCUMENTS // 5
    local counts = differential.run(documents, 20260102, function(json, ours, theirs)
      error(("%q: %q, %q"):format(json, ours, theirs))
    end)
    assert.equal(documents, counts["="] + counts["~"] + counts["-"])
    for mark, count in pairs(counts) do assert.truthy(count > documents // 50, mark) end
  end)
end)

local function show(value)
  if value == cjson.null then return "null userdata" end
  if value ~= value then return "nan" end
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local out = {}
  for key, element in pairs(value) do out[#out + 1] = tostring(key) .. "=" .. show(element) end
  table.sort(out)
  return "{" .. table.concat(out, ",") .. "}"
end

-- What lua-cjson makes of a document, and what ours does. `theirs` lists what its versions do,
-- 2.1.0 first; "error" is the right answer where a later one may have learnt to refuse.
local differences = {
  -- numbers
  { "an integer", "1735030481000", { "1735030481000.0", "1735030481000" }, "1735030481000" },
  { "2^53 + 1", "9007199254740993", { "9.007199254741e+15", "9007199254740993" },
    "9007199254740993" },
  { "the largest integer", "9223372036854775807", { "9.2233720368548e+18", "9223372036854775807" },
    "9223372036854775807" },
  { "-0", "-0", { "-0.0", "0" }, "0" },
  { "an overflow", "[1e999]", { "{1=inf}", "error" }, "number too large at 1" },
  { "an overflow below 0", "[-1e999]", { "{1=-inf}", "error" }, "number too large at 1" },
  { "hexadecimal", "[0x10]", { "{1=16.0}", "{1=16}", "error" }, "',' or ']' expected at 2" },
  { "hexadecimal floats", "[0x1p4]", { "{1=16.0}", "error" }, "',' or ']' expected at 2" },
  { "a leading zero", "[01]", { "{1=1.0}", "{1=1}", "error" }, "',' or ']' expected at 2" },
  { "a leading zero below 0", "[-01]", { "{1=-1.0}", "{1=-1}", "error" },
    "',' or ']' expected at 3" },
  { "a plus", "[+1]", { "{1=1.0}", "{1=1}", "error" }, "value expected at 1" },
  { "no digit after the point", "[1.]", { "{1=1.0}", "error" }, "digit expected at 3" },
  { "no digit before the point", "[-.5]", { "{1=-0.5}", "error" }, "digit expected at 2" },
  { "no digit before the exponent", "[0.e1]", { "{1=0.0}", "error" }, "digit expected at 3" },
  { "NaN", "[NaN]", { "{1=nan}", "error" }, "value expected at 1" },
  { "nan", "[nan]", { "{1=nan}", "error" }, "value expected at 2" },
  { "-NaN", "[-NaN]", { "{1=nan}", "error" }, "digit expected at 2" },
  { "Infinity", "[Infinity]", { "{1=inf}", "error" }, "value expected at 1" },
  { "-Infinity", "[-Infinity]", { "{1=-inf}", "error" }, "digit expected at 2" },
  { "inf", "[inf]", { "{1=inf}", "error" }, "value expected at 1" },
  -- null
  { "null alone", "null", { "null userdata" }, "nil" },
  { "null in an object", '{"a":null}', { "{a=null userdata}" }, "{}" },
  { "null in an array", "[1,null,2]", { "{1=1.0,2=null userdata,3=2.0}",
    "{1=1,2=null userdata,3=2}" }, "{1=1,2=2}" },
  { "null after a value", '{"a":"b","a":null}', { "{a=null userdata}" }, "{}" },
  -- strings
  { "a lone high surrogate", [["\ud83d"]], { "error", '"\u{FFFD}"' }, '"\u{FFFD}"' },
  { "a lone low surrogate", [["\udd04"]], { "error", '"\u{FFFD}"' }, '"\u{FFFD}"' },
  { "a high surrogate before text", [["\ud83dx"]], { "error", '"\u{FFFD}x"' }, '"\u{FFFD}x"' },
  { "a raw line end", '"a\nb"', { '"a\\\nb"', "error" }, "control character in a string at 2" },
  { "a raw tab", '"a\tb"', { '"a\\9b"', "error" }, "control character in a string at 2" },
  { "a bad byte", '"\xFF"', { '"\xFF"', "error" }, '"\u{FFFD}"' },
  { "an overlong character", '"\xC0\xAF"', { '"\xC0\xAF"', "error" }, '"\u{FFFD}\u{FFFD}"' },
  { "a surrogate in UTF-8", '"\xED\xA0\x80"', { '"\xED\xA0\x80"', "error" },
    '"\u{FFFD}\u{FFFD}\u{FFFD}"' },
  -- the document
  { "a NUL at the end", "[true]\0", { "{1=true}", "error" },
    "unexpected data after the document at 6" },
  { "a NUL and garbage", "[true]\0garbage", { "{1=true}", "error" },
    "unexpected data after the document at 6" },
  { "a byte order mark", "\xEF\xBB\xBF[true]", { "error", "{1=true}" }, "{1=true}" },
}

describe("decode differs from lua-cjson:", function()
  for _, difference in ipairs(differences) do
    local name, json, theirs, ours = table.unpack(difference)
    it(name, function()
      local ok, value = pcall(cjson.decode, json)
      local outcome = (ok and show(value) or "error"):gsub("%-nan", "nan")
      local known
      for _, one in ipairs(theirs) do known = known or one == outcome end
      assert.truthy(known, outcome)

      local mine, message, offset = decode(json)
      assert.equal(ours, message and ("%s at %d"):format(message, offset) or show(mine))
    end)
  end

  it("depth", function()
    local json = ("["):rep(65) .. ("]"):rep(65)
    assert.is_true((pcall(cjson.decode, json)))
    assert.is_nil((decode(json)))
  end)
end)
