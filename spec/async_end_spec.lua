-- Calls by callback that end from outside: cancelled, or with their client. Each is told so, once.

local core = require "mjtask.core"
local child = require "support.child"
local descriptors = require "support.descriptors"
local mjtask = require "mjtask"
local proxy = require "support.proxy"
local failed_with = require "support.fails_with"

local ID = "1735030480000001"
local STUCK = "1735030480000002"
local LIMIT = 10 -- seconds after which a test gives up

local p, mj, told, folder, remove

local function new(fields)
  local given = { url = p.url, auth = "none", interval = 0.1, allow_private = true }
  for name, value in pairs(fields or {}) do given[name] = value end
  return mjtask.new(given)
end

-- A callback that notes what it was told, under a name.
local function note(name)
  return function(...) told[#told + 1] = table.pack(name, ...) end
end

local function names()
  local list = {}
  for at, entry in ipairs(told) do list[at] = entry[1] end
  return list
end

-- What was told under this name, once: nil and an error of this kind. Gives the error.
local function told_of(kind, name)
  local found
  for _, entry in ipairs(told) do
    if entry[1] == name then
      assert.is_nil(found, name .. " was told twice")
      found = entry
    end
  end
  assert(found, name .. " was not told")
  return failed_with(kind, table.unpack(found, 2, found.n))
end

local function told_task(name, id)
  local found
  for _, entry in ipairs(told) do
    if entry[1] == name then
      assert.is_nil(found, name .. " was told twice")
      found = entry
    end
  end
  assert.equal(id, found[2].id)
end

local function step_until(done)
  local deadline = core.now() + LIMIT
  while not done() do
    assert(core.now() < deadline, "it does not come")
    mj:step(0.05)
  end
end

local function run()
  local deadline = core.now() + LIMIT
  while mj:step(1) do assert(core.now() < deadline, "it does not end") end
end

local function nothing_left()
  local schedule = mj.schedule
  assert.is_nil(next(schedule.operations))
  assert.equal(0, schedule.count)
  assert.equal(0, schedule.timers.count)
  assert.equal(0, schedule.inflight)
  assert.is_true(schedule.queue:is_empty())
  assert.is_true(schedule.deliveries:is_empty())
  assert.is_nil(next(mj.listeners))
end

local function fail_at_once(done)
  return mj:download("", folder .. "/none", done)
end

local function listing()
  local pipe <close> = assert(io.popen("ls -A '" .. folder .. "'"))
  return pipe:read "a"
end

local function requests() return #p:log() end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  told = {}
  folder, remove = child.directory()
  p:task(ID, { life = "done" })
  p:task(STUCK, { life = "done", fault = "stall" })
  mj = new()
end)

after_each(function()
  mj:close()
  remove()
end)

-- Moments of a call: how it gets there. Each gives the operation, and tells "op".
local MOMENTS = {
  ["before it has been stepped"] = function()
    return mj:fetch(ID, note "op")
  end,
  ["in flight"] = function()
    local op = mj:fetch(STUCK, note "op")
    step_until(function() return requests() == 1 end)
    return op
  end,
  ["while it waits for a place"] = function()
    mj:close()
    mj = new { max_inflight = 1 }
    mj:fetch(STUCK, note "other")
    local op = mj:fetch(ID, note "op")
    step_until(function() return requests() == 1 end)
    return op
  end,
  ["in a backoff"] = function()
    p:task(ID, { life = "done", script = { { status = 503, headers = { ["Retry-After"] = 60 } } } })
    local op = mj:fetch(ID, { timeout = 100 }, note "op")
    step_until(function() return mj.schedule.inflight == 0 end)
    assert.is_true(mj:timeout() > 1)
    return op
  end,
  ["in the pause of another's 429"] = function()
    local refusal = { status = 429, headers = { ["Retry-After"] = 60 } }
    p:task(STUCK, { life = "done", script = { refusal } })
    mj:fetch(STUCK, { timeout = 100 }, note "other")
    step_until(function() return mj.schedule.inflight == 0 end)
    return mj:fetch(ID, { timeout = 100 }, note "op")
  end,
  ["between two looks"] = function()
    p:task(ID, { life = "stuck" })
    local op = mj:wait(ID, { interval = 60 }, note "op")
    step_until(function() return requests() == 1 and mj.schedule.inflight == 0 end)
    return op
  end,
  ["in a press's modal"] = function()
    p:set { dialect = "plus", submit = { case = "needs_modal" } }
    local op = mj:press(ID, "U1", { modal = { prompt = "x" } }, note "op")
    step_until(function()
      if requests() == 1 then p:set { submit = { case = "needs_modal", delay = 5 } } end
      return requests() >= 2
    end)
    return op
  end,
  ["in a fetch of many"] = function()
    p:set { fault = "stall" }
    local op = mj:fetch_many({ ID, STUCK }, note "op")
    step_until(function() return requests() >= 1 end)
    return op
  end,
  ["while it watches nobody but the clock of a seed"] = function()
    p:set { dialect = "ts" }
    local op = mj:seed(ID, { interval = 60, timeout = 100 }, note "op")
    step_until(function() return requests() == 1 and mj.schedule.inflight == 0 end)
    return op
  end,
  ["in a download, of which no file is left"] = function()
    p:set { image = { fault = "stall_body" } }
    local op = mj:download(p.other_url .. "/attachments/a.png", folder .. "/a.png", note "op")
    step_until(function() return requests() == 1 and listing() ~= "" end)
    return op
  end,
}

describe("cancelling", function()
  for moment, reach in pairs(MOMENTS) do
    it("an operation " .. moment .. " tells its callback in the next step", function()
      local op = reach()
      assert.is_false(op:done())
      assert.is_nil(told[1])
      assert.equal(0, select("#", op:cancel()))
      assert.is_nil(told[1])
      assert.is_false(op:done())
      assert.equal("", listing())
      mj:step(0)
      local err = told_of("aborted", "op")
      assert.equal("cancelled by the caller", err.message)
      assert.is_false(err.retryable)
      assert.is_true(op:done())
      op:cancel()
      mj:step(0)
      told_of("aborted", "op")
      local left = mj.schedule.count
      mj:close()
      assert.equal(left + 1, #told) -- the others
      nothing_left()
    end)
  end

  it("twice is to cancel once", function()
    local op = mj:fetch(STUCK, note "op")
    op:cancel()
    op:cancel()
    mj:step(0)
    op:cancel()
    run()
    told_of("aborted", "op")
    nothing_left()
  end)

  it("one that has ended changes nothing, whether it was told or not", function()
    local op = mj:fetch(ID, note "op")
    run()
    told = {}
    local late = mj:fetch(ID, note "late")
    local deadline = core.now() + LIMIT
    repeat
      mj.schedule:step(0.05) -- moves, and tells nobody
      assert(core.now() < deadline)
    until mj.schedule.count == 0
    assert.same({}, told)
    late:cancel()
    run()
    told_task("late", ID)
    op:cancel()
    late:cancel()
    run()
    assert.equal(1, #told)
    nothing_left()
  end)

  it("comes from its own progress, and no more of that is told", function()
    p:task(ID, { life = "short" })
    local op
    op = mj:wait(ID, { progress = function()
      note "progress" ()
      op:cancel()
      assert.is_false(op:done())
    end }, note "op")
    run()
    assert.same({ "progress", "op" }, names())
    told_of("aborted", "op")
    nothing_left()
  end)

  it("comes from its own download's progress, of which no file is left", function()
    p:set { image = { fault = "stall_body" } }
    local op
    op = mj:download(p.other_url .. "/attachments/a.png", folder .. "/a.png", {
      progress = function()
        op:cancel()
        assert.equal("", listing())
      end,
    }, note "op")
    run()
    told_of("aborted", "op")
    assert.equal("", listing())
  end)

  it("comes from another's callback", function()
    local op = mj:fetch(STUCK, note "op")
    mj:fetch(ID, function() op:cancel() end)
    run()
    told_of("aborted", "op")
    nothing_left()
  end)

  it("comes from its own `done`, to no effect", function()
    local op
    op = mj:fetch(ID, function(task)
      assert.is_true(op:done())
      op:cancel()
      note "op" (task)
    end)
    run()
    told_task("op", ID)
  end)

  -- Its progress is queued behind what tells somebody else, who cancels it.
  for _, times in ipairs { 1, 2 } do
    it("takes back what was still to be told: " .. times .. " times", function()
      p:task(ID, { life = "stuck" })
      local op
      fail_at_once(function()
        for _ = 1, times do op:cancel() end
      end)
      op = mj:wait(ID, { progress = note "progress" }, note "op")
      local deadline = core.now() + LIMIT
      repeat
        mj.schedule:step(0.05)
        assert(core.now() < deadline)
      until mj.schedule.deliveries.count == 2
      run()
      assert.same({ "op" }, names())
      told_of("aborted", "op")
    end)
  end

  it("gives the place to who waits longest for one", function()
    mj:close()
    mj = new { max_inflight = 1 }
    local op = mj:fetch(STUCK, note "op")
    for n = 1, 3 do mj:fetch(ID, note(n)) end
    step_until(function() return requests() == 1 end)
    op:cancel()
    run()
    assert.same({ "op", 1, 2, 3 }, names())
  end)

  it("many at once, in the order of their cancels", function()
    local ops, expected = {}, {}
    for n = 1, 100 do
      ops[n] = mj:fetch(n % 2 == 0 and STUCK or ID, note(n))
      expected[n] = n
    end
    for n = 1, 100 do ops[n]:cancel() end
    mj:step(0)
    assert.same(expected, names())
    for n = 1, 100 do told_of("aborted", n) end
    nothing_left()
  end)

  it("is what `<close>` does, on every way out", function()
    do
      local op <close> = mj:fetch(STUCK, note "scope")
      assert.is_false(op:done())
    end
    pcall(function()
      local _ <close> = mj:fetch(STUCK, note "error")
      error "out"
    end)
    do
      local _ <close> = mj:fetch(ID, note "done")
      step_until(function() return #told == 3 end)
    end
    run()
    told_of("aborted", "scope")
    told_of("aborted", "error")
    told_task("done", ID)
    assert.equal(3, #told)
    nothing_left()
  end)
end)

describe("closing the client #L3", function()
  for moment, reach in pairs(MOMENTS) do
    it("tells an operation " .. moment .. " before it returns", function()
      local op = reach()
      mj:close()
      local err = told_of("closed", "op")
      assert.equal("the client was closed", err.message)
      assert.is_true(op:done())
      assert.equal("", listing())
      local count = #told
      op:cancel()
      mj:close()
      assert.is_false(mj:step(0))
      assert.equal(count, #told)
      nothing_left()
    end)
  end

  it("tells all there are, each once", function()
    p:set { fault = "stall", image = "stall" }
    mj:close()
    mj = new { max_inflight = 8 }
    for n = 1, 100 do
      if n % 4 == 0 then
        mj:fetch(STUCK, note(n))
      elseif n % 4 == 1 then
        mj:wait(ID, note(n))
      elseif n % 4 == 2 then
        mj:fetch_many({ ID, STUCK }, note(n))
      else
        mj:download(p.other_url .. "/attachments/a.png", folder .. "/" .. n, note(n))
      end
    end
    mj:step(0)
    mj:close()
    assert.equal(100, #told)
    for n = 1, 100 do told_of("closed", n) end
    assert.equal("", listing())
    nothing_left()
  end)

  it("first tells what had happened before, each its own", function()
    fail_at_once(note "at once")
    mj:fetch(STUCK, note "cancelled"):cancel()
    mj:fetch(STUCK, note "open")
    mj:close()
    assert.same({ "at once", "cancelled", "open" }, names())
    told_of("no_image", "at once")
    told_of("aborted", "cancelled")
    told_of("closed", "open")
  end)

  it("from within a callback tells all the others before it returns there", function()
    mj:fetch(STUCK, note "open")
    fail_at_once(function()
      note "begins" ()
      mj:close()
      note "ends" ()
    end)
    fail_at_once(note "queued")
    assert.is_false(mj:step(0))
    assert.same({ "begins", "queued", "open", "ends" }, names())
    told_of("no_image", "queued")
    told_of("closed", "open")
    nothing_left()
  end)

  it("from within its own progress tells it, too", function()
    p:task(ID, { life = "stuck" })
    local op = mj:wait(ID, { progress = function() mj:close() end }, note "op")
    run()
    told_of("closed", "op")
    assert.is_true(op:done())
  end)

  it("from within a blocking call's progress ends that call", function()
    p:task(ID, { life = "stuck" })
    mj:fetch(STUCK, note "op")
    failed_with("closed", mj:wait(ID, { progress = function() mj:close() end }))
    told_of("closed", "op")
    nothing_left()
  end)

  it("from within a callback's blocking call ends that call, and the callback goes on", function()
    p:task(ID, { life = "stuck" })
    mj:fetch(STUCK, note "op")
    fail_at_once(function()
      note "inner" (mj:wait(ID, { progress = function() mj:close() end }))
    end)
    run()
    told_of("closed", "inner")
    told_of("closed", "op")
    nothing_left()
  end)

  it("leaves nothing to do: not a call, not a step", function()
    mj:fetch(STUCK, function(...)
      note "op" (...)
      mj:close()
      for _, f in ipairs {
        function() mj:fetch(ID, note "late") end, function() mj:fetch(ID) end,
        function() mj:fetch_many({ ID }, note "late") end,
        function() mj:submit("imagine", {}, note "late") end,
      } do
        local ok, problem = pcall(f)
        assert.is_false(ok)
        assert.matches("async_end_spec.lua:%d+: the client is closed", problem)
      end
      assert.is_false(mj:step())
      assert.is_nil(mj:pollfd())
    end)
    mj:close()
    told_of("closed", "op")
    assert.is_false(mj:step())
    assert.is_false(mj:step(1))
    assert.is_nil(mj:pollfd())
    assert.is_nil(mj:timeout())
    assert.equal(1, #told)
  end)

  it("raises the first error of a callback when all have been told, and is closed", function()
    mj:close()
    collectgarbage()
    collectgarbage()
    local before = descriptors()
    mj = new()
    mj:fetch(STUCK, function() error "the first" end)
    mj:fetch(STUCK, function() error "the first" end)
    mj:fetch(STUCK, note "other")
    local ok, problem = pcall(mj.close, mj)
    assert.is_false(ok)
    assert.matches("async_end_spec.lua:%d+: the first\nstack traceback", problem)
    told_of("closed", "other")
    assert.equal(1, #told)
    assert.equal(before, descriptors())
    assert.is_false(mj:step())
    assert.is_nil(mj:pollfd())
    mj:close()
    nothing_left()
  end)

  it("is what `<close>` does", function()
    do
      local scoped <close> = new()
      scoped:fetch(STUCK, note "op")
    end
    told_of("closed", "op")
  end)

  it("closes all descriptors, however much was under way", function()
    mj:close()
    collectgarbage()
    collectgarbage()
    local before = descriptors()
    if not before then return pending "not run: there is no /proc" end
    for round = 1, 5 do
      mj = new { max_inflight = 8 }
      if round > 2 then mj:pollfd() end
      for n = 1, 20 do
        mj:fetch(n % 2 == 0 and STUCK or ID, note(n))
        mj:download(p.other_url .. "/attachments/a.png", folder .. "/" .. n, note(n))
      end
      for _ = 1, round do mj:step(0.01) end
      mj:close()
      assert.equal(before, descriptors())
    end
    assert.equal(200, #told)
  end)
end)
