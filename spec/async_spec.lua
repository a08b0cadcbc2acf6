-- Calls by callback: what `done` is told, when, and how often; and what user code may do meanwhile.
-- How they end from outside is in async_end_spec.lua, what a host's loop sees in pollfd_spec.lua.

local core = require "mjtask.core"
local child = require "support.child"
local mjtask = require "mjtask"
local proxy = require "support.proxy"
local failed_with = require "support.fails_with"

local ID = "1735030480000001"
local OTHER = "1735030480000002"
local UNKNOWN = "1735030480009999"
local LIMIT = 10 -- seconds after which a test gives up

local p, mj, clients, told

local function new(fields)
  local given = { url = p.url, auth = "none", interval = 0.1, allow_private = true }
  for name, value in pairs(fields or {}) do given[name] = value end
  local client = mjtask.new(given)
  clients[#clients + 1] = client
  return client
end

-- A callback that notes what it was told, under a name.
local function note(name)
  return function(...) told[#told + 1] = table.pack(name, ...) end
end

-- The names, in the order in which they were told.
local function names()
  local list = {}
  for at, entry in ipairs(told) do list[at] = entry[1] end
  return list
end

-- Runs a client's callbacks to the end.
local function run(client)
  local deadline = core.now() + LIMIT
  while (client or mj):step(1) do assert(core.now() < deadline, "it does not end") end
end

local function nothing_left(client)
  local schedule = (client or mj).schedule
  assert.is_nil(next(schedule.operations))
  assert.equal(0, schedule.count)
  assert.equal(0, schedule.timers.count)
  assert.equal(0, schedule.inflight)
  assert.is_true(schedule.deliveries:is_empty())
  assert.is_false(schedule.nested)
end

-- A call that ends at once: there is no picture to download.
local function fail_at_once(client, done)
  return client:download("", "/nonesuch/picture", done)
end

-- The line on which `f` is defined.
local function line_of(f)
  return "async_spec.lua:" .. debug.getinfo(f, "S").linedefined .. ":"
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  p:set { dialect = "plus" } -- which has all the routes
  clients, told = {}, {}
  p:task(ID, { life = "done" })
  p:task(OTHER, { life = "done" })
  mj = new()
end)

after_each(function()
  for _, client in ipairs(clients) do client:close() end
end)

describe("a callback #I5", function()
  local folder, remove
  local serial = 0
  before_each(function() folder, remove = child.directory() end)
  after_each(function() remove() end)

  -- How each method is called, and what of its value is the same in another call.
  local function id_of(value) return value.id end
  local METHODS = {
    fetch = { function() return ID end, id_of },
    fetch_many = { function() return { ID, OTHER, UNKNOWN } end, function(tasks, errors)
      return ("%s %s %s"):format(tasks[ID].id, tasks[OTHER].id, errors[UNKNOWN].kind)
    end },
    wait = { function() return ID end, id_of },
    submit = { function() return "imagine", { prompt = "a cat" } end, function(receipt)
      return receipt.code
    end },
    press = { function() return ID, "U1" end, function(receipt) return receipt.code end },
    cancel = { function()
      p:task(ID, { life = "stuck" })
      return ID
    end, tostring },
    seed = { function() return ID end, tostring },
    download = { function()
      serial = serial + 1
      return p.other_url .. "/attachments/a.png", folder .. "/" .. serial
    end, function(path) return path:match "^.*/" end },
  }

  -- Calls it with these after its own arguments.
  local function call(client, name, ...)
    local arguments = table.pack(METHODS[name][1]())
    return client[name](client, table.unpack(table.move(table.pack(...), 1, select("#", ...),
      arguments.n + 1, arguments), 1, arguments.n + select("#", ...)))
  end

  for name, row in pairs(METHODS) do
    local shape = row[2]

    it("of " .. name .. " is told what the plain call gives", function()
      local plain = table.pack(call(mj, name))
      call(mj, name, {}, note "with options")
      call(mj, name, nil, note "with nil")
      call(mj, name, note "in their place")
      assert.same({}, told)
      run()
      assert.equal(3, #told)
      for _, entry in ipairs(told) do
        assert.equal(plain.n + 1, entry.n)
        assert.equal(shape(table.unpack(plain)), shape(table.unpack(entry, 2, entry.n)))
      end
      nothing_left()
    end)

    it("of " .. name .. " is told of a failure as the plain call tells it", function()
      local nobody = new { url = proxy.closed_url(), retries = 0, timeout = 5 }
      local function failing(...)
        if name ~= "download" then return call(nobody, name, ...) end
        return nobody:download(proxy.closed_url() .. "/a.png", folder .. "/a.png", ...)
      end
      local plain = failed_with(select(2, failing()).kind, failing())
      failing(note "it")
      run(nobody)
      assert.equal(1, #told)
      assert.equal(3, told[1].n)
      local err = failed_with(plain.kind, table.unpack(told[1], 2, 3))
      assert.equal(plain.id, err.id)
      assert.equal(plain.attempts, err.attempts)
      nothing_left(nobody)
    end)

    it("of " .. name .. " is a function, or the call raises before any socket is opened", function()
      local callable = setmetatable({}, { __call = note "callable" })
      local thread = coroutine.create(note)
      for _, bad in ipairs { 1, "done", {}, true, false, thread, io.stdout, callable } do
        local ok, problem = pcall(function() call(mj, name, nil, bad) end)
        assert.is_false(ok)
        assert.matches("async_spec.lua:%d+: done: a function expected, got " .. type(bad) .. "$",
          problem)
      end
      local ok, problem = pcall(function() call(mj, name, print, print) end)
      assert.is_false(ok)
      assert.matches("async_spec.lua:%d+: options: a table expected, got function$", problem)
      ok, problem = pcall(function() call(mj, name, { done = print }, print) end)
      assert.is_false(ok)
      assert.matches('options: unknown option "done"', problem, 1, true)
      assert.is_false(mj:step(0))
      assert.same({}, p:log())
      assert.equal(0, p:connections())
      nothing_left()
    end)
  end

  it("takes the place of nothing else: wrong ids and bodies raise at once", function()
    for _, f in ipairs {
      function() mj:fetch("a/b", print) end, function() mj:wait({}, print) end,
      function() mj:submit("imagine", "text", print) end,
      function() mj:submit("imagine", { id = 0 / 0 }, print) end,
      function() mj:press(ID, print) end, function() mj:download(print) end,
      function() mj:download("http://127.0.0.1/a.png", print) end,
      function() mj:fetch_many({ "a/b" }, print) end, function() mj:fetch(print) end,
    } do
      local ok, problem = pcall(f)
      assert.is_false(ok)
      assert.matches("async_spec.lua:%d+: ", problem)
    end
    assert.same({}, p:log())
    nothing_left()
  end)

  it("is told once, by a step, and not inside the call", function()
    p:task(ID, { life = "done", script = { { delay = 0.3 } } })
    local fetching = mj:fetch(ID, note "fetch")
    local failing = fail_at_once(mj, note "at once")
    assert.same({}, told)
    assert.is_false(fetching:done())
    assert.is_false(failing:done())
    mj:step(0)
    assert.same({ "at once" }, names())
    assert.is_true(failing:done())
    assert.is_false(fetching:done())
    run()
    assert.same({ "at once", "fetch" }, names())
    assert.is_true(fetching:done())
    for _ = 1, 3 do assert.is_false(mj:step(0)) end
    assert.equal(2, #told)
    nothing_left()
  end)

  it("is told in the order in which things happened", function()
    local narrow = new { max_inflight = 1 } -- who fails comes behind those who wait
    narrow.schedule.random = function() return 0 end -- without backoff
    for n = 1, 3 do
      p:task(ID .. n, { life = "done", script = { n == 1 and { status = 500 } or nil } })
      narrow:fetch(ID .. n, note(n))
    end
    for n = 4, 6 do fail_at_once(narrow, note(n)) end
    run(narrow)
    assert.same({ 4, 5, 6, 2, 3, 1 }, names())
    assert.equal(4, #p:log())
  end)

  it("comes after the progress and the trace of its call", function()
    local traced = new { trace = function(event) note(event.event)() end }
    p:task(ID, { life = "short" })
    traced:wait(ID, { progress = function(task) note(task.status)() end }, note "done")
    run(traced)
    local all = table.concat(names(), " ")
    assert.equal("request answer SUBMITTED wait request answer IN_PROGRESS wait "
      .. "request answer SUCCESS done", all)
  end)

  it("is told though nobody holds the operation", function()
    for _ = 1, 5 do mj:wait(ID, note "done") end
    collectgarbage()
    collectgarbage()
    run()
    assert.equal(5, #told)
  end)

  it("may be the same function for many calls", function()
    local done = note "one"
    local a, b = mj:fetch(ID, done), mj:fetch(OTHER, done)
    run()
    assert.is_true(a:done() and b:done())
    assert.equal(2, #told)
  end)

  it("is told of what was kept waiting by max_inflight", function()
    local one = new { max_inflight = 1 }
    for n = 1, 5 do one:fetch(ID, note(n)) end
    run(one)
    assert.same({ 1, 2, 3, 4, 5 }, names())
  end)

  it("has its place also while a call blocks", function()
    local one <close> = new { max_inflight = 1 }
    p:task(ID, { fault = "stall" })
    local operation = one:fetch(ID, function() end)
    local task, err = one:fetch(OTHER, { timeout = 0.2 })
    failed_with("timeout", task, err)
    local deadline = core.now() + LIMIT
    while #p:log() == 0 do
      assert(core.now() < deadline)
      one:step(0.05)
    end
    assert.equal(1, #p:log())
    operation:cancel()
    assert(one:fetch("1735030480754475"))
  end)

  describe("may", function()
    it("start further calls, which are told by a later step", function()
      local depth = 0
      local function again(task, err)
        assert.is_nil(task)
        failed_with("no_image", task, err)
        depth = depth + 1
        if depth < 100 then fail_at_once(mj, again) end
      end
      fail_at_once(mj, again)
      for n = 1, 100 do
        assert.equal(n < 100, mj:step(0))
        assert.equal(n, depth)
      end
      nothing_left()
    end)

    it("make plain calls, which block", function()
      local inside
      mj:fetch(ID, function(task)
        assert.is_false(coroutine.isyieldable())
        inside = mj:fetch(OTHER)
        note "outer"(task)
      end)
      run()
      assert.equal(OTHER, inside.id)
      assert.equal(ID, told[1][2].id)
      nothing_left()
    end)

    it("make plain calls, during which only their own callbacks run", function()
      p:task(ID, { life = "short" })
      mj:fetch(OTHER, function()
        fail_at_once(mj, note "started inside")
        note "begins" ()
        assert(mj:wait(ID, { progress = note "progress" }))
        note "ends" ()
      end)
      fail_at_once(mj, function() mj:fetch(OTHER, note "other") end)
      run()
      local all = table.concat(names(), " ")
      assert.matches("begins progress progress progress ends", all, 1, true)
      assert.matches("ends.*started inside", all)
      assert.matches("other", all, 1, true)
      assert.equal(7, #told)
    end)

    it("step, which moves everything on but runs no user code", function()
      local finished
      p:task(ID, { life = "done", script = { { delay = 0.3 } } })
      fail_at_once(mj, function()
        mj:fetch(ID, note "fetch")
        local others = 0
        while mj:step(1) do others = others + 1 end
        assert.is_true(others > 0)
        assert.is_false(mj:step(0))
        assert.same({}, told)
        finished = mj.schedule.deliveries.count
      end)
      fail_at_once(mj, function() end)
      run()
      assert.equal(2, finished) -- the fetch, and what came after this one
      assert.same({ "fetch" }, names())
      nothing_left()
    end)

    it("collect garbage", function()
      for n = 1, 20 do
        mj:fetch(ID, function(task)
          collectgarbage()
          assert.equal(ID, task.id)
          note(n)()
        end)
      end
      run()
      assert.equal(20, #told)
    end)

    it("drop the last reference to its client", function()
      local dropped = setmetatable({ mjtask.new { url = p.url, auth = "none" } }, { __mode = "v" })
      do
        local client = dropped[1]
        fail_at_once(client, function()
          client = nil
          collectgarbage()
          collectgarbage()
          note "told" ()
        end)
        fail_at_once(client, note "and the next")
        client:step(0)
      end
      assert.same({ "told", "and the next" }, names())
      collectgarbage()
      collectgarbage()
      assert.is_nil(dropped[1])
    end)

    -- Where each nested call ran the callbacks of all it would end in "C stack overflow" at some
    -- hundred levels.
    it("make blocking calls 200 levels of callbacks deep", function()
      local level = 0
      local function go_on(task, err)
        assert(task, err)
        level = level + 1
        if level == 200 then return end
        mj:fetch(ID, go_on)
        assert(mj:fetch(OTHER))
      end
      mj:fetch(ID, go_on)
      run()
      assert.equal(200, level)
      nothing_left()
    end)

    it("make blocking calls while 200 others are to be told", function()
      local count, inside, deepest = 0, 0, 0
      for _ = 1, 200 do
        mj:fetch(ID, function(task)
          assert(task)
          inside = inside + 1
          deepest = math.max(deepest, inside)
          assert(mj:fetch(OTHER))
          inside = inside - 1
          count = count + 1
        end)
      end
      run()
      assert.equal(200, count)
      assert.equal(1, deepest)
      nothing_left()
    end)

    it("use another client, whose callbacks run then", function()
      local second = new()
      mj:fetch(ID, function()
        second:fetch(OTHER, note "second")
        run(second)
        note "first" ()
      end)
      run()
      assert.same({ "second", "first" }, names())
    end)
  end)

  describe("that raises", function()
    local function culprit() error "the first" end

    it("keeps nobody from being told; step raises its error, with where it was made", function()
      fail_at_once(mj, note "before")
      local failing = fail_at_once(mj, culprit)
      fail_at_once(mj, note "between")
      fail_at_once(mj, function() error "the second" end)
      fail_at_once(mj, note "after")
      local ok, problem = pcall(mj.step, mj, 0)
      assert.is_false(ok)
      assert.same({ "before", "between", "after" }, names())
      assert.matches(line_of(culprit) .. " the first", problem, 1, true)
      assert.matches("stack traceback", problem, 1, true)
      assert.is_nil(problem:find("the second", 1, true))
      assert.is_true(failing:done())
      ok, problem = pcall(mj.step, mj, 0)
      assert.is_false(ok)
      assert.matches("the second", problem, 1, true)
      assert.is_false(mj:step(0)) -- each raised once
      nothing_left()
    end)

    it("may raise anything", function()
      local own = setmetatable({}, { __tostring = function() return "mine" end })
      for _, value in ipairs { own, 7, false } do
        fail_at_once(mj, function() error(value) end)
        local ok, problem = pcall(mj.step, mj, 0)
        assert.is_false(ok)
        if value == 7 then
          assert.matches("^7\nstack traceback", problem)
        else
          assert.is_true(rawequal(value, problem))
        end
      end
      fail_at_once(mj, function() error(nil) end)
      assert.is_false((pcall(mj.step, mj, 0)))
      nothing_left()
    end)

    it("is raised by the outermost step, not by one inside a callback", function()
      local inner
      fail_at_once(mj, function()
        fail_at_once(mj, culprit)
        inner = pcall(mj.step, mj, 0)
      end)
      assert.is_true(mj:step(0))
      assert.is_true(inner)
      assert.is_false((pcall(mj.step, mj, 0)))
    end)

    it("during a blocking call fails that call, of which nothing is left", function()
      p:task(OTHER, { life = "stuck" })
      fail_at_once(mj, culprit)
      fail_at_once(mj, note "the other")
      local ok, problem = pcall(mj.wait, mj, OTHER)
      assert.is_false(ok)
      assert.matches(line_of(culprit) .. " the first", problem, 1, true)
      assert.same({ "the other" }, names())
      nothing_left()
      ok, problem = pcall(mj.wait, mj, OTHER, { progress = culprit })
      assert.is_false(ok)
      assert.matches(line_of(culprit) .. " the first", problem, 1, true)
      nothing_left()
      assert.equal(ID, mj:fetch(ID).id)
    end)

    it("in a callback's blocking call fails that call, and that callback if it lets it", function()
      p:task(OTHER, { life = "short" })
      local caught
      fail_at_once(mj, function()
        caught = table.pack(pcall(mj.wait, mj, OTHER, { progress = culprit }))
        mj:wait(OTHER, { progress = culprit })
      end)
      local ok, problem = pcall(mj.step, mj, 0)
      assert.is_false(caught[1])
      assert.matches("the first", caught[2], 1, true)
      assert.is_false(ok)
      assert.matches("the first", problem, 1, true)
      nothing_left()
    end)

    it("as the progress of a call by callback is raised by step, and the call goes on", function()
      p:task(ID, { life = "short" })
      mj:wait(ID, { progress = culprit }, note "done")
      local raised = 0
      local deadline = core.now() + LIMIT
      while #told == 0 do
        assert(core.now() < deadline)
        if not pcall(mj.step, mj, 1) then raised = raised + 1 end
      end
      assert.is_true(raised >= 2)
      assert.equal(ID, told[1][2].id)
      nothing_left()
    end)

    it("leaves the registry as it was", function()
      local function size()
        local count = 0
        for _ in pairs(debug.getregistry()) do count = count + 1 end
        return count
      end
      local before
      for round = 1, 60 do
        if round == 10 then before = size() end
        fail_at_once(mj, culprit)
        mj:fetch(ID, culprit)
        mj:fetch(OTHER, note "done"):cancel()
        local deadline = core.now() + LIMIT
        while next(mj.schedule.operations) or not mj.schedule.deliveries:is_empty() do
          assert(core.now() < deadline)
          pcall(mj.step, mj, 1)
        end
      end
      assert.equal(before, size())
      nothing_left()
    end)
  end)

  describe("that yields", function()
    it("fails with a message that says so, in any coroutine", function()
      fail_at_once(mj, coroutine.yield)
      local ok, problem = pcall(mj.step, mj, 0)
      assert.is_false(ok)
      assert.matches("^a callback must not yield %(attempt to yield", problem)
      local thread = coroutine.create(function()
        fail_at_once(mj, function() coroutine.yield() end)
        mj:step(0)
      end)
      ok, problem = coroutine.resume(thread)
      assert.is_false(ok)
      assert.equal("dead", coroutine.status(thread))
      assert.matches("^a callback must not yield %(attempt to yield", problem)
      nothing_left()
    end)

    it("may do so in a coroutine of its own", function()
      local values = {}
      fail_at_once(mj, function()
        for value in coroutine.wrap(function()
          coroutine.yield(1)
          coroutine.yield(2)
        end) do values[#values + 1] = value end
      end)
      mj:step(0)
      assert.same({ 1, 2 }, values)
    end)
  end)

  describe("of a call that fails by a fault of the library itself", function()
    it("is told so, and step raises the fault", function()
      local pace = mj.pace
      mj.pace = setmetatable({}, { __index = function() error "a broken pace" end })
      mj:wait(ID, note "wait")
      mj:fetch_many({ ID, OTHER }, note "many")
      mj.pace = pace
      local raised = 0
      local deadline = core.now() + LIMIT
      while not mj.schedule.deliveries:is_empty() or mj.schedule.count > 0 do
        assert(core.now() < deadline)
        local ok, problem = pcall(mj.step, mj, 0.1)
        if not ok then
          raised = raised + 1
          assert.matches("a broken pace", problem, 1, true)
        end
      end
      assert.is_true(raised >= 1)
      assert.equal(2, #told)
      for _, entry in ipairs(told) do failed_with("aborted", table.unpack(entry, 2, entry.n)) end
      nothing_left()
      assert.equal(ID, mj:fetch(ID).id)
    end)

    it("is told so where there was no room for it on the C stack", function()
      local started = 0
      local function deep(level)
        if level == 0 then return end
        local ok = coroutine.resume(coroutine.create(function()
          mj:fetch(ID, note(level))
          started = started + 1
          deep(level - 1)
        end))
        return ok
      end
      assert.is_true(deep(250))
      assert.is_true(started < 250, "there was room for all")
      local ok, problem
      repeat -- the fault is raised, too
        ok, problem = pcall(run)
        assert(ok or tostring(problem):find("C stack overflow", 1, true), problem)
      until ok
      local kinds = {}
      for _, entry in ipairs(told) do
        assert.is_nil(kinds[entry[1]])
        kinds[entry[1]] = entry[2] and "task" or entry[3].kind
      end
      assert.equal("task", kinds[250])
      assert.equal(started, #told)
      nothing_left()
      assert.equal(ID, mj:fetch(ID).id)
    end)
  end)

  it("works where the client steps in a coroutine that others resume", function()
    local thread = coroutine.wrap(function()
      mj:fetch(ID, note "done")
      while mj:step(0) do coroutine.yield(true) end
      return false
    end)
    local deadline = core.now() + LIMIT
    while thread() do assert(core.now() < deadline) end
    assert.equal(ID, told[1][2].id)
  end)
end)

describe("an operation", function()
  it("has methods that want a colon", function()
    local op = mj:fetch(ID, note "done")
    for _, name in ipairs { "cancel", "done" } do
      for _, wrong in ipairs { {}, mj, "op", false } do
        local ok, problem = pcall(function() op[name](wrong) end)
        assert.is_false(ok)
        assert.matches("async_spec.lua:%d+: an operation expected: call its methods with a colon",
          problem)
      end
    end
    run()
  end)

  it("is not held by what its callback was told, and holds no answer of others", function()
    local weak = setmetatable({}, { __mode = "v" })
    weak.op = mj:fetch(ID, function(task) weak.task = task end)
    run()
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak.op)
    assert.is_nil(weak.task)
  end)
end)
