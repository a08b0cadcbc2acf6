-- What has to get along without memory, and to work again with it: see oom.lua.
--
-- An operation is a table of
--   options         of the client; or bare = true: there is none
--   prepare(s)      with all memory there is, before each run
--   run(s)          with less; gives the results
--   good(s, ...)    raises unless these are the results of a run that went well
--   fair(s, ...)    raises for results that a lack of memory does not excuse, where they are more than
--                   nil and an error that says so
--   after(s)        raises for what a failure must not leave behind
-- where s is the case's own table: mj, the client; p, the proxy; folder, an empty one; and what the
-- operation puts there. It is to put it there in prepare already, if only as a false: what a run
-- notes for itself must take no memory.

local mjtask = require "mjtask"
local pictures = require "support.pictures"

local SKU, PAWMAAS = "1735030480754475", "1724963337114767"
local ID, OTHER = "17350304800000", "17350304800001"

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

add {
  name = "decode", bare = true,
  run = function() return mjtask.decode(DOCUMENT) end,
  good = is_task(SKU),
}

add {
  name = "decode a fault", bare = true,
  run = function() return mjtask.decode '{"id":"1","prompt":"\\n\\ud800","list":[1,2.5,[{}],tru]}' end,
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
  name = "fetch anew",
  options = { retries = 5 },
  prepare = defined { life = "done", script = { { status = 503 }, "rst" } },
  run = function(s) return s.mj:fetch(ID) end,
  good = is_task(ID),
}

add {
  name = "fetch nothing",
  prepare = defined { script = { "html_502", "html_502", "html_502" } },
  run = function(s) return s.mj:fetch(ID) end,
  good = is_error "http",
}

local function says_memory(err)
  return tostring(err):find("memory", 1, true) ~= nil
end

local fetch_many = add {
  name = "fetch_many",
  run = function(s) return s.mj:fetch_many { SKU, PAWMAAS, "1" } end,
  good = function(_, tasks, errors)
    assert(tasks, errors)
    assert(tasks[SKU].id == SKU and tasks[PAWMAAS].id == PAWMAAS and errors["1"].kind == "not_found")
  end,
  fair = function(_, tasks, errors)
    if not tasks then return assert(says_memory(errors), errors) end
    for _, id in ipairs { SKU, PAWMAAS } do
      assert(tasks[id] and tasks[id].id == id or says_memory(errors[id]), errors[id])
    end
    assert(errors["1"].kind == "not_found" or says_memory(errors["1"]), errors["1"])
  end,
}

local function ignore() end

local wait = add {
  name = "wait",
  prepare = defined { life = "short" },
  run = function(s) return s.mj:wait(ID, { progress = ignore }) end,
  good = is_task(ID),
}

add {
  name = "wait, and fail",
  options = { trace = ignore },
  prepare = defined { life = "failure" },
  run = function(s) return s.mj:wait(ID) end,
  good = is_error "failed",
}

local press = add {
  name = "press",
  prepare = function(s) s.p:set { submit = { life = "done" } } end,
  run = function(s) return s.mj:press(SKU, "U1") end,
  good = function(_, receipt, err) assert(receipt and receipt.id, err) end,
}

add {
  name = "submit",
  run = function(s) return s.mj:submit("imagine", { prompt = "a cat", base64Array = { "data:," } }) end,
  good = press.good,
}

add {
  name = "cancel",
  prepare = function(s)
    s.p:set { dialect = "plus" }
    defined({ life = "stuck" })(s)
  end,
  run = function(s) return s.mj:cancel(ID) end,
  good = function(_, ok, err) assert(ok, err) end,
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
    return s.mj:download(s.p.other_url .. "/hop/1/attachments/a.png", s.target, { progress = ignore })
  end,
  good = function(s, path, err)
    assert(path == s.target and err == nil, err)
    check_folder(s)
  end,
}

-- ---- watchers -----------------------------------------------------------------------------------

local WATCHED = { SKU, ID, OTHER }

local function see(s, id, task, err)
  assert(s.seen[id] == false, "told twice")
  s.seen[id] = task or err
end

local watch = add {
  name = "watch",
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
  name = "watch one by one", -- there are no lists
  prepare = function(s)
    watch.prepare(s)
    s.p:set { dialect = "java" }
  end,
  run = watch.run, good = watch.good, fair = watch.fair,
}

add {
  name = "watch in part",
  prepare = watch.prepare,
  run = function(s)
    for id in s.mj:watch(WATCHED) do return id end
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
local function by_callback(plain, start)
  return add {
    name = plain.name .. " by callback", options = plain.options, calls_back = true,
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
by_callback(fetch_many, function(s, done) return s.mj:fetch_many({ SKU, PAWMAAS, "1" }, done) end)
by_callback(wait, function(s, done) return s.mj:wait(ID, { progress = ignore }, done) end)
by_callback(press, function(s, done) return s.mj:press(SKU, "U1", done) end)
by_callback(download, function(s, done)
  return s.mj:download(s.p.other_url .. "/hop/1/attachments/a.png", s.target, done)
end)

return operations
