-- Through an HTTP proxy, as networks have them (here: the relay), and past one: what it is asked,
-- what it never hears, and what its faults are called. And what else lies about on a machine.

local child = require "support.child"
local client = require "mjtask.client"
local clock = require "support.clock"
local core = require "mjtask.core"
local mjtask = require "mjtask"
local pictures = require "support.pictures"
local proxy = require "support.proxy"
local ways = require "support.ways"
local fails_with = require "support.fails_with"

local ID = "1735030480000001"
local KEY = "sk-0123456789abcdef"
local USER = "someone:pass-w0rd"
local PNG = pictures.of "a.png"
local SLACK = 1 -- seconds on promised limits

local function lacks(value, part)
  if type(value) == "table" then
    for name, inner in pairs(value) do
      lacks(name, part)
      lacks(inner, part)
    end
  end
  assert(not tostring(value):find(part, 1, true), ("%s is in %s"):format(part, tostring(value)))
end

local function specs(way)
  local p, mj, folder, remove

  -- A plain API may be asked through a proxy only by who allows plain http at all.
  local function options(more)
    local given = ways.options(p, {
      proxy = p.relay_url, allow_http = not way.tls or nil, request_timeout = 5,
    })
    for name, value in pairs(more or {}) do given[name] = value end
    return given
  end

  -- A client behind the relay, whose backoff costs no time.
  local function new(more)
    if mj then mj:close() end
    mj = client.new(options(more), clock.new())
    return mj
  end

  local function fetch(...) return way.call(mj, "fetch", ID, ...) end

  local function picture(host)
    return (way.tls and "https://" or "http://") .. host .. "/attachments/a.png"
  end

  local function download(url, name)
    return way.call(mj, "download", url, folder .. "/" .. (name or "picture"))
  end

  local function read(name)
    local file <close> = io.open(folder .. "/" .. name, "rb")
    return file and file:read "a"
  end

  -- What the relay was asked, as "METHOD target".
  local function asked()
    local lines = {}
    for n, request in ipairs(p:relayed()) do lines[n] = request.method .. " " .. request.path end
    return lines
  end

  setup(function() p = way.start() end)
  teardown(function() p:stop() end)

  before_each(function()
    p:reset()
    p:task(ID, { life = "done" })
    folder, remove = child.directory()
    new()
  end)
  after_each(function()
    mj:close()
    mj = nil
    remove()
  end)

  describe("the API through a proxy #N11", function()
    it("is reached, over one connection, and the proxy hears only what it must", function()
      for _ = 1, 3 do assert.equal(ID, assert(fetch()).id) end
      local log = p:relayed()
      if way.tls then
        assert.same({ "CONNECT localhost:" .. p.port }, asked())
        lacks(log, KEY)
        lacks(log, ID)
      else
        assert.equal(3, #log)
        assert.equal(p.url .. "/mj/task/" .. ID .. "/fetch", log[1].path)
      end
      assert.equal(3, #p:log())
      for _, request in ipairs(p:log()) do
        assert.equal(KEY, request.headers.authorization)
        assert.is_nil(request.headers["proxy-authorization"])
      end
    end)

    it("is waited on, and submitted to", function()
      p:set { submit = { life = "short" } }
      local receipt = assert(way.call(mj, "submit", "imagine", { prompt = "a cat" }))
      assert.equal("SUCCESS", assert(way.call(mj, "wait", receipt)).status)
    end)

    it("is reached by name and word, which nobody else hears", function()
      local events = {}
      p:relay { user = USER }
      new {
        proxy = p.relay_url:gsub("//", "//" .. USER .. "@"),
        trace = function(event) events[#events + 1] = event end,
      }
      assert.equal(ID, assert(fetch()).id)
      assert.equal(2, #events)
      lacks(events, "w0rd")
      for _, request in ipairs(p:log()) do
        assert.is_nil(request.headers["proxy-authorization"])
        lacks(request.headers, "c29tZW9uZTpwYXNzLXcwcmQ") -- the two in base64
      end
      lacks(tostring(mj), "w0rd")
    end)

    it("is not reached without them: the status is told, and nothing gets through", function()
      p:relay { user = USER }
      for _, url in ipairs { p.relay_url, (p.relay_url:gsub("//", "//someone:wr0ng@")) } do
        new { proxy = url, retries = 0 }
        local _, err = fetch()
        fails_with(way.tls and "connect" or "http", nil, err)
        assert(tostring(err):find("407", 1, true), tostring(err))
        lacks(err, "wr0ng")
      end
      assert.same({}, p:log())
    end)

    it("is not reached where nobody is the proxy: connect", function()
      new { proxy = proxy.closed_url() }
      local err = fails_with("connect", fetch())
      assert.is_true(err.retryable)
      assert.equal(3, err.attempts)
    end)

    it("is not reached through one whose name there is not: dns", function()
      -- A part of a name has 63 letters at most: no name server is asked.
      new { proxy = ("http://%s.invalid:1"):format(("x"):rep(64)), retries = 0 }
      fails_with("dns", fetch())
    end)

    for fault, kind in pairs { rst = "connect", empty = "connect" } do
      it("is lost where the proxy breaks off, and tried again: " .. fault, function()
        p:relay { fault = fault }
        assert.equal(3, fails_with(kind, fetch()).attempts)
        assert.same({}, p:log())
      end)
    end

    it("ends in time where the proxy is silent", function()
      p:relay { fault = "stall" }
      local real <close> = mjtask.new(options())
      local before = core.now()
      fails_with("timeout", way.call(real, "fetch", ID, { timeout = 0.15 }))
      assert(core.now() - before < 0.15 + SLACK)
    end)

    it("is an error where the proxy speaks no HTTP, or says no", function()
      for _, fault in ipairs { "garbage", "http09", "html_502" } do
        p:relay { fault = fault }
        new { retries = 0 }
        local _, err = fetch()
        assert(err.kind == "connect" or err.kind == "http", tostring(err))
        assert.is_nil(tostring(err):find "[%c\127]")
      end
    end)

    if not way.tls then
      it("is refused in clear, unless allow_http says so", function()
        local ok, problem = pcall(client.new, ways.options(p, { proxy = p.relay_url }))
        assert.is_false(ok)
        assert(problem:find("options.proxy", 1, true), problem)
        assert.same({}, asked())
      end)
    end
  end)

  describe("the environment's proxy #N11", function()
    local FETCH = ([[
      local mj <close> = new { retries = 0 }
      local task, err = call(mj, "fetch", %q)
      print(task and task.status or err)
    ]]):format(ID)

    local function run(environment, script)
      return (child.run(way.script(p) .. (script or FETCH), environment))
    end

    -- What of it counts for the API: the names of variables. A plain one has none, because the
    -- proxy would read the key.
    for _, name in ipairs { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" } do
      it("is asked for https, and for nothing in clear: " .. name, function()
        assert.equal("SUCCESS\n", run { [name] = p.relay_url })
        assert.same(way.tls and { "CONNECT localhost:" .. p.port } or {}, asked())
        lacks(p:relayed(), KEY)
      end)
    end

    it("is passed by for what NO_PROXY names", function()
      local all = p.relay_url
      for _, name in ipairs { "no_proxy", "NO_PROXY" } do
        for _, hosts in ipairs { "localhost,127.0.0.1", "*" } do
          assert.equal("SUCCESS\n", run { https_proxy = all, http_proxy = all, [name] = hosts })
        end
      end
      assert.same({}, asked())
      local output = run { https_proxy = all, http_proxy = all, no_proxy = "other.example" }
      assert.equal("SUCCESS\n", output)
      assert.equal(way.tls and 1 or 0, #asked())
    end)

    it("is passed by where the option is empty", function()
      local script = FETCH:gsub("retries = 0", "retries = 0, proxy = ''")
      assert.equal("SUCCESS\n", run({ https_proxy = p.relay_url, all_proxy = p.relay_url }, script))
      assert.same({}, asked())
    end)

    local DOWNLOAD = [[
      local mj <close> = new { retries = 0, allow_private = %s }
      local path, err = call(mj, "download", %q, %q)
      print(path and "saved" or err)
    ]]

    it("is asked for pictures of either scheme", function()
      p:relay { hosts = { ["pictures.example"] = p.other_port } }
      local name = way.tls and "https_proxy" or "http_proxy"
      local script = DOWNLOAD:format(false, picture "pictures.example", folder .. "/picture")
      assert.equal("saved\n", run({ [name] = p.relay_url }, script))
      assert.equal(PNG, read "picture")
      assert.equal(1, #asked())
      lacks(p:relayed(), KEY)
    end)

    -- Which address a name has is only known where there is no proxy: so what is guarded goes by
    -- one way or the other, not by the name.
    it("is passed by for pictures where NO_PROXY is *, or nothing is guarded", function()
      local name = way.tls and "https_proxy" or "http_proxy"
      for n, hosts in ipairs { "*", "localhost" } do
        local url = p.other_url:gsub("127.0.0.1", "localhost") .. "/attachments/a.png"
        local script = DOWNLOAD:format(true, url, folder .. "/" .. n)
        assert.equal("saved\n", run({ [name] = p.relay_url, no_proxy = hosts }, script))
      end
      assert.same({}, asked())
      p:relay { hosts = { ["pictures.example"] = p.other_port } }
      local script = DOWNLOAD:format(false, picture "pictures.example", folder .. "/picture")
      local output = run({ [name] = p.relay_url, no_proxy = "pictures.example" }, script)
      assert.equal("saved\n", output)
      assert.equal(1, #asked())
    end)
  end)

  describe("a picture through a proxy #N11 #D1 #D2", function()
    before_each(function()
      p:relay { hosts = { ["pictures.example"] = p.other_port } }
    end)

    it("is saved, and neither the proxy nor the host hears the key", function()
      assert(download(picture "pictures.example"))
      assert.equal(PNG, read "picture")
      assert.equal(1, #asked())
      lacks(p:relayed(), KEY)
      lacks(p:log(), KEY)
      assert.equal(p.other_port, p:log()[1].port)
    end)

    -- The proxy looks names up; what it connects to we cannot see. A literal address we can.
    for _, host in ipairs {
      "127.0.0.1", "127.1", "10.0.0.1", "192.168.0.1", "169.254.169.254", "[::1]", "localhost",
      "0x7f.1", "foo.localhost", "[::ffff:10.0.0.1]", "[fd00::1]",
    } do
      it("is not asked for at a private address: " .. host, function()
        local err = fails_with("connect", download(picture(host)))
        assert.is_false(err.retryable)
        assert(err.message:find("allow_private", 1, true), err.message)
        assert.same({}, asked())
      end)

      it("is not asked for at a private address behind a redirect: " .. host, function()
        p:set { image = { status = 302, headers = { Location = picture(host) } } }
        local err = fails_with("connect", download(picture "pictures.example"))
        assert(err.message:find("allow_private", 1, true), err.message)
        assert.equal(1, #asked())
      end)
    end

    it("is not there where the proxy wants a name, or nobody is the proxy", function()
      p:relay { user = USER }
      local _, err = download(picture "pictures.example")
      assert(tostring(err):find("407", 1, true), tostring(err))
      new { proxy = proxy.closed_url() }
      fails_with("connect", download(picture "pictures.example"))
      assert.is_nil(read "picture")
    end)

    it("is not there where the proxy does not know the host, or breaks off", function()
      local _, err = download(picture "elsewhere.example")
      assert(err.kind == "http" or err.kind == "connect", tostring(err))
      for _, fault in ipairs { "rst", "html", "garbage" } do
        p:relay { fault = fault }
        assert.is_nil((download(picture "pictures.example")))
      end
      assert.is_nil(read "picture")
    end)
  end)

  describe("what else lies about #N12", function()
    local function write(name, text)
      local file <close> = assert(io.open(folder .. "/" .. name, "w"))
      file:write(text)
    end

    it("is not used: ~/.netrc, ~/.curlrc, cookies", function()
      write(".netrc", "machine 127.0.0.1 login someone password netrc-word\n"
        .. "machine localhost login someone password netrc-word\n"
        .. "default login someone password netrc-word\n")
      write(".curlrc", ('proxy = "%s"\nheader = "X-Own: curlrc-word"\n'):format(p.relay_url))
      write("cookies", "localhost\tFALSE\t/\tFALSE\t0\tname\tcookie-word\n")
      p:set { fault = { headers = { ["Set-Cookie"] = "name=cookie-word; path=/" } } }
      local output = child.run(way.script(p) .. ([[
        local mj <close> = new { retries = 0, allow_private = true }
        for n = 1, 2 do
          assert(call(mj, "fetch", %q))
          assert(call(mj, "download", %q, %q .. n))
        end
        print "well"
      ]]):format(ID, p.other_url .. "/attachments/a.png", folder .. "/picture"), {
        HOME = folder, CURL_HOME = folder, XDG_CONFIG_HOME = folder, NETRC = folder .. "/.netrc",
      })
      assert.equal("well\n", output)
      assert.same({}, asked())
      assert.equal(4, #p:log())
      for _, request in ipairs(p:log()) do
        lacks(request.headers, "word")
        lacks(request.headers, "c29tZW9uZT") -- "someone:" in base64
        assert.is_nil(request.headers.cookie)
        assert(request.headers.authorization == (request.port == p.port and KEY or nil))
      end
    end)
  end)
end

for _, way in ipairs(ways) do
  describe(way.name .. ":", function()
    if way.missing then return it("proxies", function() pending(way.missing) end) end
    specs(way)
  end)
end
