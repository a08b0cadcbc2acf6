-- mj:fetch_many: many tasks, once each; what came of each, by id.

local client = require "mjtask.client"
local core = require "mjtask.core"
local errors = require "mjtask.errors"
local fails_with = require "support.fails_with"
local proxy = require "support.proxy"
local timed = require "support.timed"

local UNKNOWN = "1735030489999999"
local SLACK = 1 -- seconds on promised limits
local NO_LISTS = { status = 404, body = "" }

local p, mj, time

local function new(options, jumps)
  if mj then mj:close() end
  mj, time = timed.new(p, options, jumps == nil and true or jumps)
  return mj
end

local function many(count, life)
  return p:tasks(timed.ids(count), { life = life or "success" })
end

-- The kinds of errors, by id.
local function kinds(failed)
  local list = {}
  for id, err in pairs(failed) do
    assert.is_true(errors.is(err))
    assert.equal(id, err.id)
    assert.is_nil(err.unsent)
    list[id] = err.kind
  end
  return list
end

local function count(map)
  local found = 0
  for _ in pairs(map) do found = found + 1 end
  return found
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  new()
end)

after_each(function()
  if not mj.closed then timed.nothing_left(mj) end
  mj:close()
  timed.nothing_left(mj)
  p:connections() -- so that what was sent arrives now, and not in the next one's log
  mj = nil
end)

describe("fetch_many", function()
  for about, plan in pairs { ["by lists"] = "pass", ["one by one"] = NO_LISTS } do
    describe(about, function()
      before_each(function() p:set { list = plan } end)

      it("gives tasks by id, as they are, and an empty table of errors", function()
        local ids = many(5)
        local tasks, failed, more = mj:fetch_many(ids)
        assert.is_nil(more)
        assert.same({}, failed)
        assert.equal(5, count(tasks))
        for _, id in ipairs(ids) do
          assert.equal(id, tasks[id].id)
          assert.equal("NOT_START", tasks[id].status) -- looked at once
          assert.is_nil(tasks[id]:outcome())
        end
        assert.equal(0, time.elapsed())
      end)

      it("gives what fetch gives", function()
        local ids = many(2, "done")
        local one = assert(mj:fetch(ids[1]))
        local tasks = assert(mj:fetch_many(ids))
        assert.same(one, tasks[ids[1]])
        assert.equal(getmetatable(one), getmetatable(tasks[ids[1]]))
      end)

      it("takes a task for what it is, however it ended", function()
        local ids = timed.ids(3)
        for n, life in ipairs { "failure", "cancel", "modal" } do
          p:task(ids[n], { life = { { status = life:upper() } } })
        end
        local tasks, failed = mj:fetch_many(ids)
        assert.same({}, failed)
        assert.equal(3, count(tasks))
      end)

      it("gives an error for each id that is unknown", function()
        local ids = many(2)
        for _, dialect in ipairs { "java", "net", "go", "ts", "php" } do
          p:set { dialect = dialect }
          new()
          local tasks, failed = mj:fetch_many { ids[1], UNKNOWN, ids[2] }
          assert.equal(2, count(tasks))
          assert.same({ [UNKNOWN] = "not_found" }, kinds(failed))
          assert(failed[UNKNOWN].attempts >= 1)
          assert.is_number(failed[UNKNOWN].elapsed)
        end
      end)

      it("gives only errors where all are unknown: they were asked for", function()
        local tasks, failed = mj:fetch_many { UNKNOWN, "x" }
        assert.same({}, tasks)
        assert.same({ [UNKNOWN] = "not_found", x = "not_found" }, kinds(failed))
      end)

      it("gives nil and one error where the key is refused", function()
        p:set { key = "another" }
        local err = fails_with("auth", mj:fetch_many(many(5)))
        assert.equal(401, err.status)
        local seen = #p:log()
        assert(seen <= 6, seen)
      end)

      it("gives nil and one error where nobody listens", function()
        new { url = proxy.closed_url() }
        local err = fails_with("connect", mj:fetch_many(many(5)))
        assert.is_true(err.retryable)
      end)

      it("gives nil and one error where nothing was answered in time", function()
        p:set { fault = "stall", list = false }
        new({}, false)
        local before = core.now()
        fails_with("timeout", mj:fetch_many(many(3), { timeout = 0.2 }))
        assert(core.now() - before < 0.2 + SLACK)
      end)

      it("gives both where some are answered in time", function()
        local ids = many(4)
        p:task(ids[2], { fault = "stall" })
        p:set { list = plan == NO_LISTS and plan or { drop = { ids[2] } } }
        new({}, false)
        local before = core.now()
        local tasks, failed = mj:fetch_many(ids, { timeout = 0.4 })
        assert(core.now() - before < 0.4 + SLACK)
        assert.equal(3, count(tasks))
        assert.same({ [ids[2]] = "timeout" }, kinds(failed))
      end)

      it("gives both in any mixture", function()
        local ids = many(6, "done")
        p:task(ids[2], { fault = "html" })
        p:task(ids[3], { fault = { status = 200, body = '{"id":"2","status":"SUCCESS"}' } })
        p:task(ids[4], { fault = { status = 500, body = "" } })
        p:task(ids[5], { fault = "chunk_big" })
        if plan == "pass" then
          p:set { list = { drop = { ids[2], ids[3], ids[4], ids[5] } } }
        end
        local tasks, failed = mj:fetch_many(ids, { max_body = 60000 })
        assert.equal(2, count(tasks))
        assert.same({
          [ids[2]] = "decode", [ids[3]] = "schema", [ids[4]] = "http", [ids[5]] = "too_large",
        }, kinds(failed))
        assert.equal(1 + 3, failed[ids[4]].attempts) -- a list, and three tries alone
      end)

      it("calls back with both, later and once", function()
        local ids = many(3)
        local told = {}
        local operation = mj:fetch_many({ ids[1], UNKNOWN, ids[2] }, function(...)
          told[#told + 1] = table.pack(...)
        end)
        assert.is_false(operation:done())
        assert.same({}, told)
        timed.run(mj)
        assert.equal(1, #told)
        assert.equal(2, told[1].n)
        assert.equal(2, count(told[1][1]))
        assert.same({ [UNKNOWN] = "not_found" }, kinds(told[1][2]))
        assert.is_true(operation:done())
      end)

      it("can be cancelled", function()
        local told
        local operation = mj:fetch_many(many(40), function(...) told = table.pack(...) end)
        operation:cancel()
        timed.run(mj)
        assert.equal(2, told.n)
        fails_with("aborted", told[1], told[2])
        timed.nothing_left(mj)
      end)

      it("ends as closed when the client is closed meanwhile", function()
        local ids = many(40)
        local told
        mj:fetch_many(ids, function(...) told = table.pack(...) end)
        mj:close()
        fails_with("closed", told[1], told[2])
        new()
        p:set { list = plan == "pass" and "stall" or plan }
        p:tasks(ids, { fault = "stall" })
        mj:fetch(p:task(UNKNOWN), function() mj:close() end)
        fails_with("closed", mj:fetch_many(ids))
      end)

      it("takes a thousand", function()
        local COUNT = os.getenv "MJTASK_GC" and 200 or 1000
        local ids = p:tasks(timed.ids(COUNT, 5000), { life = {
          '{"id":"{id}","status":"SUCCESS"}',
        } })
        local tasks, failed = mj:fetch_many(ids)
        assert.same({}, failed)
        for _, id in ipairs(ids) do assert.equal(id, tasks[id].id) end
        assert.equal(COUNT, count(tasks))
        local lists, singles = timed.requests(p)
        if plan == "pass" then
          assert.equal(COUNT / 100, #lists)
          assert.equal(0, #singles)
        else
          assert.equal(1, #lists)
          local asked, own = 0, {} -- what the test before had sent may come late
          for _, id in ipairs(ids) do own["/mj/task/" .. id .. "/fetch"] = true end
          for _, request in ipairs(singles) do asked = asked + (own[request.path] and 1 or 0) end
          assert.equal(COUNT, asked)
        end
        assert(p:connections() <= 16, p:connections())
      end)
    end)
  end

  it("of nothing gives two empty tables, and asks nothing", function()
    local tasks, failed = mj:fetch_many {}
    assert.same({}, tasks)
    assert.same({}, failed)
    assert.equal(0, #p:log())
    local told
    mj:fetch_many({}, function(...) told = table.pack(...) end)
    assert.is_nil(told)
    timed.run(mj)
    assert.same({ {}, {}, n = 2 }, told)
  end)

  it("of one makes no list", function()
    local ids = many(1)
    assert.equal(ids[1], assert(mj:fetch_many(ids))[ids[1]].id)
    assert.equal(0, #timed.requests(p))
  end)

  it("takes tasks, receipts, integers and duplicates, and keys by the string", function()
    local ids = many(2)
    local task = assert(mj:fetch(ids[1]))
    local tasks, failed = mj:fetch_many {
      task, math.tointeger(ids[2]), ids[1], { id = ids[2] }, assert(mj:submit("imagine", {
        prompt = "a cat",
      })),
    }
    assert.same({}, failed)
    assert.equal(3, count(tasks))
    assert.equal(ids[2], tasks[ids[2]].id)
  end)

  it("refuses misuse by name, before any socket is opened", function()
    local good = timed.ids(1)[1]
    local function raises(message, ...)
      local ok, problem = pcall(mj.fetch_many, mj, ...)
      assert.is_false(ok)
      assert(tostring(problem):find(message, 1, true), problem)
    end
    raises("ids", good)
    raises("ids")
    raises("array of ids", { id = good })
    raises("ids[2]", { good, "a/b" })
    raises("ids[1]", { 1.5 })
    raises("progress", { good }, { progress = print })
    raises("interval", { good }, { interval = "5" })
    raises("done", { good }, {}, 7)
    assert.equal(0, p:connections())
  end)

  it("keeps its time limit during a pause that the server asked for: rate_limited", function()
    p:set { fault = { status = 429, headers = { ["Retry-After"] = "100" } } }
    fails_with("rate_limited", mj:fetch_many(many(5)))
    assert.equal(0, time.elapsed())
    p:set { fault = false }
    fails_with("rate_limited", mj:fetch_many(many(5)))
    assert.equal(0, time.elapsed())
    assert.equal(5, count(assert(mj:fetch_many(many(5), { timeout = 200 }))))
    assert.equal(100, time.elapsed())
  end)

  it("can be called in a callback, and beside others", function()
    local ids = many(5, "short")
    local inner
    assert(mj:wait(ids[1], { progress = function() inner = mj:fetch_many(ids) end }))
    assert.equal(5, count(inner))
    local told = 0
    for _ = 1, 5 do
      mj:fetch_many(ids, function(tasks) told = told + count(tasks) end)
    end
    timed.run(mj)
    assert.equal(25, told)
  end)

  it("tells trace of each request, and no secret", function()
    local events = {}
    local own <close> = client.new({
      url = p.url, key = "sk-0123456789abcdef", trace = function(event)
        events[#events + 1] = event.event .. " " .. (event.path or event.kind or event.status)
      end,
    })
    p:set { list = NO_LISTS }
    local ids = many(1)
    own:fetch_many { ids[1], UNKNOWN }
    table.sort(events)
    assert.same({
      "answer 200", "answer not_found", "answer unsupported",
      "request /mj/task/" .. ids[1] .. "/fetch", "request /mj/task/" .. UNKNOWN .. "/fetch",
      "request /mj/task/list-by-condition",
    }, events)
  end)
end)
