-- Operations: their timers, their places in the queue, their ends, and when user code runs. With a
-- real engine against the local proxy; where only time matters, with a clock that jumps.

local core = require "mjtask.core"
local mjtask = require "mjtask"
local process = require "support.process"
local proxy = require "support.proxy"
local schedule = require "mjtask.schedule"

local SKU = "1735030480754475"
local ID = "17350304800000"
local LIMIT = 10 -- seconds after which a test gives up
local SLACK = 1 -- seconds that a promised limit may be missed by

local p, engines

-- A scheduler on an engine of its own, on the real clock.
local function new(fields)
  local engine = core.engine { url = p.url, auth = "none", max_inflight = 50 }
  engines[#engines + 1] = engine
  local setup = {
    engine = engine, max_inflight = 16, call = core.call, interrupted = core.interrupted,
    now = core.now, random = math.random,
  }
  for name, value in pairs(fields or {}) do setup[name] = value end
  return schedule.new(setup)
end

-- One whose time stands still, but for sleeps; and what tells that time.
local function new_jumping(fields)
  local time = 0
  fields = fields or {}
  fields.now = function() return time end
  fields.jump = function(to)
    assert(to > time, "time goes back")
    time = to
  end
  return new(fields), fields.now
end

local function request(id)
  return { path = "/mj/task/" .. id .. "/fetch" }
end

-- Bodies of operations.
local function sleep(operation, time)
  operation:sleep_until(time)
  return "slept"
end

local function send(operation, id, seconds)
  local transfer = operation:send(request(id), LIMIT, core.now() + (seconds or LIMIT))
  if not transfer then return nil, "no place" end
  local task, facts = transfer:answer()
  return task and task.id, facts
end

-- Steps until `done()`.
local function step_until(s, done)
  local deadline = core.now() + LIMIT
  while not done() do
    assert(core.now() < deadline, "it does not end")
    s:step(0.1)
  end
end

local function ended(...)
  local operations = { ... }
  return function()
    for _, operation in ipairs(operations) do
      if not operation.ended then return false end
    end
    return true
  end
end

local function assert_nothing_left(s)
  assert.is_nil(next(s.operations), "an operation is left")
  assert.is_nil(s.timers:first(), "a timer is left")
  assert.equal(0, s.inflight)
  assert.is_false(s.nested)
end

-- An operation brings two values, nil where its body returns fewer.
local function assert_results(expected, s, operation)
  assert.same(expected, table.pack(s:await(operation)))
end

-- The numbers of a generator of its own, 1 to `most`.
local function generator(seed)
  local state = seed
  return function(most)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % most + 1
  end
end

describe("the schedule", function()
  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)
  before_each(function()
    p:reset()
    engines = {}
  end)
  after_each(function()
    for _, engine in ipairs(engines) do engine:close() end
  end)

  describe("its timers", function()
    it("come due in their order, each once", function()
      local s, now = new_jumping()
      local order, operations = {}, {}
      for _, due in ipairs { 5, 1, 4, 2, 3, 2.5, 0.5 } do
        operations[#operations + 1] = s:spawn(function(operation)
          sleep(operation, due)
          assert.equal(due, now())
          order[#order + 1] = due
        end)
      end
      step_until(s, ended(table.unpack(operations)))
      assert.same({ 0.5, 1, 2, 2.5, 3, 4, 5 }, order)
      assert_nothing_left(s)
    end)

    it("run all that are due at the same time in one step, later ones not", function()
      local s = new_jumping()
      local ran = 0
      for _ = 1, 100 do
        s:spawn(function(operation)
          sleep(operation, 1)
          ran = ran + 1
        end)
      end
      local late = s:spawn(sleep, 1.001)
      s:step(0)
      assert.equal(100, ran)
      assert.is_false(late.ended)
      s:step(0)
      assert.is_true(late.ended)
      assert_nothing_left(s)
    end)

    -- In the heap of the whole suite, and with the generational collector at every chance, the time
    -- grows with the square of this: measured 0.6 s for 1000, 2.2 s for 2000, above 60 s for 10000,
    -- while the steps grow in proportion (401, 641).
    local COUNT = os.getenv "MJTASK_GC" and 1000 or 10000

    it(("come out sorted of %d random inserts and cancels, and leave nothing"):format(COUNT),
    function()
      local s, now = new_jumping()
      local random = generator(20261121)
      local live, last, woken, cancelled = {}, 0, 0, 0
      local function body(operation, due)
        sleep(operation, due)
        assert.equal(due, now())
        assert.is_true(due >= last)
        last, woken = due, woken + 1
        if random(4) == 1 then -- once more
          due = due + random(1000)
          sleep(operation, due)
          assert.equal(due, now())
          woken = woken + 1
        end
      end
      for n = 1, COUNT do
        -- Few different times, so that many are equal.
        live[#live + 1] = s:spawn(body, now() + random(random(2) == 1 and 5 or 1000))
        if random(3) == 1 then
          local victim = random(#live)
          local operation = live[victim]
          live[victim] = live[#live]
          live[#live] = nil
          if not operation.ended then cancelled = cancelled + 1 end
          operation:cancel "aborted"
          assert.is_true(operation.ended)
          assert.is_nil(s.timers:when(operation))
        end
        if n % 100 == 0 then
          local timers = s.timers
          for place, operation in ipairs(timers.items) do
            assert(timers.place[operation] == place and not operation.ended, "a place is wrong")
            assert(place == 1 or timers.due[place // 2] <= timers.due[place], "no heap")
          end
        end
        if random(50) == 1 then s:step(0) end
      end
      step_until(s, function() return s.timers.count == 0 end)
      assert.is_true(cancelled > COUNT / 5)
      assert.is_true(woken > COUNT / 2)
      for _, operation in ipairs(live) do
        assert(operation.ended)
        if operation.failed then error(operation.problem, 0) end
      end
      assert_nothing_left(s)
    end)

    it("wait on the real clock for as long as was asked", function()
      local s = new()
      local started = core.now()
      local operation = s:spawn(sleep, started + 0.1)
      assert_results({ n = 2, "slept" }, s, operation)
      local elapsed = core.now() - started
      assert.is_true(elapsed >= 0.1 and elapsed < 0.1 + SLACK, elapsed)
    end)

    it("fall due beside a transfer under way, whose answer is not lost", function()
      local s = new()
      p:task(ID, { life = "done", script = { { delay = 0.3 } } })
      local slow = s:spawn(send, ID)
      local quick = s:spawn(sleep, core.now() + 0.05)
      step_until(s, function() return quick.ended or slow.ended end)
      assert.is_true(quick.ended)
      assert.is_false(slow.ended)
      assert_results({ n = 2, ID, nil }, s, slow)
      assert_nothing_left(s)
    end)

    it("of the past are due by the next step", function()
      local s = new()
      local operation = s:spawn(sleep, core.now() - 1000)
      assert.is_false(operation.ended)
      s:step(LIMIT)
      assert.is_true(operation.ended)
      assert_nothing_left(s)
    end)
  end)

  describe("max_inflight", function()
    it("is never passed, in requests and in connections", function()
      local most, delay = 3, 0.05
      local s = new { max_inflight = most }
      local operations = {}
      for n = 1, 15 do
        p:task(ID .. n, { life = "done", script = { { delay = delay } } })
        operations[n] = s:spawn(send, ID .. n)
      end
      local done = ended(table.unpack(operations))
      step_until(s, function()
        assert.is_true(s.inflight <= most)
        return done()
      end)
      for n, operation in ipairs(operations) do
        assert.equal(ID .. n, operation.value)
      end
      assert.is_true(p:connections() <= most)
      local log = p:log()
      assert.equal(15, #log)
      for n = most + 1, #log do
        -- When it came, all but two of those before it had been answered.
        assert.is_true(log[n].at - log[n - most].at >= delay - 0.005)
      end
      assert_nothing_left(s)
    end)

    it("makes operations wait in their order", function()
      local s = new { max_inflight = 1 }
      local operations, expected, order = {}, {}, {}
      for n = 1, 20 do
        expected[n] = ID .. n
        p:task(ID .. n, { life = "done" })
        operations[n] = s:spawn(send, ID .. n)
      end
      operations[7]:cancel "aborted"
      table.remove(expected, 7)
      step_until(s, ended(table.unpack(operations)))
      for n, entry in ipairs(p:log()) do order[n] = entry.path:match "%d+" end
      assert.same(expected, order)
      assert_nothing_left(s)
    end)

    it("is not passed by those who come while others wait", function()
      local s = new { max_inflight = 1 }
      local order = {}
      local function twice(operation, name)
        for round = 1, 2 do
          send(operation, SKU)
          order[#order + 1] = name .. round
        end
      end
      local operations = {}
      for n, name in ipairs { "a", "b", "c" } do operations[n] = s:spawn(twice, name) end
      step_until(s, ended(table.unpack(operations)))
      -- "a" goes to the end of the queue with its second request.
      assert.equal("a1", order[1])
      assert.equal("b1", order[2])
      assert.equal("c1", order[3])
      assert_nothing_left(s)
    end)

    it("keeps nobody longer than the deadline: send gives nil, and the queue goes on", function()
      local s = new { max_inflight = 1 }
      p:task(ID, { life = "done", script = { { delay = 0.3 } } })
      local slow = s:spawn(send, ID)
      local started = core.now()
      local late = s:spawn(send, SKU, 0.1)
      local patient = s:spawn(send, SKU)
      assert_results({ n = 2, nil, "no place" }, s, late)
      local elapsed = core.now() - started
      assert.is_true(elapsed >= 0.1 and elapsed < 0.1 + SLACK, elapsed)
      assert.is_false(slow.ended)
      assert_results({ n = 2, SKU, nil }, s, patient)
      assert.is_true(slow.ended)
      assert.equal(2, #p:log())
      assert_nothing_left(s)
    end)

    it("sends nothing whose deadline is over already", function()
      local s = new()
      local operation = s:spawn(send, SKU, 0)
      assert.equal("no place", operation.err)
      assert.same({}, p:log())
      assert_nothing_left(s)
    end)

    it("goes on with an operation that left the queue and comes back to it", function()
      local s = new { max_inflight = 1 }
      p:task(ID, { life = "done", script = { { delay = 0.3 } } })
      local slow = s:spawn(send, ID)
      local again = s:spawn(function(operation)
        local id, problem = send(operation, SKU, 0.05)
        assert.is_nil(id)
        assert.equal("no place", problem)
        return send(operation, SKU)
      end)
      assert_results({ n = 2, SKU, nil }, s, again)
      assert.is_true(slow.ended)
      assert.equal(2, #p:log())
      assert_results({ n = 2, SKU, nil }, s, s:spawn(send, SKU))
      assert_nothing_left(s)
    end)
  end)

  describe("cancel", function()
    local ABORTED = { n = 2, nil, "aborted" }

    it("ends one that waits for a place, and lets go of it", function()
      local s = new { max_inflight = 1 }
      p:task(ID, { life = "done", script = { { delay = 0.1 } } })
      local slow = s:spawn(send, ID)
      local queued = s:spawn(send, SKU)
      queued:cancel "aborted"
      assert.is_true(queued.ended)
      assert_results(ABORTED, s, queued)
      assert_results({ n = 2, ID, nil }, s, slow)
      assert.equal(1, #p:log())
      assert_nothing_left(s)
    end)

    it("leaves no reference to one that waited, though the queue stands still", function()
      local s = new { max_inflight = 1 }
      p:set { fault = "stall" }
      local stuck = s:spawn(send, SKU)
      local weak = setmetatable({}, { __mode = "k" })
      for _ = 1, 100 do
        local queued = s:spawn(send, SKU)
        weak[queued] = true
        queued:cancel "aborted"
      end
      collectgarbage()
      collectgarbage()
      local left = 0
      for _ in pairs(weak) do left = left + 1 end
      stuck:cancel "aborted"
      assert.is_true(left <= 1, left .. " of 100 are held")
    end)

    it("ends one that sleeps, and its timer", function()
      local s = new()
      local operation = s:spawn(sleep, core.now() + LIMIT)
      assert.equal(1, s.timers.count)
      operation:cancel "aborted"
      assert_nothing_left(s)
      assert_results(ABORTED, s, operation)
    end)

    it("ends one whose transfer flies, and gives its place to the next", function()
      local s = new { max_inflight = 1 }
      p:task(ID, { life = "done", fault = "stall" })
      local stuck = s:spawn(send, ID)
      local next_one = s:spawn(send, SKU)
      step_until(s, function() return #p:log() == 1 end)
      assert.is_falsy(next_one.transfer)
      stuck:cancel "aborted"
      assert.is_truthy(next_one.transfer)
      assert_results(ABORTED, s, stuck)
      assert_results({ n = 2, SKU, nil }, s, next_one)
      assert_nothing_left(s)
    end)

    it("ends one whose transfer has ended but was not taken yet", function()
      local s = new()
      local operation = s:spawn(send, SKU)
      for _ = 1, 20 do s.engine:step(0.01) end
      operation:cancel "aborted"
      s:step(0)
      assert_results(ABORTED, s, operation)
      assert_results({ n = 2, SKU, nil }, s, s:spawn(send, SKU))
      assert_nothing_left(s)
    end)

    it("closes what the operation holds, before it returns", function()
      local s = new()
      local closed = 0
      local function body(operation)
        local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
        operation:sleep_until(core.now() + LIMIT)
      end
      s:spawn(body):cancel "aborted"
      assert.equal(1, closed)
      do
        local scoped <close> = s:spawn(body)
        assert.is_false(scoped.ended)
      end
      assert.equal(2, closed)
      assert_nothing_left(s)
    end)

    it("of one that runs is honoured at its next wait, or when it returns", function()
      local s = new()
      local went_on = 0
      local waits = s:spawn(function(operation)
        operation:cancel "aborted"
        went_on = went_on + 1
        operation:sleep_until(core.now() + LIMIT)
        went_on = went_on + 1
      end)
      assert.equal(1, went_on)
      assert.is_true(waits.ended)
      assert_results(ABORTED, s, waits)
      local sends = s:spawn(function(operation)
        operation:cancel "aborted"
        return send(operation, SKU)
      end)
      assert_results(ABORTED, s, sends)
      local returns = s:spawn(function(operation)
        operation:cancel "aborted"
        return "a result"
      end)
      assert_results(ABORTED, s, returns)
      assert_nothing_left(s)
    end)

    it("comes from its own callback and from another's", function()
      local s = new()
      local own, other
      other = s:spawn(sleep, core.now() + LIMIT)
      own = s:spawn(function(operation)
        s:deliver(operation, function()
          own:cancel "aborted"
          other:cancel "closed"
        end)
        operation:sleep_until(core.now() + LIMIT)
      end)
      assert_results(ABORTED, s, own)
      assert_results({ n = 2, nil, "closed" }, s, other)
      assert_nothing_left(s)
    end)

    it("changes nothing at one that has ended, and its first reason stays", function()
      local s = new()
      local done = s:spawn(function() return "done" end)
      done:cancel "aborted"
      assert_results({ n = 2, "done" }, s, done)
      local cancelled = s:spawn(sleep, core.now() + LIMIT)
      cancelled:cancel "aborted"
      cancelled:cancel "closed"
      assert_results(ABORTED, s, cancelled)
      assert_nothing_left(s)
    end)
  end)

  describe("await", function()
    it("gives two results, nils too", function()
      local s = new()
      assert_results({ n = 2 }, s, s:spawn(function() end))
      assert_results({ n = 2, nil, 2 }, s, s:spawn(function() return nil, 2, nil, nil end))
      local late = s:spawn(function(operation, ...)
        operation:sleep_until(core.now() + 0.01)
        return ...
      end, nil, "x", nil)
      assert_results({ n = 2, nil, "x" }, s, late)
      assert_results({ n = 2, nil, "x" }, s, late)
    end)

    it("raises the error of an operation, at its start or later", function()
      local s = new()
      local own = setmetatable({}, { __tostring = function() return "mine" end })
      for _, value in ipairs { own, "text", false } do
        local early = s:spawn(function() error(value, 0) end)
        assert.is_true(early.ended)
        local late = s:spawn(function(operation)
          operation:sleep_until(core.now() + 0.01)
          error(value, 0)
        end)
        for _, operation in ipairs { early, late } do
          local ok, problem = pcall(s.await, s, operation)
          assert.is_false(ok)
          assert.is_true(rawequal(value, problem))
        end
      end
      assert_nothing_left(s)
    end)

    it("raises what start refuses, and gives the place back", function()
      local s = new { max_inflight = 1 }
      local operation = s:spawn(function(operation)
        return operation:send({ path = "no path" }, 1, core.now() + 1)
      end)
      local ok, problem = pcall(s.await, s, operation)
      assert.is_false(ok)
      assert.matches("path is no path", problem, 1, true)
      assert_results({ n = 2, SKU, nil }, s, s:spawn(send, SKU))
      assert_nothing_left(s)
    end)

    it("left by an error leaves no operation behind", function()
      local s = new()
      local operation = s:spawn(function(operation)
        s:deliver(operation, error, "out", 0)
        operation:sleep_until(core.now() + LIMIT)
      end)
      local ok, problem = pcall(s.await, s, operation)
      assert.is_false(ok)
      assert.matches("^out", problem)
      assert.is_true(operation.ended)
      assert_nothing_left(s)
    end)

    it("drives the others on while it waits for one", function()
      local s = new()
      local others = {}
      for n = 1, 10 do others[n] = s:spawn(send, SKU) end
      local all_ended = ended(table.unpack(others))
      local operation = s:spawn(function(operation)
        local deadline = core.now() + LIMIT
        repeat operation:sleep_until(core.now() + 0.02)
        until all_ended() or core.now() > deadline
      end)
      s:await(operation)
      assert.is_true(all_ended())
      assert_nothing_left(s)
    end)
  end)

  describe("user code", function()
    -- An operation that delivers each of these and ends.
    local function delivering(s, ...)
      return s:spawn(function(operation, ...)
        for _, callback in ipairs { ... } do s:deliver(operation, callback) end
      end, ...)
    end

    it("does not run inside spawn, step or an operation", function()
      local s = new()
      local ran, nested = 0, nil
      local operation = delivering(s, function()
        ran = ran + 1
        nested = coroutine.isyieldable()
      end)
      s:step(0)
      assert.equal(0, ran)
      s:await(operation)
      assert.equal(1, ran)
      assert.is_false(nested)
      s:await(operation)
      assert.equal(1, ran)
    end)

    it("gets its arguments, nils too, in the order in which things happened", function()
      local s = new()
      local order = {}
      local function note(...) order[#order + 1] = table.pack(...) end
      local function body(operation, name)
        s:deliver(operation, note, name, 1, nil)
        operation:sleep_until(core.now())
        s:deliver(operation, note, name, nil, 2)
      end
      local a = s:spawn(body, "a")
      local b = s:spawn(body, "b")
      step_until(s, ended(a, b))
      s:await(b)
      assert.same({ n = 3, "a", 1, nil }, order[1])
      assert.same({ n = 3, "b", 1, nil }, order[2])
      local rest = { order[3][1], order[4][1] }
      table.sort(rest)
      assert.same({ "a", "b" }, rest)
      assert.equal(4, #order)
      assert.same({ n = 3, rest[1], nil, 2 }, order[3][1] == "a" and order[3] or order[4])
    end)

    it("of others waits until a nested call has returned; that call's own does not", function()
      local s = new()
      local order = {}
      local function note(what) return function() order[#order + 1] = what end end
      local outer = delivering(s, function()
        order[#order + 1] = "outer begins"
        local inner = delivering(s, note "inner's 1", note "inner's 2")
        s:await(inner)
        order[#order + 1] = "outer ends"
      end, note "outer's second")
      delivering(s, note "other's")
      s:await(outer)
      assert.same({
        "outer begins", "inner's 1", "inner's 2", "outer ends", "outer's second", "other's",
      }, order)
      assert_nothing_left(s)
    end)

    it("may wait while others' deliveries are due, without a spinning step", function()
      local calls = 0
      local s = new()
      local real = s.engine
      s.engine = setmetatable({}, { __index = function(_, name)
        return function(_, ...)
          if name == "step" then calls = calls + 1 end
          return real[name](real, ...)
        end
      end })
      local operation = delivering(s, function()
        s:await(s:spawn(sleep, core.now() + 0.1))
      end, function() end)
      s:await(operation)
      assert.is_true(calls < 20, calls .. " steps in 0.1 s")
    end)

    it("may make blocking calls 50 deep", function()
      local s = new()
      local deepest = 0
      local function body(operation, level)
        s:deliver(operation, function()
          deepest = math.max(deepest, level)
          if level < 50 then s:await(s:spawn(body, level + 1)) end
        end)
        return send(operation, SKU)
      end
      -- In a coroutine made by a process's main chunk there would be more room still.
      assert_results({ n = 2, SKU, nil }, s, s:spawn(body, 1))
      assert.equal(50, deepest)
      assert.equal(50, #p:log())
      assert_nothing_left(s)
    end)

    it("fails too deep by an error that can be caught, and the schedule goes on", function()
      local s = new()
      local function body(operation)
        s:deliver(operation, function() s:await(s:spawn(body)) end)
        operation:sleep_until(core.now())
      end
      local ok, problem = pcall(s.await, s, s:spawn(body))
      assert.is_false(ok)
      assert.matches("overflow", tostring(problem))
      assert_nothing_left(s)
      assert_results({ n = 2, SKU, nil }, s, s:spawn(send, SKU))
    end)

    it("that fails is told of when the other deliveries have been made", function()
      local s = new()
      local order = {}
      local function note(what) return function() order[#order + 1] = what end end
      local function culprit() error "the first" end
      local operation = delivering(s, note "before", culprit, note "between",
        function() error "the second" end, note "after")
      delivering(s, note "other's")
      local ok, problem = pcall(s.await, s, operation)
      assert.is_false(ok)
      assert.same({ "before", "between", "after", "other's" }, order)
      assert.matches("the first", problem, 1, true)
      assert.matches("schedule_spec.lua:" .. debug.getinfo(culprit, "S").linedefined, problem, 1,
        true)
      assert.matches("stack traceback", problem, 1, true)
      s:await(operation) -- told once; the second was for the same caller, who has gone
      assert_nothing_left(s)
    end)

    it("in a nested call fails to that call's caller", function()
      local s = new()
      local caught
      local outer = delivering(s, function()
        local inner = delivering(s, error)
        caught = not pcall(s.await, s, inner)
      end)
      s:await(outer)
      assert.is_true(caught)
      assert_nothing_left(s)
    end)

    it("must not yield, and says so", function()
      local s = new()
      local co = coroutine.create(function()
        s:await(delivering(s, function() coroutine.yield() end))
      end)
      local ok, problem = coroutine.resume(co)
      assert.is_false(ok)
      assert.equal("dead", coroutine.status(co))
      assert.matches("^a callback must not yield", problem)
      assert_nothing_left(s)
    end)
  end)

  describe("close", function()
    it("ends all that is under way with its reason, and steps no more", function()
      local s = new { max_inflight = 2 }
      p:set { fault = "stall" }
      local operations = {
        s:spawn(send, SKU), s:spawn(send, SKU), -- fly
        s:spawn(send, SKU), s:spawn(send, SKU), -- wait for a place
        s:spawn(sleep, core.now() + LIMIT), s:spawn(sleep, core.now() - 1),
      }
      s.engine:step(0.02)
      s:close "closed"
      for _, operation in ipairs(operations) do
        assert_results({ n = 2, nil, "closed" }, s, operation)
      end
      assert_nothing_left(s)
      s.engine:close()
      assert.is_false(s:step(0))
      assert.is_false(s:step())
      s:close "again"
      assert.is_true(#p:log() <= 2)
    end)

    it("in a callback ends the call that is waiting", function()
      local s = new()
      local operation = s:spawn(function(operation)
        s:deliver(operation, function()
          s:close "closed"
          s.engine:close()
        end)
        operation:sleep_until(core.now() + LIMIT)
      end)
      assert_results({ n = 2, nil, "closed" }, s, operation)
      assert_nothing_left(s)
    end)

    it("inside an operation ends that one at its next wait", function()
      local s = new()
      local operation = s:spawn(function(operation)
        s:close "closed"
        s.engine:close()
        operation:sleep_until(core.now() + LIMIT)
      end)
      assert_results({ n = 2, nil, "closed" }, s, operation)
      assert_nothing_left(s)
    end)
  end)

  describe("a schedule that is collected", function()
    it("goes with all that is under way, and its engine's sockets", function()
      p:set { fault = "stall" }
      local weak = setmetatable({}, { __mode = "k" })
      do
        local engine = core.engine { url = p.url, auth = "none" }
        local s = new { engine = engine }
        table.remove(engines):close()
        weak[s], weak[engine] = true, true
        for _ = 1, 3 do weak[s:spawn(send, SKU)] = true end
        weak[s:spawn(sleep, core.now() + LIMIT)] = true
        s:step(0.02)
      end
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
    end)
  end)

  -- Each in a process of its own: what goes wrong here may crash or hang.
  describe("finalizers", function()
    local PRELUDE = [[
      local mjtask = require "mjtask"
      local url, id, mode, rounds = ...
      local fired = 0
      -- Garbage whose finalizer calls `act` and leaves the same garbage behind, so that each
      -- collection meets one; until what this returns is called.
      local function haunt(act)
        local on = true
        local function again()
          setmetatable({}, { __gc = function()
            if not on then return end
            fired = fired + 1
            again()
            act()
          end })
        end
        again()
        return function() on = false end
      end
      local function work_hard()
        if mode == "generational" then return collectgarbage("generational", 1, 100) end
        collectgarbage("incremental", 1, 4000)
        collectgarbage("setpause", 0)
      end
      local function rest()
        collectgarbage("incremental", 200, 100)
        collectgarbage()
      end
      local function fail(...)
        print(...)
        os.exit(1)
      end
    ]]

    local function haunted(script, mode, rounds)
      local output, status = process.run(PRELUDE .. script, { args = { p.url, SKU, mode, rounds } })
      assert.equal("through\n", output)
      assert.equal(0, status)
    end

    for _, mode in ipairs { "incremental", "generational" } do
      it("may fetch while a fetch is under way, " .. mode, function()
        haunted([[
          local mj = mjtask.new { url = url, auth = "none", retries = 0 }
          local inside, fine = false, 0
          local stop = haunt(function()
            if inside then return end
            inside = true
            local task, err = mj:fetch(id, { timeout = 5 })
            inside = false
            if not task then fail("inner", err) end
            fine = fine + 1
          end)
          work_hard()
          for n = 1, tonumber(rounds) do
            local task, err = mj:fetch(id, { timeout = 5 })
            if not task or task.id ~= id then fail("outer", err) end
          end
          stop()
          assert(fine >= 10, fine)
          assert(not next(mj.schedule.operations) and mj.schedule.timers.count == 0)
          assert(mj.schedule.inflight == 0)
          print "through"
        ]], mode, 100)
      end)

      it("may fetch where there is one place only, " .. mode, function()
        haunted([[
          local mj = mjtask.new { url = url, auth = "none", max_inflight = 1, retries = 0 }
          local inside = false
          local stop = haunt(function()
            if inside then return end
            inside = true
            local task, err = mj:fetch(id, { timeout = 5 })
            inside = false
            if not task then fail("inner", err) end
          end)
          work_hard()
          for n = 1, tonumber(rounds) do
            local task, err = mj:fetch(id, { timeout = 5 })
            if not task then fail("outer", err) end
          end
          stop()
          assert(fired >= 5, fired)
          print "through"
        ]], mode, 50)
      end)

      it("may start operations that nobody awaits, " .. mode, function()
        haunted([[
          local mj = mjtask.new { url = url, auth = "none", retries = 0 }
          local schedule = mj.schedule
          local started, done = 0, 0
          local stop = haunt(function()
            if schedule.inflight > 10 then return end
            started = started + 1
            schedule:spawn(function(operation)
              local path = "/mj/task/" .. id .. "/fetch"
              local transfer = operation:send({ path = path }, 5, math.huge)
              assert(transfer:answer().id == id)
              operation:sleep_until(schedule.now() + 0.001)
              done = done + 1
            end)
          end)
          work_hard()
          for n = 1, tonumber(rounds) do
            local task, err = mj:fetch(id, { timeout = 5 })
            if not task then fail("outer", err) end
          end
          stop()
          local deadline = schedule.now() + 5
          while next(schedule.operations) and schedule.now() < deadline do schedule:step(0.1) end
          assert(started >= 10 and started == done, started .. " " .. done)
          print "through"
        ]], mode, 100)
      end)

      it("may close the client at any moment of a fetch, which ends as closed, " .. mode, function()
        haunted([[
          local counts, fetch, given = { task = 0, closed = 0 }, nil, { timeout = 5 }
          for n = 1, tonumber(rounds) do
            rest()
            local mj = mjtask.new { url = url, auth = "none" }
            fetch = mj.fetch
            local left = n % 5
            local stop = haunt(function()
              left = left - 1
              if left < 0 then mj:close() end
            end)
            work_hard()
            local waste
            for _ = 1, n * 7 % 97 do waste = { waste } end -- begin somewhere in a cycle
            for _ = 1, 50 do
              local ok, task, err = xpcall(fetch, debug.traceback, mj, id, given)
              if not ok and task:find("the client is closed.*check_self") then break -- before it
              elseif not ok then fail("round", n, "raised", task)
              elseif task then counts.task = counts.task + 1
              elseif err.kind ~= "closed" then fail("round", n, err)
              else counts.closed = counts.closed + 1
              end
            end
            stop()
            mj:close()
          end
          assert(fired > 0 and counts.closed > 10, counts.closed)
          print "through"
        ]], mode, 300)
      end)

      it("may close the client at any moment of a wait, with others under way, " .. mode, function()
        haunted([[
          local closed, wait, given = 0, nil, { timeout = 5, progress = type }
          for n = 1, tonumber(rounds) do
            rest()
            local mj = mjtask.new { url = url, auth = "none", max_inflight = 2, interval = 0.1 }
            wait = mj.wait
            local others = {}
            for k = 1, 5 do
              others[k] = mj.schedule:spawn(function(operation)
                return operation:send({ path = "/mj/task/" .. id .. "/fetch" }, 5, math.huge)
              end)
            end
            local left = n % 5
            local stop = haunt(function()
              left = left - 1
              if left < 0 then mj:close() end
            end)
            work_hard()
            local waste
            for _ = 1, n * 7 % 97 do waste = { waste } end
            for _ = 1, 50 do
              local before = mj.closed
              local ok, task, err = pcall(wait, mj, id, given) -- nothing is made in between
              if before then break
              elseif not ok then fail("round", n, "raised", task)
              elseif not task and err.kind ~= "closed" then fail("round", n, err)
              elseif not task then closed = closed + 1
              end
            end
            stop()
            mj:close()
            for _, other in ipairs(others) do
              if not other.ended then fail("round", n, "one has not ended") end
            end
          end
          assert(closed > 10, closed)
          print "through"
        ]], mode, 200)
      end)
    end
  end)

  it("is told of a signal by step, and by nothing else", function()
    local s = new()
    s:spawn(sleep, core.now() + 0.05)
    local early = false
    while next(s.operations) do early = s:step() or early end
    -- Without epoll a signal cannot be told from time that is over.
    if s.engine:pollfd() then assert.is_false(early) end
    assert_nothing_left(s)
  end)

  it("serves a client made by mjtask.new", function()
    local mj <close> = mjtask.new { url = p.url, auth = "none" }
    assert.equal(SKU, mj:fetch(SKU).id)
    assert_nothing_left(mj.schedule)
  end)
end)
