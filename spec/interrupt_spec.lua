-- Ctrl-C at any moment: the interpreter raises it at whatever instruction its main thread is. Here
-- a hook does so, at each instruction of a call in turn; what is left must be as it was.

local client = require "mjtask.client"
local clock = require "support.clock"
local proxy = require "support.proxy"

local ID, SKU = "1735030480000001", "1735030480754475"
local MOST = 20000 -- instructions, by which any call here is over
local STEPS = 60 -- that whatever is left may take

local p

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)
before_each(function()
  p:reset()
  p:task(ID, { life = "short" })
end)

-- Calls `work`, and raises at its n-th instruction of the main thread; but not inside `spared`, a
-- function of the user: that would be the user's own error. Returns whether it came to that.
local function interrupt(n, spared, work)
  local left, hit = n, false
  local function hook()
    left = left - 1
    if left > 0 or debug.getinfo(2, "f").func == spared then return end
    debug.sethook()
    hit = true
    error("interrupted!", 0)
  end
  local ok, problem = pcall(function()
    debug.sethook(hook, "", 1)
    work()
    debug.sethook()
  end)
  debug.sethook()
  assert(ok or tostring(problem):find("interrupted!", 1, true), problem)
  return hit
end

local function check_rest(mj)
  for _ = 1, STEPS do
    local ok, busy = pcall(mj.step, mj, 0.05)
    if ok and not busy then break end
  end
  local schedule = mj.schedule
  assert.equal(0, schedule.count, "operations")
  assert.equal(0, schedule.inflight, "transfers")
  assert.equal(0, schedule.timers.count, "timers")
  assert.is_false(schedule.nested)
  assert.is_false(schedule.stepping)
  assert.is_false(schedule.current)
  assert.is_true(schedule.deliveries:is_empty())
  assert.is_nil(next(mj.listeners))
end

-- `prepare(mj, told)` gives what is interrupted, and how often `told` is to be called by the end.
local function sweep(stride, prepare)
  assert.is_true(select(2, coroutine.running()), "not run: this is not the main thread")
  local n, hit = 1, true
  while hit do
    local mj = client.new({ url = p.url, key = "sk-0123456789abcdef", retries = 0, timeout = 5 },
      clock.new())
    local times = 0
    local function told() times = times + 1 end
    local work, expected = prepare(mj, told)
    hit = interrupt(n, told, work)
    check_rest(mj)
    assert.equal(expected or 0, times, "told at instruction " .. n)
    assert.equal(SKU, assert(mj:fetch(SKU)).id)
    mj:close()
    n = n + stride
    assert(n < MOST, "it never ends")
  end
  assert(n > 10 * stride, "nothing was interrupted")
end

describe("Ctrl-C #N13 at each instruction", function()
  it("of a fetch leaves nothing behind", function()
    sweep(1, function(mj)
      return function() assert(mj:fetch(SKU)) end
    end)
  end)

  it("of a fetch that fails leaves nothing behind", function()
    sweep(3, function(mj)
      return function() assert(not mj:fetch "1") end
    end)
  end)

  it("of a wait leaves nothing behind", function()
    sweep(3, function(mj)
      return function() assert(mj:wait(ID)) end
    end)
  end)

  it("of a watch leaves nothing behind", function()
    sweep(7, function(mj)
      return function()
        for _, task, err in mj:watch { ID, SKU } do assert(task, err) end
      end
    end)
  end)

  it("of a host's loop tells each callback once", function()
    sweep(1, function(mj, told)
      for _ = 1, 3 do mj:fetch(SKU, told) end
      return function() while mj:step() do end end, 3
    end)
  end)

  it("of a cancel, or before it, tells its callback once", function()
    sweep(1, function(mj, told)
      local operation = mj:fetch(SKU, told)
      return function() operation:cancel() end, 1
    end)
  end)

  it("of what closes a client leaves it closed, or as it was", function()
    for n = 1, 400 do
      local times = 0
      local mj = client.new({ url = p.url, key = "sk-0123456789abcdef" }, clock.new())
      local function told() times = times + 1 end
      mj:fetch(SKU, told)
      local hit = interrupt(n, told, function() mj:close() end)
      mj:close()
      assert.equal(1, times, "told at instruction " .. n)
      assert.error_matches(function() mj:fetch(SKU) end, "the client is closed")
      if not hit then break end
      assert(n < 400)
    end
  end)
end)
