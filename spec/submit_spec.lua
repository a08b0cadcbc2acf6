-- Submits from end to end: every answer in every dialect, what goes out, and that it goes out once.

local cjson = require "cjson"
local child = require "support.child"
local client = require "mjtask.client"
local clock = require "support.clock"
local proxy = require "support.proxy"
local fails_with = require "support.fails_with"

local KEY = "sk-0123456789abcdef"
local ID = "1735030480000001"
local IMAGINE = { prompt = "a cat" }

local p, mj

-- A client of the proxy whose backoff costs no time.
local function new(options)
  options = options or {}
  options.url = options.url or p.url
  options.key = options.key or KEY
  return client.new(options, clock.new())
end

local function accepted(receipt, err, ...)
  assert.equal(0, select("#", ...))
  assert.is_nil(err, tostring(err))
  assert.equal("table", type(receipt))
  return receipt
end

-- The bodies that were submitted, decoded, and the raw text of the last.
local function submitted()
  local bodies, text = {}, nil
  for _, request in ipairs(p:log()) do
    if request.method == "POST" then
      text = request.body
      bodies[#bodies + 1] = cjson.decode(text)
    end
  end
  return bodies, text
end

-- The proxy answers the next submit so, and the client makes of it:
local function answered(plan, ...)
  p:set { script = { plan } }
  return mj:submit("imagine", IMAGINE, ...)
end

local function json(body, status)
  return { status = status or 200, body = body, type = "application/json" }
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  mj = new()
end)

after_each(function()
  mj:close()
end)

describe("a submit that is taken", function()
  local NAMES = {
    java = { "imagine", "blend", "describe" },
    plus = { "imagine", "blend", "describe", "shorten" },
    net = { "imagine", "blend", "describe", "shorten", "edits", "edit", "retexture", "video" },
    go = { "imagine", "blend", "describe", "shorten", "edits", "video" },
    ts = { "imagine", "blend", "describe", "shorten", "edits" },
  }
  local PICTURE = require "mjtask".data_url("no picture, but nobody looks")
  local BODIES = {
    imagine = IMAGINE, shorten = { prompt = "a cat" },
    blend = { base64Array = { PICTURE, PICTURE }, dimensions = "SQUARE" },
    describe = { base64 = PICTURE },
    edit = { image = PICTURE, prompt = "a dog" }, edits = { image = PICTURE, prompt = "a dog" },
    retexture = { image = PICTURE, prompt = "wood" }, video = { prompt = "", image = PICTURE },
  }

  for dialect, names in pairs(NAMES) do
    for _, name in ipairs(names) do
      it("gives a receipt to wait for: " .. dialect .. ", " .. name, function()
        p:set { dialect = dialect, submit = { life = "short" } }
        local receipt = accepted(mj:submit(name, BODIES[name]))
        assert.truthy(receipt.id:find("^%d+$"))
        assert.same({ receipt.id }, receipt.ids)
        assert.equal(1, receipt.code)
        assert.equal(receipt.id, receipt.result)
        assert.equal("string", type(receipt.description))
        assert.equal(receipt.id, tostring(receipt))
        assert.same(BODIES[name], (submitted())[1])
        local task = assert(mj:wait(receipt))
        assert.equal(receipt.id, task.id)
        assert.equal("SUCCESS", task.status)
      end)
    end

    it("has its place in the queue: " .. dialect, function()
      p:set { dialect = dialect }
      local receipt = accepted(answered { case = "queued", queue = 19, life = "done" })
      assert.equal(19, receipt.queue)
      assert.equal(19, receipt.properties.numberOfQueues)
      assert.equal(dialect == "go" and 1 or 22, receipt.code)
      assert.equal(receipt.id, assert(mj:fetch(receipt)).id)
    end)
  end

  it("has no place in the queue where none is told", function()
    assert.is_nil(accepted(answered "accepted").queue)
    for _, queue in ipairs { "null", '"many"', "{}", "2.5" } do
      local body = '{"code":22,"result":"1","properties":{"numberOfQueues":' .. queue .. "}}"
      assert.is_nil(accepted(answered(json(body))).queue, queue)
    end
    assert.equal(4, accepted(answered(json(
      '{"code":22,"result":"1","properties":{"numberOfQueues":"4"}}'))).queue)
  end)

  it("exists already, says novicezk, and that one can be waited for", function()
    p:set { dialect = "java" }
    local receipt = accepted(answered { case = "exists", life = "done" })
    assert.equal(21, receipt.code)
    assert.equal("IN_PROGRESS", receipt.properties.status)
    assert.equal(receipt.id, assert(mj:wait(receipt)).id)
    for _, properties in ipairs { '{"status":"SUCCESS"}', '{"imageUrl":"https://x/y.png"}' } do
      receipt = accepted(answered(json('{"code":21,"result":"7","properties":'
        .. properties .. "}")))
      assert.equal("7", receipt.id)
    end
  end)

  it("has an id and ids whatever the result is spelt like", function()
    for result, ids in pairs {
      ['"1735030480754475"'] = { "1735030480754475" },
      ["1320098173412546"] = { "1320098173412546" },
      ["1320098173412546.0"] = { "1320098173412546" },
      ['"1724745976911BFF"'] = { "1724745976911BFF" },
      ['"task_1234567890"'] = { "task_1234567890" },
      ['"3182402e-79db-44e7-b9d7-0e63b94539d1"'] = { "3182402e-79db-44e7-b9d7-0e63b94539d1" },
      ["9007199254740993"] = { "9007199254740993" },
      ['"11,12,13,14"'] = { "11", "12", "13", "14" },
      ['" 11 , 12 "'] = { "11", "12" },
      ['["11","12"]'] = { "11", "12" },
      ["[11,12]"] = { "11", "12" },
      ['["https://cdn/a.png?b=c"]'] = {},
      ["null"] = {}, ['""'] = {}, ["true"] = {}, ["1.5"] = {}, ["{}"] = {}, ['"../admin"'] = {},
      ['"a b"'] = {}, ['"a/b,c"'] = { "c" },
    } do
      local receipt = accepted(answered(json('{"code":1,"description":"ok","result":'
        .. result .. "}")))
      assert.same(ids, receipt.ids, result)
      assert.equal(ids[1], receipt.id)
      assert.equal(ids[1] or "", tostring(receipt))
    end
  end)

  it("keeps the URLs of an upload", function()
    for _, dialect in ipairs { "net", "go", "plus" } do
      p:set { dialect = dialect }
      local receipt = accepted(mj:submit("upload-discord-images", {
        base64Array = { require "mjtask".data_url "x" },
      }))
      assert.is_nil(receipt.id)
      assert.same({}, receipt.ids)
      assert.same({ "https://cdn.discordapp.com/a/1.png", "https://cdn.discordapp.com/a/2.png" },
        receipt.result)
    end
  end)

  it("knows the successes of other vendors", function()
    for _, code in ipairs { '0', '200', '"1"', '1.0' } do
      assert.equal("5", accepted(answered(json('{"code":' .. code .. ',"result":"5"}'))).id)
    end
    local receipt = accepted(answered(json('{"code":1,"result":"5"}', 201)))
    assert.equal("5", receipt.id)
  end)

  it("does not care for properties that are none", function()
    local receipt = accepted(answered(json('{"code":1,"result":"5","properties":[1]}')))
    assert.is_nil(receipt.properties and receipt.properties.numberOfQueues)
    assert.is_nil(accepted(answered(json '{"code":1,"result":"5","properties":7}')).properties)
  end)
end)

describe("a submit that is not taken", function()
  -- dialect, case -> kind, retryable, code, a part of the message
  local CASES = {
    java = {
      queue_full = { "busy", true, 23, "队列已满" },
      banned = { "banned", false, 24, '"blood"' },
      failed = { "rejected", false, 9, "连接被重置" },
      invalid = { "rejected", false, 4, "参数错误" },
      no_task = { "not_found", false, 3, "不存在" },
      no_channel = { "busy", true, 3, "无可用" },
      unauthorized = { "auth", false },
      no_route = { "unsupported", false },
    },
    net = {
      queue_full = { "busy", true, 9, "队列已满" },
      banned = { "banned", false, 24, '"blood"' },
      failed = { "rejected", false, 9, "连接被重置" },
      invalid = { "rejected", false, 4 },
      no_task = { "not_found", false, 3, "不存在" },
      no_channel = { "busy", true, 3 },
      limit = { "quota", false, 4, "次数已达上限" },
      quota = { "quota", false, -1, "次数已达上限" },
      logic = { "rejected", false, -1, "操作失败" },
      overload = { "rate_limited", true },
      unauthorized = { "auth", false, nil, "Authorization header missing" },
      forbidden = { "auth", false, nil, "账号不可用" },
      no_route = { "unsupported", false },
    },
    go = {
      queue_full = { "busy", true, 23 },
      banned = { "banned", false, 24, '"blood"' },
      failed = { "rejected", false, 9 },
      invalid = { "rejected", false, 4, "prompt_is_required" },
      no_task = { "not_found", false, 4, "task_no_found" },
      not_done = { "rejected", false, 4, "task_status_not_success" },
      no_quota = { "quota", false, 4, "quota_not_enough" },
      quota = { "quota", false, nil, "额度已用尽" },
      no_channel = { "http", true, nil, "无可用渠道" },
      unauthorized = { "auth", false }, forbidden = { "auth", false },
      channel = { "auth", false },
      no_route = { "unsupported", false, nil, "Invalid URL" },
      lost = { "unknown_fate", false }, lost_400 = { "unknown_fate", false },
      server_fault = { "unknown_fate", false },
      web_ui = { "unknown_fate", false },
    },
    ts = {
      queue_full = { "busy", true, 23, "Queue is full" },
      banned = { "banned", false, 24, '"blood"' },
      failed = { "rejected", false, 9, "socket hang up" },
      invalid = { "rejected", false, 4, "Validation error" },
      no_task = { "not_found", false, 3, "does not exist" },
      no_channel = { "busy", true, 3 },
      unauthorized = { "auth", false, nil, "Unauthorized" },
      no_route = { "unsupported", false, nil, "not found" },
      server_fault = { "unknown_fate", false },
    },
    plus = {
      queue_full = { "busy", true, 23 }, banned = { "banned", false, 24, '"blood"' },
      failed = { "rejected", false, 9 }, invalid = { "rejected", false, 4 },
      no_task = { "not_found", false, 3 }, no_channel = { "busy", true, 3 },
    },
    php = { no_route = { "unsupported", false } },
  }

  for dialect, cases in pairs(CASES) do
    for case, row in pairs(cases) do
      it(("says so: %s, %s"):format(dialect, case), function()
        p:set { dialect = dialect }
        local err = fails_with(row[1], answered(case))
        assert.equal(row[2], err.retryable)
        if err.kind ~= "unknown_fate" then assert.equal(row[3], err.code) end
        if row[4] then assert.truthy(err.message:find(row[4], 1, true), err.message) end
        assert.equal(1, #p:log())
        assert.equal(1, err.attempts)
      end)
    end
  end

  it("was overloaded, says new-api, and is not sent again by itself", function()
    p:set { dialect = "go", submit = "overload" }
    local err = fails_with("rate_limited", mj:submit("imagine", IMAGINE, { retries = 5 }))
    assert.same({ 429, 30, true }, { err.status, err.code, err.retryable })
    assert.equal(1, #p:log())
    p:set { submit = { status = 429, headers = { ["Retry-After"] = "7" } } }
    err = fails_with("rate_limited", mj:submit("imagine", IMAGINE))
    assert.equal(7, err.retry_after)
    assert.equal(2, #p:log())
  end)

  it("waits for a modal, say plus, trueai and the port", function()
    for _, dialect in ipairs { "plus", "net", "go", "ts" } do
      p:set { dialect = dialect }
      local err = fails_with("needs_input", answered "needs_modal")
      assert.equal(21, err.code)
      assert.truthy(err.id:find("^%d+$"))
      assert.equal(err.id, err.receipt.id)
      assert.truthy(err.message:find("modal", 1, true))
      assert.equal("MODAL", assert(mj:fetch(err.id)).status)
    end
  end)

  it("continues the same task after the modal", function()
    p:set { dialect = "net" }
    local err = fails_with("needs_input", answered "needs_modal")
    local receipt = accepted(mj:submit("modal", { taskId = err.id, prompt = "a dog" }))
    assert.equal(err.id, receipt.id)
    assert.equal(err.id, assert(mj:wait(receipt)).id)
    fails_with("rejected", mj:submit("modal", { taskId = err.id, prompt = "again" }))
    fails_with("not_found", mj:submit("modal", { taskId = "99", prompt = "a dog" }))
  end)

  it("needs a window also where properties are missing or odd", function()
    for _, properties in ipairs { "null", "{}", "[]", "7", '{"remix":true}', '{"status":null}' } do
      fails_with("needs_input", answered(json('{"code":21,"result":"7","properties":'
        .. properties .. "}")))
    end
  end)

  it("tells the banned word only if there is one", function()
    for _, properties in ipairs { "null", "{}", '{"bannedWord":7}', "[]" } do
      local err = fails_with("banned", answered(json(
        '{"code":24,"description":"bad words","properties":' .. properties .. "}")))
      assert.truthy(err.message:find("bad words", 1, true))
    end
  end)

  it("is rejected with a code that nobody knows", function()
    for _, code in ipairs { 2, 5, 10, 25, 9999 } do
      local err = fails_with("rejected", answered(json('{"code":' .. code .. "}")))
      assert.equal(code, err.code)
    end
  end)

  it("is a matter of the status where the body says nothing", function()
    for status, kind in pairs {
      [400] = "rejected", [401] = "auth", [402] = "quota", [403] = "auth", [405] = "unsupported",
      [413] = "http", [422] = "http", [429] = "rate_limited", [501] = "unsupported",
      [503] = "http", [302] = "redirect", [307] = "redirect",
    } do
      local err = fails_with(kind, answered { status = status, body = "no" })
      assert.equal(status, err.status)
      assert.equal(1, err.attempts)
    end
  end)

  it("is not followed to anywhere", function()
    for _, fault in ipairs { "redirect_301", "redirect_302", "redirect_303", "redirect_307",
        "redirect_308" } do
      local err = fails_with("redirect", answered(fault))
      assert.truthy(err.message:find(p.other_url, 1, true))
    end
    for _, request in ipairs(p:log()) do
      assert.equal(p.port, request.port)
      assert.equal("POST", request.method)
    end
  end)

  it("never shows the key, nor more than a line of what the server says", function()
    local err = fails_with("rejected", answered(json('{"code":4,"description":"no ' .. KEY
      .. "\\u001b[31m\\n" .. ("long "):rep(500) .. '"}')))
    local text = tostring(err)
    assert.is_nil(text:find(KEY, 1, true))
    assert.is_nil(text:find("[%c]"))
    assert.is_true(#text < 400)
  end)
end)

describe("a submit costs money", function()
  -- Requests that reached the server since the reset, of submits only.
  local function count()
    local n = 0
    for _, request in ipairs(p:log()) do
      if request.method == "POST" then n = n + 1 end
    end
    return n
  end

  local LOST = { "rst", "empty", "done_rst", "rst_head", "rst_body", "short", "short_chunk",
    "no_last_chunk", "garbage", "http09", "html", "html_502", "html_504", "empty_body",
    "plain_null", "truncated", "trailing", "gzip_bad", "gzip_truncated", "until_close_short" }

  for _, fault in ipairs(LOST) do
    it("so a lost answer is unknown_fate, and one request: " .. fault, function()
      p:set { submit = fault }
      local err = fails_with("unknown_fate", mj:submit("imagine", IMAGINE, { retries = 5 }))
      assert.is_false(err.retryable)
      assert.equal(1, err.attempts)
      assert.truthy(err.message:find("may have been accepted", 1, true))
      assert.equal(1, count())
    end)

    it("also over a warm connection: " .. fault, function()
      p:task(ID, { life = "done" })
      for _ = 1, 3 do assert(mj:fetch(ID)) end
      p:set { submit = fault }
      fails_with("unknown_fate", mj:submit("imagine", IMAGINE, { retries = 5 }))
      assert.equal(1, count())
      local log = p:log()
      assert.equal(log[1].connection, log[3].connection, "the connection was not kept")
      assert.not_equal(log[3].connection, log[4].connection)
      p:set { submit = {} }
      accepted(mj:submit("imagine", IMAGINE)) -- nothing is broken by it
    end)
  end

  for _, fault in ipairs { "deadsecond", "rstsecond", "okclose", "okrst" } do
    it("so a connection that dies when it is used again matters not: " .. fault, function()
      p:task(ID, { life = "done" })
      p:set { fault = fault }
      for n = 1, 3 do
        assert(mj:fetch(ID))
        accepted(mj:submit("imagine", IMAGINE))
        assert.equal(n, count())
      end
    end)
  end

  it("so two submits do not share a connection", function()
    accepted(mj:submit("imagine", IMAGINE))
    accepted(mj:submit("imagine", IMAGINE))
    local log = p:log()
    assert.not_equal(log[1].connection, log[2].connection)
  end)

  it("so silence is unknown_fate, too", function()
    p:set { submit = "stall" }
    local err = fails_with("unknown_fate",
      mj:submit("imagine", IMAGINE, { request_timeout = 0.1, retries = 5 }))
    assert.is_true(err.elapsed < 1)
    assert.equal(1, count())
  end)

  it("so a server's fault is unknown_fate, and 503 is not", function()
    for _, status in ipairs { 500, 502, 504, 520, 524 } do
      p:reset()
      p:set { submit = { status = status, body = "oops" } }
      local err = fails_with("unknown_fate", mj:submit("imagine", IMAGINE, { retries = 5 }))
      assert.equal(status, err.status)
      assert.equal(1, count())
    end
    p:reset()
    p:set { submit = { status = 503, body = "" } }
    fails_with("http", mj:submit("imagine", IMAGINE, { retries = 5 }))
    assert.equal(1, count())
  end)

  it("so a JSON answer that is none to a submit is unknown_fate", function()
    for _, body in ipairs { "[]", "7", '"ok"', "{}", '{"result":"5"}', '{"code":"x"}',
        '{"code":null,"result":"5"}' } do
      fails_with("unknown_fate", answered(json(body)))
    end
  end)

  it("so only what never left is sent again", function()
    local time = clock.new()
    local away <close> = client.new({ url = proxy.closed_url(), key = KEY }, time)
    local err = fails_with("connect", away:submit("imagine", IMAGINE, { retries = 3 }))
    assert.equal(4, err.attempts)
    assert.is_true(err.retryable)
    assert.equal(3, #time.sleeps)
  end)

  it("and the task that nobody heard of may well be there", function()
    p:set { submit = { fault = "done_rst", life = "done" } }
    fails_with("unknown_fate", mj:submit("imagine", IMAGINE))
    p:set { submit = { life = "done" } }
    local id = accepted(mj:submit("imagine", IMAGINE)).id
    assert.equal("SUCCESS", assert(mj:fetch(id)).status)
    assert(mj:fetch(("%d"):format(tonumber(id) - 1))) -- the one before
  end)
end)

describe("what a submit sends", function()
  it("is JSON, with the key, to the mode prefix", function()
    local fast <close> = new { url = p.url .. "/mj-fast" }
    accepted(fast:submit("imagine", IMAGINE))
    local request = p:log()[1]
    assert.equal("POST", request.method)
    assert.equal("/mj-fast/mj/submit/imagine", request.path)
    assert.equal("application/json", request.headers["content-type"])
    assert.equal(KEY, request.headers.authorization)
    assert.equal(KEY, request.headers["mj-api-secret"])
    assert.equal('{"prompt":"a cat"}', request.body)
  end)

  it("is sent at once and once, however large, where libcurl would ask before", function()
    local large = ("x"):rep(1.5 * 2 ^ 20 // 1 | 0)
    p:set { submit = { status = 417 } }
    fails_with("http", mj:submit("blend", { base64Array = { large } }))
    local log = p:log()
    assert.equal(1, #log)
    assert.is_nil(log[1].headers.expect)
    assert.is_true(#log[1].body > #large)
  end)

  it("arrives whole, however large", function()
    local picture = require "mjtask".data_url(("\0\xFF\x7F"):rep(1000000))
    accepted(mj:submit("describe", { base64 = picture }))
    local log = p:log()
    assert.equal(1, #log)
    assert.equal(picture, cjson.decode(log[1].body).base64)
  end)

  it("keeps integers, text, lists and null", function()
    p:set { submit = "accepted" }
    local what = {
      prompt = "a <black> cat & \"dog\" 🐈, 水墨\n\t\\/\0\u{7F}\u{2028}", big = 99999999999999,
      small = -99999999999999, zero = 0, half = 0.5, yes = true, no = false,
      list = { "a", 1, { deep = { "x" } } }, nothing = cjson.null, whole = 3.0,
    }
    accepted(mj:submit("imagine", what))
    local bodies, text = submitted()
    assert.same(what, bodies[1])
    assert.truthy(text:find('"big":99999999999999[,}]'))
    assert.truthy(text:find('"small":%-99999999999999[,}]'))
    assert.truthy(text:find('"whole":3[,}]'))
    assert.truthy(text:find('"nothing":null', 1, true))
  end)

  it("has {} for an empty table", function()
    p:set { submit = "accepted" }
    accepted(mj:submit("imagine", { accountFilter = {} }))
    local _, text = submitted()
    assert.equal('{"accountFilter":{}}', text)
    accepted(mj:submit("imagine", {}))
    _, text = submitted()
    assert.equal("{}", text)
  end)

  it("does not depend on how others use lua-cjson", function()
    p:set { submit = "accepted" }
    cjson.encode_number_precision(3)
    cjson.encode_sparse_array(true)
    local ok, problem = pcall(mj.submit, mj, "imagine", { prompt = "a", seed = 1234567890 })
    cjson.encode_number_precision(14)
    cjson.encode_sparse_array(false, 2, 10)
    assert.is_true(ok, problem)
    local _, text = submitted()
    assert.truthy(text:find("1234567890", 1, true))
  end)

  local function itself()
    local t = { prompt = "a" }
    t.list = { { t } }
    return t
  end

  local function deep()
    local t = {}
    for _ = 1, 100 do t = { t } end
    return { a = t }
  end

  -- The body, and what the message names.
  local REFUSED = {
    ["an integer of 15 digits"] = { { taskId = 173503048075447 }, "body.taskId", "as strings" },
    ["an id decoded elsewhere"] = { { taskId = 1735030480754475.0 }, "body.taskId", "as strings" },
    ["a negative one"] = { { n = -100000000000000 }, "body.n" },
    ["the largest integer"] = { { n = math.maxinteger }, "body.n" },
    ["NaN"] = { { seed = 0 / 0 }, "body.seed", "finite" },
    ["infinity"] = { { a = { b = { 1, math.huge } } }, "body.a.b[2]", "finite" },
    ["minus infinity"] = { { seed = -math.huge }, "body.seed", "finite" },
    ["a function"] = { { prompt = print }, "body.prompt", "function" },
    ["a coroutine"] = { { prompt = coroutine.create(print) }, "body.prompt", "thread" },
    ["a file"] = { { image = io.stdout }, "body.image", "userdata" },
    ["a list with holes"] = { { list = { 1, nil, 3 } }, "body.list" },
    ["a list that begins late"] = { { list = { [2] = "a" } }, "body.list" },
    ["a list with a name"] = { { list = { "a", b = 1 } }, "body.list", "b" },
    ["a key that is a number"] = { { list = { [1.5] = 1 } }, "body.list", "1.5" },
    ["a key that is a boolean"] = { { [true] = 1 }, "body", "true" },
    ["text that is not UTF-8"] = { { prompt = "caf\xE9" }, "body.prompt", "UTF-8" },
    ["half a character"] = { { prompt = "\xF0\x9F\x90" }, "body.prompt", "UTF-8" },
    ["a lone surrogate"] = { { prompt = "\xED\xA0\x80" }, "body.prompt", "UTF-8" },
    ["a name that is not UTF-8"] = { { ["caf\xE9"] = 1 }, "UTF-8" },
    ["a table in itself"] = { itself(), "holds itself" },
    ["too deep a table"] = { deep(), "too deep" },
    ["text for a body"] = { "prompt", "body", "table" },
    ["a number for a body"] = { 7, "body", "table" },
  }
  for what, row in pairs(REFUSED) do
    it("is never " .. what, function()
      local ok, problem = pcall(function() mj:submit("imagine", row[1]) end)
      assert.is_false(ok)
      for n = 2, #row do assert.truthy(problem:find(row[n], 1, true), problem) end
      assert.truthy(problem:find("submit_spec.lua:", 1, true), problem)
      assert.equal(0, #p:log())
      assert.equal(0, p:connections())
    end)
  end

  it("has a name that is one word of a path", function()
    for _, name in ipairs { "", ".", "..", "a/b", "a b", "a?b", "a#b", "a\0b", "a\nb", "a%2Fb",
        ("a"):rep(129), "é", 7, true, {} } do
      local ok, problem = pcall(mj.submit, mj, name, IMAGINE)
      assert.is_false(ok, tostring(name))
      assert.truthy(problem:find("name must be one word", 1, true))
    end
    assert.error_matches(function() mj:submit() end, "name must be")
    assert.error_matches(function() mj:submit("imagine") end, "body: a table expected, got nil")
    assert.equal(0, #p:log())
  end)

  it("takes no option that it does not know", function()
    for _, name in ipairs { "key", "url", "modal", "overwrite", "progress", "colour" } do
      assert.error_matches(function() mj:submit("imagine", IMAGINE, { [name] = "x" }) end, name)
    end
    assert.error_matches(function() mj:submit("imagine", IMAGINE, 7) end, "a table expected")
    assert.equal(0, #p:log())
  end)
end)

describe("without lua-cjson", function()
  -- A child that finds our modules and no others.
  local ALONE = [[
    local function only(name, path)
      return (package.searchpath(name, path):gsub(name:gsub("%%.", "/") .. "%%.(%%l+)$", "?.%%1"))
    end
    package.cpath = only("mjtask.core", package.cpath)
    package.path = only("mjtask.client", package.path)
    local mj = require "mjtask.client".new { url = %q, key = %q }
    local id = %q
  ]]

  local function alone(script)
    return child.run(ALONE:format(p.url, KEY, ID) .. script)
  end

  it("a submit and a press raise, in one line, before anything is sent", function()
    p:task(ID, { life = "done" })
    local output, status = alone [[
      for _, call in ipairs {
        function() mj:submit("imagine", { prompt = "a cat" }) end,
        function() mj:press(id, "U1") end,
      } do
        print(pcall(call))
      end
    ]]
    local line = "false\t[^\n]*submits and presses need lua%-cjson: module 'cjson' not found\n"
    assert.matches("^" .. line .. line .. "$", output)
    assert.equal(0, status)
    assert.equal(0, #p:log())
  end)

  it("all else works", function()
    p:set { dialect = "plus" }
    p:task(ID, { life = "done" })
    local output, status = alone [[
      print(mj:fetch(id).status, mj:wait(id):button("U1").label, mj:cancel(id))
    ]]
    assert.equal("SUCCESS\tU1\ttrue\n", output)
    assert.equal(0, status)
  end)
end)

describe("a submit and its client", function()
  it("cannot be made with a closed one", function()
    mj:close()
    assert.error_matches(function() mj:submit("imagine", IMAGINE) end, "closed")
    assert.error_matches(function() mj.submit(nil, "imagine", IMAGINE) end, "colon")
  end)

  it("has too large an answer", function()
    p:set { submit = { fault = "big", mib = 1 } }
    fails_with("unknown_fate", mj:submit("imagine", IMAGINE, { max_body = 1000 }))
    assert.equal(1, #p:log())
  end)

  it("reads ids in any text at once, however long it is", function()
    local blanks = (" "):rep(200000)
    p:set { script = { { body = '{"code":1,"result":"a' .. blanks .. 'b, ..,' .. ID .. '"}' } } }
    local receipt = accepted(mj:submit("imagine", IMAGINE, { timeout = 5 }))
    assert.same({ ID }, receipt.ids)
  end)

  it("tells trace of it, without its body", function()
    local seen = {}
    local traced <close> = new { trace = function(event) seen[#seen + 1] = event end }
    accepted(traced:submit("imagine", { prompt = "very private" }))
    assert.equal("request", seen[1].event)
    assert.equal("/mj/submit/imagine", seen[1].path)
    assert.equal("answer", seen[2].event)
    for _, event in ipairs(seen) do
      for _, value in pairs(event) do
        assert.is_nil(tostring(value):find("private", 1, true))
        assert.is_nil(tostring(value):find(KEY, 1, true))
      end
    end
  end)
end)
