-- A server that says 429, or when to come back: the whole client pauses, and what had to wait does
-- not come back all at once. The pause of one call is retry_spec's.

local client = require "mjtask.client"
local fails_with = require "support.fails_with"
local proxy = require "support.proxy"
local timed = require "support.timed"

local KEY = "sk-0123456789abcdef"
local ID, OTHER = "1735030480000001", "1735030480000002"
local INFLIGHT = 16 -- requests at once, by default
local GAP = 0.1 -- seconds between two requests after a first 429
local EPSILON = 1e-6

local p, mj, time, asked

local function new(options)
  if mj then mj:close() end
  mj, time, asked = timed.new(p, options, true)
  return mj
end

-- A plan: 429 with this Retry-After, or without any.
local function limited(seconds, status)
  return { status = status or 429, body = "", headers = { ["Retry-After"] = seconds } }
end

local function times(plan, count)
  local plans = {}
  for n = 1, count do plans[n] = plan end
  return plans
end

-- Starts so many calls of `method`, by callback; what they end with is counted in what it returns.
local function start(method, ids, options)
  local ended = {}
  for _, id in ipairs(ids) do
    mj[method](mj, id, options or {}, function(task, err)
      local what = task and "success" or err.kind
      ended[what] = (ended[what] or 0) + 1
    end)
  end
  return ended
end

-- The requests from the n-th on: no sooner than `from`, and two of them no closer than gap(k), for
-- the k-th of the gaps between them.
local function spread(first, from, gap)
  assert(asked[first].at >= from - EPSILON, ("%g"):format(asked[first].at))
  for n = first + 1, #asked do
    local between = asked[n].at - asked[n - 1].at
    assert(between >= gap(n - first) - EPSILON, ("request %d after %g s"):format(n, between))
  end
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  new()
end)

after_each(function()
  if not mj.closed then timed.nothing_left(mj) end
  mj:close()
  p:connections() -- so that what was sent arrives now, and not in the next one's log
  mj = nil
end)

describe("fifty calls", function()
  local ids

  before_each(function() ids = p:tasks(timed.ids(50), { life = "done" }) end)

  for _, method in ipairs { "fetch", "wait" } do
    it("that are refused do not come back together: " .. method, function()
      p:set { script = times(limited(5), INFLIGHT) }
      local ended = start(method, ids)
      timed.run(mj)
      assert.same({ success = 50 }, ended)
      -- Sixteen were out when the first 429 came, and one more before it was read; no other went
      -- out in the pause.
      assert.equal(50 + INFLIGHT, #asked)
      assert.equal(50 + INFLIGHT, #p:log())
      for n = 1, INFLIGHT + 1 do assert.equal(0, asked[n].at) end
      -- Good answers close the gap: 0.1, 0.08, 0.064 …
      spread(INFLIGHT + 2, 5, function(n) return n <= 8 and GAP * 0.8 ^ n or 0 end)
    end)
  end

  it("go on at once where nothing is refused", function()
    start("fetch", ids)
    timed.run(mj)
    assert.equal(0, time.elapsed())
    assert.equal(50, #asked)
  end)

  it("that are refused again and again come ever further apart", function()
    p:set { script = times(limited(5), INFLIGHT + 4) }
    local ended = start("wait", ids)
    timed.run(mj)
    assert.same({ success = 50 }, ended)
    -- 5, refused; 10, refused; 15, refused: the gap is 0.1 by the first ones, then 0.2, 0.4, 0.8.
    local first = INFLIGHT + 2
    assert.same({ 5, 10, 15 }, { asked[first].at, asked[first + 1].at, asked[first + 2].at })
    spread(first + 3, 20, function(n) return n <= 8 and 8 * GAP * 0.8 ^ (n - 1) or 0 end)
  end)

  it("recover: what was far apart closes up, for those who wait as well", function()
    p:set { script = times(limited(1), INFLIGHT + 6) }
    local ended = start("wait", ids)
    timed.run(mj)
    assert.same({ success = 50 }, ended)
    local last = asked[#asked].at - asked[#asked - 1].at
    assert(last <= GAP, ("%g s apart at the end"):format(last))
    assert(time.elapsed() < 100, time.elapsed())
    local before = time.elapsed()
    for n = 1, 20 do assert(mj:fetch(ids[n])) end
    assert(time.elapsed() - before < 5, time.elapsed() - before)
  end)

  it("leave no debt behind when they are cancelled", function()
    p:set { script = times(limited(5), INFLIGHT) }
    local operations = {}
    for n, id in ipairs(ids) do operations[n] = mj:fetch(id, function() end) end
    repeat mj:step() until time.elapsed() >= 5
    for _, operation in ipairs(operations) do operation:cancel() end
    timed.run(mj)
    timed.nothing_left(mj)
    local before = time.elapsed()
    assert(mj:fetch(ids[1]))
    assert(time.elapsed() - before <= GAP + EPSILON, time.elapsed() - before)
  end)

  it("in a pause: the cancelled do not hold up the others", function()
    p:set { script = { limited(5) } }
    fails_with("rate_limited", mj:fetch(ids[1], { retries = 0 }))
    local operations, told = {}, 0
    for n, id in ipairs(ids) do
      operations[n] = mj:fetch(id, function(task) if task then told = told + 1 end end)
    end
    for n = 1, 40 do operations[n]:cancel() end
    operations[45]:cancel()
    timed.run(mj)
    assert.equal(9, told)
    assert(time.elapsed() < 5 + 10 * GAP, time.elapsed())
  end)

  it("keep their order", function()
    p:set { script = { limited(5) } }
    fails_with("rate_limited", mj:fetch(ids[1], { retries = 0 }))
    start("fetch", ids)
    timed.run(mj)
    assert.equal(1 + #ids, #asked)
    for n, id in ipairs(ids) do assert.equal(id, asked[n + 1].id) end
  end)

  it("that come later go later", function()
    p:set { script = { limited(5) } }
    fails_with("rate_limited", mj:fetch(ids[1], { retries = 0 }))
    mj:fetch(ids[2], function() end)
    mj:fetch(ids[3], function() end)
    time.time = time.time + 6 -- it would be the second's turn, but nobody stepped
    mj:fetch(ids[4], function() end)
    timed.run(mj)
    for n = 2, 4 do assert.equal(ids[n], asked[n].id) end
  end)

  it("whose time is over in a pause end at once, as rate_limited", function()
    p:set { script = { limited(5) } }
    fails_with("rate_limited", mj:fetch(ids[1], { retries = 0 }))
    p:set { fault = limited(1) }
    local ended = start("fetch", ids, { timeout = 8 })
    timed.run(mj)
    assert.same({ rate_limited = 50 }, ended)
    assert(time.elapsed() <= 8 + EPSILON, time.elapsed())
  end)

  it("whose time is over before their turn comes end then, as rate_limited", function()
    p:set { script = times(limited(1), 8) }
    for _ = 1, 8 do fails_with("rate_limited", mj:fetch(ids[1], { retries = 0 })) end
    local before = time.elapsed() -- the gap is 8 s by now
    local errs = {}
    for _, id in ipairs(ids) do
      mj:fetch(id, { timeout = 20 }, function(task, err) errs[#errs + 1] = not task and err end)
    end
    timed.run(mj)
    assert.equal(50, #errs)
    assert.equal(8 + 2, #asked) -- after 6.4 and 14.4 seconds
    for n = 3, 50 do
      assert.equal("rate_limited", errs[n].kind)
      assert.equal(0, errs[n].attempts)
      assert(math.abs(errs[n].elapsed - 20) < EPSILON)
    end
    assert(math.abs(before + 20 - time.elapsed()) < EPSILON)
    timed.nothing_left(mj)
  end)
end)

describe("a pause", function()
  local function pause(seconds, status)
    p:task(ID, { fault = limited(seconds, status) })
    mj:fetch(ID, { retries = 0 })
    p:task(ID, { life = "short" })
    p:task(OTHER, { life = "short" })
  end

  it("holds up fetches, waits, watches, lists, submits, seeds and cancels", function()
    p:set { dialect = "plus" }
    local calls = {
      function() assert(mj:fetch(OTHER)) end,
      function() assert(mj:wait(OTHER, { interval = 0.1 })) end,
      function() for _, task in mj:watch { ID, OTHER } do assert(task) end end,
      function() assert(mj:fetch_many { ID, OTHER }) end,
      function() assert(mj:submit("imagine", { prompt = "a cat" })) end,
      function() assert(mj:seed(OTHER)) end,
      function() assert(mj:cancel(OTHER)) end,
    }
    for n, call in ipairs(calls) do
      new()
      pause(30)
      assert.equal(0, time.elapsed())
      call()
      assert.equal(0, asked[1].at)
      assert.equal(30, asked[2].at, "call " .. n)
    end
  end)

  it("comes of a Retry-After with a 503 as well, of any call", function()
    for _, status in ipairs { 503, 500, 429 } do
      new()
      pause(20, status)
      assert(mj:fetch(OTHER))
      assert.equal(20, time.elapsed())
    end
    new()
    p:set { submit = limited(20) }
    fails_with("rate_limited", mj:submit("imagine", { prompt = "a cat" }))
    assert(mj:fetch(OTHER))
    assert.equal(20, time.elapsed())
    new()
    p:set { list = limited(20) }
    mj:fetch_many({ ID, OTHER }, { retries = 0 }, function() end)
    timed.run(mj)
    assert.equal(20, asked[2].at)
  end)

  it("does not hold up a picture", function()
    pause(30)
    local path = os.tmpname()
    assert(mj:download(p.url .. "/attachments/a.png", path, { overwrite = true }))
    os.remove(path)
    assert.equal(0, time.elapsed())
  end)

  it("of a picture's host does not hold up the API", function()
    p:task(OTHER, { life = "done" })
    p:set { image = limited(30) }
    local path = os.tmpname()
    mj:download(p.url .. "/attachments/a.png", path, { overwrite = true, retries = 0 })
    os.remove(path)
    assert(mj:fetch(OTHER))
    assert.equal(0, time.elapsed())
  end)

  it("beyond the deadline ends a call at once as rate_limited, and says for how long", function()
    pause(100)
    local err = fails_with("rate_limited", mj:fetch(OTHER))
    assert.equal(100, err.retry_after)
    assert.equal(0, err.attempts)
    assert.is_true(err.retryable)
    fails_with("rate_limited", mj:submit("imagine", { prompt = "a cat" }))
    fails_with("rate_limited", mj:wait(OTHER, { timeout = 50 }))
    for _, task, failure in mj:watch({ ID, OTHER }, { timeout = 50 }) do
      fails_with("rate_limited", task, failure)
      assert.equal(0, failure.attempts)
    end
    assert.equal(0, time.elapsed())
    assert.equal(1, #p:log())
  end)

  it("beyond the deadline ends a wait that was well on its way, with its task", function()
    p:task(OTHER, { life = "stuck", script = { "pass", limited(100) } })
    local err = fails_with("rate_limited", mj:wait(OTHER, { timeout = 60 }))
    assert.equal(5, time.elapsed())
    assert.equal("IN_PROGRESS", err.task.status)
    assert.equal(100, err.retry_after)
  end)

  it("beyond the deadline ends a watch at once, however many requests it would take", function()
    pause(100)
    for _, count in ipairs { 1, 3, 250 } do -- a list has a hundred
      local told = {}
      mj:watch(timed.ids(count), { timeout = 50 }, function(id, _, err)
        told[#told + 1] = id and err.kind or "end"
      end)
      timed.run(mj)
      local expected = times("rate_limited", count)
      expected[count + 1] = "end"
      assert.same(expected, told)
      for _, _, err in mj:watch(timed.ids(count), { timeout = 50 }) do
        assert.equal("rate_limited", err.kind)
      end
    end
    assert.equal(0, time.elapsed())
    assert.equal(1, #p:log())
  end)

  it("within the deadline is waited for, and a submit goes out once", function()
    pause(30)
    assert(mj:submit("imagine", { prompt = "a cat" }))
    assert.equal(30, time.elapsed())
    local log = p:log()
    assert.equal(2, #log)
    assert.equal("POST", log[2].method)
  end)

  it("that is asked for longer than two minutes is kept for two", function()
    pause(3600)
    assert(mj:wait(OTHER))
    assert.equal(120, asked[2].at)
  end)

  it("is not shortened by a later one, but may be prolonged while calls wait", function()
    pause(30)
    local late = limited(60)
    p:task(OTHER, { life = "done", script = { late } })
    local ended = start("fetch", { OTHER, ID }, { timeout = 600 })
    timed.run(mj)
    assert.same({ success = 2 }, ended)
    -- at 30 the first is refused for 60 more, at 30.1 it would have been the second's turn
    assert.equal(30, asked[2].at)
    for n = 3, #asked do assert(asked[n].at >= 90 - EPSILON, asked[n].at) end
  end)

  it("holds up what had got its turn, but waits for a place among max_inflight", function()
    new { max_inflight = 2 }
    local ids = p:tasks(timed.ids(20), { life = "done" })
    p:set { script = times(limited(5), 3) }
    local ended = start("fetch", ids)
    timed.run(mj)
    assert.same({ success = 20 }, ended)
    assert.equal(0, asked[3].at)
    assert(asked[4].at >= 5 - EPSILON, asked[4].at)
    assert.equal(23, #asked)
  end)

  it("does not count as a try what never went out", function()
    new { max_inflight = 1 }
    p:task(OTHER, { life = "failure" })
    p:set { script = { limited(5) } }
    start("fetch", { ID })
    local err = fails_with("failed", mj:wait(OTHER))
    assert.equal(4, err.attempts)
    timed.run(mj)
  end)
end)

describe("many waits under a 429 in a watch", function()
  it("go on in lists, and all come home", function()
    local ids = p:tasks(timed.ids(1000), { life = { '{"id":"{id}","status":"SUCCESS"}' } })
    p:set { lists = { "pass", limited(30), limited(30), limited(30) } }
    local home = 0
    for _, task in mj:watch(ids) do
      assert(task)
      home = home + 1
    end
    assert.equal(1000, home)
    assert(time.elapsed() >= 30 and time.elapsed() < 60, time.elapsed())
    assert(#asked <= 13, #asked)
  end)

  it("go on one by one where there are no lists", function()
    local ids = p:tasks(timed.ids(60), { life = { '{"id":"{id}","status":"SUCCESS"}' } })
    p:set { list = "no_route", script = { "no_route", "pass", "pass", limited(30) } }
    local home = 0
    for _, task in mj:watch(ids) do
      assert(task)
      home = home + 1
    end
    assert.equal(60, home)
    assert.equal(62, #asked)
    assert(time.elapsed() >= 30 and time.elapsed() < 60, time.elapsed())
    local early = 0
    for _, request in ipairs(asked) do
      if request.at < 30 then early = early + 1 end
    end
    assert(early <= 4 + 2 * INFLIGHT, early) -- a round more may go out before the 429 is read
  end)
end)

describe("on the real clock", function()
  it("the server sees them apart", function()
    p:tasks({ ID, OTHER }, { life = "done" })
    p:set { script = times({ status = 429, body = "" }, 4) }
    mj:close()
    mj = client.new({ url = p.url, key = KEY }, { random = function() return 0.1 end })
    local told = 0
    for n = 1, 4 do
      mj:fetch(n % 2 == 0 and ID or OTHER, function(task) told = told + (task and 1 or 0) end)
    end
    timed.run(mj)
    assert.equal(4, told)
    local log = p:log()
    assert.equal(8, #log)
    -- A pause of 0.05, and three gaps; the server may note what comes late, but not sooner.
    local took = log[8].at - log[1].at
    assert(took >= 0.05 + GAP * (1 + 0.8 + 0.8 ^ 2) - 0.01, ("all within %g s"):format(took))
  end)
end)
