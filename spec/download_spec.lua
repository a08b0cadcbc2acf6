-- Downloads from end to end: the whole file or no file, whatever the image host does; and what
-- goes where: no key to it, nothing from private addresses, no name from it.

local child = require "support.child"
local client = require "mjtask.client"
local clock = require "support.clock"
local descriptors = require "support.descriptors"
local lives = require "support.lives"
local mjtask = require "mjtask"
local pictures = require "support.pictures"
local process = require "support.process"
local proxy = require "support.proxy"
local socket = require "socket"
local failed_with = require "support.fails_with"

local KEY = "sk-0123456789abcdef"
local ID = "1735030480000001"
local PNG = pictures.of "a.png"
local OLD = "what was there before"

local p, mj, folder, remove, target

local function options_of(more)
  local given = { url = p.url, key = KEY, allow_private = true }
  for name, value in pairs(more or {}) do given[name] = value end
  return given
end

-- A client whose backoff costs no time. It may load from loopback, where our image host is.
local function new(more) return client.new(options_of(more), clock.new()) end

-- One that may not, as they are by default.
local function guarded() return new { allow_private = false } end

-- With the true clock, for what takes time.
local function real(more) return mjtask.new(options_of(more)) end

local function picture(name)
  return p.other_url .. "/attachments/" .. (name or "a.png")
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

local function write(path, bytes)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(bytes))
end

local function lines_of(command)
  local pipe <close> = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  return lines
end

-- The names of all that is in the folder, hidden or not.
local function listing(path)
  return lines_of("ls -A '" .. (path or folder) .. "'")
end

local function fails_with(...)
  local err = failed_with(...)
  assert.is_nil(tostring(err):find(KEY, 1, true))
  return err
end

local function escaped(url)
  return (url:gsub("[^%w]", function(char) return ("%%%02X"):format(char:byte()) end))
end

-- A URL of the image host (or of `from`) that leads to another.
local function leading_to(url, from) return (from or p.other_url) .. "/to/" .. escaped(url) end

-- Closes a socket at the end of its scope.
local function closing(sock)
  return setmetatable({ sock = sock }, { __close = function() sock:close() end })
end

-- Answers with so many bytes of PNG, once the request's head is here. Is it? Never waits for it:
-- who sends it waits for us.
local function begin(connection, bytes)
  connection:settimeout(0)
  local line
  repeat line = connection:receive "*l" until line == "" or not line
  if not line then return false end
  local head = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
  assert(connection:send(head:format(#PNG) .. PNG:sub(1, bytes)))
  return true
end

-- Downloads PNG by callback from a host in this process. It sends the first half, and the rest when
-- `progress(finish, bytes, total, client)` calls `finish`. What the callback is told.
local function held_back(progress)
  local listener <close> = closing(assert(socket.bind("127.0.0.1", 0)))
  local one <close> = real { retries = 0 }
  local deadline, half = socket.gettime() + 10, #PNG // 2
  local connection, begun, told
  local function finish() assert(connection:send(PNG:sub(half + 1))) end
  one:download("http://127.0.0.1:" .. select(2, listener.sock:getsockname()), target, {
    progress = function(bytes, total) progress(finish, bytes, total, one) end,
  }, function(...) told = table.pack(...) end)
  listener.sock:settimeout(0)
  repeat
    assert(socket.gettime() < deadline, "it does not end")
    one:step(0.05)
    connection = connection or listener.sock:accept()
    begun = begun or connection and begin(connection, half)
  until told
  connection:close()
  return table.unpack(told, 1, told.n)
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  folder, remove = child.directory()
  target = folder .. "/picture"
  mj = new()
end)

after_each(function()
  mj:close()
  remove()
end)

describe("a download", function()
  for _, ending in ipairs { "png", "jpg", "gif", "webp", "mp4" } do
    it("is the file, byte for byte: " .. ending, function()
      assert.equal(target, assert(mj:download(picture("a." .. ending), target)))
      assert.equal((pictures.of("a." .. ending)), read(target))
      assert.same({ "picture" }, listing())
    end)
  end

  it("is a picture that other programs read", function()
    if not (process.has "python3" and process.has "file") then
      pending "not run: there is no python3, or no file"
      return
    end
    assert(mj:download(picture(), target))
    local lines = lines_of("LD_PRELOAD= file -b '" .. target .. "'")
    assert.equal("PNG image data, 64 x 64, 8-bit/color RGB, non-interlaced", lines[1])
    local script = process.file([[
import struct, sys, zlib
data, at, pixels = open(sys.argv[1], "rb").read(), 8, b""
while at < len(data):
    size, name = struct.unpack(">I4s", data[at:at + 8])
    body = data[at + 8:at + 8 + size]
    assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(name + body)
    pixels += body if name == b"IDAT" else b""
    at += 12 + size
print(len(zlib.decompress(pixels)))
]], "png.py")
    assert.same({ tostring(64 * (3 * 64 + 1)) },
      lines_of(("LD_PRELOAD= python3 '%s' '%s' 2>&1"):format(script, target)))
  end)

  it("has the rights that files of this user have", function()
    write(folder .. "/other", "x")
    assert(mj:download(picture(), target))
    local rights = lines_of(("stat -c %%a '%s' '%s/other'"):format(target, folder))
    assert.equal(rights[2], rights[1])
  end)

  -- A film has no end mark: the end of the connection could be a cut.
  it("of a film needs a length, or chunks", function()
    for _, fault in ipairs { "until_close", "until_close_short" } do
      p:set { image = { fault = fault } }
      local err = fails_with("not_image", mj:download(picture("a.mp4"), target))
      assert.equal("the end of the film cannot be told from a cut", err.message)
      assert.same({}, listing())
    end
    p:set { image = { fault = "chunked" } }
    assert(mj:download(picture("a.mp4"), target))
    assert.equal((pictures.of "a.mp4"), read(target))
  end)

  it("comes in any framing", function()
    for n, fault in ipairs { "chunked", "until_close", "bytewise", "close", "okclose", "okrst" } do
      p:set { image = fault == "bytewise" and { fault = "drip", every = 0, bytes = 7 } or fault }
      assert(mj:download(picture(), target .. n))
      assert.equal(PNG, read(target .. n), fault)
    end
  end)

  it("comes with any type: what the bytes are decides", function()
    for n, type in ipairs { "application/octet-stream", "text/html", "", "image/jpeg" } do
      p:set { image = { type = type } }
      assert(mj:download(picture(), target .. n))
      assert.equal(PNG, read(target .. n))
    end
  end)

  it("of a task is its first picture", function()
    p:task(ID, { life = "done" })
    local task = assert(mj:fetch(ID))
    assert(mj:download(task, target))
    assert.equal(PNG, read(target))
    local log = p:log()
    assert.equal(task.imageUrl, p.other_url .. log[2].path)
    assert.truthy(log[2].path:find("?ex=676bc867&is=676a76e7&hm=", 1, true))
    assert.equal("&", log[2].path:sub(-1))
  end)

  it("of a task takes what there is of several", function()
    local task = { id = ID, imageUrls = { { url = picture "1.gif" }, { url = picture "2.gif" } } }
    for n, url in ipairs(mjtask.images(task)) do
      assert(mj:download(url, target .. n))
      assert.equal("/attachments/" .. n .. ".gif", p:log()[n].path)
    end
  end)

  it("of a task without a picture is no_image, and no request", function()
    for _, task in ipairs { { id = ID }, { id = ID, imageUrl = "" }, {}, { imageUrls = {} } } do
      fails_with("no_image", mj:download(task, target))
    end
    fails_with("no_image", mj:download("", target))
    assert.same({}, listing())
    assert.equal(0, p:connections())
  end)

  it("names a wrong argument", function()
    for _, row in ipairs {
      { "url", nil, target }, { "url", 7, target }, { "url", true, target },
      { "path", picture(), nil }, { "path", picture(), "" }, { "path", picture(), 7 },
      { "path", picture(), target .. "\0.png" }, { "path", picture(), {} },
      { "options", picture(), target, 7 }, { "colour", picture(), target, { colour = 1 } },
      { "progress", picture(), target, { progress = true } },
      { "overwrite", picture(), target, { overwrite = "yes" } },
      { "max_body", picture(), target, { max_body = 0 } },
      { "allow_private", picture(), target, { allow_private = true } },
    } do
      local ok, problem = pcall(function() mj:download(row[2], row[3], row[4]) end)
      assert.is_false(ok, row[1])
      assert.truthy(problem:find(row[1], 1, true), problem)
      assert.truthy(problem:find("download_spec.lua:", 1, true), problem)
    end
    assert.same({}, listing())
    assert.equal(0, p:connections())
  end)
end)

describe("a download that fails leaves no file #D5: ", function()
  local function cut(bytes) return { body = PNG:sub(1, bytes) } end
  -- what the host does: the kind, tries, options
  local CASES = {
    ["a page with 200"] = { "html", "not_image", 1 },
    ["no bytes"] = { "empty_body", "not_image", 1 },
    ["one byte"] = { cut(1), "not_image", 1 },
    ["a few bytes"] = { cut(15), "not_image", 1 },
    ["only the sign of a PNG"] = { cut(16), "not_image", 1 },
    ["cut, the length right"] = { "truncated", "not_image", 1 },
    ["cut by a byte"] = { cut(#PNG - 1), "not_image", 1 },
    ["cut before its end"] = { cut(#PNG - 12), "not_image", 1 },
    ["cut, the length of the whole"] = { "short", "connect", 3 },
    ["cut, no length"] = { "until_close_short", "not_image", 1 },
    ["cut within a chunk"] = { "short_chunk", "connect", 3 },
    ["no last chunk"] = { "no_last_chunk", "connect", 3 },
    ["a length too small"] = { "length_too_small", "not_image", 1 },
    ["more behind it"] = { "trailing", "not_image", 1 },
    ["a byte order mark before it"] = { "bom", "not_image", 1 },
    ["reset in the middle"] = { "rst_body", "connect", 3 },
    ["reset in the head"] = { "rst_head", "connect", 3 },
    ["reset before"] = { "rst", "connect", 3 },
    ["closed before"] = { "empty", "connect", 3 },
    ["compressed unasked"] = { "gzip", "not_image", 1 },
    ["no HTTP"] = { "garbage", "http", 3 },
    ["no head"] = { "http09", "http", 3 },
    ["JSON with 200"] = { { body = '{"error":"gone"}' .. (" "):rep(50) }, "not_image", 1 },
    ["JSON like a JPEG"] = { { body = "\xFF\xD8\xFF" .. ("x"):rep(500) }, "not_image", 1 },
    ["a GIF cut"] = { { body = "GIF89a" .. ("x"):rep(500) }, "not_image", 1 },
    ["a WebP cut"] = { { body = "RIFF\xFF\1\0\0WEBP" .. ("x"):rep(300) }, "not_image", 1 },
    ["a WAVE"] = { { body = "RIFF\x10\0\0\0WAVE" .. ("x"):rep(300) }, "not_image", 1 },
    ["endless, no length"] = { "no_length", "too_large", 1, { max_body = 300000 } },
    ["endless chunks"] = { "chunk_big", "too_large", 1, { max_body = 300000 } },
    ["larger than allowed"] = { "pass", "too_large", 1, { max_body = #PNG - 1 } },
    ["far larger than allowed"] = {
      { fault = "big", mib = 2 }, "too_large", 1, { max_body = 9999 },
    },
    ["silence"] = { "stall", "timeout", 1, { timeout = 0.1 } },
    ["silence in the head"] = { "stall_head", "timeout", 1, { timeout = 0.1 } },
    ["silence in the middle"] = { "stall_body", "timeout", 1, { timeout = 0.1 } },
    ["a slow drip"] = { "drip", "timeout", 1, { timeout = 0.15 } },
    ["forbidden"] = { { status = 403, body = "" }, "expired", 1 },
    ["not found"] = { { status = 404, body = "This content is gone." }, "expired", 1 },
    ["gone"] = { { status = 410, body = "" }, "expired", 1 },
    ["gone, with a picture"] = { { status = 404, body = PNG, type = "image/png" }, "expired", 1 },
    ["refused"] = { { status = 401, body = "" }, "http", 1 },
    ["too many requests"] = { { status = 429, body = "" }, "rate_limited", 3 },
    ["a server's fault"] = { { status = 500, body = PNG, type = "image/png" }, "http", 3 },
    ["a page of 502"] = { "html_502", "http", 3 },
    ["created"] = { { status = 201, body = PNG, type = "image/png" }, "http", 1 },
    ["a part"] = { { status = 206, body = PNG:sub(1, 100), type = "image/png" }, "http", 1 },
    ["no content"] = { { status = 204, body = "" }, "http", 1 },
    ["a redirect to nowhere"] = { "redirect_nowhere", "redirect", 1 },
    ["a redirect with a picture"] = { { status = 302, body = PNG }, "redirect", 1 },
  }

  for what, row in pairs(CASES) do
    it(what, function()
      local plan, kind, tries, more = table.unpack(row)
      p:set { image = plan }
      local one <close> = more and more.timeout and real() or new()
      local err = fails_with(kind, one:download(picture(), target, more))
      assert.equal(tries, err.attempts, tostring(err))
      assert.same({}, listing())

      -- nor does it touch one that is there
      write(target, OLD)
      more = more or {}
      more.overwrite = true
      assert.is_nil((one:download(picture(), target, more)))
      assert.equal(OLD, read(target))
      assert.same({ "picture" }, listing())
    end)
  end

  it("nobody there", function()
    local err = fails_with("connect", mj:download(proxy.closed_url() .. "/a.png", target))
    assert.equal(3, err.attempts)
    assert.same({}, listing())
  end)

  it("says what was wrong, in one line, without the signature", function()
    local signed = picture "a.png" .. "?ex=1&is=2&hm=SIGNATURE&"
    for _, plan in ipairs { "html", "rst", "truncated", { status = 404, body = "\27[31mno" },
        { status = 500, body = "SIGNATURE? " .. picture "b.png" .. "?hm=SIGNED" },
        { status = 302, headers = { Location = "ftp://x/y?hm=SIGNATURE" } } } do
      p:set { image = plan }
      local _, err = mj:download(signed, target)
      assert.is_nil(tostring(err):find("hm=", 1, true), tostring(err))
      assert.is_nil(tostring(err):find "%c")
    end
  end)
end)

describe("a download is tried again", function()
  it("when the connection drops, and is whole then", function()
    p:set { script = { "rst_body", "short", "pass" } }
    assert(mj:download(picture(), target))
    assert.equal(PNG, read(target))
    assert.same({ "picture" }, listing())
    local log = p:log()
    assert.equal(3, #log)
    for _, request in ipairs(log) do assert.is_nil(request.headers.range) end
  end)

  it("from its beginning, also where the next is shorter", function()
    p:set { script = { "short", { body = (pictures.of "a.gif") } } }
    assert(mj:download(picture(), target))
    assert.equal((pictures.of "a.gif"), read(target))
  end)

  it("after 5xx and 429, as long as retries last", function()
    p:set { script = { { status = 503 }, { status = 429, headers = { ["Retry-After"] = "3" } } } }
    assert(mj:download(picture(), target))
    assert.equal(PNG, read(target))
    p:set { image = "rst" }
    fails_with("connect", mj:download(picture(), target .. 2, { retries = 0 }))
  end)

  it("over connections that die between two", function()
    for n, fault in ipairs { "deadsecond", "rstsecond", "okclose", "okrst" } do
      p:set { fault = fault }
      for m = 1, 8 do assert(mj:download(picture(), target .. n .. m)) end
    end
    assert.equal(32, #listing())
  end)
end)

describe("a download's target #D3", function()
  it("is kept if it exists, and nothing is asked for", function()
    write(target, OLD)
    local err = fails_with("io", mj:download(picture(), target))
    assert.truthy(err.message:find(target, 1, true))
    assert.is_false(err.retryable)
    assert.equal(OLD, read(target))
    assert.same({ "picture" }, listing())
    assert.equal(0, p:connections())
  end)

  it("is replaced with overwrite", function()
    write(target, OLD)
    assert.equal(target, mj:download(picture(), target, { overwrite = true }))
    assert.equal(PNG, read(target))
    assert.same({ "picture" }, listing())
  end)

  it("is kept if it comes into being meanwhile", function()
    local seen = 0
    fails_with("io", held_back(function(finish)
      seen = seen + 1
      if seen > 1 then return end
      write(target, OLD)
      finish()
    end))
    assert.is_true(seen > 0)
    assert.equal(OLD, read(target))
    assert.same({ "picture" }, listing())
  end)

  it("is never reached through a symbolic link", function()
    local elsewhere = folder .. "/elsewhere"
    for _, there in ipairs { true, false } do
      if there then write(elsewhere, OLD) else os.remove(elsewhere) end
      os.remove(target)
      assert(os.execute(("ln -s '%s' '%s'"):format(elsewhere, target)))
      fails_with("io", mj:download(picture(), target))
      assert.equal(there and OLD or nil, read(elsewhere))
      assert(mj:download(picture(), target, { overwrite = true })) -- the link goes
      assert.equal(there and OLD or nil, read(elsewhere))
      assert.equal(PNG, read(target))
      assert.is_nil(os.execute("test -h '" .. target .. "'"))
    end
  end)

  it("is no folder, nor in one that is missing", function()
    assert(os.execute("mkdir '" .. target .. "'"))
    for _, path in ipairs { target, target .. "/", folder, folder .. "/", folder .. "/.", "/", ".",
        "..", folder .. "/missing/a.png", folder .. "/missing/", target .. "/../nowhere/x" } do
      for _, overwrite in ipairs { false, true } do
        local err = fails_with("io", mj:download(picture(), path, { overwrite = overwrite }))
        assert.truthy(err.message:find(path, 1, true))
      end
    end
    assert.same({ "picture" }, listing())
    assert.same({}, listing(target))
    assert.equal(0, p:connections())
  end)

  it("is not a file's inside, nor a device", function()
    write(target, OLD)
    fails_with("io", mj:download(picture(), target .. "/a.png"))
    fails_with("io", mj:download(picture(), "/dev/null"))
    fails_with("io", mj:download(picture(), "/proc/self/fd/1"))
    assert(os.execute("test -c /dev/null"))
    assert.equal(OLD, read(target))
  end)

  it("may have a name as long as names can be, and no longer", function()
    local long = folder .. "/" .. ("n"):rep(255)
    assert(mj:download(picture(), long))
    assert.equal(PNG, read(long))
    fails_with("io", mj:download(picture(), long .. "n"))
    assert.equal(1, #listing())
  end)

  it("may have any name that files can have", function()
    for _, name in ipairs { "a b", "-rf", "é水", "a'b\"c", "%s%d", "a\nb", "$(x)", ".hidden" } do
      assert(mj:download(picture(), folder .. "/" .. name))
      assert.equal(PNG, read(folder .. "/" .. name))
    end
  end)

  it("may be of the current folder", function()
    local output = child.run(([[
      local mj <close> = require "mjtask".new { url = %q, key = "01234567", allow_private = true }
      print(mj:download(%q, "here.png"))
      print(mj:download(%q, "here.png"))
    ]]):format(p.url, picture(), picture()),
      nil, "cd '" .. folder .. "' && LUA_PATH= LUA_CPATH= && %s")
    assert.truthy(output:find "^here.png\nnil\tio: here.png: ", output)
    assert.equal(PNG, read(folder .. "/here.png"))
    assert.same({ "here.png" }, listing())
  end)

  it("asks for the path as it is: a signature may be made of it", function()
    for _, path in ipairs { "/attachments/x/../a.png", "/attachments/./a.png?x=/../y" } do
      assert.equal(target, mj:download(p.other_url .. path, target, { overwrite = true }))
      local log = p:log()
      assert.equal(path, log[#log].path)
    end
  end)

  it("is told of by the caller, never by a server", function()
    p:set { image = {
      headers = {
        ["Content-Disposition"] = 'attachment; filename="../../evil.png"',
        ["Content-Location"] = "/evil.png", ["X-Filename"] = "evil.png",
      },
    } }
    for _, path in ipairs {
      "/attachments/../../../../tmp/evil.png", "/attachments/..%2f..%2fevil.png",
      "/attachments/evil.png%00.txt", "/attachments/a;evil", "/attachments/evil.png?f=../evil",
    } do
      assert.equal(target, mj:download(p.other_url .. path, target, { overwrite = true }))
    end
    assert(mj:download(leading_to(picture "x/../evil.png"), target, { overwrite = true }))
    assert.same({ "picture" }, listing())
    p:task(ID, { life = { { status = "SUCCESS", id = ID, imageUrl = picture "x.png",
      fileName = "../evil.png", path = "/tmp/evil" } } })
    assert(mj:download(assert(mj:fetch(ID)), target, { overwrite = true }))
    assert.same({ "picture" }, listing())
  end)
end)

describe("the image host #D1", function()
  local function image_requests()
    local found = {}
    for _, request in ipairs(p:log()) do
      if not request.path:find("/mj/task/", 1, true) then found[#found + 1] = request end
    end
    return found
  end

  local function has_no_key(request)
    for name, value in pairs(request.headers) do
      assert.is_nil(value:find("0123456789", 1, true), name)
    end
    assert.is_nil(request.headers.authorization)
    assert.is_nil(request.headers["mj-api-secret"])
    assert.is_nil(request.headers["x-own"])
    assert.is_nil(request.headers.cookie)
    assert.is_nil(request.headers.referer)
    assert.is_nil(request.path:find("0123456789", 1, true))
  end

  for _, way in ipairs { "auto", "raw", "bearer", "mj-api-secret" } do
    it("never sees the key, however it is sent: " .. way, function()
      local one <close> = new { auth = way, headers = { ["X-Own"] = "0123456789" } }
      p:task(ID, { life = "done" })
      p:set { image = { headers = { ["Set-Cookie"] = "a=b; Path=/" } } }
      assert(one:fetch(ID)) -- a connection to the API is there
      for n, url in ipairs {
        picture(), p.url .. "/mj/image/" .. ID, "http://localhost:3001/mj/image/" .. ID,
        leading_to(p.url .. "/mj/image/" .. ID), leading_to(leading_to(picture(), p.url)),
        leading_to(picture(), p.url), p.url .. "/hop/3/attachments/a.png",
      } do
        assert(one:download(url, target .. n))
      end
      assert(one:fetch(ID)) -- and it still has the key
      local log = p:log()
      assert.is_truthy((log[#log].headers.authorization or log[#log].headers["mj-api-secret"])
        :find(KEY, 1, true))
      local requests = image_requests()
      assert.is_true(#requests >= 14)
      for _, request in ipairs(requests) do has_no_key(request) end
    end)
  end

  it("has a connection for each picture, also at the API's origin", function()
    p:task(ID, { life = "done" })
    assert(mj:fetch(ID))
    assert(mj:download(p.url .. "/mj/image/1", target .. 1))
    assert(mj:download(p.url .. "/mj/image/1", target .. 2))
    assert(mj:fetch(ID))
    local log = p:log()
    assert.equal(log[1].connection, log[4].connection)
    assert.not_equal(log[1].connection, log[2].connection)
    assert.not_equal(log[1].connection, log[3].connection)
    assert.not_equal(log[2].connection, log[3].connection)
  end)

  it("is asked without a coding, by GET", function()
    assert(mj:download(picture(), target))
    local request = p:log()[1]
    assert.equal("GET", request.method)
    assert.is_nil(request.headers["accept-encoding"])
    assert.equal("", request.body)
  end)

  it("is the base URL for the addresses that a gateway has for itself", function()
    local prefixed <close> = client.new({ url = p.url .. "/mj-fast/mj", key = KEY }, clock.new())
    for n, url in ipairs {
      "http://localhost:3001/mj/image/" .. ID, "http://127.0.0.1:3001/mj/image/" .. ID,
      "https://localhost/mj/image/" .. ID, "http://[::1]:8080/mj/image/" .. ID,
      "HTTP://localhost:3001/mj/image/" .. ID .. "?rand=1735030513000001",
    } do
      assert(prefixed:download(url, target .. n))
      local log = p:log()
      assert.equal(p.port, log[n].port)
      assert.equal("/mj-fast" .. url:match "/mj/.*", log[n].path)
    end
  end)

  it("is not the base URL for other paths and other hosts", function()
    local one <close> = guarded()
    for _, url in ipairs {
      "http://localhost:3001/mj/task/1/fetch", "http://localhost:3001/image/1",
      "http://localhost:3001/x/mj/image/1", "http://localhost:3001/?/mj/image/1",
      "http://10.0.0.1/mj/image/1", "http://192.168.1.1:3001/mj/image/1",
      "http://foo.localhost/mj/image/1",
    } do
      fails_with("connect", one:download(url, target))
    end
    fails_with("no_image", one:download("http://u@localhost:3001/mj/image/1", target))
    fails_with("no_image", one:download("ftp://localhost:3001/mj/image/1", target))
    assert.equal(0, p:connections())
    assert.same({}, listing())
  end)

  it("says of a dead URL when it died, and what can be done", function()
    p:set { image = { status = 404, body = "This content is no longer available." } }
    local err = fails_with("expired", mj:download(picture() .. lives.IMAGE:match "%?.*", target))
    assert.equal(404, err.status)
    assert.is_false(err.retryable)
    assert.truthy(err.message:find("2024-12-25 08:55 UTC", 1, true), err.message)
    assert.truthy(err.message:find("does not renew", 1, true))
    err = fails_with("expired", mj:download(picture(), target))
    assert.is_nil(err.message:find("UTC", 1, true))
    err = fails_with("expired", mj:download(picture() .. "?ex=ffffffffffffffff&", target))
    assert.is_nil(err.message:find("UTC", 1, true))
    err = fails_with("expired", mj:download(picture() .. "?ex=7fffffffffffffff&", target))
    assert.equal(404, err.status)
  end)
end)

describe("a private address #D2", function()
  local one

  before_each(function() one = guarded() end)
  after_each(function() one:close() end)

  -- This machine, in every spelling.
  local SPELLINGS = {
    "127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001", "0",
    "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "localhost", "LOCALHOST",
    "localhost.", "foo.localhost", "127.255.255.254", "[0:0:0:0:0:0:0:1]",
  }

  for _, host in ipairs(SPELLINGS) do
    it("is refused: " .. host, function()
      local err = fails_with("connect", one:download(
        ("http://%s:%d/attachments/a.png"):format(host, p.other_port), target))
      assert.is_false(err.retryable)
      assert.truthy(err.message:find("allow_private", 1, true), err.message)
      assert.is_true(err.attempts <= 1)
      assert.equal(0, p:connections())
      assert.same({}, listing())
    end)

    it("is refused behind a redirect: " .. host, function()
      local url = ("http://%s:%d/attachments/a.png"):format(host, p.other_port)
      local err = fails_with("connect", one:download(leading_to(url, p.url), target))
      assert.truthy(err.message:find("allow_private", 1, true), err.message)
      assert.equal(1, #p:log())
      assert.equal(1, p:connections())
      assert.same({}, listing())
    end)
  end

  it("is refused as http:/host, which has no host", function()
    fails_with("no_image", one:download("http:/127.0.0.1:" .. p.other_port .. "/a.png", target))
    assert.equal(0, p:connections())
  end)

  it("is refused without a connection, be it anybody's", function()
    local before = os.time()
    for _, host in ipairs { "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254",
        "100.64.0.1", "224.0.0.1", "[fd00::1]", "[fe80::1]", "[64:ff9b::10.0.0.1]",
        "[::ffff:169.254.169.254]" } do
      fails_with("connect", one:download("http://" .. host .. "/latest/meta-data", target))
      fails_with("connect", one:download(leading_to("http://" .. host .. "/x", p.url), target))
    end
    assert.is_true(os.time() - before <= 2)
    assert.same({}, listing())
  end)

  it("is refused by what its name resolves to", function()
    -- The machine's own name, if it has one for itself: in /etc/hosts it is a loopback address or
    -- one of its network's.
    local name = lines_of "LD_PRELOAD= hostname"[1]
    local address = name and lines_of("LD_PRELOAD= getent -s files hosts '" .. name .. "'")[1]
    if not (address and name:find "^[%w-]+$" and (address:find "^127%." or address:find "^10%."
        or address:find "^172%." or address:find "^192%.168%." or address:find "^f[cde]"
        or address:find "^::1 ")) then
      pending "not run: this machine's name is not that of a private address"
      return
    end
    local err = fails_with("connect", one:download(
      ("http://%s:%d/attachments/a.png"):format(name, p.other_port), target))
    assert.is_false(err.retryable)
    assert.truthy(err.message:find("allow_private", 1, true), err.message)
    assert.equal(0, p:connections())
  end)

  it("is allowed where the API itself is, and only there", function()
    assert(one:download(p.url .. "/mj/image/1", target .. 1))
    assert(one:download(p.url .. "/attachments/a.png", target .. 2))
    assert(one:download(leading_to(p.url .. "/attachments/a.png", p.url), target .. 3))
    assert.equal(3, #listing())
    -- the connection that is kept does not open the way to others
    fails_with("connect", one:download(picture(), target))
    fails_with("connect", one:download(p.url:gsub("127.0.0.1", "localhost") .. "/a.png", target))
  end)

  it("is allowed to a client that says so", function()
    for n, host in ipairs { "127.0.0.1", "localhost", "127.1" } do
      assert(mj:download(("http://%s:%d/a.png"):format(host, p.other_port)
        :gsub("/a.png", "/attachments/a.png"), target .. n))
    end
    assert.equal(3, #listing())
  end)
end)

describe("a redirect of a picture #H6", function()
  it("is followed up to five times", function()
    for hops = 0, 5 do
      local url = hops > 0 and p.other_url .. "/hop/" .. hops .. "/attachments/a.png" or picture()
      assert(mj:download(url, target .. hops))
      assert.equal(PNG, read(target .. hops))
    end
    p:reset()
    local far = p.other_url .. "/hop/6/attachments/a.png"
    local err = fails_with("redirect", mj:download(far, target))
    assert.is_false(err.retryable)
    assert.equal(6, #p:log())
    p:set { image = "redirect_loop" }
    fails_with("redirect", mj:download(picture(), target))
    assert.is_nil(read(target))
  end)

  it("is followed with every status that means one", function()
    for n, status in ipairs { 301, 302, 303, 307, 308 } do
      p:set { script = { { status = status, body = "moved", headers = { Location = picture() } } } }
      assert(mj:download(p.url .. "/attachments/b.png", target .. n))
      assert.equal(PNG, read(target .. n))
    end
    for _, request in ipairs(p:log()) do assert.equal("GET", request.method) end
  end)

  it("may be relative, and keeps its query", function()
    p:set { script = { { status = 302, body = "", headers = { Location = "b.png?a=1&b=2&" } } } }
    assert(mj:download(picture "x/a.png" .. "?ex=1&", target))
    assert.equal("/attachments/x/b.png?a=1&b=2&", p:log()[2].path)
  end)

  it("is not followed to what is neither http nor https", function()
    for _, url in ipairs {
      "file:///etc/passwd", "ftp://127.0.0.1/a.png", "ftp://ftp.example/a.png", "data:image/png,x",
      "gopher://127.0.0.1:" .. p.other_port .. "/_GET", "dict://127.0.0.1/", "FILE:///etc/passwd",
      "unix:/tmp/x", "http://user:pw@127.0.0.1:" .. p.other_port .. "/attachments/a.png",
      "javascript:1", "smb://x/y", "http://", "http:///",
    } do
      local before = #p:log()
      local path, err = mj:download(leading_to(url), target)
      assert.is_nil(path, url)
      assert.is_false(err.retryable, url .. tostring(err))
      assert.is_true(#p:log() == before + 1, url)
    end
    assert.same({}, listing())
  end)

  it("may have an endless body, which is not read to any end", function()
    local one <close> = real()
    p:set { image = { fault = "no_length", status = 302, headers = { Location = picture() } } }
    local path, err = one:download(p.url .. "/attachments/b.png", target,
      { max_body = 300000, timeout = 5 })
    assert.is_nil(path)
    assert.equal("too_large", err.kind)
    assert.same({}, listing())
  end)
end)

describe("a download's progress", function()
  it("tells the bytes so far, and the whole where it is known", function()
    local seen = {}
    assert(held_back(function(finish, bytes, total)
      seen[#seen + 1] = { bytes, total }
      if #seen == 1 then finish() end
    end))
    assert.is_true(#seen >= 2)
    local last = 0
    for _, pair in ipairs(seen) do
      assert.equal("integer", math.type(pair[1]))
      assert.is_true(pair[1] > last)
      assert.equal(#PNG, pair[2])
      last = pair[1]
    end
    assert.equal(#PNG, last)
  end)

  it("has no total where the host does not say it", function()
    local totals, last = 0, nil
    p:set { image = "until_close" }
    assert(mj:download(picture(), target, {
      progress = function(bytes, total)
        last = bytes
        if total then totals = totals + 1 end
      end,
    }))
    assert.same({ 0, #PNG }, { totals, last })
  end)

  it("is that of the picture, not of the pages on the way to it", function()
    local seen = {}
    p:set { script = { "pass", "html_502", "html_502" } }
    assert(mj:download(p.other_url .. "/hop/2/attachments/a.png", target, {
      progress = function(bytes) seen[#seen + 1] = bytes end,
    }))
    assert.same({ #PNG }, seen)
  end)

  it("may close the client: no file, and nothing left of it", function()
    local one <close> = real()
    p:set { image = "stall_body" }
    local during
    local err = fails_with("closed", one:download(picture(), target, {
      progress = function()
        during = during or listing()
        one:close()
      end,
    }))
    assert.is_false(err.retryable)
    assert.equal(1, #during)
    assert.truthy(during[1]:find "^%.mjtask%-%x+%.part$")
    assert.same({}, listing())
  end)

  it("may raise: the error is the caller's, no file, and nothing left of it", function()
    local one <close> = real()
    p:set { image = "stall_body" }
    local ok, problem = pcall(one.download, one, picture(), target, {
      progress = function() error "enough" end,
    })
    assert.is_false(ok)
    assert.truthy(tostring(problem):find("enough", 1, true))
    collectgarbage()
    assert.same({}, listing())
    p:set { image = false }
    assert(one:download(picture(), target)) -- the client goes on
  end)

  it("may download something else meanwhile", function()
    local inner
    assert(held_back(function(finish, _, _, one)
      if inner then return end
      inner = assert(one:download(picture "b.gif", target .. 2))
      assert.is_nil(read(target))
      finish()
    end))
    assert.equal(PNG, read(target))
    assert.equal((pictures.of "b.gif"), read(target .. 2))
  end)
end)

describe("downloads", function()
  it("end at the time limit, however many tries and hops they had", function()
    local one <close> = real()
    p:set { fault = { delay = 0.08 } }
    local far = p.other_url .. "/hop/5/attachments/a.png"
    local err = fails_with("timeout", one:download(far, target, { timeout = 0.2 }))
    assert.is_true(err.elapsed >= 0.15 and err.elapsed < 1.2)
    assert.same({}, listing())
  end)

  it("end a try that request_timeout long brings nothing", function()
    p:set { image = { fault = "stall_body" } }
    local one <close> = real { retries = 0, timeout = 60 }
    local started = socket.gettime()
    local err = fails_with("timeout", one:download(picture(), target, { request_timeout = 0.2 }))
    assert.is_true(err.retryable)
    local elapsed = socket.gettime() - started
    assert.is_true(elapsed >= 0.2 and elapsed < 1.2, elapsed)
    assert.same({}, listing())
  end)

  it("are not the API's business when the image host wants a pause, nor the other way", function()
    p:set { image = { status = 429, headers = { ["Retry-After"] = "100" } } }
    fails_with("rate_limited", mj:download(picture(), target, { retries = 0 }))
    p:task(ID, { life = "done" })
    assert(mj:fetch(ID, { timeout = 1 }))
    p:reset()
    p:task(ID, { life = "done", script = {
      { status = 429, headers = { ["Retry-After"] = "100" } },
    } })
    fails_with("rate_limited", mj:fetch(ID, { retries = 0 }))
    assert(mj:download(picture(), target, { timeout = 1 }))
  end)

  it("leave no descriptor open", function()
    collectgarbage()
    collectgarbage()
    local before = descriptors()
    if not before then return pending "not run: there is no /proc" end
    for round = 1, 3 do
      local one = guarded()
      local open = new()
      for n, plan in ipairs { "pass", "html", "rst", "short", "rst_body", { status = 404 },
          "garbage", "truncated", "empty" } do
        p:set { image = plan }
        open:download(picture(), ("%s/%d-%d"):format(folder, round, n))
        one:download(picture(), target)
        open:download(picture(), folder .. "/missing/x")
        open:download("ftp://x/y", target)
        open:download(leading_to "file:///etc/passwd", target)
      end
      open:download(picture(), target, { max_body = 100 })
      one:close()
      open:close()
    end
    collectgarbage()
    collectgarbage()
    assert.equal(before, descriptors())
    assert.equal(3, #listing())
  end)

  it("leave nothing when the client is collected", function()
    do
      local one = new()
      assert(one:download(picture(), target))
    end
    collectgarbage()
    assert.same({ "picture" }, listing())
  end)

  it("cannot be made with a closed client", function()
    mj:close()
    assert.error_matches(function() mj:download(picture(), target) end, "closed")
    assert.same({}, listing())
  end)

  it("do not stop what the API does", function()
    p:task(ID, { life = "done" })
    for n = 1, 5 do
      assert(mj:fetch(ID))
      assert(mj:download(picture(), target .. n))
      assert(mj:submit("imagine", { prompt = "a cat" }))
    end
    assert.equal(5, #listing())
  end)
end)
