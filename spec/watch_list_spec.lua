-- How many tasks are asked for at a time: by lists where a server has them, and what is made of
-- servers that have none, or bad ones; how many requests that takes, and how much memory.

local proxy = require "support.proxy"
local timed = require "support.timed"

local LISTED = 100 -- tasks in a list at most
local INFLIGHT = 16 -- requests at once, by default

local p, mj, time, asked

local function new(options, jumps)
  if mj then mj:close() end
  mj, time, asked = timed.new(p, options, jumps == nil and true or jumps)
  return mj
end

-- Brings all of them home, each once; those in `otherwise` as the kind it says.
local function bring_home(ids, otherwise, options)
  local left = {}
  for _, id in ipairs(ids) do left[id] = otherwise and otherwise[id] or "success" end
  for id, task, err in mj:watch(ids, options) do
    assert(left[id], "not asked for, or twice: " .. id)
    if task then assert.equal(id, tostring(task.id)) end
    assert.equal(left[id], task and "success" or err.kind, tostring(err))
    left[id] = nil
  end
  assert.is_nil((next(left)))
end

-- Defines so many tasks of a life; gives their ids.
local function many(count, life, definition)
  definition = definition or {}
  definition.life = life or "short"
  return p:tasks(timed.ids(count), definition)
end

local function small(...)
  local states = {}
  for n, status in ipairs { ... } do
    states[n] = ('{"id":"{id}","status":"%s","progress":"%d%%"}'):format(status, n)
  end
  return states
end

local SHORT = small("IN_PROGRESS", "IN_PROGRESS", "SUCCESS")

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  new()
end)

after_each(function()
  if not mj.closed then timed.nothing_left(mj) end
  mj:close()
  p:connections() -- so that what was sent arrives now, and not in the next one's log
  mj = nil
end)

describe("a server with lists", function()
  it("is asked for a hundred at a time", function()
    bring_home(many(250))
    local lists, singles = timed.requests(p)
    assert.equal(0, #singles)
    local sizes = { #lists[1].ids, #lists[2].ids, #lists[3].ids }
    table.sort(sizes) -- two of them go out together
    assert.same({ 50, 100, 100 }, sizes)
    assert.equal(9, #lists) -- three looks each
    local seen = {}
    for n = 1, 3 do
      for _, id in ipairs(lists[n].ids) do
        assert.is_nil(seen[id])
        seen[id] = true
      end
    end
  end)

  it("gets their ids as strings, and the key as with any request", function()
    local ids = many(3)
    bring_home(ids)
    local lists = timed.requests(p)
    assert.equal('{"ids":["' .. table.concat(ids, '","') .. '"]}', lists[1].body)
    assert.equal("application/json", lists[1].headers["content-type"])
    assert.is_string(lists[1].headers.authorization)
    assert.equal("POST", lists[1].method)
  end)

  for _, dialect in ipairs { "java", "plus", "net", "go", "ts" } do
    it("may be of this family: " .. dialect, function()
      p:set { dialect = dialect }
      local ids = many(5, "success")
      p:task(ids[2], { life = "failure" })
      p:task(ids[4], { life = "cancel" })
      bring_home(ids, { [ids[2]] = "failed", [ids[4]] = "cancelled" })
      local _, singles = timed.requests(p)
      assert(#singles <= 3, #singles) -- one that is open alone is asked for alone
    end)
  end

  it("may send tasks of other ids, doubles, nulls and what is no task", function()
    for _, more in ipairs {
      '{"id":"1735030499999999","status":"FAILURE"}', "null", "7", '"1735030400000001"', "[]", "{}",
      '[{"id":"1735030400000001","status":"FAILURE"}]', '{"id":null,"status":"FAILURE"}',
      '{"id":{},"status":"FAILURE"}', '{"status":"FAILURE"}', "true,null,null",
      '{"id":"","status":"FAILURE"}', '{"ID":"1735030400000001","status":"FAILURE"}',
    } do
      p:set { list = { add = more } }
      new()
      bring_home(many(3))
      local _, singles = timed.requests(p)
      assert.equal(0, #singles)
    end
    p:set { list = { add = '{"id":1735030400000001,"status":"IN_PROGRESS"}' } }
    p:set { list = { add = '{"id":"1735030400000001","status":"SUCCESS"}' } }
    new()
    bring_home(many(3))
  end)

  it("may send ids as integers", function()
    local ids = timed.ids(3)
    p:tasks(ids, { life = { '{"id":{id},"status":"SUCCESS"}' } })
    for id, task in mj:watch(ids) do assert.equal(id, ("%d"):format(task.id)) end
    assert.equal(1, #asked)
  end)

  it("may send lists in an envelope", function()
    for _, around in ipairs { '{"code":0,"data":%s}', '{"code":1,"msg":"ok","data":%s}' } do
      local ids = many(2)
      local task = '{"id":"%s","status":"SUCCESS"}'
      p:set { list = {
        body = around:format("[" .. task:format(ids[1]) .. "," .. task:format(ids[2]) .. "]"),
      } }
      p:tasks(ids, { fault = "html_502" })
      new()
      bring_home(ids)
    end
  end)

  it("may leave some out for ever: those are asked for alone", function()
    local ids = many(20, "success")
    p:set { list = { drop = { ids[3], ids[7] } } }
    bring_home(ids)
    local lists, singles = timed.requests(p)
    assert.equal(10, #lists)
    assert.equal(20, #singles)
    for _, request in ipairs(singles) do
      assert(request.path:find(ids[3], 1, true) or request.path:find(ids[7], 1, true))
    end
    assert.is_true(mj.lists)
  end)

  it("may leave some out for a while: they come back into the lists", function()
    local ids = many(20, "success")
    p:set { lists = { { drop = { ids[3], ids[7] } }, { drop = { ids[3] } } } }
    bring_home(ids)
    local _, singles = timed.requests(p)
    assert.equal(3, #singles)
  end)

  it("may be out of order for a while", function()
    for _, plan in ipairs {
      "html_502", "rst", "garbage", { status = 503, body = "" }, { status = 500, body = "[]" },
    } do
      p:reset()
      local ids = many(150, "success")
      p:set { lists = { "pass", "pass", plan, plan, plan, plan, plan, plan } }
      new()
      bring_home(ids)
      local _, singles = timed.requests(p)
      assert.equal(0, #singles)
      assert.is_true(mj.lists)
    end
  end)

  it("may be out of order when it is asked for the first time", function()
    for _, plan in ipairs { "html_502", "rst", { status = 503, body = "" } } do
      p:reset()
      local ids = many(150, "success")
      p:set { lists = { plan, plan } }
      new()
      bring_home(ids)
      local _, singles = timed.requests(p)
      assert.equal(0, #singles)
      assert.is_true(mj.lists)
    end
  end)

  it("that fails for five looks in a row ends what it failed for", function()
    local ids = many(4, "stuck")
    p:set { lists = { "pass" }, list = "html_502" }
    new { retries = 0 }
    bring_home(ids, { [ids[1]] = "http", [ids[2]] = "http", [ids[3]] = "http", [ids[4]] = "http" })
    local lists, singles = timed.requests(p)
    assert.equal(6, #lists)
    assert.equal(0, #singles)
  end)

  it("may forbid one list: those tasks are asked for alone, that once", function()
    for _, plan in ipairs {
      { status = 400, body = "" }, { status = 404, body = "" }, { status = 405, body = "" },
      { status = 200, body = '{"error":"no"}' }, { status = 200, body = "7" },
    } do
      p:reset()
      local ids = many(20, "success")
      p:set { lists = { "pass", plan } }
      new()
      bring_home(ids)
      local lists, singles = timed.requests(p)
      assert.equal(20, #singles)
      assert.equal(10, #lists)
    end
  end)

  it("may say 429: the lists pause, and go on", function()
    local limited = { status = 429, headers = { ["Retry-After"] = "40" } }
    local ids = many(150, "success")
    p:set { lists = { "pass", "pass", limited } }
    bring_home(ids)
    local lists, singles = timed.requests(p)
    assert.equal(0, #singles)
    assert.equal(21, #lists)
    assert(time.elapsed() > 40 + 8 * 5 * 0.75, time.elapsed())
  end)

  it("may say 429 to the first lists: that is no reason to ask for none", function()
    local limited = { status = 429, headers = { ["Retry-After"] = "7" } }
    local ids = many(12, "success")
    p:set { lists = { limited, limited, limited } }
    bring_home(ids)
    local lists, singles = timed.requests(p)
    assert.is_true(mj.lists)
    assert.equal(12, #singles)
    assert.equal(3 + 9, #lists)
  end)

  it("may say 429 to lists only, and always", function()
    local ids = many(12, "success")
    p:set { list = { status = 429, headers = { ["Retry-After"] = "7" } } }
    bring_home(ids)
  end)

  it("is asked again for what was too large, by half", function()
    local ids = p:tasks(timed.ids(100), { life = {
      '{"id":"{id}","status":"SUCCESS","prompt":"' .. ("x"):rep(1000) .. '"}',
    } })
    new { max_body = 30000 }
    bring_home(ids)
    local lists, singles = timed.requests(p)
    assert.equal(0, #singles)
    local sizes = {}
    for n, list in ipairs(lists) do sizes[n] = #list.ids end
    assert.same({ 100, 50, 25, 26 }, { table.unpack(sizes, 1, 4) })
    local last = { table.unpack(sizes, 5) } -- at once: the one or the other comes first
    table.sort(last)
    assert.same({ 23, 26 }, last) -- each that succeeds is followed by a larger one
    assert.is_true(mj.lists)
  end)

  it("may have one task that is too large by itself: the others come in lists", function()
    local ids = many(100, "short")
    p:task(ids[50], { life = { { status = "SUCCESS", prompt = ("x"):rep(200000) } } })
    new { max_body = 150000 }
    bring_home(ids, { [ids[50]] = "too_large" })
    local lists, singles = timed.requests(p)
    assert(#singles <= 8 * 3, #singles)
    assert(#lists <= 60, #lists)
    assert.is_true(mj.lists)
  end)
end)

describe("a server without lists", function()
  local ids

  -- What it answers to a list, and how many lists tell that.
  local OTHERS = {
    ["404 with a page"] = { { status = 404, type = "text/html", body = "<html>no</html>" }, 1 },
    ["404 without a word"] = { { status = 404, body = "" }, 1 },
    ["404 of its family"] = { "no_route", 1 },
    ["405"] = { { status = 405, body = "" }, 1 },
    ["501"] = { { status = 501, body = "" }, 1 },
    ["400"] = { { status = 400, body = '{"code":4,"description":"bad"}' }, 1 },
    ["a redirect"] = { "redirect_302", 1 },
    ["a page with 200"] = { "html", 3 },
    ["its web UI"] = { "web_ui", 3 },
    ["500, always"] = { { status = 500, body = "" }, 3 },
    ["502 of nginx, always"] = { "html_502", 3 },
    ["a reset, always"] = { "rst", 3 },
    ["no HTTP"] = { "garbage", 3 },
    ["an end in the middle"] = { { fault = "short", body = "[null]" }, 3 },
    ["401, for lists only"] = { "unauthorized", 1 },
    ["403, for lists only"] = { "forbidden", 1 },
    ["no credit, for lists only"] = { "quota", 1 },
    ["an object"] = { { body = '{"tasks":[]}', type = "application/json" }, 1 },
    ["an empty object"] = { { body = "{}" }, 1 },
    ["an error with 200"] = { { body = '{"code":404,"msg":"no","data":null}' }, 1 },
    ["a number"] = { { body = "7" }, 1 },
    ["null"] = { "plain_null", 1 },
    ["nothing"] = { "empty_body", 1 },
    ["204"] = { { status = 204, body = "" }, 1 },
    ["an empty array, always"] = { { body = "[]" }, 1 },
    ["tasks of somebody else"] = { { body = '[{"id":"1","status":"SUCCESS"}]' }, 1 },
  }

  for about, row in pairs(OTHERS) do
    it("is found out once, and all come home: " .. about, function()
      ids = many(30)
      p:set { list = row[1] }
      new { max_body = 100000 }
      bring_home(ids)
      local lists, singles = timed.requests(p)
      assert.equal(row[2], #lists)
      assert.equal(90, #singles)
      bring_home(many(30)) -- another watch, and another way to ask
      assert.is_nil(select(2, mj:fetch_many(many(30)))[ids[1]])
      assert.equal(#lists, #timed.requests(p))
      assert.is_false(mj.lists)
    end)
  end

  -- It may be the caller's own limit that is low: other calls have another.
  it("is not found out by answers that are too large, but each call is done with them", function()
    ids = many(30)
    p:set { list = { fault = "chunk_big", mib = 1, body = "[]" } }
    new { max_body = 100000 }
    bring_home(ids)
    local lists, singles = timed.requests(p)
    assert.same({ 30, 15, 7 }, { #lists[1].ids, #lists[2].ids, #lists[3].ids })
    assert.equal(3, #lists)
    assert.equal(90, #singles)
    assert.is_nil(mj.lists)
  end)

  it("is php", function()
    p:set { dialect = "php" }
    bring_home(many(10, "success"))
    assert.equal(1, #timed.requests(p))
  end)

  it("is not asked for more than max_inflight at once", function()
    for _, most in ipairs { 1, 3, INFLIGHT } do
      p:reset()
      p:set { list = "no_route", fault = { delay = 0.005 } }
      ids = many(60, SHORT)
      new { max_inflight = most }
      bring_home(ids)
      assert.equal(most, p:connections())
      local log = p:log()
      for n = most + 2, #log do -- when it came, all but most - 1 of those before had been answered
        assert(log[n].at - log[n - most].at >= 0.004, "too many at once")
      end
    end
  end)

  it("is asked for as many as that at once", function()
    p:set { list = "no_route", fault = { delay = 0.05 } }
    ids = many(INFLIGHT, "done")
    new({}, false)
    bring_home(ids)
    assert.equal(INFLIGHT, p:connections()) -- all that were there had an answer to come
  end)

  it("leaves room for other calls, in their turn", function()
    p:set { list = "no_route" }
    ids = many(50, "stuck")
    new { max_inflight = 2 }
    local watcher <close> = mj:watch(ids, { timeout = 300 })
    watcher:add(p:task("1735030400009999", { life = "short" }))
    assert.equal("1735030400009999", (watcher()))
    p:task("1735030400009998", { life = "short" })
    assert(mj:wait("1735030400009998"))
    assert(p:connections() <= 2)
  end)
end)

describe("watched tasks", function()
  -- The requests of a clock's every interval, from the second on.
  local function per_interval(seconds, intervals)
    local counts = {}
    for n = 1, intervals do counts[n] = 0 end
    for _, request in ipairs(asked) do
      local n = math.ceil(request.at / seconds)
      if counts[n] then counts[n] = counts[n] + 1 end
    end
    return counts
  end

  -- Watches so many that never move for some seconds of the clock, then leaves them.
  local function watch_for(seconds, count, options, life)
    local ids = many(count, life or small "IN_PROGRESS")
    local watcher = mj:watch(ids, options)
    repeat mj:step() until time.elapsed() > seconds
    watcher:close()
    return ids
  end

  it("are ten requests an interval for a thousand", function()
    local random = math.random
    new(nil, require "support.clock".new(function() return random() end))
    watch_for(60, 1000, { interval = 5, max_interval = 5 })
    local counts = per_interval(5, 12)
    for n, count in ipairs(counts) do
      assert(count <= 20, ("%d requests in interval %d"):format(count, n)) -- jitter is 25 %
    end
    assert(#asked >= 100 and #asked <= 170, #asked)
  end)

  it("are looked at ever more rarely while nothing moves, together", function()
    watch_for(150, 250)
    local at, last = {}, nil
    for _, request in ipairs(asked) do
      assert.is_true(request.list)
      if request.at ~= last then at[#at + 1] = request.at end
      last = request.at
    end
    local GROWING = { 0, 5, 12, 21.8, 35.52, 54.728, 81.6192, 111.6192, 141.6192 }
    for n, expected in ipairs(GROWING) do
      assert(math.abs(expected - at[n]) < 1e-6, ("%g in place of %g"):format(at[n], expected))
    end
    assert.equal(3 * (#GROWING + 1), #asked) -- the last of them ended it
  end)

  it("that move are looked at often, the others rarely", function()
    local ids = many(20, small "IN_PROGRESS")
    local moving = {}
    for n = 1, 100 do
      moving[n] = ('{"id":"%s","status":"IN_PROGRESS","progress":"%d%%"}'):format(ids[1], n)
    end
    p:task(ids[1], { life = moving })
    local _ <close> = mj:watch(ids)
    repeat mj:step() until time.elapsed() > 150
    local looks = {}
    for _, request in ipairs(p:log()) do
      for id in (request.path .. request.body):gmatch "%d+" do
        looks[id] = (looks[id] or 0) + 1
      end
    end
    assert(looks[ids[1]] >= 30, looks[ids[1]])
    assert(looks[ids[2]] <= 16, looks[ids[2]])
  end)

  it("that are due within half their interval are taken along", function()
    local ids = many(2, small "IN_PROGRESS")
    local watcher <close> = mj:watch({ ids[1] }, { interval = 10, max_interval = 10 })
    repeat mj:step() until time.elapsed() > 0 -- it is due at 10, 20 …
    assert.equal(10, time.elapsed())
    mj:step()
    watcher:add(ids[2]) -- from 20 on both
    repeat mj:step() until time.elapsed() >= 60
    local lists = timed.requests(p)
    local both = 0
    for _, list in ipairs(lists) do
      assert.equal(2, #list.ids)
      both = both + 1
    end
    assert(both >= 4, both)
  end)

  it("added at odd times end up in the same lists", function()
    local ids = many(50, small "IN_PROGRESS")
    local random = math.random
    new(nil, require "support.clock".new(function() return random() end))
    local watcher <close> = mj:watch({ ids[1] }, { interval = 10, max_interval = 10 })
    for n = 2, #ids do
      if n % 5 == 0 then mj:step() end
      watcher:add(ids[n])
    end
    local from = time.elapsed() + 30
    repeat mj:step() until time.elapsed() > from
    local before = #asked
    repeat mj:step() until time.elapsed() > from + 100
    assert(#asked - before <= 25, #asked - before) -- 50 tasks, ten intervals
  end)
end)

describe("ten thousand", function()
  -- Where the collector runs at every chance fewer do.
  local COUNT = os.getenv "MJTASK_GC" and 1000 or 10000

  it("cost at most 1 KB each, and a hundred requests an interval", function()
    many(COUNT, small "IN_PROGRESS")
    local requests = 0
    new { trace = function(event)
      if event.event == "request" then requests = requests + 1 end
    end }
    collectgarbage()
    collectgarbage()
    local before = collectgarbage "count"
    local watcher = mj:watch(timed.ids(COUNT), { interval = 30 })
    repeat mj:step() until time.elapsed() >= 30 -- every one was seen, some once more
    assert(requests <= COUNT / LISTED + INFLIGHT, requests)
    collectgarbage()
    collectgarbage()
    local each = (collectgarbage "count" - before) * 1024 / COUNT
    assert(each <= 1024, ("%.0f bytes each"):format(each))
    assert.equal(COUNT, watcher.state.watch.open)
    watcher:close()
  end)
end)
