-- What the fuzzers have found, each with its bytes; and their corpus, fed to the ordinary build, so
-- that it is of use where clang is not. Knows the inputs' shapes, which fuzz/*_fuzzer.c describe.

local answer = require "mjtask.answer"
local core = require "mjtask.core"
local errors = require "mjtask.errors"

local function read_file(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- The files of a fuzzer's corpus: name and bytes.
local function each_input(fuzzer)
  local folder = "fuzz/corpus/" .. fuzzer
  local list <close> = assert(io.popen("ls " .. folder))
  local names = {}
  for name in list:lines() do names[#names + 1] = name end
  assert(#names > 0, folder .. " is empty")
  local at = 0
  return function()
    at = at + 1
    if names[at] then return names[at], read_file(folder .. "/" .. names[at]) end
  end
end

-- Takes the first line off.
local function line_of(text)
  local line, rest = text:match "^([^\n]*)\n(.*)$"
  return line or text, rest or ""
end

-- ---- the corpus ---------------------------------------------------------------------------------

local STRICT, KEEP_NULL, SHALLOW, TIGHT, DEEP, SMALL = 1, 2, 4, 8, 0x40, 0x80

describe("the decoder's corpus:", function()
  local null = {}
  for name, input in each_input "decode" do
    it(name, function()
      local mode = input:byte()
      local json = input:sub(mode & TIGHT ~= 0 and 3 or 2)
      local value, message, offset = core.decode(json, {
        strict = mode & STRICT ~= 0,
        null = mode & KEEP_NULL ~= 0 and null or nil,
        max_depth = mode & SHALLOW ~= 0 and 3 or mode & DEEP ~= 0 and 1e9 or nil,
        max_size = mode & SMALL ~= 0 and 16 or nil,
      })
      if message then
        assert.is_nil(value)
        assert.equal(offset == #json, message == "unexpected end of the document")
        assert.truthy(offset >= 0 and offset <= #json)
      else
        assert.truthy(value ~= nil or json:find "null")
      end
    end)
  end
end)

describe("the URLs' corpus:", function()
  teardown(collectgarbage)

  local function try_engine(url)
    local fine, engine = pcall(core.engine, { url = url, auth = "none", allow_http = true })
    if fine then return engine end
    assert.matches("^url %a", engine)
  end

  local function engine_of(url)
    return try_engine(url) or try_engine "https://api.example.org:8443/mj-fast"
  end

  local function check_base(url)
    local engine = try_engine(url)
    if not engine then return end
    local base = engine:base()
    assert.matches("^https?://[\x21-\x7E]+$", base)
    assert.falsy(base:find "[?#@\\]" or base:find "/$")
    engine:close()
    engine = engine_of(base .. "/mj/")
    assert.equal(base, engine:base())
    engine:close()
  end

  local function check_path(rest)
    local url, path = line_of(rest)
    local engine = engine_of(url)
    -- never driven, so that nothing leaves this machine
    local fine, transfer = pcall(engine.start, engine, { path = path }, 1)
    assert.equal(fine, path:find "^[/%w%-._~]+$" ~= nil and path:find "^/[^/]" ~= nil
      and not (path .. "/"):find "/%.%.?/" and not (path .. "/"):find "//"
      and #engine:base() + #path < 2048 + 512)
    if fine then transfer:cancel() end
    engine:close()
  end

  local function check_id(id)
    local good = id:find "^[%w%-._~]+$" and #id <= 128 and id ~= "." and id ~= ".."
    assert.equal(good and id or nil, (core.id(id)))
  end

  local function check_image(rest)
    local base, url = line_of(rest)
    local engine = engine_of(base)
    local fine, kind, message = engine:image(url)
    if fine then
      assert.matches("^[Hh][Tt][Tt][Pp][Ss]?://", url)
    else
      assert.truthy(errors.kinds[kind] ~= nil, kind)
      assert.truthy(#message > 0)
    end
    engine:close()
  end

  local function check_proxy(proxy)
    local fine, result = pcall(core.engine, { url = "https://h", auth = "none", proxy = proxy })
    if not fine then assert.matches("^proxy %a", result) else result:close() end
  end

  local kinds = {
    ["0"] = check_base, ["1"] = check_path, ["2"] = check_id, ["3"] = check_image,
    ["4"] = check_proxy,
  }
  for name, input in each_input "url" do
    it(name, function() kinds[input:sub(1, 1)](input:sub(2)) end)
  end
end)

describe("the headers' corpus:", function()
  teardown(collectgarbage) -- engines that were refused: their sockets would outlive this file

  -- The lowest bits of the first byte are lines of a key; auth names the usual sets of them.
  local SCHEMES = {
    [0] = "none", [1] = "bearer", [2] = "raw", [4] = "mj-api-secret", [6] = "auto", [7] = "auto",
  }

  for name, input in each_input "headers" do
    it(name, function()
      local key, rest = line_of(input:sub(2))
      local header, value, text
      header, rest = line_of(rest)
      value, text = line_of(rest)
      local auth = SCHEMES[input:byte() & 7]
      local fine, engine = pcall(core.engine, {
        url = "https://h", auth = auth, key = key, headers = { [header] = value },
      })
      if not fine then return assert.matches("^%a+ %a", (engine:gsub("^headers: ", ""))) end
      local shown = engine:redact(text)
      assert.equal(#text, #shown)
      if auth ~= "none" and not key:find("*", 1, true) then
        assert.falsy(shown:find(key, 1, true))
      end
      if #value >= 8 and not value:find("*", 1, true) and header ~= "Accept" then
        assert.falsy(shown:find(value, 1, true))
      end
      engine:close()
    end)
  end
end)

describe("the tasks' corpus:", function()
  local check, engine

  setup(function() check, engine = assert(loadfile "fuzz/task.lua")(io.stdout) end)
  teardown(function() engine:close() end)

  for name, input in each_input "task" do
    it(name, function() check(input) end)
  end
end)

-- ---- findings -----------------------------------------------------------------------------------

describe("found by the fuzzer:", function()
  teardown(collectgarbage)

  local function as_is(text) return text end

  -- 0http://12localhos%ffj//, whose host was a byte beyond ASCII; 0http://10.0%31, which was 10.01
  -- when it was kept, and 10.0.0.1 when it was used
  it("a base URL whose host is another once it is decoded", function()
    for _, url in ipairs {
      "http://12localhos%ffj//", "http://10.0%31", "https://%ff", "https://%e4%bd%a0.example",
      "https://a%7f.example", "http://127.%31", "http:///127.%31", "http://127.0.0.1%2e:80/mj",
      "http://[fe80::1%25eth0]/", "https://%61pi.example",
    } do
      local fine, message = pcall(core.engine, { url = url, auth = "none", allow_http = true })
      assert.is_false(fine, url)
      assert.matches("^url %a", message)
    end
    local engine = core.engine { url = "https://api.example/%61%2fb", auth = "none" }
    assert.equal("https://api.example/%61%2fb", engine:base())
    engine:close()
  end)

  -- 0http:/localh%ff./://
  it("one slash, and two of them later on", function()
    local engine = core.engine { url = "https://h", auth = "none" }
    for _, url in ipairs {
      "http:/localhost/://", "http:localhost/://", "http:/127.0.0.1/http://x",
    } do
      local fine, message = pcall(core.engine, { url = url, auth = "none" })
      assert.is_false(fine, url)
      assert.matches("^url has no http://", message)
      assert.matches("^has no http://", select(3, engine:image(url)))
    end
    engine:close()
  end)

  -- 3https://h, then an image's URL that is 4096 bytes once it is escaped
  it("an image's URL that is as long as it may be", function()
    local engine = core.engine { url = "https://h", auth = "none" }
    local function verdict(url) return select(3, engine:image(url)) end
    local start = "https://h/"
    local room = 4096 - #start
    for _, letter in ipairs { "", "\xE9", "\u{9B3C}" } do
      local left = room - 3 * #letter
      assert.is_nil(verdict(start .. letter .. ("x"):rep(left)))
      assert.is_nil(verdict(start .. ("x"):rep(left) .. letter))
      assert.matches("longer than 4096", verdict(start .. letter .. ("x"):rep(left + 1)))
      assert.matches("longer than 4096", verdict(start .. ("x"):rep(left + 1) .. letter))
    end
    engine:close()
  end)

  -- {"id":"…","actio\x94":… as the Location of a redirect
  it("a stray byte of a C1 control after a character, raw in a message", function()
    for byte = 0x80, 0xBF do
      local stray = string.char(byte)
      for _, before in ipairs { "", "a", "\u{E9}", "\u{9B3C}", "\u{1F504}", "\u{1F504}\x94" } do
        local text = errors.printable(before .. stray .. "x")
        assert.truthy(utf8.len(text), ("%q"):format(text))
        assert.equal(("\\x%02Xx"):format(byte), text:sub(-5))
      end
    end
    local _, err = answer.task(nil, { status = 302, location = '"actio\x94":"\x9B2J' }, as_is, "1")
    assert.equal('redirected to "actio\\x94":"\\x9B2J, not followed', err.message)
    _, err = answer.task(nil, {
      status = 200, fault = "value expected at byte 0", excerpt = "e\x9B31m", type = "a\x9B",
    }, as_is, "1")
    assert.equal("the answer is not complete JSON (value expected at byte 0; its type is a\\x9B): "
      .. '"e\\x9B31m"', err.message)
  end)
end)
