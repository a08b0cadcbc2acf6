-- The room of task.lua: outcomes, percent, images, expiry, envelopes, and the methods of a task.
-- Decoded with lua-cjson on purpose: its null is a userdata, as in tasks that scripts decode alone.

local cjson = require "cjson"
local tasks = require "mjtask.task"

local function seed(name)
  local file = assert(io.open("spec/fixtures/" .. name .. ".json", "rb"))
  local text = file:read "a"
  file:close()
  return cjson.decode(text)
end

-- A value of each JSON type, and what other decoders or scripts may leave.
local odd_values = {
  { "null", cjson.null }, { "true", true }, { "false", false }, { "integer", 7 },
  { "negative", -7 }, { "float", 0.5 }, { "nan", 0 / 0 }, { "infinity", math.huge },
  { "empty string", "" }, { "spaces", "   " }, { "string", "nope" }, { "bytes", "\0\27[31m\xff" },
  { "long string", ("9"):rep(100000) }, { "empty array", {} }, { "array", { "a", 1, false } },
  { "array of null", { cjson.null, cjson.null } }, { "rows", { { { "deep" } } } },
  { "object", { url = "x", name = "y", code = 0 } }, { "object of null", { url = cjson.null } },
  { "function", print },
}

describe("task.outcome", function()
  -- Written out by hand from the servers' own lists; task.lua's table must say the same.
  local known = {
    SUCCESS = "success", FAILURE = "failed", CANCEL = "cancelled", MODAL = "needs_input",
    NOT_START = false, SUBMITTED = false, IN_PROGRESS = false, -- the Java line and trueai
    PENDING = false, STARTED = false, RUNNING = false, -- new-api's documents, webman-php
    FINISHED = "success", FAILED = "failed", COMPLETED = "success", -- webman-php, mjdjourney
  }

  it("knows exactly the documented words", function()
    assert.same(known, tasks.statuses)
  end)

  it("takes each word in any case and with spaces around", function()
    for word, outcome in pairs(known) do
      local expected = outcome or nil
      local low = word:lower()
      for _, spelling in ipairs { word, low, " " .. word .. "\r\n", "\t" .. low } do
        assert.equal(expected, tasks.outcome { status = spelling }, spelling)
      end
    end
    assert.equal("success", tasks.outcome { status = "Success" })
    assert.equal("success", tasks.outcome { status = "completed" })
    assert.equal("failed", tasks.outcome { status = "failed" })
  end)

  it("reads '-' and ' ' as '_'", function()
    finally(function() tasks.statuses.IN_PROGRESS = false end)
    tasks.statuses.IN_PROGRESS = "seen"
    for _, spelling in ipairs { "in-progress", "In Progress", "IN_PROGRESS", "in_progress" } do
      assert.equal("seen", tasks.outcome { status = spelling }, spelling)
    end
  end)

  it("takes what it does not know for still running", function()
    for _, word in ipairs {
      "", " ", "UNKNOWN", "SUCCESSFUL", "NOT SUCCESS", "SUCCESS!", "100%", "ſUCCESS", "SUCCESS\0",
      ("SUCCESS"):rep(1000), (" "):rep(1000) .. "SUCCESS",
    } do
      assert.is_nil(tasks.outcome { status = word })
    end
    assert.is_nil(tasks.outcome {})
  end)

  it("is decided by status alone", function()
    assert.is_nil(tasks.outcome { status = "IN_PROGRESS", progress = "100%", imageUrl = "u" })
    assert.is_nil(tasks.outcome { status = cjson.null, progress = "100%", finishTime = 1 })
    assert.equal("failed", tasks.outcome { status = "FAILURE", progress = "100%", imageUrl = "u" })
    assert.equal("failed", tasks.outcome { status = "FAILURE", progress = "" })
    assert.equal("success", tasks.outcome { status = "SUCCESS", progress = "0%", imageUrl = "" })
  end)

  it("does not depend on the host's locale", function()
    local before = os.setlocale()
    finally(function() os.setlocale(before) end)
    for _, name in ipairs { "tr_TR.UTF-8", "tr_TR", "C.UTF-8" } do
      os.setlocale(name) -- where it is installed
      assert.equal("success", tasks.outcome { status = "finished" })
    end
  end)
end)

describe("task.percent", function()
  it("reads every spelling", function()
    local cases = {
      { "46%", 46 }, { "46", 46 }, { 46, 46 }, { 46.0, 46 }, { "46.5%", 46.5 }, { " 46 % ", 46 },
      { "0%", 0 }, { 0, 0 }, { "100%", 100 }, { "046%", 46 }, { "46.%", 46 }, { 0.5, 0.5 },
    }
    for _, case in ipairs(cases) do
      local percent = tasks.percent { status = "IN_PROGRESS", progress = case[1] }
      assert.equal(case[2], percent)
      assert.equal(tostring(case[2]), tostring(percent)) -- 46, not 46.0
    end
  end)

  it("holds what is too much at 100", function()
    for _, progress in ipairs { "101%", "100.5%", 101, 1e300, math.huge, "99999999999999999999" } do
      assert.equal(100, tasks.percent { progress = progress })
    end
  end)

  it("is nil where progress says nothing", function()
    for _, progress in ipairs {
      "", " ", "%", "Paused", "Waiting to start", "fast", "relaxed", "-5%", "+5%", -1, 0 / 0, "nan",
      "0x10", "1e2", "4 6%", "46%%", "46% done", "(46%)", "46,5%", ".5", "４６%", true, false,
      cjson.null, {}, { 46 },
    } do
      local task = { status = "IN_PROGRESS", progress = progress }
      assert.is_nil(tasks.percent(task), tostring(progress))
    end
    assert.is_nil(tasks.percent {})
  end)

  it("is 100 for a success that says nothing, and the wire's own otherwise", function()
    assert.equal(100, tasks.percent { status = "SUCCESS" })
    assert.equal(100, tasks.percent { status = "completed", progress = cjson.null })
    assert.equal(100, tasks.percent { status = "SUCCESS", progress = "fast" })
    assert.equal(93, tasks.percent { status = "SUCCESS", progress = "93%" })
    assert.is_nil(tasks.percent { status = "FAILURE", progress = "" })
    assert.equal(100, tasks.percent { status = "FAILURE", progress = "100%" }) -- as new-api has it
  end)
end)

describe("task.images", function()
  local function images(json)
    return tasks.images(cjson.decode(json))
  end

  it("gives the one picture", function()
    assert.same({ "http://localhost:3001/mj/image/1724963337114767" }, tasks.images(seed "pawmaas"))
    assert.same({ "u" }, images [[{"imageUrl":"u"}]])
    assert.same({ "u" }, images [[{"image_url":"u"}]])
    assert.same({ "u" }, images [[{"imageUrl":"","image_url":"u"}]])
    assert.same({ "u" }, images [[{"imageUrl":"u","image_url":"v"}]])
  end)

  it("gives several where there are several", function()
    assert.same({ "a", "b" },
      images [[{"imageUrl":"grid","imageUrls":[{"url":"a","thumbnail":"t"},{"url":"b"}]}]])
    assert.same({ "a", "b" }, images [[{"imageUrl":"grid","imageUrls":["a","b"]}]])
    assert.same({ "a", "b" }, images [[{"imageUrl":"grid","image_urls":["a","b"]}]])
    assert.same({ "a" }, images [[{"imageUrls":"a"}]])
  end)

  it("goes on where a field has none", function()
    for _, none in ipairs {
      "null", "[]", "{}", '""', "5", "[null]", '[""]', "[5,true]", "[[]]", '[["nested"]]',
      '[{"url":""}]', '[{"url":null,"thumbnail":"t"}]',
    } do
      assert.same({ "grid" }, images(('{"imageUrls":%s,"imageUrl":"grid"}'):format(none)), none)
    end
  end)

  it("puts videos after pictures", function()
    assert.same({ "i", "v", "w" }, images [[{"videoUrls":[{"url":"v","thumbnail":"t"},{"url":"w"}],
      "videoUrl":"v","imageUrl":"i"}]])
    assert.same({ "v" }, images [[{"video_urls":["v"]}]])
    assert.same({ "i", "v" }, images [[{"imageUrl":"i","videoUrl":"v","videoUrls":null}]])
    assert.same({ "v" }, images [[{"imageUrl":"","video_url":"v","videoUrl":""}]])
  end)

  it("gives no URL twice", function()
    assert.same({ "a", "b" }, images [[{"imageUrls":["a","b","a"],"videoUrls":["b"]}]])
  end)

  it("is empty where there is none", function()
    assert.same({}, images [[{"status":"SUCCESS","imageUrl":"","action":"SHORTEN"}]])
    assert.same({}, images [[{"imageUrl":null,"videoUrl":null,"imageUrls":null}]])
    assert.same({}, tasks.images {})
  end)
end)

describe("task.expires", function()
  it("reads Discord's ex", function()
    local task = seed "sku"
    assert.equal(1735116903, tasks.expires(task))
    assert.equal(1735116903, tasks.expires(task.imageUrl))
    assert.equal("integer", math.type(tasks.expires(task)))
    assert.is_nil(tasks.expires(seed "pawmaas"))
  end)

  it("finds it anywhere in the query, by its exact name", function()
    for _, url in ipairs {
      "u?ex=676bc867", "u?is=1&ex=676BC867&hm=2", "u?ex=676bc867&", "?&&ex=676bc867",
      "u?ex=676bc867#f", "u?ex=&ex=676bc867", "u?ex=zz&ex=676bc867", "u?ex=00000000676bc867",
      "u?ex=676bc867&ex=1",
    } do
      assert.equal(1735116903, tasks.expires(url), url)
    end
    for _, url in ipairs {
      "", "u", "ex=676bc867", "u&ex=676bc867", "u#?ex=676bc867", "u?a=b#&ex=676bc867",
      "u?EX=676bc867", "u?hex=676bc867", "u?ex2=676bc867", "u?ex", "u?ex=", "u?ex= 676bc867",
      "u?ex=0x6", "u?ex=-6", "u?ex=6g", "u?ex=00000000676bc8670", "u?ex=ffffffffffffffff",
      "u?x=ex=676bc867", "u?%65x=676bc867",
    } do
      assert.is_nil(tasks.expires(url), url)
    end
    assert.equal(math.maxinteger, tasks.expires "u?ex=7fffffffffffffff")
  end)

  it("takes a task's first URL that has one", function()
    assert.equal(16, tasks.expires { imageUrls = { "a", "b?ex=10", "c?ex=11" } })
    assert.equal(17, tasks.expires { imageUrl = "a", videoUrl = "v?ex=11" })
    assert.is_nil(tasks.expires {})
  end)
end)

describe("task.is_task and task.unwrap", function()
  it("asks for a string or integer id, or a string status", function()
    for _, value in ipairs {
      { id = "1" }, { id = 1 }, { status = "SUCCESS" }, { status = "" }, seed "sku",
      { id = cjson.null, status = "MODAL" },
    } do
      assert.is_true(tasks.is_task(value))
    end
    for _, value in ipairs {
      {}, { id = 1.5 }, { id = true }, { id = cjson.null, status = cjson.null }, { { id = "1" } },
      { status = 404, error = "Not Found" }, { code = 4, description = "task_no_found " },
      setmetatable({}, { __index = { id = "1" } }), "id", 1, true, cjson.null,
    } do
      assert.is_false(tasks.is_task(value))
    end
    assert.is_false(tasks.is_task(nil))
  end)

  it("takes one envelope off", function()
    local task = { taskId = "3f2a", status = "completed" }
    assert.equal(task, tasks.unwrap { code = 0, message = "成功", data = task })
    assert.equal(task, tasks.unwrap { code = 1, data = task })
    assert.equal(task, tasks.unwrap { code = 200, msg = "ok", data = task })
  end)

  it("leaves everything else as it is", function()
    local inner = { id = "1" }
    for _, value in ipairs {
      inner, {}, { data = inner }, { code = 4, data = inner }, { code = "0", data = inner },
      { code = cjson.null, data = inner }, { code = 0, data = cjson.null }, { code = 0, data = {} },
      { code = 0, data = { inner } }, { code = 0, data = { code = 0, data = inner } },
      { id = "outer", code = 0, data = inner }, "text", 5, false, cjson.null,
      { code = 404, msg = "未找到任务", data = cjson.null },
    } do
      assert.equal(value, tasks.unwrap(value))
    end
    assert.is_nil(tasks.unwrap(nil))
  end)
end)

describe("task.adopt", function()
  it("gives the methods and changes no field", function()
    local task = seed "sku"
    local before = seed "sku"
    assert.equal(task, tasks.adopt(task))
    assert.same(before, setmetatable(tasks.adopt(task), nil))
    tasks.adopt(task)
    assert.equal("success", task:outcome())
    assert.equal(100, task:percent())
    assert.same({ task.imageUrl }, task:images())
    assert.equal(1735116903, task:expires())
    assert.equal(task.buttons[1], task:button "U1")
    assert.matches("^mjtask%.task: ", tostring(task))
  end)

  it("has no method named as a field of the wire", function()
    local task = tasks.adopt {}
    for _, field in ipairs {
      "id", "action", "status", "prompt", "promptEn", "description", "state", "submitTime",
      "startTime", "finishTime", "progress", "imageUrl", "imageUrls", "failReason", "buttons",
      "properties", "customId", "botType", "maskBase64", "seed", "cost", "videoUrl", "videoUrls",
      "mode", "proxy", "url", "height", "width", "size", "version", "language", "displays",
    } do
      assert.is_nil(task[field], field)
    end
  end)

  it("never takes a method for a field, nor a field for a method", function()
    assert.same({}, tasks.images(tasks.adopt {}))
    assert.is_nil(tasks.percent(tasks.adopt {}))
    local task = tasks.adopt { status = "SUCCESS", imageUrl = "u", outcome = 1, images = 2 }
    assert.equal("success", tasks.outcome(task))
    assert.equal(100, tasks.percent(task))
    assert.same({ "u" }, tasks.images(task))
  end)

  it("is not needed by the functions, and an inherited field is none", function()
    local parent = { status = "SUCCESS", progress = "5%", imageUrl = "u" }
    local task = setmetatable({}, { __index = parent })
    assert.is_nil(tasks.outcome(task))
    assert.is_nil(tasks.percent(task))
    assert.same({}, tasks.images(task))
  end)
end)

describe("task.failure", function()
  it("says how the task ended, and carries it", function()
    local task = { id = "42", status = "FAILURE", failReason = "banned", description = "/imagine" }
    local err = tasks.failure(task)
    assert.equal("failed", err.kind)
    assert.equal(task, err.task)
    assert.equal("42", err.id)
    assert.matches("failed: banned", err.message, 1, true)
    assert.is_nil(err.message:find("/imagine", 1, true))
    assert.equal("cancelled", tasks.failure({ status = "CANCEL" }).kind)
    assert.equal("failed", tasks.failure({ status = "failed" }).kind)
  end)

  it("says what a modal waits for", function()
    local err = tasks.failure { id = 42, status = "MODAL", description = "窗口等待" }
    assert.equal("needs_input", err.kind)
    assert.equal(42, err.id)
    assert.matches("submit/modal", err.message, 1, true)
    assert.matches("modal = {", err.message, 1, true)
  end)

  it("says so where no reason was given", function()
    local task = { status = "FAILURE", failReason = " " }
    assert.matches("no reason given$", tasks.failure(task).message)
    task.description = "Submit success"
    assert.matches('no reason given %(description "Submit success"%)', tasks.failure(task).message)
  end)

  it("makes control characters visible and cuts long reasons", function()
    local text = "\27[2J\0\r\n" .. ("x"):rep(10000)
    local err = tasks.failure { status = "FAILURE", failReason = text, description = text }
    assert.is_nil(err.message:find "%c")
    assert.is_true(#err.message < 1000)
  end)

  it("is nil for a task that runs or succeeded", function()
    for _, status in ipairs { "SUCCESS", "IN_PROGRESS", "", "whatever", cjson.null } do
      assert.is_nil(tasks.failure { status = status })
    end
    assert.is_nil(tasks.failure {})
  end)
end)

describe("any value in any field", function()
  local fields = {
    "id", "status", "progress", "imageUrl", "imageUrls", "image_url", "image_urls", "videoUrl",
    "videoUrls", "video_url", "video_urls", "failReason", "description", "buttons", "properties",
    "code", "data",
  }
  local outcomes = { success = true, failed = true, cancelled = true, needs_input = true }

  local function check(task, what)
    local outcome = tasks.outcome(task)
    assert.is_true(outcome == nil or outcomes[outcome], what)
    local percent = tasks.percent(task)
    assert.is_true(percent == nil or (percent >= 0 and percent <= 100), what)
    for _, url in ipairs(tasks.images(task)) do
      assert.is_true(type(url) == "string" and url ~= "", what)
    end
    local time = tasks.expires(task)
    assert.is_true(time == nil or math.type(time) == "integer", what)
    local err = tasks.failure(task)
    if err then
      assert.equal(outcome, err.kind, what)
      local id = err.id
      assert.is_true(id == nil or type(id) == "string" or math.type(id) == "integer", what)
    else
      assert.is_true(outcome == nil or outcome == "success", what)
    end
    assert.is_boolean(tasks.is_task(task), what)
    assert.is_table(tasks.unwrap(task), what)
  end

  for _, status in ipairs { "SUCCESS", "FAILURE", "MODAL", "IN_PROGRESS" } do
    it("never raises: " .. status, function()
      for _, field in ipairs(fields) do
        for _, odd in ipairs(odd_values) do
          for _, value in ipairs { odd[2], { odd[2] }, { url = odd[2] }, { { url = odd[2] } } } do
            local task = { id = "1", status = status }
            task[field] = value
            check(task, field .. " " .. odd[1])
          end
          local task = seed "sku"
          task.status, task[field] = status, odd[2]
          check(tasks.adopt(task), field .. " " .. odd[1])
        end
        local task = seed "pawmaas"
        task.status, task[field] = status, nil
        check(task, field .. " absent")
      end
    end)
  end
end)

describe("misuse", function()
  it("raises at the caller's line and names the argument", function()
    local this_file = debug.getinfo(1, "S").short_src
    for _, name in ipairs { "outcome", "percent", "images", "failure", "expires" } do
      for _, value in ipairs { cjson.null, 5, true, print } do
        local ok, message = pcall(function()
          local result = tasks[name](value)
          return result
        end)
        assert.is_false(ok, name)
        assert.equal(this_file, message:match("^(.-):%d+: task"), message)
      end
    end
    assert.has_error(function() tasks.outcome "SUCCESS" end)
    assert.has_error(function() tasks.expires(nil) end)
  end)
end)
