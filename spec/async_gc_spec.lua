-- Calls by callback and the collector: finalizers that use the client at bad moments, and clients
-- that nobody holds any more. What may crash or hang runs in a process of its own.

local core = require "mjtask.core"
local descriptors = require "support.descriptors"
local mjtask = require "mjtask"
local process = require "support.process"
local proxy = require "support.proxy"

local ID = "1735030480000001"
local STUCK = "1735030480000002"

-- What the scripts share. `haunt(act)` leaves garbage whose finalizer calls `act` and leaves the
-- same garbage behind, until what it returns is called; `begin` makes the collector work all the
-- time. `call` starts a call and counts what its callback is told.
local PRELUDE = [[
  local mjtask = require "mjtask"
  local core = require "mjtask.core"
  local url, id, stuck, mode = ...
  local fired, inside = 0, false
  local function fail(...)
    print(...)
    os.exit(1)
  end
  local function haunt(act)
    local on = true
    local function again()
      setmetatable({}, { __gc = function()
        if not on then return end
        again()
        if inside then return end
        fired, inside = fired + 1, true
        local ok, problem = pcall(act, fired)
        inside = false
        if not ok then fail("in a finalizer:", problem) end
      end })
    end
    again()
    return function() on = false end
  end
  local function begin()
    if mode == "generational" then return collectgarbage("generational", 256) end
    collectgarbage("incremental", 1, 4000)
    collectgarbage("setpause", 0)
    collectgarbage "step" -- else the pause before still counts
  end
  local function rest()
    collectgarbage("incremental", 200, 100)
    collectgarbage()
  end
  local started, ended, kinds, starting = 0, 0, {}, 0
  local function call(mj, name, ...)
    local count, before = 0, starting
    local arguments = table.pack(...)
    started, starting = started + 1, starting + 1
    arguments[arguments.n + 1] = function(value, err)
      if starting > before and not inside then fail("inside the call") end
      count, ended = count + 1, ended + 1
      if count > 1 then fail("twice") end
      if value == nil and not err then fail("nothing") end
      local kind = err and err.kind or "value"
      kinds[kind] = (kinds[kind] or 0) + 1
    end
    local op = mj[name](mj, table.unpack(arguments, 1, arguments.n + 1))
    starting = starting - 1
    return op
  end
  local function new(fields)
    local given = { url = url, auth = "none", retries = 0, interval = 0.1, max_inflight = 4 }
    for name, value in pairs(fields or {}) do given[name] = value end
    return mjtask.new(given)
  end
  local function finish(mj)
    local deadline = core.now() + 10
    while mj:step(0.1) do
      if core.now() > deadline then fail("it does not end", mj.schedule.count) end
    end
    if started ~= ended then fail("started " .. started, "ended " .. ended) end
    local schedule = mj.schedule
    if next(schedule.operations) or schedule.count ~= 0 or schedule.inflight ~= 0
      or schedule.timers.count ~= 0 or schedule.nested or not schedule.deliveries:is_empty() then
      fail("something is left")
    end
  end
]]

local p

local function run(script, mode)
  local output, status = process.run(PRELUDE .. script, {
    args = { p.url, ID, STUCK, mode }, wrap = "timeout 60",
  })
  assert.equal("through\n", output)
  assert.equal(0, status)
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  p:task(ID, { life = "done" })
  p:task(STUCK, { life = "done", fault = "stall" })
end)

describe("a finalizer #I5", function()
  -- What it does, and what has to have been told in the end.
  local ACTS = {
    ["steps"] = [[
      local act = function(n) mj:step(n % 2 * 0.001) end
    ]],
    ["steps without end, and asks for the descriptor and the time"] = [[
      local act = function()
        if mj:timeout() == 0 then mj:step() end
        mj:pollfd()
      end
    ]],
    ["starts calls"] = [[
      local act = function() if mj.schedule.count < 20 then call(mj, "fetch", id) end end
    ]],
    ["starts calls that fail at once"] = [[
      local act = function() if mj.schedule.deliveries.count < 20 then
        call(mj, "download", "", "/nonesuch/x") end
      end
    ]],
    ["makes blocking calls"] = [[
      local act = function()
        local task, err = mj:fetch(id, { timeout = 0.3 })
        if not task and err.kind ~= "timeout" then fail(err) end
      end
    ]],
    ["cancels"] = [[
      local act = function(n)
        local op = ops[n % math.max(#ops, 1) + 1]
        if op then op:cancel() end
      end
    ]],
    ["does something else each time"] = [[
      local act = function(n)
        local op = ops[n % math.max(#ops, 1) + 1]
        if n % 5 == 0 then mj:step(0)
        elseif n % 5 == 1 and op then op:cancel()
        elseif n % 5 == 2 and mj.schedule.count < 20 then call(mj, "fetch", id)
        elseif n % 5 == 3 then mj:fetch(id, { timeout = 0.3 })
        else collectgarbage "step"
        end
      end
    ]],
  }

  for _, mode in ipairs { "incremental", "generational" } do
    for what, act in pairs(ACTS) do
      it(what .. ", and each callback is told once, " .. mode, function()
        run([[
          local mj, ops = new(), {}
        ]] .. act .. [[
          local stop = haunt(act)
          begin()
          for round = 1, 30 do
            ops[#ops + 1] = call(mj, "fetch", id)
            ops[#ops + 1] = call(mj, "wait", id, { progress = type })
            ops[#ops + 1] = call(mj, "fetch_many", { id, stuck }, { timeout = 0.5 })
            ops[#ops + 1] = call(mj, "download", "", "/nonesuch/x")
            if round % 7 == 0 then call(mj, "fetch", stuck, { timeout = 0.2 }) end
            mj:step(0.005)
            while #ops > 8 do table.remove(ops, 1) end
          end
          stop()
          rest()
          finish(mj)
          if fired < 5 then fail("only fired " .. fired) end
          print "through"
        ]], mode)
      end)
    end

    it("closes the client at any moment, and each callback is told once, " .. mode, function()
      run([[
        local closings = 0
        for round = 1, 250 do
          rest()
          local mj = new()
          local step, given = mj.step, { timeout = 5, progress = type }
          local left = round % 5
          local stop = haunt(function()
            left = left - 1
            if left < 0 and not mj.closed then
              closings = closings + 1
              mj:close()
            end
          end)
          begin()
          local waste
          for _ = 1, round * 7 % 97 do waste = { waste } end -- begin somewhere in a cycle
          for n = 1, 20 do
            local ok, problem = pcall(function()
              call(mj, "wait", id, given)
              call(mj, "fetch", stuck)
              call(mj, "download", "", "/nonesuch/x"):cancel()
            end)
            if not ok then -- it was closed; then this call was none
              if not tostring(problem):find("the client is closed", 1, true) then fail(problem) end
              started, starting = started - 1, 0
            end
            step(mj, 0.002)
            if mj.closed then break end
          end
          stop()
          step(mj, 0) -- tells those who were being started
          mj:close()
          if started ~= ended then fail(round, "started " .. started, "ended " .. ended) end
        end
        if closings < 50 then fail("only closed " .. closings) end
        for kind in pairs(kinds) do
          if not ("value closed aborted no_image"):find(kind) then fail(kind) end
        end
        print "through"
      ]], mode)
    end)

    it("closes, cancels and calls in callbacks that allocate, " .. mode, function()
      run([[
        local mj = new { max_inflight = 2 }
        local stop = haunt(function(n)
          if n % 3 == 0 then mj:step(0)
          elseif mj.schedule.count < 10 then call(mj, "fetch", id)
          end
        end)
        begin()
        local rounds = 0
        local function again(task, err)
          local waste = {}
          for n = 1, 50 do waste[n] = { n } end
          rounds = rounds + 1
          if rounds < 60 then
            mj:fetch(id, again)
            if rounds % 9 == 0 and not mj:fetch(id) then fail("blocking") end
          end
        end
        mj:fetch(id, again)
        local deadline = core.now() + 20
        while rounds < 60 do
          mj:step(0.1)
          if core.now() > deadline then fail("it does not end") end
        end
        stop()
        rest()
        finish(mj)
        print "through"
      ]], mode)
    end)
  end
end)

describe("a client that nobody holds #L3", function()
  local told
  local function note() told = told + 1 end

  before_each(function() told = 0 end)

  -- Leaves a client behind with all sorts of calls under way. Gives a weak table of it and of
  -- what it holds.
  local function abandon(watched)
    local mj = mjtask.new {
      url = p.url, auth = "none", max_inflight = 3, interval = 0.1, allow_private = true,
    }
    if watched then mj:pollfd() end
    for _ = 1, 3 do
      mj:fetch(STUCK, note)
      mj:fetch(ID, note)
      mj:wait(ID, { interval = 60 }, note)
      mj:fetch_many({ ID, STUCK }, note)
      mj:download(p.other_url .. "/attachments/a.png", process.scratch "picture", note)
      mj:download("", "/nonesuch/x", note)
      mj:fetch(STUCK, note):cancel()
    end
    for _ = 1, 3 do mj.schedule:step(0.01) end
    return setmetatable({ mj, mj.engine, mj.schedule, (next(mj.schedule.operations)) },
      { __mode = "v" })
  end

  for _, watched in ipairs { false, true } do
    it("calls nobody and leaves nothing, its descriptor asked for: " .. tostring(watched),
    function()
      p:set { image = { fault = "stall_body" } }
      collectgarbage()
      collectgarbage()
      local before = descriptors()
      -- In a stack of its own, so that nothing of it lies about in ours.
      local weak = coroutine.wrap(abandon)(watched)
      if before then assert.is_true(descriptors() > before) end
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
      if before then assert.is_true(descriptors() <= before) end
      assert.equal(0, told)
    end)
  end

  it("is held by an operation that somebody holds, and so can go on", function()
    local mj = mjtask.new { url = p.url, auth = "none" }
    local weak = setmetatable({ mj }, { __mode = "v" })
    local op = mj:fetch(STUCK, note)
    mj = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.is_truthy(weak[1])
    op:cancel()
    weak[1]:step(0)
    assert.equal(1, told)
    assert.is_true(op:done())
  end)

  it("goes at the end of a script, whatever was under way", function()
    for _, ending in ipairs { "", "os.exit(0, true)", "mj = nil", "error('end', 0)",
      "mj:download('', '/x', function() os.exit(0, true) end) while mj:step() do end" } do
      local output, status = process.run(PRELUDE .. [[
        mj = new { max_inflight = 2 }
        mj:pollfd()
        for _ = 1, 3 do
          mj:fetch(stuck, print)
          mj:wait(id, { interval = 60 }, print)
          mj:fetch_many({ id, stuck }, print)
          mj:download("", "/nonesuch/x", print)
        end
        for _ = 1, 3 do mj.schedule:step(0.01) end
        if started then io.stdout:write "through\n" end
        io.stdout:flush()
        print = function() end
      ]] .. ending, { args = { p.url, ID, STUCK, "" }, wrap = "timeout 20" })
      assert.equal(ending:find "error" and 1 or 0, status, ending .. output)
    end
  end)

  it("and many of them leave as many descriptors as there were", function()
    local function use()
      local mj = mjtask.new { url = p.url, auth = "none" }
      mj:pollfd()
      mj:fetch(ID, note)
      local deadline = core.now() + 10
      while mj:step(0.1) do assert(core.now() < deadline) end
    end
    local before
    for round = 1, 30 do
      if round == 3 then
        collectgarbage()
        collectgarbage()
        before = descriptors()
      end
      coroutine.wrap(use)()
    end
    collectgarbage()
    collectgarbage()
    if before then assert.is_true(descriptors() <= before) end
    assert.equal(30, told)
  end)
end)
