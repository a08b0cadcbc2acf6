-- What has to get along without memory, and to work again with it: see oom.lua.
--
-- An operation is a table of
--   options         of the client; or bare = true: there is none
--   prepare(s)      with all memory there is, before each run
--   run(s)          with less; gives the results
--   good(s, ...)    raises unless these are the results of a run that went well
--   raises          what a run that goes well raises itself, in place of results
--   fair(s, ...)    raises for results that a lack of memory does not excuse, where they are more
--                   than nil and an error that says so
--   told(s, status) raises unless a callback was called as it should be
--   stride          not each request is refused, only one of so many: the rest is as elsewhere
--   final = true    the client does not outlive it
--   may_raise       and yet it may fail, as on a stack that has to grow, and be done again
--   text            in place of prepare and run: what is run in a state of its own, see oom.c
--   ends = true     and memory runs out while that one is closed
--   of_core = true  only of interest where it is the core that runs out of memory
--   after(s)        raises for what a failure must not leave behind
-- where s is the case's own table: mj, the client; p, the proxy; folder, an empty one; and what the
-- operation puts there. It is to put it there in prepare already, if only as a false: what a run
-- notes for itself must take no memory.

local mjtask = require "mjtask"
local timer = require "mjtask.loop.timer"
local pictures = require "support.pictures"

local SKU, PAWMAAS = "1735030480754475", "1724963337114767"
local ID, OTHER = "17350304800000", "17350304800001"
-- There is no such host, and no name server is asked: a part of a name has 63 letters at most.
local NOWHERE = ("https://%s.invalid"):format(("x"):rep(64))

local operations = {}

local function add(operation)
  operations[#operations + 1] = operation
  return operation
end

local function is_task(id)
  return function(_, task, err)
    assert(task and task.id == id and err == nil, err)
  end
end

local function ignore() end

local LOOP = { busy = false } -- what a loop was told

local function is_error(kind)
  return function(_, value, err)
    assert(value == nil and err.kind == kind, err)
  end
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

local function defined(...)
  local definitions = { ... }
  return function(s)
    for at, id in ipairs { ID, OTHER } do
      if definitions[at] then s.p:task(id, definitions[at]) end
    end
  end
end

-- ---- plain calls --------------------------------------------------------------------------------

add {
  name = "new", bare = true,
  prepare = function(s) s.made = false end,
  run = function(s)
    s.made = mjtask.new {
      url = s.p.url .. "/mj", key = "sk-0123456789abcdef", headers = { ["X-Kind"] = "test" },
      cafile = "/dev/null", proxy = "", user_agent = "test", timeout = 5,
    }
  end,
  good = function(s)
    is_task(SKU)(s, s.made:fetch(SKU))
    s.made:close()
  end,
}

local DOCUMENT = read "spec/fixtures/sku.json"

-- A host's loop is left again by a client that is not made.
add {
  name = "new-in-loop", bare = true,
  prepare = function(s)
    s.made, s.attached = false, 0
    s.loop = function()
      local adapter = {
        current = ignore, park = ignore, wake = ignore, busy = ignore,
        detach = function() s.attached = s.attached - 1 end,
      }
      s.attached = s.attached + 1
      return adapter
    end
  end,
  run = function(s)
    s.made = mjtask.new { url = s.p.url, key = "sk-0123456789abcdef", loop = s.loop }
  end,
  good = function(s)
    assert(s.attached == 1)
    s.made:close()
  end,
  after = function(s)
    collectgarbage()
    assert(s.attached == 0, "attached")
  end,
}

add {
  name = "decode", bare = true,
  run = function() return mjtask.decode(DOCUMENT) end,
  good = is_task(SKU),
}

add {
  name = "decode-fault", bare = true,
  run = function()
    return mjtask.decode '{"id":"1","prompt":"\\n\\ud800","list":[1,2.5,[{}],tru]}'
  end,
  good = is_error "decode",
}

add {
  name = "tostring",
  run = function(s) return tostring(s.mj), tostring(s.mj.engine) end,
  good = function(s, client, engine)
    assert(client == "mjtask.client(" .. s.p.url .. ")", client)
    assert(engine == "mjtask.engine(" .. s.p.url .. ")", engine)
  end,
}

local fetch = add {
  name = "fetch",
  run = function(s) return s.mj:fetch(SKU) end,
  good = is_task(SKU),
}

add {
  name = "fetch-anew",
  options = { retries = 5 },
  prepare = defined { life = "done", script = { { status = 503 }, "rst" } },
  run = function(s) return s.mj:fetch(ID) end,
  good = is_task(ID),
}

add {
  name = "fetch-nothing",
  prepare = defined { script = { "html_502", "html_502", "html_502" } },
  run = function(s) return s.mj:fetch(ID) end,
  good = is_error "http",
}

-- A socket that is libcurl's own, of its resolver.
add {
  name = "fetch-nowhere", of_core = true,
  options = { url = NOWHERE, retries = 0 },
  run = function(s) return s.mj:fetch(ID) end,
  good = is_error "dns",
}

local function says_memory(err)
  return tostring(err):find("memory", 1, true) ~= nil
end

local fetch_many = add {
  name = "fetch-many", stride = 2,
  run = function(s) return s.mj:fetch_many { SKU, PAWMAAS, "1" } end,
  good = function(_, tasks, errors)
    assert(tasks, errors)
    assert(tasks[SKU].id == SKU and tasks[PAWMAAS].id == PAWMAAS)
    assert(errors["1"].kind == "not_found", errors["1"])
  end,
  fair = function(_, tasks, errors)
    if not tasks then return assert(says_memory(errors), errors) end
    for _, id in ipairs { SKU, PAWMAAS } do
      assert(tasks[id] and tasks[id].id == id or says_memory(errors[id]), errors[id])
    end
    assert(errors["1"].kind == "not_found" or says_memory(errors["1"]), errors["1"])
  end,
}

local wait = add {
  name = "wait", stride = 2,
  prepare = defined { life = "short" },
  run = function(s) return s.mj:wait(ID, { progress = ignore }) end,
  good = is_task(ID),
}

add {
  name = "wait-failed", stride = 2,
  options = { trace = ignore },
  prepare = defined { life = "failure" },
  run = function(s) return s.mj:wait(ID) end,
  good = is_error "failed",
}

local function count_submits(s)
  local count = 0
  for _, request in ipairs(s.p:log()) do
    if request.path:find "/mj/submit/" then count = count + 1 end
  end
  return count
end

-- What is submitted costs money.
local function check_submits(s)
  assert(count_submits(s) - s.sent <= 1, "submitted twice")
end

local press = add {
  name = "press", options = { retries = 2 },
  prepare = function(s)
    s.p:set { submit = { life = "done" } }
    s.sent = count_submits(s)
  end,
  run = function(s) return s.mj:press(SKU, "U1") end,
  good = function(_, receipt, err) assert(receipt and receipt.id, err) end,
  after = check_submits,
}

-- A window opens, and is answered: two submits, of one each.
local function check_modal(s)
  assert(count_submits(s) - s.sent <= 2, "submitted twice")
end

local press_modal = add {
  name = "press-modal", stride = 2, options = press.options,
  prepare = function(s)
    defined({ life = "upscaled_done" })(s)
    s.p:set { submit = { life = "short" } }
    s.sent = count_submits(s)
  end,
  run = function(s) return s.mj:press(ID, "Custom Zoom", { modal = { prompt = "a cat" } }) end,
  good = press.good, after = check_modal,
  fair = function(_, receipt, err) -- the window is open, and there was no memory to answer it
    assert(receipt or says_memory(err) or err.kind == "needs_input", err)
  end,
}

local submit = add {
  name = "submit", options = press.options,
  prepare = press.prepare, after = press.after,
  run = function(s)
    return s.mj:submit("imagine", { prompt = "a cat", base64Array = { "data:," } })
  end,
  good = press.good,
}

local cancel = add {
  name = "cancel",
  prepare = function(s)
    s.p:set { dialect = "plus" }
    defined({ life = "stuck" })(s)
  end,
  run = function(s) return s.mj:cancel(ID) end,
  good = function(_, ok, err) assert(ok, err) end,
}

local seed = add {
  name = "seed",
  prepare = function(s)
    s.p:set { dialect = "plus" }
    defined({ life = "done" })(s)
  end,
  run = function(s) return s.mj:seed(ID) end,
  good = function(_, value, err) assert(value == "636646138", err) end,
}

local function prepare_folder(s)
  s.target = s.folder .. "/a.png"
  os.remove(s.target)
end

local function check_folder(s)
  local names = table.concat(oom.files(s.folder), " ")
  assert(names == "" or names == "a.png", names)
  assert(names == "" or read(s.target) == pictures.of "a.png", "a part of a picture")
end

local download = add {
  name = "download",
  options = { allow_private = true },
  prepare = prepare_folder, after = check_folder,
  run = function(s)
    local url = s.p.other_url .. "/hop/1/attachments/a.png"
    return s.mj:download(url, s.target, { progress = ignore })
  end,
  good = function(s, path, err)
    assert(path == s.target and err == nil, err)
    check_folder(s)
  end,
}

-- Two at once; the socket that cannot be watched is that of the first's resolver: only for that one
-- the set of sockets has to grow.
add {
  name = "download-nowhere", of_core = true,
  options = { allow_private = true },
  prepare = function(s)
    prepare_folder(s)
    s.one, s.other = false, false
  end,
  run = function(s)
    s.mj:download(NOWHERE .. "/b.png", s.folder .. "/b.png", function(_, err) s.other = err end)
    s.mj:download(s.p.other_url .. "/attachments/a.png", s.target, function(path, err)
      s.one = path or err
    end)
    while not (s.one and s.other) do s.mj:step() end
    return s.one, s.other
  end,
  good = function(s, one, other)
    assert(one == s.target, one)
    assert(other.kind == "dns", other)
    check_folder(s)
  end,
  fair = function(s, one, other)
    assert(one == s.target or says_memory(one), one)
    assert(other.kind == "dns" or says_memory(other), other)
  end,
  told = check_folder,
}

-- ---- watchers -----------------------------------------------------------------------------------

local WATCHED = { SKU, ID, OTHER }

local function see(s, id, task, err)
  assert(s.seen[id] == false, "told twice")
  s.seen[id] = task or err
end

local watch = add {
  name = "watch", stride = 3,
  prepare = function(s)
    defined({ life = "short" }, { life = "failure" })(s)
    s.seen = { [SKU] = false, [ID] = false, [OTHER] = false }
  end,
  run = function(s)
    for id, task, err in s.mj:watch(WATCHED, { progress = ignore }) do see(s, id, task, err) end
  end,
  good = function(s)
    is_task(SKU)(s, s.seen[SKU])
    is_task(ID)(s, s.seen[ID])
    is_error "failed"(s, nil, s.seen[OTHER])
  end,
  fair = function(s)
    for _, id in ipairs(WATCHED) do
      local seen = s.seen[id]
      assert(seen and (seen.id == id and seen.status or seen.kind == "failed" or says_memory(seen)))
    end
  end,
}

add {
  name = "watch-single", stride = 5, -- there are no lists
  prepare = function(s)
    watch.prepare(s)
    s.p:set { dialect = "java" }
  end,
  run = watch.run, good = watch.good, fair = watch.fair,
}

add {
  name = "watch-part", stride = 3,
  prepare = watch.prepare,
  run = function(s)
    local watcher <close> = s.mj:watch(WATCHED)
    return (watcher())
  end,
  good = function(_, id) assert(id == SKU) end,
}

-- ---- by callback --------------------------------------------------------------------------------

-- What a callback is told, noted without memory.
local function new_notes(s)
  s.handle, s.calls, s.value, s.err = false, 0, false, false
  s.done = function(value, err)
    s.calls, s.value, s.err = s.calls + 1, value, err
  end
end

local function check_told(s, status)
  if not s.handle then return assert(s.calls == 0, "told, though it did not start") end
  assert(s.calls == 1, "told " .. s.calls .. " times")
  if status == "ok" then return end
  assert(s.value or s.err.kind == "aborted" or says_memory(s.err), s.err)
end

local function drive(s)
  while s.mj:step() do end
end

-- The same as `plain`, begun by `start(s, done)`.
local function by_callback(plain, start, stride)
  return add {
    name = plain.name .. "-callback", options = plain.options, stride = stride,
    prepare = function(s)
      new_notes(s)
      if plain.prepare then plain.prepare(s) end
    end,
    run = function(s)
      s.handle = start(s, s.done)
      drive(s)
      return s.value, s.err
    end,
    good = plain.good, fair = plain.fair, after = plain.after, told = check_told,
  }
end

by_callback(fetch, function(s, done) return s.mj:fetch(SKU, done) end)
by_callback(fetch_many, function(s, done)
  return s.mj:fetch_many({ SKU, PAWMAAS, "1" }, done)
end, 3)
by_callback(wait, function(s, done) return s.mj:wait(ID, { progress = ignore }, done) end, 3)
by_callback(press, function(s, done) return s.mj:press(SKU, "U1", done) end, 3)
by_callback(press_modal, function(s, done)
  return s.mj:press(ID, "Custom Zoom", { modal = { prompt = "a cat" } }, done)
end, 7)
by_callback(submit, function(s, done)
  return s.mj:submit("imagine", { prompt = "a cat" }, done)
end, 3)
local cancel_told = by_callback(cancel, function(s, done) return s.mj:cancel(ID, done) end, 3)
cancel_told.name = "cancel-task-callback" -- not that of an operation, which is below
by_callback(seed, function(s, done) return s.mj:seed(ID, done) end, 3)
by_callback(download, function(s, done)
  return s.mj:download(s.p.other_url .. "/hop/1/attachments/a.png", s.target, done)
end, 2)

add {
  name = "watch-callback", stride = 3,
  prepare = function(s)
    watch.prepare(s)
    s.handle, s.over = false, 0
    s.each = function(id, task, err)
      if id then see(s, id, task, err) else s.over = s.over + 1 end
    end
  end,
  run = function(s)
    s.handle = s.mj:watch(WATCHED, { progress = ignore }, s.each)
    drive(s)
  end,
  good = function(s)
    assert(s.over == 1)
    watch.good(s)
  end,
  fair = function(s)
    assert(s.over == 1)
    watch.fair(s)
  end,
  told = function(s)
    local count = 0
    for _, id in ipairs(WATCHED) do count = count + (s.seen[id] and 1 or 0) end
    if not s.handle then
      return assert(s.over == 0 and count == 0, "told, though it did not start")
    end
    assert(s.over == 1, "the end was told " .. s.over .. " times")
  end,
}

-- A callback that makes a plain call.
local nested = by_callback({
  name = "fetch-nested", good = function(s, task, err)
    is_task(SKU)(s, task, err)
    is_task(PAWMAAS)(s, s.inner)
  end,
}, function(s, done)
  s.inner = false
  return s.mj:fetch(SKU, function(task, err)
    done(task, err)
    s.inner = s.mj:fetch(PAWMAAS)
  end)
end)
nested.stride = 2
nested.fair = function(_, task, err) assert(task or says_memory(err), err) end

-- Callbacks that raise, many in one step. Which of the errors is raised is the step's affair; that
-- each is called is not.
local RAISERS = 12

add {
  name = "raisers", stride = 2,
  prepare = function(s)
    s.p:task(ID, { life = "done", fault = "stall" })
    s.calls = {}
    for n = 1, RAISERS do
      s.calls[n] = 0
      local handle = s.mj:fetch(ID, function()
        s.calls[n] = s.calls[n] + 1
        error("ouch", 0)
      end)
      handle:cancel()
    end
  end,
  run = function(s) s.mj:step(0) end,
  raises = "ouch",
  good = ignore,
  told = function(s)
    for n, calls in ipairs(s.calls) do
      assert(calls == 1, ("callback %d was told %d times"):format(n, calls))
    end
    assert(not s.mj.schedule.nested, "the schedule believes to be nested")
  end,
  after = function(s) -- what else they raise
    for _ = 1, 2 * RAISERS do pcall(s.mj.step, s.mj, 0) end
  end,
}

-- ---- what is under way, and ends ----------------------------------------------------------------

local function lift(s, count) -- so that requests are under way
  for _ = 1, count do s.mj:step(0.002) end
end

add {
  name = "cancel-callback",
  prepare = function(s)
    new_notes(s)
    defined { life = "done", script = { { delay = 0.3 } } }(s)
    s.handle = s.mj:fetch(ID, s.done)
    lift(s, 2)
  end,
  run = function(s)
    s.handle:cancel()
    drive(s)
    return s.value, s.err
  end,
  good = is_error "aborted", told = check_told,
}

local function start_some(s)
  defined({ life = "stuck" }, { life = "done", fault = "stall" })(s)
  s.calls = { 0, 0, 0, 0 }
  local function count(n, ending)
    return function(id)
      if not (ending and id) then s.calls[n] = s.calls[n] + 1 end
    end
  end
  s.mj:fetch(OTHER, count(1))
  s.mj:wait(ID, { interval = 1000, max_interval = 1000 }, count(2))
  s.watcher = s.mj:watch({ ID, OTHER, SKU }, count(3, true))
  s.mj:fetch(OTHER, count(4))
  s.loop = s.mj:watch { ID, OTHER }
  lift(s, 3)
end

add {
  name = "close", options = { max_inflight = 2 }, final = true, may_raise = true,
  prepare = start_some,
  run = function(s) s.mj:close() end,
  good = function(s) assert(s.mj.closed) end,
  after = function(s)
    for _ = 1, 3 do pcall(s.mj.close, s.mj) end -- may have more to tell
    for n, calls in ipairs(s.calls) do
      assert(calls == 1, ("callback %d was told %d times"):format(n, calls))
    end
    assert(s.watcher:done())
  end,
}

add {
  name = "collect", options = { max_inflight = 2 }, final = true,
  prepare = start_some,
  run = function(s)
    s.mj, s.watcher, s.loop = false, false, false
    collectgarbage()
    collectgarbage()
  end,
  good = function(s)
    for _, calls in ipairs(s.calls) do assert(calls == 0) end
  end,
}

add {
  name = "hint", options = { timeout = 1000 },
  prepare = function(s)
    defined({ life = "short" }, { life = "short" })(s)
    new_notes(s)
    s.mj:wait(ID, { interval = 100, max_interval = 100 }, s.done)
    s.mj:watch({ OTHER }, { interval = 100, max_interval = 100 }, ignore)
    lift(s, 5)
  end,
  run = function(s)
    s.mj:hint(ID)
    s.mj:hint(OTHER)
  end,
  good = ignore,
  after = function(s)
    drive(s)
    assert(s.calls == 1 and s.value.id == ID, s.err)
  end,
}

-- The operation of a watcher that cannot be added to has died of it, which the watcher says.
local function check_died(s)
  local told, problem
  repeat told, problem = pcall(s.watcher) until not told or problem == nil
  assert(not told and says_memory(problem), problem or "closed")
end

add {
  name = "watch-add",
  prepare = function(s)
    defined({ life = "short" }, { life = "short" })(s)
    s.added = false
    s.watcher = s.mj:watch { ID }
    lift(s, 3)
  end,
  run = function(s)
    s.watcher:add(OTHER)
    s.added = true
  end,
  good = ignore,
  after = function(s)
    local open, again = pcall(s.watcher.add, s.watcher, OTHER)
    if not open then return check_died(s) end -- in a finalizer's step
    assert(again ~= s.added, "half added")
    local seen = {}
    for id, task, err in s.watcher do seen[id] = assert(task, err) end
    assert(seen[ID] and seen[OTHER], "fewer than were added")
  end,
}

-- To the tasks of a watcher that have all ended: another operation is needed for it.
add {
  name = "watch-add-again",
  prepare = function(s)
    defined({ life = "done" }, { life = "done" })(s)
    s.added = false
    s.watcher = s.mj:watch { ID }
    assert(s.watcher() == ID and s.watcher() == nil and s.watcher:done())
  end,
  run = function(s)
    s.watcher:add(OTHER)
    s.added = true
  end,
  good = ignore,
  after = function(s)
    local open, again = pcall(s.watcher.add, s.watcher, OTHER)
    if not open then
      assert(s.added, again)
      return check_died(s)
    end
    assert(again ~= s.added, "half added")
    local id, task, err = s.watcher()
    assert(id == OTHER and task, err or "nothing came of what was added")
    assert(s.watcher() == nil)
  end,
}

add {
  name = "watch-close",
  prepare = function(s)
    defined({ life = "stuck" }, { life = "done", fault = "stall" })(s)
    s.watcher = s.mj:watch { ID, OTHER }
    lift(s, 3)
  end,
  run = function(s) s.watcher:close() end,
  good = function(s) assert(s.watcher() == nil) end,
  after = function(s) s.watcher:close() end,
}

add {
  name = "watch-forget", final = true,
  prepare = function(s)
    defined({ life = "stuck" }, { life = "done", fault = "stall" })(s)
    s.watcher = s.mj:watch { ID, OTHER }
    lift(s, 3)
  end,
  run = function(s)
    s.watcher = false
    collectgarbage()
  end,
  good = ignore,
  after = function() collectgarbage() end,
}

-- ---- in a host's loop ---------------------------------------------------------------------------

-- It is told that nothing is under way any more; also by a call that blocks, and fails, beside one
-- that calls back.
add {
  name = "fetch-beside", stride = 2,
  options = {
    loop = function()
      return {
        current = ignore, park = ignore, wake = ignore, detach = ignore,
        busy = function(is_busy) LOOP.busy = is_busy end,
      }
    end,
  },
  prepare = function(s)
    new_notes(s)
    s.done = function() s.calls = s.calls + 1 end
    LOOP.busy = false
    s.handle = s.mj:fetch(PAWMAAS, s.done)
  end,
  run = function(s) return s.mj:fetch(SKU) end,
  good = function(s, task, err)
    is_task(SKU)(s, task, err)
    drive(s)
    assert(s.calls == 1 and not LOOP.busy)
  end,
  told = function(s)
    assert(s.calls == 1, "told " .. s.calls .. " times")
    assert(not LOOP.busy, "the loop is not told")
  end,
}

add {
  name = "fetch-parked", stride = 2,
  options = { loop = timer.loop(function() coroutine.yield() end) },
  run = function(s)
    local thread = coroutine.wrap(function()
      return true, s.mj:fetch(SKU)
    end)
    local ended, task, err
    repeat ended, task, err = thread() until ended
    return task, err
  end,
  good = is_task(SKU),
}

table.move(require "states", 1, #require "states", #operations + 1, operations)

return operations
