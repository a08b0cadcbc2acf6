-- mj:watch: one step for each task that has ended, in a loop or by callback; what may be done
-- meanwhile; and that nothing is left, however it is left.

local core = require "mjtask.core"
local errors = require "mjtask.errors"
local proxy = require "support.proxy"
local timed = require "support.timed"

local UNKNOWN = "1735030489999999" -- the server never heard of it
local SLACK = 1 -- seconds on promised limits

local p, mj, time

local function new(options, jumps)
  if mj then mj:close() end
  mj, time = timed.new(p, options, jumps == nil and true or jumps)
  return mj
end

local function new_real(options)
  return new(options, false)
end

local function drawing(percent)
  return { status = "IN_PROGRESS", progress = percent .. "%" }
end

local DONE = { status = "SUCCESS", progress = "100%" }

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

local function count(notes, wanted)
  local found = 0
  for _, note in ipairs(notes) do
    if note == wanted then found = found + 1 end
  end
  return found
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
  mj = nil
end)

describe("a watch", function()
  it("gives each task once, with what wait gives", function()
    local lives = { "success", "short", "done", "failure", "cancel", "modal", "stuck" }
    local function define()
      local ids = tasks(table.unpack(lives))
      ids[#ids + 1] = UNKNOWN
      return ids
    end
    local waited, elapsed = {}, {}
    for _, id in ipairs(define()) do
      new()
      waited[id] = table.pack(mj:wait(id))
      elapsed[id] = time.elapsed()
    end
    for _, lists in ipairs { true, false } do
      local ids = define()
      new()
      if not lists then p:set { list = { status = 404, body = "" } } end
      local seen = 0
      for id, task, err in mj:watch(ids) do
        seen = seen + 1
        local before = waited[id]
        if before[1] then
          assert.same(before[1], task)
          assert.equal(getmetatable(before[1]), getmetatable(task))
          assert.is_nil(err)
        else
          assert.is_nil(task)
          assert.equal(before[2].kind, err.kind)
          assert.equal(before[2].retryable, err.retryable)
          assert.equal(before[2].status, err.status)
          assert.equal(id, err.id)
          assert.is_nil(err.unsent)
          assert(err.message:find(before[2].message, 1, true), err.message)
          assert(err.elapsed <= time.elapsed() and err.elapsed >= 0, err.elapsed)
          if err.kind ~= "timeout" then assert.same(before[2].task, err.task) end
        end
        if elapsed[id] == 600 then assert.equal(600, err.elapsed) end
      end
      assert.equal(#ids, seen)
    end
  end)

  it("counts the requests that asked for a task", function()
    for _, plan in ipairs { "pass", { status = 404, body = "" }, { status = 503, body = "" } } do
      p:reset()
      p:set { list = plan }
      new()
      for id, _, failure in mj:watch(tasks("failure", "failure", "modal")) do
        local asked = 0
        for _, request in ipairs(p:log()) do
          if (request.path .. request.body):find(id, 1, true) then asked = asked + 1 end
        end
        assert.equal(asked, failure.attempts)
      end
    end
  end)

  it("gives them as they end, not in the order asked", function()
    local ids = tasks("success", "short", "done", "unswept")
    local order = {}
    for id in mj:watch(ids) do order[#order + 1] = id end
    assert.same({ ids[3], ids[2], ids[4], ids[1] }, order)
  end)

  it("takes duplicates as one", function()
    local ids = tasks("short", "done")
    local ended = watched(mj:watch { ids[1], ids[2], ids[1], { id = ids[1] }, ids[2] })
    assert.same({ [ids[1]] = "success", [ids[2]] = "success" }, ended)
  end)

  it("of nothing ends at once, and asks nothing", function()
    for _ in mj:watch {} do error("a step") end
    local watcher = mj:watch {}
    assert.is_true(watcher:done())
    assert.is_nil(watcher())
    assert.equal(0, #p:log())
  end)

  it("of one task makes no lists", function()
    local ids = tasks("success")
    assert.same({ [ids[1]] = "success" }, watched(mj:watch(ids)))
    local lists, singles = timed.requests(p)
    assert.equal(0, #lists)
    assert.equal(10, #singles)
  end)

  it("tells ids that never existed, which lists leave out", function()
    local ids = tasks("short", "done")
    for _, dialect in ipairs { "java", "net", "go", "ts", "php" } do
      p:set { dialect = dialect }
      ids = tasks("short", "done")
      new()
      assert.same({ [ids[1]] = "success", [ids[2]] = "success", [UNKNOWN] = "not_found" },
        watched(mj:watch { ids[1], UNKNOWN, ids[2] }))
      assert(time.elapsed() < 60)
    end
    new()
    assert.same({ [UNKNOWN] = "not_found", ["1735030489999998"] = "not_found" },
      watched(mj:watch { UNKNOWN, "1735030489999998" }))
  end)

  it("takes tasks, receipts and integers for ids", function()
    local receipt = assert(mj:submit("imagine", { prompt = "a cat" }))
    local task = assert(mj:fetch(receipt))
    local ids = tasks("short", "short")
    local ended = watched(mj:watch { task, receipt, math.tointeger(ids[1]), { id = ids[2] } })
    assert.same({ [receipt.id] = "success", [ids[1]] = "success", [ids[2]] = "success" }, ended)
  end)

  it("refuses misuse by name, before any socket is opened", function()
    local good = timed.ids(1)[1]
    for message, list in pairs {
      ["ids: an array"] = "1735030480000001", ["array of ids"] = { id = good },
      ["ids: an"] = { good = true }, ["ids: "] = 7,
      ["ids[2]"] = { good, "a/b" }, ["ids[1]"] = { "" }, ["ids[3]"] = { good, good, false },
      ["ids[2] "] = { good, 1.5 }, ["ids[1] "] = { { name = "x" } },
      ["Give the id as a string"] = { good, 1735030480754475.0 },
    } do
      raises(message, mj.watch, mj, list)
    end
    raises("ids", mj.watch, mj)
    raises("colour", mj.watch, mj, { good }, { colour = 1 })
    raises("interval", mj.watch, mj, { good }, { interval = 0 })
    raises("progress", mj.watch, mj, { good }, { progress = "bar" })
    raises("done", mj.watch, mj, { good }, {}, "each")
    raises("allow_http", mj.watch, mj, { good }, { allow_http = true })
    raises("colon", mj.watch, {}, { good })
    local watcher <close> = mj:watch {}
    raises("colon", watcher.add, good)
    raises("colon", watcher.close)
    raises("colon", watcher.done, {})
    raises("id", watcher.add, watcher, "a/b")
    raises("id", watcher.add, watcher)
    assert.equal(0, #p:log())
    assert.equal(0, p:connections())
  end)

  it("keeps each task's own time limit", function()
    local ids = tasks("stuck", "stuck")
    local watcher = mj:watch({ ids[1] }, { timeout = 100 })
    local begun = time.elapsed()
    for _ = 1, 3 do mj:step() end
    local added = time.elapsed()
    assert(added > begun)
    watcher:add(ids[2])
    local id, _, err = watcher()
    assert.equal(ids[1], id)
    assert.equal("timeout", err.kind)
    assert.equal(begun + 100, time.elapsed())
    assert.equal(100, err.elapsed)
    assert(err.message:find("100 s", 1, true), err.message)
    assert(err.message:find("IN_PROGRESS 85%", 1, true), err.message)
    id, _, err = watcher()
    assert.equal(ids[2], id)
    assert.equal("timeout", err.kind)
    assert.equal(added + 100, time.elapsed())
    assert.equal(100, err.elapsed)
    assert.is_nil(watcher())
  end)

  it("keeps it while a request stalls", function()
    for _, plan in ipairs { "stall", { status = 404, body = "" } } do
      p:set { list = plan }
      new_real { timeout = 0.2 }
      local ids = timed.ids(3)
      p:tasks(ids, { fault = "stall" })
      local before = core.now()
      local ended = watched(mj:watch(ids))
      assert(core.now() - before < 0.2 + SLACK)
      assert.same({ [ids[1]] = "timeout", [ids[2]] = "timeout", [ids[3]] = "timeout" }, ended)
      timed.nothing_left(mj)
    end
  end)

  it("keeps it for the one that is older, while their common list stalls", function()
    new_real { timeout = 0.25 }
    p:set { list = "stall" }
    local ids = tasks("stuck", "stuck", "stuck")
    local watcher = mj:watch { ids[1] }
    local before = core.now()
    repeat mj:step(0.05) until core.now() - before >= 0.1
    watcher:add(ids[2])
    watcher:add(ids[3])
    local at = {}
    for id, _, err in watcher do
      assert.equal("timeout", err.kind)
      at[id] = core.now() - before
    end
    assert(at[ids[1]] < at[ids[2]], "all ended together")
    assert(at[ids[2]] >= 0.35 and at[ids[2]] < 0.35 + SLACK, at[ids[2]])
  end)

  -- A clock that oversleeps its first sleep by 1000 s.
  local function oversleeping()
    local own = require "support.clock".new()
    local jump, first = own.jump, true
    own.jump = function(due)
      jump(first and due + 1000 or due)
      first = false
    end
    return own
  end

  it("owes a last look to what passed its limit while nobody stepped", function()
    for _, plan in ipairs { "pass", { status = 404, body = "" } } do
      p:set { list = plan }
      local ids = tasks({ drawing(46), DONE }, { drawing(46), { status = "FAILURE" } },
        { drawing(46), drawing(62), DONE })
      new(nil, oversleeping())
      assert.same({ [ids[1]] = "success", [ids[2]] = "failed", [ids[3]] = "timeout" },
        watched(mj:watch(ids)))
    end
  end)

  it("ends what has stalled, with the task", function()
    local ids = tasks("stuck", "success", "churning")
    local kinds = {}
    for id, task, err in mj:watch(ids, { stall = 20 }) do
      kinds[id] = task and "success" or err.kind
      if err then
        assert.equal(20, err.elapsed)
        assert.equal("IN_PROGRESS", err.task.status)
        assert.equal(20, time.elapsed())
      end
    end
    assert.same({ [ids[1]] = "stalled", [ids[2]] = "success", [ids[3]] = "stalled" }, kinds)
  end)

  it("tells the progress of all", function()
    local ids = tasks("success", "short")
    local told = {}
    watched(mj:watch(ids, { progress = function(task, percent)
      told[task.id] = (told[task.id] or "") .. " " .. percent
    end }))
    assert.same({
      [ids[1]] = " 0 0 0 15 31 46 62 78 93 100", [ids[2]] = " 0 46 100",
    }, told)
  end)

  it("raises the error of a progress function to its loop, and is left by it", function()
    local ids = tasks("success", "short")
    raises("boom", function()
      for _ in mj:watch(ids, { progress = function() error("boom") end }) do error("a step") end
    end)
    timed.nothing_left(mj)
  end)

  it("may be one of several on a client, beside plain waits", function()
    for _, plan in ipairs { "pass", "unauthorized", { status = 404, body = "" } } do
      p:set { list = plan }
      new()
      local ids = tasks("success", "short", "done", "failure", "modal", "stuck", "unswept")
      local notes, each = scribe()
      mj:watch({ ids[1], ids[4], ids[6] }, each)
      local other = mj:watch({ ids[3], ids[4], ids[5], ids[2] }, { timeout = 300 })
      assert.equal("SUCCESS", assert(mj:wait(ids[7])).status)
      local waited
      mj:wait(ids[1], function(task) waited = task end)
      assert.equal("failed", select(2, mj:wait(ids[4])).kind)
      assert.same({
        [ids[2]] = "success", [ids[3]] = "success", [ids[4]] = "failed", [ids[5]] = "needs_input",
      }, watched(other))
      timed.run(mj)
      assert.equal("SUCCESS", waited.status)
      assert.equal(4, #notes)
      assert.equal(1, count(notes, ids[1] .. " success"))
      assert.equal(1, count(notes, ids[4] .. " failed"))
      assert.same({ ids[6] .. " timeout", "end" }, { notes[3], notes[4] })
      timed.nothing_left(mj)
    end
  end)

  it("gives up each task after five failed looks in a row, like wait", function()
    for _, plan in ipairs { "html_502", { status = 404, body = "" } } do
      p:reset()
      p:set { list = plan }
      new { retries = 0 }
      local ids = timed.ids(3)
      p:tasks(ids, { fault = "html_502" })
      assert.same({ [ids[1]] = "http", [ids[2]] = "http", [ids[3]] = "http" },
        watched(mj:watch(ids)))
      local _, singles = timed.requests(p)
      assert(#singles <= 15, #singles)
    end
  end)

  it("ends all with auth where the key is refused", function()
    p:set { key = "another" }
    local ids = tasks("short", "short", "short")
    local seen = 0
    for _, task, err in mj:watch(ids) do
      seen = seen + 1
      assert.is_nil(task)
      assert.equal("auth", err.kind)
      assert.equal(401, err.status)
      assert.is_false(err.retryable)
    end
    assert.equal(3, seen)
    assert.equal(0, time.elapsed())
  end)

  it("gives every task an error of its own", function()
    p:set { key = "another" }
    local all = {}
    for _, _, err in mj:watch(tasks("short", "short", "short")) do
      assert.is_nil(all[err])
      all[err] = true
    end
  end)
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
    end
    assert.equal(#ids, seen)
    assert(#watcher.state.watch.ids <= 2, "places are used again")
  end)
end)

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
    local function descriptors()
      local pipe <close> = io.popen("ls /proc/$PPID/fd 2>/dev/null | wc -l")
      return math.tointeger(tonumber(pipe:read("a")))
    end
    mj:close()
    local base = descriptors()
    if base == 0 then return pending "not run: no /proc here" end
    for round = 1, 5 do
      new_real()
      ids = tasks("done", "stuck", "stuck")
      p:task(ids[2], { fault = "stall" })
      if round % 2 == 0 then p:set { list = "no_route" } end
      for _ in mj:watch(ids) do break end
      for _ = 1, 3 do mj:step(0.01) end
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
