-- Servers that shake hands badly, or not at all: what is said of it, what is tried again, and that
-- nothing is sent to them. What a good server gets is tls_spec's.

local certificates = require "support.certificates"
local client = require "mjtask.client"
local clock = require "support.clock"
local child = require "support.child"
local core = require "mjtask.core"
local mjtask = require "mjtask"
local proxy = require "support.proxy"
local ways = require "support.ways"
local fails_with = require "support.fails_with"

local ID = "1735030480000001"
local SLACK = 1 -- seconds on promised limits

local function specs(way)
  local p, mj

  local function new(options)
    local given = ways.options(p, { request_timeout = 5 })
    for name, value in pairs(options or {}) do given[name] = value end
    if mj then mj:close() end
    mj = client.new(given, clock.new())
    return mj
  end

  local function fetch(options)
    return way.call(mj, "fetch", ID, options)
  end

  setup(function() p = way.start() end)
  teardown(function() p:stop() end)

  before_each(function()
    p:reset()
    p:task(ID, { life = "done" })
    new()
  end)
  after_each(function()
    mj:close()
    mj = nil
  end)

  -- A fetch that ends as `tls`, by one try; what the message says of it is one of these.
  local function is_refused(...)
    local err = fails_with("tls", fetch())
    assert.is_false(err.retryable)
    assert.equal(1, err.attempts)
    assert.equal(1, p:connections())
    assert.same({}, p:log())
    local said = err.message:lower()
    for _, words in ipairs { ... } do
      if said:find(words, 1, true) then return end
    end
    error(said)
  end

  describe("a certificate #T1", function()
    for certificate, words in pairs {
      self_signed = { "self-signed", "self signed" }, wrong_host = { "subject name", "match" },
      expired = { "expired" }, untrusted = { "issuer", "unable to get local", "unknown ca" },
    } do
      it("is refused at once, and it is said why: " .. certificate, function()
        p:set { certificate = certificate }
        is_refused(table.unpack(words))
        p:set { certificate = "good" }
        assert.equal(ID, assert(fetch()).id)
      end)
    end

    it("that changes for the worse between two requests is refused", function()
      p:set { fault = "okclose" }
      assert(fetch())
      p:set { certificate = "untrusted", newest = "1.2" }
      fails_with("tls", fetch())
      assert.equal(1, #p:log())
    end)

    it("is not judged by authorities that cannot be read", function()
      local gone = certificates.path "no_such.pem"
      new { cafile = gone }
      local err = fails_with("tls", fetch())
      assert(err.message:find(gone, 1, true), err.message)
      assert.is_false(err.retryable)
      assert.equal(1, err.attempts)
      assert.same({}, p:log())
    end)

    it("of ours is unknown to the system's authorities", function()
      local output = child.run(way.script(p) .. ([[
        local mj <close> = require "mjtask".new { url = %q, key = "k", timeout = 5 }
        local task, err = call(mj, "fetch", "1")
        print(task, err.kind, err.attempts)
      ]]):format(p.url))
      assert.equal("nil\ttls\t1\n", output)
      assert.same({}, p:log())
    end)
  end)

  describe("a version #T1", function()
    for _, newest in ipairs { "1.0", "1.1" } do
      it("that is too old is refused at once: " .. newest, function()
        p:set { newest = newest }
        is_refused("protocol", "version")
      end)
    end

    for _, newest in ipairs { "1.2", "1.3" } do
      it("is good enough: " .. newest, function()
        p:set { newest = newest }
        assert.equal(ID, assert(fetch()).id)
      end)
    end
  end)

  describe("a handshake", function()
    -- Like any connection that is lost: another may do better.
    for _, fault in ipairs { "rst", "empty", "garbage" } do
      it("that the server breaks off is tried again #N6: " .. fault, function()
        p:set { handshakes = { fault, fault } }
        assert.equal(ID, assert(fetch()).id)
        assert.equal(3, p:connections())
        p:set { handshakes = { fault } }
        new { retries = 0 }
        assert.is_true(fails_with("connect", fetch()).retryable)
      end)

      it("that the server breaks off does not end a wait #N6: " .. fault, function()
        p:task(ID, { life = "short" })
        p:set { fault = "okclose", handshakes = { "pass", fault, "pass" } }
        new { retries = 0 }
        assert.equal("SUCCESS", assert(way.call(mj, "wait", ID)).status)
      end)

      it("that the server breaks off costs a submit nothing #N6: " .. fault, function()
        p:set { handshakes = { fault } }
        assert(way.call(mj, "submit", "imagine", { prompt = "a cat" }))
        assert.equal(1, #p:log())
      end)
    end

    it("that the server leaves unanswered ends in time #N4", function()
      p:set { handshakes = { "stall" } }
      local real <close> = mjtask.new(ways.options(p))
      local before = core.now()
      fails_with("timeout", way.call(real, "fetch", ID, { timeout = 0.15 }))
      assert(core.now() - before < 0.15 + SLACK)
      assert.equal(ID, assert(way.call(real, "fetch", ID)).id)
    end)

    it("with what speaks no TLS is refused at once #T1", function()
      p:set { handshakes = { "http09" } }
      is_refused("wrong version", "ssl")
    end)

    it("with a plain server is refused at once, and nothing is sent #T1", function()
      local plain <close> = proxy.start()
      new { url = plain.url:gsub("^http:", "https:") }
      fails_with("tls", fetch())
      for _, request in ipairs(plain:log()) do assert(request.malformed) end
    end)
  end)

  describe("a picture #T2", function()
    local folder, remove

    before_each(function() folder, remove = child.directory() end)
    after_each(function() remove() end)

    local function download(name)
      return way.call(mj, "download", p.other_url .. "/attachments/" .. name, folder .. "/picture")
    end

    local function nothing_there()
      local pipe <close> = assert(io.popen("ls -A '" .. folder .. "'"))
      assert.equal("", pipe:read "a")
    end

    -- The end of a picture is its own; that of a film only the wire could tell, which is cut.
    for _, name in ipairs { "a.png", "a.jpg", "a.gif", "a.webp", "a.mp4" } do
      it("whose connection is just cut is no picture: " .. name, function()
        new { allow_private = true, retries = 0 }
        p:set { image = { fault = "until_close_short", cut = true } }
        local _, err = download(name)
        assert(err.kind == "not_image" or err.kind == "connect", tostring(err))
        nothing_there()
        p:set { image = { fault = "short", cut = true } }
        _, err = download(name)
        fails_with("connect", nil, err)
        nothing_there()
      end)
    end

    it("is not followed from https to http #H6", function()
      new { allow_private = true }
      local target = p.plain_url .. "/attachments/a.png"
      p:set { script = { { status = 302, headers = { Location = target } } } }
      local _, err = download "a.png"
      assert(fails_with("redirect", nil, err).message:find("from https to http", 1, true))
      nothing_there()
      assert.equal(1, #p:log())
    end)

    it("from a host with a bad certificate is not asked for #T1", function()
      new { allow_private = true }
      for _, certificate in ipairs { "self_signed", "wrong_host", "expired", "untrusted" } do
        p:set { certificate = certificate }
        local _, err = download "a.png"
        assert.equal(1, fails_with("tls", nil, err).attempts)
      end
      nothing_there()
      assert.same({}, p:log())
    end)
  end)
end

for _, way in ipairs(ways) do
  if way.tls then
    describe(way.name .. ":", function()
      if way.missing then return it("handshakes", function() pending(way.missing) end) end
      specs(way)
    end)
  end
end
