-- That the local proxy does what its tables say.

local cjson = require "cjson"
local http = require "socket.http"
local ltn12 = require "ltn12"
local socket = require "socket"
local chance = require "support.chance"
local dialects = require "support.dialects"
local faults = require "support.faults"
local proxy = require "support.proxy"

local SKU, PAWMAAS = "1735030480754475", "1724963337114767"
local ID = "1735030480000001"
local LIMIT = 10 -- seconds for what must come

local p

local function fixture(name)
  local file <close> = assert(io.open("spec/fixtures/" .. name .. ".json", "rb"))
  return file:read("a")
end

local function request(path, options)
  options = options or {}
  local body = {}
  local _, status, headers = http.request {
    url = (options.url or p.url) .. path, method = options.method or "GET",
    headers = options.headers, redirect = false, sink = ltn12.sink.table(body),
    source = options.body and ltn12.source.string(options.body),
  }
  return status, table.concat(body), headers
end

local function fetch(id, headers)
  return request("/mj/task/" .. id .. "/fetch", { headers = headers })
end

local function list(ids)
  return request("/mj/task/list-by-condition",
    { method = "POST", body = ids, headers = { ["content-length"] = #ids } })
end

local function listed(name, names)
  for _, one in ipairs(names) do
    if one == name then return true end
  end
  return false
end

-- The values of one field over so many looks.
local function looks(id, field, count)
  local out = {}
  for n = 1, count do
    local _, body = fetch(id)
    out[n] = cjson.decode(body)[field]
  end
  return out
end

-- A kept connection: ask(path) sends, answer() reads one body, rest() what comes until the other
-- side ends, and how it ended; silence, if asked for, is one that lasts 0.1 s.
local function raw()
  local sock = assert(socket.connect("127.0.0.1", p.port))
  sock:settimeout(LIMIT)
  local self = {}
  function self.ask(path)
    return sock:send("GET " .. path .. " HTTP/1.1\r\nHost: x\r\n\r\n")
  end
  function self.rest(silent)
    if silent then sock:settimeout(0.1) end
    local bytes, problem, part = sock:receive("*a")
    return bytes or part, problem or "end"
  end
  function self.answer()
    local length
    repeat
      local line = assert(sock:receive("*l"))
      length = line:match("^Content%-Length: (%d+)") or length
    until line == ""
    return sock:receive(tonumber(length))
  end
  function self.close() sock:close() end
  return self
end

describe("the proxy", function()
  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  describe("its tasks", function()
    it("serves both seeds to the byte, under any prefix", function()
      for id, name in pairs { [SKU] = "sku", [PAWMAAS] = "pawmaas" } do
        for _, prefix in ipairs { "", "/mj-fast", "/mj-turbo", "/fast", "/api" } do
          local status, body = request(prefix .. "/mj/task/" .. id .. "/fetch")
          assert.equal(200, status)
          assert.equal(fixture(name), body)
        end
      end
    end)

    it("goes on by one state at each look, and stays at the last", function()
      p:task(ID)
      assert.same({ "0%", "0%", "0%", "15%", "31%", "46%", "62%", "78%", "93%", "100%", "100%" },
        looks(ID, "progress", 11))
      local task = cjson.decode((select(2, fetch(ID))))
      assert.equal("SUCCESS", task.status)
      assert.equal(9, #task.buttons)
    end)

    it("goes on by the clock", function()
      p:task(ID, { life = "short", pace = 0.05 })
      assert.same({ "SUBMITTED" }, looks(ID, "status", 1))
      socket.sleep(0.12)
      assert.same({ "SUCCESS" }, looks(ID, "status", 1))
    end)

    it("leads a life up to a seed's own bytes", function()
      p:task(SKU, { life = "sku" })
      assert.same({ "NOT_START" }, looks(SKU, "status", 1))
      looks(SKU, "status", 8)
      assert.equal(fixture("sku"), select(2, fetch(SKU)))
    end)

    it("has lives that end otherwise, or never", function()
      for life, last in pairs {
        failure = "FAILURE", cancel = "CANCEL", modal = "MODAL", stuck = "IN_PROGRESS",
        stuck_submitted = "SUBMITTED", foreign = "FINISHED", foreign_failed = "FAILED",
        completed = "completed", no_image = "SUCCESS", churning = "IN_PROGRESS",
      } do
        p:task(ID, { life = life })
        assert.equal(last, looks(ID, "status", 12)[12], life)
      end
    end)

    it("has lives that begin without a status", function()
      for life, first in pairs { unswept = "", null_status = cjson.null } do
        p:task(ID, { life = life })
        assert.equal(first, looks(ID, "status", 1)[1], life)
      end
      p:task(ID, { life = "no_status" })
      assert.is_nil(looks(ID, "status", 1)[1])
    end)

    it("takes states, fields and bodies of the spec's own", function()
      p:task(ID, {
        life = { { status = "ODD", failReason = proxy.null }, "not json" },
        fields = { big = 9007199254740993 },
      })
      local _, body = fetch(ID)
      assert.truthy(body:find('"status":"ODD"', 1, true))
      assert.truthy(body:find('"failReason":null', 1, true))
      assert.truthy(body:find('"big":9007199254740993', 1, true))
      assert.equal("not json", select(2, fetch(ID)))
      p:task(ID, { life = { { id = 12, buttons = proxy.list } }, bare = true })
      assert.equal('{"id":12,"buttons":[]}', select(2, fetch(ID)))
    end)

    it("lists what it knows of the ids, in another order", function()
      p:task(ID, { life = "done" })
      local _, body = list(('{"ids":[%s,"nobody","%s"]}'):format(SKU, ID))
      local tasks = cjson.decode(body)
      assert.equal(2, #tasks)
      assert.equal(ID, tasks[1].id)
      assert.equal(SKU, tasks[2].id)
      assert.equal("[]", select(2, list('{"ids":null}')))
    end)

    it("refuses lives, dialects and faults it does not have", function()
      assert.error_matches(function() p:task(ID, { life = "good" }) end, "no such life: good")
      assert.error_matches(function() p:set { dialect = "cobol" } end, "no such dialect: cobol")
      assert.error_matches(function() p:set { script = { "pass", "oops" } } end, "oops")
      assert.error_matches(function() p:set { colour = "red" } end, "no such setting: colour")
      assert.error_matches(function() p:set { handshakes = { "oops" } } end, "oops")
      assert.error_matches(function() p:forward { oops = true } end, "no such way: oops")
      assert.error_matches(function() p:relay { oops = true } end, "oops")
      assert.error_matches(function() p:relay { fault = "oops" } end, "no such fault: oops")
    end)
  end)

  describe("its dialects", function()
    local UNKNOWN = {
      java = { 200, "" },
      net = { 204, "" },
      go = { 400, '{"description":"task_no_found ","type":"upstream_error","code":4}' },
      ts = { 200, "null" },
      php = { 200, '{"code":404,"msg":"未找到任务","data":null}' },
    }

    for dialect, row in pairs(UNKNOWN) do
      it("have their own words for an unknown id: " .. dialect, function()
        p:set { dialect = dialect }
        local status, body = fetch("nobody")
        assert.same(row, { status, body })
      end)
    end

    -- Per rule: the headers that open the door, then those that do not.
    local function authorization(value, secret)
      return { authorization = value, ["mj-api-secret"] = secret }
    end
    local AUTH = {
      java = {
        { authorization(nil, "KEY") },
        { authorization("KEY"), authorization("Bearer KEY"), authorization(nil, "wrong") },
      },
      net = {
        { authorization("KEY"), authorization(nil, "KEY"), authorization("KEY", "wrong") },
        { authorization("Bearer KEY"), authorization("wrong", "KEY") },
      },
      go = {
        { authorization("Bearer KEY"), authorization("KEY"), authorization("sk-KEY"),
          authorization("Bearer sk-KEY"), authorization(nil, "KEY"),
          authorization("midjourney-proxy", "KEY") },
        { authorization("bearer KEY"), authorization("wrong", "KEY"), authorization("key") },
      },
      raw = {
        { authorization("KEY") },
        { authorization("Bearer KEY"), authorization(nil, "KEY") },
      },
      bearer = { { authorization("Bearer KEY") }, { authorization("KEY") } },
    }
    AUTH.ts, AUTH.php = AUTH.java, AUTH.java
    local REFUSED = {
      java = 401, net = 401, go = 401, ts = 401, php = 200, raw = 401, bearer = 401,
    }

    for rule, headers in pairs(AUTH) do
      it("ask for the key in their own way: " .. rule, function()
        local is_dialect = UNKNOWN[rule] ~= nil
        p:set { key = "KEY", dialect = is_dialect and rule or "go", auth = not is_dialect and rule }
        for _, open in ipairs(headers[1]) do
          local _, body = fetch(SKU, open)
          assert.truthy(body:find("Ghost warriors", 1, true))
        end
        table.insert(headers[2], {})
        for _, shut in ipairs(headers[2]) do
          local status, body = fetch(SKU, shut)
          assert.equal(REFUSED[rule], status)
          assert.falsy(body:find("Ghost warriors", 1, true))
        end
      end)
    end

    it("spell the same task each in its own way", function()
      for dialect, marks in pairs {
        java = { "a <black> cat & a dog 🐈", '"failReason":null' },
        net = { "\\uD83D\\uDC08, 水墨", '"emoji":"\\uD83D\\uDD04"', '"failReason":null' },
        go = { "a \\u003cblack\\u003e cat \\u0026 a dog 🐈", "png?ex=676bc867\\u0026is=" },
        ts = { '"emoji":{"name":"🔄"}', '"finishTime":1735030508000' },
        php = { '{"code":0,"msg":"ok","data":{', '"buttons":[[{', "http:\\/\\/", "FINISHED",
          '"finishTime":1735030508,' },
      } do
        p:set { dialect = dialect }
        p:task(ID, { life = "done" })
        local _, body = fetch(ID)
        for _, mark in ipairs(marks) do assert.truthy(body:find(mark, 1, true), mark) end
      end
    end)

    it("report progress of a failure each in its own way", function()
      for dialect, progress in pairs { java = "", net = "", go = "100%", ts = "", php = "" } do
        p:set { dialect = dialect }
        p:task(ID, { life = "failure" })
        local body
        for _ = 1, 4 do body = select(2, fetch(ID)) end
        assert.truthy(body:find('"progress":"' .. progress .. '"', 1, true), dialect)
      end
    end)

    it("have an envelope where it is asked for", function()
      p:set { envelope = true }
      assert.equal('{"code":0,"message":"成功","data":' .. fixture("pawmaas") .. "}",
        select(2, fetch(PAWMAAS)))
    end)

    it("answer strange submits and stray paths with a 404 of their own", function()
      assert.equal(404, (request("/mj/submit/poem", { method = "POST" })))
      local _, body = request("/mj/nothing")
      assert.truthy(body:find("Invalid URL (GET /mj/nothing)", 1, true))
      _, body = request("/task")
      assert.truthy(body:find("<!doctype html>", 1, true))
    end)
  end)

  describe("its submits", function()
    local UUID = "e1a4d7e8-8292-412c-aab0-fce932e90479"

    local function post(path, body)
      local text = cjson.encode(body)
      local status, answer = request("/mj/" .. path,
        { method = "POST", body = text, headers = { ["content-length"] = #text } })
      local ok, value = pcall(cjson.decode, answer)
      return status, ok and value or answer
    end

    it("make tasks, whose life is to order", function()
      p:set { submit = { life = "done" } }
      local _, answer = post("submit/imagine", { prompt = "a cat" })
      assert.equal(1, answer.code)
      assert.same({ "SUCCESS" }, looks(answer.result, "status", 1))
      local _, other = post("submit/imagine", { prompt = "a cat" })
      assert.not_equal(answer.result, other.result)
      assert.error_matches(function() p:set { submit = { life = "good" } } end, "no such life")
      assert.error_matches(function() p:set { submit = "oops" } end, "oops")
    end)

    it("check what they are given", function()
      p:set { dialect = "net" }
      p:task(ID, { life = "done" })
      for _, row in ipairs {
        { "imagine", {}, 200, 4 }, { "imagine", { prompt = 7 }, 200, 4 },
        { "blend", { base64Array = { "data:image/png;base64,AAAA" } }, 200, 4 },
        { "blend", { base64Array = { "AAAA", "AAAA" } }, 200, 4 },
        { "action", { taskId = ID, customId = "MJ::JOB::upsample::1::other" }, 200, 4 },
        { "action", { taskId = ID, customId = "MJ::JOB::upsample::1::" .. UUID }, 200, 1 },
        { "action", { taskId = "99", customId = "x" }, 404, 3 },
        { "modal", { taskId = ID }, 200, 4 },
      } do
        local status, answer = post("submit/" .. row[1], row[2])
        assert.same({ row[3], row[4] }, { status, answer.code }, row[1])
      end
      assert.equal(404, (post("submit/change", { taskId = ID, action = "UPSCALE", index = 1 })))
      p:set { dialect = "java" }
      for index, code in pairs { [1] = 1, [5] = 4 } do
        local _, answer = post("submit/change", { taskId = ID, action = "UPSCALE", index = index })
        assert.equal(code, answer.code)
      end
      local _, answer = post("submit/simple-change", { content = ID .. " U2" })
      assert.equal(1, answer.code)
    end)

    it("make tasks that say what was asked for", function()
      local function said(name, body)
        local _, answer = post("submit/" .. name, body)
        local task = cjson.decode((select(2, fetch(answer.result))))
        return { task.prompt, task.promptEn, task.state, task.action }
      end
      p:set { submit = { life = "done" } }
      local odd = "{id} <{prompt}> 猫"
      local _, answer = post("submit/imagine", { prompt = odd, state = "{here}" })
      local task = cjson.decode((select(2, fetch(answer.result))))
      assert.same({ odd, odd, "{here}", "IMAGINE", odd }, { task.prompt, task.promptEn, task.state,
        task.action, task.properties.finalPrompt })
      assert.same({ "x", "x", "", "SHORTEN" }, said("shorten", { prompt = "x", state = 7 }))
      for _, row in ipairs {
        { "action", { customId = "MJ::JOB::variation::1::" .. UUID }, "VARIATION" },
        { "change", { action = "REROLL" }, "REROLL" },
        { "simple-change", { content = answer.result .. " U2", state = "s" }, "UPSCALE" },
      } do
        row[2].taskId = answer.result
        assert.same({ odd, odd, row[2].state or "", row[3] }, said(row[1], row[2]))
      end
      p:set { submit = { case = "queued", fields = { prompt = "ordered" } } }
      assert.same({ "ordered", "x", "", "IMAGINE" }, said("imagine", { prompt = "x" }))
      p:set { submit = { case = "queued" } } -- takes what is no submit
      assert.matches("^a <black> cat ", said("imagine", {})[1])
    end)

    it("open a window, and go on with the same task", function()
      p:set { dialect = "net", submit = { life = "done" } }
      p:task(ID, { life = "upscaled_done" })
      local _, asked = post("submit/action", { taskId = ID, customId = "MJ::CustomZoom::" .. UUID })
      assert.equal(21, asked.code)
      assert.same({ "MODAL", "MODAL" }, looks(asked.result, "status", 2))
      local _, answer = post("submit/modal", { taskId = asked.result, prompt = "" })
      assert.same({ 1, asked.result }, { answer.code, answer.result })
      assert.same({ "SUCCESS" }, looks(asked.result, "status", 1))
    end)

    it("can be cancelled, and asked for their seed", function()
      p:set { dialect = "plus" }
      p:task(ID, { life = "stuck" })
      assert.equal(200, (post("task/" .. ID .. "/cancel", {})))
      assert.same({ "CANCEL" }, looks(ID, "status", 1))
      p:set { dialect = "ts" }
      local function seed() return request("/mj/task/" .. ID .. "/image-seed") end
      assert.same({ 202, 202 }, { (seed()), (seed()) })
      assert.truthy(select(2, seed()):find('"seed":"636646138"', 1, true))
    end)

    it("may be taken, and nobody hears of it", function()
      p:set { submit = { fault = "done_rst", life = "done" } }
      local status = post("submit/imagine", { prompt = "a cat" })
      assert.is_nil(tonumber(status))
      p:set { submit = { life = "done" } }
      local _, answer = post("submit/imagine", { prompt = "a cat" })
      assert.equal(200, (fetch(("%d"):format(tonumber(answer.result) - 1))))
    end)
  end)

  describe("its image host", function()
    it("has pictures by the ends of names", function()
      for ending, sign in pairs {
        png = "\x89PNG", jpg = "\xFF\xD8\xFF", gif = "GIF8", webp = "RIFF", none = "\x89PNG",
      } do
        local _, body = request("/attachments/a." .. ending .. "?ex=1&", { url = p.other_url })
        assert.equal(sign, body:sub(1, #sign))
      end
    end)

    it("has chains of redirects, and one to anywhere", function()
      local status, _, headers = request("/hop/2/attachments/a.png")
      assert.same({ 302, "/hop/1/attachments/a.png" }, { status, headers.location })
      status, _, headers = request("/hop/1/attachments/a.png")
      assert.same({ 302, "/attachments/a.png" }, { status, headers.location })
      status, _, headers = request("/to/file%3A%2F%2F%2Fetc%2Fpasswd")
      assert.same({ 302, "file:///etc/passwd" }, { status, headers.location })
    end)

    it("misbehaves apart from the API", function()
      p:set { image = { status = 410 } }
      assert.equal(410, (request "/attachments/a.png"))
      assert.equal(200, (fetch(SKU)))
    end)
  end)

  describe("its log", function()
    it("holds every request but the control's", function()
      fetch("a%2Fb?c", { ["X-Test"] = "  one " })
      list('{"ids":[]}')
      local log = p:log()
      assert.equal(2, #log)
      assert.equal("GET", log[1].method)
      assert.equal("/mj/task/a%2Fb?c/fetch", log[1].path)
      assert.equal("one", log[1].headers["x-test"])
      assert.equal('{"ids":[]}', log[2].body)
      assert.equal(p.port, log[2].port)
      assert.truthy(log[2].at >= log[1].at)
    end)

    it("can be left out, where it would become long", function()
      p:set { log = false }
      fetch(SKU)
      assert.same({}, p:log())
      p:reset()
      fetch(SKU)
      assert.equal(1, #p:log())
    end)

    it("counts connections, kept ones once", function()
      local c = raw()
      for _ = 1, 3 do
        c.ask("/mj/task/" .. SKU .. "/fetch")
        assert.equal(fixture("sku"), c.answer())
      end
      fetch(SKU)
      c.close()
      local log = p:log()
      assert.equal(2, p:connections())
      assert.equal(log[1].connection, log[3].connection)
      assert.not_equal(log[1].connection, log[4].connection)
    end)

    it("sees the other origin too", function()
      local status = request("/attachments/x.png", { url = p.other_url })
      assert.equal(200, status)
      assert.equal(p.other_port, p:log()[1].port)
    end)
  end)

  describe("its misbehaviour", function()
    it("follows a script, then serves as usual", function()
      p:set { script = {
        { status = 503 }, { status = 429, headers = { ["Retry-After"] = "2" } }, "quota", "pass",
      } }
      assert.equal(503, (fetch(SKU)))
      local status, _, headers = fetch(SKU)
      assert.same({ 429, "2" }, { status, headers["retry-after"] })
      assert.equal(401, (fetch(SKU)))
      assert.equal(fixture("sku"), select(2, fetch(SKU)))
      assert.equal(fixture("sku"), select(2, fetch(SKU)))
    end)

    it("follows a task's own script, which other tasks do not see", function()
      p:task(ID, { life = "done", script = { { status = 500, body = "oops", delay = 0.02 } } })
      assert.equal(200, (fetch(SKU)))
      local before = socket.gettime()
      local status, body = fetch(ID)
      assert.same({ 500, "oops" }, { status, body })
      assert.truthy(socket.gettime() - before >= 0.02)
      assert.equal(200, (fetch(ID)))
    end)

    it("delays one answer without holding up another", function()
      p:task(ID, { life = "done", fault = { delay = 10 } })
      local slow = raw()
      slow.ask("/mj/task/" .. ID .. "/fetch")
      local before = socket.gettime()
      fetch(SKU)
      assert.truthy(socket.gettime() - before < 5)
      slow.close()
    end)

    it("breaks connections off", function()
      for fault, ended in pairs { rst = "closed", empty = "closed", stall = "timeout" } do
        local c = raw()
        c.ask("/fault/" .. fault .. "/mj/task/" .. SKU .. "/fetch")
        assert.same({ "", ended }, { c.rest(ended == "timeout") })
        c.close()
      end
    end)

    it("lets a kept connection die at its second request", function()
      p:set { fault = "deadsecond" }
      local c = raw()
      c.ask("/mj/task/" .. SKU .. "/fetch")
      assert.equal(fixture("sku"), c.answer())
      c.ask("/mj/task/" .. SKU .. "/fetch")
      assert.equal("", (c.rest()))
      assert.equal(2, #p:log())
    end)

    it("breaks bodies and lengths", function()
      local whole = fixture("sku")
      local function through(fault) return (select(2, request("/fault/" .. fault
        .. "/mj/task/" .. SKU .. "/fetch"))) end
      assert.equal("\u{FEFF}" .. whole, through "bom")
      assert.equal(whole:sub(1, #whole // 2), through "truncated")
      assert.equal(whole .. "\0garbage", through "nul")
      assert.equal(whole, through "chunked")
      assert.equal("\x1f\x8b", through("gzip"):sub(1, 2))
      assert.truthy(through("html_502"):find("502 Bad Gateway", 1, true))
    end)

    it("leaves it to chance, which a seed decides", function()
      local function met(seed)
        p:reset()
        p:set { fault = { any = seed } }
        for _ = 1, 40 do
          local sock = assert(socket.connect("127.0.0.1", p.port))
          sock:settimeout(1)
          sock:send("GET /mj/task/" .. SKU .. "/fetch HTTP/1.1\r\nHost: x\r\n\r\n")
          sock:receive "*l"
          sock:close()
        end
        return p:met()
      end
      local names = met(3)
      assert.same(names, met(3))
      assert.not_same(names, met(4))
      local sum = 0
      for name, count in pairs(names) do
        assert(listed(name, chance.names), name)
        sum = sum + count
      end
      assert.equal(40, sum)
      p:reset()
      assert.same({}, p:met())
    end)

    it("leaves to chance all that ends by itself", function()
      local cases = {}
      for _, dialect in pairs(dialects) do
        for name in pairs(dialect.cases) do cases[name] = true end
      end
      local missing = {}
      for name in pairs(faults) do
        if not listed(name, chance.names) then missing[#missing + 1] = name end
      end
      table.sort(missing)
      assert.same({ -- they would hold up all of a client's requests, for long
        "retry_after_date", "retry_after_decade", "retry_after_far_date", "retry_after_fraction",
        "retry_after_huge", "retry_after_overflow", "retry_after_seconds",
      }, missing)
      for name, plan in pairs(chance.plans) do
        if plan.fault then assert(faults[plan.fault], name) end
        if plan.case then assert(cases[plan.case], name) end
      end
    end)

    it("redirects to the other origin", function()
      local path = "/fault/redirect_307/mj/task/" .. SKU .. "/fetch"
      local status, _, headers = request(path)
      assert.same({ 307, p.other_url .. path }, { status, headers.location })
    end)
  end)

  it("ends with the spec that started it", function()
    local other = proxy.start()
    assert.truthy(socket.connect("127.0.0.1", other.port)):close()
    other:stop()
    assert.is_nil((socket.connect("127.0.0.1", other.port)))
  end)
end)
