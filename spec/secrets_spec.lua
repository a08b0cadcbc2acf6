-- The key and other secrets: that nothing shows them, whatever a server does, and that they go
-- nowhere but to the base URL's origin. And that a server's text cannot play tricks on a reader.

local mjtask = require "mjtask"
local child = require "support.child"
local clients = require "mjtask.client"
local clock = require "support.clock"
local proxy = require "support.proxy"

local ID = "1735030480000001"
-- No six of its bytes are a part of any number, of an address either.
local KEY = "SECRET-k3y.w0rd-0t1u2v3w4x"
local JSON = "application/json"

local p

local function lacks(text, part)
  text = tostring(text)
  assert(not text:find(part, 1, true), ("%q is in %q"):format(part, text))
end

-- No part of the key of 6 bytes or more is in the text.
local function has_no_key(text, key)
  key = key or KEY
  for from = 1, #key - 5 do lacks(text, key:sub(from, from + 5)) end
end

-- Nor in anything inside.
local function has_no_key_inside(value, key)
  local seen = {}
  local function look(v)
    if type(v) == "string" then has_no_key(v, key) end
    if type(v) ~= "table" or seen[v] then return end
    seen[v] = true
    for name, inner in pairs(v) do
      look(name)
      look(inner)
    end
  end
  look(value)
  has_no_key(value, key)
end

local function options(more)
  local given = { url = p.url, key = KEY, retries = 0, timeout = 5 }
  for name, value in pairs(more or {}) do given[name] = value end
  return given
end

local function client(more)
  return mjtask.new(options(more))
end

-- One whose sleeps cost no time.
local function sleepless(more)
  return clients.new(options(more), clock.new())
end

-- The error of one fetch that is answered so.
local function failure(plan, more)
  p:set { script = { plan } }
  local mj <close> = client(more)
  local task, err = mj:fetch(ID)
  assert.is_nil(task)
  return err
end

describe("the key #L10", function()
  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  describe("is not in", function()
    it("what tostring makes of a client and its parts", function()
      for _, auth in ipairs { "raw", "bearer", "mj-api-secret", "auto" } do
        local mj = client { auth = auth, headers = { ["X-Own"] = KEY } }
        has_no_key(mj)
        for _, part in pairs(mj) do has_no_key(part) end
        mj:close()
        has_no_key(mj)
        for _, part in pairs(mj) do has_no_key(part) end
      end
    end)

    -- Where the search goes on in a process of its own: there nobody else holds the key. What is
    -- sought is its reverse, so that the search does not find itself.
    local SEARCH = [[
      local mjtask = require "mjtask"
      local reach = require "support.reach"
      local URL, ECHO = %q, %q
      local needle = os.getenv "YEK"
      local function search(name, roots)
        collectgarbage()
        collectgarbage()
        local found = 0
        roots[1] = debug.getregistry()
        local count = reach.strings(roots, function(text, way)
          if text:reverse():find(needle, 1, true) then
            found = found + 1
            print(name, way)
          end
        end)
        assert(count > 300, count)
        return found
      end
      local mj = mjtask.new {
        url = URL, key = os.getenv "KEY", auth = %q, headers = { ["X-Own"] = os.getenv "KEY" },
        retries = 0, timeout = 5, interval = 0.1,
        trace = function(event) search("trace", { mj, event, coroutine.running() }) end,
      }
      search("new", { mj })
      for _, id in ipairs { ECHO, "1735030480000002", "1735030480000003" } do
        local task, err = mj:wait(id, {
          timeout = 0.25, progress = function() search("progress", { mj }) end,
        })
        search("wait", { mj, task, err })
        task, err = mj:fetch(id)
        search("fetch", { mj, task, err })
        if err then print(err) end
      end
      mj:close()
      search("closed", { mj })
      mj.planted = os.getenv "KEY"
      print(search("planted", { mj }) > 0)]]

    for _, auth in ipairs { "auto", "bearer" } do
      it("anything that the debug library can reach (" .. auth .. ")", function()
        local body = ('{"error":"%s","%s":{"%s":0}}'):format(KEY, KEY, KEY) -- as a name, too
        p:task(ID, { fault = { status = 401, type = JSON, body = body } })
        p:task("1735030480000002", { life = "done" })
        p:task("1735030480000003", { life = "stuck" })
        local output, status = child.run(SEARCH:format(p.url, ID, auth),
          { KEY = KEY, YEK = KEY:reverse() })
        assert(status == 0, output)
        -- but for the one that was put there, on the last lines
        local clean, planted = output:match("^(.-)planted\t(.*)$")
        assert(clean, output)
        assert.equal("auth: the server refuses the key: " .. ("*"):rep(#KEY) .. " (id " .. ID
          .. ", HTTP 401)\n", clean)
        assert(planted:find("\ntrue\n$"), output)
      end)
    end

    it("what trace is told", function()
      local events = {}
      local mj <close> = client {
        retries = 1, interval = 0.1, headers = { ["X-Own"] = "own-" .. KEY },
        trace = function(...) events[#events + 1] = table.pack(...) end,
      }
      local echo = { status = 500, type = JSON, body = '{"message":"' .. KEY .. '"}' }
      p:task(ID, { life = "short" })
      p:set { script = { echo } }
      assert(mj:fetch(ID))
      assert(mj:wait(ID))
      p:set { script = {
        { status = 401, type = JSON, body = '{"message":"' .. KEY .. '"}' },
        { status = 302, headers = { Location = p.other_url .. "/" .. KEY .. "?sig=" .. KEY } },
      } }
      assert.is_nil(mj:fetch(ID))
      assert.is_nil(mj:fetch(ID))
      local kinds = {}
      for _, event in ipairs(events) do
        kinds[event[1].event] = true
        has_no_key_inside(event)
      end
      assert.same({ request = true, answer = true, retry = true, wait = true }, kinds)
    end)

    -- Whole, and cut by what is kept of it; and nothing in it that a terminal would obey.
    it("what trace is told of a sleep", function()
      local status
      local mj <close> = sleepless {
        trace = function(event)
          if event.event == "wait" then status = event.status end
        end,
      }
      for length = 30, 64 do
        status = nil
        p:task(ID, { life = { { status = "\27[1m" .. ("x"):rep(length) .. KEY } }, bare = true })
        mj:wait(ID, { timeout = 6 })
        assert.is_string(status)
        has_no_key(status)
        assert(length > 34 or status:find("x" .. ("%*"):rep(#KEY) .. "$"), status)
        lacks(status, "\27")
      end
    end)

    local ECHOES = {
      ["an error object"] = { 401, '{"error":{"message":"Invalid token: %s (request id: 1)"}}' },
      ["an error's text"] = { 401, '{"error":"Unauthorized %s"}' },
      ["a description"] = { 400, '{"description":"bad key %s","code":4}' },
      ["a message"] = { 200, '{"code":401,"msg":"Bearer %s is no good"}' },
      ["an answer with 200"] = { 200, '{"success":false,"code":-1,"message":"%s%s"}' },
      ["a quota's end"] = { 403, '{"error":{"message":"额度 TokenStatusExhausted[%s]"}}' },
      ["a page"] = { 403, "<html><body>token=%s</body></html>", "text/html" },
      ["plain text"] = { 500, "no such user: %s", "text/plain" },
      ["JSON cut short"] = { 200, '{"id":"1","key":"%s' },
      ["another task"] = { 200, '{"id":"%s","status":"SUCCESS"}' },
      ["a failure's reason"] = {
        200, '{"id":"' .. ID .. '","status":"FAILURE","failReason":"%s"}',
      },
    }

    for what, row in pairs(ECHOES) do
      it("the error where the server repeats it in " .. what, function()
        local body = row[2]:gsub("%%s", (KEY:gsub("%%", "%%%%")))
        local plan = { status = row[1], type = row[3] or JSON, body = body }
        for _, auth in ipairs { "raw", "bearer", "auto", "mj-api-secret" } do
          p:set { script = { plan } }
          local mj <close> = client { auth = auth }
          local method = what == "a failure's reason" and mj.wait or mj.fetch
          local task, err = method(mj, ID)
          assert.is_nil(task)
          local last = err.task
          err.task = nil -- the task is the server's data, as it is
          has_no_key_inside(err)
          assert(what ~= "a failure's reason" or last)
          assert(tostring(err):find("****", 1, true), tostring(err))
          local ok, message = xpcall(function() assert(nil, tostring(err)) end, debug.traceback)
          assert.is_false(ok)
          has_no_key(message)
        end
      end)
    end

    it("the error where the server makes an id of it", function()
      local key = "sk-k3y.w0rd_and~more"
      p:set { submit = {
        status = 200, type = JSON, body = ('{"code":21,"result":"%s"}'):format(key),
      } }
      local mj <close> = client { key = key }
      local receipt, err = mj:submit("imagine", { prompt = "x" })
      assert.is_nil(receipt)
      assert.equal("needs_input", err.kind)
      err.receipt = nil -- the server's data, as it is, like a task: see SECURITY.md
      has_no_key_inside(err, key)
      assert(tostring(err):find("****", 1, true), tostring(err))
    end)

    it("the error where a limit of the message cuts it", function()
      for length = 60, 260 do
        local filler = ("x"):rep(length)
        has_no_key_inside(failure { status = 401, type = JSON,
          body = ('{"error":"%s%s"}'):format(filler, KEY) })
      end
    end)

    it("the error where a failure's reason is cut in the middle of it", function()
      local mj <close> = client {}
      for length = 500 - #KEY - 2, 501 do
        p:set { script = { { status = 200, type = JSON,
          body = ('{"id":"%s","status":"FAILURE","failReason":"%s%s"}')
            :format(ID, ("x"):rep(length), KEY) } } }
        local _, err = mj:wait(ID)
        assert.equal("failed", err.kind)
        err.task = nil -- the task is the server's data, as it is
        has_no_key_inside(err)
      end
    end)

    it("the error where the excerpt of a page cuts it", function()
      for length = 60, 140 do
        has_no_key_inside(failure { status = 500, type = "text/plain",
          body = ("x"):rep(length) .. KEY })
        has_no_key_inside(failure { status = 200, type = "text/plain",
          body = ("x"):rep(length) .. KEY })
      end
    end)

    it("the error where the limit of an excerpt cuts it, though less is shown", function()
      for length = 512 - #KEY - 12, 512 do -- a query is left out, and what is behind it moves up
        has_no_key_inside(failure { status = 500, type = "text/plain",
          body = "https://a/?" .. ("x"):rep(length - 12) .. " " .. KEY })
      end
    end)

    it("the error where the limit of a content type cuts it", function()
      for length = 0, 64 do
        local err = failure { status = 200, body = "no json",
          type = "text/plain; " .. ("x"):rep(length) .. KEY }
        assert.equal("decode", err.kind)
        has_no_key_inside(err)
        assert(tostring(err):find("type is text/plain; " .. ("x"):rep(math.min(length, 48))))
      end
    end)

    it("the error where the limit of libcurl's own words cuts it", function()
      local folder, remove = child.directory()
      local mj <close> = client { request_timeout = 1 }
      for length = 140, 260 do -- no name is that long: nobody is asked for it
        local host = ("x"):rep(length) .. KEY
        local path, err = mj:download("https://" .. host .. "/", folder .. "/a.png")
        assert.is_nil(path)
        assert(tostring(err):find("xxxx", 1, true), tostring(err))
        has_no_key_inside(err)
      end
      remove()
    end)

    it("the error where the limits of a status cut it", function()
      local mj <close> = sleepless()
      for length = 20, 64 do
        p:task(ID, { life = { { status = ("x"):rep(length) .. KEY } }, bare = true })
        for _, _, err in mj:watch({ ID }, { timeout = 6 }) do
          assert.equal("timeout", err.kind)
          assert(err.message:find("last seen: ", 1, true), err.message)
          has_no_key_inside(err)
        end
      end
    end)

    it("the error where a redirect's target cuts it", function()
      for length = 100, 260, 3 do
        has_no_key_inside(failure { status = 302,
          headers = { Location = "https://127.0.0.1:9/" .. ("x"):rep(length) .. KEY } })
      end
    end)

    it("the error, if it has odd characters itself", function()
      for _, key in ipairs {
        "%w+.*[k3y]-$^(w0rd)", "k3y  with  blanks  inside", "https://k3y.w0rd/?a=b&c=d",
        "aaaaaaaaaaaaaaaaaaaa", "k3y:w0rd,{}'|`~<>!",
      } do
        for _, around in ipairs { "bad key %s!", "额度 %s 余额", "%s\\n%s", "%s%s" } do
          local body = '{"error":"' .. around:gsub("%%s", (key:gsub("%%", "%%%%"))) .. '"}'
          local err = failure({ status = 401, type = JSON, body = body }, { key = key })
          has_no_key_inside(err, key)
        end
      end
    end)

    -- A URL's user, password and query are left out of a message: what is left of a key then would
    -- not be known for one.
    it("the error of a wait, if it looks like a part of a URL", function()
      local mj <close> = sleepless { key = "k3y@w0rd-0t1u2v3w4x" }
      for _, around in ipairs { "https://%s", "https://x/%s", "https://a%s", "https://b?%s" } do
        local text = around:format("k3y@w0rd-0t1u2v3w4x")
        p:task(ID, { life = { { status = "FAILURE", failReason = text } }, bare = true })
        local _, err = mj:wait(ID)
        assert.equal("failed", err.kind)
        err.task = nil -- the server's own
        has_no_key_inside(err, "w0rd-0t1u2v3w4x")
        p:task(ID, { life = { { status = text } }, bare = true })
        for _, _, late in mj:watch({ ID }, { timeout = 6 }) do
          assert.equal("timeout", late.kind)
          has_no_key_inside(late, "w0rd-0t1u2v3w4x")
        end
      end
    end)

    it("the error, nor is a header of one's own", function()
      local secret = "own-h3ader-value-77"
      local err = failure({ status = 401, type = JSON,
        body = '{"error":"who is ' .. secret .. " with " .. KEY .. '?"}' },
        { headers = { ["X-Session"] = secret, ["X-Other"] = "another-0ne" } })
      has_no_key_inside(err)
      has_no_key_inside(err, secret)
    end)

    it("anything that a script prints, or that ends it", function()
      local output, status = child.run([[
        local mjtask = require "mjtask"
        local function show(v, seen)
          seen = type(seen) == "table" and seen or {}
          print(v)
          if type(v) ~= "table" or seen[v] then return end
          seen[v] = true
          for name, inner in pairs(v) do
            print(name)
            show(inner, seen)
          end
        end
        local given = {
          url = "]] .. p.url .. [[", retries = 1, timeout = 5, interval = 0.1, trace = show,
        }
        print(pcall(mjtask.new, { url = given.url, key = os.getenv "MJTASK_KEY" .. "\n" }))
        print(pcall(mjtask.new, { url = given.url, kye = os.getenv "MJTASK_KEY" }))
        local mj = mjtask.new(given)
        show(mj)
        for _, id in ipairs { "1735030480754475", "1735030480000001", "1735030480000002" } do
          local task, err = mj:fetch(id)
          show(task)
          show(err)
          show(select(2, mj:wait(id, { timeout = 0.2, progress = show })))
          show(table.pack(xpcall(function() return assert(mj:fetch(id)) end, debug.traceback)))
          show(table.pack(pcall(mj.fetch, mj, id .. "/")))
        end
        mj:close()
        show(mj)
        show(table.pack(pcall(mj.fetch, mj, "1")))
        mj = mjtask.new(given)
        io.stderr:write("the end:\n")
        assert(mj:fetch "1735030480000001")]], { MJTASK_KEY = KEY })
      assert.equal(1, status)
      assert(output:find("the end:", 1, true), output)
      assert(output:find("lua[%w.]*: not_found: "), output)
      assert(output:find("imageUrl", 1, true))
      has_no_key(output)
    end)

    it("what that script prints where the server repeats it", function()
      p:task(ID, { fault = { status = 401, type = JSON, body = '{"error":"' .. KEY .. '"}' } })
      local output, status = child.run([[
        local mjtask = require "mjtask"
        local mj <close> = mjtask.new { url = "]] .. p.url .. [[" }
        local task, err = mj:fetch "]] .. ID .. [["
        print(err, err.message)
        print(xpcall(function() error(tostring(err)) end, debug.traceback))
        assert(mj:wait "]] .. ID .. [[")]], { MJTASK_KEY = KEY })
      assert.equal(1, status)
      assert(output:find("the server refuses the key", 1, true))
      has_no_key(output)
    end)
  end)

  -- In a process of its own, which looks through all that it may write to. It seeks the end of the
  -- line that only we make of the key, not what the environment has of it, nor the beginning, which
  -- free itself writes over; and by a pattern, so that it does not find that.
  local MEMORY = [[
    local mj = require "mjtask".new {
      url = "https://localhost", key = os.getenv "KEY", auth = "bearer",
    }
    if %s then mj:close() end
    local line = "are[r] " .. os.getenv "KEY"
    local memory = assert(io.open("/proc/self/mem", "rb"))
    memory:setvbuf "no"
    local found, sought = 0, 0
    for mapping in io.lines "/proc/self/maps" do
      local from, to, file = mapping:match "^(%%x+)%%-(%%x+) rw%%S* %%S+ %%S+ %%S+%%s*(.*)$"
      local size = from and tonumber(to, 16) - tonumber(from, 16)
      if size and size < 1 << 26 and not file:find "^/" then -- not what sanitizers reserve
        memory:seek("set", tonumber(from, 16))
        for _ in (memory:read(size) or ""):gmatch(line) do found = found + 1 end
        sought = sought + size
      end
    end
    assert(sought > 1 << 18, sought)
    print(found > 0)]]

  it("is overwritten on close", function()
    local maps <close> = io.open "/proc/self/maps"
    if not maps then return pending "not run: there is no /proc/self/maps here" end
    -- No pattern takes it for more than it is; nothing else is as long, and takes its place.
    local key = ("k3y0w0rd"):rep(90)
    assert.same({ "true\n", 0 }, { child.run(MEMORY:format(false), { KEY = key }) })
    assert.same({ "false\n", 0 }, { child.run(MEMORY:format(true), { KEY = key }) })
  end)

  describe("stays here #H6", function()
    local function targets()
      local here, other = p.url, p.other_url
      local port = p.other_port
      return {
        other_port = other .. "/mj/task/" .. ID .. "/fetch?sig=signature",
        back_and_forth = other .. "/fault/redirect_302/mj/task/1/fetch?sig=signature",
        same_origin = here .. "/mj/task/" .. ID .. "/fetch?sig=signature",
        relative = "/elsewhere?sig=signature",
        no_scheme = "//127.0.0.1:" .. port .. "/x?sig=signature",
        https = "https://127.0.0.1:" .. port .. "/x?sig=signature#frag",
        another_name = "http://localhost:" .. port .. "/x?sig=signature",
        userinfo = "http://someone:passw0rd@127.0.0.1:" .. port .. "/x?sig=signature",
        file = "file:///etc/passwd?sig=signature",
        ftp = "ftp://127.0.0.1:" .. port .. "/x?sig=signature",
        gopher = "gopher://127.0.0.1:" .. port .. "/x?sig=signature",
        empty = "",
        odd = "::::",
        key = other .. "/login/" .. KEY .. "?sig=signature&back=" .. KEY,
      }
    end

    for _, status in ipairs { 301, 302, 303, 307, 308 } do
      it(("when an answer with %d leads elsewhere"):format(status), function()
        for name, target in pairs(targets()) do
          p:reset()
          p:task(ID, { life = "done" })
          p:set { script = { { status = status, headers = { Location = target } } } }
          local mj <close> = client { retries = 3, auth = "auto", headers = { ["X-Own"] = KEY } }
          local task, err = mj:fetch(ID)
          assert.is_nil(task)
          assert.equal("redirect", err.kind, name)
          assert.is_false(err.retryable)
          assert.equal(status, err.status)
          assert.equal(1, err.attempts)
          has_no_key_inside(err)
          lacks(err, "signature")
          lacks(err, "frag")
          local log = p:log()
          assert.equal(1, #log)
          assert.equal(p.port, log[1].port)
          assert.equal(1, p:connections())
        end
      end)
    end

    it("when a wait is redirected, which ends it", function()
      p:task(ID, { life = "short" })
      p:set { script = { "pass", "redirect_307" } }
      local mj <close> = client { interval = 0.1 }
      local task, err = mj:wait(ID)
      assert.is_nil(task)
      assert.equal("redirect", err.kind)
      assert.equal(2, #p:log())
      assert.equal(1, p:connections())
    end)

    it("and the message says where to, without user and password", function()
      local err = failure { status = 302, headers = { Location = p.other_url .. "/a/b?sig=1" } }
      assert(tostring(err):find(p.other_url .. "/a/b", 1, true), tostring(err))
      err = failure { status = 302, headers = { Location = "https://u:passw0rd@127.0.0.1:9/a" } }
      lacks(err, "passw0rd")
    end)

    it("after close: nothing can be sent any more", function()
      local mj = client()
      local engine = mj.engine
      mj:close()
      assert.has_error(function() mj:fetch(ID) end, "the client is closed")
      assert.has_error(function() mj:wait(ID) end, "the client is closed")
      if engine then
        for _, name in ipairs { "start", "step", "next", "pollfd", "wake_at" } do
          assert.has_error(function() engine[name](engine, { path = "/mj/task/1/fetch" }, 1) end,
            "the client is closed")
        end
      end
      assert.same({}, p:log())
      assert.equal(0, p:connections())
    end)
  end)

  it("of a proxy is not in the error that the proxy causes", function()
    for _, address in ipairs {
      "http://someone:passw0rd@127.0.0.1:99999", "http://someone:passw0rd@a host:1",
      "none://someone:passw0rd@127.0.0.1:9", "http://someone:passw0rd@127.0.0.1:9",
    } do
      local ok, made = pcall(mjtask.new, {
        url = "https://127.0.0.1:9", key = KEY, proxy = address, retries = 0, timeout = 5,
      })
      if ok then
        local task, err = made:fetch(ID)
        assert.is_nil(task)
        lacks(err, "passw0rd")
        lacks(err.message, "passw0rd")
        made:close()
      else
        lacks(made, "passw0rd")
      end
    end
  end)
end)

describe("a server's text in a message #L11", function()
  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  -- Ways for a text to get into a message.
  local WAYS = {
    description = function(text) return { status = 400, type = JSON,
      body = '{"description":"' .. text .. '"}' } end,
    message = function(text) return { status = 500, type = JSON,
      body = '{"message":"' .. text .. '"}' } end,
    error_object = function(text) return { status = 401, type = JSON,
      body = '{"error":{"message":"' .. text .. '"}}' } end,
    page = function(text) return { status = 502, type = "text/html", body = text } end,
    no_json = function(text) return { status = 200, type = "text/plain", body = text } end,
    another_id = function(text) return { status = 200, type = JSON,
      body = '{"id":"' .. text .. '","status":"SUCCESS"}' } end,
    reason = function(text) return { status = 200, type = JSON,
      body = '{"id":"' .. ID .. '","status":"FAILURE","failReason":"' .. text .. '"}' } end,
  }

  -- The message and the whole line that a text ends up in; only a wait knows of a failed task.
  local function shown_of(way, text)
    p:set { script = { WAYS[way](text) } }
    local mj <close> = client()
    local task, err = (way == "reason" and mj.wait or mj.fetch)(mj, ID)
    assert.is_nil(task)
    assert.is_string(err.message)
    return { err.message, tostring(err) }
  end

  for way in pairs(WAYS) do
    it("never has a signature: " .. way, function()
      for _, url in ipairs {
        "https://cdn.discordapp.com/attachments/1/2/a.png?ex=66&is=65&hm=s1gnature",
        "http://127.0.0.1:9/a.png?hm=s1gnature&", "https://cdn.x?hm=s1gnature",
        "(https://cdn.x/a?hm=s1gnature)", "see https://a.x/?a=1 or https://b.x/?hm=s1gnature!",
        "https://a.x/b?hm=s1gnature,https://a.x/b?hm=s1gnature", "https://cdn.x/a?b?hm=s1gnature",
      } do
        for _, shown in ipairs(shown_of(way, url)) do lacks(shown, "s1gnature") end
      end
    end)

    it("never has one in an odd spelling: " .. way, function()
      for _, url in ipairs {
        "HTTPS://CDN.X/a.png?hm=s1gnature", "Https://cdn.x/?hm=s1gnature",
        "https://cdn.x/a?ex='1'&hm=s1gnature", "https://cdn.x/'a'?hm=s1gnature",
      } do
        for _, shown in ipairs(shown_of(way, url)) do lacks(shown, "s1gnature") end
      end
    end)

    it("has every control and direction character spelt out: " .. way, function()
      local codes = { 0x7F, 0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0x2060, 0xFEFF }
      for code = 0x01, 0x1F do codes[#codes + 1] = code end
      for code = 0x80, 0x9F do codes[#codes + 1] = code end
      for code = 0x202A, 0x202E do codes[#codes + 1] = code end
      for code = 0x2066, 0x2069 do codes[#codes + 1] = code end
      local is_text = way == "page" or way == "no_json"
      local all = {}
      for _, code in ipairs(codes) do
        all[#all + 1] = not is_text and code < 0x20 and ("\\u%04x"):format(code) or utf8.char(code)
      end
      -- a few at a time, so that no limit cuts them off
      for from = 1, #all, 8 do
        local text = "a" .. table.concat(all, "b", from, math.min(from + 7, #all)) .. "c"
        for _, shown in ipairs(shown_of(way, text)) do
          for at = from, math.min(from + 7, #codes) do
            lacks(shown, utf8.char(codes[at]))
          end
          assert(not shown:find("[\0-\x1F\x7F]"), ("%q"):format(shown))
          assert(utf8.len(shown), shown)
        end
      end
    end)

    it("is one short line of UTF-8, whatever it was: " .. way, function()
      for _, text in ipairs {
        ("x"):rep(100000), ("额度"):rep(10000), ("\xF0\x9F\x90\xB1"):rep(2000), ("\xFF"):rep(3000),
        "a\xC3", ("a"):rep(199) .. "\u{4f60}", "\xE4\xBD",
      } do
        for _, shown in ipairs(shown_of(way, text)) do
          assert(#shown < 1500, #shown)
          assert(utf8.len(shown), ("%q"):format(shown))
          assert(not shown:find("[\0-\x1F\x7F]"))
        end
      end
    end)
  end

  it("that is a redirect's target is made visible, too", function()
    for _, target in ipairs {
      "http://127.0.0.1:9/\x1B[31mred", "http://127.0.0.1:9/\u{202E}x", "\x1B]0;title\x07",
      "http://127.0.0.1:9/a\tb", "http://127.0.0.1:9/\xFF",
    } do
      local err = failure { status = 302, headers = { Location = target } }
      assert.equal("redirect", err.kind)
      assert(not tostring(err):find("[\0-\x1F\x7F]"), ("%q"):format(tostring(err)))
      lacks(err, "\u{202E}")
      assert(utf8.len(tostring(err)))
    end
  end)
end)
