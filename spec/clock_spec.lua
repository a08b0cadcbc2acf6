-- A wall clock that jumps changes nothing: time limits, looks and retries go by the monotonic one.

local process = require "support.process"
local ways = require "support.ways"

local ID, STUCK = "1735030480000001", "1735030480000002"
local YEARS, HOUR = 315360000, 3600 -- seconds
local SLACK = 1 -- seconds on promised limits

local function specs(way)
  local p

  setup(function() p = way.start() end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  -- Certificates are valid for two days.
  local JUMP = way.tls and HOUR or YEARS

  local PRELUDE = [[
    local now = require "mjtask.core".now
    local id, stuck = ...
    local before = os.time()
    assert(math.abs(os.time() - before) > 3000, "the clock does not jump")
  ]]

  -- What a script prints under that clock; nil and why, where there is none.
  local function under_jumps(script)
    local path, preload = process.shim "clock"
    if not path then return nil, preload end
    local output, status = process.run(way.script(p) .. PRELUDE .. script, {
      args = { ID, STUCK }, env = { LD_PRELOAD = preload, CLOCK_JUMP = JUMP },
    })
    assert.equal(0, status, output)
    return output
  end

  describe("a clock that jumps #L12", function()
    it("ends no fetch, and lets none go on", function()
      p:task(ID, { life = "done" })
      p:task(STUCK, { life = "done", fault = "stall" })
      local output, reason = under_jumps [[
        local mj <close> = new()
        for _ = 1, 20 do assert(call(mj, "fetch", id, { timeout = 5 })) end
        local started = now()
        local task, err = call(mj, "fetch", stuck, { timeout = 0.15 })
        print(err.kind, now() - started)
      ]]
      if not output then return pending(reason) end
      local took = tonumber(output:match "^timeout\t([%d.e-]+)\n$")
      assert(took, output)
      assert(took >= 0.14 and took < 0.15 + SLACK, took)
      assert.equal(21, #p:log())
    end)

    it("ends no wait, and makes no look come early or late", function()
      p:task(STUCK, { life = "stuck" })
      local output, reason = under_jumps [[
        local mj <close> = new()
        local started = now()
        local task, err = call(mj, "wait", stuck, { timeout = 0.35, interval = 0.1 })
        print(err.kind, err.task.status, now() - started)
      ]]
      if not output then return pending(reason) end
      local took = tonumber(output:match "^timeout\tIN_PROGRESS\t([%d.e-]+)\n$")
      assert(took, output)
      assert(took >= 0.34 and took < 0.35 + SLACK, took)
      local looks = #p:log() -- after 0, 0.1, 0.24 … but for the jitter, and one last
      assert(looks >= 2 and looks <= 5, looks)
    end)

    it("makes no retry wait for longer", function()
      p:task(ID, { life = "done", script = {
        "rst", { status = 503, headers = { ["Retry-After"] = "0" } },
      } })
      local output, reason = under_jumps [[
        math.random = function() return 0 end -- no backoff
        local mj <close> = new()
        local started = now()
        assert(call(mj, "fetch", id, { timeout = 5 }))
        print(now() - started)
      ]]
      if not output then return pending(reason) end
      assert(tonumber(output) < SLACK, output)
    end)
  end)
end

for _, way in ipairs(ways) do
  describe(way.name .. ":", function()
    if way.missing then return it("clocks", function() pending(way.missing) end) end
    specs(way)
  end)
end
