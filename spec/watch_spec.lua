-- mj:watch: one step for each task that has ended, with what mj:wait would have given; time limits,
-- stalls, progress. How a loop is left is watch_loop_spec's, lists are watch_list_spec's.

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
  p:connections() -- so that what was sent arrives now, and not in the next one's log
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
    for _, dialect in ipairs { "java", "net", "go", "ts", "php" } do
      p:set { dialect = dialect }
      local ids = tasks("short", "done")
      new()
      assert.same({ [ids[1]] = "success", [ids[2]] = "success", [UNKNOWN] = "not_found" },
        watched(mj:watch { ids[1], UNKNOWN, ids[2] }))
      assert(time.elapsed() < 60)
    end
    new()
    p:set { dialect = "go" }
    assert.same({ [UNKNOWN] = "not_found", ["1735030489999998"] = "not_found" },
      watched(mj:watch { UNKNOWN, "1735030489999998" }))
    assert.is_true(mj.lists) -- an empty list is one
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

  it("leaves its place to nobody while it is still in a list that is under way", function()
    new_real { timeout = 0.5 }
    local lives = { "stuck", "stuck", "stuck", "done", "done", "done", "stuck" }
    for n = 8, 13 do lives[n] = "done" end
    local ids = tasks(table.unpack(lives))
    mj:fetch_many(ids) -- there are lists
    p:set { list = { delay = 0.3 } }
    local more = {
      [ids[1]] = { 4 }, [ids[4]] = { 5, 6, 7 }, [ids[6]] = { 8, 9, 10, 11, 12, 13 },
    }
    local told, ends, watcher = {}, 0, nil
    watcher = mj:watch({ ids[1] }, function(id, task, err)
      if not id then return end
      told[id], ends = task and "done" or err.kind == "timeout" and "stuck", ends + 1
      for _, n in ipairs(more[id] or {}) do watcher:add(ids[n]) end
    end)
    local before = core.now()
    repeat mj:step(0.05) until core.now() - before >= 0.25
    watcher:add(ids[2])
    watcher:add(ids[3])
    repeat local busy = mj:step(0.1) until not busy or core.now() - before > 4
    for n, id in ipairs(ids) do assert.equal(lives[n], told[id], n) end
    assert.equal(#ids, ends)
  end)

  -- A clock that oversleeps its first sleep by 1000 s, or so many.
  local function oversleeping(seconds)
    local own = require "support.clock".new()
    local jump, first = own.jump, true
    own.jump = function(due)
      jump(first and due + (seconds or 1000) or due)
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
      assert.equal(1005, time.elapsed()) -- and no more than that look
    end
  end)

  it("owes none to what passed it a moment before a late step", function()
    for _, plan in ipairs { "pass", { status = 404, body = "" } } do
      p:set { list = plan }
      local ids = tasks({ drawing(46), DONE }, { drawing(46), DONE })
      new(nil, oversleeping(0.01))
      assert.same({ [ids[1]] = "timeout", [ids[2]] = "timeout" },
        watched(mj:watch(ids, { timeout = 5.005 }))) -- a look would have been due at 5
      assert.near(5.01, time.elapsed(), 1e-6)
    end
  end)

  it("does not take along what is looked at already, though its time is short", function()
    new_real { interval = 10 }
    local ids = tasks("stuck", "stuck", "stuck")
    assert(mj:fetch_many(ids)) -- there are lists
    p:set { lists = { "stall" } }
    local watcher = mj:watch({ ids[1], ids[2] }, { timeout = 0.25 })
    repeat mj:step(0.01) until #timed.requests(p) == 2
    watcher:add(ids[3])
    assert.same({ [ids[1]] = "timeout", [ids[2]] = "timeout", [ids[3]] = "timeout" },
      watched(watcher))
    local lists, singles = timed.requests(p)
    assert.equal(2, #lists)
    assert.equal(1, #singles)
  end)

  it("asks for all of a list as long as the youngest has time", function()
    local ids = tasks("stuck", "done")
    p:set { lists = { "pass", { delay = 0.15 } } }
    local told = {}
    local watcher = mj:watch({ ids[1], UNKNOWN }, { timeout = 100, interval = 500, retries = 0 },
      function(id, task, err) told[#told + 1] = id and (task and "success" or err.kind) end)
    repeat mj:step() until #told == 1 -- the unknown one
    while mj.schedule.inflight > 0 do mj:step() end
    time.time = time.time + 99.95 -- the first is left that long; a look takes it along
    watcher:add(ids[2])
    timed.run(mj)
    assert.same({ "not_found", "success", "timeout" }, told)
    local lists = timed.requests(p)
    assert.same({ 2, 2 }, { #lists, #lists[2].ids })
  end)

  -- Starts something, and lets a quarter of an hour pass while its first look is under way.
  local function overtaken(plans, begin)
    p:reset()
    local ids = timed.ids(3)
    p:tasks(ids, { life = { drawing(46), drawing(62), DONE } })
    p:set { script = plans }
    new { retries = 0 }
    local ended = {}
    begin(ids, function(id, task, err)
      if id then ended[#ended + 1] = task and "success" or err.kind end
    end)
    time.time = time.time + 1000
    timed.run(mj)
    return ended, #p:log()
  end

  it("owes one also to what was under way then, whatever comes of that", function()
    local function wait(ids, note)
      mj:wait(ids[1], function(...) note(ids[1], ...) end)
    end
    local function watch_one(ids, note) mj:watch({ ids[1] }, note) end
    local function watch_all(ids, note) mj:watch(ids, note) end
    local done = { { status = 200, body = '{"status":"SUCCESS"}' } }
    for _, begin in ipairs { wait, watch_one } do
      assert.same({ { "success" }, 1 }, { overtaken(done, begin) })
      assert.same({ { "timeout" }, 2 }, { overtaken({}, begin) })
      assert.same({ { "timeout" }, 2 }, { overtaken({ "rst" }, begin) })
    end
    local all = { "timeout", "timeout", "timeout" }
    assert.same({ all, 2 }, { overtaken({}, watch_all) })
    assert.same({ all, 1 + 3 }, { overtaken({ { status = 400, body = "" } }, watch_all) })
    assert.same({ all, 1 + 1 }, { overtaken({ "rst" }, watch_all) })
    assert.same({ all, 2 + 3 }, { overtaken({ "rst", "rst" }, watch_all) })
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
    mj:step(0) -- the second task's is for nobody any more
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
    assert.is_nil(mj.lists) -- that says nothing of lists
    p:set { key = false }
    watched(mj:watch(ids))
    assert.is_true(mj.lists)
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
