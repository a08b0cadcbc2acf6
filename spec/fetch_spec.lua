-- A fetch from end to end: real HTTP to the local proxy, every dialect and every case it has.

local client = require "mjtask.client"
local clock = require "support.clock"
local errors = require "mjtask.errors"
local mjtask = require "mjtask"
local proxy = require "support.proxy"
local fails_with = require "support.fails_with"

local KEY = "sk-0123456789abcdef"
local ID = "1735030480000001"
local DIALECTS = { "java", "net", "go", "ts", "php" }

local p, mj

local function fixture(name)
  local file <close> = assert(io.open("spec/fixtures/" .. name .. ".json", "rb"))
  return file:read("a")
end

-- A client of the proxy whose backoff costs no time.
local function new(options)
  options = options or {}
  options.url = options.url or p.url
  options.key = options.key or KEY
  return client.new(options, clock.new())
end

-- The proxy's next answers to a fetch of ID: raw bodies, one each.
local function will_send(...)
  p:task(ID, { life = { ... } })
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  mj = new()
end)

after_each(function()
  if mj then mj:close() end
end)

describe("fetch of a seed", function()
  local PROMPT = "Ghost warriors are weird and mysterious. It had no physical body, and its entire "
    .. "body was like a mist emitting a light blue light. It was wearing a dilapidated black iron "
    .. "armor and holding a dilapidated iron sword. The ghost warrior's body emitted light blue "
    .. "fluorescence, and its appearance was that of a middle-aged man. This is a style of fantasy "
    .. "art. Showing the entire body of the ghost warrior. The background of the picture is in the "
    .. "wilderness at night. --s 550"

  -- The nine buttons of a grid, in their order.
  local function grid(uuid)
    local list = {}
    local function add(label, emoji, job)
      list[#list + 1] = {
        customId = "MJ::JOB::" .. job, emoji = emoji, label = label, type = 2, style = 2,
      }
    end
    for n = 1, 4 do add("U" .. n, "", ("upsample::%d::%s"):format(n, uuid)) end
    add("", "🔄", ("reroll::0::%s::SOLO"):format(uuid))
    for n = 1, 4 do add("V" .. n, "", ("variation::%d::%s"):format(n, uuid)) end
    return list
  end

  local SKU = {
    id = "1735030480754475", action = "IMAGINE", status = "SUCCESS",
    prompt = PROMPT, promptEn = PROMPT, description = "/imagine " .. PROMPT,
    submitTime = 1735030481000, startTime = 1735030482000, finishTime = 1735030513000,
    progress = "100%", cost = 2.0,
    imageUrl = "https://cdn.discordapp.com/attachments/1300017421079285816/1321038423603023894/"
      .. "elijah_henderson7782_Ghost_warriors_are_weird_and_mysterious._I_3182402e-79db-44e7-b9d7-"
      .. "0e63b94539d1.png?ex=676bc867&is=676a76e7&hm=c1a61d04e43df35124b25fb6f1fb3f24ac405c0e032b"
      .. "7fafbd2b6004d3f182f0&",
    buttons = grid "3182402e-79db-44e7-b9d7-0e63b94539d1",
    properties = {
      flags = 0, nonce = "1592587638030860288", botType = "MID_JOURNEY",
      messageId = "1321038423821258774", notifyHook = "", finalPrompt = PROMPT,
      messageHash = "3182402e-79db-44e7-b9d7-0e63b94539d1",
      messageContent = "**" .. PROMPT .. "** - <@1313218194701418518> (relaxed)",
      discordChannelId = "8449902090796547417", discordInstanceId = "5686143011994952502",
      progressMessageId = "1321038298575274054",
    },
    state = "", seed = "",
  }

  local PAWMAAS = {
    id = "1724963337114767", action = "IMAGINE", customId = "", botType = "",
    prompt = "a black dog flying", promptEn = "a black dog flying",
    description = "Submit success", state = "",
    submitTime = 1724963337114, startTime = 1724963338763, finishTime = 1724963365565,
    imageUrl = "http://localhost:3001/mj/image/1724963337114767",
    status = "SUCCESS", progress = "100%", failReason = "",
    buttons = grid "e1a4d7e8-8292-412c-aab0-fce932e90479", maskBase64 = "",
    properties = { finalPrompt = "a black dog flying", finalZhPrompt = "" },
  }

  -- Equal in every field and in the subtype of every number; `same` alone takes 2 for 2.0.
  local function identical(expected, actual, path)
    assert.equal(type(expected), type(actual), path)
    assert.equal(math.type(expected), math.type(actual), path)
    if type(expected) ~= "table" then return assert.equal(expected, actual, path) end
    for key, value in pairs(expected) do
      identical(value, actual[key], path .. "." .. tostring(key))
    end
    for key in next, actual do
      assert(expected[key] ~= nil, path .. "." .. tostring(key) .. " is too much")
    end
  end

  it("gives every field of openapi.sku.vip's", function()
    identical(SKU, assert(mj:fetch(SKU.id)), "sku")
  end)

  it("gives every field of api.pawmaas.com's", function()
    identical(PAWMAAS, assert(mj:fetch(PAWMAAS.id)), "pawmaas")
  end)

  it("gives what decode gives of the file", function()
    identical(assert(mjtask.decode(fixture "sku")), assert(mj:fetch(SKU.id)), "sku")
    identical(assert(mjtask.decode(fixture "pawmaas")), assert(mj:fetch(PAWMAAS.id)), "pawmaas")
  end)

  it("keeps integers integers, floats floats, and null absent", function()
    local task = assert(mj:fetch(SKU.id))
    assert.equal("1735030481000", tostring(task.submitTime))
    assert.equal("2.0", tostring(task.cost))
    assert.equal("0", tostring(task.properties.flags))
    assert.is_nil(task.failReason)
    assert.equal("&", task.imageUrl:sub(-1))
  end)

  it("gives a task with methods", function()
    local task = assert(mj:fetch(SKU.id))
    assert.equal(task.buttons[1], task:button "U1")
    assert.equal(task.buttons[5], task:button "🔄")
    assert.equal("success", task:outcome())
    assert.equal(100, task:percent())
    assert.same({ task.imageUrl }, task:images())
    assert.equal(0x676bc867, task:expires())
  end)

  it("gives one value, so that assert nests", function()
    assert.equal(1, select("#", mj:fetch(SKU.id)))
    assert.equal(SKU.id, assert(mj:fetch(assert(mj:fetch(SKU.id)))).id)
  end)

  it("takes the id as a string, an integer, or a table that has one", function()
    for _, id in ipairs { SKU.id, math.tointeger(SKU.id), { id = SKU.id }, SKU } do
      assert.equal(SKU.id, assert(mj:fetch(id)).id)
    end
  end)

  it("asks once, by GET, at the path of the API, and shows the key", function()
    assert(mj:fetch(SKU.id))
    local log = p:log()
    assert.equal(1, #log)
    assert.equal("GET", log[1].method)
    assert.equal("/mj/task/1735030480754475/fetch", log[1].path)
    assert.equal("", log[1].body)
    assert.equal(KEY, log[1].headers["mj-api-secret"])
    assert.equal(KEY, log[1].headers.authorization)
    assert.equal("application/json", log[1].headers.accept)
  end)
end)

describe("fetch's failures", function()
  it("are two values: nil and an error with all there is to know", function()
    p:set { dialect = "go" }
    assert.equal(2, select("#", mj:fetch(ID)))
    local err = fails_with("not_found", mj:fetch(ID))
    assert.equal(ID, err.id)
    assert.equal(400, err.status)
    assert.equal(4, err.code)
    assert.equal(1, err.attempts)
    assert.is_false(err.retryable)
    assert.is_nil(err.retry_after)
    assert.is_nil(err.task)
    assert.equal("number", type(err.elapsed))
    assert(err.elapsed >= 0)
    assert.equal("string", type(err.message))
  end)

  it("have no field but those of the manual", function()
    local known = {
      kind = true, message = true, retryable = true, status = true, code = true,
      retry_after = true, id = true, attempts = true, elapsed = true, task = true,
    }
    for _, plan in ipairs { "retry_after_decade", "html", "rst", "server_fault", "stall" } do
      p:task(ID, { fault = plan })
      local _, err = mj:fetch(ID, { retries = 0, request_timeout = 0.05 })
      for name in pairs(err) do
        assert(known[name], ("%s: err.%s is in no manual"):format(plan, name))
      end
    end
  end)

  it("count tries and the time they took", function()
    local time = clock.new()
    local other <close> = client.new({ url = p.url, key = KEY }, time)
    p:task(ID, { fault = "html_502" })
    local err = fails_with("http", other:fetch(ID))
    assert.equal(3, err.attempts)
    assert.equal(time.elapsed(), err.elapsed)
    assert(err.elapsed > 0)
  end)

  it("read as one line, whatever the server wrote", function()
    for _, body in ipairs {
      "two\nlines\r\n\tand \27[31mred\27[0m, \0 and \127 and \xFF",
      '{"description":"a\\nb\\u001b[31m\\u202e \\u2028 \\u0000"}',
      "<html>\r\n<body>\r\n</body></html>",
    } do
      p:task(ID, { fault = { status = 500, body = body } })
      local err = fails_with("http", mj:fetch(ID, { retries = 0 }))
      local line = tostring(err)
      assert.is_nil(line:find("[%c\127\xFF]"), line)
      assert.is_nil(line:find("\u{202E}", 1, true), line)
      assert.is_nil(line:find("\u{2028}", 1, true), line)
      assert.is_nil(err.message:find("[%c\127\xFF]"), line)
      assert(line:find("http", 1, true) == 1, line)
      assert(line:find("500", 1, true), line)
      assert(line:find(ID, 1, true), line)
    end
  end)

  it("hold neither a whole body nor the key that it quotes", function()
    local body = ('{"error":"%s %s"}'):format(KEY, ("x"):rep(5000))
    p:task(ID, { fault = { status = 401, body = body } })
    local err = fails_with("auth", mj:fetch(ID))
    assert.is_nil(tostring(err):find(KEY, 1, true), tostring(err))
    assert.is_nil(err.message:find("0123456789abcdef", 1, true), err.message)
    assert(#tostring(err) < 500, #tostring(err))
  end)

  it("leave out the signature of a URL", function()
    local body = '{"description":"see https://cdn.example/a.png?ex=1&hm=signature& now"}'
    p:task(ID, { fault = { status = 500, body = body } })
    local err = fails_with("http", mj:fetch(ID, { retries = 0 }))
    assert.is_nil(err.message:find("signature", 1, true), err.message)
    assert(err.message:find("https://cdn.example/a.png", 1, true), err.message)
  end)

  it("tell retry_after where the server does", function()
    p:task(ID, { fault = { status = 429, headers = { ["Retry-After"] = "7" } } })
    assert.equal(7, fails_with("rate_limited", mj:fetch(ID, { retries = 0 })).retry_after)
  end)
end)

for _, dialect in ipairs(DIALECTS) do
  describe("fetch from a server of the kind " .. dialect, function()
    -- The error of a fetch that the server answers with one of its cases.
    local function error_of(kind, case)
      p:task(ID, { fault = case })
      return fails_with(kind, mj:fetch(ID, { retries = 0 }))
    end

    before_each(function() p:set { dialect = dialect } end)

    it("gives a task", function()
      p:task(ID, { life = "done" })
      local task = assert(mj:fetch(ID))
      assert.equal(ID, task.id)
      assert.equal("success", task:outcome())
      assert.equal(100, task:percent())
      assert.equal(1, #task:images())
      assert.equal("integer", math.type(task.submitTime))
      assert(task.prompt:find("a <black> cat & a dog", 1, true), task.prompt)
    end)

    it("gives a task out of an envelope", function()
      p:set { envelope = true }
      p:task(ID, { life = "done" })
      assert.equal(ID, assert(mj:fetch(ID)).id)
    end)

    it("does not know an unknown id #H3", function()
      local err = fails_with("not_found", mj:fetch "1735030480000009")
      assert.equal("1735030480000009", err.id)
      assert.is_false(err.retryable)
      assert.equal(1, #p:log())
    end)

    it("refuses a wrong key #H2", function()
      p:set { key = "another-key" }
      p:task(ID)
      local err = fails_with("auth", mj:fetch(ID))
      assert.is_false(err.retryable)
      assert.equal(1, #p:log())
    end)

    it("refuses no key at all", function()
      p:set { key = "another-key" }
      p:task(ID)
      local other <close> = client.new({ url = p.url, auth = "none" }, clock.new())
      fails_with("auth", other:fetch(ID))
    end)

    it("takes the right key, as the default sends it", function()
      p:set { key = KEY }
      p:task(ID)
      assert.equal(ID, assert(mj:fetch(ID)).id)
    end)

    it("may have a fault", function()
      local err = error_of("http", "server_fault")
      assert.equal(500, err.status)
      assert.is_true(err.retryable)
    end)

    it("may lack the route", function()
      local err = error_of("unsupported", "no_route")
      assert.equal(404, err.status)
      assert.is_false(err.retryable)
    end)

    it("may be behind a gateway that has trouble", function()
      for _, status in ipairs { 500, 502, 503, 504, 520 } do
        local page = ("<html><head><title>%d</title></head></html>"):format(status)
        local err = error_of("http", { status = status, type = "text/html", body = page })
        assert.equal(status, err.status)
        assert.is_true(err.retryable)
        assert(err.message:find(("<title>%d"):format(status), 1, true), err.message)
      end
    end)

    it("may be hidden by a page that comes with 200 #H1", function()
      local err = error_of("decode", "html")
      assert.equal(200, err.status)
      assert.is_true(err.retryable)
      assert(err.message:find("Welcome to nginx!", 1, true), err.message)
    end)
  end)
end

describe("fetch", function()
  local function error_of(dialect, case, kind)
    p:set { dialect = dialect }
    p:task(ID, { fault = case })
    return fails_with(kind, mj:fetch(ID, { retries = 0 }))
  end

  it("knows who is out of credit", function()
    for _, dialect in ipairs { "net", "go" } do
      assert.is_false(error_of(dialect, "quota", "quota").retryable)
    end
  end)

  it("knows who is asked too often", function()
    for _, dialect in ipairs { "net", "go" } do
      local err = error_of(dialect, "overload", "rate_limited")
      assert.is_true(err.retryable)
      assert.equal(429, err.status)
    end
    assert.equal(30, error_of("go", "overload", "rate_limited").code)
  end)

  it("knows a key that may not do this #H2", function()
    assert.equal(403, error_of("net", "forbidden", "auth").status)
    assert.equal(403, error_of("go", "forbidden", "auth").status)
    assert.equal(403, error_of("go", "channel", "auth").status)
  end)

  it("takes a gateway without a channel for trouble that may pass", function()
    local err = error_of("go", "no_channel", "http")
    assert.equal(503, err.status)
    assert.is_true(err.retryable)
  end)

  it("says what a wrong base URL shows: the web pages of the gateway", function()
    local err = error_of("go", "web_ui", "decode")
    assert(err.message:find("New API", 1, true), err.message)
  end)

  it("names the content type of what is no JSON #H1", function()
    p:task(ID, { fault = "html" })
    local err = fails_with("decode", mj:fetch(ID, { retries = 0 }))
    assert(err.message:find("text/html", 1, true), err.message)
  end)

  it("quotes at most 120 bytes of what is no JSON #H1", function()
    p:task(ID, { fault = { status = 200, body = "<" .. ("y"):rep(4000) .. ">" } })
    local err = fails_with("decode", mj:fetch(ID, { retries = 0 }))
    local _, count = err.message:gsub("yy", "")
    assert(count >= 50 and count <= 60, err.message)
  end)

  it("takes the envelopes that are known, and no other", function()
    local task = ('{"id":"%s","status":"SUCCESS"}'):format(ID)
    for _, around in ipairs { '{"code":0,"data":%s}', '{"code":1,"data":%s}',
      '{"code":200,"msg":"ok","data":%s}', '{"data":%s,"message":"","code":0}' } do
      will_send(around:format(task))
      local got = assert(mj:fetch(ID))
      assert.equal(ID, got.id)
      assert.is_nil(rawget(got, "data"))
    end
    for _, around in ipairs { '{"code":7,"data":%s}', '{"data":%s}', '{"code":0,"task":%s}',
      '{"code":0,"data":{"code":0,"data":%s}}', "[%s]" } do
      will_send(around:format(task))
      local got, err = mj:fetch(ID, { retries = 0 })
      assert.is_nil(got, around)
      assert.is_true(errors.is(err))
    end
  end)

  it("takes a task with a byte order mark before it", function()
    p:task(ID, { life = "done", fault = "bom" })
    assert.equal(ID, assert(mj:fetch(ID)).id)
  end)

  it("takes any status that says success", function()
    local body = ('{"id":"%s","status":"SUCCESS"}'):format(ID)
    for _, status in ipairs { 200, 201, 202, 203, 206 } do
      p:task(ID, { fault = { status = status, body = body } })
      assert.equal(ID, assert(mj:fetch(ID)).id, status)
    end
  end)

  it("finds no task where there is no body #H1 #H3", function()
    for _, status in ipairs { 200, 201, 204, 206 } do
      for _, body in ipairs { "", status ~= 204 and " \r\n\t\n" or nil } do
        p:task(ID, { fault = { status = status, body = body } })
        assert.equal(status, fails_with("not_found", mj:fetch(ID)).status)
      end
    end
  end)

  it("does not take part of a task for a task", function()
    p:task(ID, { life = "done", fault = "truncated" })
    fails_with("decode", mj:fetch(ID, { retries = 0 }))
    p:task(ID, { fault = { status = 206, body = ('{"id":"%s","stat'):format(ID) } })
    fails_with("decode", mj:fetch(ID, { retries = 0 }))
  end)

  it("does not take another task for this one #J7", function()
    for _, body in ipairs { '{"id":"1735030480000002","status":"SUCCESS"}',
      '{"id":1735030480000002,"status":"SUCCESS"}', '{"id":"0","status":"SUCCESS"}',
      '{"code":0,"data":{"id":"1735030480000002"}}' } do
      will_send(body)
      mj:close()
      mj = new()
      local err = fails_with("schema", mj:fetch(ID))
      assert.is_false(err.retryable)
      assert.equal(ID, err.id)
      assert.equal(1, err.attempts)
    end
  end)

  it("asks once more, over a fresh connection, if another task came over a used one", function()
    local other = { status = 200, body = '{"id":"1735030480000002","status":"SUCCESS"}' }
    p:task(ID, { life = "done" })
    p:set { script = { "pass", other, "pass", other, other } }
    assert(mj:fetch(ID))
    assert.equal("SUCCESS", assert(mj:fetch(ID)).status)
    assert.equal(2, p:connections())
    local err = fails_with("schema", mj:fetch(ID))
    assert.is_false(err.retryable)
    assert.equal(2, err.attempts)
    assert.equal(3, p:connections())
  end)

  it("takes a task without an id, and one whose id is an integer", function()
    will_send('{"status":"SUBMITTED"}', ('{"id":%s,"status":"SUCCESS"}'):format(ID))
    assert.equal("SUBMITTED", assert(mj:fetch(ID)).status)
    assert.equal(math.tointeger(ID), assert(mj:fetch(ID)).id)
  end)

  it("finds no task in JSON that is none", function()
    will_send("null")
    assert.equal(200, fails_with("not_found", mj:fetch(ID)).status)
    for _, body in ipairs { "true", "false", "0", "1.5", '"a text"', '""', "[]", "{}", "[[]]",
      '["id"]', '{"id":null}', '{"id":1.5}', '{"id":{}}', '{"status":0}', '{"tasks":[]}' } do
      will_send(body)
      local err = fails_with("schema", mj:fetch(ID))
      assert.is_false(err.retryable)
      assert.equal(1, err.attempts, body)
    end
  end)

  it("refuses misuse before a socket is opened", function()
    local function raises(message, ...)
      local ok, problem = pcall(mj.fetch, mj, ...)
      assert.is_false(ok)
      assert(tostring(problem):find(message, 1, true), problem)
    end
    for _, id in ipairs { "", ".", "..", "a/b", "a b", "a?b", "a%2e", "é", "a\0" } do
      raises("id must be 1 to 128", id)
    end
    raises("id must be 1 to 128", ("x"):rep(129))
    raises("float", 1735030480754475.0)
    raises("id", nil)
    raises("id", true)
    raises("id", {})
    raises("id", -1)
    raises("colour", ID, { colour = true })
    raises("progress", ID, { progress = print })
    raises("key", ID, { key = "other" })
    raises("url", ID, { url = p.other_url })
    raises("timeout", ID, { timeout = "long" })
    raises("timeout", ID, { timeout = 0 / 0 })
    raises("retries", ID, { retries = -1 })
    raises("retries", ID, { retries = 0.5 })
    raises("max_body", ID, { max_body = 0 })
    raises("table", ID, "options")
    assert.equal(0, #p:log())
  end)

  it("blames the caller's line for misuse", function()
    local ok, problem = pcall(function() mj:fetch "a b" end)
    assert.is_false(ok)
    assert(problem:find("fetch_spec.lua:", 1, true), problem)
  end)

  it("raises on a closed client", function()
    mj:close()
    assert.has_error(function() mj:fetch(ID) end)
    mj:close()
  end)
end)

-- One request a value: the field takes each of them in turn.
describe("a field of any shape #J6", function()
  local VALUES = { false, "null", "true", "0", "1.5", '""', '"x"', "[]", "{}", '[null,0,"x",{}]' }
  local FIELDS = {
    "action", "status", "prompt", "promptEn", "description", "state", "submitTime", "startTime",
    "finishTime", "progress", "cost", "imageUrl", "imageUrls", "image_urls", "videoUrl",
    "videoUrls", "video_urls", "failReason", "buttons", "properties", "customId", "botType",
    "maskBase64", "seed", "mode", "code", "data", "error", "message",
  }
  local URL = "https://cdn.example/a.png?ex=676bc867&"

  -- A successful task as text with `field` as given, false: absent.
  local function with(field, value)
    local parts = {}
    local task = {
      id = ('"%s"'):format(ID), status = '"SUCCESS"', progress = '"100%"',
      imageUrl = ('"%s"'):format(URL),
      buttons = '[{"customId":"MJ::JOB::upsample::1::x","label":"U1"}]',
    }
    task[field] = value or nil
    for name, text in pairs(task) do parts[#parts + 1] = ('"%s":%s'):format(name, text) end
    return "{" .. table.concat(parts, ",") .. "}"
  end

  -- Whatever is in the task, its functions answer, and in their own types.
  local function is_sane(task, about)
    local outcome = mjtask.outcome(task)
    assert(outcome == nil or outcome == "success", about)
    local percent = mjtask.percent(task)
    assert(percent == nil or percent >= 0 and percent <= 100, about)
    for _, url in ipairs(mjtask.images(task)) do assert.equal("string", type(url), about) end
    local expires = mjtask.expires(task)
    assert(expires == nil or math.type(expires) == "integer", about)
    for _, button in ipairs(mjtask.buttons(task)) do assert.equal("table", type(button), about) end
    local button, err = mjtask.button(task, "U1")
    assert(button and button.customId or errors.is(err) and err.kind == "no_button", about)
    mjtask.button(task, { kind = "upsample", index = 1 })
    mjtask.button(task, "")
  end

  for _, field in ipairs(FIELDS) do
    it("loses no task: " .. field, function()
      local bodies = {}
      for place, value in ipairs(VALUES) do bodies[place] = with(field, value) end
      will_send(table.unpack(bodies))
      for place, body in ipairs(bodies) do
        local task = assert(mj:fetch(ID))
        assert.equal(ID, task.id, body)
        if not VALUES[place] or VALUES[place] == "null" then
          assert.is_nil(rawget(task, field), body)
        else
          assert.is_not_nil(rawget(task, field), body)
        end
        is_sane(task, body)
        if field ~= "status" then assert.equal("success", mjtask.outcome(task), body) end
      end
    end)
  end

  it("loses no task: id, where there is a status", function()
    -- 0 and "x" are other ids, and so another task
    local kinds = { ["0"] = "schema", ['"x"'] = "schema" }
    for _, value in ipairs(VALUES) do
      will_send(with("id", value))
      local task, err = mj:fetch(ID)
      local about = tostring(value)
      if kinds[value] then
        fails_with(kinds[value], task, err)
      else
        assert(task, err)
        assert.equal("SUCCESS", task.status, about)
        is_sane(task, about)
      end
    end
  end)

  it("passes unknown fields through, and keeps every array a sequence", function()
    will_send('{"new":{"deep":[1,null,2.5,{"x":null}]},"n":12345678901234567,"status":""}')
    local task = assert(mj:fetch(ID))
    assert.same({ deep = { 1, 2.5, {} } }, task.new)
    assert.equal(12345678901234567, task.n)
  end)
end)

describe("decode", function()
  local TASK = '{"id":"1","status":"SUCCESS","failReason":null,"n":9007199254740993,"a":[1,null,2]}'

  local function fails(kind, json, options)
    local err = fails_with(kind, mjtask.decode(json, options))
    assert.is_nil(err.status) -- nobody spoke HTTP
    assert.is_nil(tostring(err):find("%c"), tostring(err))
    return err
  end

  it("gives one value: a task with methods", function()
    assert.equal(1, select("#", mjtask.decode(TASK)))
    local task = assert(mjtask.decode(TASK))
    assert.equal("success", task:outcome())
    assert.equal(9007199254740993, task.n)
    assert.is_nil(rawget(task, "failReason"))
    assert.same({ 1, 2 }, task.a)
  end)

  it("takes the envelope off", function()
    assert.equal("1", assert(mjtask.decode('{"code":0,"message":"成功","data":' .. TASK .. "}")).id)
  end)

  it("keeps what stands for null where it is told to", function()
    local null = {}
    local task = assert(mjtask.decode(TASK, { null = null }))
    assert.equal(null, task.failReason)
    assert.equal(null, task.a[2])
    assert.equal(3, #task.a)
    assert.equal(false, assert(mjtask.decode(TASK, { null = false })).failReason)
  end)

  it("loses no task to a broken character, unless it is told to", function()
    local json = '{"id":"1","prompt":"a \\ud83d b"}'
    assert.equal("a \u{FFFD} b", assert(mjtask.decode(json)).prompt)
    fails("decode", json, { strict = true })
    fails("decode", '{"id":"1","prompt":"\xFF"}', { strict = true })
    assert.equal("1", assert(mjtask.decode(TASK, { strict = true })).id)
  end)

  it("tells what is no JSON, and where", function()
    for json, byte in pairs {
      [""] = 0, ["<html>"] = 0, ['{"id":"1"'] = 9, ['{"id":"1"}x'] = 10, ['{"id":01}'] = 7,
    } do
      local err = fails("decode", json)
      assert(err.message:find("byte " .. byte, 1, true), json .. " gives " .. err.message)
      assert.is_false(err.retryable)
    end
  end)

  it("refuses a document beyond max_body, and takes one that just fits", function()
    assert.equal("1", assert(mjtask.decode(TASK, { max_body = #TASK })).id)
    assert.is_false(fails("too_large", TASK, { max_body = #TASK - 1 }).retryable)
  end)

  it("has the limit of fetch where none is given: 8 MiB", function()
    local head, tail = '{"id":"1","maskBase64":"', '"}'
    local room = 8 * 1024 * 1024 - #head - #tail
    assert.equal("1", assert(mjtask.decode(head .. ("x"):rep(room) .. tail)).id)
    fails("too_large", head .. ("x"):rep(room + 1) .. tail)
  end)

  it("tells what is JSON, but no task", function()
    for _, json in ipairs { "true", "0", '"x"', "[]", "{}", '{"id":null}', '{"code":7}' } do
      fails("schema", json)
    end
  end)

  it("reads the documents that servers send for errors", function()
    fails("not_found", '{"code":404,"msg":"未找到任务","data":null}')
    fails("auth", '{"code":403,"msg":"403 Api Secret 错误"}')
    fails("quota", '{"success":false,"code":-1,"message":"用户今日绘图次数已达上限"}')
    fails("rate_limited", '{"description":"当前分组负载已饱和","type":"upstream_error","code":30}')
  end)

  it("refuses misuse", function()
    local function raises(message, ...)
      local ok, problem = pcall(mjtask.decode, ...)
      assert.is_false(ok)
      assert(problem:find(message, 1, true), problem)
    end
    raises("json: a string expected, got nil")
    raises("json: a string expected, got table", {})
    raises("json: a string expected, got number", 1)
    raises('unknown option "colour"', TASK, { colour = 1 })
    raises('unknown option "timeout"', TASK, { timeout = 1 })
    raises("options.strict", TASK, { strict = 1 })
    raises("options.max_body", TASK, { max_body = "8" })
    raises("options", TASK, true)
  end)
end)

describe("the base URL", function()
  it("is taken with and without a path, a mode and a trailing /mj", function()
    p:task(ID)
    for suffix, path in pairs {
      [""] = "/mj", ["/"] = "/mj", ["/mj"] = "/mj", ["/mj/"] = "/mj",
      ["/mj-fast"] = "/mj-fast/mj", ["/mj-fast/mj"] = "/mj-fast/mj", ["/api"] = "/api/mj",
      ["/api/mj-turbo/mj/"] = "/api/mj-turbo/mj", ["/fast"] = "/fast/mj",
    } do
      local other <close> = new { url = p.url .. suffix }
      assert.equal(ID, assert(other:fetch(ID)).id)
      local log = p:log()
      assert.equal(path .. "/task/" .. ID .. "/fetch", log[#log].path)
    end
  end)
end)

describe("the kinds of error", function()
  -- Design, section 2: whether the same call may well succeed if it is made again.
  local KINDS = {
    dns = true, connect = true, tls = false, timeout = true, stalled = true, http = false,
    auth = false, quota = false, rate_limited = true, not_found = false, redirect = false,
    decode = true, schema = false, too_large = false, busy = true, banned = false,
    rejected = false, unknown_fate = false, failed = false, cancelled = false,
    needs_input = false, no_button = false, ambiguous = false, no_image = false,
    unsupported = false, expired = false, not_image = false, io = false, aborted = false,
    closed = false,
  }

  it("are these", function()
    assert.same(KINDS, errors.kinds)
  end)

  it("hold every one that the core names", function()
    local file <close> = assert(io.open("src/transfer.c"))
    local source = file:read("a")
    local table_of_codes = assert(source:match("} kinds%[%] = (%b{})"))
    local count = 0
    for code, kind in table_of_codes:gmatch('{(CURLE_[%w_]+), "([%w_]+)"}') do
      assert(KINDS[kind] ~= nil, ("%s: %s"):format(code, kind))
      count = count + 1
    end
    local _, rows = table_of_codes:gsub("CURLE_", "")
    assert(count > 10, "the table of codes was not understood")
    assert.equal(rows, count)
    for kind in assert(source:match("} refusals%[%] = (%b{})")):gmatch('{"([%w_]+)"') do
      assert(KINDS[kind] ~= nil, kind)
      count = count + 1
    end
    assert(count > rows, "the kinds of refused bodies were not found")
    local otherwise = source:match('transfer_kind .-return "([%w_]+)";')
    assert(otherwise and KINDS[otherwise] ~= nil, otherwise)
  end)
end)
