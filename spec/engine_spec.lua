-- The engine at the core's level: transfers, their waiters, the descriptor, and what else the core
-- offers to the scheduler.

local core = require "mjtask.core"
local descriptors = require "support.descriptors"
local socket = require "socket"
local process = require "support.process"
local proxy = require "support.proxy"

local SKU = "1735030480754475"
local ID = "17350304800000"
local LIMIT = 10 -- seconds after which a test gives up
local SLACK = 1 -- seconds that a promised limit may be missed by

local p

local function open(fields)
  local given = { url = p.url, auth = "none" }
  for name, value in pairs(fields or {}) do given[name] = value end
  return core.engine(given)
end

local function path_of(id)
  return "/mj/task/" .. id .. "/fetch"
end

local function start(engine, id, waiter, fields)
  local request = { path = path_of(id), timeout = LIMIT }
  for name, value in pairs(fields or {}) do request[name] = value end
  return engine:start(request, waiter == nil and id or waiter)
end

-- Steps until `count` transfers were handed out: { { waiter, transfer }, … } in that order.
local function take(engine, count)
  local taken, deadline = {}, core.now() + LIMIT
  while #taken < count do
    assert(core.now() < deadline, "the transfers do not end")
    engine:step(0.1)
    for waiter, transfer in function() return engine:next() end do
      taken[#taken + 1] = { waiter, transfer }
    end
  end
  return taken
end

-- Steps for so long without taking anything.
local function drive(engine, seconds)
  local deadline = core.now() + seconds
  repeat
    engine:step(0)
    socket.sleep(0.005)
  until core.now() >= deadline
end

-- Steps until the proxy has had so many requests, and what it said at once is here; takes nothing.
local function drive_to(engine, requests)
  local deadline = core.now() + LIMIT
  repeat
    assert(core.now() < deadline, "no request comes")
    engine:step(0.01)
  until #p:log() >= requests
  drive(engine, 0.1)
end

-- The next connection to a listener, on which the engine has sent all of its request.
local function accept_request(listener, engine)
  listener:settimeout(1)
  local connection = assert(listener:accept())
  connection:settimeout(0)
  local deadline = core.now() + LIMIT
  repeat
    assert(core.now() < deadline, "no request comes")
    engine:step(0.01)
    local line = connection:receive "*l"
  until line == ""
  return connection
end

local function fetch(engine, id, fields)
  start(engine, id, nil, fields)
  return take(engine, 1)[1][2]:answer()
end

local function collect()
  collectgarbage()
  collectgarbage()
end

-- Is the descriptor readable within so many seconds?
local function is_readable(fd, seconds)
  return #socket.select({ { getfd = function() return fd end } }, nil, seconds) == 1
end

-- Makes transfers to it hang while they connect: a listener whose queue is full.
local function deaf_listener()
  local self = { fillers = {} }
  self.listener = assert(socket.tcp())
  assert(self.listener:bind("127.0.0.1", 0))
  assert(self.listener:listen(0))
  local _, port = self.listener:getsockname()
  self.port = math.tointeger(tonumber(port))
  for n = 1, 8 do
    self.fillers[n] = assert(socket.tcp())
    self.fillers[n]:settimeout(0)
    self.fillers[n]:connect("127.0.0.1", self.port)
  end
  function self.close()
    for _, filler in ipairs(self.fillers) do filler:close() end
    self.listener:close()
  end
  function self.is_deaf()
    local _, writable = socket.select(nil, { self.fillers[8] }, 0)
    return #writable == 0
  end
  return self
end

describe("the engine", function()
  local has_epoll

  setup(function()
    p = proxy.start()
    local engine <close> = open()
    has_epoll = engine:pollfd() ~= nil
  end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  describe("its transfers", function()
    it("hands out each of 200 that fly at once, with its own waiter and answer", function()
      local engine <close> = open()
      local expected = {}
      for n = 1, 200 do
        local id = ID .. n
        p:task(id, { life = "done" })
        local waiter = { id = id }
        expected[waiter] = start(engine, id, waiter)
      end
      for _, pair in ipairs(take(engine, 200)) do
        local waiter, transfer = pair[1], pair[2]
        assert.equal(expected[waiter], transfer)
        expected[waiter] = nil
        local task, facts = transfer:answer()
        assert.is_nil(facts)
        assert.equal(waiter.id, task.id)
      end
      assert.is_nil(next(expected))
      assert.is_nil(engine:next())
      assert.equal(200, #p:log())
    end)

    it("come out in the order in which they ended", function()
      local listener = assert(socket.bind("127.0.0.1", 0))
      local _, port = listener:getsockname()
      local engine <close> = open { url = "http://127.0.0.1:" .. port }
      local asked = {}
      for n = 1, 4 do
        start(engine, SKU, n)
        engine:step(0)
        asked[n] = accept_request(listener, engine)
      end
      for n = 4, 1, -1 do
        asked[n]:send "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        drive(engine, 0.05)
      end
      for n = 1, 4 do asked[n]:close() end
      listener:close()
      local order = {}
      for waiter in function() return engine:next() end do order[#order + 1] = waiter end
      assert.same({ 4, 3, 2, 1 }, order)
    end)

    it("take any value but none as a waiter", function()
      local engine <close> = open()
      for _, waiter in ipairs { true, 1.5, "text", engine, print, coroutine.create(print) } do
        start(engine, SKU, waiter)
        assert.equal(waiter, take(engine, 1)[1][1])
      end
      assert.error_matches(function() engine:start { path = path_of(SKU) } end, "value expected")
    end)

    it("know nobody once they were handed out: who waited is not collected with them", function()
      local engine <close> = open()
      local weak = setmetatable({ {} }, { __mode = "v" })
      start(engine, SKU, weak[1])
      local held = take(engine, 1)[1][2]
      collect()
      assert.is_nil(weak[1])
      assert.equal(SKU, held:answer().id)
    end)

    it("use a kept connection again, and a fresh one only if asked", function()
      local engine <close> = open()
      for _ = 1, 10 do assert.equal(SKU, fetch(engine, SKU).id) end
      assert.equal(1, p:connections())
      assert.equal(SKU, fetch(engine, SKU, { fresh = true }).id)
      assert.equal(2, p:connections())
    end)

    it("survive 50 connections that die while they rest", function()
      local engine <close> = open()
      p:set { fault = "okclose" }
      for _ = 1, 50 do
        local task, facts = fetch(engine, SKU)
        assert.is_nil(facts)
        assert.equal(SKU, task.id)
      end
    end)

    it("end as timeout at their limit, not before and not long after", function()
      local engine <close> = open()
      p:set { fault = "stall" }
      local started = core.now()
      local value, facts = fetch(engine, SKU, { timeout = 0.2 })
      local elapsed = core.now() - started
      assert.is_nil(value)
      assert.equal("timeout", facts.kind)
      assert.is_true(elapsed >= 0.19 and elapsed < 0.2 + SLACK, elapsed)
    end)

    -- Over https libcurl makes one wait for the other's connection, to share it.
    it("end at their limit while they wait for another's connection", function()
      local listener = assert(socket.bind("127.0.0.1", 0))
      local _, port = listener:getsockname()
      local engine <close> = open { url = "https://127.0.0.1:" .. port }
      start(engine, SKU, "patient", { timeout = 30 })
      engine:step(0.01)
      local started = core.now()
      start(engine, SKU, "hasty", { timeout = 0.2 })
      local pair = take(engine, 1)[1]
      local elapsed = core.now() - started
      listener:close()
      assert.equal("timeout", select(2, pair[2]:answer()).kind)
      assert.is_true(elapsed < 0.2 + SLACK, elapsed)
      assert.equal("hasty", pair[1])
    end)

    it("end by next where nobody listens", function()
      local engine <close> = open { url = proxy.closed_url() }
      local value, facts = fetch(engine, SKU)
      assert.is_nil(value)
      assert.equal("connect", facts.kind)
      assert.equal(0, facts.sent)
    end)
  end)

  describe("cancel", function()
    local engine, weak, transfer

    -- Starts a transfer whose waiter is held by nobody else.
    local function fly(id, of)
      weak = setmetatable({ {} }, { __mode = "v" })
      transfer = start(of or engine, id, weak[1])
    end

    -- Cancelled, it is never handed out, its waiter can be collected though the transfer is held,
    -- and the engine goes on.
    local function assert_gone(of)
      transfer:cancel()
      collect()
      assert.is_nil(weak[1])
      transfer:cancel()
      of = of or engine
      assert.is_nil(of:next())
      of:step(0)
      assert.is_nil(of:next())
      assert.error_matches(function() transfer:answer() end, "not handed out")
    end

    local function assert_goes_on()
      start(engine, SKU, "other")
      local pair = take(engine, 1)[1]
      assert.equal("other", pair[1])
      assert.equal(SKU, pair[2]:answer().id)
    end

    before_each(function() engine = open() end)
    after_each(function()
      engine:close()
      engine, weak, transfer = nil, nil, nil
    end)

    it("takes out what libcurl has not begun", function()
      fly(SKU)
      assert_gone()
      assert_goes_on()
      assert.equal(1, #p:log())
    end)

    it("takes out what connects", function()
      if not descriptors() then return pending "not run: there is no /proc" end
      local deaf = deaf_listener()
      collect()
      local base = descriptors()
      local other <close> = open { url = "http://127.0.0.1:" .. deaf.port }
      local idle = descriptors()
      fly(SKU, other)
      drive(other, 0.05)
      assert.is_true(deaf.is_deaf())
      assert.equal(idle + 1, descriptors())
      assert_gone(other)
      assert.equal(idle, descriptors())
      other:close()
      assert.equal(base, descriptors())
      deaf.close()
    end)

    it("takes out what waits for its answer, and what receives the body", function()
      for _, fault in ipairs { "stall", "stall_head", "stall_body", "drip" } do
        p:task(ID, { life = "done", fault = fault })
        fly(ID)
        drive_to(engine, 1)
        assert.equal(ID, p:log()[1].path:match "%d+")
        assert_gone()
        p:reset()
      end
      assert_goes_on()
    end)

    it("takes out what has ended and was not handed out", function()
      fly(SKU)
      start(engine, SKU, "other")
      drive_to(engine, 2)
      transfer:cancel()
      assert.equal("other", (engine:next()))
      assert_gone()
      assert_goes_on()
    end)

    it("lets go of the first, the middle and the last of those that ended", function()
      local expected = {
        { "2", "3" }, { "1", "3" }, { "1", "2" },
      }
      for victim, left in ipairs(expected) do
        local transfers = {}
        for n = 1, 3 do transfers[n] = start(engine, SKU, tostring(n), { timeout = LIMIT }) end
        drive_to(engine, 3 * victim)
        transfers[victim]:cancel()
        local order = {}
        for waiter in function() return engine:next() end do order[#order + 1] = waiter end
        table.sort(order)
        assert.same(left, order)
      end
    end)

    it("leaves what was handed out as it is, but for the waiter", function()
      fly(SKU)
      do
        local pair = take(engine, 1)[1]
        assert.equal(weak[1], pair[1])
      end
      transfer:cancel()
      collect()
      assert.is_nil(weak[1])
      assert.equal(SKU, transfer:answer().id)
      transfer:cancel()
      assert_goes_on()
    end)

    it("works on a transfer whose engine is closed or collected", function()
      fly(SKU)
      engine:close()
      transfer:cancel()
      collect()
      assert.is_nil(weak[1])
      engine = open()
      fly(SKU)
      engine = nil
      collect()
      transfer:cancel()
      collect()
      assert.is_nil(weak[1])
      engine = open()
      assert_goes_on()
    end)
  end)

  describe("answer", function()
    it("raises before the transfer was handed out", function()
      local engine <close> = open()
      local transfer = start(engine, SKU)
      assert.error_matches(function() transfer:answer() end, "not handed out")
      drive_to(engine, 1)
      assert.error_matches(function() transfer:answer() end, "not handed out")
      take(engine, 1)
      assert.equal(SKU, transfer:answer().id)
    end)

    it("gives the body once", function()
      local engine <close> = open()
      start(engine, SKU)
      local transfer = take(engine, 1)[1][2]
      assert.equal(SKU, transfer:answer().id)
      local value, facts = transfer:answer()
      assert.is_nil(value)
      assert.is_true(facts.empty)
    end)

    it("can be had when the engine is closed or collected by then", function()
      local engine = open()
      start(engine, SKU)
      start(engine, SKU)
      local taken = take(engine, 2)
      engine:close()
      assert.equal(SKU, taken[1][2]:answer().id)
      engine = nil -- luacheck: ignore
      collect()
      assert.equal(SKU, taken[2][2]:answer().id)
    end)

    -- In a process of its own, with freed memory overwritten: what goes wrong here crashes.
    it("stands a finalizer that takes the same answer while it decodes", function()
      local output, status = process.run([[
        local core = require "mjtask.core"
        local engine = core.engine { url = (...), auth = "none" }
        local whole, inner = 0, 0
        for round = 1, 20 do
          engine:start({ path = "/mj/task/1735030480754475/fetch" }, 1)
          local waiter, transfer
          repeat
            engine:step(1)
            waiter, transfer = engine:next()
          until waiter
          for _ = 1, round do
            setmetatable({}, { __gc = function()
              local task = transfer:answer()
              if task then inner = inner + 1 end
            end })
          end
          collectgarbage("incremental", 1, 4000)
          local task = transfer:answer()
          if task and task.id then whole = whole + 1 end
          collectgarbage("incremental", 200, 100)
          collectgarbage()
        end
        print(whole, inner)
      ]], { args = { p.url }, env = { MALLOC_PERTURB_ = "165" } })
      assert.equal("20\t0\n", output) -- who asked first gets it, nobody else
      assert.equal(0, status)
    end)
  end)

  describe("its end #L3", function()
    it("makes start, step, next, wake_at and pollfd raise, with transfers in flight", function()
      p:set { fault = "stall" }
      local engine = open()
      for _ = 1, 5 do start(engine, SKU) end
      drive_to(engine, 5)
      engine:close()
      for _, call in ipairs {
        function() engine:step(0) end, function() engine:next() end,
        function() start(engine, SKU) end, function() engine:wake_at() end,
        function() engine:wake_at(1) end, function() engine:pollfd() end,
      } do
        assert.error_matches(call, "the client is closed")
      end
      engine:close()
      assert.equal(p.url, engine:base())
      assert.equal("text", engine:redact "text")
      assert.equal("mjtask.engine(" .. p.url .. ")", tostring(engine))
    end)

    it("loses what had ended and was not handed out", function()
      local engine = open()
      local weak = setmetatable({ {} }, { __mode = "v" })
      start(engine, SKU, weak[1])
      drive_to(engine, 1)
      engine:close()
      collect()
      assert.is_nil(weak[1])
    end)

    it("leaves no descriptor behind, closed or collected, idle or not", function()
      if not descriptors() then return pending "not run: there is no /proc" end
      collect()
      local base = descriptors()
      for _, fault in ipairs { "pass", "stall", "stall_body" } do
        p:set { fault = fault }
        for _, way in ipairs { "close", "collect", "close asked", "collect asked" } do
          local engine = open()
          if way:find "asked" then engine:pollfd() end
          for _ = 1, 5 do start(engine, SKU) end
          drive(engine, 0.03)
          assert.is_true(descriptors() > base)
          if way:find "close" then engine:close() else engine = nil end -- luacheck: ignore
          collect()
          assert.equal(base, descriptors(), fault .. ", " .. way)
        end
      end
    end)

    it("may come while transfers fly, before theirs and after", function()
      p:set { fault = "stall" }
      for _, keep in ipairs { true, false } do
        local engine = open()
        local weak = setmetatable({ engine }, { __mode = "v" })
        local transfers = {}
        for n = 1, 5 do transfers[n] = start(engine, SKU, {}) end
        drive(engine, 0.02)
        if not keep then transfers = nil end
        engine = nil -- luacheck: ignore
        collect()
        assert.is_nil(weak[1])
        for _, transfer in ipairs(transfers or {}) do
          assert.error_matches(function() transfer:answer() end, "not handed out")
          transfer:cancel()
        end
        transfers = nil -- luacheck: ignore
        collect()
      end
    end)

    it("comes with a transfer as waiter of another, and with itself as waiter", function()
      p:set { fault = "stall" }
      local weak = setmetatable({}, { __mode = "v" })
      do
        local engine = open()
        local first = start(engine, SKU, engine)
        weak[1], weak[2] = engine, start(engine, SKU, first)
      end
      collect()
      collect()
      assert.is_nil(weak[1])
      assert.is_nil(weak[2])
    end)
  end)

  describe("step", function()
    it("returns at once for 0", function()
      p:set { fault = "stall" }
      local engine <close> = open()
      local started = core.now()
      for _ = 1, 100 do engine:step(0) end
      start(engine, SKU)
      for _ = 1, 100 do engine:step(0) end
      assert.is_true(core.now() - started < SLACK)
    end)

    it("waits as long as it may, and no longer", function()
      local engine <close> = open()
      local started = core.now()
      engine:step(0.1)
      local elapsed = core.now() - started
      assert.is_true(elapsed >= 0.099 and elapsed < 0.1 + SLACK, elapsed)
    end)

    it("ends at wake_at's time, and at once if that is past", function()
      local engine <close> = open()
      local started = core.now()
      engine:wake_at(started + 0.1)
      engine:step(5)
      local elapsed = core.now() - started
      assert.is_true(elapsed >= 0.099 and elapsed < 0.1 + SLACK, elapsed)
      for _, when in ipairs { started - 1, 0, -1, -math.huge } do
        started = core.now()
        engine:wake_at(when)
        engine:step(5)
        engine:step()
        assert.is_true(core.now() - started < SLACK, when)
      end
    end)

    it("forgets a time of wake_at that was taken back", function()
      local engine <close> = open()
      for _, never in ipairs { {}, { math.huge } } do
        engine:wake_at(core.now())
        engine:wake_at(never[1])
        local started = core.now()
        engine:step(0.05)
        assert.is_true(core.now() - started >= 0.049)
      end
    end)

    it("returns at once while something ended waits to be taken", function()
      local engine <close> = open()
      start(engine, SKU)
      drive_to(engine, 1)
      local started = core.now()
      for _ = 1, 10 do engine:step(LIMIT) end
      assert.is_true(core.now() - started < SLACK)
      assert.equal(SKU, (engine:next()))
    end)

    it("refuses what is no number", function()
      local engine <close> = open()
      assert.error_matches(function() engine:step "soon" end, "number expected")
      assert.error_matches(function() engine:wake_at {} end, "number expected")
    end)
  end)

  describe("pollfd", function()
    local engine, fd

    before_each(function()
      engine = open()
      fd = engine:pollfd()
    end)
    after_each(function() engine:close() end)

    -- A host's turn: step, take, name the next time.
    local function turn(when)
      engine:step(0)
      local taken = {}
      for waiter in function() return engine:next() end do taken[#taken + 1] = waiter end
      engine:wake_at(when)
      return taken
    end

    -- Turns while it is readable; how many there were, and what was taken.
    local function turns(seconds, when)
      local count, all = 0, {}
      while is_readable(fd, seconds) do
        count = count + 1
        assert(count < 1000, "it spins")
        for _, waiter in ipairs(turn(when)) do all[#all + 1] = waiter end
      end
      return count, all
    end

    it("is the same number each time, or nil without epoll", function()
      assert.equal(fd, (engine:pollfd()))
      assert.is_true(fd == nil or math.type(fd) == "integer" and fd > 2)
    end)

    it("is not readable while nothing is to be done", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      assert.is_false(is_readable(fd, 0.05))
      engine:wake_at()
      assert.is_false(is_readable(fd, 0.05))
    end)

    it("is readable at once after a start, when the answer comes, and then no more", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      p:task(ID, { life = "done", script = { { delay = 0.1 } } })
      start(engine, ID)
      engine:wake_at()
      assert.is_true(is_readable(fd, 0))
      local waiting = core.now()
      local count, all = 0, {}
      while #all == 0 do -- nothing but readiness drives it
        assert.is_true(is_readable(fd, LIMIT))
        all, count = turn(), count + 1
      end
      assert.same({ ID }, all)
      assert.is_true(core.now() - waiting >= 0.09)
      assert.is_true(count < 30, "it spins: " .. count)
      assert.equal(0, (turns(0.05)))
    end)

    it("stays quiet while the server is silent", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      p:set { fault = "stall_body" }
      start(engine, SKU)
      engine:wake_at()
      -- A few are libcurl's own timers.
      assert.is_true(turns(0.1) + turns(0.1) < 30)
    end)

    it("becomes readable at wake_at's time, and at a transfer's limit", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      local now = core.now()
      engine:wake_at(now + 0.1)
      assert.is_true(is_readable(fd, LIMIT))
      local elapsed = core.now() - now
      assert.is_true(elapsed >= 0.099 and elapsed < 0.1 + SLACK, elapsed)
      turn()
      assert.is_false(is_readable(fd, 0.02))

      p:set { fault = "stall" }
      now = core.now()
      start(engine, SKU, nil, { timeout = 0.2 })
      engine:wake_at()
      local all = {}
      while #all == 0 do
        assert.is_true(is_readable(fd, LIMIT))
        all = turn()
      end
      elapsed = core.now() - now
      assert.is_true(elapsed >= 0.19 and elapsed < 0.2 + SLACK, elapsed)
    end)

    it("is readable at once for a time that is past, again and again", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      local now = core.now()
      for _, when in ipairs { now - 1, now - 1, 1, 1, 1e-10, now } do
        engine:wake_at(when)
        assert.is_true(is_readable(fd, SLACK), when)
        turn()
        assert.is_false(is_readable(fd, 0), when)
      end
    end)

    it("is readable at once for a time before the clock began", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      for _, when in ipairs { 0, -1, -math.huge } do
        engine:wake_at(when)
        assert.is_true(is_readable(fd, 0.1), when)
        turn()
      end
    end)

    it("is not readable for a time that was put off", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      engine:wake_at(core.now() + 0.02)
      engine:wake_at(core.now() + 60)
      assert.is_false(is_readable(fd, 0.05))
      engine:wake_at(core.now())
      assert.is_true(is_readable(fd, SLACK))
      engine:wake_at(1e300)
      assert.is_false(is_readable(fd, 0.02))
    end)

    it("stays readable while something ended waits to be taken", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      start(engine, SKU)
      drive_to(engine, 1)
      engine:wake_at()
      assert.is_true(is_readable(fd, SLACK))
      assert.equal(SKU, (engine:next()))
      engine:wake_at()
      assert.is_false(is_readable(fd, 0.02))
    end)

    it("wakes at most once for a kept connection that the server closes", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      for _, fault in ipairs { "okclose", "okrst" } do
        p:set { fault = fault }
        start(engine, SKU)
        engine:wake_at()
        local all = {}
        while #all == 0 do
          assert.is_true(is_readable(fd, LIMIT))
          all = turn()
        end
        p:log() -- by then it is closed
        assert.is_true(turns(0.1) <= 1, fault)
        assert.is_false(is_readable(fd, 0.02), fault)
        p:set { fault = false }
        assert.equal(SKU, fetch(engine, SKU).id)
        engine:wake_at()
      end
    end)

    it("wakes nobody for a transfer that was cancelled", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      for _, seconds in ipairs { 0, 0.03 } do
        p:task(ID, { life = "done", script = { { delay = 0.08 } } })
        local transfer = start(engine, ID)
        drive(engine, seconds)
        transfer:cancel()
        engine:wake_at()
        assert.is_true(turns(0.1) <= 1)
      end
    end)

    it("asked for in the middle of a transfer serves from then on", function()
      if not has_epoll then return pending "not run: a build without epoll" end
      local other <close> = open()
      p:task(ID, { life = "done", script = { { delay = 0.1 } } })
      start(other, ID)
      drive(other, 0.03)
      local late = other:pollfd()
      assert.is_true(is_readable(late, LIMIT))
      assert.equal(ID, take(other, 1)[1][1])
    end)
  end)

  describe("a random schedule #L3", function()
    local LIVES = { "done", "stall", "slow", "drop" }
    local ROUNDS = 1000

    -- One engine's life: what is handed out was started, is no more than once, and never after
    -- cancel; and in one life of five, nothing that ends is kept back.
    local function live(random, counts)
      local engine = open { max_inflight = random(1, 8) }
      local held, flying = {}, {}
      local actions = {}
      function actions.start()
        local waiter = { life = LIVES[random(#LIVES)], hasty = random() < 0.2 }
        local transfer = start(engine, ID .. waiter.life, waiter,
          { timeout = waiter.hasty and 0.001 or LIMIT, fresh = random() < 0.2 })
        flying[waiter] = true
        counts.started = counts.started + 1
        if random() < 0.7 then held[#held + 1] = { transfer, waiter } end
      end
      function actions.step() engine:step(random() < 0.5 and 0 or random() * 0.002) end
      function actions.next()
        local waiter, transfer = engine:next()
        if not waiter then return end
        assert(flying[waiter], "handed out twice, or after cancel")
        flying[waiter] = nil
        counts.taken = counts.taken + 1
        if random() < 0.2 then return end -- the body is never asked for
        local task, facts = transfer:answer()
        local kind = facts and facts.kind
        if kind == "timeout" then
          assert(waiter.hasty, "before its time")
        elseif waiter.life == "drop" then
          assert.equal("connect", kind)
        else
          assert.equal(ID .. waiter.life, task and task.id)
        end
      end
      function actions.cancel()
        if #held == 0 then return end
        local pair = table.remove(held, random(#held))
        pair[1]:cancel()
        flying[pair[2]] = nil
        counts.cancelled = counts.cancelled + 1
      end
      function actions.drop() table.remove(held) end
      function actions.wake_at() engine:wake_at(core.now() + random() * 0.01 - 0.005) end
      function actions.pollfd() engine:pollfd() end
      function actions.collect() collectgarbage "step" end
      local names = { "start", "start", "start", "step", "step", "step", "next", "next", "cancel",
        "drop", "wake_at", "pollfd", "collect" }
      local function is_due() -- one flies that ends soon
        for waiter in pairs(flying) do
          if waiter.hasty or waiter.life ~= "stall" then return true end
        end
      end
      for _ = 1, random(1, 30) do actions[names[random(#names)]]() end
      if random() < 0.2 then -- all end but those that stall
        local deadline = core.now() + LIMIT / 2
        while is_due() do
          assert(core.now() < deadline, "never handed out")
          engine:step(0.01)
          actions.next()
        end
      end
      if random() < 0.5 then engine:close() end
      if random() < 0.5 then -- the held ones outlive it
        engine = nil
        collectgarbage "step"
      end
      actions.cancel()
    end

    it("neither crashes nor leaks, 1,000 times", function()
      p:task(ID .. "done", { life = "done" })
      p:task(ID .. "stall", { life = "done", fault = "stall_body" })
      p:task(ID .. "slow", { life = "done", fault = { delay = 0.002 } })
      p:task(ID .. "drop", { life = "done", fault = "rst" })
      collect()
      local base = descriptors()
      local counts = { started = 0, taken = 0, cancelled = 0 }
      local memory
      for seed = 1, ROUNDS do
        local state = seed * 2654435761 % 2 ^ 32 | 0
        -- A generator of its own: others may use math.random meanwhile.
        local function random(low, high)
          state = (state * 6364136223846793005 + 1442695040888963407)
          local unit = (state >> 11) * 2.0 ^ -53
          if not low then return unit end
          if not high then low, high = 1, low end
          return low + math.floor(unit * (high - low + 1))
        end
        local ok, problem = pcall(live, random, counts)
        assert(ok, "seed " .. seed .. ": " .. tostring(problem))
        if seed == ROUNDS // 4 then
          collect()
          memory = collectgarbage "count"
        end
      end
      collect()
      assert.is_true(counts.started > ROUNDS)
      assert.is_true(counts.taken > ROUNDS * 0.3) -- about 0.25 of them where no life waits
      assert.is_true(counts.cancelled > ROUNDS / 4)
      assert.is_true(collectgarbage "count" - memory < 64, "Lua's memory grows")
      if base then assert.equal(base, descriptors()) end
    end)
  end)

  describe("what is no engine #L8", function()
    it("is refused by every method, a string and a transfer too", function()
      local engine <close> = open()
      local transfer = start(engine, SKU)
      for _, name in ipairs {
        "base", "close", "next", "pollfd", "redact", "start", "step", "wake_at",
      } do
        local method = engine[name]
        for _, wrong in ipairs { "text", 1, true, {}, print, io.stdout, transfer, core } do
          assert.error_matches(function() method(wrong, {}, 1) end, "mjtask.engine expected")
        end
        assert.error_matches(function() method() end, "mjtask.engine expected")
      end
      for _, name in ipairs { "answer", "cancel" } do
        local method = transfer[name]
        for _, wrong in ipairs { "text", 1, true, {}, print, io.stdout, engine, core } do
          assert.error_matches(function() method(wrong) end, "mjtask.transfer expected")
        end
      end
    end)

    it("cannot be reached by way of a metatable", function()
      local engine <close> = open()
      local transfer = start(engine, SKU)
      assert.is_false(getmetatable(engine))
      assert.is_false(getmetatable(transfer))
      assert.error(function() setmetatable(engine, {}) end)
      assert.is_nil(engine.__gc)
      assert.is_nil(transfer.__gc)
    end)
  end)

  it("refuses a request that is none, by name", function()
    local engine <close> = open()
    local good = path_of(SKU)
    for _, row in ipairs {
      { {}, "path" }, { { path = "" }, "path" }, { { path = 1 }, "path" },
      { { path = "mj" }, "path" }, { { path = "/mj/../x" }, "path" },
      { { path = "/mj//x" }, "path" }, { { path = "/mj?x" }, "path" },
      { { path = "/mj\0" }, "path" },
      { { path = "/" .. ("a"):rep(10000) }, "path" },
      { { path = good, timeout = "1" }, "timeout" }, { { path = good, timeout = -1 }, "timeout" },
      { { path = good, timeout = 0 / 0 }, "timeout" },
      { { path = good, timeout = math.huge }, "timeout" },
      { { path = good, max_body = 0 }, "max_body" }, { { path = good, max_body = {} }, "max_body" },
      { { path = good, body = {} }, "body" },
    } do
      assert.error_matches(function() engine:start(row[1], true) end, "^" .. row[2] .. " ")
    end
    assert.error_matches(function() engine:start("x", true) end, "table expected")
    assert.same({}, p:log())
  end)
end)

describe("core.file", function()
  it("refuses a path with a NUL, which would end there", function()
    assert.error_matches(function() core.file "/nonesuch/a.png\0.txt" end, "NUL")
    assert.error_matches(core.file, "string expected")
  end)
end)

describe("core.call", function()
  local function call(...) return core.call({}, table.pack(...)) end

  it("says that it was made, whose turn it is not any more, and lets go of what is told", function()
    local schedule, delivery = { current = 1, nested = false }, { n = 3, false, 2, 3 }
    delivery[1] = function(...)
      assert.same({ 2, 3 }, { ... })
      assert.same({ current = false, nested = true }, schedule)
      assert.same({ n = 3, made = true, delivery[1] }, delivery)
    end
    assert.is_true(core.call(schedule, delivery))
    assert.same({ current = false, nested = false }, schedule)
  end)

  it("returns true and all results, nils too", function()
    assert.same({ n = 5, true, nil, 2, nil, nil },
      table.pack(call(function(...) return ... end, nil, 2, nil, nil)))
    assert.same({ n = 1, true }, table.pack(call(function() end)))
  end)

  it("returns false and a string error with the traceback of where it was raised", function()
    local function culprit() error "oops" end
    local ok, problem = call(function()
      culprit()
      return 1
    end)
    assert.is_false(ok)
    local line = debug.getinfo(culprit, "S").linedefined
    assert.matches("engine_spec.lua:" .. line .. ": oops\nstack traceback:\n", problem, 1, true)
    assert.matches("in upvalue 'culprit'", problem, 1, true)
  end)

  it("keeps an error value that is no string", function()
    for _, value in ipairs { {}, true, print, setmetatable({}, { __tostring = error }) } do
      local ok, problem = call(error, value)
      assert.is_false(ok)
      assert.is_true(rawequal(value, problem))
    end
    assert.same({ n = 2, false, nil }, table.pack(call(error)))
  end)

  it("refuses a yield, in the main coroutine and in another, which may go on", function()
    local function yields()
      coroutine.yield(1)
      return "never"
    end
    local function ask()
      local ok, problem = call(yields)
      assert.is_false(ok)
      assert.matches("^a callback must not yield", problem)
      assert.matches("stack traceback", problem, 1, true)
      assert.matches("engine_spec.lua", problem, 1, true)
    end
    ask()
    local co = coroutine.create(function()
      ask()
      local got = coroutine.yield "parked"
      ask()
      return got
    end)
    assert.same({ true, "parked" }, { coroutine.resume(co) })
    assert.same({ true, "back" }, { coroutine.resume(co, "back") })
  end)

  it("lets a callback run coroutines of its own", function()
    local ok, value = call(function()
      local each = coroutine.wrap(function()
        coroutine.yield(1)
        return 2
      end)
      return each() + each()
    end)
    assert.is_true(ok)
    assert.equal(3, value)
  end)

  it("reports what cannot be called, and raises for nothing at all", function()
    local ok, problem = call(nil)
    assert.is_false(ok)
    assert.matches("attempt to call a nil value", problem, 1, true)
    assert.error_matches(function() core.call() end, "table expected")
  end)

  it("survives a callback without end", function()
    local function deeper() return 1 + deeper() end
    local ok, problem = core.call({}, { n = 1, deeper })
    assert.is_false(ok)
    assert.matches("stack overflow", tostring(problem), 1, true)
  end)
end)

describe("core.now #L12", function()
  it("goes on, and never back", function()
    local first = core.now()
    local last = first
    for _ = 1, 10000 do
      local now = core.now()
      assert(now >= last)
      last = now
    end
    socket.sleep(0.05)
    local elapsed = core.now() - last
    assert.is_true(elapsed >= 0.049 and elapsed < 0.05 + SLACK, elapsed)
  end)

  it("is no wall clock, which can be set", function()
    assert.is_true(core.now() < os.time() / 2)
  end)
end)

describe("core.id", function()
  it("takes unreserved characters only, anywhere in it", function()
    for byte = 0, 255 do
      local char = string.char(byte)
      local fine = char:find "^[%w%-._~]$" ~= nil and byte < 128
      for _, id in ipairs { char .. "ab", "a" .. char .. "b", "ab" .. char } do
        local got, fault = core.id(id)
        assert.equal(fine and id or nil, got, ("%q"):format(id))
        assert.equal(fine, fault == nil)
      end
    end
  end)

  it("takes 1 to 128 characters, and no dots alone but three", function()
    for id, fine in pairs {
      [""] = false, ["."] = false, [".."] = false, ["..."] = true, a = true, ["-1"] = true,
      [("x"):rep(128)] = true, [("x"):rep(129)] = false,
    } do
      assert.equal(fine and id or nil, (core.id(id)), id)
    end
  end)

  it("takes integers, and says what a float may be", function()
    assert.equal("1735030480754475", core.id(1735030480754475))
    assert.equal("0", core.id(0))
    assert.equal("9223372036854775807", core.id(math.maxinteger))
    assert.is_nil((core.id(-1)))
    assert.is_nil((core.id(math.mininteger)))
    for _, float in ipairs { 1735030480754475.0, 1.5, 0 / 0, math.huge } do
      local id, fault = core.id(float)
      assert.is_nil(id)
      assert.matches("is a float: was it decoded elsewhere?", fault, 1, true)
    end
  end)

  it("names the type of anything else, and changes no argument", function()
    for _, value in ipairs { {}, true, print, io.stdout, coroutine.create(print) } do
      local id, fault = core.id(value)
      assert.is_nil(id)
      assert.matches("not a ", fault, 1, true)
    end
    assert.is_nil((core.id(nil)))
    assert.is_nil((core.id()))
  end)
end)

describe("Ctrl-C", function()
  local SCRIPT = [[
    local mjtask = require "mjtask"
    local url, id, way, pid = ...
    local stat <close> = io.open "/proc/self/stat"
    local mj = mjtask.new { url = url, auth = "none" }
    assert(not require "mjtask.core".interrupted())
    -- os.execute would be deaf to Ctrl-C until the shell has ended
    HELD = io.popen(("sleep 0.25; kill -INT %d 2> /dev/null"):format(stat:read "n"))
    local function block()
      local task, err = mj:wait(id, { timeout = 8, request_timeout = 8 })
      print("it went on", task, err)
    end
    if way == "coroutine" then
      local co = coroutine.create(block)
      local ok, problem = coroutine.resume(co)
      error(problem, 0)
    end
    block()
  ]]

  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)

  for _, way in ipairs { "main script", "coroutine" } do
    for name, life in pairs {
      ["between two looks"] = { life = "stuck" },
      ["while the server is silent"] = { life = "stuck", fault = "stall" },
    } do
      it("ends a blocking wait in a " .. way .. ", " .. name, function()
        if not descriptors() then return pending "not run: there is no /proc" end
        p:reset()
        p:task(ID, life)
        local output, status, seconds = process.run(SCRIPT, { args = { p.url, ID, way } })
        assert.matches("interrupted!", output, 1, true)
        assert.equal(1, status)
        assert.is_nil(output:find "it went on")
        assert.is_true(seconds < 0.25 + 2 * SLACK, seconds) -- its start included
        assert.equal(1, #p:log())
      end)
    end
  end

  it("is seen by interrupted() only where the interpreter's own hook is", function()
    assert.is_false(core.interrupted())
    debug.sethook(function() end, "crl", 1000)
    local other = core.interrupted()
    debug.sethook()
    assert.is_false(other)
  end)
end)
