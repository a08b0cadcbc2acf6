-- Which addresses a picture may come from: literal ones, asked of the core. Nothing is connected
-- to. What names resolve to is checked where the socket is made: download_spec.lua.

local core = require "mjtask.core"

local function engine(more)
  local options = { url = "https://api.example", auth = "none" }
  for name, value in pairs(more or {}) do options[name] = value end
  return core.engine(options)
end

local function verdict(host, asked)
  local ok, kind, fault = (asked or engine()):image("http://" .. host .. "/a.png")
  if ok then return "allowed" end
  return kind == "connect" and fault:find("private", 1, true) and "private" or kind .. fault
end

-- The first and the last of each range of IANA's registries, and their neighbours outside.
local RANGES4 = {
  { "0.0.0.0", "0.255.255.255", nil, "1.0.0.0" },
  { "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0" },
  { "100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0" },
  { "127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0" },
  { "169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0" },
  { "172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0" },
  { "192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0" },
  { "192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0" },
  { "192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0" },
  { "198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0" },
  { "198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0" },
  { "203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0" },
  { "224.0.0.0", "239.255.255.255", "223.255.255.255", nil },
  { "240.0.0.0", "255.255.255.255", nil, nil },
}

local PRIVATE6 = {
  "::", "::1", "::2", "::7f00:1", "::1.2.3.4", -- unspecified, loopback, the old compatible form
  "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:7f00:1", "::ffff:a9fe:a9fe", -- mapped
  "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", -- NAT64 of private ones
  "64:ff9b:1::1", -- NAT64 of one's own
  "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::", -- 6to4 of private ones
  "2001:db8::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", -- documentation
  "2001::1", "2001:0:7f00:1::", -- Teredo
  "fc00::1", "fdff:ffff::1", -- unique local
  "fe80::1", "febf::1", "fec0::1", -- link-local, site-local
  "ff02::1", "ff0e::1", -- multicast
  "100::1", "4000::1", "8000::", "1fff::1",
}

local PUBLIC6 = {
  "2606:4700::6810:84e5", "2a00:1450:4001:82b::200e", "2001:4860:4860::8888", "3fff:ffff::1",
  "2002:808:808::1", "2001:db7::1", "2001:db9::1", "2001:1::1", "64:ff9b::8.8.8.8",
  "::ffff:8.8.8.8",
}

describe("an image's address #D2", function()
  -- libcurl passes these on as they are, or as the address that IDNA makes of them.
  it("is private in disguise, too", function()
    for _, host in ipairs { "127.0.0.1.", "2130706433.", "0x7f.1.", "1.2.3.999", "0x7f000001." } do
      assert.equal("private", verdict(host), host)
    end
    for _, host in ipairs { "①②⑦.0.0.1", "ｌｏｃａｌｈｏｓｔ", "169。254。169。254", "b%C3%BCcher.example" } do
      assert.matches("^no_image.*ASCII", verdict(host))
    end
    assert.equal("allowed", verdict "cdn.1and1.example")
    assert.equal("allowed", verdict "xn--bcher-kva.example")
  end)

  for _, range in ipairs(RANGES4) do
    it(("is private from %s to %s"):format(range[1], range[2]), function()
      assert.equal("private", verdict(range[1]))
      assert.equal("private", verdict(range[2]))
      if range[3] then assert.equal("allowed", verdict(range[3])) end
      if range[4] then assert.equal("allowed", verdict(range[4])) end
    end)
  end

  it("is private in these of IPv6", function()
    for _, host in ipairs(PRIVATE6) do
      assert.equal("private", verdict("[" .. host .. "]"), host)
      assert.equal("private", verdict("[" .. host .. "]:8080"), host)
      assert.equal("private", verdict("[" .. host:upper() .. "]"), host)
    end
  end)

  it("is public in these", function()
    for _, host in ipairs(PUBLIC6) do assert.equal("allowed", verdict("[" .. host .. "]"), host) end
    for _, host in ipairs { "8.8.8.8", "cdn.discordapp.com", "1.1.1.1:8443" } do
      assert.equal("allowed", verdict(host), host)
    end
  end)

  it("is private by a name that means this machine", function()
    for _, host in ipairs {
      "localhost", "LOCALHOST", "LocalHost:3001", "localhost.", "foo.localhost", "a.b.localhost",
      "foo.localhost.",
    } do
      assert.equal("private", verdict(host), host)
    end
    for _, host in ipairs { "notlocalhost", "localhost.example", "local", "localhosts" } do
      assert.equal("allowed", verdict(host), host)
    end
  end)

  it("is private however it is spelt", function()
    for _, host in ipairs {
      "127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001",
      "0177.0.0.1", "0177.1", "0", "0.0", "0x0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]",
      "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "%6cocalhost", "127.0.0.%31", "10.1", "0xa.1",
      "012.1", "167772161", "192.168.257", "169.254.43518", "127.000.000.001",
    } do
      assert.not_equal("allowed", verdict(host), host)
    end
  end)

  it("with a zone is private, or no address at all", function()
    for _, host in ipairs { "[fe80::1%25eth0]", "[::1%25lo]", "[fe80::1%eth0]" } do
      assert.not_equal("allowed", verdict(host), host)
    end
  end)

  it("may be private where that is allowed", function()
    local open = engine { allow_private = true }
    for _, host in ipairs { "127.0.0.1", "10.0.0.1", "[::1]", "localhost", "[fd00::1]" } do
      assert.equal("allowed", verdict(host, open), host)
    end
  end)

  it("may be the API's own, by the same scheme, host and port only", function()
    local home = engine { url = "http://127.0.0.1:8080/proxy/mj" }
    assert.equal("allowed", verdict("127.0.0.1:8080", home))
    assert.equal("allowed", verdict("127.1:8080", home)) -- the parser's spelling of it is the same
    for _, host in ipairs {
      "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8081", "127.0.0.2:8080", "localhost:8080",
      "[::1]:8080", "[::ffff:127.0.0.1]:8080",
    } do
      assert.equal("private", verdict(host, home), host)
    end
    assert.is_nil((home:image "https://127.0.0.1:8080/a.png"))
    local plain = engine { url = "http://localhost" }
    assert.equal("allowed", verdict("localhost", plain))
    assert.equal("allowed", verdict("LOCALHOST:80", plain))
    assert.equal("private", verdict("localhost:8080", plain))
  end)
end)

describe("an image's URL", function()
  local function refused(url)
    local ok, kind, fault = engine():image(url)
    assert.is_nil(ok, ("%q"):format(url))
    assert.equal("string", type(fault))
    return kind
  end

  it("is of http or https", function()
    for _, url in ipairs {
      "file:///etc/passwd", "ftp://cdn.example/a.png", "gopher://cdn.example/", "data:,x",
      "dict://cdn.example/", "ftp.example/a.png", "cdn.example/a.png", "//cdn.example/a.png",
      "http:/cdn.example/a.png", "http:cdn.example", "https:/127.0.0.1/", "http://", "https://",
      "javascript:alert(1)", "FILE:///etc/passwd", "smb://cdn.example/a", "unix:/run/x",
      "mailto:a@b", "file://localhost/etc/passwd",
    } do
      assert.equal("no_image", refused(url), url)
    end
  end)

  it("has nobody's name in it, and no blank, control character or backslash", function()
    for _, url in ipairs {
      "http://user@cdn.example/a.png", "http://user:pw@cdn.example/",
      "http://cdn.example@10.0.0.1/",
      "http://cdn.example/a b", "http://cdn.example/\r\nX: y", "http://cdn.example/a\0b",
      "http://cdn.example\\@10.0.0.1/", "http://cdn.example/\t", "\nhttp://cdn.example/", "",
      "http://cdn.example/\x7F", "http://[::1", "http://cdn.example:99999/", "http://a:b:c/",
      "http://cdn.example/" .. ("a"):rep(5000),
    } do
      assert.equal("no_image", refused(url), url)
    end
  end)

  it("may have letters beyond ASCII, and tells whether it is secure", function()
    local ok, secure = engine():image("https://cdn.example/水墨/é.png?ex=1&is=2&hm=3&")
    assert.same({ true, true }, { ok, secure })
    ok, secure = engine():image("http://cdn.example/a.png#b")
    assert.same({ true, false }, { ok, secure })
  end)
end)
