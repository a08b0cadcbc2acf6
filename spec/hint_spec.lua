-- mj:hint: a webhook came. Whoever waits looks soon, and not too often; nothing of what the hook
-- says is believed.

local mjtask = require "mjtask"
local proxy = require "support.proxy"
local socket = require "socket"
local timed = require "support.timed"

local ID, OTHER = "1735030480000001", "1735030480000002"
local UNKNOWN = "1735030489999999"

local p, mj, time, asked

local function new(options)
  if mj then mj:close() end
  mj, time, asked = timed.new(p, options, true)
  return mj
end

local function drawing(percent)
  return { status = "IN_PROGRESS", progress = percent .. "%" }
end

local DONE = { status = "SUCCESS", progress = "100%" }

-- Seconds of the clock at which requests went out.
local function looked_at(expected)
  local times = {}
  for n, request in ipairs(asked) do times[n] = ("%g"):format(request.at) end
  for n, seconds in ipairs(expected) do expected[n] = ("%g"):format(seconds) end
  assert.same(expected, times)
end

-- Lets the time be this, and what is due by then be done.
local function at(seconds)
  local due = mj.schedule.now() - time.elapsed() + seconds
  repeat
    while mj.schedule.inflight > 0 do mj:step() end
    local _, first = mj.schedule.timers:first()
    local more = first and first <= due
    if more then mj:step() end
  until not more and mj.schedule.inflight == 0
  time.time = due
end

-- A wait for a task with these states; what it ends with is added to the array it returns.
local function waiting(states, options)
  p:task(ID, { life = states })
  local ended = {}
  mj:wait(ID, options or { interval = 100 }, function(task, err)
    ended[#ended + 1] = task and "success" or err.kind
  end)
  at(0)
  return ended
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  new()
end)

after_each(function()
  mj:close()
  timed.nothing_left(mj)
  p:connections() -- so that what was sent arrives now, and not in the next one's log
  mj = nil
end)

describe("a hint", function()
  it("leads to a look at once", function()
    local ended = waiting { drawing(0), DONE }
    at(7)
    looked_at { 0 }
    mj:hint(ID)
    at(7)
    looked_at { 0, 7 }
    assert.same({ "success" }, ended)
  end)

  it("does so for a wait that blocks, from a callback", function()
    p:task(ID, { life = { drawing(0), drawing(0), DONE } })
    p:task(OTHER, { life = "short" })
    mj:wait(OTHER, { progress = function(task)
      if task.status == "SUCCESS" then mj:hint(ID) end
    end }, function() end)
    assert(mj:wait(ID, { interval = 40, max_interval = 60 }))
    assert.equal(50, time.elapsed())
    assert.equal(6, #asked) -- the other's at 0, 5, 10; its own at 0, 10 and an interval later
  end)

  it("does so for each who waits: waits and watches", function()
    local first, second = waiting { drawing(0), drawing(0), drawing(0), DONE }, 0
    mj:wait(ID, { interval = 100 }, function() second = second + 1 end)
    local watched = 0
    mj:watch({ ID }, { interval = 100 }, function(id) if id then watched = watched + 1 end end)
    at(2)
    assert.equal(3, #asked)
    mj:hint(ID)
    at(2)
    assert.equal(6, #asked)
    assert.equal(3, #first + second + watched)
  end)

  it("comes with a second between two looks, however many there are", function()
    waiting { drawing(0) }
    for n = 0, 99 do
      at(n / 10)
      mj:hint(ID)
      mj:hint(ID)
    end
    at(10)
    assert(#asked >= 10 and #asked <= 11, #asked)
    for n = 2, #asked do assert(asked[n].at - asked[n - 1].at >= 1 - 1e-9) end
  end)

  it("right after a look is a look a second after that", function()
    waiting { drawing(0) }
    at(0.25)
    mj:hint(ID)
    at(0.5)
    looked_at { 0 }
    at(50)
    looked_at { 0, 1 }
  end)

  it("a thousand times is one look", function()
    waiting { drawing(0) }
    at(5)
    for _ = 1, 1000 do mj:hint(ID) end
    at(50)
    looked_at { 0, 5 }
  end)

  it("while a look is under way is one more, a second later", function()
    p:task(ID, { life = { drawing(0) } })
    mj:wait(ID, { interval = 100 }, function() end)
    assert.equal(1, mj.schedule.inflight)
    mj:hint(ID)
    mj:hint(ID)
    at(60)
    assert.equal(2, #asked)
    assert.equal(1, asked[2].at)
  end)

  it("while a failed look waits for its next try changes nothing of that", function()
    local ended = waiting({ drawing(0), DONE }, { interval = 100, retries = 2 })
    local later = { status = 503, headers = { ["Retry-After"] = "9" } }
    p:task(ID, { life = { DONE }, script = { later } })
    at(20)
    mj:hint(ID)
    at(21)
    mj:hint(ID)
    at(28)
    looked_at { 0, 20 }
    at(29)
    looked_at { 0, 20, 29 }
    assert.same({ "success" }, ended)
  end)

  it("does not end the pause of a 429", function()
    waiting { drawing(0) }
    p:task(OTHER, { fault = { status = 429, headers = { ["Retry-After"] = "30" } } })
    at(5)
    mj:fetch(OTHER, { retries = 0 }, function() end)
    at(6)
    mj:hint(ID)
    at(20)
    assert.equal(2, #asked)
    at(40)
    assert.equal(3, #asked)
    assert.equal(35, asked[3].at)
  end)

  it("that finds no news makes the next look neither rarer nor sooner", function()
    waiting({ drawing(0) }, { interval = 10, max_interval = 60 })
    at(10) -- the interval grows to 14
    looked_at { 0, 10 }
    at(12)
    mj:hint(ID)
    at(25.9)
    looked_at { 0, 10, 12 }
    at(26)
    looked_at { 0, 10, 12, 26 }
  end)

  it("that finds news makes the looks frequent again", function()
    waiting({ drawing(0), drawing(0), drawing(15), drawing(31), drawing(31), DONE },
      { interval = 10, max_interval = 60 })
    at(12)
    mj:hint(ID)
    at(22)
    looked_at { 0, 10, 12, 22 }
  end)

  it("moves no deadline", function()
    local ended = waiting({ drawing(0) }, { interval = 10, timeout = 60 })
    for n = 1, 59 do
      at(n)
      mj:hint(ID)
    end
    at(60)
    assert.same({ "timeout" }, ended)
  end)

  it("tells a sleeping host that it is needed sooner", function()
    waiting { drawing(0) }
    assert.equal(100, mj:timeout())
    mj:hint(UNKNOWN)
    assert.equal(100, mj:timeout())
    mj:hint(ID)
    assert.equal(0, mj:timeout()) -- to begin to sleep until the second is over
    mj:step(0)
    at(5)
    mj:hint(ID)
    assert.equal(0, mj:timeout())
  end)
end)

describe("a host that watches the descriptor", function()
  local fd

  local function readable()
    local source = { getfd = function() return fd end, dirty = function() return false end }
    return #socket.select({ source }, nil, 0) > 0
  end

  before_each(function()
    mj:close()
    mj = timed.new(p)
    fd = mj:pollfd()
  end)

  -- Steps until it sleeps.
  local function settle()
    for _ = 1, 1000 do
      mj:step(mj.schedule.inflight > 0 and 0.1 or 0)
      if mj.schedule.inflight == 0 and not readable() then return end
    end
    error("it does not settle")
  end

  for about, begin in pairs {
    ["a wait"] = function() mj:wait(ID, { interval = 100 }, function() end) end,
    ["a watch"] = function() mj:watch({ ID, OTHER }, { interval = 100 }, function() end) end,
  } do
    it("is woken by a hint, to sleep until the look: " .. about, function()
      if not fd then return pending "not run: a build without epoll" end
      p:tasks({ ID, OTHER }, { life = "stuck" })
      begin()
      settle()
      mj:hint(UNKNOWN)
      assert.is_false(readable())
      mj:hint(ID)
      assert.is_true(readable())
      settle()
      assert(mj:timeout() <= 1, mj:timeout())
    end)
  end

  it("is woken by what is added to a watch, and by its close", function()
    if not fd then return pending "not run: a build without epoll" end
    p:tasks({ ID, OTHER }, { life = "stuck" })
    local ended
    local watcher = mj:watch({ ID }, { interval = 100 }, function(id) ended = id == nil end)
    settle()
    watcher:add(OTHER)
    assert.is_true(readable())
    settle()
    watcher:close()
    assert.is_true(readable())
    settle()
    assert.is_true(ended)
    assert.is_nil(mj:timeout())
  end)
end)

describe("a hint to a watch", function()
  local ids

  -- Watches so many that do not move; each was seen.
  local function watching(count, options)
    ids = p:tasks(timed.ids(count), { life = { '{"id":"{id}","status":"IN_PROGRESS"}' } })
    local watcher = mj:watch(ids, options or { interval = 100, max_interval = 100 })
    at(0)
    for n in pairs(asked) do asked[n] = nil end
    return watcher
  end

  it("is a look at that task alone, if the others are not due for long", function()
    local _ <close> = watching(50)
    at(5)
    mj:hint(ids[7])
    at(5)
    looked_at { 5 }
    assert.is_false(asked[1].list)
  end)

  it("takes along what is due soon", function()
    local _ <close> = watching(50, { interval = 10, max_interval = 10 })
    at(6)
    mj:hint(ids[7])
    at(6)
    looked_at { 6 }
    local lists = timed.requests(p)
    assert.equal(50, #lists[#lists].ids)
    at(15.9)
    assert.equal(1, #asked)
  end)

  it("for many is a few lists", function()
    local _ <close> = watching(250)
    at(5)
    for _ = 1, 4 do
      for n = 1, 240 do mj:hint(ids[n]) end
    end
    at(50)
    looked_at { 5, 5, 5 }
    for _, request in ipairs(asked) do assert.is_true(request.list) end
  end)

  it("comes with a second between two looks at that task", function()
    local _ <close> = watching(5)
    for n = 0, 99 do
      at(n / 10)
      mj:hint(ids[1])
    end
    at(10)
    assert(#asked >= 9 and #asked <= 10, #asked)
  end)

  it("while a look is under way is one more, a second later", function()
    ids = p:tasks(timed.ids(3), { life = { '{"id":"{id}","status":"IN_PROGRESS"}' } })
    local _ <close> = mj:watch(ids, { interval = 100 })
    assert.equal(1, mj.schedule.inflight)
    mj:hint(ids[2])
    at(60)
    assert.equal(2, #asked)
    assert.equal(1, asked[2].at)
    assert.is_false(asked[2].list)
  end)

  it("that finds no news makes the next look no rarer", function()
    local _ <close> = watching(1, { interval = 10, max_interval = 60 })
    at(12)
    mj:hint(ids[1])
    at(60)
    looked_at { 10, 12, 26, 45.6 }
  end)

  it("while a look is under way that takes long ends nothing", function()
    ids = p:tasks(timed.ids(3), { life = { '{"id":"{id}","status":"IN_PROGRESS"}', DONE } })
    local watcher = mj:watch(ids, { interval = 100 })
    mj:hint(ids[2])
    time.time = time.time + 7
    local ended = {}
    for id, task, err in watcher do
      assert(task, tostring(err))
      ended[#ended + 1] = id
    end
    assert.equal(3, #ended)
    assert.equal(ids[2], ended[1])
  end)

  it("brings what has ended, soon", function()
    local watcher = watching(20)
    at(5)
    p:task(ids[4], { life = { DONE } })
    mj:hint(ids[4])
    local id, task = watcher()
    assert.equal(ids[4], id)
    assert.equal("SUCCESS", task.status)
    assert.equal(5, time.elapsed())
    mj:hint(ids[4]) -- nobody waits for it any more
    at(30)
    assert.equal(1, #asked)
    watcher:close()
    mj:hint(ids[5])
    assert.is_false(mj:step(0))
  end)

  it("of a task just added, or added again, does no harm", function()
    local watcher <close> = watching(3)
    p:task(ID, { life = { drawing(0), DONE } })
    watcher:add(ID)
    mj:hint(ID)
    mj:hint(ID)
    at(0)
    assert.equal(1, #asked)
    at(1)
    assert.equal(1, #asked) -- that was news enough
    mj:hint(ID)
    assert.equal(ID, (watcher()))
    assert.equal(1, time.elapsed())
  end)

  it("may come from its own callback", function()
    ids = timed.ids(2)
    p:task(ids[1], { life = { DONE } })
    p:task(ids[2], { life = { drawing(0), DONE } })
    local order = {}
    mj:watch(ids, { interval = 100 }, function(id)
      order[#order + 1] = id or "end"
      for _, other in ipairs(ids) do mj:hint(other) end
    end)
    timed.run(mj)
    assert.same({ ids[1], ids[2], "end" }, order)
    assert.equal(1, time.elapsed())
  end)
end)

describe("an argument of hint", function()
  local ended

  before_each(function()
    ended = waiting { drawing(0), drawing(0), drawing(0), DONE }
    at(5)
  end)

  it("is a string, an integer, a task, a receipt, any table with an id", function()
    for n, form in ipairs {
      ID, math.tointeger(ID), { id = ID }, { id = math.tointeger(ID) },
      mjtask.decode(('{"id":"%s","status":"SUCCESS"}'):format(ID)),
    } do
      at(10 * n)
      local before = #asked
      if #ended > 0 then ended = waiting { drawing(0), drawing(0), drawing(0), DONE } end
      before = math.max(before, #asked)
      mj:hint(form)
      at(10 * n + 1)
      assert.equal(before + 1, #asked, "form " .. n)
    end
  end)

  it("may be any string: what is no id does nothing", function()
    for _, text in ipairs {
      "", " ", "a/b", "..", ".", "../" .. ID, ID .. "/", ID .. " ", " " .. ID, ID .. "\0", "\0",
      ID .. "\n", "%", ID .. "?x=1", ("9"):rep(129), ("9"):rep(1000000), "\xff\xfe", "nil",
      ID:sub(1, 15), ID .. "0", UNKNOWN, "{}", '{"id":"' .. ID .. '"}', "数",
    } do
      assert.equal(0, select("#", mj:hint(text)))
    end
    at(50)
    assert.equal(1, #asked)
  end)

  it("may be a number or a table with any id", function()
    local hostile = setmetatable({}, {
      __index = function() error("asked") end, __tostring = function() error("asked") end,
    })
    for _, value in ipairs {
      1.5, 0 / 0, math.huge, -math.huge, 1735030480000001.0, -1, 0, math.mininteger,
      {}, { ID }, { id = {} }, { id = false }, { id = print }, { id = "a/b" }, { id = 1.5 },
      { id = { id = ID } }, { ids = { ID } }, hostile,
      mjtask.decode '{"status":"SUCCESS"}', mjtask.decode '{"id":7.5,"status":"x"}' or {},
    } do
      mj:hint(value)
    end
    at(50)
    assert.equal(1, #asked)
  end)

  it("raises if it is nothing of that, and names it", function()
    for _, value in ipairs { true, print, coroutine.create(print), io.stdout } do
      local ok, problem = pcall(mj.hint, mj, value)
      assert.is_false(ok)
      assert(problem:find("id: a string", 1, true), problem)
    end
    assert.is_false((pcall(mj.hint, mj)))
    assert.is_false((pcall(mj.hint, mj, nil)))
    local ok, problem = pcall(mj.hint, ID)
    assert.is_false(ok)
    assert(problem:find("colon", 1, true), problem)
  end)
end)

describe("a hook", function()
  local body = '{"id":"%s","status":"%s","progress":"%s","imageUrl":"https://evil.example/x.png"}'

  -- What a host does with a hook.
  local function hook(...)
    local task = mjtask.decode(body:format(...))
    if task then mj:hint(task) end
  end

  it("that is forged never ends a wait, nor tells progress", function()
    local told = {}
    local ended = waiting({ drawing(46) }, {
      interval = 100, progress = function(task) told[#told + 1] = task.progress end,
    })
    for n, status in ipairs { "SUCCESS", "FAILURE", "CANCEL", "MODAL" } do
      at(2 * n)
      hook(ID, status, "100%")
    end
    at(20)
    assert.equal(5, #asked)
    assert.same({}, ended)
    assert.same({ "46%" }, told)
  end)

  it("that is old, repeated or out of order does no harm", function()
    local seen = {}
    p:task(ID, { life = { drawing(0), drawing(15), drawing(46), drawing(78), DONE } })
    mj:wait(ID, { interval = 10, progress = function(_, percent) seen[#seen + 1] = percent end },
      function(task) seen[#seen + 1] = task.status end)
    at(0)
    local random = 7
    for n = 1, 400 do
      random = random * 1103515245 + 12345 & 0x7FFFFFFF
      at(n / 50)
      hook(ID, ({ "SUBMITTED", "IN_PROGRESS", "SUCCESS", "NOT_START" })[random % 4 + 1],
        random % 100 .. "%")
    end
    at(20)
    assert.same({ 0, 15, 46, 78, 100, "SUCCESS" }, seen)
    assert.equal(5, #asked)
  end)

  it("that is no task, or another's, does nothing", function()
    waiting { drawing(0) }
    at(5)
    for _, text in ipairs {
      "", "null", "[]", "{}", "<html>", body:format(ID, "x", ""):sub(2),
      '{"id":null,"status":"SUCCESS"}', '{"id":"a/b","status":"SUCCESS"}',
      body:format(OTHER, "SUCCESS", "100%"),
    } do
      local task = mjtask.decode(text)
      if task then mj:hint(task) end
    end
    at(50)
    assert.equal(1, #asked)
  end)

  it("may come in an envelope", function()
    local ended = waiting { drawing(0), DONE }
    at(5)
    mj:hint(mjtask.decode('{"code":0,"data":' .. body:format(ID, "SUCCESS", "100%") .. "}"))
    at(5)
    assert.same({ "success" }, ended)
  end)

  it("may come after all has ended, and after the client was closed", function()
    local ended = waiting { DONE }
    assert.same({ "success" }, ended)
    mj:hint(ID)
    assert.is_false(mj:step(0))
    mj:close()
    assert.equal(0, select("#", mj:hint(ID)))
    mj:hint "a/b"
    mj:hint { id = ID }
    assert.is_false((pcall(mj.hint, mj, nil))) -- misuse it stays
  end)

  it("may come in a callback while the client closes", function()
    p:task(ID, { life = { drawing(0) } })
    local ended = 0
    mj:watch({ ID, OTHER }, function(id)
      if id then mj:hint(id) end
      ended = ended + 1
    end)
    mj:wait(ID, function() mj:hint(ID) end)
    at(0)
    mj:close()
    assert.equal(3, ended)
  end)
end)
