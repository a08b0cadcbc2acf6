-- What is tried again, how often and when. No backoff costs time here: the clock is a fake.

local client = require "mjtask.client"
local clock = require "support.clock"
local core = require "mjtask.core"
local proxy = require "support.proxy"
local fails_with = require "support.fails_with"

local KEY = "sk-0123456789abcdef"
local ID, OTHER = "1735030480000001", "1735030480000002"
local ALMOST_ONE = 1 - 2 ^ -53 -- the largest number that random() gives
local SLACK = 1 -- seconds on promised limits

local p, mj, time

-- A client of the proxy under a clock of its own; `chance` is what random() gives.
local function new(options, chance)
  if mj then mj:close() end
  options = options or {}
  options.url = options.url or p.url
  options.key = options.key or KEY
  time = clock.new(chance)
  mj = client.new(options, time)
  return mj
end

local function near(expected, actual, about)
  assert(math.abs(expected - actual) < 1e-6,
    ("%s%.9g expected, got %.9g"):format(about and about .. ": " or "", expected, actual))
end

-- A plan: 429 with this Retry-After.
local function limited(value)
  return { status = 429, headers = { ["Retry-After"] = tostring(value) } }
end

-- The connection each logged request came on.
local function connections()
  local numbers = {}
  for place, request in ipairs(p:log()) do numbers[place] = request.connection end
  return numbers
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  new()
end)

after_each(function()
  mj:close()
  mj = nil
end)

describe("a try that failed #H2 #H4 #N6", function()
  local FAST = { request_timeout = 0.25 } -- and yet enough for an answer from a busy machine

  -- What the server does, the kind it ends as, options of the call.
  local AGAIN = {
    { "is reset", "rst", "connect" },
    { "is reset in the head", "rst_head", "connect" },
    { "is reset in the body", "rst_body", "connect" },
    { "is closed without an answer", "empty", "connect" },
    { "is cut short", "short", "connect" },
    { "is cut short in a chunk", "short_chunk", "connect" },
    { "lacks the last chunk", "no_last_chunk", "connect" },
    { "is met with silence", "stall", "timeout", FAST },
    { "is met with silence in the head", "stall_head", "timeout", FAST },
    { "is met with silence in the body", "stall_body", "timeout", FAST },
    { "is a page", "html", "decode" },
    { "is half a document", "truncated", "decode" },
    { "is two documents", "twice", "decode" },
    { "has half its gzip", "gzip_truncated", "decode" },
    { "has bad gzip", "gzip_bad", "decode" },
    { "is no HTTP", "garbage", "http" },
    { "is HTTP/0.9", "http09", "http" },
    { "has a NUL in its head", "nul_header", "http" },
    { "is a page of nginx", "html_502", "http" },
  }
  for _, status in ipairs { 408, 425, 500, 502, 503, 504, 520, 599 } do
    table.insert(AGAIN, { "has status " .. status, { status = status, body = "" }, "http" })
  end
  table.insert(AGAIN, { "has status 429", { status = 429, body = "" }, "rate_limited" })

  for _, row in ipairs(AGAIN) do
    local about, plan, kind, options = table.unpack(row)

    it("is made again when it " .. about, function()
      p:task(ID, { fault = plan })
      local err = fails_with(kind, mj:fetch(ID, options))
      assert.is_true(err.retryable)
      assert.equal(3, err.attempts)
      assert.equal(3, #p:log())
    end)

    it("may do better the next time, when it " .. about, function()
      p:task(ID, { life = "done", script = { plan, plan } })
      assert.equal(ID, assert(mj:fetch(ID, options and FAST)).id)
      assert.equal(3, #p:log())
    end)
  end

  it("is made again when nobody listens", function()
    new { url = proxy.closed_url() }
    local err = fails_with("connect", mj:fetch(ID))
    assert.is_true(err.retryable)
    assert.equal(3, err.attempts)
  end)

  local NEVER = {
    { "is a redirect", "redirect_302", "redirect" },
    { "is too large", { fault = "big", mib = 1 }, "too_large" },
    { "is larger than it says", { fault = "chunk_big", mib = 1 }, "too_large" },
    { "is no task", { status = 200, body = "[]" }, "schema" },
    { "is another task", { status = 200, body = '{"id":"2"}' }, "schema" },
    { "is empty", "empty_body", "not_found" },
    { "is null", "plain_null", "not_found" },
    { "has status 204", { status = 204, body = "" }, "not_found" },
  }
  for status, kind in pairs {
    [400] = "http", [401] = "auth", [402] = "quota", [403] = "auth", [404] = "any",
    [405] = "unsupported", [410] = "http", [418] = "http", [422] = "http", [501] = "unsupported",
  } do
    table.insert(NEVER, { "has status " .. status, { status = status, body = "{}" }, kind })
  end

  for _, row in ipairs(NEVER) do
    local about, plan, kind = table.unpack(row)
    it("is not made again when it " .. about, function()
      p:task(ID, { fault = plan })
      local task, err = mj:fetch(ID, { max_body = 65536 })
      fails_with(kind == "any" and err and err.kind or kind, task, err)
      assert.is_false(err.retryable)
      assert.equal(1, err.attempts)
      assert.equal(1, #p:log())
      assert.equal(0, time.elapsed())
    end)
  end

  it("is not made again when the server speaks no TLS", function()
    -- A proxy of the spec's own: what it hears it notes in its own time, which may be that of the
    -- next spec, and that counts.
    local plain <close> = proxy.start()
    new { url = plain.url:gsub("^http:", "https:") }
    local err = fails_with("tls", mj:fetch(ID, { request_timeout = 2 }))
    assert.is_false(err.retryable)
    assert.equal(1, err.attempts)
    assert.equal(0, time.elapsed())
    local deadline = core.now() + SLACK
    while #plain:log() == 0 and core.now() < deadline do plain:connections() end
    assert.is_truthy(plain:log()[1].malformed)
  end)
end)

describe("the number of tries", function()
  before_each(function() p:task(ID, { fault = "html_502" }) end)

  it("is one where retries is 0", function()
    assert.equal(1, fails_with("http", mj:fetch(ID, { retries = 0 })).attempts)
    assert.equal(1, #p:log())
    assert.equal(0, time.elapsed())
  end)

  it("is one more than retries", function()
    assert.equal(6, fails_with("http", mj:fetch(ID, { retries = 5 })).attempts)
    assert.equal(6, #p:log())
  end)

  it("can be set for a whole client", function()
    new { retries = 1 }
    assert.equal(2, fails_with("http", mj:fetch(ID)).attempts)
    assert.equal(1, fails_with("http", mj:fetch(ID, { retries = 0 })).attempts)
    assert.equal(3, #p:log())
  end)

  it("ends with the first success", function()
    p:task(ID, { life = "done", script = { "html_502", "rst", "pass", "html_502" } })
    assert.equal(ID, assert(mj:fetch(ID, { retries = 9 })).id)
    assert.equal(3, #p:log())
  end)

  it("ends with the first failure that is for good", function()
    p:task(ID, { fault = { status = 403, body = "" }, script = { "html_502" } })
    assert.equal(2, fails_with("auth", mj:fetch(ID, { retries = 9 })).attempts)
  end)
end)

describe("the backoff #H4", function()
  -- The seconds slept before each further try.
  local function backoff(chance, retries)
    p:task(ID, { fault = "html_502" })
    new({ retries = retries, timeout = 600 }, chance)
    fails_with("http", mj:fetch(ID))
    return time.sleeps
  end

  it("is at most 0.5 s, doubled with each try up to 8 s", function()
    local sleeps = backoff(ALMOST_ONE, 7)
    assert.equal(7, #sleeps)
    for place, most in ipairs { 0.5, 1, 2, 4, 8, 8, 8 } do near(most, sleeps[place], place) end
  end)

  it("is a share of that by chance", function()
    for place, most in ipairs(backoff(0.25, 6)) do
      near(0.25 * ({ 0.5, 1, 2, 4, 8, 8 })[place], most, place)
    end
  end)

  it("may be nothing: the jitter is full", function()
    backoff(0, 7)
    assert.equal(0, time.elapsed())
    assert.equal(8, #p:log())
  end)

  it("is drawn anew for each try", function()
    local drawn = 0
    local sleeps = backoff(function()
      drawn = drawn + 1
      return drawn / 10
    end, 4)
    assert.equal(4, #sleeps)
    for place, most in ipairs { 0.5, 1, 2, 4 } do near(place / 10 * most, sleeps[place], place) end
  end)
end)

describe("Retry-After #H5", function()
  -- The seconds slept between a 429 with that header and the next try, which succeeds.
  local function slept(plan, options)
    p:task(ID, { life = "done", script = { plan } })
    assert.equal(ID, assert(mj:fetch(ID, options)).id)
    assert.equal(2, #p:log())
    return time.elapsed()
  end

  -- A 429 with that header ends the call at once.
  local function gives_up(plan, options)
    p:reset()
    p:task(ID, { life = "done", script = { plan } })
    local err = fails_with("rate_limited", mj:fetch(ID, options))
    assert.is_true(err.retryable)
    assert.equal(1, err.attempts)
    assert.equal(1, #p:log())
    assert.equal(0, time.elapsed())
    return err
  end

  it("is obeyed in seconds", function()
    near(2, slept "retry_after_seconds")
  end)

  it("is obeyed as a date", function()
    local seconds = slept "retry_after_date" -- two seconds from a second that has begun
    assert(seconds >= 1 and seconds <= 2, seconds)
  end)

  it("is obeyed with a 503 too", function()
    near(7, slept { status = 503, headers = { ["Retry-After"] = "7" } })
  end)

  it("is obeyed up to 120 s", function()
    near(119, slept(limited(119), { timeout = 600 }))
    new()
    p:reset()
    near(120, slept(limited(120), { timeout = 600 }))
  end)

  it("of more than 120 s is the caller's business", function()
    assert.equal(121, gives_up(limited(121), { timeout = 600 }).retry_after)
  end)

  it("of ten years is the caller's business", function()
    assert.equal(315360000, gives_up("retry_after_decade", { timeout = 600 }).retry_after)
    new() -- the first is paused now
    local err = gives_up("retry_after_far_date", { timeout = 600 })
    assert(err.retry_after > 315350000 and err.retry_after <= 315360000, err.retry_after)
  end)

  it("beyond the deadline is not waited for", function()
    assert.equal(11, gives_up(limited(11), { timeout = 10 }).retry_after)
    new() -- the first is paused now
    assert.equal(100, gives_up(limited(100)).retry_after) -- the default is 60 s
  end)

  it("of no use is no help: the backoff is the usual one", function()
    for _, name in ipairs { "zero", "past", "negative", "garbage", "old_date" } do
      new(nil, ALMOST_ONE)
      p:reset()
      near(0.5, slept("retry_after_" .. name), name)
    end
  end)

  it("that overflows or is no number never delays for long", function()
    for _, name in ipairs { "huge", "overflow", "fraction" } do
      new(nil, ALMOST_ONE)
      p:reset()
      p:task(ID, { life = "done", script = { "retry_after_" .. name } })
      local task, err = mj:fetch(ID)
      assert(task or err.kind == "rate_limited", tostring(err))
      assert(time.elapsed() <= 8, ("%s: slept %g s"):format(name, time.elapsed()))
    end
  end)

  it("is told where tries are used up", function()
    p:task(ID, { fault = limited(2) })
    local err = fails_with("rate_limited", mj:fetch(ID))
    assert.equal(2, err.retry_after)
    assert.equal(3, err.attempts)
    near(4, time.elapsed()) -- not slept after the last one
  end)

  it("of one answer does not outlive it", function()
    p:task(ID, { script = { limited(2) }, fault = "html_502" })
    assert.is_nil(fails_with("http", mj:fetch(ID)).retry_after)
  end)
end)

describe("a 429", function()
  before_each(function() p:task(OTHER, { life = "done" }) end)

  it("holds up the client's other calls", function()
    p:task(ID, { fault = limited(5) })
    fails_with("rate_limited", mj:fetch(ID, { retries = 0 }))
    assert.equal(0, time.elapsed())
    assert.equal(OTHER, assert(mj:fetch(OTHER)).id)
    near(5, time.elapsed())
  end)

  it("leaves a gap between requests, wider by each, closed by good answers", function()
    local gaps = {}
    local function measure(refusals)
      new()
      p:task(ID, { fault = limited(5) })
      for _ = 1, refusals do fails_with("rate_limited", mj:fetch(ID, { retries = 0 })) end
      for at = 1, 13 do
        local before = time.elapsed()
        assert(mj:fetch(OTHER))
        gaps[at] = time.elapsed() - before
      end
    end
    measure(1)
    near(5, gaps[1])
    near(0.1, gaps[2]) -- set when the first request went out
    near(0.08, gaps[3])
    near(0.064, gaps[4])
    assert.equal(0, gaps[13])
    measure(3)
    near(0.4, gaps[2])
    near(0.32, gaps[3])
  end)

  it("holds up a wait's looks", function()
    p:task(ID, { fault = limited(5) })
    fails_with("rate_limited", mj:fetch(ID, { retries = 0 }))
    assert.equal(OTHER, assert(mj:wait(OTHER)).id)
    near(5, time.elapsed())
  end)

  it("without Retry-After holds them up for the backoff", function()
    new(nil, ALMOST_ONE)
    p:task(ID, { fault = { status = 429, body = "" } })
    fails_with("rate_limited", mj:fetch(ID, { retries = 0 }))
    assert(mj:fetch(OTHER))
    near(0.5, time.elapsed())
  end)

  it("never shortens the pause of another", function()
    local late = limited(3)
    late.delay = 0.05
    p:task(ID, { fault = late })
    p:task(OTHER, { life = "done", script = { limited(50) } })
    local nested = false
    new { retries = 0, trace = function(event)
      if nested or event.event ~= "request" then return end
      nested = true -- the outer request is under way
      fails_with("rate_limited", mj:fetch(OTHER))
    end }
    fails_with("rate_limited", mj:fetch(ID))
    assert.equal(2, #p:log())
    assert.equal(OTHER, assert(mj:fetch(OTHER)).id)
    near(50, time.elapsed())
  end)

  it("holds them up even if its own call has no time for it", function()
    p:task(ID, { fault = limited(5) })
    fails_with("rate_limited", mj:fetch(ID, { timeout = 1 }))
    assert.equal(0, time.elapsed())
    assert(mj:fetch(OTHER))
    near(5, time.elapsed())
  end)

  it("ends a call at once whose deadline lies in the pause", function()
    p:task(ID, { fault = limited(50) })
    fails_with("rate_limited", mj:fetch(ID, { retries = 0 }))
    local task, err = mj:fetch(OTHER, { timeout = 10 })
    assert.is_nil(task)
    assert.is_true(err.retryable)
    assert.equal(0, err.attempts)
    assert.equal(0, time.elapsed())
    assert.equal(1, #p:log())
  end)

  it("says that the pause is the reason, if it ends another call", function()
    p:task(ID, { fault = limited(50) })
    fails_with("rate_limited", mj:fetch(ID, { retries = 0 }))
    fails_with("rate_limited", mj:fetch(OTHER, { timeout = 10 }))
  end)

  it("does not hold up another client", function()
    p:task(ID, { fault = limited(5) })
    fails_with("rate_limited", mj:fetch(ID, { retries = 0 }))
    local others = clock.new()
    local other <close> = client.new({ url = p.url, key = KEY }, others)
    assert(other:fetch(OTHER))
    assert.equal(0, others.elapsed())
  end)
end)

describe("the deadline", function()
  -- `call` lasts no longer than its limit, on the real clock.
  local function bounded(limit, call)
    local before = core.now()
    local task, err = call()
    local took = core.now() - before
    assert(took < limit + SLACK, took)
    return task, err
  end

  local function real(options)
    mj:close()
    options.url, options.key = p.url, KEY
    mj = client.new(options)
    return mj
  end

  it("bounds all tries together", function()
    real { timeout = 0.25, request_timeout = 0.1, retries = 50 }
    p:task(ID, { fault = "stall" })
    local err = fails_with("timeout", bounded(0.25, function() return mj:fetch(ID) end))
    assert(err.elapsed > 0.09 and err.elapsed < 0.25 + SLACK, err.elapsed)
    assert(err.attempts <= 3, err.attempts)
    assert.equal(ID, err.id)
  end)

  it("bounds the one request that is under way", function()
    real { timeout = 0.2, request_timeout = 30 }
    p:task(ID, { fault = "stall" })
    local err = fails_with("timeout", bounded(0.2, function() return mj:fetch(ID) end))
    assert.equal(1, err.attempts)
    assert(err.message:find("0.2 s", 1, true), err.message)
  end)

  it("bounds the sleeps: what would end after it is not begun", function()
    p:task(ID, { fault = "html_502" })
    new({ timeout = 3, retries = 50 }, ALMOST_ONE)
    local err = fails_with("http", mj:fetch(ID))
    assert(time.elapsed() < 3, time.elapsed())
    assert.equal(3, err.attempts) -- at 0, 0.5, 1.5; the next would be at 3.5
    near(1.5, time.elapsed())
  end)

  it("of a call goes before that of the client", function()
    p:task(ID, { fault = "html_502" })
    new({ timeout = 600, retries = 50 }, ALMOST_ONE)
    mj:fetch(ID, { timeout = 1 })
    assert(time.elapsed() < 1, time.elapsed())
  end)

  it("is not met by one slow try: request_timeout bounds that", function()
    p:task(ID, { life = "done", script = { "stall" } })
    local task = bounded(0.25, function() return mj:fetch(ID, { request_timeout = 0.25 }) end)
    assert.equal(ID, assert(task).id)
    assert.equal(2, #p:log())
  end)
end)

describe("a retry", function()
  it("goes out on a fresh connection", function()
    p:task(OTHER)
    assert(mj:fetch(OTHER))
    assert(mj:fetch(OTHER))
    p:task(ID, { life = "done", script = { "html_502", "html_502" } })
    assert(mj:fetch(ID))
    local used = connections()
    assert.equal(5, #used)
    assert.equal(used[1], used[2])
    assert.equal(used[2], used[3]) -- the first try goes on the warm one
    assert.are_not.equal(used[3], used[4])
    assert.are_not.equal(used[4], used[5])
  end)

  it("gets past a kept connection that has fallen silent", function()
    p:set { fault = "stallsecond" }
    p:task(ID)
    assert(mj:fetch(ID))
    assert.equal(ID, assert(mj:fetch(ID, { request_timeout = 0.25 })).id)
    local used = connections()
    assert.equal(3, #used)
    assert.equal(used[1], used[2])
    assert.are_not.equal(used[2], used[3])
  end)

  it("asks the same, with the same key", function()
    p:task(ID, { life = "done", script = { "html_502" } })
    assert(mj:fetch(ID))
    local log = p:log()
    assert.equal(2, #log)
    assert.equal(log[1].method, log[2].method)
    assert.equal(log[1].path, log[2].path)
    assert.same(log[1].headers, log[2].headers)
  end)
end)

describe("trace", function()
  local events

  local function traced(options)
    events = {}
    options = options or {}
    options.trace = function(event) events[#events + 1] = event end
    return new(options)
  end

  local function names()
    local list = {}
    for place, event in ipairs(events) do list[place] = event.event end
    return list
  end

  it("is told of every request, answer and retry, in order", function()
    traced()
    p:task(ID, { life = "done", script = { "html_502", "rst" } })
    assert(mj:fetch(ID))
    assert.same({
      "request", "answer", "retry", "request", "answer", "retry", "request", "answer",
    }, names())
    for _, event in ipairs(events) do assert.equal(ID, event.id) end
    assert.equal("/mj/task/" .. ID .. "/fetch", events[1].path)
    for place, attempt in ipairs { 1, 1, false, 2, 2, false, 3, 3 } do
      assert.equal(attempt or nil, events[place].attempt)
    end
    assert.equal(502, events[2].status)
    assert.equal("http", events[2].kind)
    assert.equal("http", events[3].kind)
    near(0.25, events[3].seconds)
    assert.is_nil(events[5].status)
    assert.equal("connect", events[5].kind)
    assert.equal("connect", events[6].kind)
    near(0.5, events[6].seconds)
    assert.equal(200, events[8].status)
    assert.is_nil(events[8].kind)
  end)

  it("is told the status that came, also of a success", function()
    traced()
    local body = ('{"id":"%s"}'):format(ID)
    p:task(ID, { fault = { status = 201, body = body } })
    assert(mj:fetch(ID))
    assert.equal(201, events[2].status)
  end)

  it("is told of the waits between looks", function()
    traced()
    p:task(ID, { life = "short" })
    assert(mj:wait(ID))
    assert.same({
      "request", "answer", "wait", "request", "answer", "wait", "request", "answer",
    }, names())
    near(5, events[3].seconds)
    assert.equal("SUBMITTED", events[3].status)
    assert.equal("IN_PROGRESS", events[6].status)
  end)

  it("is told no secret", function()
    traced { headers = { ["X-Secret"] = "another-secret" } }
    p:set { key = "other" }
    p:task(ID, { fault = { status = 500, body = KEY } })
    mj:fetch(ID)
    mj:fetch(OTHER)
    local function look(value)
      if type(value) == "table" then
        for name, inner in pairs(value) do
          look(name)
          look(inner)
        end
      else
        local text = tostring(value)
        assert.is_nil(text:find(KEY, 1, true), text)
        assert.is_nil(text:find("another-secret", 1, true), text)
      end
    end
    look(events)
    assert(#events > 0)
  end)

  it("that raises ends the call with that error, and the client goes on", function()
    local angry = true
    new { trace = function() if angry then error("not today") end end }
    p:task(ID)
    local ok, problem = pcall(mj.fetch, mj, ID)
    assert.is_false(ok)
    assert(tostring(problem):find("not today", 1, true), problem)
    angry = false
    assert.equal(ID, assert(mj:fetch(ID)).id)
  end)
end)
