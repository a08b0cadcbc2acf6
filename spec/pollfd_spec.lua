-- What a host's loop sees of a client: step, timeout, and the one descriptor, which is readable
-- when there is something to do and at no other time.

local core = require "mjtask.core"
local mjtask = require "mjtask"
local process = require "support.process"
local proxy = require "support.proxy"
local socket = require "socket"

local ID = "1735030480000001"
local STUCK = "1735030480000002"
local LIMIT = 10 -- seconds after which a test gives up
local SLACK = 1 -- seconds that a promised limit may be missed by
local REST = 0.05 -- seconds in which nothing is to happen

local p, mj, fd, told

local function new(fields)
  local given = { url = p.url, auth = "none", interval = 0.1 }
  for name, value in pairs(fields or {}) do given[name] = value end
  return mjtask.new(given)
end

-- Another client in place of the usual one.
local function use(fields)
  mj:close()
  mj = new(fields)
  fd = mj:pollfd()
end

local function note(name)
  return function() told[#told + 1] = name end
end

local function fail_at_once(done)
  return mj:download("", "/nonesuch/picture", done)
end

-- Is the descriptor readable, or will it be in that time? It was asked for once: that alone has to
-- be enough.
local function readable(seconds)
  local object = { getfd = function() return fd end, dirty = function() return false end }
  return #socket.select({ object }, nil, seconds or 0) == 1
end

-- Does what a host does that knows the descriptor and nothing else, for so long or until
-- `done()`. Returns how often it was readable.
local function serve(seconds, done)
  local deadline, count = core.now() + seconds, 0
  while core.now() < deadline and not (done and done()) do
    if readable(math.max(deadline - core.now(), 0)) then
      count = count + 1
      mj:step(0)
    end
  end
  return count
end

-- Serves until all is quiet, and finds that it is.
local function quiet()
  local deadline = core.now() + LIMIT
  while readable(0.03) do
    assert(core.now() < deadline, "the descriptor stays readable")
    mj:step(0)
  end
  assert.is_true(serve(REST) <= 1, "it stirs") -- a signal of the system may be late
  assert.is_false(readable())
end

local function requests() return #p:log() end

local has_epoll
do
  local engine <close> = core.engine { url = "http://127.0.0.1:9", auth = "none" }
  has_epoll = engine:pollfd() ~= nil
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  told = {}
  p:task(ID, { life = "done" })
  p:task(STUCK, { life = "done", fault = "stall" })
  mj = new()
end)

after_each(function() mj:close() end)

describe("step", function()
  it("refuses what is no number of seconds, by name", function()
    for _, bad in ipairs { -1, -0.001, -math.huge, 0 / 0, "1", "x", {}, true, false, print } do
      local ok, problem = pcall(function() mj:step(bad) end)
      assert.is_false(ok)
      assert.matches("pollfd_spec.lua:%d+: seconds: a number from 0 on expected", problem)
    end
  end)

  it("wants a colon, like timeout and pollfd", function()
    for _, name in ipairs { "step", "timeout", "pollfd" } do
      for _, wrong in ipairs { {}, 1, false } do
        local ok, problem = pcall(function() mj[name](wrong) end)
        assert.is_false(ok)
        assert.matches("pollfd_spec.lua:%d+: a client expected: call its methods with a colon",
          problem)
      end
    end
  end)

  it("returns at once with nothing under way, however long it may wait", function()
    local started = core.now()
    for _, seconds in ipairs { 0, 5, 1e9, math.huge } do assert.is_false(mj:step(seconds)) end
    assert.is_false(mj:step())
    assert.is_true(core.now() - started < SLACK)
  end)

  it("waits at most so long, and tells whether anything is under way", function()
    mj:fetch(STUCK, note "done")
    local deadline = core.now() + LIMIT
    while requests() == 0 do
      mj:step(0.01)
      assert(core.now() < deadline)
    end
    local started = core.now()
    assert.is_true(mj:step(0))
    assert.is_true(mj:step(0))
    assert.is_true(core.now() - started < SLACK)
    started = core.now()
    assert.is_true(mj:step(0.1))
    local elapsed = core.now() - started
    assert.is_true(elapsed >= 0.09 and elapsed < 0.1 + SLACK, elapsed)
  end)

  it("without a number waits until something happens", function()
    p:task(ID, { life = "stuck" })
    mj:wait(ID, { timeout = 0.3 }, note "done")
    local steps = 0
    while mj:step() do steps = steps + 1 end
    assert.same({ "done" }, told)
    assert.is_true(steps < 100, steps)
  end)

  it("does not wait when there is something to tell", function()
    p:task(ID, { life = "stuck" })
    local op = mj:wait(ID, { interval = 60, timeout = 3 * SLACK }, note "asleep")
    local deadline = core.now() + LIMIT
    while requests() == 0 or mj.schedule.inflight > 0 do
      mj:step(0.01)
      assert(core.now() < deadline)
    end
    fail_at_once(function() fail_at_once(note "second") end)
    local started = core.now()
    assert.is_true(mj:step())
    assert.is_true(mj:step())
    assert.same({ "second" }, told)
    op:cancel()
    assert.is_false(mj:step())
    assert.is_true(core.now() - started < SLACK)
  end)

  it("in a loop comes to an end, whatever was started", function()
    p:set { dialect = "plus" }
    p:task(ID .. 1, { life = "short", pace = 0.05 })
    p:task(ID .. 2, { life = "done", script = { "rst", { status = 503 }, "stall_body" } })
    p:set { image = { fault = "drip", every = 0.01, bytes = 20000 } }
    local script = [[
      local url, id, stuck, picture, saved = ...
      local mjtask = require "mjtask"
      local mj = mjtask.new {
        url = url, auth = "none", interval = 0.1, request_timeout = 0.3, max_inflight = 4,
        allow_private = true,
      }
      local left = 0
      local function done() left = left - 1 end
      local function start(name, ...)
        left = left + 1
        return mj[name](mj, ...)
      end
      for n = 1, 5 do
        start("fetch", id, done)
        start("fetch", stuck, { retries = 0 }, done)
        start("fetch", stuck, done):cancel()
        start("wait", id .. 1, { progress = print }, done)
        start("wait", stuck, { timeout = 0.2 }, done)
        start("fetch", id .. 2, done)
        start("fetch_many", { id, id .. 1, "nonesuch" }, done)
        start("submit", "imagine", { prompt = "x" }, done)
        start("press", id, "U1", done)
        start("seed", id, done)
        start("download", picture, saved .. n, done)
        start("download", "", "/nonesuch/x", done)
      end
      local steps = 0
      while mj:step() do steps = steps + 1 end
      print(left, steps < 5000)
    ]]
    local output, status = process.run(script, {
      args = { p.url, ID, STUCK, p.other_url .. "/attachments/a.png", process.scratch "picture" },
      wrap = "timeout 20",
    })
    assert.equal(0, status, output)
    assert.matches("\n0\ttrue\n$", output)
  end)
end)

describe("timeout", function()
  it("is nil with nothing under way", function()
    assert.is_nil(mj:timeout())
    assert(mj:fetch(ID))
    assert.is_nil(mj:timeout())
    mj:fetch(ID, note "done")
    while mj:step(1) do assert.is_number(mj:timeout()) end
    assert.is_nil(mj:timeout())
  end)

  it("is 0 with something to tell", function()
    fail_at_once(note "done")
    assert.equal(0, mj:timeout())
    mj:step(0)
    assert.is_nil(mj:timeout())
    mj:fetch(STUCK, note "done"):cancel()
    assert.equal(0, mj:timeout())
  end)

  it("is 0 for a request that was only just started", function()
    mj:fetch(STUCK, note "done")
    assert.equal(0, mj:timeout())
    mj:step(0)
    mj:fetch(ID, note "done")
    assert.equal(0, mj:timeout())
  end)

  it("is short while a request is under way, and while one waits for its turn", function()
    use { max_inflight = 1 }
    for _ = 1, 3 do
      mj:fetch(STUCK, note "done")
      local seconds = mj:timeout()
      assert.is_true(seconds >= 0 and seconds <= 0.05)
    end
    for _ = 1, 5 do
      mj:step(0.01)
      local seconds = mj:timeout()
      assert.is_true(seconds >= 0 and seconds <= 0.05)
    end
  end)

  it("is what is left until the next look", function()
    p:task(ID, { life = "stuck" })
    mj:wait(ID, { interval = 20 }, note "done")
    local deadline = core.now() + LIMIT
    while requests() == 0 or mj.schedule.inflight > 0 do
      mj:step(0.05)
      assert(core.now() < deadline)
    end
    local seconds = mj:timeout()
    assert.is_true(seconds > 15 - SLACK and seconds <= 25, seconds)
    socket.sleep(0.05)
    assert.is_true(mj:timeout() <= seconds - 0.05)
    fail_at_once(note "other")
    assert.equal(0, mj:timeout())
    mj:step(0)
    mj:wait(ID, { timeout = 0.2 }, note "short")
    assert.is_true(mj:timeout() <= 0.2)
  end)

  it("is 0 for what is due already", function()
    p:task(ID, { life = "stuck" })
    mj:wait(ID, { interval = 0.1 }, note "done")
    local deadline = core.now() + LIMIT
    while requests() == 0 or mj.schedule.inflight > 0 do
      mj:step(0.01)
      assert(core.now() < deadline)
    end
    socket.sleep(0.2)
    assert.equal(0, mj:timeout())
  end)

  it("is all that a host without descriptors needs", function()
    p:task(ID, { life = "short", pace = 0.05 })
    for n = 1, 10 do mj:wait(ID, note(n)) end
    local deadline, naps = core.now() + LIMIT, 0
    while mj:timeout() do
      assert(core.now() < deadline)
      socket.sleep(mj:timeout())
      naps = naps + 1
      mj:step(0)
    end
    assert.equal(10, #told)
    assert.is_true(naps < 500, naps)
  end)
end)

describe("pollfd", function()
  before_each(function() fd = mj:pollfd() end)

  if not has_epoll then
    return it("is there", function() pending "not run: there is no epoll here" end)
  end

  it("is a descriptor, always the same", function()
    assert.equal("integer", math.type(fd))
    mj:fetch(ID, function() assert.equal(fd, mj:pollfd()) end)
    while mj:step(1) do assert.equal(fd, mj:pollfd()) end
    assert.equal(fd, mj:pollfd())
    assert.not_equal(fd, new():pollfd())
  end)

  it("rests with nothing under way", function()
    quiet()
    assert(mj:fetch(ID)) -- leaves a connection that is kept
    quiet()
    mj:fetch(ID, note "done")
    while mj:step(1) do end
    quiet()
    assert.same({ "done" }, told)
  end)

  it("serves every call to its end, and is not readable for nothing", function()
    p:set { dialect = "plus" }
    p:task(ID .. 1, { life = "short" })
    mj:fetch(ID, note "fetch")
    mj:wait(ID .. 1, note "wait")
    mj:fetch_many({ ID, ID .. 1 }, note "fetch_many")
    mj:submit("imagine", { prompt = "x" }, note "submit")
    mj:fetch(ID, { retries = 0 }, note "fetch")
    fail_at_once(note "download")
    local count = serve(LIMIT, function() return #told == 6 end)
    assert.equal(6, #told)
    -- Eight or more requests, each with a connection, some timers and an answer or two.
    assert.is_true(count < 150, count)
    quiet()
  end)

  it("asked for in the midst of calls serves them to their end", function()
    mj:close()
    mj = new()
    p:task(ID, { life = "short" })
    for _ = 1, 3 do mj:wait(ID, note "done") end
    mj:step(0)
    fd = mj:pollfd()
    serve(LIMIT, function() return #told == 3 end)
    assert.equal(3, #told)
    quiet()
  end)

  it("is readable once a call has been started, outside of steps and in callbacks", function()
    quiet()
    mj:fetch(ID, function() mj:fetch(ID, note "second") end)
    assert.is_true(readable(LIMIT))
    serve(LIMIT, function() return #told == 1 end)
    assert.same({ "second" }, told)
  end)

  it("is readable at once with something to tell", function()
    quiet()
    fail_at_once(note "done")
    assert.is_true(readable())
    mj:step(0)
    quiet()
  end)

  it("is readable at once after a cancel", function()
    local op = mj:fetch(STUCK, note "done")
    serve(LIMIT, function() return requests() == 1 end)
    quiet()
    op:cancel()
    assert.is_true(readable())
    mj:step(0)
    assert.same({ "done" }, told)
    quiet()
  end)

  it("is readable at once for what a callback has brought forth", function()
    fail_at_once(function() fail_at_once(note "second") end)
    mj:step(0)
    assert.same({}, told)
    assert.is_true(readable())
    mj:step(0)
    assert.same({ "second" }, told)
    quiet()
  end)

  it("is readable at once for what a failing callback has brought forth", function()
    fail_at_once(function()
      fail_at_once(note "second")
      error "out"
    end)
    assert.is_false((pcall(mj.step, mj, 0)))
    assert.is_true(readable())
    mj:step(0)
    assert.same({ "second" }, told)
    quiet()
  end)

  it("is readable at once for what a blocking call has left to tell", function()
    local first = true
    use { trace = function(event)
      if event.event ~= "answer" or not first then return end
      first = false
      fail_at_once(function() fail_at_once(note "told") end)
    end }
    assert(mj:fetch(ID))
    assert.same({}, told)
    assert.is_true(readable())
    mj:step(0)
    assert.same({ "told" }, told)
    quiet()
  end)

  it("serves others' calls after a blocking one", function()
    p:task(ID, { life = "done", script = { { delay = 0.3 } } })
    mj:fetch(ID, note "callback")
    p:task(ID .. 1, { life = "done" })
    assert(mj:fetch(ID .. 1))
    assert.same({}, told)
    serve(LIMIT, function() return #told == 1 end)
    assert.same({ "callback" }, told)
    quiet()
  end)

  it("is readable at once after a hint, and rests until the look", function()
    p:task(ID, { life = "stuck" })
    mj:wait(ID, { interval = 60 }, note "done")
    serve(LIMIT, function() return requests() == 1 and mj.schedule.inflight == 0 end)
    quiet()
    mj:hint(ID)
    assert.is_true(readable())
    mj:step(0)
    quiet()
  end)

  it("has the timers in it: looks, backoffs, time limits", function()
    p:task(ID, { life = "short" })
    mj:wait(ID, note "wait")
    p:task(ID .. 1, { life = "done", script = { { status = 503 } } })
    mj:fetch(ID .. 1, note "backoff")
    mj:fetch(STUCK, { request_timeout = 0.2, retries = 0 }, note "limit")
    serve(LIMIT, function() return #told == 3 end)
    table.sort(told)
    assert.same({ "backoff", "limit", "wait" }, told)
    quiet()
  end)

  it("rests while a request is under way, a wait sleeps, a place is waited for", function()
    use { max_inflight = 2 }
    p:task(ID, { life = "stuck" })
    mj:wait(ID, { interval = 60 }, note "wait")
    serve(LIMIT, function() return requests() == 1 and mj.schedule.inflight == 0 end)
    for _ = 1, 4 do mj:fetch(STUCK, note "done") end
    serve(LIMIT, function() return requests() == 3 end)
    quiet()
    assert.same({}, told)
  end)

  for _, fault in ipairs { "close", "okclose", "okrst", "extra_answer" } do
    it("rests when the server is done with the connection: " .. fault, function()
      p:task(ID, { life = "stuck", fault = fault })
      mj:fetch(ID, note "fetch")
      serve(LIMIT, function() return #told == 1 end)
      quiet() -- idle
      mj:wait(ID, { interval = 60 }, note "wait")
      serve(LIMIT, function() return requests() == 2 and mj.schedule.inflight == 0 end)
      quiet() -- asleep
      assert(mj:fetch(ID))
      quiet()
    end)
  end

  it("rests though the time of a request that was cancelled comes", function()
    mj:fetch(STUCK, { request_timeout = 0.2 }, note "done"):cancel()
    local op = mj:fetch(STUCK, { request_timeout = 0.2 }, note "done")
    serve(LIMIT, function() return requests() == 1 end)
    op:cancel()
    assert.is_true(serve(0.3) <= 4)
    assert.same({ "done", "done" }, told)
    quiet()
  end)

  it("rests though the time of a request comes whose call has failed", function()
    fail_at_once(function() error "out" end)
    assert.is_false((pcall(mj.fetch, mj, STUCK, { request_timeout = 0.15 })))
    assert.is_true(serve(0.25) <= 2)
    quiet()
  end)

  it("rests when a callback has closed another client", function()
    local second = new()
    second:pollfd()
    second:fetch(STUCK, note "closed")
    mj:fetch(ID, function() second:close() end)
    serve(LIMIT, function() return #told == 1 end)
    assert.same({ "closed" }, told)
    quiet()
  end)

  it("of a closed client is nil, and its number free again", function()
    local before = fd
    mj:close()
    assert.is_nil(mj:pollfd())
    mj = new()
    fd = mj:pollfd()
    assert.is_true(fd <= before)
    quiet()
  end)
end)
