-- mj:watch with a callback: who is told what, in which order, and the end once, whatever brings it.

local errors = require "mjtask.errors"
local proxy = require "support.proxy"
local timed = require "support.timed"

local p, mj

local function new(options, jumps)
  if mj then mj:close() end
  mj = timed.new(p, options, jumps == nil and true or jumps)
  return mj
end

-- Tasks of these lives; gives their ids.
local function tasks(...)
  local ids = timed.ids(select("#", ...))
  for n, life in ipairs { ... } do p:task(ids[n], { life = life }) end
  return ids
end

-- A callback that notes what it is told: "1 success", "2 failed", "end", "end aborted", where the
-- numbers are those of the ids; then calls also(id, task, err).
local function scribe(also)
  local notes = {}
  return notes, function(id, task, err, ...)
    assert.equal(0, select("#", ...))
    assert(not (task and err), "both a task and an error")
    assert(err == nil or errors.is(err))
    local what = task and "success" or err and err.kind
    local name = id and math.tointeger(tonumber(id:sub(-4))) or "end"
    notes[#notes + 1] = name .. (what and " " .. what or "")
    if also then return also(id, task, err) end
  end
end

local function raises(message, call, ...)
  local ok, problem = pcall(call, ...)
  assert.is_false(ok, "it does not raise")
  assert(tostring(problem):find(message, 1, true), problem)
  return problem
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
  timed.nothing_left(mj)
  p:connections() -- so that what was sent arrives now, and not in the next one's log
  mj = nil
end)

describe("a watch with a callback", function()
  it("is told each task as it ends, and the end once", function()
    local notes, each = scribe()
    mj:watch(tasks("success", "failure", "done", "short", "modal", "cancel"), each)
    assert.same({}, notes) -- never inside the call
    timed.run(mj)
    -- six in one list, each look a state further
    assert.same({
      "3 success", "5 needs_input", "4 success", "6 cancelled", "2 failed", "1 success", "end",
    }, notes)
    assert.is_false(mj:step(0))
    assert.equal(7, #notes)
  end)

  it("is told the same as a loop gets, in the same order", function()
    local lives = { "unswept", "backwards", "stuck", "done", "modal", "failure", "no_image" }
    local expected = {}
    for id, task, err in mj:watch(tasks(table.unpack(lives))) do
      expected[#expected + 1] = id:sub(-1) .. " " .. (task and "success" or err.kind)
    end
    expected[#expected + 1] = "end"
    local notes, each = scribe()
    new()
    mj:watch(tasks(table.unpack(lives)), each)
    timed.run(mj)
    assert.same(expected, notes)
  end)

  it("takes options, and tells progress before the end that it brings", function()
    local order = {}
    mj:watch(tasks("short", "short"), {
      timeout = 100, progress = function(task, percent)
        order[#order + 1] = task.id:sub(-1) .. ":" .. percent
      end,
    }, function(id) order[#order + 1] = id and id:sub(-1) .. " ended" or "end" end)
    timed.run(mj)
    local at = {}
    for place, word in ipairs(order) do at[word] = place end
    assert.equal(9, #order)
    for n = 1, 2 do
      assert(at[n .. ":0"] < at[n .. ":46"] and at[n .. ":46"] < at[n .. ":100"])
      assert.equal(at[n .. ":100"] + 1, at[n .. " ended"])
    end
    assert.equal("end", order[9])
  end)

  it("of nothing is told the end, by a later step", function()
    local notes, each = scribe()
    local watcher = mj:watch({}, each)
    assert.same({}, notes)
    assert.is_false(watcher:done())
    timed.run(mj)
    assert.same({ "end" }, notes)
    assert.is_true(watcher:done())
  end)

  it("lives on though nobody holds it", function()
    local notes, each = scribe(function() collectgarbage() end)
    mj:watch(tasks("short", "done"), each)
    collectgarbage()
    collectgarbage()
    timed.run(mj)
    assert.same({ "2 success", "1 success", "end" }, notes)
  end)

  it("is done when it was told the end, not sooner", function()
    local watcher
    local done = {}
    local notes, each = scribe(function() done[#done + 1] = watcher:done() end)
    watcher = mj:watch(tasks("done", "short"), each)
    assert.is_false(watcher:done())
    timed.run(mj)
    assert.same({ false, false, true }, done)
    assert.equal(3, #notes)
  end)

  it("goes on in blocking calls too", function()
    local notes, each = scribe()
    mj:watch(tasks("done", "short"), each)
    p:task("1735030400000009", { life = "success" })
    assert(mj:wait("1735030400000009"))
    assert.same({ "1 success", "2 success", "end" }, notes)
  end)

  it("may be told by two watches, each in its order", function()
    local ids = tasks("short", "done", "short", "done")
    local first, each_first = scribe()
    local second, each_second = scribe()
    mj:watch({ ids[1], ids[2] }, each_first)
    mj:watch({ ids[2], ids[3], ids[4] }, each_second)
    timed.run(mj)
    table.sort(first)
    assert.same({ "1 success", "2 success", "end" }, first)
    assert.equal("end", table.remove(second))
    table.sort(second)
    assert.same({ "2 success", "3 success", "4 success" }, second)
  end)
end)

describe("a task added to it", function()
  it("in the last call puts off the end", function()
    local ids = tasks("done", "short", "failure")
    local watcher, last
    local notes, each = scribe(function(id)
      if id == ids[1] then assert.is_true(watcher:add(ids[2])) end
      if id == ids[2] then assert.is_true(watcher:add(ids[3])) end
      last = id
    end)
    watcher = mj:watch({ ids[1] }, each)
    timed.run(mj)
    assert.is_nil(last)
    assert.same({ "1 success", "2 success", "3 failed", "end" }, notes)
  end)

  it("may be the one that has just ended", function()
    local ids = tasks("short")
    local watcher
    local rounds = 0
    local notes, each = scribe(function(id)
      rounds = rounds + 1
      if id and rounds < 4 then watcher:add(id) end
    end)
    watcher = mj:watch(ids, each)
    timed.run(mj)
    assert.same({ "1 success", "1 success", "1 success", "1 success", "end" }, notes)
  end)

  it("before it was told the end of the others puts that off", function()
    local ids = tasks("done", "short")
    local notes, each = scribe()
    local watcher = mj:watch({ ids[1] }, each)
    repeat mj.schedule:step(0) until watcher.state.operation.ended -- told nothing yet
    watcher:add(ids[2])
    timed.run(mj)
    assert.same({ "1 success", "2 success", "end" }, notes)
  end)

  it("is told before the end, if the client is closed in the same call", function()
    local ids = tasks("done", "stuck")
    local watcher
    local notes, each = scribe(function(id)
      if id ~= ids[1] then return end
      watcher:add(ids[2])
      mj:close()
    end)
    watcher = mj:watch({ ids[1] }, each)
    timed.run(mj)
    assert.same({ "1 success", "2 closed", "end closed" }, notes)
  end)

  it("is told before the end, if it ends during a blocking call in the same call", function()
    local ids = tasks("done", "done", "short")
    local watcher
    local notes, each = scribe(function(id)
      if id ~= ids[1] then return end
      watcher:add(ids[2])
      assert(mj:wait(ids[3]))
      assert.is_true(watcher.state.operation.ended)
    end)
    watcher = mj:watch({ ids[1] }, each)
    timed.run(mj)
    assert.same({ "1 success", "2 success", "end" }, notes)
  end)

  -- Which of the workers is ended first is up to their addresses, and whether a task's time is up
  -- before the client is closed is up to when it was begun.
  it("is told, too, if workers were left that waited for a place among max_inflight", function()
    for _ = 1, 6 do
      new({ max_inflight = 6, retries = 0 }, false)
      mj.lists = false
      p:set { fault = "stall" }
      local ids = timed.ids(12)
      for n = 1, 5 do mj:fetch(ids[n], { timeout = 5 }, function() end) end
      local watcher
      local notes, each = scribe(function(id)
        if id ~= ids[6] then return end
        watcher:add(ids[12])
        mj:close()
      end)
      watcher = mj:watch({ table.unpack(ids, 6, 11) }, { timeout = 0.05 }, each)
      timed.run(mj)
      assert.equal("end closed", notes[8])
      table.sort(notes)
      assert.same({ 8, "12 closed" }, { #notes, notes[3] })
    end
  end)

  it("at the end, or later, is too late", function()
    local ids = tasks("done", "short")
    local watcher
    local _, each = scribe(function(id)
      if not id then raises("closed", watcher.add, watcher, ids[2]) end
    end)
    watcher = mj:watch({ ids[1] }, each)
    timed.run(mj)
    raises("closed", watcher.add, watcher, ids[2])
    timed.run(mj)
  end)
end)

describe("close", function()
  it("ends it: told nothing more but the end, by the next step", function()
    for _, name in ipairs { "close", "cancel" } do
      local notes, each = scribe()
      local watcher = mj:watch(tasks("stuck", "success"), each)
      mj:step()
      watcher[name](watcher)
      assert.same({}, notes)
      assert.is_false(watcher:done())
      timed.run(mj)
      assert.same({ "end aborted" }, notes)
      assert.is_true(watcher:done())
      watcher[name](watcher)
      timed.run(mj)
      assert.same({ "end aborted" }, notes)
    end
  end)

  it("at once, before the first step", function()
    local notes, each = scribe()
    mj:watch(tasks("done"), each):close()
    timed.run(mj)
    assert.same({ "end aborted" }, notes)
    assert.equal(0, #timed.requests(p))
    mj:watch({}, each):close()
    timed.run(mj)
    assert.same({ "end aborted", "end aborted" }, notes)
  end)

  it("by <close>", function()
    local notes, each = scribe()
    do
      local _ <close> = mj:watch(tasks("stuck"), each)
      mj:step()
    end
    timed.run(mj)
    assert.same({ "end aborted" }, notes)
  end)

  it("in a call: nothing is told of what ended in the same list", function()
    local watcher
    local notes, each = scribe(function(id) if id then watcher:close() end end)
    watcher = mj:watch(tasks("done", "done", "done", "failure"), each)
    timed.run(mj)
    assert.same({ "1 success", "end aborted" }, notes)
    notes, each = scribe(function(id) if id then watcher:close() end end)
    watcher = mj:watch(tasks("done", "done", "done"), each) -- now all have ended
    timed.run(mj)
    assert.same({ "1 success", "end aborted" }, notes)
  end)

  it("in a call, while others are open", function()
    local watcher
    local notes, each = scribe(function(id) if id then watcher:close() end end)
    watcher = mj:watch(tasks("done", "stuck", "done"), each)
    timed.run(mj)
    assert.same({ "1 success", "end aborted" }, notes)
  end)

  it("in a call that has just added another", function()
    local ids = tasks("done", "done", "short")
    local watcher
    local notes, each = scribe(function(id)
      if not id then return end
      watcher:add(ids[3])
      watcher:close()
    end)
    watcher = mj:watch({ ids[1], ids[2] }, each)
    timed.run(mj)
    assert.same({ "1 success", "end aborted" }, notes)
  end)

  it("in the last call", function()
    local watcher
    local notes, each = scribe(function() watcher:close() end)
    watcher = mj:watch(tasks("done"), each)
    timed.run(mj)
    assert.same({ "1 success", "end aborted" }, notes)
  end)

  it("from another call's callback, or in a progress function", function()
    local ids = tasks("done", "stuck", "success")
    local notes, each = scribe()
    local watcher = mj:watch({ ids[2] }, each)
    mj:fetch(ids[1], function() watcher:close() end)
    timed.run(mj)
    assert.same({ "end aborted" }, notes)
    notes, each = scribe()
    local told = 0
    watcher = mj:watch({ ids[3], ids[2], ids[1] }, { progress = function()
      told = told + 1
      watcher:close()
    end }, each)
    timed.run(mj)
    assert.same({ "end aborted" }, notes)
    assert.equal(1, told)
  end)

  it("of a watch without a callback tells nobody", function()
    local watcher = mj:watch(tasks("stuck"))
    watcher:close()
    assert.is_false(mj:step(0))
  end)
end)

describe("the client's close", function()
  it("tells each open task as closed, and the end, before it returns", function()
    local notes, each = scribe()
    local watcher = mj:watch(tasks("done", "stuck", "stuck"), each)
    repeat mj:step() until #notes > 0
    mj:close()
    assert.same({ "1 success", "2 closed", "3 closed", "end closed" }, notes)
    assert.is_true(watcher:done())
    watcher:close()
    assert.equal(4, #notes)
  end)

  it("in its own callback", function()
    local notes, each = scribe(function(id) if id then mj:close() end end)
    mj:watch(tasks("done", "stuck", "done"), each)
    timed.run(mj)
    assert.same({ "1 success", "3 success", "2 closed", "end closed" }, notes)
  end)

  it("before the first step", function()
    local notes, each = scribe()
    mj:watch(tasks("done", "done"), each)
    mj:close()
    assert.same({ "1 closed", "2 closed", "end closed" }, notes)
  end)

  it("when all has ended, and is about to be told", function()
    local notes, each = scribe()
    local watcher = mj:watch(tasks("done", "failure"), each)
    repeat mj.schedule:step(0) until watcher.state.watch.open == 1
    mj:close()
    assert.same({ "1 success", "2 closed", "end closed" }, notes)
    new()
    notes, each = scribe()
    watcher = mj:watch(tasks("done", "done"), each)
    repeat mj.schedule:step(0) until watcher.state.operation.ended
    mj:close()
    assert.same({ "1 success", "2 success", "end" }, notes)
  end)

  it("whose callback raises still tells the others", function()
    local notes, each = scribe(function(id)
      if id and id:sub(-1) == "2" then error("boom") end
    end)
    mj:watch(tasks("stuck", "stuck", "stuck"), each)
    mj:step()
    raises("boom", mj.close, mj)
    assert.is_true(mj.closed)
    assert.same({ "1 closed", "2 closed", "3 closed", "end closed" }, notes)
  end)

  it("does not tell a watch that was closed before anything but aborted", function()
    local notes, each = scribe()
    local watcher = mj:watch(tasks("stuck"), each)
    watcher:close()
    mj:close()
    assert.same({ "end aborted" }, notes)
  end)
end)

describe("a callback of a watch", function()
  it("that raises: step raises it with its line, when the others have run", function()
    local notes, each = scribe(function(id)
      if id and id:sub(-1) == "1" then error("boom") end
    end)
    mj:watch(tasks("done", "done", "short"), each)
    local problem
    repeat
      local ok, value = pcall(mj.step, mj)
      problem = problem or not ok and value
    until ok and not value
    assert(tostring(problem):find("watch_callback_spec.lua:%d+: boom"), problem)
    assert.same({ "1 success", "2 success", "3 success", "end" }, notes)
  end)

  it("that raises at the end has been told the end", function()
    local notes, each = scribe(function(id) if not id then error("boom") end end)
    local watcher = mj:watch(tasks("done"), each)
    raises("boom", timed.run, mj)
    assert.same({ "1 success", "end" }, notes)
    assert.is_true(watcher:done())
    assert.is_false(mj:step(0))
  end)

  it("must not yield, and is told so", function()
    local _, each = scribe(function() coroutine.yield() end)
    mj:watch(tasks("done"), each)
    local co = coroutine.create(function() timed.run(mj) end)
    local ok, problem = coroutine.resume(co)
    assert.is_false(ok)
    assert(tostring(problem):find("must not yield", 1, true), problem)
    pcall(timed.run, mj)
  end)

  it("may fetch, wait, watch in a loop, and watch with a callback", function()
    local ids = tasks("done", "short", "short", "short", "short", "short")
    local inner, seen = {}, {}
    local notes, each = scribe(function(id)
      if id ~= ids[1] then return end
      seen[#seen + 1] = assert(mj:fetch(ids[2])).id
      seen[#seen + 1] = assert(mj:wait(ids[3])).id
      for other in mj:watch { ids[4], ids[5] } do seen[#seen + 1] = other end
      mj:watch({ ids[6] }, function(other) inner[#inner + 1] = other or "end" end)
      assert.same({}, inner)
    end)
    mj:watch({ ids[1], ids[2] }, each)
    timed.run(mj)
    table.sort(seen)
    assert.same({ ids[2], ids[3], ids[4], ids[5] }, seen)
    assert.same({ ids[6], "end" }, inner)
    assert.same({ "1 success", "2 success", "end" }, notes)
  end)

  it("may be inside a progress function's blocking watch", function()
    local ids = tasks("short", "short", "short")
    local inner = 0
    assert(mj:wait(ids[1], { progress = function()
      for _, task in mj:watch({ ids[2], ids[3] }, { progress = function() inner = inner + 1 end })
      do
        assert.equal("SUCCESS", task.status)
      end
    end }))
    assert(inner >= 6, inner)
  end)

  it("is not called by the collector that takes the client", function()
    local notes, each = scribe()
    local other = timed.new(p, nil, true)
    other:watch(tasks("stuck"), each)
    other:step()
    other = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.same({}, notes)
  end)
end)
