-- What needs a process of its own: ends of all kinds, forks, threads, signals, descriptors and
-- system calls.

local core = require "mjtask.core"
local child = require "support.child"
local process = require "support.process"
local proxy = require "support.proxy"

local SKU = "1735030480754475"
local SLACK = 1 -- seconds that a promised limit may be missed by
local ABORT = 77 -- of mute_resolver.lua: no namespaces here

local PRELUDE = [[
  local mjtask = require "mjtask"
  local core = require "mjtask.core"
  local url, id = ...
  local path = "/mj/task/" .. id .. "/fetch"
  local function new(fields)
    local given = { url = url, auth = "none", retries = 0 }
    for name, value in pairs(fields or {}) do given[name] = value end
    return mjtask.new(given)
  end
  -- Sends a request and leaves it under way.
  local function fly(mj)
    local operation = mj.schedule:spawn(function(operation)
      return operation:send({ path = path }, 5, math.huge)
    end)
    for _ = 1, 4 do mj.schedule:step(0.01) end
    assert(not operation.ended)
    return operation
  end
]]

local p, host, no_host

-- Runs a script with the local proxy; see process.run.
local function run(script, options)
  options = options or {}
  options.args = { p.url, SKU, table.unpack(options.args or {}) }
  return process.run(PRELUDE .. script, options)
end

-- In the C host, `count` times; how is "states" or "threads".
local function run_host(how, count, script, options)
  options = options or {}
  options.runner = ("%s %s %d"):format(host, how, count)
  return run(script, options)
end

-- What the sanitizers would call leaks is left on purpose: it is the parent's.
local function without_leaks()
  local given = os.getenv "ASAN_OPTIONS"
  return given and { ASAN_OPTIONS = given .. ":detect_leaks=0" } or nil
end

describe("a host", function()
  setup(function()
    p = proxy.start()
    host, no_host = process.host()
  end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  describe("that ends #L3", function()
    local ENDS = {
      { "os.exit(true)", 0 }, { "os.exit(false)", 1 }, { "os.exit(7)", 7 },
      { "os.exit(true, true)", 0 }, { "os.exit(false, true)", 1 },
      { "error 'the top level'", 1, "the top level" },
      { "do local _ <close> = mj error 'the top level' end", 1, "the top level" },
      { "return", 0 }, { "mj = nil return", 0 },
      { "coroutine.wrap(function() os.exit(true, true) end)()", 0 },
      { "core.call({}, { n = 3, os.exit, true, true })", 0 },
      { "mj.schedule:deliver(held, os.exit, 3, true) mj.schedule:await(held)", 3 },
    }

    for _, row in ipairs(ENDS) do
      local ending, expected, message = table.unpack(row)
      it("by " .. ending .. " with a transfer in flight does so at once", function()
        p:set { fault = "stall_body" }
        local output, status, seconds = run("local mj = new() local held = fly(mj) " .. ending)
        assert.equal(expected, status, output)
        if message then assert.matches(message, output, 1, true) else assert.equal("", output) end
        assert.is_true(seconds < 2 * SLACK, seconds)
      end)
    end

    it("with one client closed in the middle and one not is quiet", function()
      p:set { fault = "stall" }
      local output, status = run [[
        local closed, open = new(), new()
        local operation = fly(closed)
        fly(open)
        closed:close()
        assert(operation.ended)
        print(pcall(closed.fetch, closed, id))
        closed:close()
      ]]
      assert.matches("^false\t.*the client is closed\n$", output)
      assert.equal(0, status)
    end)

    it("one state of many, with transfers in flight, lives on without a descriptor more", function()
      if not host then return pending(no_host) end
      p:set { fault = "stall_body" }
      local output, status = run_host("states", 20, [[
        local stat <close> = io.open "/proc/self/stat"
        if stat then os.execute("ls /proc/" .. stat:read "n" .. "/fd | wc -l") end
        local mj = new()
        fly(mj)
        fly(mj)
        if core.engine { url = url, auth = "none" }:pollfd() then fly(mj) end
      ]])
      assert.equal(0, status, output)
      local counts = output:match "^(.*)alive\n$"
      assert.is_truthy(counts, output)
      local first = counts:match "^%d+\n"
      assert.equal((first or ""):rep(first and 20 or 0), counts)
    end)
  end)

  describe("whose name server #N2 #L7", function()
    local NAME = "https://proxy.example.com"

    -- Runs it in namespaces of its own; nil where there are none.
    local function run_deaf(script, answer, args)
      local env = without_leaks() or {} -- ip(8) has some
      for _, name in ipairs { "http_proxy", "https_proxy", "all_proxy" } do env[name] = "" end
      local output, status, seconds = process.run(PRELUDE .. script, {
        args = { NAME, SKU, table.unpack(args or {}) },
        runner = "lua5.4 spec/support/mute_resolver.lua " .. (answer or ""), env = env,
      })
      if status ~= ABORT then return output, status, seconds end
      pending(output)
    end

    it("never answers: a fetch ends at its limit, and the process right after", function()
      local output, status, seconds = run_deaf [[
        local mj = new()
        local started = core.now()
        local task, err = mj:fetch(id, { timeout = 0.3 })
        print(task, err.kind, core.now() - started)
      ]]
      if not output then return end
      local kind, elapsed = output:match "^nil\t(%l+)\t([%d.]+)\n$"
      assert.is_truthy(kind == "timeout" or kind == "dns", output)
      elapsed = tonumber(elapsed)
      assert.is_true(elapsed >= 0.29 and elapsed < 0.3 + SLACK, elapsed)
      assert.equal(0, status)
      assert.is_true(seconds < elapsed + 2 * SLACK, seconds)
    end)

    it("never answers: other transfers go on, and cancel and close do not wait", function()
      local output, status = run_deaf [[
        local engine = core.engine { url = url, auth = "none" }
        local started = core.now()
        local first = engine:start({ path = path, timeout = 5 }, 1)
        engine:start({ path = path, timeout = 0.2 }, 2)
        local waiter, transfer
        repeat
          engine:step(0.1)
          waiter, transfer = engine:next()
        until waiter
        print(waiter, select(2, transfer:answer()).kind, core.now() - started < 1.2)
        first:cancel()
        local third = engine:start({ path = path, timeout = 5 }, 3)
        engine:step(0.01)
        third = nil
        engine:close()
        engine = nil
        collectgarbage()
        print(core.now() - started < 1.2)
      ]]
      if not output then return end
      assert.is_truthy(output == "2\ttimeout\ttrue\ntrue\n" or output == "2\tdns\ttrue\ntrue\n",
        output)
      assert.equal(0, status)
    end)

    it("never answers: Ctrl-C ends a fetch", function()
      local output, status, seconds = run_deaf [[
        local stat <close> = io.open "/proc/self/stat"
        -- os.execute would be deaf to Ctrl-C until the shell has ended
        HELD = io.popen(("sleep 0.1; kill -INT %d 2> /dev/null"):format(stat:read "n"))
        new():fetch(id, { timeout = 8 })
      ]]
      if not output then return end
      assert.matches("interrupted!", output, 1, true)
      assert.equal(1, status)
      assert.is_true(seconds < 0.1 + 2 * SLACK, seconds)
    end)

    it("never answers: 20 states close under the look-ups, and the host lives on", function()
      if not host then return pending(no_host) end
      local inner = process.file(PRELUDE .. [[
        local mj = new()
        local started = core.now()
        fly(mj)
        HELD = mj -- lua_close is to close it
        assert(core.now() - started < 1)
      ]])
      local output, status, seconds = run_deaf([[
        os.exit(select(3, os.execute(select(3, ...))))
      ]], nil, { ("%s states 20 %s %s %s"):format(host, inner, NAME, SKU) })
      if not output then return end
      assert.equal("alive\n", output)
      assert.equal(0, status)
      assert.is_true(seconds < 20 * 0.1 + 2 * SLACK, seconds)
    end)

    it("answers when the state is closed already: the look-up's thread finds its code", function()
      if not host then return pending(no_host) end
      local inner = process.file(PRELUDE .. [[
        HELD = core.engine { url = url, auth = "none" }
        HELD:start({ path = path, timeout = 5 }, 1)
        HELD:step(0) -- the thread is on its way
      ]])
      local output, status = run_deaf([[
        os.exit(select(3, os.execute(select(3, ...))))
      ]], "--answer=servfail", { ("%s states 20 %s %s %s"):format(host, inner, NAME, SKU) })
      if not output then return end
      assert.equal("alive\n", output)
      assert.equal(0, status)
    end)

    it("knows no such name: the kind is dns", function()
      local output, status = run_deaf([[
        local task, err = new():fetch(id, { timeout = 5 })
        print(task, err.kind, err.attempts)
      ]], "--answer=nxdomain")
      if not output then return end
      assert.equal("nil\tdns\t1\n", output)
      assert.equal(0, status)
    end)
  end)

  describe("that forks #L6", function()
    local CHILDREN = {
      ["calls every method"] = [[
        local function refused(f, ...)
          local ok, problem = pcall(f, ...)
          assert(not ok and problem:find "before the fork", problem)
        end
        refused(engine.start, engine, { path = path }, 1)
        refused(engine.step, engine, 0)
        refused(engine.next, engine)
        refused(engine.wake_at, engine)
        refused(engine.pollfd, engine)
        refused(mj.fetch, mj, id)
        refused(mj.wait, mj, id, { timeout = 0.1 })
        refused(flying.step, flying, 0)
        exit(0)
      ]],
      ["exits without closing the state"] = "exit(0)",
      ["exits"] = "os.exit(0)",
      ["closes the state"] = "os.exit(0, true)",
      ["collects"] = [[
        mj, engine, flying, transfer = nil, nil, nil, nil
        collectgarbage()
        collectgarbage()
        exit(0)
      ]],
      ["closes the client"] = [[
        mj:close()
        engine:close()
        transfer:cancel()
        flying:close()
        exit(0)
      ]],
      ["cancels what the parent sent"] = [[
        transfer:cancel()
        transfer = nil
        collectgarbage()
        exit(0)
      ]],
      ["makes a client of its own"] = [[
        local own = new()
        assert(own:fetch(id).id == id)
        own:close()
        exit(0)
      ]],
    }

    for name, script in pairs {
      ["collects"] = "file = nil collectgarbage() collectgarbage()",
      ["closes the state"] = "os.exit(0, true)",
      ["closes it"] = "file:close()",
      ["begins it anew"] = "assert(not file:restart())",
      ["commits it"] = "assert(not file:commit())",
    } do
      it("loses no download to a child that " .. name, function()
        if not host then return pending(no_host) end
        local folder, remove = child.directory()
        local output, status = run_host("states", 1, [[
          local folder = select(3, ...)
          local file = assert(core.file(folder .. "/picture"))
          local pid = fork()
          if pid == 0 then
            local ok, problem = pcall(function() ]] .. script .. [[ end)
            if not ok then print(problem) end
            exit(0)
          end
          wait(pid)
          local names = io.popen("ls -A " .. folder):read "a"
          print(names)
        ]], { args = { folder } })
        remove()
        assert.matches("%.mjtask%-.*%.part", output)
        assert.equal(0, status)
      end)
    end

    for name, script in pairs(CHILDREN) do
      it("loses nothing to a child that " .. name, function()
        if not host then return pending(no_host) end
        p:task("17350304800000", { life = "done", script = { { delay = 0.1 } } })
        local output, status = run_host("states", 1, [[
          local mj = new()
          local engine = core.engine { url = url, auth = "none" }
          local flying = core.engine { url = url, auth = "none" } -- with an answer on its way
          flying:pollfd()
          assert(mj:fetch(id).id == id)
          engine:start({ path = path }, "first")
          repeat engine:step(1) until engine:next()
          local transfer = flying:start({ path = "/mj/task/17350304800000/fetch" }, "slow")
          flying:step(0)
          flying:step(0.01)
          flying:wake_at()
          local pid = fork()
          if pid == 0 then
            local ok, problem = pcall(function() ]] .. script .. [[ end)
            print(problem)
            exit(9)
          end
          local status = wait(pid)
          if status ~= 0 then print("the child's status", status) end
          -- Kept connections, and the answer under way.
          assert(mj:fetch(id).id == id)
          engine:start({ path = path }, "second")
          local waiter, other
          repeat
            engine:step(1)
            waiter, other = engine:next()
          until waiter
          assert(waiter == "second" and other:answer().id == id)
          repeat
            flying:step(1)
            waiter, other = flying:next()
          until waiter
          local task, facts = other:answer()
          assert(waiter == "slow" and task, facts and facts.message)
        ]], { env = without_leaks() })
        assert.equal("alive\n", output)
        assert.equal(0, status)
        local own = name:find "own" and 1 or 0
        assert.equal(3 + own, p:connections())
        assert.equal(5 + own, #p:log())
      end)
    end

    it("may fork before the first client, and each side has its own", function()
      if not host then return pending(no_host) end
      local output, status = run_host("states", 1, [[
        local pid = fork()
        local mj = new()
        for _ = 1, 3 do assert(mj:fetch(id).id == id) end
        if pid == 0 then os.exit(0, true) end
        assert(wait(pid) == 0)
      ]])
      assert.equal("alive\n", output)
      assert.equal(0, status)
      assert.equal(2, p:connections())
    end)

    it("leaves no descriptor of ours to a program it starts", function()
      local output, status = run [[
        local stat = io.open "/proc/self/stat"
        if not stat then print "no /proc" os.exit(0) end
        stat:close()
        local mj = new()
        mj:fetch(id)
        mj.schedule.engine:pollfd()
        os.execute "ls -l /proc/self/fd"
        print("asked", mj.schedule.engine:pollfd())
      ]]
      if output == "no /proc\n" then return pending "not run: there is no /proc" end
      assert.equal(0, status)
      if not output:find "asked\t%d" then
        return pending "not run: a build without epoll, where sockets are libcurl's"
      end
      assert.is_nil(output:find("anon_inode", 1, true), output)
      local sockets = select(2, output:gsub("socket:", ""))
      assert.is_true(sockets <= 2, output) -- the pair by which libcurl would wake itself
    end)
  end)

  it("runs 8 threads with a state each, which race to require and fetch 20 times #L5", function()
    if not host then return pending(no_host) end
    local output, status = run_host("threads", 8, [[
      for _ = 1, 2 do
        local mj = new()
        for _ = 1, 10 do
          local task, err = mj:fetch(id)
          assert(task and task.id == id, tostring(err))
        end
        mj:close()
      end
    ]])
    assert.equal("alive\n", output)
    assert.equal(0, status)
    assert.equal(160, #p:log())
    assert.equal(16, p:connections())
  end)

  it("may be stormed by 1,000 signals a second #N13", function()
    if not host then return pending(no_host) end
    p:set { fault = { delay = 0.005 } }
    local output, status = run_host("states", 1, [[
      local mj = new()
      storm(1000)
      for n = 1, 30 do
        local task, err = mj:fetch(id, { timeout = 10 })
        assert(task and task.id == id, tostring(err))
      end
      local task, err = mj:wait(id, { timeout = 10 })
      assert(task, tostring(err))
      local started = core.now()
      local operation = mj.schedule:spawn(function(operation)
        operation:sleep_until(started + 0.1)
      end)
      mj.schedule:await(operation)
      assert(core.now() - started >= 0.1, "a sleep was cut short")
      print(storm(0) > 100)
    ]])
    assert.equal("true\nalive\n", output)
    assert.equal(0, status)
    assert.equal(31, #p:log())
    assert.equal(1, p:connections())
  end)

  it("without a descriptor left gets an error, and goes on when there are some #N14", function()
    local output, status = run([[
      local mj = new()
      local other = new()
      local held = {}
      repeat
        local file = io.open("/dev/null")
        held[#held + 1] = file
      until not file
      local task, err = mj:fetch(id, { timeout = 5 })
      print(task, err and err.kind, err and err.retryable)
      for _, file in ipairs(held) do file:close() end
      for _, each in ipairs { mj, other, new() } do
        task, err = each:fetch(id, { timeout = 5 })
        print(task and task.id, err)
      end
    ]], { shell = "ulimit -n 24" })
    assert.equal("nil\tconnect\ttrue\n" .. (SKU .. "\tnil\n"):rep(3), output)
    assert.equal(0, status)
  end)

  it("without a descriptor left gets no client, and is not told that an option is wrong", function()
    local output, status = run([[
      local held = {}
      repeat
        local file = io.open("/dev/null")
        held[#held + 1] = file
      until not file
      local ok, problem = pcall(new)
      for _, file in ipairs(held) do file:close() end
      print(ok, problem)
      print(new():fetch(id).id)
    ]], { shell = "ulimit -n 24" })
    assert.equal(0, status)
    -- Without epoll none may be needed for a client.
    assert.matches("^%l+\t[^\n]*\n" .. SKU .. "\n$", output)
    assert.is_nil(output:find("options.", 1, true), output)
  end)

  it("with 16 descriptors and 50 operations gets an answer or an error for each", function()
    local output, status = run([[
      local mj = new { max_inflight = 50 }
      local answers, failures, done = 0, {}, 0
      for n = 1, 50 do
        mj.schedule:spawn(function(operation)
          local transfer = operation:send({ path = path }, 5, math.huge)
          local task, facts = transfer:answer()
          if task then answers = answers + 1 else failures[facts.kind] = true end
          done = done + 1
        end)
      end
      local deadline = core.now() + 8
      while done < 50 and core.now() < deadline do mj.schedule:step(0.1) end
      print(done, answers > 0, next(failures))
      local task, err = mj:fetch(id)
      print(task and task.id, err)
    ]], { shell = "ulimit -n 16" })
    assert.matches("^50\ttrue\tconnect\t?[^\n]*\n" .. SKU .. "\tnil\n$", output)
    assert.equal(0, status)
  end)
end)

describe("system calls", function()
  local engine_has_epoll

  setup(function()
    p = proxy.start()
    local engine <close> = core.engine { url = p.url, auth = "none" }
    engine_has_epoll = engine:pollfd() ~= nil
  end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  local function cannot()
    if not process.has "strace" then return "not run: there is no strace" end
    if process.is_sanitized() then return "not run: the sanitizers do not bear strace" end
    if not engine_has_epoll then return "not run: a build without epoll" end
  end

  -- How often a script calls what: { [name] = count }.
  local function count(script)
    local trace = process.file("", "trace")
    local output, status = run(script, { wrap = "strace -f -qq -o " .. trace })
    if output:find("ptrace", 1, true) then return nil, "not run: " .. output end
    assert.equal("", output)
    assert.equal(0, status)
    local counts = {}
    for line in io.lines(trace) do
      local name = line:match "^%d+ +([%w_]+)%("
      if name then counts[name] = (counts[name] or 0) + 1 end
    end
    return counts
  end

  -- The calls of `more` beyond those of `less`, by name.
  local function difference(more, less)
    local out = {}
    for name, n in pairs(more) do
      if n ~= (less[name] or 0) then out[name] = n - (less[name] or 0) end
    end
    return out
  end

  local function fetches(n, asked)
    return ([[
      local mj = new()
      if %s then mj.schedule.engine:pollfd() end
      for _ = 1, %d do assert(mj:fetch(id).id == id) end
    ]]):format(asked, n)
  end

  for asked, most in pairs { [false] = 8, [true] = 10 } do
    it(("of a kept fetch are at most %d, pollfd asked for: %s"):format(most, asked), function()
      local reason = cannot()
      if reason then return pending(reason) end
      local less, problem = count(fetches(1, asked))
      if not less then return pending(problem) end
      local more = difference(count(fetches(101, asked)), less)
      local sum, list = 0, {}
      for name, n in pairs(more) do
        sum = sum + n
        list[#list + 1] = ("%s %.2f"):format(name, n / 100)
      end
      table.sort(list)
      if os.getenv "MJTASK_FIGURES" then
        print(("\n%.2f a fetch: %s"):format(sum / 100, table.concat(list, ", ")))
      end
      assert.is_true(sum / 100 <= most, table.concat(list, ", "))
      assert.is_nil(more.rt_sigaction)
      assert.is_nil(more.socket)
    end)
  end

  -- A timer for the host's loop that has fired must not end the waits of a call that blocks.
  for asked, most in pairs { [false] = 10, [true] = 12 } do
    it(("of an answer that does not come are at most %d, pollfd asked for: %s"):format(most, asked),
      function()
        local reason = cannot()
        if reason then return pending(reason) end
        p:task("17350304800000", { life = "done", fault = "stall" })
        local less, problem = count(fetches(1, asked))
        if not less then return pending(problem) end
        local more = difference(count(fetches(1, asked) .. [[
          local task, err = mj:fetch("17350304800000", { request_timeout = 0.2, retries = 0 })
          assert(not task and err.kind == "timeout", err)
        ]]), less)
        assert((more.epoll_wait or 0) + (more.poll or 0) <= most,
          (more.epoll_wait or 0) .. " waits")
      end)
  end

  it("of 0.3 s without work are at most two waits", function()
    local reason = cannot()
    if reason then return pending(reason) end
    p:task("17350304800000", { life = "stuck" })
    local less, problem = count(fetches(1, false))
    if not less then return pending(problem) end
    local more = difference(count [[
      local mj = new()
      local task, err = mj:wait("17350304800000", { timeout = 0.3, interval = 30 })
      assert(not task and err.kind == "timeout", err)
    ]], less)
    if os.getenv "MJTASK_FIGURES" then
      for name, n in pairs(more) do io.write("\nidle: ", name, " ", n) end
    end
    assert.is_true((more.epoll_wait or 0) + (more.epoll_pwait or 0) <= 2)
    assert.is_nil(more.rt_sigaction)
    local sum = 0
    for _, n in pairs(more) do sum = sum + math.max(n, 0) end
    assert.is_true(sum <= 30, "calls: " .. sum) -- allocation may differ
  end)
end)
