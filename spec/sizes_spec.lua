-- Answers that are too large, in body or head: what is given for them, and what they cost. A client
-- never holds more of an answer than max_body, whatever the wire makes of it.

local client = require "mjtask.client"
local clock = require "support.clock"
local core = require "mjtask.core"
local figure = require "support.figure"
local mjtask = require "mjtask"
local process = require "support.process"
local ways = require "support.ways"
local fails_with = require "support.fails_with"

local ID, SMALL = "1735030480000001", "1735030480000002"
local KIB, MIB = 1024, 1024 * 1024
local CAP = 64 * KIB -- of a body
local LONG = 10 -- seconds that a try may take
local SLACK = 1 -- seconds on promised limits

local BOMBS = {
  { fault = "gzip_bomb", mib = 16 }, { fault = "gzip_twice_bomb", mib = 16 },
  { fault = "chunk_big" }, { fault = "no_length" }, { fault = "big", mib = 16 },
}
-- Faults as a round has them, each under an id of its own name.
local ROUND = {
  "rst", "rst_body", "short", "empty", "gzip_bomb", "chunk_big", "truncated", "html", "okclose",
  "redirect_302", "garbage", "big_header", "html_502", "deadsecond",
}
local HEADS = { "big_header", "many_headers", "many_100" }

local function specs(way)
  local p, mj, plain

  -- A client whose calls are one try, and whose sleeps cost no time.
  local function new(options)
    local given = ways.options(p, { retries = 0, request_timeout = LONG, max_body = CAP })
    for name, value in pairs(options or {}) do given[name] = value end
    return client.new(given, clock.new())
  end

  local function fetch_with(plan, options)
    p:task(ID, { life = "done", fault = plan })
    return way.call(mj, "fetch", ID, options)
  end

  setup(function()
    p = way.start()
    p:task(ID, { life = "done" })
    local first <close> = new()
    plain = assert(first:fetch(ID))
  end)
  teardown(function() p:stop() end)

  before_each(function()
    p:reset()
    mj = new()
  end)
  after_each(function() mj:close() end)

  describe("a body #H8 #H9", function()
    for _, plan in ipairs(BOMBS) do
      it("ends at max_body: " .. plan.fault, function()
        local err = fails_with("too_large", fetch_with(plan))
        assert.equal(200, err.status)
        assert.is_false(err.retryable)
        assert.same(plain, assert(fetch_with("pass")))
      end)
    end

    it("ends at 8 MiB where nothing is said", function()
      mj:close()
      mj = mjtask.new(ways.options(p, { retries = 0 }))
      fails_with("too_large", fetch_with("chunk_big"))
      assert.same(plain, assert(fetch_with { fault = "chunk_big", mib = 7 }))
    end)

    it("is too large by a byte", function()
      local head, tail = ('{"id":"%s","x":"'):format(ID), '"}'
      local function of_size(size)
        return { status = 200, body = head .. ("x"):rep(size - #head - #tail) .. tail }
      end
      assert.equal(ID, assert(fetch_with(of_size(1000), { max_body = 1000 })).id)
      fails_with("too_large", fetch_with(of_size(1001), { max_body = 1000 }))
      assert.equal(ID, assert(fetch_with(of_size(CAP))).id)
      fails_with("too_large", fetch_with(of_size(CAP + 1)))
    end)

    it("is measured after decompression", function()
      local fields = { pad = ("x"):rep(4000) }
      p:task(ID, { life = "done", fields = fields, fault = "gzip" })
      fails_with("too_large", way.call(mj, "fetch", ID, { max_body = 3000 }))
      assert.equal(4000, #assert(way.call(mj, "fetch", ID, { max_body = 8000 })).pad)
    end)

    it("is asked for in gzip, and in nothing else", function()
      assert(fetch_with "pass")
      assert.equal("gzip", p:log()[1].headers["accept-encoding"])
    end)

    it("may be large within the limit", function()
      for _, fault in ipairs { "big", "chunk_big", "no_length" } do
        local task, err = fetch_with({ fault = fault, mib = 2 }, { max_body = 3 * MIB })
        assert.same(plain, assert(task, err))
      end
    end)
  end)

  describe("memory #H7 #H8 #H9", function()
    local ALLOWED = 64 * KIB -- beyond max_body, and what a small answer of that kind takes
    local HEAD_ALLOWED = 4 * MIB

    local SCRIPT = [[
      local shim, cap, id, small = ...
      local memory = assert(package.loadlib(shim, "luaopen_memory"))()
      local mj = new { retries = 0, max_body = tonumber(cap) }
      local function show_most(id)
        collectgarbage()
        collectgarbage()
        memory.mark()
        local task, err = call(mj, "fetch", id)
        local bytes = memory.most()
        print(bytes, task and "task" or err.kind)
      end
      assert(call(mj, "fetch", small)) -- what is loaded and kept once
      show_most(small)
      show_most(id)
    ]]

    -- Bytes that a fetch takes at most, under `cap`: of a small answer like that, and of this one;
    -- and how this one ended. Nil and why, where it cannot be said.
    local function most_of(plan, small, cap)
      if process.is_sanitized() then return nil, "not run: the sanitizers allocate otherwise" end
      local path, preload = process.shim "memory"
      if not path then return nil, preload end
      p:task(ID, { life = "done", fault = plan })
      p:task(SMALL, { life = "done", fault = small })
      local output, status = process.run(way.script(p) .. SCRIPT, {
        args = { path, cap, ID, SMALL }, env = { LD_PRELOAD = preload },
      })
      assert.equal(0, status, output)
      local little, large, outcome = output:match "^(%d+)\ttask\n(%d+)\t([%l_]+)\n$"
      assert(little, output)
      return tonumber(little), tonumber(large), outcome
    end

    for _, plan in ipairs(BOMBS) do
      it("is that of max_body, and no more: " .. plan.fault, function()
        local small = plan.fault:find "^gzip_twice" and "gzip_twice"
          or plan.fault:find "^gzip" and "gzip" or "pass"
        local cap = way.how == "callback" and CAP or MIB
        local little, large, outcome = most_of(plan, small, cap)
        if not little then return pending(large) end
        figure("%s, %s: max_body %d KiB, at most %.0f KiB, a small one %.0f KiB", way.name,
          plan.fault, cap // KIB, large / KIB, little / KIB)
        assert.equal("too_large", outcome)
        assert(large - little <= cap + ALLOWED, ("%.0f KiB"):format((large - little) / KIB))
      end)
    end

    it("does not grow with the fetches #L9", function()
      if process.is_sanitized() then return pending "not run: the sanitizers allocate otherwise" end
      local path, preload = process.shim "memory"
      if not path then return pending(preload) end
      p:task(ID, { life = "done" })
      for _, fault in ipairs(ROUND) do p:task(fault, { life = "done", fault = fault }) end
      local output, status = process.run(way.script(p) .. [[
        local shim, id, faults = ...
        local memory = assert(package.loadlib(shim, "luaopen_memory"))()
        local mj <close> = new { retries = 0, max_body = 65536 }
        local function round()
          for _ = 1, 60 do
            assert(call(mj, "fetch", id))
            call(mj, "fetch", "1735030480009999")
          end
          for name in faults:gmatch "%S+" do
            call(mj, "fetch", name)
          end
          collectgarbage()
          collectgarbage()
        end
        for _ = 1, 4 do round() end -- until each buffer has its size
        memory.mark()
        local registry = #debug.getregistry()
        for _ = 1, 4 do round() end
        print(memory.held(), #debug.getregistry() - registry)
      ]], {
        args = { path, ID, table.concat(ROUND, " ") }, env = { LD_PRELOAD = preload },
      })
      assert.equal(0, status, output)
      local grown, registry = output:match "^(-?%d+)\t(-?%d+)\n$"
      assert(grown, output)
      figure("L9, %s: %d bytes more after %d fetches", way.name, grown, 4 * (120 + #ROUND))
      assert(tonumber(grown) < 4 * KIB, grown)
      assert.equal("0", registry)
    end)

    for _, fault in ipairs(HEADS) do
      it("of a head is little: " .. fault, function()
        local little, large = most_of(fault, "pass", CAP)
        if not little then return pending(large) end
        figure("%s, %s: %.0f KiB at most", way.name, fault, large / KIB)
        assert(large < HEAD_ALLOWED, ("%.0f KiB"):format(large / KIB))
      end)
    end
  end)
end

for _, way in ipairs(ways) do
  describe(way.name .. ":", function()
    if way.missing then return it("sizes", function() pending(way.missing) end) end
    specs(way)
  end)
end

-- No network here: decode alone.
describe("a document #J9", function()
  local LIMIT = 0.5 -- seconds

  -- Decodes in time; the limit is for builds as they are shipped, not for the sanitizers.
  local function decode(json)
    local before = os.clock() -- of this process: others may be at work
    local value = assert(core.decode(json))
    local took = os.clock() - before
    assert(took < (process.is_sanitized() and 20 or 1) * LIMIT + SLACK, ("%g s"):format(took))
    return value, took
  end

  -- Keys of one length, alike at both ends and in most places between: what hashes that skip
  -- bytes take for the same.
  local function flood(count, length)
    local parts, around = {}, ("k"):rep((length - 8) // 2)
    for n = 1, count do parts[n] = ('"%s%08d%s":%d'):format(around, n, around, n) end
    return "{" .. table.concat(parts, ",") .. "}"
  end

  for length, count in pairs {
    [8] = 200000, [32] = 150000, [40] = 140000, [42] = 130000, [64] = 90000, [200] = 30000,
  } do
    it(("of %d keys of %d bytes is decoded in time"):format(count, length), function()
      local value, took = decode(flood(count, length))
      local sum = 0
      for _, n in pairs(value) do sum = sum + n end
      assert.equal(count * (count + 1) // 2, sum)
      figure("J9: %d keys of %d bytes in %.0f ms", count, length, took * 1e3)
    end)
  end

  it("of one key, 200,000 times, has the last #J5", function()
    local parts = {}
    for n = 1, 200000 do parts[n] = '"key":' .. n end
    assert.same({ key = 200000 }, (decode("{" .. table.concat(parts, ",") .. "}")))
  end)

  it("of one string of 8 MiB is decoded in time, plain and escaped", function()
    for _, piece in ipairs { "x", "\\n", "\\u4f60", "\u{4f60}" } do
      local text = piece:rep((8 * MIB - 32) // #piece)
      local value, took = decode('{"id":"1","x":"' .. text .. '"}')
      assert(#value.x >= #text / 6)
      figure("J9: a string of 8 MiB of %q in %.0f ms", piece, took * 1e3)
    end
  end)
end)
