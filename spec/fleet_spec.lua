-- Workers that share tasks through Redis, one killed half-way: examples/fleet, with a real
-- redis-server and a process for each worker.

local cjson = require "cjson"
local program = require "support.program"
local proxy = require "support.proxy"
local redis = require "support.redis"
local shell = require "support.shell"

local KEY = "fleet-key"
local SECONDS = 20 -- for anything here
local ROOM, TAKEOVER = 8, 0.5

-- So that a look takes no seconds.
local PRELUDE = [[package.loaded["mjtask.providers"] = {
  sku = { url = %q, auth = "raw", interval = 0.1 },
}]]

describe("a fleet", function()
  local missing = redis.missing()
  if missing then
    it("ends each task once", function() pending("not run: " .. missing) end)
    return
  end

  local p, r
  local workers = {} -- those of a test
  setup(function() p = proxy.start() end)
  teardown(function() if p then p:stop() end end)
  before_each(function()
    p:reset()
    p:set { key = KEY, auth = "raw" }
    r = redis.start()
  end)
  after_each(function()
    for _, worker in ipairs(workers) do worker.program:stop() end
    workers = {}
    if r then r:stop() end
    r = nil
  end)

  local function environment(more)
    local env = { MJTASK_REDIS = r.url, LUA_PATH = redis.path }
    for name, value in pairs(more or {}) do env[name] = value end
    return env
  end

  -- Waits until it is; else says what there is instead.
  local function has(what, about)
    if not program.until_true(what, SECONDS) then error(about(), 2) end
  end

  -- A worker that has said hello to Redis: { name, pid, program }.
  local function start(settings)
    local self = { name = "worker-" .. #workers + 1 }
    local command = ("echo pid $$; exec %s -e %s examples/fleet/worker.lua"):format(
      shell.quoted(shell.interpreter()), shell.quoted(PRELUDE:format(p.url)))
    local around = ("sh -c %s & trap \"kill -9 $!\" TERM; wait $!; echo ended $?"):format(
      shell.quoted(command))
    self.program = program.start("sh -c " .. shell.quoted(around), { env = environment {
      MJTASK_PROVIDER = "sku", MJTASK_KEY = settings and settings.key or KEY, MJTASK_ROOM = ROOM,
      MJTASK_TAKEOVER = settings and settings.takeover or TAKEOVER,
    } })
    workers[#workers + 1] = self
    has(function()
      return r:ask("GET", "mjtask:worker") == tostring(#workers)
    end, function() return self.program:output() end)
    self.pid = assert(self.program:output():match "pid (%d+)\n")
    return self
  end

  local function signal(worker, name)
    assert(os.execute(("kill -%s %s"):format(name, worker.pid)))
  end

  local function submit(...)
    local words = { shell.quoted(shell.interpreter()), "examples/fleet/submit.lua", ... }
    local output, status = program.run(table.concat(words, " "), { env = environment() })
    assert.equal("", output)
    assert.equal(0, status)
  end

  -- What is written, by id.
  local function results()
    local found, flat = {}, r:ask("HGETALL", "mjtask:results")
    for i = 1, #flat, 2 do found[flat[i]] = cjson.decode(flat[i + 1]) end
    return found
  end

  local function outputs()
    local all = {}
    for n, worker in ipairs(workers) do all[n] = worker.program:output() end
    return table.concat(all, "\n")
  end

  local function await_results(count)
    has(function() return r:ask("HLEN", "mjtask:results") == count end, function()
      return ("%d results, not %d\n%s"):format(r:ask("HLEN", "mjtask:results"), count, outputs())
    end)
  end

  -- How many entries each worker holds.
  local function holds()
    local shares = {}
    for _, share in ipairs(r:ask("XPENDING", "mjtask:tasks", "workers")[4] or {}) do
      shares[share[1]] = math.tointeger(tonumber(share[2]))
    end
    return shares
  end

  local function nothing_is_left()
    assert.same({}, holds())
    assert.equal(0, r:ask("XLEN", "mjtask:tasks"))
  end

  -- How often a word is what workers said of an id.
  local function said(word)
    return select(2, outputs():gsub("\t" .. word .. "\n", ""))
  end

  local function ids_from(first, count)
    local ids = {}
    for n = 1, count do ids[n] = ("17350304000%05d"):format(first + n) end
    return ids
  end

  it("ends each task once, though one worker is killed half-way, and another leaves", function()
    local expected = {}
    local function tasks(first, count, outcome, definition)
      local ids = ids_from(first, count)
      if definition then p:tasks(ids, definition) end
      for _, id in ipairs(ids) do expected[id] = outcome end
      return ids
    end
    local quick = {}
    for at, facts in ipairs {
      { "success", { life = "done" } }, { "success", { life = "short", pace = 0.1 } },
      { "failed", { life = "failure", pace = 0.05 } }, { "cancelled", { life = "cancel" } },
      { "needs_input", { life = "modal", pace = 0.2 } }, { "not_found" },
    } do
      local ids = tasks(at * 100, 4, facts[1], facts[2])
      table.move(ids, 1, #ids, #quick + 1, quick)
    end
    local slow = tasks(1000, 2 * ROOM, "success", { life = "stuck" })
    local bad = tasks(2000, ROOM, "failed", { life = "stuck" })
    expected["no id"] = "invalid"

    r:ask("XADD", "mjtask:tasks", "*", "id", "no id")
    submit(quick[1], slow[1]) -- and once more
    submit(table.concat(slow, " "), table.concat(quick, " "), table.concat(bad, " "))
    local killed, left, last = start(), start(), start()
    await_results(#quick + 1)
    has(function() -- until no one has room
      local shares = holds()
      for _, worker in ipairs(workers) do
        if (shares[worker.name] or 0) < ROOM then return false end
      end
      return true
    end, outputs)

    signal(killed, "KILL")
    signal(left, "INT")
    has(function() return left.program:output():find "ended 0\n$" end, outputs)
    has(function() return killed.program:output():find "ended 137\n$" end, outputs)
    for _, entry in ipairs(r:ask("XPENDING", "mjtask:tasks", "workers", "-", "+", 99, left.name)) do
      assert.is_true(entry[3] > 1e6, "it left no word that it went") -- milliseconds
    end
    p:tasks(slow, { life = "short", pace = 0.1 })
    p:tasks(bad, { life = "failure", pace = 0.1 })
    await_results(#quick + #slow + #bad + 1)
    nothing_is_left()

    local found = results()
    for id, outcome in pairs(expected) do
      assert.equal(outcome, found[id] and found[id].outcome, id)
      assert.equal(outcome == "success", found[id].image ~= nil)
      found[id] = nil
    end
    assert.same({}, found)
    for _, id in ipairs(slow) do assert.equal(last.name, results()[id].worker) end
    assert.equal(#quick + #slow + #bad + 1, said "written")

    local listed = program.run(shell.quoted(shell.interpreter()) .. " examples/fleet/results.lua",
      { env = environment() })
    local count = 0
    for id, outcome in listed:gmatch "([^\t\n]+)\t([a-z_]+)[^\n]*\n" do
      assert.equal(expected[id] == "success" and "http" or expected[id], outcome)
      count = count + 1
    end
    assert.equal(#quick + #slow + #bad + 1, count)
    assert.is_truthy(("\n" .. listed):find("\n0 open\n", 1, true), listed)

    local written = r:written()
    assert.is_truthy(written:find(slow[1], 1, true))
    for _, text in ipairs { written, r.program:output(), outputs(), listed } do
      assert.is_nil(text:find(KEY, 1, true))
    end
  end)

  it("leaves a worker that lives what it holds, and takes it from one that sleeps", function()
    local id = ids_from(1, 1)[1]
    p:task(id, { life = "stuck" })
    submit(id)
    local sleeper = start()
    local idle, signs = -1, 0
    has(function()
      local entry = r:ask("XPENDING", "mjtask:tasks", "workers", "-", "+", 1)[1]
      if entry and entry[3] < idle then signs = signs + 1 end
      idle = entry and entry[3] or -1
      return signs == 4
    end, outputs)
    local entry = r:ask("XPENDING", "mjtask:tasks", "workers", "-", "+", 1)[1]
    assert.equal(sleeper.name, entry[2])
    assert.is_true(entry[4] < 3, "it takes its own again and again")

    signal(sleeper, "STOP")
    local other = start()
    has(function() return holds()[other.name] == 1 end, outputs)
    p:task(id, { life = "done", fields = { imageUrl = "https://i.example/first.png" } })
    await_results(1)
    p:task(id, { life = "done", fields = { imageUrl = "https://i.example/second.png" } })
    signal(sleeper, "CONT")
    has(function() return said "late" == 1 end, outputs)
    assert.equal("https://i.example/first.png", results()[id].image)
    assert.equal(other.name, results()[id].worker)
    nothing_is_left()

    local another = ids_from(2, 1)[1] -- both have watched nothing for a while
    p:task(another, { life = "short" })
    submit(id, another)
    await_results(2)
    assert.equal("success", results()[another].outcome)
    has(function() return said "known" == 1 end, outputs)
    assert.equal("https://i.example/first.png", results()[id].image)
    nothing_is_left()
  end)

  it("keeps what it found out while there is no Redis", function()
    local ids = ids_from(1, 5)
    p:tasks(ids, { life = "stuck" })
    submit(table.unpack(ids))
    local worker = start()
    has(function() return holds()[worker.name] == #ids end, outputs)
    r:crash()
    local asked = #p:log()
    p:tasks(ids, { life = "done", fields = { imageUrl = "https://i.example/{look}.png" } })
    has(function() return #p:log() > asked end, outputs)
    has(function() return worker.program:output():find("\nRedis: ", 1, true) end, outputs)
    r:go_on()
    await_results(#ids)
    -- Had it to ask again, that would be of another look.
    for _, id in ipairs(ids) do assert.equal("https://i.example/1.png", results()[id].image) end
    nothing_is_left()
  end)

  it("tries again what says nothing of the task, but not for ever", function()
    local once, always = table.unpack(ids_from(1, 2))
    p:set { list = "no_route" }
    p:task(once, { life = "done", script = { "unauthorized" } })
    p:task(always, { life = "done", fault = "unauthorized" })
    submit(once, always)
    start { takeover = 0.2 }
    await_results(2)
    assert.equal("success", results()[once].outcome)
    assert.equal("auth", results()[always].outcome)
    local left = said "left"
    assert.is_true(left > 1 and left < 6, outputs())
    nothing_is_left()
  end)

  it("leaves tasks to others where a worker is let in nowhere", function()
    local ids = ids_from(1, 3 * ROOM)
    p:tasks(ids, { life = "done" })
    submit(table.concat(ids, " "))
    start { key = "another", takeover = 60 }
    has(function() return said "left" == ROOM end, outputs)
    start()
    await_results(#ids)
    for _, id in ipairs(ids) do assert.equal("success", results()[id].outcome) end
    assert.equal(ROOM, said "left")
    nothing_is_left()
  end)

  it("finds what one of many left behind", function()
    local ids = ids_from(1, 40)
    submit(table.concat(ids, " "))
    r:ask("XGROUP", "CREATE", "mjtask:tasks", "workers", "0")
    local entries = r:ask("XREADGROUP", "GROUP", "workers", "others", "STREAMS", "mjtask:tasks",
      ">")[1][2]
    r:ask("XCLAIM", "mjtask:tasks", "workers", "gone", 0, entries[40][1], "IDLE", 100000)
    local output = program.run(shell.quoted(shell.interpreter()) .. " -e " .. shell.quoted [[
      package.path = "examples/fleet/?.lua;" .. package.path
      local queue = require "fleet".connect()
      queue:join()
      for _ = 1, 8 do
        for _, entry in ipairs(queue:take(1, 60)) do print(entry[2][2]) end
      end
      print(queue:write("1", "no result", { os.getenv "ENTRY" }, 1))
    ]], { env = environment { ENTRY = entries[1][1] } })
    -- Nor does it give up what another holds.
    assert.equal(ids[40] .. "\nleft\n", output)
  end)
end)
