-- mjtask.new: what it refuses and how it says so, where a base URL leads, and what of the
-- configuration reaches a server.

local mjtask = require "mjtask"
local child = require "support.child"
local proxy = require "support.proxy"

local ID = "1735030480000001"
local KEY = "test-key-0123456789"
local PLAIN = "http://127.0.0.1:9" -- only to construct

local p

local function with(base, more)
  local given = {}
  for name, value in pairs(base) do given[name] = value end
  for name, value in pairs(more or {}) do given[name] = value end
  return given
end

-- The message that mjtask.new refuses the options with. pcall is no Lua function: no position.
local function refusal(given)
  local ok, message = pcall(mjtask.new, given)
  if ok then message:close() end
  return not ok and message or nil
end

local function refusal_of(name, value)
  return refusal(with({ url = PLAIN, key = KEY }, { [name] = value }))
end

-- Makes a client, and closes it again.
local function accepts(given)
  local ok, client = pcall(mjtask.new, given)
  if not ok then return false, client end
  local shown = tostring(client)
  client:close()
  return true, shown
end

-- What the proxy saw of one fetch by a client with these options.
local function seen(given)
  p:task(ID, { life = "done" })
  local mj <close> = mjtask.new(with({ url = p.url, key = KEY }, given))
  local before = #p:log()
  assert(mj:fetch(ID))
  local log = p:log()
  assert.equal(before + 1, #log)
  return log[#log]
end

local function starts(text, start)
  assert.is_string(text)
  assert.equal(start, text:sub(1, #start))
end

local function holds(text, part)
  assert.is_string(text)
  assert(text:find(part, 1, true), ("%q is not in %q"):format(part, text))
end

local function lacks(text, part)
  assert(not tostring(text):find(part, 1, true), ("%q is in %q"):format(part, tostring(text)))
end

describe("a client", function()
  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  describe("its options #I4", function()
    -- The type each takes, some values that it takes, and some of that type that it refuses.
    local NAN, INF = 0 / 0, math.huge
    local BAD_TIMES = { 0, -1, -0.5, NAN, INF, -INF, 1e300, 1e9, math.maxinteger, math.mininteger }
    local BAD_COUNTS = {
      -1, 0.5, 1.5, NAN, INF, -INF, 1e300, 2.0 ^ 63, math.maxinteger, math.mininteger,
    }
    local OPTIONS = {
      provider = { "string", { "sku", "pawmaas" }, { "", "nonesuch", "SKU", "sku\0" } },
      url = { "string", { PLAIN }, { "" } },
      key = { "string", { KEY }, { "" } },
      auth = {
        "string", { "bearer", "raw", "mj-api-secret", "auto", "none" },
        { "", "Bearer", "basic", "raw ", "raw\0" },
      },
      user_agent = { "string", { "x/1 (y)" }, { "", "a\r\nX: b", "a\nb", "a\rb", "a\0b" } },
      proxy = { "string", { "" }, { "http://127.0.0.1:9" } },
      cafile = { "string", { "/nonesuch.pem" }, { "", "a\0b" } },
      headers = {
        "table", { {}, { ["X-A"] = "b" } }, { { "X-A: b" }, { ["X-A"] = 1 }, { [1] = 2 } },
      },
      allow_http = { "boolean", { true, false }, {} },
      allow_private = { "boolean", { true, false }, {} },
      trace = { "function", { print }, {} },
      timeout = { "number", { 0.5, 1, 3600, 1e5 }, BAD_TIMES },
      request_timeout = { "number", { 0.5, 1, 3600 }, BAD_TIMES },
      interval = { "number", { 0.1, 1, 3600 }, BAD_TIMES },
      max_interval = { "number", { 0.1, 1, 3600 }, BAD_TIMES },
      stall = { "number", { 0.1, 1, 3600 }, BAD_TIMES },
      retries = { "number", { 0, 1, 10 }, BAD_COUNTS },
      max_inflight = { "number", { 1, 16, 1000 }, { 0, table.unpack(BAD_COUNTS) } },
      max_body = { "number", { 1, 8 << 20 }, { 0, table.unpack(BAD_COUNTS) } },
    }
    local VALUES = {
      boolean = true, number = 1, string = "1", table = {}, ["function"] = print,
      thread = coroutine.create(print), userdata = io.stdout,
    }

    for name, row in pairs(OPTIONS) do
      it(name .. ": refuses every other type, by name", function()
        for kind, value in pairs(VALUES) do
          if kind ~= row[1] then
            local message = refusal_of(name, value)
            assert(message, ("%s = a %s is taken"):format(name, kind))
            starts(message, "options." .. name .. " ")
            lacks(message, KEY)
          end
        end
      end)

      it(name .. ": takes what is sensible, and refuses by name what is not", function()
        for _, value in ipairs(row[2]) do
          assert(accepts(with({ url = PLAIN, key = KEY }, { [name] = value })))
        end
        for _, value in ipairs(row[3]) do
          local message = refusal_of(name, value)
          assert(message, ("%s = %q is taken"):format(name, tostring(value)))
          starts(message, "options." .. name .. (name == "headers" and "" or " "))
          lacks(message, KEY)
        end
      end)
    end

    it("false is no way to leave out what is no boolean", function()
      for name, row in pairs(OPTIONS) do
        if row[1] ~= "boolean" then starts(refusal_of(name, false), "options." .. name .. " ") end
      end
    end)

    it("unknown ones are refused by name, without their value", function()
      for _, name in ipairs { "tiemout", "Url", "progress", "insecure", "", "a b", "time\0out" } do
        local message = refusal_of(name, "the-value")
        starts(message, "options: unknown option ")
        lacks(message, "the-value")
      end
      holds(refusal_of("tiemout", 1), '"tiemout"')
      starts(refusal_of(1, "the-value"), "options: unknown option ")
      starts(refusal_of(true, 1), "options: unknown option ")
      starts(refusal_of({}, 1), "options: unknown option ")
    end)

    it("must be a table", function()
      for _, value in pairs(VALUES) do
        if type(value) ~= "table" then
          starts(refusal(value), "options: a table expected, got " .. type(value))
        end
      end
      starts(refusal(false), "options: a table expected, got boolean")
    end)

    it("are refused at the caller's line", function()
      for _, given in ipairs {
        "{ tiemout = 1 }", "{ url = 1 }", "{ url = 'x' }", "{ url = 'ftp://x/', key = 'k' }",
        "{ url = 'http://127.0.0.1', key = '' }", "{ provider = 'nonesuch' }", "42",
        "{ url = 'http://127.0.0.1', key = 'k', headers = { [''] = 'x' } }",
        "{ url = 'http://127.0.0.1', key = 'k', auth = 'basic' }",
      } do
        local chunk = load("local mjtask = ...\n\n\nlocal mj = mjtask.new(" .. given
          .. ")\nreturn mj\n", "=scripts_own")
        local ok, message = pcall(chunk, mjtask)
        assert.is_false(ok)
        starts(message, "scripts_own:4: options")
      end
    end)

    it("of calls are refused at the caller's line, too", function()
      local mj <close> = mjtask.new { url = p.url, key = KEY }
      for _, call in ipairs {
        "mj:fetch('1', { tiemout = 1 })", "mj:wait('1', { interval = 0 })", "mj:fetch('1', 42)",
        "mj:wait('1', { timeout = '1' })", "mj:fetch('a/b')", "mj:wait({})", "mj.fetch({}, '1')",
        "mj.wait(nil, '1')", "mj.close(1)", "mjtask.decode({})",
        "mjtask.decode('{}', { tiemout = 1 })",
      } do
        local chunk = load("local mjtask, mj = ...\n\nlocal value = " .. call
          .. "\nreturn value\n", "=scripts_own")
        local ok, message = pcall(chunk, mjtask, mj)
        assert.is_false(ok)
        starts(message, "scripts_own:3: ")
      end
      assert.same({}, p:log())
    end)

    it("that say who is trusted are unknown to calls", function()
      local mj <close> = mjtask.new { url = p.url, key = KEY }
      for _, name in ipairs {
        "provider", "url", "key", "auth", "headers", "user_agent", "proxy", "cafile", "allow_http",
        "allow_private", "max_inflight", "trace",
      } do
        for _, method in ipairs { "fetch", "wait" } do
          local ok, message = pcall(mj[method], mj, ID, { [name] = OPTIONS[name][2][1] })
          assert.is_false(ok)
          holds(message, ('unknown option "%s"'):format(name))
        end
      end
      assert.has_error(function() mj:fetch(ID, { progress = print }) end)
      assert.same({}, p:log())
    end)

    it("of calls are checked like those of new", function()
      local mj <close> = mjtask.new { url = p.url, key = KEY }
      for _, name in ipairs {
        "timeout", "request_timeout", "interval", "max_interval", "stall", "retries", "max_body",
      } do
        local bad = { "1", {}, true, table.unpack(OPTIONS[name][3]) }
        for _, value in ipairs(bad) do
          for _, method in ipairs { "fetch", "wait" } do
            local ok, message = pcall(mj[method], mj, ID, { [name] = value })
            assert(not ok, ("%s: %s = %s is taken"):format(method, name, tostring(value)))
            holds(message, "options." .. name .. " ")
          end
        end
      end
      assert.same({}, p:log())
    end)

    it("that are inherited are checked like others, or are none", function()
      p:task(ID, { life = "done" })
      for name, value in pairs {
        timeout = "soon", request_timeout = {}, retries = -1, max_body = "x", interval = 0 / 0,
        max_inflight = 0.5, trace = 42, stall = "x", max_interval = {},
      } do
        local own = { url = p.url, key = KEY }
        local ok, made = pcall(mjtask.new, setmetatable(own, { __index = { [name] = value } }))
        if ok then
          assert(made:wait(ID))
          made:close()
        else
          starts(made, "options." .. name)
        end
      end
    end)

    it("are not changed, nor looked at later", function()
      local given = { url = p.url, key = KEY, auth = "raw", headers = { ["X-A"] = "b" } }
      local copy = with(given)
      p:task(ID, { life = "done" })
      local mj <close> = mjtask.new(given)
      assert.same(copy, given)
      given.url, given.key, given.headers["X-A"] = p.other_url, "another", "c"
      assert(mj:fetch(ID))
      local request = p:log()[1]
      assert.equal(p.port, request.port)
      assert.equal(KEY, request.headers.authorization)
      assert.equal("b", request.headers["x-a"])
    end)
  end)

  describe("its provider", function()
    after_each(function() mjtask.providers.own = nil end)

    it("is data: sku and pawmaas", function()
      assert.equal("https://openapi.sku.vip", mjtask.providers.sku.url)
      assert.equal("raw", mjtask.providers.sku.auth)
      assert.equal("https://api.pawmaas.com", mjtask.providers.pawmaas.url)
      assert.equal("bearer", mjtask.providers.pawmaas.auth)
      for name, row in pairs(mjtask.providers) do
        local ok, shown = accepts { provider = name, key = KEY }
        assert(ok, shown)
        assert.equal(("mjtask.client(%s)"):format(row.url), shown)
        assert(row.interval >= 1)
      end
    end)

    it("gives the auth, and the url where none is given", function()
      local sku = seen { provider = "sku" }.headers
      assert.equal(KEY, sku.authorization)
      assert.is_nil(sku["mj-api-secret"])
      local pawmaas = seen { provider = "pawmaas" }.headers
      assert.equal("Bearer " .. KEY, pawmaas.authorization)
      assert.is_nil(pawmaas["mj-api-secret"])
      local other = seen { provider = "pawmaas", auth = "mj-api-secret" }.headers
      assert.is_nil(other.authorization)
      assert.equal(KEY, other["mj-api-secret"])
    end)

    it("may be a script's own row", function()
      mjtask.providers.own = { url = p.url .. "/mj-fast", auth = "mj-api-secret", interval = 7 }
      p:task(ID, { life = "done" })
      local mj <close> = mjtask.new { provider = "own", key = KEY }
      assert(mj:fetch(ID))
      local request = p:log()[1]
      assert.equal("/mj-fast/mj/task/" .. ID .. "/fetch", request.path)
      assert.equal(KEY, request.headers["mj-api-secret"])
      assert.is_nil(request.headers.authorization)
    end)

    it("may leave out auth and interval", function()
      mjtask.providers.own = { url = p.url }
      p:task(ID, { life = "done" })
      local mj <close> = mjtask.new { provider = "own", key = KEY }
      assert(mj:wait(ID))
      local request = p:log()[1]
      assert.equal(KEY, request.headers["mj-api-secret"])
      assert.equal(KEY, request.headers.authorization)
    end)

    it("without a url needs one", function()
      mjtask.providers.own = { auth = "raw" }
      starts(refusal { provider = "own", key = KEY }, "options.url ")
      assert(accepts { provider = "own", key = KEY, url = PLAIN })
    end)

    for what, row in pairs {
      ["a row that is no table"] = "https://example.com",
      ["a url that is no string"] = { url = 1 },
      ["a url that is none"] = { url = "ftp://example.com" },
      ["an unknown auth"] = { url = PLAIN, auth = "basic" },
      ["an auth that is no string"] = { url = PLAIN, auth = 1 },
      ["a change that is no boolean"] = { url = PLAIN, change = "yes" },
      ["an interval that is a string"] = { url = PLAIN, interval = "5" },
      ["an interval of NaN"] = { url = PLAIN, interval = 0 / 0 },
      ["an interval below nothing"] = { url = PLAIN, interval = -1 },
      ["an interval without end"] = { url = PLAIN, interval = math.huge },
    } do
      it("is refused for " .. what, function()
        mjtask.providers.own = row
        local chunk = load("return (...).new { provider = 'own', key = 'k' }, 1", "=scripts_own")
        local ok, message = pcall(chunk, mjtask)
        assert(not ok, "it is taken")
        starts(message, "scripts_own:1: ")
      end)
    end
  end)

  describe("the environment", function()
    local NEW = [[
      local mjtask = require "mjtask"
      local ok, value = pcall(mjtask.new%s)
      print(ok, value)]]
    local FETCH = [[
      local mj <close> = require "mjtask".new%s
      print(assert(mj:fetch "1735030480000001").status)]]

    it("names the server where the options name none", function()
      assert.equal("true\tmjtask.client(http://127.0.0.1:9/x)\n",
        (child.run(NEW:format "", { MJTASK_URL = PLAIN .. "/x/mj/", MJTASK_KEY = KEY })))
      assert.equal("true\tmjtask.client(https://openapi.sku.vip)\n",
        (child.run(NEW:format "", { MJTASK_PROVIDER = "sku", MJTASK_KEY = KEY })))
      assert.equal("true\tmjtask.client(http://127.0.0.1:9)\n", (child.run(NEW:format "",
        { MJTASK_PROVIDER = "sku", MJTASK_URL = PLAIN, MJTASK_KEY = KEY })))
    end)

    it("is named where something is missing", function()
      local output = child.run(NEW:format "")
      starts(output, "false\toptions.url is missing")
      holds(output, "MJTASK_URL")
      holds(output, "MJTASK_PROVIDER")
      output = child.run(NEW:format "", { MJTASK_URL = PLAIN })
      starts(output, "false\toptions.key is missing")
      holds(output, "MJTASK_KEY")
    end)

    it("is checked like the options", function()
      for variable, value in pairs {
        MJTASK_URL = "ftp://x", MJTASK_PROVIDER = "nonesuch", MJTASK_KEY = KEY .. "\n",
        MJTASK_AUTH = "basic",
      } do
        local output = child.run(NEW:format "",
          with({ MJTASK_URL = PLAIN, MJTASK_KEY = KEY }, { [variable] = value }))
        starts(output, "false\toptions." .. variable:sub(8):lower() .. " ")
        lacks(output, KEY)
      end
    end)

    it("gives the key and the auth that reach the server", function()
      p:task(ID, { life = "done" })
      local env = { MJTASK_URL = p.url, MJTASK_KEY = KEY, MJTASK_AUTH = "bearer" }
      assert.equal("SUCCESS\n", (child.run(FETCH:format "{}", env)))
      assert.equal("Bearer " .. KEY, p:log()[1].headers.authorization)
      env = { MJTASK_PROVIDER = "pawmaas", MJTASK_URL = p.url, MJTASK_KEY = KEY }
      assert.equal("SUCCESS\n", (child.run(FETCH:format "()", env)))
      assert.equal("Bearer " .. KEY, p:log()[2].headers.authorization)
      env = { MJTASK_URL = p.url, MJTASK_AUTH = "none" }
      assert.equal("SUCCESS\n", (child.run(FETCH:format "{}", env)))
      assert.is_nil(p:log()[3].headers.authorization)
      assert.is_nil(p:log()[3].headers["mj-api-secret"])
    end)

    it("gives way to the options", function()
      p:task(ID, { life = "done" })
      local given = ("{ url = %q, key = 'given' }"):format(p.url)
      assert.equal("SUCCESS\n", (child.run(FETCH:format(given), {
        MJTASK_URL = p.other_url, MJTASK_KEY = KEY, MJTASK_AUTH = "bearer", MJTASK_PROVIDER = "sku",
      })))
      local log = p:log()
      assert.equal(1, #log)
      assert.equal(p.port, log[1].port)
      -- the auth belongs to the environment's server, not to the one given
      assert.equal("given", log[1].headers.authorization)
      assert.equal("given", log[1].headers["mj-api-secret"])
    end)

    it("does not send the requests of a plain url through its proxy", function()
      p:task(ID, { life = "done" })
      local given = ("{ url = %q, key = %q }"):format(p.url, KEY)
      assert.equal("SUCCESS\n", (child.run(FETCH:format(given), {
        http_proxy = p.other_url, HTTP_PROXY = p.other_url, all_proxy = p.other_url,
        ALL_PROXY = p.other_url,
      })))
      local log = p:log()
      assert.equal(1, #log)
      assert.equal(p.port, log[1].port)
    end)

    it("sends those of an https url through its proxy, without the key #N11", function()
      p:set { dialect = "java" } -- which answers a CONNECT with 404
      local output = child.run([[
        local mj <close> = require "mjtask".new {
          url = "https://127.0.0.1:9", key = "]] .. KEY .. [[", retries = 0,
          headers = { ["X-Own"] = "own-value" }, trace = function() end,
        }
        print(select(2, mj:fetch "1"))]], { https_proxy = p.other_url })
      local log = p:log()
      assert.equal(1, #log)
      assert.equal(p.other_port, log[1].port)
      assert.equal("CONNECT", log[1].method)
      for name, value in pairs(log[1].headers) do
        lacks(name .. value, KEY)
        lacks(name .. value, "own-value")
      end
      lacks(output, KEY)
      starts(output, "connect: ")
    end)

    it("has a ~/.netrc that nobody reads #N12", function()
      local home <const>, remove = child.directory()
      local file = assert(io.open(home .. "/.netrc", "w"))
      file:write("machine 127.0.0.1 login someone password netrc-word\n",
        "default login someone password netrc-word\n")
      file:close()
      p:task(ID, { life = "done" })
      local given = ("{ url = %q, auth = 'none' }"):format(p.url)
      local output = child.run(FETCH:format(given), { HOME = home, CURL_HOME = home })
      remove()
      assert.equal("SUCCESS\n", output)
      assert.is_nil(p:log()[1].headers.authorization)
    end)
  end)

  describe("its base URL #I3", function()
    local AFTER = "/mj/task/" .. ID .. "/fetch"

    for given, prefix in pairs {
      [""] = "", ["/"] = "", ["//"] = "", ["/mj"] = "", ["/mj/"] = "", ["/mj//"] = "",
      ["//mj"] = "", ["/mj-fast"] = "/mj-fast", ["/mj-fast/"] = "/mj-fast",
      ["/mj-fast/mj"] = "/mj-fast", ["/mj-fast/mj/"] = "/mj-fast", ["/fast/mj"] = "/fast",
      ["/api/v1"] = "/api/v1", ["/api/v1//"] = "/api/v1", ["/api/v1/mj"] = "/api/v1",
      ["/mjx"] = "/mjx", ["/x-mj"] = "/x-mj", ["/xmj"] = "/xmj", ["/mj/x"] = "/mj/x",
      ["/mj/mj"] = "/mj", ["/~a_b.c-d"] = "/~a_b.c-d", ["/..."] = "/...", ["/a%20b"] = "/a%20b",
      ["/%E4%BD%A0"] = "/%E4%BD%A0",
    } do
      it(("with the path %q asks under %q"):format(given, prefix), function()
        local request = seen { url = p.url .. given }
        assert.equal(prefix .. AFTER, request.path)
        assert.equal("GET", request.method)
        assert.equal("127.0.0.1:" .. p.port, request.headers.host)
      end)
    end

    it("may spell scheme and host in capitals", function()
      assert.equal(AFTER, seen { url = p.url:gsub("http", "HTTP") }.path)
      local url = "hTTp://LOCALHOST:" .. p.port .. "/MJ-fast"
      assert.equal("/MJ-fast" .. AFTER, seen { url = url }.path)
    end)

    it("is shown as it is used", function()
      for given, shown in pairs {
        ["https://example.com"] = "https://example.com",
        ["HTTPS://example.com/"] = "https://example.com",
        ["https://example.com:8443/x/mj/"] = "https://example.com:8443/x",
        ["https://example.com:443/mj"] = "https://example.com",
        ["https://192.0.2.1:1"] = "https://192.0.2.1:1",
        ["https://[2001:db8::1]:8443"] = "https://[2001:db8::1]:8443",
        ["http://[::1]:8080/mj-fast/mj"] = "http://[::1]:8080/mj-fast",
        ["http://[::1]"] = "http://[::1]",
        ["http://127.0.0.1:80"] = "http://127.0.0.1",
        ["http://127.9.8.7"] = "http://127.9.8.7",
        ["http://localhost:65535"] = "http://localhost:65535",
        ["http://a.localhost"] = "http://a.localhost",
      } do
        local ok, text = accepts { url = given, key = KEY }
        assert(ok, text)
        assert.equal("mjtask.client(" .. shown .. ")", text)
      end
    end)

    it("may have 2048 bytes, not 3000", function()
      local long = ("x"):rep(2048 - #PLAIN - 1)
      assert(accepts { url = PLAIN .. "/" .. long, key = KEY })
      starts(refusal { url = PLAIN .. "/" .. ("x"):rep(3000 - #PLAIN - 1), key = KEY },
        "options.url is longer than ")
    end)

    it("of 2048 bytes is asked", function()
      local path = "/" .. ("x"):rep(2048 - #p.url - 1)
      assert.equal(path .. AFTER, seen { url = p.url .. path }.path)
    end)

    it("is refused with user, query, fragment, another scheme, or none", function()
      for _, url in ipairs {
        "https://user@example.com", "https://user:pw@example.com", "https://:pw@example.com",
        "https://@example.com", "https://example.com/a@b", "http://127.0.0.1@example.com",
        "https://example.com?", "https://example.com?a=b", "https://example.com/?a",
        "https://example.com#", "https://example.com/#a", "https://example.com#@127.0.0.1",
        "file:///etc/passwd", "file://localhost/etc/passwd", "FILE:///etc/passwd",
        "ftp://example.com", "ftps://example.com", "gopher://example.com", "ws://example.com",
        "httpx://example.com", "javascript://example.com", "data:text/plain,x",
        "example.com", "www.example.com/mj", "ftp.example.com", "127.0.0.1:8080", "localhost",
        "//example.com", "/mj", "mj", ":", "://", "://example.com", "http:", "http:/", "http://",
        "https:///", "http:/127.0.0.1", "http:127.0.0.1", "https:example.com",
        "https:\\\\example.com", "https://example.com\\", "https://example.com\\@127.0.0.1",
        "https://example.com/..", "https://example.com/../x", "https://example.com/x/../y",
        "https://example.com/./x", "https://example.com/x/.", "https://example.com/x/..",
        "https://example.com/../mj", "https://example.com/x/../mj/",
        "https://example.com:99999", "https://example.com:65536", "https://example.com:-1",
        "https://example.com:abc", "https://example.com:80:80", "https://example.com:8 0",
        "https://[::1", "https://::1", "https://[]", "https://[::1]x", "https://:80",
        "https://exa mple.com", " https://example.com", "https://example.com ", "https:// x",
        "https://example.com/\u{4f60}", "https://ex\u{e4}mple.com", "https://example.com/\xff",
      } do
        local message = refusal { url = url, key = KEY }
        assert(message, url .. " is taken")
        starts(message, "options.url ")
        lacks(message, KEY)
        lacks(message, ":pw")
      end
    end)

    it("is refused with any control character, blank or byte beyond ASCII, anywhere", function()
      local bytes = { 0x20, 0x7F }
      for byte = 0, 31 do bytes[#bytes + 1] = byte end
      for byte = 128, 255 do bytes[#bytes + 1] = byte end
      assert.equal(33 + 1 + 128, #bytes)
      for _, byte in ipairs(bytes) do
        local c = string.char(byte)
        for _, url in ipairs {
          c .. PLAIN, PLAIN .. c, PLAIN .. "/a" .. c .. "b", "http://127.0" .. c .. ".0.1",
          "ht" .. c .. "tp://127.0.0.1", "http:" .. c .. "//127.0.0.1",
          "http://127.0.0.1:" .. c .. "9",
        } do
          local message = refusal { url = url, key = KEY }
          assert(message, ("byte %d is taken: %q"):format(byte, url))
          starts(message, "options.url ")
        end
      end
    end)

    it("is refused if it is plain and not of this machine", function()
      for _, host in ipairs {
        "192.0.2.1", "10.0.0.1", "128.0.0.1", "0.0.0.0", "[2001:db8::1]", "[::]", "example.com",
        "127.0.0.1.example.com", "127.example.com", "localhost.example.com", "xlocalhost",
        "1270.0.0.1", "127-0-0-1.example.com", "localhost.",
      } do
        local url = "http://" .. host
        local message = refusal { url = url, key = KEY }
        assert(message, url .. " is taken")
        starts(message, "options.url ")
        starts(refusal { url = url, key = KEY, allow_http = false }, "options.url ")
        if host ~= "1270.0.0.1" then
          holds(message, "allow_http")
          assert(accepts { url = url, key = KEY, allow_http = true })
          assert(accepts { url = "https://" .. host, key = KEY })
        end
      end
    end)

    it("is refused if it is plain and only looks like an address of this machine", function()
      -- no address: a resolver says who that is
      for _, host in ipairs { "127.0.0.1.", "127.0.0.256", "127.0.0.1.1", "127.1.2.3.4.5" } do
        local url = "http://" .. host
        local message = refusal { url = url, key = KEY }
        assert(message, url .. " is taken")
        starts(message, "options.url ")
      end
    end)
  end)

  describe("its auth", function()
    local function expected(more)
      return with({
        host = "127.0.0.1:" .. p.port, accept = "application/json", ["accept-encoding"] = "gzip",
        ["user-agent"] = "mjtask (Lua)",
      }, more)
    end

    for scheme, lines in pairs {
      raw = { authorization = KEY },
      bearer = { authorization = "Bearer " .. KEY },
      ["mj-api-secret"] = { ["mj-api-secret"] = KEY },
      auto = { authorization = KEY, ["mj-api-secret"] = KEY },
      none = {},
    } do
      it(scheme .. " sends its headers, and nothing else", function()
        assert.same(expected(lines), seen { auth = scheme }.headers)
      end)
    end

    it("is auto for a bare url", function()
      assert.same(expected { authorization = KEY, ["mj-api-secret"] = KEY }, seen().headers)
    end)

    it("none needs no key, and has no use for one", function()
      local mj <close> = mjtask.new { url = p.url, auth = "none" }
      p:task(ID, { life = "done" })
      assert(mj:fetch(ID))
      assert.same(expected(), p:log()[1].headers)
    end)

    for _, dialect in ipairs { "java", "net", "go", "ts", "php" } do
      for _, key in ipairs { KEY, "sk-0123456789", "ab" } do
        it(("auto suits %s servers, with the key %s"):format(dialect, key), function()
          p:set { dialect = dialect, key = key }
          p:task(ID, { life = "done" })
          local mj <close> = mjtask.new { url = p.url, key = key }
          assert(mj:fetch(ID))
          local wrong <close> = mjtask.new { url = p.url, key = "wrong" .. key }
          local task, err = wrong:fetch(ID)
          assert.is_nil(task)
          assert.equal("auth", err.kind)
          assert.is_false(err.retryable)
          assert.equal(1, err.attempts)
        end)
      end
    end
  end)

  describe("its headers #I2", function()
    it("reach the server as they are", function()
      local headers = seen { user_agent = "studio/2.1 (+tests)", headers = {
        ["X-Storage-Options"] = "1", ["x-empty-not"] = "a  b", ["!#$%&'*+-.^_`|~09azAZ"] = "odd",
        ["X-Quotes"] = '"a"; b=c, d\\', ["X-Long"] = ("v"):rep(4096),
      } }.headers
      assert.equal("studio/2.1 (+tests)", headers["user-agent"])
      assert.equal("1", headers["x-storage-options"])
      assert.equal("a  b", headers["x-empty-not"])
      assert.equal("odd", headers["!#$%&'*+-.^_`|~09azaz"])
      assert.equal('"a"; b=c, d\\', headers["x-quotes"])
      assert.equal(("v"):rep(4096), headers["x-long"])
    end)

    it("are refused with values that HTTP cannot carry, unquoted", function()
      for _, value in ipairs {
        "", "secretive\r\nX-Injected: 1", "secretive\n", "secretive\r", "\nsecretive",
        "secre\0tive", " secretive", "secretive ", "secretive\t", "secretive\x7F", "secretive\xFF",
        "secretive\x1B[0m", ("secretive"):rep(12000),
      } do
        local message = refusal_of("headers", { ["X-A"] = value })
        assert(message, ("%q is taken"):format(value:sub(1, 40)))
        starts(message, "options.headers")
        lacks(message, "secre")
        assert(#message < 200)
      end
    end)

    it("are refused with names that HTTP does not allow", function()
      for _, name in ipairs {
        "", " ", "X A", "X:", "X:Y", "X\r\n", "X\nY", "X\rY", "X\0", "X\tY", "X;", "X(", "X\u{e4}",
        "X\x7F", "\xFF", "X/Y", "X=Y", 'X"', "X@", "X,Y", "{X}", "[X]", "X<", "X\\", "X?", ":",
        ("X"):rep(100000),
      } do
        local message = refusal_of("headers", { [name] = "secretive" })
        assert(message, ("%q is taken"):format(name:sub(1, 40)))
        starts(message, "options.headers")
        lacks(message, "secre")
      end
    end)

    it("are no place for a proxy's password: one that is none is refused unquoted", function()
      for _, proxy_url in ipairs {
        "user:hunter2secret@127.0.0.1:999999", "user:hunter2secret@[::1",
        "http://u:hunter2secret@:x",
      } do
        local message = refusal { url = "https://h.example", key = KEY, proxy = proxy_url }
        assert(message, proxy_url .. " is taken")
        starts(message, "options.proxy ")
        assert.is_nil(message:find("hunter2", 1, true))
      end
    end)

    it("are refused where they are no strings", function()
      for _, headers in ipairs {
        { "X: y" }, { X = 1 }, { X = true }, { X = {} }, { [1.5] = "x" }, { [true] = "x" },
      } do
        starts(refusal_of("headers", headers), "options.headers")
      end
    end)

    it("come once each: one of ours is replaced, not doubled", function()
      local headers = seen { auth = "none", headers = {
        Accept = "text/x-own", ["User-Agent"] = "own/1",
      } }.headers
      assert.equal("text/x-own", headers.accept)
      assert.equal("own/1", headers["user-agent"])
    end)

    it("are refused where they would send a second key, or another framing", function()
      for _, name in ipairs {
        "Authorization", "authorization", "MJ-API-Secret", "Content-Length", "Transfer-Encoding",
      } do
        local ok, message = accepts { url = PLAIN, key = KEY, headers = { [name] = "1" } }
        assert(not ok, name .. " is taken beside a key")
        starts(message, "options.headers")
      end
    end)

    it("may hold an Authorization of one's own where auth is none", function()
      local headers = seen { auth = "none", headers = { Authorization = "Basic eHg6eXk=" } }.headers
      assert.equal("Basic eHg6eXk=", headers.authorization)
    end)
  end)

  describe("its key #I2", function()
    local function is_fit(byte, place)
      return byte > 0x20 and byte < 0x7F or byte == 0x20 and place == "middle"
    end

    for scheme, prefix in pairs { raw = "", bearer = "Bearer " } do
      it(("with any byte anywhere is sent exactly or refused unquoted (%s)"):format(scheme),
      function()
        local sent = {}
        p:task(ID, { life = "done" })
        for byte = 0, 255 do
          local c = string.char(byte)
          for place, key in pairs {
            start = c .. "k3y.w0rd", middle = "k3y" .. c .. "w0rd", ["end"] = "k3y.w0rd" .. c,
          } do
            local ok, made = pcall(mjtask.new, { url = p.url, key = key, auth = scheme })
            assert(ok == is_fit(byte, place),
              ("byte %d at the %s: %s"):format(byte, place, tostring(made)))
            if ok then
              assert(made:fetch(ID))
              made:close()
              sent[#sent + 1] = prefix .. key
            else
              starts(made, "options.key ")
              lacks(made, "k3y")
              lacks(made, "w0rd")
            end
          end
        end
        local log = p:log()
        assert.equal(#sent, #log)
        assert.equal(3 * 94 + 1, #sent)
        for n, request in ipairs(log) do assert.equal(sent[n], request.headers.authorization) end
      end)
    end

    it("is refused empty, endless, or with a scheme's word in front", function()
      for _, key in ipairs {
        "", ("k3y.w0rd"):rep(12800), "Bearer k3y.w0rd", "bearer k3y.w0rd", "BEARER  k3y.w0rd",
        " k3y.w0rd", "k3y.w0rd ", "k3y.w0rd\n", "k3y.w0rd\r\n", "\tk3y.w0rd", " ",
      } do
        for _, scheme in ipairs { "raw", "bearer", "mj-api-secret", "auto" } do
          local message = refusal { url = PLAIN, key = key, auth = scheme }
          assert(message, ("%q is taken"):format(key:sub(1, 20)))
          starts(message, "options.key ")
          lacks(message, "k3y")
          assert(#message < 200)
        end
      end
      holds(refusal { url = PLAIN, key = "Bearer x" }, "Bearer")
    end)

    it("may be long, and arrives whole", function()
      local key = ("0123456789abcdef"):rep(256)
      assert.equal(4096, #key)
      assert.equal("Bearer " .. key, seen { auth = "bearer", key = key }.headers.authorization)
      assert.equal(key, seen { key = key }.headers["mj-api-secret"])
      starts(refusal { url = PLAIN, key = key .. "0" }, "options.key ")
    end)
  end)

  describe("its proxy", function()
    it("is refused for a plain url: it would read the key", function()
      for _, value in ipairs { p.other_url, "socks5://127.0.0.1:9", "127.0.0.1:9" } do
        starts(refusal { url = p.url, key = KEY, proxy = value }, "options.proxy ")
      end
      assert.same({}, p:log())
    end)

    it("may be none, or one for https", function()
      assert(accepts { url = PLAIN, key = KEY, proxy = "" })
      assert(accepts { url = "https://example.com", key = KEY, proxy = p.other_url })
    end)

    it("is taken for a plain url by who says allow_http", function()
      p:task(ID, { life = "done" })
      local mj <close> = mjtask.new {
        url = p.url, key = KEY, proxy = p.other_url, allow_http = true,
      }
      assert(mj:fetch(ID))
      local log = p:log()
      assert.equal(1, #log)
      assert.equal(p.other_port, log[1].port)
    end)

    it("empty goes past the environment's, for https too", function()
      local output = child.run([[
        local mj <close> = require "mjtask".new {
          url = "https://127.0.0.1:9", key = "k", retries = 0, proxy = "",
        }
        print((select(2, mj:fetch "1")).kind)]], { https_proxy = p.other_url })
      assert.equal("connect\n", output)
      assert.same({}, p:log())
    end)

    it("hears nothing of the key when it is asked for a tunnel", function()
      p:set { dialect = "java" } -- which answers a CONNECT with 404
      local mj <close> = mjtask.new {
        url = "https://127.0.0.1:9", key = KEY, proxy = p.other_url, retries = 0,
        headers = { ["X-Own"] = "own-value" },
      }
      local task, err = mj:fetch(ID)
      assert.is_nil(task)
      assert.equal("connect", err.kind)
      local log = p:log()
      assert.equal(1, #log)
      assert.equal("CONNECT", log[1].method)
      for name, value in pairs(log[1].headers) do
        lacks(name .. value, KEY)
        lacks(name .. value, "own-value")
      end
    end)
  end)

  it("can be closed again and again", function()
    local mj = mjtask.new { url = p.url, key = KEY }
    mj:close()
    mj:close()
    getmetatable(mj).__close(mj)
    assert.equal(("mjtask.client(%s)"):format(p.url), tostring(mj))
    for _, method in ipairs { "fetch", "wait" } do
      local ok, message = pcall(mj[method], mj, ID)
      assert.is_false(ok)
      holds(message, "closed")
    end
    assert.same({}, p:log())
  end)
end)
