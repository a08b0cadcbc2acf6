-- Servers and networks that misbehave: what comes out, within which bounds, and that the client
-- works afterwards. What is tried again and when is retry_spec's; most here is one try.

local child = require "support.child"
local client = require "mjtask.client"
local clock = require "support.clock"
local core = require "mjtask.core"
local errors = require "mjtask.errors"
local faults = require "support.faults"
local mjtask = require "mjtask"
local proxy = require "support.proxy"
local fails_with = require "support.fails_with"

local KEY = "sk-0123456789abcdef"
local ID, OTHER = "1735030480000001", "1735030480000002"
local SKU = "1735030480754475"
local TRY = 0.25 -- seconds a try may take
local SLACK = 1 -- seconds on promised limits
local KIB, MIB = 1024, 1024 * 1024
local CAP = 64 * KIB -- of a body

local p, mj, plain

-- A client whose calls are one try, and whose sleeps cost no time.
local function new(options)
  local given = { url = p.url, key = KEY, retries = 0, request_timeout = TRY, max_body = CAP }
  for name, value in pairs(options or {}) do given[name] = value end
  return client.new(given, clock.new())
end

-- What `call` gives, made within `limit` seconds.
local function bounded(limit, call)
  local before = core.now()
  local task, err = call()
  local took = core.now() - before
  assert(took < limit + SLACK, ("took %g s"):format(took))
  return task, err
end

local function fetch_with(plan, options)
  p:task(ID, { life = "done", fault = plan })
  return bounded(options and options.timeout or TRY, function() return mj:fetch(ID, options) end)
end

-- The client still gets what is there.
local function still_works()
  p:task(ID, { life = "done" })
  assert.same(plain, assert(mj:fetch(ID)))
end

setup(function()
  p = proxy.start()
  p:task(ID, { life = "done" })
  local first <close> = new()
  plain = assert(first:fetch(ID))
end)

teardown(function() p:stop() end)

before_each(function()
  p:reset()
  mj = new()
end)

after_each(function()
  if mj then mj:close() end
end)

describe("a fault", function()
  -- Fault -> what comes out: "task" (the whole and right one) or a kind; several where libcurl's
  -- versions differ, each as good. Those that are in no row are only held to the promises of all.
  local OUTCOMES = {
    stall = "timeout", stall_head = "timeout", stall_body = "timeout", drip = "timeout",
    bytewise = "task",
    rst = "connect", rst_head = "connect", rst_body = "connect", empty = "connect",
    short = "connect", short_chunk = "connect", no_last_chunk = "connect",
    close = "task", okclose = "task", okrst = "task", deadsecond = "task", rstsecond = "task",
    stallsecond = "task", extra_answer = "task",
    html = "decode", html_502 = "http", html_504 = "http", empty_body = "not_found",
    plain_null = "not_found", bom = "task", truncated = "decode", trailing = "decode",
    nul = "decode", twice = "decode",
    gzip = "task", gzip_twice = "task", gzip_bad = "decode", gzip_not = "decode",
    gzip_truncated = "decode", gzip_bad_sum = "decode", gzip_bomb = "too_large",
    gzip_twice_bomb = "too_large", unknown_coding = "decode",
    chunked = "task", until_close = "task", until_close_short = "decode",
    length_and_chunked = { "task", "http" }, two_lengths = { "task", "http" },
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

  local function check_outcome(allowed, task, err)
    local outcome = task and "task" or err.kind
    for _, one in ipairs(type(allowed) == "table" and allowed or { allowed }) do
      if outcome == one then return end
    end
    error(("%s expected, got %s: %s")
      :format(type(allowed) == "table" and table.concat(allowed, " or ") or allowed, outcome,
        tostring(err)))
  end

  local names = {}
  for name in pairs(faults) do names[#names + 1] = name end
  table.sort(names)

  for _, name in ipairs(names) do
    it("has a known outcome, and leaves the client well: " .. name, function()
      local task, err = fetch_with(name)
      if task then
        assert.same(plain, task)
      else
        assert.is_true(errors.is(err), tostring(err))
        assert.is_not_nil(errors.kinds[err.kind], err.kind)
        assert.equal(1, err.attempts)
        assert.is_nil(tostring(err):find("[%c\127]"), tostring(err))
        assert.is_nil(tostring(err):find(KEY, 1, true))
      end
      local expected = name:find("^retry_after_") and "rate_limited" or OUTCOMES[name]
      if expected then check_outcome(expected, task, err) end
      -- What a 429 does to a client is retry_spec's.
      mj.pace.paused_until, mj.pace.next_turn, mj.pace.gap = 0, 0, 0
      still_works()
    end)
  end

  it("of this table is one that there is", function()
    for name in pairs(OUTCOMES) do assert(faults[name], name) end
  end)

  it("of a server whose port is closed: connect, at once", function()
    local other <close> = new { url = proxy.closed_url() }
    local err = fails_with("connect", bounded(0, function() return other:fetch(ID) end))
    assert.is_true(err.retryable)
  end)

  it("of a server that dies under a kept connection: connect", function()
    local second = proxy.start()
    local other <close> = new { url = second.url }
    assert(other:fetch(SKU))
    second:stop()
    fails_with("connect", other:fetch(SKU))
    fails_with("connect", other:fetch(SKU))
  end)

  it("of memory is not what a long header is called", function()
    local _, err = fetch_with "big_header"
    assert.is_nil(tostring(err):lower():find("out of memory", 1, true), tostring(err))
  end)
end)

describe("silence", function()
  it("ends with the try's time", function()
    local drip = { fault = "drip", every = 0.02 }
    for _, fault in ipairs { "stall", "stall_head", "stall_body", drip } do
      local err = fails_with("timeout", fetch_with(fault, { request_timeout = 0.2 }))
      assert.is_true(err.retryable)
      assert(err.elapsed == 0) -- by the fake clock, which does not move in a transfer
    end
  end)

  it("ends with the call's time, if that is sooner", function()
    local real <close> = mjtask.new { url = p.url, key = KEY }
    for _, fault in ipairs { "stall", "stall_body", { fault = "drip", every = 0.02 } } do
      p:task(ID, { life = "done", fault = fault })
      local err = fails_with("timeout", bounded(0.25, function()
        return real:fetch(ID, { timeout = 0.25 })
      end))
      -- libcurl counts in milliseconds, from where it began
      assert(err.elapsed >= 0.248 and err.elapsed < 0.25 + SLACK, err.elapsed)
      assert(err.message:find("time limit of 0.25 s", 1, true), err.message)
    end
  end)

  it("on a kept connection ends so, too", function()
    p:set { fault = "stallsecond" }
    p:task(ID, { life = "done" })
    assert(mj:fetch(ID))
    fails_with("timeout", bounded(TRY, function() return mj:fetch(ID) end))
    assert.same(plain, assert(mj:fetch(ID)))
  end)

  it("of one request does not hold up what comes after", function()
    for _ = 1, 3 do
      fails_with("timeout", fetch_with("stall", { request_timeout = 0.05 }))
      still_works()
    end
  end)
end)

-- Most memory this process has had since `mark`, in bytes; nil where the kernel does not tell.
local memory = {}

function memory.read(name)
  local file <close> = io.open("/proc/self/status")
  local number = file and file:read("a"):match(name .. ":%s*(%d+) kB")
  return number and number * KIB
end

function memory.mark()
  collectgarbage()
  collectgarbage()
  local file = io.open("/proc/self/clear_refs", "w")
  if not file or not file:write("5") or not file:close() then return nil end
  return memory.read("VmRSS")
end

describe("what is too large", function()
  local UNKNOWN = "not run: no /proc/self/clear_refs here"

  -- A fetch under `cap`, which makes the process grow by less than `most` bytes.
  local function grows_less_than(most, cap, plan)
    fetch_with("big_header") -- buffers that libcurl keeps
    local before = memory.mark()
    local task, err = fetch_with(plan, { max_body = cap, request_timeout = 5 })
    if not before then return task, err, UNKNOWN end
    local grown = memory.read("VmHWM") - before
    assert(grown < most, ("grew by %.1f MiB"):format(grown / MIB))
    return task, err
  end

  for _, plan in ipairs {
    { fault = "gzip_bomb", mib = 64 }, { fault = "gzip_twice_bomb", mib = 64 }, "chunk_big",
    "no_length", { fault = "big", mib = 64 },
  } do
    local name = type(plan) == "table" and plan.fault or plan

    it("stops at a small max_body: " .. name, function()
      local task, err, reason = grows_less_than(4 * MIB, CAP, plan)
      fails_with("too_large", task, err)
      assert.equal(200, err.status)
      assert.is_false(err.retryable)
      still_works()
      if reason then pending(reason) end
    end)
  end

  it("stops at the default of 8 MiB", function()
    mj:close()
    mj = mjtask.new { url = p.url, key = KEY, retries = 0 }
    local before = memory.mark()
    fails_with("too_large", fetch_with("chunk_big", { request_timeout = 5 }))
    if not before then return pending(UNKNOWN) end
    local grown = memory.read("VmHWM") - before
    assert(grown < 24 * MIB, ("grew by %.1f MiB"):format(grown / MIB))
  end)

  for _, fault in ipairs { "big_header", "many_headers", "many_100" } do
    it("in the head costs little: " .. fault, function()
      local _, _, reason = grows_less_than(4 * MIB, CAP, fault)
      if reason then pending(reason) end
    end)
  end

  it("is what is beyond max_body, by a byte", function()
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
    p:task(ID, { life = { { pad = ("x"):rep(4000) } }, fault = "gzip" })
    fails_with("too_large", mj:fetch(ID, { max_body = 3000 }))
    assert.equal(4000, #assert(mj:fetch(ID, { max_body = 8000 })).pad)
  end)

  it("is not a large task within the limit", function()
    for _, fault in ipairs { "big", "chunk_big", "no_length" } do
      local task, err = fetch_with({ fault = fault, mib = 2 },
        { max_body = 3 * MIB, request_timeout = 5 })
      assert.same(plain, assert(task, err))
    end
  end)
end)

describe("kept connections", function()
  -- So many fetches in a row, each by one try.
  local function all_good(count)
    for n = 1, count do
      local task, err = mj:fetch(ID)
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
      assert.is_nil((mj:fetch(ID)))
      mj.pace.paused_until, mj.pace.next_turn, mj.pace.gap = 0, 0, 0
      assert(mj:fetch(ID))
    end
    assert.equal(1, p:connections())
  end)

  for _, way in ipairs { "close", "okclose", "okrst" } do
    it("that die after each reply cost nothing: 100 fetches, " .. way, function()
      p:set { fault = way }
      all_good(100)
      assert.equal(100, p:connections())
    end)
  end

  for _, way in ipairs { "deadsecond", "rstsecond" } do
    it("that die at the next request cost nothing: 100 fetches, " .. way, function()
      p:set { fault = way }
      all_good(100)
    end)
  end

  it("with an answer too much poison nothing", function()
    p:task(OTHER, { life = "done" })
    for _ = 1, 10 do
      p:task(ID, { life = "done", fault = "extra_answer" })
      assert.equal(ID, assert(mj:fetch(ID)).id)
      assert.equal(OTHER, assert(mj:fetch(OTHER)).id)
      assert.equal(SKU, assert(mj:fetch(SKU)).id)
    end
  end)

  it("that broke off in a body poison nothing", function()
    for _, fault in ipairs { "short", "rst_body", "stall_body", "big", "gzip_bomb" } do
      p:task(ID, { life = "done", fault = fault })
      assert.is_nil((mj:fetch(ID, { request_timeout = 0.1 })))
      assert.equal(SKU, assert(mj:fetch(SKU)).id)
    end
  end)
end)

describe("a redirect", function()
  -- Where it leads, and how the message shows that.
  for location, shown in pairs {
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
  } do
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

describe("descriptors", function()
  local pid

  local function listed()
    local pipe <close> = assert(io.popen("ls /proc/" .. pid .. "/fd"))
    local lines = 0
    for _ in pipe:lines() do lines = lines + 1 end
    return lines
  end

  -- How many this process has; nil where the system does not tell. The least of three counts:
  -- ls may be so quick that it finds the pipe's other end still open here.
  local function count()
    if not pid then
      local file <close> = io.open("/proc/self/stat")
      pid = file and file:read("a"):match("^(%d+)")
      if not pid then return nil end
    end
    return math.min(listed(), listed(), listed())
  end

  local UNKNOWN = "not run: no /proc/self/fd here"

  it("are given back by close, whatever happened", function()
    mj:close()
    local base = count()
    if not base then return pending(UNKNOWN) end
    mj = new()
    for _, fault in ipairs {
      "pass", "rst", "stall", "stall_body", "short", "okrst", "deadsecond", "gzip_bomb", "garbage",
      "redirect_302", "pass",
    } do
      fetch_with(fault, { request_timeout = 0.05 })
    end
    assert(count() > base, "an open client has descriptors")
    mj:close()
    assert.equal(base, count())
  end)

  it("are given back by the collector", function()
    mj:close()
    local base = count()
    if not base then return pending(UNKNOWN) end
    for _ = 1, 5 do
      local other = new()
      assert(other:fetch(SKU))
    end
    collectgarbage()
    collectgarbage()
    assert.equal(base, count())
  end)

  it("do not pile up", function()
    p:set { fault = "okclose" }
    assert(mj:fetch(SKU))
    local base = count()
    if not base then return pending(UNKNOWN) end
    for _ = 1, 30 do assert(mj:fetch(SKU)) end
    for _ = 1, 10 do fetch_with("rst") end
    assert(count() <= base + 1, ("%d, then %d"):format(base, count()))
  end)

  it("may be used up: connect, and well again when there are some", function()
    local output, status = child.run(([[
      local mjtask = require "mjtask"
      local options = { url = %q, key = "key", retries = 0 }
      local mj, files = mjtask.new(options), {}
      repeat
        files[#files + 1] = io.open("/dev/null")
        local last = io.open("/dev/null")
        if last then last:close() end
      until not last
      local task, err = mj:fetch(%q)
      pcall(mjtask.new, options) -- raises where it needs a descriptor
      for _, file in pairs(files) do file:close() end
      print(task, err and err.kind)
      print(assert(mj:fetch(%q)).status, assert(mjtask.new(options):fetch(%q)).status)
    ]]):format(p.url, SKU, SKU, SKU), nil, "ulimit -n 40; %s")
    assert.equal("nil\tconnect\nSUCCESS\tSUCCESS\n", output)
    assert.equal(0, status)
  end)
end)

describe("signals", function()
  it("do not end a fetch, nor lose it", function()
    p:task(ID, { life = "done", fault = { delay = 0.05 } })
    local storm = "%s & for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "
      .. "kill -STOP $!; kill -CONT $!; sleep 0.01; done; wait $!"
    local output, status = child.run(([[
      local mj = require "mjtask".new { url = %q, key = "key", retries = 0 }
      for _ = 1, 5 do assert(mj:fetch(%q)) end
      print "well"
    ]]):format(p.url, ID), nil, storm)
    assert.equal("well\n", output)
    assert.equal(0, status)
    assert.equal(5, #p:log())
  end)

  for about, script in pairs {
    ["a fetch"] = "mj:fetch(id)",
    ["a wait that sleeps"] = "mj:wait(stuck)",
    ["a fetch in a coroutine"] = "assert(coroutine.resume(coroutine.create(mj.fetch), mj, id))",
  } do
    it("of Ctrl-C end " .. about, function()
      p:task(ID, { fault = "stall" })
      p:task(OTHER, { life = "stuck" })
      local before = core.now()
      local output, status = child.run(([[
        local mj = require "mjtask".new { url = %q, key = "key", timeout = 20 }
        local id, stuck = %q, %q
        local ok, problem = pcall(function() %s end)
        print(ok, tostring(problem):find("interrupted!", 1, true) ~= nil)
        io.stdout:flush()
        print(mj:fetch("1735030480754475").status)
      ]]):format(p.url, ID, OTHER, script), nil, "%s & sleep 0.2; kill -INT $!; wait $!")
      assert.equal("false\ttrue\nSUCCESS\n", output)
      assert.equal(0, status)
      assert(core.now() - before < 0.2 + SLACK + SLACK)
    end)
  end
end)

describe("names", function()
  local NOT_RUN = 77

  -- What a script prints where the only name server says nothing, or `answer`; nil and why not.
  local function among_names(answer, script)
    local file = os.tmpname()
    local out = assert(io.open(file, "w"))
    out:write(("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath))
    out:write(script)
    out:close()
    local launcher = ("arg = { [-1] = %q, [0] = %q, %s %q }; dofile(arg[0])"):format(
      arg[-1] or "lua5.4", "spec/support/mute_resolver.lua",
      answer and ("%q,"):format("--answer=" .. answer) or "", file)
    local output, status = child.run(launcher)
    os.remove(file)
    if status == NOT_RUN then return nil, output:match("[^\n]*") end
    return output
  end

  local SCRIPT = [[
    local core = require "mjtask.core"
    local mj = require "mjtask".new { url = "https://proxy.test", key = "key", proxy = "" }
    local before = core.now()
    local task, err = mj:fetch("1", { timeout = 0.3, retries = 0 })
    print(task, err.kind, err.retryable, core.now() - before < 0.3 + 1)
  ]]

  for answer, kind in pairs { silent = "timeout", nxdomain = "dns", servfail = "dns" } do
    it("that cannot be found fail in time, and the process ends well: " .. answer, function()
      local output, reason = among_names(answer ~= "silent" and answer or nil, SCRIPT)
      if not output then return pending(reason) end
      assert.equal(("nil\t%s\ttrue\ttrue\n"):format(kind), output)
    end)
  end
end)
