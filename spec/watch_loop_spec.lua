-- A loop over mj:watch: what may be added while it runs; and that nothing is left of it, however it
-- is left.

local descriptors = require "support.descriptors"
local errors = require "mjtask.errors"
local proxy = require "support.proxy"
local timed = require "support.timed"

local p, mj, time

local function new(options, jumps)
  if mj then mj:close() end
  mj, time = timed.new(p, options, jumps == nil and true or jumps)
  return mj
end

local function new_real(options)
  return new(options, false)
end

-- Tasks of these lives; gives their ids.
local function tasks(...)
  local ids = timed.ids(select("#", ...))
  for n, life in ipairs { ... } do p:task(ids[n], { life = life }) end
  return ids
end

-- How each ended: "success" or the error's kind, by id. Each ends once.
local function watched(watcher)
  local ended = {}
  for id, task, err in watcher do
    assert.is_nil(ended[id], "it ended twice: " .. id)
    if task then
      assert.is_nil(err)
      assert.equal("success", task:outcome())
      ended[id] = "success"
    else
      assert.is_true(errors.is(err))
      assert.equal(id, err.id)
      ended[id] = err.kind
    end
  end
  return ended
end

local function raises(message, call, ...)
  local ok, problem = pcall(call, ...)
  assert.is_false(ok, "it does not raise")
  assert(tostring(problem):find(message, 1, true), problem)
end

-- A callback for watch that notes what it is told: "id success", "id kind", "end", "end kind".
local function scribe(also)
  local notes = {}
  return notes, function(id, task, err)
    local what = task and "success" or err and err.kind
    notes[#notes + 1] = id and id .. " " .. what or "end" .. (what and " " .. what or "")
    if also then also(id, task, err, #notes) end
  end
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  new()
end)

after_each(function()
  collectgarbage()
  if not mj.closed then timed.nothing_left(mj) end
  mj:close()
  timed.nothing_left(mj)
  p:connections() -- so that what was sent arrives now, and not in the next one's log
  mj = nil
end)

describe("a task may be added", function()
  it("while it runs, in the loop's body, once", function()
    local ids = tasks("short", "short", "success", "done")
    local watcher = mj:watch { ids[1] }
    local ended = {}
    for id, task in watcher do
      ended[#ended + 1] = id
      assert.equal("SUCCESS", task.status)
      if id == ids[1] then
        assert.is_true(watcher:add(ids[2]))
        assert.is_true(watcher:add { id = ids[3] })
        assert.is_false(watcher:add(ids[3]))
        assert.is_true(watcher:add(ids[4]))
      end
    end
    assert.same({ ids[1], ids[4], ids[2], ids[3] }, ended)
    assert.is_true(watcher:done())
  end)

  it("from a callback, of the client or of another watch", function()
    local ids = tasks("short", "success", "short")
    local watcher = mj:watch { ids[2] }
    mj:wait(ids[1], function() watcher:add(ids[3]) end)
    assert.same({ [ids[2]] = "success", [ids[3]] = "success" }, watched(watcher))
  end)

  it("from a progress function", function()
    local ids = tasks("short", "short")
    local watcher
    watcher = mj:watch({ ids[1] }, { progress = function(task)
      if task.status == "SUBMITTED" and task.id == ids[1] then watcher:add(ids[2]) end
    end })
    assert.same({ [ids[1]] = "success", [ids[2]] = "success" }, watched(watcher))
  end)

  it("again when it has ended", function()
    local ids = tasks("short")
    local watcher = mj:watch(ids)
    local times = 0
    for id, task in watcher do
      assert.equal(ids[1], id)
      assert.equal("SUCCESS", task.status)
      times = times + 1
      if times < 4 then assert.is_true(watcher:add(id)) end
    end
    assert.equal(4, times)
  end)

  it("after all have ended, and the loop is over", function()
    local ids = tasks("short", "done", "failure")
    local watcher = mj:watch { ids[1] }
    assert.equal(ids[1], (watcher()))
    assert.is_nil(watcher())
    assert.is_true(watcher:done())
    assert.is_true(watcher:add(ids[2]))
    assert.is_false(watcher:done())
    assert.is_true(watcher:add(ids[3]))
    assert.same({ [ids[2]] = "success", [ids[3]] = "failed" }, watched(watcher))
    assert.is_nil(watcher())
  end)

  it("to a watch of nothing", function()
    local ids = tasks("short")
    local watcher = mj:watch {}
    watcher:add(ids[1])
    assert.same({ [ids[1]] = "success" }, watched(watcher))
  end)

  it("and counts from then: its time limit and its first look", function()
    local ids = tasks("stuck", "done")
    local watcher <close> = mj:watch { ids[1] }
    for _ = 1, 10 do mj:step() end
    local before = time.elapsed()
    assert(before > 5)
    watcher:add(ids[2])
    assert.equal(ids[2], (watcher()))
    assert.equal(before, time.elapsed())
  end)

  it("not any more after close, nor when the client is closed", function()
    local ids = tasks("stuck", "stuck")
    local watcher = mj:watch { ids[1] }
    watcher:close()
    raises("closed", watcher.add, watcher, ids[2])
    raises("closed", watcher.add, watcher, ids[1])
    assert.is_nil(watcher())
    local notes, each = scribe()
    watcher = mj:watch(tasks("done"), each)
    timed.run(mj)
    assert.equal(2, #notes)
    raises("closed", watcher.add, watcher, ids[2])
    watcher = mj:watch {}
    mj:close()
    raises("closed", watcher.add, watcher, ids[2])
  end)

  it("by the thousand, one by one, while it runs", function()
    local ids = timed.ids(300)
    p:tasks(ids, { life = { '{"id":"{id}","status":"SUCCESS"}' } })
    local watcher = mj:watch { ids[1] }
    local at, seen = 1, 0
    for _, task in watcher do
      assert.equal("SUCCESS", task.status)
      seen = seen + 1
      if at < #ids then
        at = at + 1
        watcher:add(ids[at])
      end
      if seen == 100 then watcher:add(p:task("1735030400009999", { life = "success" })) end
      if seen == 200 then assert(#watcher.state.watch.ids <= 3, "places are not used again") end
    end
    assert.equal(#ids + 1, seen)
  end)
end)

-- luacheck: push ignore 512
-- Loops that are left in their first step.
describe("a loop", function()
  local ids

  -- Runs with several open tasks and a look under way, and asks what is left of it.
  local function left_by(leave)
    for _, plan in ipairs { "pass", { status = 404, body = "" } } do
      p:set { list = plan }
      ids = tasks("done", "stuck", "stuck", "stuck")
      p:task(ids[4], { fault = "stall" })
      new_real()
      leave(mj:watch(ids))
      timed.nothing_left(mj)
      assert.equal("SUCCESS", assert(mj:wait(ids[1])).status)
    end
  end

  it("that is left by break leaves nothing", function()
    left_by(function(watcher)
      local steps = 0
      for id in mj:watch(ids) do
        assert.equal(ids[1], id)
        steps = steps + 1
        break
      end
      assert.equal(1, steps)
      watcher:close()
    end)
  end)

  it("that is left by return, goto or an error leaves nothing", function()
    left_by(function(watcher)
      watcher:close()
      local function returning()
        for id in mj:watch(ids) do return id end
      end
      assert.equal(ids[1], returning())
      timed.nothing_left(mj)
      for _ in mj:watch(ids) do goto out end
      ::out::
      timed.nothing_left(mj)
      raises("out of here", function()
        for _ in mj:watch(ids) do error("out of here") end
      end)
    end)
  end)

  it("that is not run at all is closed by the collector", function()
    left_by(function(watcher)
      watcher() -- a request is under way
      watcher = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
    end)
  end)

  it("is left by <close>, and close may be repeated", function()
    left_by(function(watcher)
      do
        local closing <close> = watcher
        closing()
      end
      watcher:close()
      watcher:close()
      assert.is_nil(watcher())
      assert.is_true(watcher:done())
    end)
  end)

  it("in a coroutine that is closed, or forgotten, leaves nothing", function()
    left_by(function(watcher)
      watcher:close()
      watcher = nil -- luacheck: ignore
      local function body()
        for id in mj:watch(ids) do coroutine.yield(id) end
      end
      local co = coroutine.create(body)
      assert.equal(ids[1], select(2, coroutine.resume(co)))
      assert.is_true(coroutine.close(co))
      timed.nothing_left(mj)
      co = coroutine.create(body)
      assert.equal(ids[1], select(2, coroutine.resume(co)))
      co = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
    end)
  end)

  it("in a coroutine of a host's loop that is closed while it is parked leaves nothing", function()
    local loop = require "mjtask.loop.timer".loop(function() coroutine.yield "parked" end)
    for _, plan in ipairs { "pass", { status = 404, body = "" } } do
      p:set { list = plan }
      new_real { loop = loop }
      ids = tasks("done", "stuck", "stuck")
      p:task(ids[3], { fault = "stall" })
      local seen = 0
      local co = coroutine.create(function()
        for id in mj:watch(ids) do
          assert.equal(ids[1], id)
          seen = seen + 1
        end
      end)
      local stop = os.time() + 10
      repeat
        assert.same({ true, "parked" }, { coroutine.resume(co) })
        assert(os.time() < stop, "it does not come")
      until seen == 1
      assert.is_true(coroutine.close(co))
      mj:step(0)
      timed.nothing_left(mj)
    end
  end)

  it("may close its watcher in its body: it is over", function()
    left_by(function(watcher)
      local steps = 0
      for _ in watcher do
        steps = steps + 1
        watcher:close()
      end
      assert.equal(1, steps)
    end)
  end)

  it("does not get what ended before it was closed, but was not told", function()
    local all = tasks("done", "done", "done")
    local watcher = mj:watch(all)
    assert(watcher())
    watcher:close()
    assert.is_nil(watcher())
  end)

  it("may call the client in its body", function()
    local all = tasks("short", "success", "failure")
    local fetched, inner = 0, 0
    for id in mj:watch(all) do
      assert.equal(id, assert(mj:fetch(id)).id)
      fetched = fetched + 1
      local again = tasks("short")
      for _ in mj:watch { again[1] } do inner = inner + 1 end
    end
    assert.equal(3, fetched)
    assert.equal(3, inner)
  end)

  it("whose client is closed gets each open task as closed", function()
    for _, way in ipairs { "in the body", "in a callback" } do
      new_real()
      local all = tasks("done", "stuck", "stuck", "failure")
      if way == "in a callback" then
        mj:fetch(all[1], function() mj:close() end)
      end
      local ended = {}
      for id, task, err in mj:watch(all) do
        ended[id] = task and "success" or err.kind
        if err and err.kind == "closed" then
          assert.equal(id, err.id)
          assert.is_false(err.retryable)
          assert.is_number(err.elapsed)
          assert.is_number(err.attempts)
        end
        mj:close()
      end
      assert.equal("closed", ended[all[2]])
      assert.equal("closed", ended[all[3]])
      assert.equal("closed", ended[all[4]])
      assert(ended[all[1]])
      timed.nothing_left(mj)
    end
  end)

  it("that begins on a closed client raises", function()
    mj:close()
    raises("closed", mj.watch, mj, timed.ids(1))
  end)

  it("leaves no descriptor", function()
    mj:close()
    collectgarbage()
    collectgarbage()
    local base = descriptors()
    if not base then return pending "not run: no /proc here" end
    for round = 1, 5 do
      new_real()
      ids = tasks("done", "stuck", "stuck")
      p:task(ids[2], { fault = "stall" })
      if round % 2 == 0 then p:set { list = "no_route" } end
      for _ in mj:watch(ids) do break end
      for _ = 1, 3 do mj:step(0.01) end
      assert(descriptors() > base)
      mj:close()
    end
    assert.equal(base, descriptors())
  end)

  it("refuses to be called where it calls back", function()
    local watcher <close> = mj:watch({}, function() end)
    raises("calls back", watcher)
    timed.run(mj)
  end)
end)
-- luacheck: pop
