-- One script in all forms: it waits for fifty tasks of different lengths at once, while a timer of
-- 10 ms ticks beside it. Only how it calls is different. And the examples of the loops.

local core = require "mjtask.core"
local hosts = require "support.hosts"
local mjtask = require "mjtask"
local process = require "support.process"
local proxy = require "support.proxy"

local ID = "17350304800001"
local COUNT = 50
local TICK = 0.01 -- seconds
local SLACK = 1 -- seconds that the longest task may be exceeded by
local LIMIT = 10 -- seconds after which a test gives up

-- Each task is done after its third state: from 0.04 s on to 0.64 s.
local function pace_of(n) return 0.02 + 0.3 * n / COUNT end

local LONGEST, SUM = 2 * pace_of(COUNT), 0
for n = 1, COUNT do SUM = SUM + 2 * pace_of(n) end

local p

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)
before_each(function() p:reset() end)

-- ---- the scenario -------------------------------------------------------------------------------

-- Ticks, and the longest time between two of them.
local function new_clock()
  local clock = { ticks = 0, gap = 0, last = core.now() }
  function clock.tick()
    local now = core.now()
    clock.ticks, clock.gap, clock.last = clock.ticks + 1, math.max(clock.gap, now - clock.last), now
  end
  return clock
end

-- By callback the script has no loop but the client's steps: it steps until the next tick is due.
local function by_callback(clock)
  local mj <close> = mjtask.new { url = p.url, auth = "none", interval = 0.1, max_interval = 0.1 }
  local results = {}
  for n = 1, COUNT do
    mj:wait(ID .. n, function(task, err) results[n] = assert(task, err) end)
  end
  local due = core.now() + TICK
  while mj:step(math.max(due - core.now(), 0)) do
    if core.now() >= due then
      clock.tick()
      due = core.now() + TICK
    end
  end
  return results
end

-- In a loop the script is written as if it blocked.
local function in_loop(clock, host)
  local mj <close> = mjtask.new {
    url = p.url, auth = "none", interval = 0.1, max_interval = 0.1, loop = host.loop,
  }
  local results, left = {}, COUNT
  local stop = host.every(TICK, clock.tick)
  for n = 1, COUNT do
    host.go(function()
      results[n] = assert(mj:wait(ID .. n))
      left = left - 1
      if left == 0 then stop() end
    end)
  end
  assert.same({}, host.run())
  return results
end

local function blocking()
  local mj <close> = mjtask.new { url = p.url, auth = "none", interval = 0.1 }
  local results = {}
  for n = 1, COUNT do results[n] = assert(mj:wait(ID .. n)) end
  return results
end

-- What is the same however often a task was looked at.
local function essence(results)
  local list = {}
  for n, task in ipairs(results) do
    list[n] = ("%s %s %s %d"):format(task.id, task.status, task.progress, #task.buttons)
  end
  assert.equal(COUNT, #list)
  return list
end

-- Of the ticks that the time allows, how many there have to be. On a machine that does nothing else
-- it is nearly all of them; but a test has to bear one that does.
local LEAST = (os.getenv "MJTASK_GC" or process.is_sanitized()) and 0.03 or 0.25

local function plays(name, form, ...)
  for n = 1, COUNT do p:task(ID .. n, { life = "short", pace = pace_of(n) }) end
  local clock, started = new_clock(), core.now()
  local results = form(clock, ...)
  local whole = core.now() - started
  io.write(("\n%s: %d tasks in %.2f s (longest %.2f, sum %.1f), %d ticks, longest gap %.0f ms\n")
    :format(name, COUNT, whole, LONGEST, SUM, clock.ticks, clock.gap * 1000))
  assert.is_true(whole >= LONGEST and whole < LONGEST + SLACK, whole)
  assert.is_true(clock.ticks >= whole / TICK * LEAST, clock.ticks)
  assert.is_true(clock.gap < SLACK, clock.gap)
  assert.same(essence(blocking()), essence(results))
end

describe("fifty tasks at once, and a timer beside them,", function()
  it("by callback", function() plays("callback", by_callback) end)

  for _, name in ipairs { "luv", "cqueues", "timer" } do
    it("in the loop of " .. name, function()
      local host, missing = hosts.new(name)
      if not host then return pending(missing) end
      plays(name, in_loop, host)
    end)
  end
end)

-- ---- the examples -------------------------------------------------------------------------------

describe("the example", function()
  local KEY = "the-key"
  local DELAY = 0.2 -- seconds that each answer takes

  for _, name in ipairs { "callback", "luv", "cqueues", "timer" } do
    it("of " .. name .. " waits for all at once", function()
      if name ~= "callback" then
        local host, missing = hosts.new(name)
        if not host then return pending(missing) end
      end
      p:set { key = KEY }
      local ids = {}
      for n = 1, 5 do
        ids[n] = ID .. n
        p:task(ids[n], { life = "done", script = { { delay = DELAY } } })
      end
      ids[6] = "nonesuch"
      local file <close> = assert(io.open("examples/loops/" .. name .. ".lua"))
      local output, status, seconds = process.run(file:read "a", {
        args = ids, wrap = "timeout 20", env = { MJTASK_URL = p.url, MJTASK_KEY = KEY },
      })
      assert.equal(0, status, output)
      for n = 1, 5 do
        assert.matches(ids[n] .. "\thttp://127.0.0.1:%d+/attachments/", output)
      end
      assert.matches("nonesuch\tnot_found: ", output)
      assert.is_true(seconds < DELAY + SLACK + LIMIT)
      assert.equal(6, #p:log())
      assert.is_true(p:connections() >= 5) -- each of the five before the first was answered
    end)
  end
end)
