-- Servers that misbehave, over plain connections and over TLS, asked by blocking calls and by
-- callbacks: what comes out, within which bounds, and that the client works afterwards. What is
-- tried again and when is retry_spec's; most here is one try.

local child = require "support.child"
local client = require "mjtask.client"
local clock = require "support.clock"
local core = require "mjtask.core"
local errors = require "mjtask.errors"
local faults = require "support.faults"
local figure = require "support.figure"
local mjtask = require "mjtask"
local pictures = require "support.pictures"
local process = require "support.process"
local proxy = require "support.proxy"
local ways = require "support.ways"
local fails_with = require "support.fails_with"

local ID, OTHER = "1735030480000001", "1735030480000002"
local SKU = "1735030480754475"
local SHORT = 0.1 -- seconds that a try may take which is to run out of them
local LONG = 5 -- and any other
local SLACK = 1 -- seconds on promised limits
local KIB = 1024
local CAP = 64 * KIB -- of a body

-- Fault -> what comes out: "task" (the whole and right one) or a kind; several where libcurl's
-- versions differ, each as good.
local OUTCOMES = {
  stall = "timeout", stall_head = "timeout", stall_body = "timeout", drip = "timeout",
  bytewise = "task",
  rst = "connect", done_rst = "connect", rst_head = "connect", rst_body = "connect",
  empty = "connect", short = "connect", short_chunk = "connect", no_last_chunk = "connect",
  close = "task", okclose = "task", okrst = "task", deadsecond = "task", rstsecond = "task",
  stallsecond = "task", extra_answer = "task", stray_answer = "task",
  html = "decode", html_502 = "http", html_504 = "http", empty_body = "not_found",
  plain_null = "not_found", bom = "task", truncated = "decode", trailing = "decode",
  nul = "decode", twice = "decode",
  gzip = "task", gzip_twice = "task", gzip_bad = "decode", gzip_not = "decode",
  gzip_truncated = "decode", gzip_bad_sum = "decode", gzip_bomb = "too_large",
  gzip_twice_bomb = "too_large", unknown_coding = "decode",
  chunked = "task", until_close = "task", until_close_short = "decode",
  length_and_chunked = { "task", "http" }, two_lengths = { "task", "http" },
  length_too_small = "decode",
  huge_length = { "task", "http", "too_large" }, negative_length = "http",
  no_number_length = { "http", "task" },
  chunk_big = "too_large", no_length = "too_large", big = "too_large",
  big_header = { "http", "connect" }, many_headers = { "http", "connect" },
  many_100 = { "task", "http", "connect" }, nul_header = "http", no_colon = { "http", "task" },
  folded = "task", bare_lf = "task", http09 = "http", garbage = "http", bad_status = "http",
  redirect_301 = "redirect", redirect_302 = "redirect", redirect_303 = "redirect",
  redirect_307 = "redirect", redirect_308 = "redirect", redirect_loop = "redirect",
  redirect_nowhere = "redirect",
}

local NAMES = {}
for name in pairs(faults) do
  NAMES[#NAMES + 1] = name
  if name:find "^retry_after_" then OUTCOMES[name] = "rate_limited" end
end
table.sort(NAMES)

-- Where a redirect leads, and how the message shows that.
local TARGETS = {
  ["{other}/elsewhere?token=abc#part"] = "/elsewhere,",
  ["{here}/elsewhere"] = "/elsewhere,",
  ["/mj/task/1735030480754475/fetch"] = "/mj/task/1735030480754475/fetch,",
  ["//127.0.0.1:1/"] = "127.0.0.1:1/",
  ["http://user:word@127.0.0.1:1/"] = "127.0.0.1:1/",
  ["https://127.0.0.1:1/"] = "https://127.0.0.1:1/",
  ["file:///etc/passwd"] = "redirected to",
  ["ftp://127.0.0.1:1/"] = "redirected to",
  ["gopher://127.0.0.1:1/"] = "redirected to",
  ["javascript:alert(1)"] = "redirected to",
  ["http://"] = "redirected to",
  [""] = "redirected to",
}

-- What a 429 does to a client is retry_spec's.
local function forget_pauses(mj)
  mj.pace.paused_until, mj.pace.next_turn, mj.pace.gap = 0, 0, 0
end

local function check_outcome(allowed, task, err)
  local outcome = task and "task" or err.kind
  allowed = type(allowed) == "table" and allowed or { allowed }
  for _, one in ipairs(allowed) do
    if outcome == one then return end
  end
  error(("%s expected, got %s: %s")
    :format(table.concat(allowed, " or "), outcome, tostring(err)))
end

local function specs(way)
  local p, mj, plain

  -- A client whose calls are one try, and whose sleeps cost no time.
  local function new(options)
    local given = ways.options(p, { retries = 0, request_timeout = LONG, max_body = CAP })
    for name, value in pairs(options or {}) do given[name] = value end
    return client.new(given, clock.new())
  end

  local function fetch(id, options)
    return way.call(mj, "fetch", id or ID, options)
  end

  -- What `call` gives, made within `limit` seconds; and the seconds.
  local function bounded(limit, call)
    local before = core.now()
    local task, err = call()
    local took = core.now() - before
    assert(took < limit + SLACK, ("took %g s"):format(took))
    return task, err, took
  end

  local function fetch_with(plan, options)
    p:task(ID, { life = "done", fault = plan })
    local task, err = bounded(options and options.request_timeout or LONG, function()
      return fetch(ID, options)
    end)
    return task, err
  end

  -- The client still gets what is there.
  local function still_works(options)
    p:task(ID, { life = "done" })
    assert.same(plain, assert(fetch(ID, options)))
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

  describe("a fault #N4 #N5 #N6 #H1 #H3 #H5 #H7 #H8 #H9 #J8", function()
    for _, name in ipairs(NAMES) do
      it("has a known outcome, and leaves the client well: " .. name, function()
        local limit = OUTCOMES[name] == "timeout" and SHORT or LONG
        local task, err = fetch_with(name, { request_timeout = limit })
        if task then
          assert.same(plain, task)
        else
          assert.is_true(errors.is(err), tostring(err))
          assert.is_not_nil(errors.kinds[err.kind], err.kind)
          assert.equal(1, err.attempts)
          assert.is_nil(tostring(err):find("[%c\127]"), tostring(err))
          assert.is_nil(tostring(err):find("sk-0123456789abcdef", 1, true))
        end
        check_outcome(OUTCOMES[name], task, err)
        forget_pauses(mj)
        still_works(name == "stray_answer" and { retries = 1 } or nil) -- see below
      end)
    end

    -- Where TLS is told nothing of the end: it may be anybody's who can cut a wire.
    for _, name in ipairs(way.tls and { "empty", "short", "short_chunk", "no_last_chunk",
        "until_close_short", "close", "okclose", "deadsecond" } or {}) do
      it("is the same where the connection is just cut #T2: " .. name, function()
        local task, err = fetch_with { fault = name, cut = true }
        local allowed = OUTCOMES[name]
        check_outcome(name == "until_close_short" and { allowed, "connect" } or allowed, task, err)
        if task then assert.same(plain, task) end
        still_works()
      end)
    end

    it("of this table is one that there is, and each that there is has its row", function()
      for name in pairs(OUTCOMES) do assert(faults[name], name) end
      for name in pairs(faults) do assert(OUTCOMES[name], name) end
    end)

    for status, kind in pairs {
      [401] = "auth", [402] = "quota", [403] = "auth", [404] = "unsupported", [408] = "http",
      [410] = "http", [425] = "http", [429] = "rate_limited", [500] = "http", [501] = "unsupported",
      [503] = "http",
    } do
      it("is a status, too #H2 #H4: " .. status, function()
        local err = fails_with(kind, fetch_with { status = status, body = "" })
        assert.equal(status, err.status)
        assert.equal(kind == "rate_limited" or kind == "http" and status ~= 410, err.retryable)
        forget_pauses(mj)
        still_works()
      end)
    end

    it("of a server whose port is closed: connect, at once #N1", function()
      local origin = way.tls and "https://localhost" or "http://127.0.0.1"
      local other <close> = new { url = origin .. proxy.closed_url():match ":%d+$" }
      local task, err, took = bounded(0, function() return way.call(other, "fetch", ID) end)
      assert.is_true(fails_with("connect", task, err).retryable)
      figure("N1, %s: refused after %.1f ms", way.name, took * 1e3)
    end)

    it("of a server that dies under a kept connection: connect", function()
      local second = way.start()
      local other <close> = new { url = second.url }
      assert(way.call(other, "fetch", SKU))
      second:stop()
      fails_with("connect", way.call(other, "fetch", SKU))
      fails_with("connect", way.call(other, "fetch", SKU))
    end)

    it("of memory is not what a long header is called #H7", function()
      local _, err = fetch_with "big_header"
      assert.is_nil(tostring(err):lower():find("out of memory", 1, true), tostring(err))
    end)
  end)

  describe("silence #N4 #N5", function()
    local DRIP = { fault = "drip", every = 0.02 }
    local LIMIT = 0.15 -- seconds

    it("ends with the call's time, if that is sooner than the try's", function()
      local real <close> = mjtask.new(ways.options(p))
      local worst = 0
      for _, fault in ipairs { "stall", "stall_head", "stall_body", DRIP } do
        p:task(ID, { life = "done", fault = fault })
        local task, err, took = bounded(LIMIT, function()
          return way.call(real, "fetch", ID, { timeout = LIMIT })
        end)
        assert.is_true(fails_with("timeout", task, err).retryable)
        -- libcurl counts in milliseconds, from where it began
        assert(err.elapsed >= LIMIT - 0.002 and err.elapsed < LIMIT + SLACK, err.elapsed)
        assert(err.message:find("time limit of 0.15 s", 1, true), err.message)
        worst = math.max(worst, took - LIMIT)
      end
      figure("N4, N5, %s: at most %.1f ms over the time limit", way.name, worst * 1e3)
    end)

    it("on a kept connection ends so, too", function()
      p:set { fault = "stallsecond" }
      p:task(ID, { life = "done" })
      assert(fetch())
      local task, err = bounded(SHORT, function()
        return fetch(ID, { request_timeout = SHORT })
      end)
      fails_with("timeout", task, err)
      assert.same(plain, assert(fetch()))
    end)

    it("of one request does not hold up what comes after", function()
      for _ = 1, 3 do
        fails_with("timeout", fetch_with("stall", { request_timeout = 0.05 }))
        still_works()
      end
    end)
  end)

  describe("kept connections #N7", function()
    -- So many fetches in a row, each by one try.
    local function all_good(count)
      for n = 1, count do
        local task, err = fetch()
        assert(task, ("fetch %d of %d: %s"):format(n, count, tostring(err)))
        assert.same(plain, task)
      end
    end

    before_each(function() p:task(ID, { life = "done" }) end)

    it("are used again: 20 fetches on one", function()
      all_good(20)
      assert.equal(1, p:connections())
      assert.equal(20, #p:log())
    end)

    it("are used again after an error that is an answer", function()
      for _, plan in ipairs { "html_502", "html", "empty_body", { status = 429, body = "" } } do
        p:task(ID, { life = "done", script = { plan } })
        assert.is_nil((fetch()))
        forget_pauses(mj)
        assert(fetch())
      end
      assert.equal(1, p:connections())
    end)

    -- okrst takes its time, and has only a part of the 100 in each way.
    for fault, count in pairs { close = 100, okclose = 100, okrst = 25 } do
      it("that die after each reply cost nothing: " .. fault, function()
        p:set { fault = fault }
        all_good(count)
        assert.equal(count, p:connections())
        figure("N7, %s, %s: %d of %d", way.name, fault, count, count)
      end)
    end

    for _, fault in ipairs { "deadsecond", "rstsecond" } do
      it("that die at the next request cost nothing: " .. fault, function()
        p:set { fault = fault }
        all_good(100)
        figure("N7, %s, %s: 100 of 100", way.name, fault)
      end)
    end

    -- From 8.10 on libcurl does not listen to what it is told of a socket.
    it("whose error comes before their end cost nothing", function()
      if not mj:pollfd() then return pending "not run: a build without epoll" end
      local path, preload = process.shim "reset"
      if not path then return pending(preload) end
      p:set { fault = "rstsecond" }
      local output, status = process.run(way.script(p) .. [[
        local mj = new { retries = 0, timeout = 5 }
        for _ = 1, 20 do print(assert(call(mj, "fetch", (...))).status) end
      ]], { args = { ID }, env = { LD_PRELOAD = preload } })
      assert.equal(0, status)
      assert.matches("^" .. ("SUCCESS\n"):rep(20) .. "%d+ errors\n$", output)
      assert(tonumber(output:match "(%d+) errors") > 0, output) -- others libcurl meets by itself
    end)

    it("with an answer too much poison nothing #H7", function()
      p:task(OTHER, { life = "done" })
      for _ = 1, 10 do
        p:task(ID, { life = "done", fault = "extra_answer" })
        assert.equal(ID, assert(fetch()).id)
        assert.equal(OTHER, assert(fetch(OTHER)).id)
        assert.equal(SKU, assert(fetch(SKU)).id)
      end
    end)

    -- Over TLS libcurl before 8.0 takes it for the answer to the next request.
    it("with a stray answer cost the next fetch one try more at most #H7 #J7", function()
      p:task(OTHER, { life = "done" })
      for _ = 1, 10 do
        p:task(ID, { life = "done", fault = "stray_answer" })
        assert.equal(ID, assert(fetch(ID, { retries = 2 })).id)
        assert.equal(OTHER, assert(fetch(OTHER, { retries = 2 })).id)
        local task, err = fetch(SKU)
        if not task then
          assert.is_false(fails_with("schema", task, err).retryable)
          assert.is_nil(err.stray)
        end
      end
    end)

    it("with a stray answer have no part in a seed, nor in a cancel #H7", function()
      p:set { dialect = "net" }
      for _ = 1, 3 do
        p:task(ID, { life = "done", fault = "stray_answer" })
        assert.equal(ID, assert(fetch(ID, { retries = 2 })).id)
        p:task(ID, { life = "done" })
        assert.is_string(assert(way.call(mj, "seed", ID)))
      end
    end)

    it("with an answer too much behind a picture give nobody's picture to another #H7", function()
      local folder, remove = child.directory()
      local function check(name)
        local path = folder .. "/" .. name
        assert.equal(path, way.call(mj, "download", p.url .. "/attachments/" .. name, path))
        local file <close> = assert(io.open(path, "rb"))
        assert(file:read "a" == pictures.of(name), "it is another picture: " .. name)
      end
      p:set { image = "extra_answer" }
      check "1.png"
      p:set { image = false }
      for _, name in ipairs { "2.jpg", "3.png", "4.gif" } do check(name) end
      remove()
    end)

    it("that broke off in a body poison nothing", function()
      for _, fault in ipairs { "short", "rst_body", "stall_body", "big", "gzip_bomb" } do
        p:task(ID, { life = "done", fault = fault })
        assert.is_nil((fetch(ID, { request_timeout = 0.1 })))
        assert.equal(SKU, assert(fetch(SKU)).id)
      end
    end)
  end)

  describe("a redirect #H6", function()
    for location, shown in pairs(TARGETS) do
      it("is never followed: " .. location, function()
        for _, status in ipairs { 301, 302, 307, 308 } do
          local err = fails_with("redirect",
            fetch_with { status = status, headers = { Location = location } })
          assert.equal(status, err.status)
          assert.is_false(err.retryable)
          assert(err.message:find(shown, 1, true), err.message)
          assert.is_nil(err.message:find("token", 1, true), err.message)
          assert.is_nil(err.message:find("word", 1, true), err.message)
        end
        local log = p:log()
        assert.equal(4, #log)
        for _, request in ipairs(log) do
          assert.equal(p.port, request.port)
          assert.equal("/mj/task/" .. ID .. "/fetch", request.path)
        end
      end)
    end

    it("is not followed with other codes, or without a Location", function()
      for _, status in ipairs { 300, 303, 304, 305, 399 } do
        local err = fails_with("redirect", fetch_with { status = status, body = "" })
        assert.equal(status, err.status)
      end
    end)
  end)
end

for _, way in ipairs(ways) do
  describe(way.name .. ":", function()
    if way.missing then return it("faults", function() pending(way.missing) end) end
    specs(way)
  end)
end
