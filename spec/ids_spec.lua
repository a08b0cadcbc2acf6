-- Ids and other arguments: what may name a task, what is refused before anything is sent, and that
-- no argument whatever does more than raise.

local mjtask = require "mjtask"
local child = require "support.child"
local proxy = require "support.proxy"

local ID = "1735030480000001"
local METHODS = { "fetch", "wait" }

local p, mj

local function path_of(id)
  return "/mj/task/" .. id .. "/fetch"
end

-- Calls a method that must raise, and returns the message; pcall gives no position to it.
local function refusal(method, id, ...)
  local ok, message = pcall(mj[method], mj, id, ...)
  assert(not ok, ("%s takes %q"):format(method, tostring(id)))
  return message
end

local function is_refused(id)
  for _, method in ipairs(METHODS) do
    local message = refusal(method, id)
    assert.is_string(message)
    assert.equal("id ", message:sub(1, 3))
    assert(#message < 200, message)
    assert(not message:find("[^\x20-\x7E]"), message)
  end
end

local function is_taken(id, path)
  p:reset()
  p:task(ID, { life = "done" })
  local task, err = mj:fetch(id)
  assert(task or err.kind == "not_found", tostring(err))
  local log = p:log()
  assert.equal(1, #log)
  assert.equal(path, log[1].path)
end

describe("an id #I1", function()
  setup(function()
    p = proxy.start()
    mj = mjtask.new { url = p.url, key = "k", retries = 0 }
  end)
  teardown(function()
    mj:close()
    p:stop()
  end)
  before_each(function() p:reset() end)

  it("has unreserved characters; any other byte anywhere is refused, and nothing sent", function()
    local good = {}
    for byte = 0, 255 do
      local c = string.char(byte)
      local ids = { c .. "173", "17" .. c .. "3", "173" .. c, c .. c .. c }
      if c:find("^[%w%-._~]$") and byte < 128 then
        for _, id in ipairs(ids) do good[#good + 1] = id end
        if c ~= "." then good[#good + 1] = c end
      else
        for _, id in ipairs(ids) do is_refused(id) end
        is_refused(c)
      end
    end
    assert.same({}, p:log())
    assert.equal(66 * 5 - 1, #good)
    for _, id in ipairs(good) do
      local task, err = mj:fetch(id)
      assert.is_nil(task)
      assert.equal("not_found", err.kind)
      assert.equal(id, err.id)
    end
    local log = p:log()
    assert.equal(#good, #log)
    for n, request in ipairs(log) do assert.equal(path_of(good[n]), request.path) end
    assert.is_nil(mj:wait(good[1]))
    assert.equal(#good + 1, #p:log())
  end)

  it("has 1 to 128 of them", function()
    is_refused("")
    is_refused(("x"):rep(129))
    is_refused(("x"):rep(10240))
    is_refused(("x"):rep(1 << 20))
    is_refused((" "):rep(128))
    assert.same({}, p:log())
    is_taken(("x"):rep(128), path_of(("x"):rep(128)))
    is_taken("x", path_of("x"))
  end)

  it("is no way to another path", function()
    for _, id in ipairs {
      ".", "..", "/", "../..", "../admin", "%2e%2e", "%2F", "a/b", "a\\b", "a?b", "a#b", "a;b",
      "a&b", "a%00", "a\0", "\0", "a\r\nX: y", "a HTTP/1.1\r\n\r\n", "a b", "a\tb", "a:b", "a@b",
      "//", "a*", "a+b", "a,b", "\u{2024}", "\u{FF0E}\u{FF0E}", "\u{4f60}", "a\u{301}",
    } do
      is_refused(id)
    end
    assert.same({}, p:log())
    is_taken("...", path_of("..."))
    is_taken(".a", path_of(".a"))
    is_taken("..a", path_of("..a"))
  end)

  it("may be an integer, written exactly", function()
    is_taken(1735030480000001, path_of("1735030480000001"))
    is_taken(math.maxinteger, path_of("9223372036854775807"))
    is_taken((1 << 53) + 1, path_of("9007199254740993"))
    is_taken(0, path_of("0"))
  end)

  it("is no negative integer and no float", function()
    for _, number in ipairs {
      -1, math.mininteger, -1735030480000001, 1.5, 1735030480000001.0, 1e15, 1e300, 0.0, -0.0,
      2.0 ^ 63, 0 / 0, math.huge, -math.huge,
    } do
      is_refused(number)
      is_refused { id = number }
    end
    assert.same({}, p:log())
  end)

  it("that is an integral float is asked for as a string", function()
    local message = refusal("fetch", 1735030480000001.0)
    assert(message:find("string", 1, true), message)
  end)

  it("may be any table with one", function()
    is_taken({ id = ID }, path_of(ID))
    is_taken({ id = 1735030480000001 }, path_of(ID))
    is_taken(setmetatable({ id = ID }, { __tostring = error, __len = error }), path_of(ID))
    p:reset()
    p:task(ID, { life = "done" })
    local task = assert(mj:fetch(ID))
    assert.equal(ID, assert(mj:fetch(task)).id)
    assert.equal(ID, assert(mj:wait(task)).id)
    assert.equal(ID, assert(mj:wait(mjtask.decode('{"id":1735030480000001}'))).id)
    assert.equal(4, #p:log())
  end)

  it("is nothing of another type", function()
    is_refused(nil)
    for _, value in ipairs {
      true, false, print, coroutine.create(print), io.stdout, mj, {}, { ID }, { ID = ID },
      { id = true }, { id = {} }, { id = { id = ID } }, { id = "" }, { id = "a/b" }, { id = -1 },
      { id = print },
    } do
      is_refused(value)
    end
    assert.same({}, p:log())
  end)

  it("of one's own that is wrong is refused at the caller's line", function()
    for _, method in ipairs(METHODS) do
      local chunk = load("local mj = ...\n\nreturn mj:" .. method .. "('a/b'), 1", "=scripts_own")
      local ok, message = pcall(chunk, mj)
      assert.is_false(ok)
      assert.equal("scripts_own:3: id ", message:sub(1, 18))
    end
  end)
end)

describe("a method #L8", function()
  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)

  it("raises for a wrong self, and says how it is called", function()
    local client <close> = mjtask.new { url = p.url, key = "k" }
    for _, name in ipairs { "fetch", "wait", "close" } do
      for _, self in ipairs {
        false, 42, "x", {}, print, io.stdout, setmetatable({}, { __index = client }),
        setmetatable({}, { __name = "mjtask.client" }), client.engine or {},
      } do
        local ok, message = pcall(client[name], self, ID)
        assert.is_false(ok)
        assert(message:find("client expected", 1, true), message)
      end
      local ok, message = pcall(client[name])
      assert.is_false(ok)
      assert(message:find("client expected", 1, true), message)
    end
    assert.same({}, p:log())
  end)

  it("raises once the client is closed", function()
    local client = mjtask.new { url = p.url, key = "k" }
    client:close()
    for _, name in ipairs(METHODS) do
      local chunk = load("local mj, name, id = ...\nreturn mj[name](mj, id), 1", "=scripts_own")
      local ok, message = pcall(chunk, client, name, ID)
      assert.is_false(ok)
      assert.equal("scripts_own:2: the client is closed", message)
    end
    assert.same({}, p:log())
  end)
end)

describe("any arguments #L8", function()
  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)

  for _, seed in ipairs { 1, 20261121 } do
    it(("give results, or errors that were meant (seed %d)"):format(seed), function()
      local output, status = child.run(([[
        local fine, raised, accidents = require "support.fuzz".run(%d, 20000, %q)
        local lines = {}
        for _, line in pairs(accidents) do lines[#lines + 1] = line end
        table.sort(lines)
        print(table.concat(lines, "\n"))
        print(fine + raised, fine > 1000, raised > 1000)]]):format(seed, p.url))
      assert.equal("\n20000\ttrue\ttrue\n", output)
      assert.equal(0, status)
    end)
  end
end)
