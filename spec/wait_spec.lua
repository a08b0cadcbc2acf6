-- Waiting: when it looks, what it tells, and that it ends. Minutes pass on a clock of our own.

local client = require "mjtask.client"
local clock = require "support.clock"
local core = require "mjtask.core"
local mjtask = require "mjtask"
local proxy = require "support.proxy"
local fails_with = require "support.fails_with"

local KEY = "sk-0123456789abcdef"
local ID, OTHER = "1735030480000001", "1735030480000002"
local SKU, PAWMAAS = "1735030480754475", "1724963337114767"
local DIALECTS = { "java", "net", "go", "ts", "php" }
local ALMOST_ONE = 1 - 2 ^ -53
local SLACK = 1 -- seconds on promised limits

local p, mj, time
local looks -- seconds at which a request went out

-- A client under a clock of its own that notes its looks.
local function new(options, own_clock)
  if mj then mj:close() end
  time, looks = own_clock or clock.new(), {}
  local given = { url = p.url, key = KEY }
  for name, value in pairs(options or {}) do given[name] = value end
  given.trace = given.trace or function(event)
    if event.event == "request" then looks[#looks + 1] = time.elapsed() end
  end
  mj = client.new(given, time)
  return mj
end

local function near(expected, actual, about)
  assert(math.abs(expected - actual) < 1e-6,
    ("%s: %.9g expected, got %.9g"):format(about or "?", expected, actual))
end

local function looked_at(expected)
  for place, seconds in ipairs(expected) do
    assert(looks[place], ("there is no look %d"):format(place))
    near(seconds, looks[place], "look " .. place)
  end
  assert.equal(#expected, #looks)
end

-- Nothing is left of any call.
local function idle()
  assert.is_nil((next(mj.schedule.operations)))
  assert.equal(0, mj.schedule.inflight)
  assert.equal(0, mj.schedule.timers.count)
end

local function drawing(percent)
  return { status = "IN_PROGRESS", progress = percent .. "%" }
end

local DONE = { status = "SUCCESS", progress = "100%" }

local function times(plan, count)
  local list = {}
  for n = 1, count do list[n] = plan end
  return list
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  new()
end)

after_each(function()
  if mj and not mj.closed then idle() end
  mj:close()
  mj = nil
end)

describe("a life", function()
  local TEN_MINUTES = 600
  -- How a wait ends, in how many looks; for ever: with the time.
  local LIVES = {
    success = { "success", 10 }, short = { "success", 3 }, done = { "success", 1 },
    failure = { "failed", 4 }, foreign_failed = { "failed", 3 }, cancel = { "cancelled", 3 },
    modal = { "needs_input", 2 }, stuck = { "timeout" }, stuck_submitted = { "timeout" },
    churning = { "timeout" }, unswept = { "success", 4 }, null_status = { "success", 4 },
    no_status = { "success", 3 }, foreign = { "success", 4 }, completed = { "success", 2 },
    backwards = { "success", 5 }, no_image = { "success", 2 },
  }

  for _, dialect in ipairs(DIALECTS) do
    for life, row in pairs(LIVES) do
      local ending, count = table.unpack(row)

      it(("ends a wait well: %s, %s"):format(life, dialect), function()
        p:set { dialect = dialect }
        p:task(ID, { life = life })
        local task, err = mj:wait(ID)
        if ending == "success" then
          assert(task, tostring(err))
          assert.is_nil(err)
          assert.equal(ID, task.id)
          assert.equal("success", task:outcome())
          assert.equal(100, task:percent())
        else
          fails_with(ending, task, err)
          assert.equal(ID, err.id)
          assert.equal(ID, err.task.id)
          assert.equal(#looks, err.attempts)
          assert.equal(time.elapsed(), err.elapsed)
        end
        if ending == "timeout" then
          assert.equal(TEN_MINUTES, time.elapsed())
          assert.is_nil(mjtask.outcome(err.task))
          assert(#looks > 10 and #looks < 40, #looks)
        else
          assert.equal(count, #looks)
          assert(time.elapsed() < TEN_MINUTES)
        end
        assert.equal(#looks, #p:log())
      end)
    end
  end

  it("may end with a seed, byte for byte", function()
    for id, name in pairs { [SKU] = "sku", [PAWMAAS] = "pawmaas" } do
      p:task(id, { life = name })
      assert.same(assert(mj:fetch(id)).status, "NOT_START")
      local task = assert(mj:wait(id))
      local file <close> = assert(io.open("spec/fixtures/" .. name .. ".json", "rb"))
      assert.same(assert(mjtask.decode(file:read("a"))), task)
    end
  end)

  it("may come in an envelope", function()
    p:set { envelope = true }
    p:task(ID, { life = "short" })
    assert.equal(ID, assert(mj:wait(ID)).id)
  end)

  it("that failed says why", function()
    for _, dialect in ipairs(DIALECTS) do
      p:set { dialect = dialect }
      p:task(ID, { life = "failure" })
      local err = fails_with("failed", mj:wait(ID))
      assert(err.message:find("Banned prompt detected", 1, true), err.message)
      assert.equal("Banned prompt detected", err.task.failReason)
      assert.is_false(err.retryable)
    end
  end)

  it("that failed without a reason does not invent one", function()
    p:task(ID, { life = "failure", fields = { failReason = proxy.null } })
    local err = fails_with("failed", mj:wait(ID))
    assert(err.message:find("no reason given", 1, true), err.message)
  end)

  it("that was cancelled, or needs input, is told apart from a failure", function()
    p:task(ID, { life = "cancel" })
    assert.equal("CANCEL", fails_with("cancelled", mj:wait(ID)).task.status)
    p:task(ID, { life = "modal" })
    local err = fails_with("needs_input", mj:wait(ID))
    assert.equal("MODAL", err.task.status)
    assert(err.message:find("modal", 1, true), err.message)
  end)

  it("is not ended by its progress", function()
    p:task(ID, { life = { { status = "IN_PROGRESS", progress = "100%" }, drawing(100), DONE } })
    assert.equal("SUCCESS", assert(mj:wait(ID)).status)
    assert.equal(3, #looks)
    p:task(ID, { life = { { status = "FAILURE", progress = "100%" } } })
    fails_with("failed", mj:wait(ID))
  end)

  it("may have ended long ago", function()
    assert.equal(SKU, assert(mj:wait(SKU)).id)
    looked_at { 0 }
  end)
end)

describe("wait", function()
  it("gives one value, so that assert nests", function()
    assert.equal(1, select("#", mj:wait(SKU)))
    assert.equal(SKU, assert(mj:wait(assert(mj:wait(assert(mj:fetch(SKU)))))).id)
  end)

  it("gives two where it fails", function()
    p:task(ID, { life = "failure" })
    assert.equal(2, select("#", mj:wait(ID)))
  end)

  it("refuses misuse before it asks", function()
    local function raises(message, ...)
      local ok, problem = pcall(mj.wait, mj, ...)
      assert.is_false(ok)
      assert(tostring(problem):find(message, 1, true), problem)
    end
    raises("id", "a/b")
    raises("id")
    raises("colour", ID, { colour = 1 })
    raises("progress", ID, { progress = "bar" })
    raises("interval", ID, { interval = 0 })
    raises("interval", ID, { interval = "5" })
    raises("max_interval", ID, { max_interval = -1 })
    raises("stall", ID, { stall = 0 })
    raises("stall", ID, { stall = true })
    raises("timeout", ID, { timeout = 0 })
    raises("timeout", ID, { timeout = math.huge })
    raises("allow_http", ID, { allow_http = true })
    assert.equal(0, #p:log())
  end)
end)

describe("the looks #L13", function()
  -- Waits for a task that never moves, for a while.
  local function stuck(options, life)
    p:task(ID, { life = life or "stuck" })
    options = options or {}
    options.timeout = options.timeout or 150
    return fails_with("timeout", mj:wait(ID, options))
  end

  -- 5 grows by 1.4 up to 30.
  local GROWING = { 0, 5, 12, 21.8, 35.52, 54.728, 81.6192, 111.6192, 141.6192 }

  it("begin at once and grow rarer while nothing moves", function()
    stuck()
    looked_at(GROWING)
  end)

  it("grow rarer though the picture's URL is another each time", function()
    stuck(nil, "churning")
    looked_at(GROWING)
  end)

  it("grow rarer whatever else changes, but status and progress", function()
    local states = {}
    for n = 1, 20 do
      states[n] = { status = "IN_PROGRESS", progress = "85%", description = "look " .. n,
        finishTime = n, prompt = "p" .. n, state = "s" .. n }
    end
    stuck(nil, states)
    looked_at(GROWING)
  end)

  it("are frequent again when the progress has moved", function()
    p:task(ID, { life = { drawing(0), drawing(0), drawing(0), drawing(15), drawing(15), DONE } })
    assert(mj:wait(ID))
    looked_at { 0, 5, 12, 21.8, 26.8, 33.8 }
  end)

  it("are frequent again when the status has moved", function()
    local queued = { status = "NOT_START", progress = "0%" }
    local sent = { status = "SUBMITTED", progress = "0%" }
    p:task(ID, { life = { queued, queued, queued, sent, sent, DONE } })
    assert(mj:wait(ID))
    looked_at { 0, 5, 12, 21.8, 26.8, 33.8 }
  end)

  it("are frequent again when the progress goes backwards", function()
    p:task(ID, { life = { drawing(46), drawing(46), drawing(31), drawing(31), DONE } })
    assert(mj:wait(ID))
    looked_at { 0, 5, 12, 17, 24 }
  end)

  it("keep the interval while every one finds news", function()
    p:task(ID, { life = "success" })
    assert(mj:wait(ID))
    looked_at { 0, 5, 10, 15, 20, 25, 30, 35, 40, 45 }
  end)

  it("begin with the interval of the provider", function()
    new { provider = "pawmaas" }
    stuck()
    looked_at { 0, 15, 36, 65.4, 95.4, 125.4 }
    new { provider = "sku" }
    stuck()
    looked_at(GROWING)
  end)

  it("begin with the interval that is asked for, of the client and of the call", function()
    new { provider = "pawmaas", interval = 10 }
    stuck { timeout = 40 }
    looked_at { 0, 10, 24 }
    looks = {}
    local before = time.elapsed()
    stuck { timeout = 8, interval = 2 }
    looked_at { before, before + 2, before + 4.8 }
  end)

  it("are never further apart than max_interval", function()
    stuck { max_interval = 8, timeout = 40 }
    looked_at { 0, 5, 12, 20, 28, 36 }
  end)

  it("do not grow rarer than an interval beyond max_interval", function()
    stuck { interval = 60, max_interval = 30, timeout = 150 }
    looked_at { 0, 60, 120 }
  end)

  it("are spread by a quarter to either side", function()
    for chance, factor in pairs { [0] = 0.75, [0.25] = 0.875, [0.5] = 1, [ALMOST_ONE] = 1.25 } do
      new(nil, clock.new(chance))
      stuck { timeout = 20 }
      near(0, looks[1])
      near(5 * factor, looks[2], chance)
      near((5 + 7) * factor, looks[3], chance)
    end
  end)

  it("are spread anew each time", function()
    local chances = { 0, ALMOST_ONE, 0.5 }
    local drawn = 0
    new(nil, clock.new(function()
      drawn = drawn + 1
      return chances[drawn] or 0.5
    end))
    p:task(ID, { life = "success" })
    assert(mj:wait(ID))
    near(3.75, looks[2])
    near(3.75 + 6.25, looks[3])
    near(3.75 + 6.25 + 5, looks[4])
  end)
end)

describe("the time limit #L13", function()
  it("ends a wait, with the last task", function()
    p:task(ID, { life = { drawing(15), drawing(46), drawing(46) } })
    local err = fails_with("timeout", mj:wait(ID, { timeout = 60 }))
    assert.equal(60, time.elapsed())
    assert.equal(60, err.elapsed)
    assert.equal("46%", err.task.progress)
    assert.is_true(err.retryable)
    assert(err.message:find("60 s", 1, true), err.message)
  end)

  it("is 600 s by default, and 60 s for a fetch has no bearing on it", function()
    p:task(ID, { life = "stuck" })
    fails_with("timeout", mj:wait(ID))
    assert.equal(600, time.elapsed())
  end)

  it("can be set for a client", function()
    new { timeout = 100 }
    p:task(ID, { life = "stuck" })
    fails_with("timeout", mj:wait(ID))
    assert.equal(100, time.elapsed())
  end)

  it("is not exceeded by a sleep", function()
    p:task(ID, { life = "stuck" })
    fails_with("timeout", mj:wait(ID, { timeout = 1, interval = 500, max_interval = 900 }))
    assert.equal(1, time.elapsed())
  end)

  it("bounds a look that hangs, on the real clock", function()
    mj:close()
    mj = mjtask.new { url = p.url, key = KEY, interval = 0.1, timeout = 0.3 }
    p:task(ID, { life = "stuck", script = { "pass", "stall", "stall", "stall" } })
    local before = core.now()
    local err = fails_with("timeout", mj:wait(ID))
    assert(core.now() - before < 0.3 + SLACK)
    assert.equal("85%", err.task.progress)
  end)

  -- A clock that oversleeps: the first sleep of `first` times, by 1000 s, or so many.
  local function oversleeping(first, chance, seconds)
    local own = clock.new(chance)
    local jump = own.jump
    own.jump = function(due)
      first = first - 1
      jump(first >= 0 and due + (seconds or 1000) or due)
    end
    return own
  end

  it("that passed while nobody stepped leaves one last look: success", function()
    new(nil, oversleeping(1))
    p:task(ID, { life = { drawing(46), DONE } })
    assert.equal("SUCCESS", assert(mj:wait(ID)).status)
    looked_at { 0, 1005 }
  end)

  it("that passed while nobody stepped leaves one last look: failure", function()
    new(nil, oversleeping(1))
    p:task(ID, { life = { drawing(46), { status = "FAILURE" } } })
    fails_with("failed", mj:wait(ID))
    looked_at { 0, 1005 }
  end)

  for chance, about in pairs { [0.5] = "", [0] = ", by the shortest interval" } do
    it("that passed while nobody stepped leaves one last look, not two" .. about, function()
      new(nil, oversleeping(1, chance))
      p:task(ID, { life = { drawing(46), drawing(62), drawing(78) } })
      local err = fails_with("timeout", mj:wait(ID))
      assert.equal(2, #looks)
      assert.equal("62%", err.task.progress)
    end)
  end

  it("that passed a moment before a late step leaves no further look", function()
    for _, late in ipairs { 0.01, 0.9 } do
      new(nil, oversleeping(1, nil, late))
      p:task(ID, { life = { drawing(46), DONE } })
      fails_with("timeout", mj:wait(ID, { timeout = 5.005 })) -- a look would have been due at 5
      assert.equal(1, #looks)
      assert.near(5 + late, time.elapsed(), 1e-6)
    end
  end)

  it("that passes again and again still ends it", function()
    new(nil, oversleeping(1000, 0))
    p:task(ID, { life = "stuck" })
    fails_with("timeout", mj:wait(ID))
    assert.equal(2, #looks)
  end)
end)

describe("stall", function()
  it("ends a wait when nothing has changed for so long", function()
    p:task(ID, { life = "stuck" })
    local err = fails_with("stalled", mj:wait(ID, { stall = 20 }))
    assert.equal(20, time.elapsed())
    assert.equal("85%", err.task.progress)
    assert.is_true(err.retryable)
    assert(err.message:find("20 s", 1, true), err.message)
    looked_at { 0, 5, 12, 20 }
  end)

  it("is off by default", function()
    p:task(ID, { life = "stuck" })
    fails_with("timeout", mj:wait(ID))
  end)

  it("is not fooled by a picture's URL", function()
    p:task(ID, { life = "churning" })
    fails_with("stalled", mj:wait(ID, { stall = 20 }))
  end)

  it("begins anew with each change", function()
    p:task(ID, { life = {
      drawing(0), drawing(0), drawing(0), drawing(15), drawing(15), drawing(15), DONE,
    } })
    assert.equal("SUCCESS", assert(mj:wait(ID, { stall = 22 })).status)
    assert(time.elapsed() > 22)
  end)

  it("takes success for what it is, if it comes with the last look", function()
    p:task(ID, { life = { drawing(0), drawing(0), drawing(0), DONE } })
    assert.equal("SUCCESS", assert(mj:wait(ID, { stall = 20 })).status)
    assert.equal(20, time.elapsed())
  end)

  it("can be set for a client", function()
    new { stall = 7 }
    p:task(ID, { life = "stuck_submitted" })
    fails_with("stalled", mj:wait(ID))
    assert.equal(7, time.elapsed())
  end)
end)

describe("a look that fails #L13", function()
  -- A task whose next fetches get these plans, then succeed.
  local function scripted(...)
    local script = {}
    for _, part in ipairs { ... } do
      for _, plan in ipairs(type(part) == "table" and part[1] and part or { part }) do
        script[#script + 1] = plan
      end
    end
    p:task(ID, { life = { drawing(46), drawing(46), drawing(46), DONE }, script = script })
  end

  before_each(function() new { retries = 0 } end)

  it("once does not end the wait, whatever it was", function()
    for _, plan in ipairs {
      "html_502", "html", "rst", "empty", "short", "stall", "truncated", "gzip_bad", "garbage",
      { status = 429, body = "" }, { status = 503, body = "" }, "retry_after_decade",
    } do
      scripted("pass", plan)
      local options = plan == "stall" and { request_timeout = 0.25 } or nil
      assert.equal("SUCCESS", assert(mj:wait(ID, options)).status)
    end
  end)

  it("as the first one does not end it either", function()
    scripted("html_502")
    assert.equal("SUCCESS", assert(mj:wait(ID)).status)
  end)

  it("four times in a row does not end it", function()
    scripted("pass", times("html_502", 4))
    assert.equal("SUCCESS", assert(mj:wait(ID)).status)
  end)

  it("five times in a row ends it", function()
    scripted("pass", times("html_502", 5))
    local err = fails_with("http", mj:wait(ID))
    assert.equal(6, err.attempts)
    assert.equal(502, err.status)
    assert.equal("46%", err.task.progress)
    assert.equal(6, #p:log())
  end)

  it("five times in a row ends it also if no look was any good", function()
    scripted(times("html", 5))
    local err = fails_with("decode", mj:wait(ID))
    assert.is_nil(err.task)
    assert.equal(5, #p:log())
  end)

  it("more than five times, but not in a row, does not end it", function()
    scripted("pass", times("html_502", 4), "pass", times("rst", 4), "pass", times("html", 4))
    assert.equal("SUCCESS", assert(mj:wait(ID)).status)
  end)

  it("has its retries first", function()
    new()
    scripted(times("html_502", 15))
    assert.equal(15, fails_with("http", mj:wait(ID)).attempts)
    assert.equal(15, #p:log())
  end)

  it("is followed by the next one after the interval, not at once", function()
    scripted("pass", "html_502", "html_502")
    assert(mj:wait(ID))
    assert(looks[3] - looks[2] >= 5 * 0.75 - 1e-6, looks[3] - looks[2])
    assert(looks[4] - looks[3] >= 5 * 0.75 - 1e-6, looks[4] - looks[3])
  end)

  it("for want of time ends it as what it is: timeout", function()
    p:task(ID, { life = "stuck", script = { "pass", table.unpack(times("html_502", 50)) } })
    local err = fails_with("timeout", mj:wait(ID, { timeout = 7 }))
    assert.equal("85%", err.task.progress)
  end)

  it("with Retry-After puts off the next one", function()
    local limited = { status = 429, headers = { ["Retry-After"] = "100" } }
    scripted("pass", limited)
    assert.equal("SUCCESS", assert(mj:wait(ID)).status)
    near(5, looks[2])
    near(105, looks[3])
  end)

  for about, row in pairs {
    ["a refused key"] = { "unauthorized", "auth" },
    ["a task that is gone"] = { "unknown", "not_found" },
    ["an empty answer"] = { "empty_body", "not_found" },
    ["no such route"] = { "no_route", "unsupported" },
    ["no credit"] = { "quota", "quota" },
    ["a redirect"] = { "redirect_302", "redirect" },
    ["no task"] = { { status = 200, body = "[]" }, "schema" },
    ["a body too large"] = { "chunk_big", "too_large" },
    ["a bad request"] = { { status = 400, body = "" }, "http" },
  } do
    it("for good ends it at once: " .. about, function()
      scripted("pass", row[1])
      local err = fails_with(row[2], mj:wait(ID, { max_body = 65536 }))
      assert.is_false(err.retryable)
      assert.equal(2, err.attempts)
      assert.equal("46%", err.task.progress)
      looked_at { 0, 5 }
    end)
  end

  it("ends if another task comes over a fresh connection, too", function()
    local other = { status = 200, body = '{"id":"2"}' }
    new { retries = 2 }
    scripted("pass", other, other)
    local err = fails_with("schema", mj:wait(ID))
    assert.is_false(err.retryable)
    assert.equal(3, err.attempts)
    assert.equal(2, p:connections())
  end)
end)

describe("progress", function()
  local told

  local function tell(task, percent)
    told[#told + 1] = { task.status, percent or "none" }
  end

  before_each(function() told = {} end)

  it("is told of the first look and of each change", function()
    p:task(ID, { life = "success" })
    assert(mj:wait(ID, { progress = tell }))
    assert.same({
      { "NOT_START", 0 }, { "SUBMITTED", 0 }, { "IN_PROGRESS", 0 }, { "IN_PROGRESS", 15 },
      { "IN_PROGRESS", 31 }, { "IN_PROGRESS", 46 }, { "IN_PROGRESS", 62 }, { "IN_PROGRESS", 78 },
      { "IN_PROGRESS", 93 }, { "SUCCESS", 100 },
    }, told)
  end)

  it("gets a number, or nil where the server says none", function()
    p:set { dialect = "java" }
    p:task(ID, { life = "success" })
    assert(mj:wait(ID, { progress = tell }))
    assert.same({ "NOT_START", "none" }, told[1])
    assert.same({ "SUBMITTED", 0 }, told[2])
    assert.equal("integer", math.type(told[4][2]))
  end)

  it("is told what goes backwards", function()
    p:task(ID, { life = "backwards" })
    assert(mj:wait(ID, { progress = tell }))
    local percents = {}
    for place, pair in ipairs(told) do percents[place] = pair[2] end
    assert.same({ 0, 46, 31, 62, 100 }, percents)
  end)

  it("is told nothing while nothing changes", function()
    for _, life in ipairs { "stuck", "churning" } do
      told = {}
      p:task(ID, { life = life })
      mj:wait(ID, { progress = tell })
      assert.equal(1, #told)
    end
  end)

  it("is told of a failure before the wait ends, and of nothing after", function()
    p:task(ID, { life = "failure" })
    fails_with("failed", mj:wait(ID, { progress = tell }))
    assert.same({ "FAILURE", 100 }, told[#told])
    local count = #told
    assert(mj:fetch(SKU))
    assert.equal(count, #told)
  end)

  it("gets the task itself, with methods", function()
    local last
    local function keep(task) last = task end
    p:task(ID, { life = "short" })
    local task = assert(mj:wait(ID, { progress = keep }))
    assert.equal(task, last)
    assert.equal("success", last:outcome())
  end)

  it("may spoil the task that it gets; the wait ends well", function()
    p:task(ID, { life = "short" })
    local task = assert(mj:wait(ID, { progress = function(got)
      for name in pairs(got) do got[name] = nil end
    end }))
    assert.is_nil(next(task))
  end)

  it("is called once for each change, though a look was repeated", function()
    p:task(ID, { life = "short", script = { "html_502", "pass", "rst", "pass" } })
    assert(mj:wait(ID, { progress = tell }))
    assert.equal(3, #told)
  end)

  it("has its returns ignored", function()
    p:task(ID, { life = "short" })
    assert.equal("SUCCESS", assert(mj:wait(ID, { progress = function() return false end })).status)
  end)
end)

describe("a progress function #I5", function()
  before_each(function() p:task(ID, { life = "short" }) end)

  -- The client is as good as new.
  local function still_works()
    idle()
    p:task(ID, { life = "short" })
    assert.equal("SUCCESS", assert(mj:wait(ID)).status)
  end

  it("that raises ends the wait: the error comes to the caller, with its line", function()
    local function boom() error("boom") end
    local ok, problem = pcall(mj.wait, mj, ID, { progress = boom })
    assert.is_false(ok)
    assert(problem:find("wait_spec.lua:%d+: boom"), problem)
    assert(problem:find("stack traceback:.-wait_spec.lua:%d+: in function"), problem)
    still_works()
  end)

  it("that raises later ends the wait then", function()
    local calls = 0
    local ok, problem = pcall(mj.wait, mj, ID, { progress = function()
      calls = calls + 1
      if calls == 3 then error("at the last look") end
    end })
    assert.is_false(ok)
    assert(problem:find("at the last look", 1, true), problem)
    assert.equal(3, calls)
    still_works()
  end)

  it("that raises is not called again", function()
    local calls = 0
    pcall(mj.wait, mj, ID, { progress = function()
      calls = calls + 1
      error("boom")
    end })
    still_works()
    assert.equal(1, calls)
  end)

  it("may raise a value of its own", function()
    local value = {}
    local ok, problem = pcall(mj.wait, mj, ID, { progress = function() error(value) end })
    assert.is_false(ok)
    assert.equal(value, problem)
    still_works()
  end)

  it("may raise nil", function()
    local ok = pcall(mj.wait, mj, ID, { progress = function() error(nil) end })
    assert.is_false(ok)
    still_works()
  end)

  it("must not yield, and is told so", function()
    local co = coroutine.create(function()
      return mj:wait(ID, { progress = function() coroutine.yield("out") end })
    end)
    local ok, problem = coroutine.resume(co)
    assert.is_false(ok)
    assert(problem:find("a callback must not yield", 1, true), problem)
    assert(problem:find("wait_spec.lua", 1, true), problem)
    assert.equal("dead", coroutine.status(co))
    coroutine.close(co)
    still_works()
  end)

  it("must not yield out of the main coroutine either", function()
    local ok, problem = pcall(mj.wait, mj, ID, { progress = function() coroutine.yield() end })
    assert.is_false(ok)
    assert(problem:find("yield", 1, true), problem)
    still_works()
  end)

  it("may run coroutines of its own", function()
    local sum = 0
    assert(mj:wait(ID, { progress = function()
      for n in coroutine.wrap(function() for n = 1, 3 do coroutine.yield(n) end end) do
        sum = sum + n
      end
    end }))
    assert.equal(18, sum)
  end)

  it("may fetch", function()
    local fetched = {}
    local task = assert(mj:wait(ID, { progress = function()
      fetched[#fetched + 1] = assert(mj:fetch(SKU)).id
    end }))
    assert.equal(ID, task.id)
    assert.same({ SKU, SKU, SKU }, fetched)
  end)

  it("may fetch what fails", function()
    local kinds = {}
    assert(mj:wait(ID, { progress = function()
      local _, err = mj:fetch("1735030480000099")
      kinds[#kinds + 1] = err.kind
    end }))
    assert.same({ "not_found", "not_found", "not_found" }, kinds)
  end)

  it("may wait, for another task and for the same", function()
    p:task(OTHER, { life = "success" })
    local ended, inner = {}, {}
    local task = assert(mj:wait(ID, { progress = function()
      ended[#ended + 1] = assert(mj:wait(OTHER, { progress = function(_, percent)
        inner[#inner + 1] = percent
      end })).status
      ended[#ended + 1] = assert(mj:wait(ID)).status
    end }))
    assert.equal("SUCCESS", task.status)
    assert.equal(#ended, select(2, table.concat(ended, ","):gsub("SUCCESS", "")))
    assert.same({ 0, 0, 0, 15, 31, 46, 62, 78, 93, 100 }, table.move(inner, 1, 10, 1, {}))
  end)

  it("may nest waits deeply", function()
    local deepest = 0
    local function nested(depth)
      deepest = math.max(deepest, depth)
      if depth == 30 then return end
      assert(mj:wait(SKU, { progress = function() nested(depth + 1) end }))
    end
    nested(0)
    assert.equal(30, deepest)
  end)

  it("that nests waits without end gets an error, and the client works", function()
    local depth = 0
    local function nested()
      depth = depth + 1
      assert(mj:wait(SKU, { progress = nested }))
    end
    local ok, problem = pcall(nested)
    assert.is_false(ok)
    assert(tostring(problem):find("stack overflow", 1, true), problem)
    assert(depth > 30, depth)
    still_works()
  end)

  it("may raise out of a nested wait: each level is left", function()
    local ok, problem = pcall(mj.wait, mj, ID, { progress = function()
      mj:wait(SKU, { progress = function() error("deep down") end })
    end })
    assert.is_false(ok)
    assert(problem:find("deep down", 1, true), problem)
    still_works()
  end)

  it("may take an error of a nested wait, and the outer one goes on", function()
    local caught = 0
    assert(mj:wait(ID, { progress = function()
      local ok = pcall(mj.wait, mj, SKU, { progress = function() error("deep down") end })
      caught = caught + (ok and 0 or 1)
    end }))
    assert.equal(3, caught)
  end)

  it("may close the client: the wait ends as closed", function()
    local err = fails_with("closed", mj:wait(ID, { progress = function() mj:close() end }))
    assert.equal(ID, err.id)
    assert.is_false(err.retryable)
    assert.has_error(function() mj:fetch(ID) end)
  end)

  it("may close the client with a request under way", function()
    new { trace = function(event)
      if event.event == "request" then mj:close() end
    end }
    fails_with("closed", mj:wait(ID))
  end)

  it("may close the client in a nested wait: both end as closed", function()
    local inner
    local outer = fails_with("closed", mj:wait(ID, { progress = function()
      p:task(OTHER, { life = "short" })
      inner = fails_with("closed", mj:wait(OTHER, { progress = function() mj:close() end }))
    end }))
    assert.equal(ID, outer.id)
    assert.equal(OTHER, inner.id)
  end)

  it("may collect garbage", function()
    assert(mj:wait(ID, { progress = function()
      collectgarbage()
      collectgarbage()
    end }))
  end)

  it("may collect garbage when nobody else holds the client", function()
    local own = clock.new()
    local task = assert(client.new({ url = p.url, key = KEY }, own):wait(ID, {
      progress = function() collectgarbage() end,
    }))
    assert.equal("SUCCESS", task.status)
  end)

  it("may collect clients whose calls were left by an error", function()
    for _ = 1, 5 do
      local other = client.new({ url = p.url, key = KEY }, clock.new())
      pcall(other.wait, other, ID, { progress = function() error("boom") end })
    end
    assert(mj:wait(SKU, { progress = function() collectgarbage() end }))
  end)
end)

describe("a plain coroutine #L4", function()
  it("may fetch and wait", function()
    p:task(ID, { life = "short" })
    local co = coroutine.wrap(function()
      local task = assert(mj:fetch(SKU))
      coroutine.yield(task.id)
      coroutine.yield(assert(mj:wait(ID)).id)
      return mj:fetch("1735030480000099")
    end)
    assert.equal(SKU, co())
    assert.equal(ID, co())
    fails_with("not_found", co())
  end)

  it("gets the error of its callback", function()
    p:task(ID, { life = "short" })
    local co = coroutine.create(function()
      mj:wait(ID, { progress = function() error("boom") end })
    end)
    local ok, problem = coroutine.resume(co)
    coroutine.close(co)
    assert.is_false(ok)
    assert(problem:find("boom", 1, true), problem)
  end)

  -- Lua runs the <close> of a coroutine that died only in coroutine.close, which few call.
  it("that dies of an error in its callback leaves nothing under way", function()
    p:task(ID, { life = "short" })
    local calls = 0
    local co = coroutine.create(function()
      mj:wait(ID, { progress = function()
        calls = calls + 1
        error("boom")
      end })
    end)
    assert.is_false((coroutine.resume(co)))
    local left = next(mj.schedule.operations) ~= nil
    local ok, problem = pcall(mj.wait, mj, SKU)
    coroutine.close(co)
    assert.is_false(left, "the wait of a dead coroutine goes on")
    assert.is_true(ok, problem)
    assert.equal(1, calls)
  end)

  it("may die between calls, and the client lives on", function()
    for _ = 1, 20 do
      coroutine.wrap(function() assert(mj:fetch(SKU)) end)()
    end
    collectgarbage()
    assert.equal(SKU, assert(mj:fetch(SKU)).id)
    assert.equal(1, p:connections())
  end)

  it("may be left in the middle of a callback by an error of another", function()
    p:task(ID, { life = "short" })
    local other = coroutine.create(function() error("another") end)
    assert(mj:wait(ID, { progress = function() coroutine.resume(other) end }))
  end)
end)

-- What clients of such servers, and the waits of well-known libraries, got wrong.
describe("regressions of others", function()
  it("lobe-midjourney-webui: a loop that knows only SUCCESS polls a FAILURE for ever", function()
    p:task(ID, { life = "failure" })
    fails_with("failed", mj:wait(ID))
    assert.equal(4, #p:log())
  end)

  it("Dooy: one network error, or one page in place of JSON, ends the polling unseen", function()
    p:task(ID, { life = "short", script = { "pass", "rst", "pass", "html", "pass" } })
    assert.equal("SUCCESS", assert(mj:wait(ID, { retries = 0 })).status)
    p:task(ID, { fault = "html" })
    fails_with("decode", mj:wait(ID, { retries = 0 }))
  end)

  it("Runway: CANCELLED is unknown to one of two loops, and waited out", function()
    for _, word in ipairs { "CANCEL", "cancel" } do
      p:task(ID, { life = { drawing(0), { status = word } } })
      fails_with("cancelled", mj:wait(ID))
    end
    assert(time.elapsed() < 60)
  end)

  it("Runway: the deadline is looked at only after a poll, by a clock that jumps", function()
    p:task(ID, { life = "stuck" })
    fails_with("timeout", mj:wait(ID, { timeout = 42 }))
    assert.equal(42, time.elapsed())
  end)

  it("replicate-js: a sleep of NaN between retries is a retry storm", function()
    for _, chance in ipairs { 0.3, ALMOST_ONE } do
      new(nil, clock.new(chance))
      p:task(ID, { fault = "html_502" })
      fails_with("http", mj:fetch(ID, { retries = 4 }))
      assert.equal(4, #time.sleeps)
      for _, seconds in ipairs(time.sleeps) do assert(seconds > 0 and seconds <= 8, seconds) end
    end
  end)

  it("openai: no overall limit, endless on a status nobody knows", function()
    for _, word in ipairs { "incomplete", "ARCHIVED", "" } do
      new()
      p:task(ID, { life = { { status = word, progress = "0%" } } })
      local err = fails_with("timeout", mj:wait(ID))
      assert.equal(600, time.elapsed())
      assert.equal(word, err.task.status)
    end
  end)

  it("openai: the interval is latched at the first answer", function()
    p:task(ID, { life = {
      drawing(0), drawing(0), drawing(0), drawing(0), drawing(15), drawing(31), DONE,
    } })
    assert(mj:wait(ID))
    looked_at { 0, 5, 12, 21.8, 35.52, 40.52, 45.52 }
  end)

  it("erictik: the call never returns when the job fails", function()
    for _, reason in ipairs { "Banned prompt detected", "", proxy.null, 7 } do
      p:task(ID, { life = { drawing(0), { status = "FAILURE", failReason = reason } } })
      fails_with("failed", mj:wait(ID))
    end
  end)

  it("novicezk: an unknown task is an empty answer with 200, which is no JSON", function()
    p:set { dialect = "java" }
    local err = fails_with("not_found", mj:wait(ID))
    assert.equal(200, err.status)
    assert.equal(1, #p:log())
    fails_with("not_found", mj:fetch(ID))
  end)

  it("trueai: MODAL and CANCEL hang a wait that knows two endings", function()
    p:set { dialect = "net" }
    p:task(ID, { life = "modal" })
    fails_with("needs_input", mj:wait(ID))
    p:task(ID, { life = "cancel" })
    fails_with("cancelled", mj:wait(ID))
    assert(#p:log() <= 5)
  end)

  it("conductor: a half-open socket in one request defeats the overall limit", function()
    mj:close()
    mj = mjtask.new { url = p.url, key = KEY }
    for _, fault in ipairs { "stall", "stall_body", { fault = "drip", every = 0.02 } } do
      p:task(ID, { fault = fault })
      local before = core.now()
      fails_with("timeout", mj:wait(ID, { timeout = 0.2 }))
      assert(core.now() - before < 0.2 + SLACK)
    end
  end)
end)
