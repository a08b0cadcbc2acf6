-- The library inside hosts that others wrote: what examples/ makes of lighttpd and of Prosody.

local mjtask = require "mjtask"
local json_random = require "support.json_random"
local lighttpd = require "support.lighttpd"
local prosody = require "support.prosody"
local proxy = require "support.proxy"

local MARK = "never-to-be-logged" -- in every body that could be shown to somebody

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

describe("lighttpd", function()
  local missing = lighttpd.missing()
  if missing then
    it("takes a proxy's hooks", function() pending("not run: " .. missing) end)
    return
  end

  local l
  setup(function() l = lighttpd.start() end)
  teardown(function() if l then l:stop() end end)
  before_each(function() l:clear() end)

  -- Each of these is one line in the spool and this answer.
  local HOOKS = {
    { '{"id":"1","status":"SUCCESS","progress":"100%"}', "1 success", '"success","percent":100' },
    { '{"id":"a-b.c_d~1","status":"FAILURE"}', "a-b.c_d~1 failed", '"failed","percent":null' },
    { '{"id":2,"status":"CANCEL","progress":"15%"}', "2 cancelled", '"cancelled","percent":15' },
    { '{"id":"3","status":"MODAL"}', "3 needs_input", '"needs_input","percent":null' },
    { '{"id":"4","status":"IN_PROGRESS","progress":46.5}', "4 running", 'null,"percent":46' },
    { '{"id":"5","status":"NOT_START","progress":"1e308%"}', "5 running", 'null,"percent":null' },
    { '{"id":"6","progress":1e308}', "6 running", 'null,"percent":100' },
    { '{"code":1,"data":{"id":"7","status":"SUCCESS"}}', "7 success", '"success","percent":100' },
    { '\xEF\xBB\xBF{"id":"8"}', "8 running", 'null,"percent":null' },
    { read "spec/fixtures/sku.json", "1735030480754475 success", '"success","percent":100' },
    { read "spec/fixtures/pawmaas.json", "1724963337114767 success", '"success","percent":100' },
    { ('{"id":"%s"}'):format(("9"):rep(128)), ("9"):rep(128) .. " running",
      'null,"percent":null' },
  }

  it("answers what a task says, and notes it", function()
    for _, hook in ipairs(HOOKS) do
      l:clear()
      local status, answer, headers = l:post(hook[1])
      assert.equal(200, status, hook[1])
      assert.equal("application/json", headers["content-type"])
      assert.equal(('{"outcome":%s}\n'):format(hook[3]), answer)
      assert.same({ hook[2] }, l:spool())
    end
  end)

  it("takes a body whole, however it comes", function()
    local body = HOOKS[1][1]
    local head = ("POST /notify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"):format(#body)
    local request = head .. body
    for _, parts in ipairs {
      { request }, { head, body }, { head .. body:sub(1, 7), body:sub(8) }, { request .. request },
      { request .. head, body }, { request .. request .. head:sub(1, 9), head:sub(10) .. body },
    } do
      l:clear()
      local sock = l:connect()
      for _, part in ipairs(parts) do
        assert(sock:send(part))
        require "socket".sleep(0.02) -- so that it comes in a packet of its own
      end
      local expected = #table.concat(parts) // #request
      for _ = 1, expected do
        assert.equal("HTTP/1.1 200 OK", sock:receive "*l")
        repeat local line = sock:receive "*l" until line == ""
        assert.equal('{"outcome":"success","percent":100}', sock:receive "*l")
      end
      sock:close()
      assert.equal(expected, #l:spool())
    end
    assert.equal(200, (l:post(body, { chunked = true })))
  end)

  -- What is no task, or has no id that could stand in a line.
  local HOSTILE = {
    "", " ", "null", "true", "0", '""', "[]", "{}", "{", "[[[[", "\0", "\xFF\xFE{\0}\0", "<html>",
    "id=1&status=SUCCESS", ("["):rep(60000), ('{"a":'):rep(10000), ('{"id":"1",'):rep(5000),
    ("["):rep(1000) .. ("]"):rep(1000), '"' .. ("\\u0000"):rep(9000) .. '"', ("9"):rep(60000),
    '[{"id":"1","status":"SUCCESS"}]', '{"id":"1","status":"SUCCESS"}{"id":"2"}',
    '{"id":"1","status":"SUCCESS"', '{"status":"SUCCESS"}', '{"id":null,"status":"SUCCESS"}',
    '{"id":"","status":"SUCCESS"}', '{"id":1.5,"status":"SUCCESS"}', '{"id":1e400}',
    '{"id":{"id":"1"},"status":"SUCCESS"}', '{"id":["1"],"status":"SUCCESS"}', '{"id":true}',
    '{"id":"1\\n2 success","status":"SUCCESS"}', '{"id":"1 success","status":"SUCCESS"}',
    '{"id":"1\\u0000","status":"SUCCESS"}', '{"id":"1\\r","status":"SUCCESS"}',
    '{"id":"\\u001b[2J","status":"SUCCESS"}', '{"id":"1\\u2028","status":"SUCCESS"}',
    '{"id":"../../etc/passwd","status":"SUCCESS"}', ('{"id":"%s"}'):format(("9"):rep(129)),
    '{"code":4,"description":"' .. MARK .. '"}', '{"error":{"message":"\\n' .. MARK .. '\\u0007"}}',
    MARK .. "\r\n\27[31m" .. MARK, '{"id":"' .. MARK .. '\\u001b","failReason":"' .. MARK .. '"}',
  }

  it("answers 400 to what is no task, and notes nothing", function()
    for _, body in ipairs(HOSTILE) do
      local status, answer = l:post(body)
      assert.equal(400, status, body:sub(1, 60))
      assert.equal('{"error":"no task"}\n', answer)
    end
    assert.same({}, l:spool())
  end)

  it("answers any JSON, and writes only lines that it may", function()
    local random = json_random.new(20260801)
    local taken = 0
    for i = 1, 200 do
      local body = random:document()
      if i % 2 == 0 then
        local id = random:pick { '"1"', body }
        body = ('{"id":%s,"status":%s,"progress":%s}'):format(id, body, body)
      end
      local status = l:post(body)
      assert.is_true(status == 200 or status == 400, body .. " " .. status)
      if status == 200 then taken = taken + 1 end
    end
    assert.is_true(taken > 20, "hardly any was a task: " .. taken)
    local lines = l:spool()
    assert.equal(taken, #lines)
    for _, line in ipairs(lines) do
      assert.is_truthy(line:find "^[A-Za-z0-9%-._~]+ %l[%l_]+$", line)
    end
  end)

  it("refuses a body that is too large, said or unsaid", function()
    local body = ('{"id":"1","prompt":"%s"}'):format((MARK):rep(5000))
    assert.equal(413, (l:post(body)))
    assert.equal(413, (l:post(body, { chunked = true })))
    assert.same({}, l:spool())
  end)

  it("refuses it also where lighttpd itself would take it", function()
    local wide <close> = lighttpd.start { extra = "server.max-request-size := 4096" }
    local body = ('{"id":"1","prompt":"%s"}'):format(("x"):rep(65536 - 22))
    assert.equal(200, (wide:post(body)))
    assert.equal(413, (wide:post(body .. " ")))
    assert.equal(413, (wide:post(body .. " ", { chunked = true })))
    assert.equal(413, (wide:post(body:rep(50))))
    assert.equal(1, #wide:spool())
  end)

  it("takes nothing but a POST, and serves nothing else", function()
    for _, method in ipairs { "GET", "PUT", "DELETE", "OPTIONS" } do
      local body = method == "GET" and "" or HOOKS[1][1] -- lighttpd itself refuses a GET with one
      local status, _, headers = l:post(body, { method = method })
      assert.equal(405, status, method)
      assert.equal("POST", headers.allow)
    end
    for _, path in ipairs { "/", "/notify/", "/notify.lua", "/lighttpd.conf", "/../notify.lua" } do
      local status, answer = l:post("", { method = "GET", path = path })
      assert.is_true(status == 403 or status == 404, path .. " " .. status)
      assert.is_nil(answer:find("mjtask", 1, true))
    end
    assert.same({}, l:spool())
  end)

  it("serves others while a body dawdles, and then takes that as well", function()
    local body = HOOKS[1][1]
    local slow = {}
    for i = 1, 20 do
      slow[i] = l:connect()
      assert(slow[i]:send(("POST /notify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s")
        :format(#body, body:sub(1, i))))
    end
    assert.equal(200, (l:post(HOOKS[2][1])))
    assert.same({ HOOKS[2][2] }, l:spool())
    for i, sock in ipairs(slow) do
      assert(sock:send(body:sub(i + 1)))
      assert.equal("HTTP/1.1 200 OK", sock:receive "*l")
      sock:close()
    end
    assert.equal(21, #l:spool())
  end)

  it("begins its spool anew when that grows too large", function()
    do
      local file <close> = assert(io.open(l.file, "w"))
      assert(file:write((("x"):rep(1023) .. "\n"):rep(1025)))
    end
    assert.equal(200, (l:post(HOOKS[1][1])))
    assert.same({ HOOKS[1][2] }, l:spool())
    assert.equal(200, (l:post(HOOKS[2][1])))
    assert.same({ HOOKS[1][2], HOOKS[2][2] }, l:spool())
  end)

  it("says so when it cannot note a task", function()
    local broken <close> = lighttpd.start { spool = "/nonexistent/hints" }
    local status, answer = broken:post(HOOKS[1][1])
    assert.equal(503, status)
    assert.equal('{"error":"no spool"}\n', answer)
    assert.is_truthy(broken:log():find("the spool: /nonexistent/hints: ", 1, true))
  end)

  -- Last: after all of the above.
  it("has logged nothing that was sent, and no error of the script", function()
    for line in l:log():gmatch "[^\n]+" do
      assert.is_truthy(line:find("server started", 1, true)
        or line:find "request%-size too long: %d+ %-> 413$", line)
    end
  end)
end)

local function no_epoll()
  local mj <close> = mjtask.new { url = "http://127.0.0.1:1", auth = "none" }
  return not mj:pollfd() and "there is no epoll here" or nil
end

describe("Prosody", function()
  local missing = prosody.missing() or no_epoll()
  if missing then
    it("waits for tasks", function() pending("not run: " .. missing) end)
    return
  end

  local p
  setup(function() p = proxy.start() end)
  teardown(function() if p then p:stop() end end)
  before_each(function()
    p:reset()
    p:set { key = "prosody-key", auth = "raw" }
  end)

  -- Runs it until the tasks have ended; gives all that it printed. It must end well.
  local function run(ids, settings)
    local given = {
      mjtask_url = p.url, mjtask_key = "prosody-key", mjtask_interval = 0.1, mjtask_ids = ids,
      ticker_endings = #ids, ticker_ticks_after = 5,
    }
    for name, value in pairs(settings or {}) do given[name] = value end
    local output, status = prosody.run(given)
    assert.equal(0, status, output)
    assert.is_truthy(output:find("Shutdown complete", 1, true), output)
    assert.is_nil(output:find("Top-level error", 1, true), output)
    assert.is_nil(output:find("prosody-key", 1, true), output)
    return output
  end

  local function has(output, text)
    assert.is_truthy(output:find(text, 1, true), ("no %q in %s"):format(text, output))
  end

  -- The ticks there were when a task ended.
  local function ticks_until(output, id, how)
    local ticks = output:match(("ended %s %s after (%%d+) ticks"):format(id, how))
    return assert(math.tointeger(tonumber(ticks)), output)
  end

  -- One run: it takes a second to end.
  it("goes on with its own work while tasks are waited for", function()
    local url = "http://127.0.0.1/ghost.png"
    p:task("1", { life = "short", pace = 0.2, fields = { imageUrl = url } })
    p:task("2", { life = "failure", pace = 0.05, fields = { failReason = "banned\nword" } })
    p:task("slow", { life = "done", fault = { delay = 0.25 } })
    p:task("forged", { life = "done", fields = { imageUrl = "x\nforged info\27[31m\r" } })
    local output = run({ "1", "2", "slow", "forged", "unknown" }, { ticker_raises = "slow" })
    has(output, "task 1: " .. url .. "\n")
    has(output, "task 2: failed: the task failed: banned word")
    has(output, "task unknown: not_found: ")
    has(output, "task forged: x")
    assert.is_nil(output:find "\nforged")
    assert.is_nil(output:find("\27[31m", 1, true))
    -- A wait that blocked would have let no tick pass.
    assert.is_true(ticks_until(output, "1", "SUCCESS") > 4, output)
    assert.is_true(ticks_until(output, "slow", "SUCCESS") > 4, output)
    has(output, "after a task: ")
    has(output, "a handler's own mistake")
    local before = output:find("a handler's own mistake", 1, true)
    assert.is_truthy(output:find("ended 1 SUCCESS", before, true), "nothing went on after it")
    assert.is_truthy(output:find "\nticks %d+ longest %d+%.%d+ left 0\n", output)
  end)

  it("waits no more once the module is unloaded", function()
    p:task("1", { life = "stuck" })
    local output = run({ "1" }, { ticker_unloads = 40, ticker_ticks_after = 30 })
    has(output, "ended 1 closed after 40 ticks")
    has(output, "ticks 70")
    assert.is_true(#p:log() >= 2, "there was no second look")
    assert.is_nil(output:find("rror", 1, true), output)
  end)

  it("survives a module that cannot start", function()
    local output = run({}, { mjtask_url = "gopher://127.0.0.1" })
    has(output, "Error initializing module 'mjtask'")
    has(output, "options.url")
  end)
end)
