-- TLS against a real server: which certificates are taken, what is said of the others, and which
-- protocols are spoken. What a server does wrong is handshake_spec's and faults_spec's: this one is
-- nginx.

local mjtask = require "mjtask"
local certificates = require "support.certificates"
local child = require "support.child"
local nginx = require "support.nginx"

local KEY = "test-key-0123456789"

local serial = 0

-- An id for each use: what the server's log says of it is of nobody else.
local function new_id()
  serial = serial + 1
  return "tls-" .. serial
end

local function path_of(id)
  return "/mj/task/" .. id .. "/fetch"
end

local missing = nginx.missing()
local n

local function client(server, more)
  local given = { url = n.servers[server].url, key = KEY, cafile = n.cafile, timeout = 5 }
  for name, value in pairs(more or {}) do given[name] = value end
  return mjtask.new(given)
end

-- The error of a fetch that TLS must end, with what all of them have in common.
local function refusal(server, more)
  local id = new_id()
  local mj <close> = client(server, more)
  local task, err = mj:fetch(id)
  assert.is_nil(task)
  assert.equal("tls", err.kind, tostring(err))
  assert.is_false(err.retryable)
  assert.equal(1, err.attempts)
  assert.is_nil(err.status)
  assert.same({}, n:log(0, path_of(id)))
  return err.message
end

-- What the access log says of the requests that `f(id)` makes.
local function requests_of(count, f)
  local id = new_id()
  f(id)
  local log = n:log(count, path_of(id))
  assert.equal(count, #log)
  return log
end

local function holds(text, ...)
  for _, part in ipairs { ... } do
    if text:lower():find(part, 1, true) then return end
  end
  error(("%q says nothing of %s"):format(text, ...), 2)
end

describe("over TLS", function()
  if missing then
    it("certificates and protocols are checked", function()
      pending("not run: " .. missing)
    end)
    return
  end

  setup(function()
    n = nginx.start {
      good = { certificate = "good" },
      good2 = { certificate = "good", http2 = true },
      each = { certificate = "good", keepalive = 0 },
      each12 = { certificate = "good", keepalive = 0, protocols = "TLSv1.2" },
      once = { certificate = "good", extra = "keepalive_requests 1;" },
      once2 = { certificate = "good", http2 = true, extra = "keepalive_requests 1;" },
      wrong_host = { certificate = "wrong_host" },
      expired = { certificate = "expired" },
      untrusted = { certificate = "untrusted" },
      self_signed = { certificate = "self_signed" },
      old = { certificate = "good", protocols = "TLSv1.1", ciphers = "ALL:@SECLEVEL=0" },
      oldest = { certificate = "good", protocols = "TLSv1", ciphers = "ALL:@SECLEVEL=0" },
      plain = {},
      away = { certificate = "good", extra = "return 302 http://127.0.0.1:1/x?sig=1;" },
    }
  end)
  teardown(function() if n then n:stop() end end)

  for server, protocol in pairs { good = "HTTP/1.1", good2 = "HTTP/2.0" } do
    it("a good certificate is taken, and the server spoken to in " .. protocol, function()
      local log = requests_of(3, function(id)
        local mj <close> = client(server)
        for _ = 1, 3 do assert.equal("SUCCESS", assert(mj:fetch(id)).status) end
      end)
      for _, request in ipairs(log) do
        assert.equal(protocol, request.protocol)
        assert.equal("TLSv1.3", request.tls)
        assert.equal(200, request.status)
        assert.equal(log[1].connection, request.connection)
      end
    end)

    it("a wait works in " .. protocol .. ", too", function()
      requests_of(1, function(id)
        local mj <close> = client(server)
        assert.equal("SUCCESS", assert(mj:wait(id)).status)
      end)
    end)
  end

  for _, server in ipairs { "each", "once", "once2" } do
    it("a connection that serves once only costs nothing: 100 fetches, " .. server .. " #N7",
    function()
      local log = requests_of(100, function(id)
        local mj <close> = client(server, { retries = 0 })
        for _ = 1, 100 do assert(mj:fetch(id)) end
      end)
      assert.not_equal(log[1].connection, log[2].connection)
    end)
  end

  it("a name is as good as an address", function()
    local mj <close> = client("good", { url = "https://localhost:" .. n.servers.good.port })
    assert(mj:fetch("1"))
  end)

  it("TLS 1.2 is enough", function()
    local log = requests_of(1, function(id)
      local mj <close> = client("each12")
      assert(mj:fetch(id))
    end)
    assert.equal("TLSv1.2", log[1].tls)
  end)

  for _, server in ipairs { "each", "each12" } do
    it("a second connection resumes the session of the first (" .. server .. ")", function()
      local log = requests_of(2, function(id)
        local mj <close> = client(server)
        assert(mj:fetch(id))
        assert(mj:fetch(id))
      end)
      assert.not_equal(log[1].connection, log[2].connection)
      assert.is_false(log[1].reused)
      assert.is_true(log[2].reused)
    end)
  end

  it("no session is shared between clients", function()
    local log = requests_of(2, function(id)
      for _ = 1, 2 do
        local mj <close> = client("each")
        assert(mj:fetch(id))
      end
    end)
    assert.is_false(log[2].reused)
  end)

  it("a certificate of an unknown issuer is refused", function()
    holds(refusal("untrusted"), "issuer", "unable to get local", "unknown ca")
  end)

  it("a self-signed certificate is refused", function()
    holds(refusal("self_signed"), "self-signed", "self signed")
  end)

  it("a certificate for another name is refused", function()
    holds(refusal("wrong_host"), "subject name", "match")
    holds(refusal("wrong_host", { url = "https://localhost:" .. n.servers.wrong_host.port }),
      "subject name", "match")
  end)

  it("an expired certificate is refused", function()
    holds(refusal("expired"), "expired")
  end)

  it("TLS 1.0 and 1.1 are refused #T1 #T3", function()
    holds(refusal("old"), "protocol", "version")
    holds(refusal("oldest"), "protocol", "version")
  end)

  it("without cafile the system's authorities count, and ours is none of them", function()
    local output = child.run(([[
      local mj <close> = require "mjtask".new { url = %q, key = "k", timeout = 5 }
      local task, err = mj:fetch "1"
      print(task, err.kind, err.attempts)]]):format(n.servers.good.url))
    assert.equal("nil\ttls\t1\n", output)
  end)

  it("a cafile takes the place of the system's authorities", function()
    local stranger = certificates.path "stranger.pem"
    refusal("good", { cafile = stranger })
    local mj <close> = client("untrusted", { cafile = stranger })
    assert(mj:fetch("1"))
  end)

  it("a cafile that is missing, or is none, is an error that names it", function()
    local gone = n.directory .. "/no_such.pem"
    holds(refusal("good", { cafile = gone }), gone:lower())
    holds(refusal("good", { cafile = n.directory .. "/nginx.conf" }), "nginx.conf", "certificate")
    refusal("good", { cafile = n.directory })
  end)

  it("the environment cannot widen what is trusted beside a cafile", function()
    local output = child.run(([[
      local mj <close> = require "mjtask".new {
        url = %q, cafile = %q, key = "k", timeout = 5,
      }
      local task, err = mj:fetch "1"
      print(task, err.kind)]]):format(n.servers.good.url, certificates.path "stranger.pem"), {
      SSL_CERT_FILE = n.cafile, CURL_CA_BUNDLE = n.cafile, SSL_CERT_DIR = certificates.path(),
    })
    assert.equal("nil\ttls\n", output)
  end)

  it("a refusal ends a wait at once", function()
    local mj <close> = client("expired")
    local task, err = mj:wait("1")
    assert.is_nil(task)
    assert.equal("tls", err.kind)
    assert.equal(1, err.attempts)
  end)

  it("the key does not reach a server that is not trusted", function()
    for _, server in ipairs { "self_signed", "wrong_host", "expired", "untrusted", "old" } do
      refusal(server, { headers = { ["X-Own"] = KEY } })
    end
    assert(not n:errors():find(KEY, 1, true))
  end)

  it("plain http where TLS is expected is refused, and TLS where plain http is", function()
    local mj <close> = client("plain", { url = "https://127.0.0.1:" .. n.servers.plain.port })
    local task, err = mj:fetch("1")
    assert.is_nil(task)
    assert.equal("tls", err.kind)
    local wrong <close> = client("good", {
      url = "http://127.0.0.1:" .. n.servers.good.port, retries = 0,
    })
    task, err = wrong:fetch("1")
    assert.is_nil(task)
    assert.equal("http", err.kind)
    assert.equal(400, err.status)
  end)

  it("a redirect down to plain http is not followed", function()
    local mj <close> = client("away")
    local task, err = mj:fetch("1")
    assert.is_nil(task)
    assert.equal("redirect", err.kind)
    assert(not tostring(err):find("sig", 1, true))
  end)

  it("no option and no call can turn the checks off #T3", function()
    for _, name in ipairs { "verify", "insecure", "insecure_skip_verify", "ssl_verifypeer" } do
      assert.has_error(function() client("self_signed", { [name] = false }) end)
      assert.has_error(function() client("self_signed", { [name] = true }) end)
    end
    local mj <close> = client("self_signed", { allow_http = true, allow_private = true })
    assert.equal("tls", select(2, mj:fetch("1")).kind)
  end)
end)
