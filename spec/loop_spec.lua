-- Clients in event loops: who is parked and who blocks, when the loop goes on and when it ends, and
-- where errors go. The same for every loop, but where it says so.

local child = require "support.child"
local descriptors = require "support.descriptors"
local hosts = require "support.hosts"
local mjtask = require "mjtask"
local proxy = require "support.proxy"
local failed_with = require "support.fails_with"

local ID = "1735030480000001"
local OTHER = "1735030480000002"
local STUCK = "1735030480000003"

local p, told

local function new(host, fields)
  local given = {
    url = p.url, auth = "none", interval = 0.1, allow_private = true, loop = host.loop,
  }
  for name, value in pairs(fields or {}) do given[name] = value end
  return mjtask.new(given)
end

local function note(name)
  return function(...) told[#told + 1] = table.pack(name, ...) end
end

local function names()
  local list = {}
  for at, entry in ipairs(told) do list[at] = entry[1] end
  return list
end

local function delayed(id, seconds)
  p:task(id, { life = "done", script = { { delay = seconds } } })
  return id
end

local function nothing_left(mj)
  local schedule = mj.schedule
  assert.is_nil(next(schedule.operations))
  assert.equal(0, schedule.count)
  assert.equal(0, schedule.timers.count)
  assert.equal(0, schedule.inflight)
  assert.is_true(schedule.deliveries:is_empty())
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  told = {}
  p:task(ID, { life = "done" })
  p:task(OTHER, { life = "done" })
  p:task(STUCK, { life = "done", fault = "stall" })
end)

for _, name in ipairs { "luv", "cqueues", "timer" } do
  describe("in the loop of " .. name .. ",", function()
    local host, mj
    local watches = name ~= "timer" -- the loop serves calls by callback, too

    local _, missing = hosts.new(name)
    if missing then return it("clients run", function() pending(missing) end) end

    before_each(function()
      host = hosts.new(name)
      mj = new(host)
    end)

    after_each(function()
      if mj then mj:close() end
      mj = nil
    end)

    local function run_well()
      assert.same({}, host.run())
    end

    -- A test for this loop, or only for those for which `fits` holds.
    local function test(what, f, fits)
      if fits ~= false then it(what, f) end
    end

    test("a plain call parks its coroutine, and the others go on", function()
      for n = 1, 5 do
        delayed(ID .. n, 0.3)
        host.go(function() note(n) (mj:fetch(ID .. n)) end)
      end
      assert.same({}, told)
      run_well()
      assert.equal(5, #told)
      for _, entry in ipairs(told) do assert.equal(ID .. entry[1], entry[2].id) end
      assert.equal(5, p:connections()) -- each before the first was answered
      nothing_left(mj)
    end)

    test("a parked call gives what a blocking one gives, whatever it is", function()
      p:set { dialect = "plus" }
      local folder, remove = child.directory()
      local serial = 0
      local calls = {
        function() return mj:fetch(ID) end, function() return mj:fetch "nonesuch" end,
        function() return mj:fetch_many { ID, OTHER, "nonesuch" } end,
        function() return mj:wait(ID) end, function() return mj:wait(STUCK, { timeout = 0.2 }) end,
        function() return mj:submit("imagine", { prompt = "x" }) end,
        function() return mj:press(ID, "U1") end, function() return mj:press(ID, "U9") end,
        function() return mj:seed(ID) end, function() return mj:download("", folder .. "/x") end,
        function()
          serial = serial + 1
          return mj:download(p.other_url .. "/attachments/a.png", folder .. "/" .. serial)
        end,
      }
      local function shape(...)
        local value, err = ...
        if value == nil then return select("#", ...), err.kind, err.id, err.attempts end
        if type(value) == "string" then
          return select("#", ...), value:match "^(.*/)%d+$" or value
        end
        return select("#", ...), value.code, value.status, value[ID] and value[ID].id,
          err and err.nonesuch.kind
      end
      for _, call in ipairs(calls) do
        local blocking, parked = table.pack(shape(call())), nil
        host.go(function() parked = table.pack(shape(call())) end)
        run_well()
        assert.same(blocking, parked)
      end
      remove()
      nothing_left(mj)
    end)

    test("outside of its coroutines a call blocks", function()
      assert.equal(ID, mj:fetch(ID).id)
      local thread = coroutine.create(function() return mj:fetch(ID) end)
      if watches then -- the other loop takes any coroutine for one of its own
        local _, task = coroutine.resume(thread)
        assert.equal("dead", coroutine.status(thread))
        assert.equal(ID, task.id)
      end
      run_well()
    end)

    test("only the loop's own coroutines are parked, none that they make", function()
      host.go(function()
        local wrapped = coroutine.wrap(function()
          coroutine.yield "a value"
          return mj:fetch(ID)
        end)
        assert.equal("a value", wrapped())
        note "inner" (wrapped())
      end)
      run_well()
      assert.equal(ID, told[1][2].id)
    end, watches)

    test("inside a callback a call blocks", function()
      p:task(ID .. 1, { life = "stuck" })
      host.go(function()
        mj:fetch(ID, function()
          assert.is_false(coroutine.isyieldable())
          note "inner" (mj:fetch(OTHER))
          p:task(ID .. 1, { life = "done" })
        end)
        note "parked" (mj:wait(ID .. 1))
      end)
      run_well()
      assert.same({ "inner", "parked" }, names())
      assert.equal(OTHER, told[1][2].id)
      nothing_left(mj)
    end)

    test("a finalizer's call blocks, in whichever coroutine it runs", function()
      host.go(function()
        setmetatable({}, { __gc = function() note "finalizer" (mj:fetch(OTHER)) end })
        collectgarbage()
        collectgarbage()
        note "parked" (mj:fetch(ID))
      end)
      run_well()
      assert.same({ "finalizer", "parked" }, names())
      assert.equal(OTHER, told[1][2].id)
      nothing_left(mj)
    end)

    test("a blocking call outside serves the parked ones, and calls back", function()
      if name == "cqueues" then mj:pollfd() end
      host.go(function() note "parked" (mj:fetch(ID)) end)
      p:task(ID .. 1, { life = "stuck" })
      mj:fetch(ID, function(...)
        note "callback" (...)
        p:task(ID .. 1, { life = "done" })
      end)
      note "blocking" (mj:wait(ID .. 1))
      run_well()
      local list = names()
      table.sort(list)
      assert.same({ "blocking", "callback", "parked" }, list)
      nothing_left(mj)
    end)

    test("a coroutine may call again and again", function()
      host.go(function()
        for n = 1, 10 do
          local task = assert(n % 2 == 0 and mj:fetch(ID) or mj:wait(ID))
          note(n)(task)
          if n % 3 == 0 then host.sleep(0.01) end
        end
      end)
      run_well()
      assert.equal(10, #told)
      nothing_left(mj)
    end)

    test("many coroutines wait for few places", function()
      mj:close()
      mj = new(host, { max_inflight = 3 })
      for n = 1, 100 do
        host.go(function() note(n) (mj:fetch(ID)) end)
      end
      run_well()
      assert.equal(100, #told)
      nothing_left(mj)
    end)

    test("a watcher's loop parks, too", function()
      p:task(ID, { life = "short" })
      host.go(function()
        for id, task, err in mj:watch { ID, OTHER, "nonesuch" } do
          note(id)(task, err)
        end
        note "end" ()
      end)
      run_well()
      assert.equal(4, #told)
      assert.equal("end", told[4][1])
      nothing_left(mj)
    end)

    describe("the loop", function()
      test("ends at once with nothing under way", function()
        run_well()
        assert(mj:fetch(ID))
        run_well()
        host.go(function() mj:fetch(ID) end)
        run_well()
        run_well()
      end)

      test("goes on while a callback is to be told, and ends then", function()
        for round = 1, 3 do
          mj:fetch(delayed(ID .. round, 0.05), note(round))
          mj:download("", "/nonesuch/x", note "at once")
          run_well()
          assert.equal(2 * round, #told)
        end
        mj:fetch(STUCK, note "cancelled"):cancel()
        run_well()
        assert.equal("aborted", told[7][3].kind)
        nothing_left(mj)
      end, watches)

      test("goes on while a call is under way that a coroutine left by callback", function()
        host.go(function() mj:wait(ID, note "done") end)
        run_well()
        assert.same({ "done" }, names())
      end, watches)

      test("goes on for what callbacks bring forth", function()
        mj:download("", "/x", function()
          mj:download("", "/x", function() mj:fetch(ID, note "third") end)
        end)
        run_well()
        assert.same({ "third" }, names())
      end, watches)

      test("serves several clients", function()
        local second <close> = new(host)
        for n = 1, 3 do
          host.go(function() note "first" (mj:fetch(ID)) end)
          host.go(function() note "second" (second:fetch(OTHER)) end)
          host.go(function()
            note "both" (mj:fetch(ID .. n) == nil and second:fetch(OTHER))
          end)
        end
        run_well()
        assert.equal(9, #told)
        for _, entry in ipairs(told) do
          assert.equal(entry[1] == "first" and ID or OTHER, entry[2].id)
        end
        nothing_left(mj)
        nothing_left(second)
      end)

      test("of another kind beside it does not park for this client", function()
        local other = hosts.new(name == "cqueues" and "luv" or "cqueues")
        if not other then return pending "not run: there is no second loop" end
        local second <close> = new(other)
        host.go(function() note "mine" (mj:fetch(ID)) end)
        other.go(function()
          note "its own" (second:fetch(OTHER))
          if watches then note "blocking" (mj:fetch(ID)) end
        end)
        run_well()
        assert.same({}, other.run())
        assert.equal(watches and 3 or 2, #told)
        nothing_left(mj)
      end)
    end)

    describe("an error", function()
      local function culprit() error "the culprit's" end
      local line = "loop_spec.lua:" .. debug.getinfo(culprit, "S").linedefined .. ": the culprit's"

      test("in a callback goes to the loop, which goes on", function()
        mj:fetch(ID, culprit)
        mj:fetch(delayed(ID .. 1, 0.05), note "later")
        mj:download("", "/x", culprit)
        local errors = host.run()
        assert.equal(2, #errors)
        for _, message in ipairs(errors) do
          assert.matches(line, message, 1, true)
          assert.matches("stack traceback", message, 1, true)
        end
        assert.same({ "later" }, names())
        run_well()
        nothing_left(mj)
      end, watches)

      test("in a callback goes to a parked caller, where nobody else steps", function()
        mj:fetch(ID, culprit)
        host.go(function() note "call" (pcall(mj.wait, mj, STUCK)) end)
        run_well()
        assert.is_false(told[1][2])
        assert.matches(line, told[1][3], 1, true)
        nothing_left(mj)
      end, not watches)

      for _, life in ipairs { "stuck", "done" } do
        test("in a parked call's progress is raised by that call: a life of " .. life, function()
          p:task(ID, { life = life })
          p:task(OTHER, { life = "stuck" })
          host.go(function()
            note "call" (pcall(mj.wait, mj, ID, { progress = culprit }))
            p:task(OTHER, { life = "done" })
          end)
          host.go(function() note "other" (mj:wait(OTHER)) end)
          run_well()
          assert.same({ "call", "other" }, names())
          assert.is_false(told[1][2])
          assert.matches(line, told[1][3], 1, true)
          assert.equal(OTHER, told[2][2].id)
          nothing_left(mj)
        end)
      end

      test("in the coroutine itself goes to the loop", function()
        host.go(function()
          mj:fetch(ID)
          culprit()
        end)
        host.go(function() note "other" (mj:fetch(delayed(OTHER, 0.05))) end)
        local errors = host.run()
        assert.equal(1, #errors)
        assert.matches(line, tostring(errors[1]), 1, true)
        assert.same({ "other" }, names())
        nothing_left(mj)
      end)
    end)

    describe("a parked coroutine #L4", function()
      test("that is closed leaves nothing behind", function()
        local thread
        host.go(function()
          thread = coroutine.running()
          note "call" (mj:fetch(STUCK))
        end)
        host.go(function()
          host.sleep(0.05)
          assert.is_true(coroutine.close(thread))
          note "count" (mj.schedule.count)
          if name == "cqueues" then host.cq = nil end -- which waits for the dead as well
        end)
        if name == "cqueues" then
          for _ = 1, 20 do assert(host.cq:step(0.01)) if told[1] then break end end
        else
          run_well()
        end
        assert.same({ { "count", 0, n = 2 } }, told)
        nothing_left(mj)
      end)

      test("that is closed when the answer is there is not woken", function()
        local thread = host.go(function() note "call" (mj:fetch(ID)) end)
        local deadline = os.time() + 10
        repeat
          mj.schedule:step(0.05)
          assert(os.time() < deadline)
        until mj.schedule.count == 0
        assert.is_true(coroutine.close(thread))
        mj:step(0)
        run_well()
        assert.same({}, told)
        nothing_left(mj)
      end, name ~= "cqueues")

      test("that nobody holds any more leaves nothing behind", function()
        coroutine.wrap(function()
          host.drop(host.go(function() note "call" (mj:fetch(STUCK)) end))
        end)()
        assert.equal(1, mj.schedule.count)
        collectgarbage()
        collectgarbage()
        nothing_left(mj)
        run_well()
        assert.same({}, told)
      end, name == "timer")

      test("that was closed is not held by the loop", function()
        local weak = setmetatable({}, { __mode = "k" })
        coroutine.wrap(function()
          local thread = host.go(function() mj:fetch(STUCK) end)
          weak[thread] = true
          coroutine.close(thread)
        end)()
        collectgarbage()
        collectgarbage()
        assert.is_nil(next(weak))
        run_well()
      end, name == "luv")

      test("that somebody else resumes waits on, and returns once", function()
        local thread = host.go(function() note "call" (mj:fetch(delayed(ID, 0.1))) end)
        for _ = 1, 3 do
          assert.is_true(coroutine.resume(thread, "nonsense"))
          assert.same({}, told)
        end
        run_well()
        assert.equal(1, #told)
        assert.equal(ID, told[1][2].id)
        assert.equal("dead", coroutine.status(thread))
        nothing_left(mj)
      end, name == "luv")

      test("that somebody else resumed, and that sleeps elsewhere now, is not woken", function()
        local thread
        mj:download("", "/x", function() assert(coroutine.resume(thread)) end)
        thread = host.go(function()
          note "call" (mj:fetch(ID))
          note "yields" (coroutine.yield())
        end)
        local deadline = os.time() + 10
        repeat -- the answer is there, and to be told behind the callback
          mj.schedule:step(0.05)
          assert(os.time() < deadline)
        until mj.schedule.count == 0
        run_well()
        assert.same({ "call" }, names())
        assert.equal(ID, told[1][2].id)
        coroutine.resume(thread, "by hand")
        assert.equal("by hand", told[2][2])
      end, name == "luv")
    end)

    describe("closing the client", function()
      test("gives every parked call `closed`, and ends the loop", function()
        for n = 1, 5 do
          host.go(function() note(n) (mj:fetch(n % 2 == 0 and STUCK or ID .. "x")) end)
          host.go(function() note(n) (mj:wait(STUCK, { interval = 60 })) end)
        end
        host.go(function()
          host.sleep(0.02)
          mj:fetch(STUCK, note "callback")
          mj:close()
        end)
        run_well()
        assert.equal(11, #told)
        for _, entry in ipairs(told) do
          local err = entry[3]
          assert.is_true(err.kind == "closed" or entry[1] ~= "callback" and err.kind == "not_found")
        end
        nothing_left(mj)
      end)

      test("from outside, from a callback and from progress does as well", function()
        host.go(function() note "parked" (mj:fetch(STUCK)) end)
        if name == "cqueues" then host.cq:step(0) end
        mj:close()
        run_well()
        failed_with("closed", table.unpack(told[1], 2, told[1].n))
        mj = new(host)
        p:task(ID, { life = "stuck" })
        host.go(function() note "parked" (mj:fetch(STUCK)) end)
        host.go(function()
          note "parked" (mj:wait(ID, { progress = function() mj:close() end }))
        end)
        run_well()
        assert.equal(3, #told)
        for _, entry in ipairs(told) do
          failed_with("closed", table.unpack(entry, 2, entry.n))
        end
      end)

      test("raises in coroutines that call on", function()
        host.go(function()
          note "parked" (mj:fetch(STUCK))
          note "again" (pcall(mj.fetch, mj, ID))
        end)
        host.go(function()
          host.sleep(0.02)
          mj:close()
        end)
        run_well()
        assert.same({ "parked", "again" }, names())
        assert.is_false(told[2][2])
        assert.matches("the client is closed", told[2][3], 1, true)
      end)

      test("closes its descriptors, and leaves the loop to others", function()
        mj:close()
        local second = new(host)
        collectgarbage()
        local before = descriptors()
        if not before then return pending "not run: there is no /proc" end
        for _ = 1, 5 do
          mj = new(host)
          host.go(function() note "call" (mj:fetch(ID)) end)
          run_well()
          mj:close()
        end
        collectgarbage()
        assert.is_true(descriptors() <= before)
        host.go(function() note "second" (second:fetch(ID)) end)
        run_well()
        assert.equal("second", told[6][1])
        second:close()
      end)
    end)

    describe("a client that nobody holds", function()
      local function use(busy)
        local client = new(host)
        client:fetch(busy and delayed(ID, 0.1) or ID, note "told")
        while not busy and client:step(1) do end
        return setmetatable({ client }, { __mode = "v" })
      end

      test("goes while it is idle, and its descriptors", function()
        mj:close()
        collectgarbage()
        collectgarbage()
        local before = descriptors()
        local weak = coroutine.wrap(use)(false)
        if before then assert.is_true(descriptors() > before) end
        collectgarbage()
        collectgarbage()
        assert.is_nil(weak[1])
        if before then assert.is_true(descriptors() <= before) end
        run_well()
      end)

      test("stays while it is busy", function()
        local weak = coroutine.wrap(use)(true)
        collectgarbage()
        collectgarbage()
        assert.is_truthy(weak[1])
        run_well()
        assert.same({ "told" }, names())
        collectgarbage()
        collectgarbage()
        assert.is_nil(weak[1])
      end, watches)
    end)
  end)
end
