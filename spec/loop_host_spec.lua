-- Adapters and their processes: what is no adapter, how a process ends whose loop has a client, and
-- what a forked child does to its parent's loop. See loop_spec.lua for the loops themselves.

local core = require "mjtask.core"
local descriptors = require "support.descriptors"
local hosts = require "support.hosts"
local mjtask = require "mjtask"
local process = require "support.process"
local proxy = require "support.proxy"

local ID = "1735030480000001"
local STUCK = "1735030480000002"

local p

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  p:task(ID, { life = "done" })
  p:task(STUCK, { life = "done", fault = "stall" })
end)

local function has_epoll()
  local engine <close> = core.engine { url = "http://127.0.0.1:9", auth = "none" }
  return engine:pollfd() ~= nil
end

describe("the loop option", function()
  local function refusal(loop)
    local ok, problem = pcall(function()
      mjtask.new { url = p.url, auth = "none", loop = loop }:close()
    end)
    assert.is_false(ok, "it is taken")
    return problem
  end

  local function whole(changes)
    local function nothing() end
    local loop = {
      current = nothing, park = nothing, wake = nothing, busy = nothing, detach = nothing,
    }
    for name, value in pairs(changes or {}) do loop[name] = value end
    return function() return loop end
  end

  it("is a function, or refused by name", function()
    for _, bad in ipairs { true, false, 1, "luv", {}, coroutine.create(print), io.stdout } do
      assert.matches("loop_host_spec.lua:%d+: options.loop must be a function", refusal(bad))
    end
    if hosts.new "luv" then
      assert.matches("options.loop must be a function", refusal(require "mjtask.loop.luv"))
    end
  end)

  it("gives all that a loop has, or is refused by name", function()
    local function nothing() end
    for _, bad in ipairs { nothing, tostring, function() return 1 end,
      function() return true end, function() return {} end, function(client) return client end } do
      assert.matches('loop_host_spec.lua:%d+: options.loop gives no function "%l+"', refusal(bad))
    end
    for _, name in ipairs { "current", "park", "wake", "busy", "detach" } do
      for _, bad in ipairs { 1, {}, "x", true } do
        assert.matches('options.loop gives no function "' .. name .. '"',
          refusal(whole { [name] = bad }), 1, true)
      end
    end
    mjtask.new { url = p.url, auth = "none", loop = whole() }:close()
  end)

  it("that raises does so out of mjtask.new, as it is", function()
    assert.matches("^loop_host_spec.lua:%d+: mine$", (refusal(function() error "mine" end)
      :gsub("^.*/", "")))
    local own = {}
    assert.is_true(rawequal(own, refusal(function() error(own) end)))
  end)

  it("that is refused leaves no descriptor behind", function()
    collectgarbage()
    local before = descriptors()
    if not before then return pending "not run: there is no /proc" end
    for _ = 1, 5 do
      refusal(function(client)
        client:pollfd()
        error "mine"
      end)
      refusal(function(client)
        client:pollfd()
        return {}
      end)
    end
    assert.is_true(descriptors() <= before)
  end)

  it("is told of the beginning and the end of work, and of the end of all, once", function()
    local told = {}
    local function note(name)
      return function(value) told[#told + 1] = value == nil and name or name .. tostring(value) end
    end
    local mj = mjtask.new {
      url = p.url, auth = "none", loop = whole { busy = note "busy ", detach = note "detach" },
    }
    assert(mj:fetch(ID))
    assert.same({}, told)
    for _ = 1, 2 do
      local left = 3
      for _ = 1, 3 do mj:fetch(ID, function() left = left - 1 end) end
      while left > 0 do mj:step(1) end
    end
    mj:fetch(ID, type):cancel()
    mj:close()
    mj:close()
    assert.same({
      "busy true", "busy false", "busy true", "busy false", "busy true", "busy false", "detach",
    }, told)
  end)

  it("of timer takes the host's sleep, that of cqueues a controller", function()
    local timer = require "mjtask.loop.timer"
    for _, bad in ipairs { false, 1, "sleep", {} } do
      local ok, problem = pcall(function() timer.loop(bad) end)
      assert.is_false(ok)
      assert.matches("loop_host_spec.lua:%d+: sleep: a function expected, got " .. type(bad),
        problem)
    end
    assert.is_false((pcall(timer.loop)))
    local _, missing = hosts.new "cqueues"
    if missing then return pending(missing) end
    local loop = require "mjtask.loop.cqueues"
    for _, bad in ipairs { false, 1, "cq", {}, io.stdout } do
      local ok, problem = pcall(function() loop.loop(bad) end)
      assert.is_false(ok)
      assert.matches("loop_host_spec.lua:%d+: cq: a controller expected, got " .. type(bad),
        problem)
    end
  end)

  it("of timer lets a sleep raise, which ends the call that slept", function()
    local slept = 0
    local mj <close> = mjtask.new {
      url = p.url, auth = "none", loop = require "mjtask.loop.timer".loop(function()
        slept = slept + 1
        if slept == 2 then error "no more sleep" end
        coroutine.yield()
      end),
    }
    local thread = coroutine.create(function()
      local ok, problem = pcall(mj.fetch, mj, STUCK)
      coroutine.yield(ok, problem)
    end)
    assert(coroutine.resume(thread))
    local _, ok, problem = coroutine.resume(thread)
    assert.is_false(ok)
    assert.matches("no more sleep", problem, 1, true)
    assert.equal(0, mj.schedule.count)
    assert.equal(0, mj.schedule.inflight)
    assert.is_false(mj:step(0))
    assert.equal("suspended", coroutine.status(thread)) -- nobody has woken it
  end)

  it("of a loop that watches descriptors says so where there is none", function()
    if has_epoll() then return end
    for _, name in ipairs { "luv", "cqueues" } do
      if hosts.library(name) then
        local module = require("mjtask.loop." .. name)
        local cq = name == "cqueues" and hosts.library(name).new() or nil
        assert.matches("no descriptor here: use loop.timer", refusal(module.loop(cq)), 1, true)
      end
    end
  end)
end)

-- What a script of each loop begins with.
local PRELUDE = {
  luv = [[
    local uv = require "luv"
    local loop = require "mjtask.loop.luv"
    local go, adapter = loop.go, loop.loop()
    local function run(mode) return uv.run(mode) end
  ]],
  cqueues = [[
    local cq = require "cqueues".new()
    local adapter = require "mjtask.loop.cqueues".loop(cq)
    local function go(f) cq:wrap(f) end
    local function run(mode)
      if mode then cq:step(0) else assert(cq:loop()) end
    end
  ]],
  timer = [[
    local adapter = require "mjtask.loop.timer".loop(coroutine.yield)
    local threads = {}
    function go(f)
      threads[#threads + 1] = coroutine.create(f)
      coroutine.resume(threads[#threads])
    end
    local function run() end
  ]],
}
local CLIENT = [[
  warn "@on" -- what a finalizer raises is heard of
  local mjtask = require "mjtask"
  local url, id, stuck = ...
  local function new()
    return mjtask.new { url = url, auth = "none", loop = adapter, max_inflight = 4 }
  end
  mj = new()
  local function busy()
    mj:fetch(stuck, print)
    go(function() mj:fetch(stuck) end)
    go(function() mj:wait(id, { interval = 60 }) end)
    for _ = 1, 3 do
      run "nowait"
      mj.schedule:step(0.01)
    end
  end
]]

-- States of a client at the end of its script, and the lines that end it.
local STATES = { idle = "assert(mj:fetch(id))", busy = "busy()", new = "" }
local ENDS = {
  "", "mj = nil", "mj:close()", "mj:close() mj = nil collectgarbage() collectgarbage()",
  "os.exit(0, true)", "mj:close() os.exit(0, true)", "run 'nowait'", "mj:close() run 'nowait'",
  "local _ <close> = mj", "mj = new() mj:close() mj = new()",
  "go(function() os.exit(0, true) end) run()",
  "mj:download('', '/x', function() os.exit(0, true) end) mj:step(0)",
  "mj:download('', '/x', function() mj:close() os.exit(0, true) end) mj:step(0)",
  "go(function() mj:close() end) run 'nowait'",
}

for _, name in ipairs { "luv", "cqueues", "timer" } do
  describe("a process with a client in the loop of " .. name .. " #L6", function()
    local _, missing = hosts.new(name)
    if missing then return it("runs", function() pending(missing) end) end

    local function run(script, runner)
      return process.run(PRELUDE[name] .. CLIENT .. script, {
        args = { p.url, ID, STUCK }, wrap = "timeout 20", runner = runner,
      })
    end

    for state, begin in pairs(STATES) do
      it("ends well in every way, the client " .. state, function()
        for _, ending in ipairs(ENDS) do
          local output, status = run("print = type " .. begin .. "\n" .. ending)
          assert.equal("", output, ending)
          assert.equal(0, status, ending)
        end
      end)
    end

    it("goes on with another client that got the same descriptor", function()
      local output, status = run [[
        for _ = 1, 3 do
          local done = false
          mj:close()
          mj = new()
          go(function() done = mj:fetch(id) end)
          if threads then
            repeat coroutine.resume(threads[#threads]) until done
          end
          run()
          assert(done, "it was not told")
        end
        print "through"
      ]]
      assert.equal("through\n", output)
      assert.equal(0, status)
    end)

    -- Before it forks the loop has got to know the descriptor.
    local FORK = [[
      local done, busy = nil, %s
      local function fetch()
        go(function() done = mj:fetch(id .. 1) end)
        if busy then run "nowait" else run() end
      end
      if busy then
        fetch()
      else
        go(function() mj:fetch(id) end)
        run()
      end
      local pid = fork()
      if pid == 0 then
        %s
        exit(0)
      end
      if wait(pid) ~= 0 then print "the child failed" end
      if not busy then fetch() end
      if threads then
        repeat coroutine.resume(threads[#threads]) until done
      end
      run()
      assert(done, "it was not told")
      assert(mj:fetch(id))
      print "through"
    ]]

    for _, busy in ipairs { true, false } do
      it("that forks leaves the parent's loop alone, busy: " .. tostring(busy), function()
        local host, no_host = process.host()
        if not host then return pending(no_host) end
        local given = os.getenv "ASAN_OPTIONS"
        for _, ending in ipairs { "", "mj:close()", "mj = nil collectgarbage() collectgarbage()",
          "pcall(mj.fetch, mj, id) pcall(mj.step, mj, 0)" } do
          p:task(ID .. 1, { life = "done", script = { { delay = 0.1 } } })
          local output, status = process.run("local fork, wait, exit = fork, wait, exit "
            .. PRELUDE[name] .. CLIENT .. FORK:format(busy, ending), {
            args = { p.url, ID, STUCK }, wrap = "timeout 20", runner = host .. " states 1",
            env = given and { ASAN_OPTIONS = given .. ":detect_leaks=0" } or nil,
          })
          assert.equal("through\nalive\n", output, ending)
          assert.equal(0, status, ending)
        end
      end)
    end
  end)
end

describe("a process in the loop of luv", function()
  it("may close all handles there are, the client's as well", function()
    local host, missing = hosts.new "luv"
    if not host then return pending(missing) end
    local output, status = process.run(PRELUDE.luv .. CLIENT .. [[
      mj:fetch(id, function(task) print(task.id) end)
      run()
      uv.walk(function(handle) handle:close() end)
      run()
      go(function() print(mj:fetch(id).id) end) -- blocks: nobody would wake it
      mj:close()
      mj = new()
      go(function() print(mj:fetch(id).id) end)
      run()
    ]], { args = { p.url, ID, STUCK }, wrap = "timeout 20" })
    assert.equal((ID .. "\n"):rep(3), output)
    assert.equal(0, status)
  end)
end)
