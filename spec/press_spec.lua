-- Presses from end to end: which button is meant, what is submitted for it, and what is refused
-- before anything is sent.

local cjson = require "cjson"
local client = require "mjtask.client"
local clock = require "support.clock"
local mjtask = require "mjtask"
local proxy = require "support.proxy"
local fails_with = require "support.fails_with"

local KEY = "sk-0123456789abcdef"
local ID = "1735030480000001"
local SKU = "1735030480754475"
local UUID = "e1a4d7e8-8292-412c-aab0-fce932e90479"
local WITH_BUTTONS = { "plus", "net", "go", "ts" }

local p, mj

local function new(options)
  options = options or {}
  options.url = options.url or p.url
  options.key = options.key or KEY
  return client.new(options, clock.new())
end

-- The submits since the last look: { path =, body = } each.
local function submits()
  local found = {}
  for _, request in ipairs(p:log()) do
    if request.method == "POST" then
      found[#found + 1] = {
        name = request.path:match("[^/]+$"), body = cjson.decode(request.body),
      }
    end
  end
  return found
end

local function task_of(life, id)
  p:task(id or ID, { life = life or "done" })
  return assert(mj:fetch(id or ID))
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  p:set { dialect = "net" }
  mj = new()
end)

after_each(function()
  mj:close()
end)

describe("press", function()
  for _, dialect in ipairs(WITH_BUTTONS) do
    it("submits the button's customId with the task's id: " .. dialect, function()
      p:set { dialect = dialect, submit = { life = "short" } }
      local receipt = assert(mj:press(task_of(), "U2"))
      assert.same({
        { name = "action", body = { taskId = ID, customId = "MJ::JOB::upsample::2::" .. UUID } },
      }, submits())
      assert.not_equal(ID, receipt.id)
      assert.equal(receipt.id, assert(mj:wait(receipt)).id)
    end)

    it("opens the windows that it opens: " .. dialect, function()
      p:set { dialect = dialect }
      local task = task_of "upscaled_done"
      for _, label in ipairs { "Custom Zoom", "Vary (Region)" } do
        local err = fails_with("needs_input", mj:press(task, label))
        assert.truthy(err.message:find("modal", 1, true))
        assert.not_equal(ID, err.id)
        assert.equal("MODAL", assert(mj:fetch(err.id)).status)
      end
    end)

    it("answers the window, and the same task goes on: " .. dialect, function()
      p:set { dialect = dialect, submit = { life = "short" } }
      local task = task_of "upscaled_done"
      local receipt = assert(mj:press(task, "Custom Zoom", {
        modal = { prompt = "a cat --zoom 1.5" },
      }))
      local sent = submits()
      assert.equal(2, #sent)
      assert.equal("action", sent[1].name)
      assert.equal("modal", sent[2].name)
      assert.same({ taskId = receipt.id, prompt = "a cat --zoom 1.5" }, sent[2].body)
      assert.equal("SUCCESS", assert(mj:wait(receipt)).status)
    end)
  end

  it("takes a label, an emoji, a customId, and a kind with its index", function()
    local task = task_of()
    for query, job in pairs {
      U1 = "upsample::1::" .. UUID, u4 = "upsample::4::" .. UUID,
      [" V3 "] = "variation::3::" .. UUID,
      ["🔄"] = "reroll::0::" .. UUID .. "::SOLO", ["🔄\u{FE0F}"] = "reroll::0::" .. UUID .. "::SOLO",
      ["MJ::JOB::variation::2::" .. UUID] = "variation::2::" .. UUID,
      [{ kind = "upsample", index = 3 }] = "upsample::3::" .. UUID,
      [{ kind = "reroll" }] = "reroll::0::" .. UUID .. "::SOLO",
    } do
      assert(mj:press(task, query))
      local sent = submits()
      assert.equal("MJ::JOB::" .. job, sent[#sent].body.customId)
    end
  end)

  it("fetches the task first when it is given an id", function()
    p:task(ID, { life = "done" })
    for _, what in ipairs { ID, 1735030480000001, { id = ID }, { id = 1735030480000001 } } do
      local before = #p:log()
      assert(mj:press(what, "U1"))
      local log = p:log()
      assert.equal(before + 2, #log)
      assert.equal("GET", log[before + 1].method)
      assert.equal("/mj/task/" .. ID .. "/fetch", log[before + 1].path)
      assert.equal(ID, cjson.decode(log[before + 2].body).taskId)
    end
  end)

  it("names the task it was asked for, where the server's answer has no id", function()
    p:task(ID, { life = { { id = proxy.absent, status = "SUCCESS", buttons = {
      { customId = "MJ::JOB::upsample::1::u", label = "U1" },
    } } }, bare = true })
    mj:press(ID, "U1")
    local sent = submits()
    assert.same({ customId = "MJ::JOB::upsample::1::u", taskId = ID }, sent[1].body)
  end)

  it("fetches what a receipt stands for", function()
    p:set { submit = { life = "done" } }
    local receipt = assert(mj:submit("imagine", { prompt = "a cat" }))
    assert(mj:press(receipt, "V1"))
    local sent = submits()
    assert.equal(receipt.id, sent[2].body.taskId)
  end)

  it("fetches nothing when it is given a task", function()
    local task = task_of()
    local before = #p:log()
    assert(mj:press(task, "U1"))
    assert.equal(before + 1, #p:log())
  end)

  it("needs no metatable, and takes an id that is a number", function()
    p:task(ID, { life = "done" })
    assert(mj:press({
      id = 1735030480000001, status = "SUCCESS",
      buttons = { { customId = "MJ::JOB::upsample::1::" .. UUID, label = "U1" } },
    }, "U1"))
    assert.same({ { name = "action", body = {
      taskId = ID, customId = "MJ::JOB::upsample::1::" .. UUID,
    } } }, submits())
  end)

  it("presses a button of a webhook's task", function()
    local file <close> = assert(io.open("spec/fixtures/sku.json", "rb"))
    local task = assert(mjtask.decode(file:read "a"))
    assert(mj:press(task, "U1"))
    local sent = submits()
    assert.equal(SKU, sent[1].body.taskId)
    assert.equal(task:button("U1").customId, sent[1].body.customId)
  end)

  it("refuses without any request what is not done, failed, or waits", function()
    for life, kind in pairs {
      stuck = "no_button", stuck_submitted = "no_button", unswept = "no_button",
      null_status = "no_button", window = "needs_input",
    } do
      local task = task_of(life)
      local before = #p:log()
      local err = fails_with(kind, mj:press(task, "U1"))
      assert.equal(task, err.task)
      assert.equal(ID, err.id)
      assert.equal(0, err.attempts)
      assert.equal(before, #p:log())
    end
    for status, kind in pairs {
      FAILURE = "failed", CANCEL = "cancelled", MODAL = "needs_input", [""] = "no_button",
      IN_PROGRESS = "no_button", ODD = "no_button",
    } do
      local task = {
        id = ID, status = status,
        buttons = { { customId = "MJ::JOB::upsample::1::x", label = "U1" } },
      }
      local before = #p:log()
      fails_with(kind, mj:press(task, "U1"))
      assert.equal(before, #p:log())
    end
  end)

  it("says why it refuses a task that is fetched and not done", function()
    p:task(ID, { life = "stuck" })
    local err = fails_with("no_button", mj:press(ID, "U1"))
    assert.truthy(err.message:find("IN_PROGRESS", 1, true))
    assert.equal(0, #submits())
    p:task(ID, { life = "failure" })
    for _ = 1, 3 do assert(mj:fetch(ID)) end
    err = fails_with("failed", mj:press(ID, "U1"))
    assert.truthy(err.message:find("Banned prompt detected", 1, true))
    fails_with("not_found", mj:press("99", "U1"))
    assert.equal(0, #submits())
  end)

  it("refuses a task without buttons", function()
    p:set { dialect = "java" }
    for _, task in ipairs {
      task_of(), { id = ID, status = "SUCCESS" }, { id = ID, status = "SUCCESS", buttons = {} },
      { id = ID, status = "SUCCESS", buttons = "U1" },
      { id = ID, status = "SUCCESS", buttons = { { label = "U1" } } },
    } do
      local before = #p:log()
      fails_with("no_button", mj:press(task, "U1"))
      assert.equal(before, #p:log())
    end
  end)

  it("names the buttons there are", function()
    local err = fails_with("no_button", mj:press(task_of(), "U5"))
    assert.truthy(err.message:find("U1", 1, true))
    assert.truthy(err.message:find("🔄", 1, true))
    fails_with("no_button", mj:press(task_of(), ""))
    assert.equal(0, #submits())
  end)

  it("guesses nothing where two fit", function()
    local err = fails_with("ambiguous", mj:press(task_of "upscaled_done", "🪄"))
    assert.truthy(err.message:find("Vary (Subtle)", 1, true))
    fails_with("ambiguous", mj:press(task_of(), { kind = "upsample" }))
    assert.equal(0, #submits())
  end)

  it("says what the server says to the press", function()
    local task = task_of()
    for case, kind in pairs {
      queue_full = "busy", banned = "banned", no_task = "not_found", quota = "quota",
      rst = "unknown_fate", html_502 = "unknown_fate", overload = "rate_limited",
    } do
      p:set { submit = case }
      local err = fails_with(kind, mj:press(task, "U1"))
      assert.equal(ID, err.id)
    end
    p:set { submit = {} }
    fails_with("rejected", mj:press({ id = ID, status = "SUCCESS",
      buttons = { { customId = "MJ::JOB::upsample::1::another", label = "U1" } } }, "U1"))
  end)

  it("is sent once, over a connection of its own", function()
    local task = task_of()
    p:set { submit = "rst" }
    fails_with("unknown_fate", mj:press(task, "U1", { retries = 5 }))
    assert.equal(1, #submits())
    local log = p:log()
    assert.not_equal(log[1].connection, log[2].connection)
  end)

  it("sends a mask, and an empty prompt where none is given", function()
    local task = task_of "upscaled_done"
    local mask = mjtask.data_url "mask"
    assert(mj:press(task, "Vary (Region)", { modal = { mask = mask } }))
    local sent = submits()
    assert.equal("", sent[2].body.prompt)
    assert.equal(mask, sent[2].body.maskBase64)
  end)

  it("does not answer a window that nobody opened", function()
    assert(mj:press(task_of(), "U1", { modal = { prompt = "a dog" } }))
    assert.equal(1, #submits())
  end)

  it("cannot answer a window without the id of its task", function()
    p:set { submit = { status = 200, body = '{"code":21,"description":"窗口等待"}' } }
    fails_with("needs_input", mj:press(task_of(), "U1", { modal = { prompt = "a dog" } }))
    assert.equal(1, #submits())
  end)

  it("tells when the answer to the modal is lost", function()
    local task = task_of "upscaled_done"
    p:set { script = { "pass", "rst" } }
    fails_with("unknown_fate", mj:press(task, "Custom Zoom", { modal = { prompt = "x" } }))
    assert.equal(2, #submits())
    p:set { script = { "pass", "queue_full" } }
    fails_with("busy", mj:press(task, "Custom Zoom", { modal = { prompt = "x" } }))
  end)

  it("names a wrong argument", function()
    local task = task_of()
    local before = #p:log()
    for _, row in ipairs {
      { "id", nil, "U1" }, { "id", true, "U1" }, { "id", {}, "U1" }, { "id", "", "U1" },
      { "id", "a/b", "U1" }, { "id", 1.7e15, "U1" }, { "id", { status = "SUCCESS" }, "U1" },
      { "id", { id = "../x", status = "SUCCESS" }, "U1" },
      { "query", task, nil }, { "query", task, 1 }, { "query.kind", task, {} },
      { "query.index", task, { kind = "upsample", index = "1" } },
      { "query.label", task, { label = "U1" } },
      { "options", task, "U1", 7 }, { "colour", task, "U1", { colour = 1 } },
      { "modal", task, "U1", { modal = "a prompt" } },
      { "modal", task, "U1", { modal = { text = "x" } } },
      { "modal", task, "U1", { modal = { prompt = 7 } } },
      { "overwrite", task, "U1", { overwrite = true } },
    } do
      local ok, problem = pcall(function() mj:press(row[2], row[3], row[4]) end)
      assert.is_false(ok, row[1])
      assert.truthy(problem:find(row[1], 1, true), problem)
      assert.truthy(problem:find("press_spec.lua:", 1, true), problem)
    end
    assert.equal(before, #p:log())
  end)
end)

describe("press where servers have no buttons", function()
  local providers = require "mjtask.providers"
  local task

  before_each(function()
    p:set { dialect = "java" }
    providers.original = { url = p.url, auth = "mj-api-secret", change = true }
    mj:close()
    mj = client.new({ provider = "original", key = KEY }, clock.new())
    task = task_of()
  end)

  after_each(function()
    providers.original = nil
  end)

  local QUERIES = {
    U1 = { "UPSCALE", 1 }, U4 = { "UPSCALE", 4 }, V2 = { "VARIATION", 2 },
    [" v3 "] = { "VARIATION", 3 },
    ["🔄"] = { "REROLL" }, ["🔄\u{FE0F}"] = { "REROLL" }, reroll = { "REROLL" },
    [{ kind = "upsample", index = 2 }] = { "UPSCALE", 2 },
    [{ kind = "variation", index = 4 }] = { "VARIATION", 4 }, [{ kind = "reroll" }] = { "REROLL" },
  }

  it("submits a change", function()
    for query, row in pairs(QUERIES) do
      local receipt = assert(mj:press(task, query))
      local sent = submits()
      assert.same({ name = "change", body = { taskId = ID, action = row[1], index = row[2] } },
        sent[#sent])
      assert.truthy(receipt.id)
    end
  end)

  it("refuses what cannot be meant, without any request", function()
    local before = #p:log()
    for _, query in ipairs {
      "U5", "U0", "U", "Vary (Subtle)", "", "U1 V1", { kind = "upsample_v7_2x_subtle", index = 1 },
      { kind = "upsample", index = 5 }, { kind = "upsample", index = 0 },
      { kind = "upsample", index = -1 }, { kind = "variation", index = 7 },
    } do
      fails_with("no_button", mj:press(task, query))
    end
    for _, kind in ipairs { "upsample", "variation" } do
      fails_with("ambiguous", mj:press(task, { kind = kind }))
    end
    assert.equal(before, #p:log())
  end)

  it("is no change where the task has buttons", function()
    assert(mj:press({
      id = ID, status = "SUCCESS",
      buttons = { { customId = "MJ::JOB::upsample::1::" .. UUID, label = "U1" } },
    }, "U1") == nil)
    assert.equal("action", submits()[1].name)
  end)

  it("refuses a task that is not done", function()
    local before = #p:log() + 1
    fails_with("no_button", mj:press(task_of "stuck", "U1"))
    assert.equal(before, #p:log())
  end)

  it("is no change where the provider's data does not say so", function()
    local plain <close> = new()
    local before = #p:log()
    fails_with("no_button", plain:press(task, "U1"))
    assert.equal(before, #p:log())
  end)
end)
