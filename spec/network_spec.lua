-- Networks that misbehave: names, ways, descriptors and signals. What a server does wrong is
-- faults_spec's.

local certificates = require "support.certificates"
local child = require "support.child"
local command = require "support.command"
local core = require "mjtask.core"
local descriptors = require "support.descriptors"
local figure = require "support.figure"
local mjtask = require "mjtask"
local process = require "support.process"
local program = require "support.program"
local socket = require "socket"
local ways = require "support.ways"
local fails_with = require "support.fails_with"

local ID, OTHER = "1735030480000001", "1735030480000002"
local SKU = "1735030480754475"
local SLACK = 1 -- seconds on promised limits
local NOT_RUN = 77 -- status of mute_resolver.lua where there are no namespaces

-- What a script prints where there is no network, and the only name server says nothing, or
-- `answer`; nil and why not.
local function among_names(answer, script)
  local file = process.file(("package.path, package.cpath = %q, %q\n")
    :format(package.path, package.cpath) .. script)
  local environment = certificates.missing() and {}
    or { SPEC_CERTIFICATES = certificates.path() }
  local launcher = ("arg = { [-1] = %q, [0] = %q, %s %q }; dofile(arg[0])"):format(
    arg[-1] or "lua5.4", "spec/support/mute_resolver.lua",
    answer and ("%q,"):format("--answer=" .. answer) or "", file)
  local output, status = child.run(launcher, environment)
  if status == NOT_RUN then return nil, output:match("[^\n]*") end
  return output
end

local function specs(way)
  local p, mj

  local function new(options) return mjtask.new(ways.options(p, options)) end

  local function fetch(id, options)
    return way.call(mj, "fetch", id or ID, options)
  end

  setup(function() p = way.start() end)
  teardown(function() p:stop() end)

  before_each(function()
    p:reset()
    p:task(ID, { life = "done" })
  end)

  after_each(function()
    if mj then mj:close() end
    mj = nil
  end)

  describe("a name", function()
    local SCRIPT = [[
      local core = require "mjtask.core"
      local mj = new { url = %q, cafile = false or nil, proxy = "", allow_http = true, retries = 0 }
      local before = core.now()
      local task, err = call(mj, "fetch", "1", { timeout = 0.3 })
      local took = core.now() - before
      print(task, err.kind, err.retryable, took)
    ]]

    local function fails_as(kind, url, answer)
      url = way.tls and url or url:gsub("^https", "http")
      local output, reason = among_names(answer, way.script(p) .. SCRIPT:format(url))
      if not output then return nil, reason end
      local took = output:match("^nil\t" .. kind .. "\ttrue\t([%d.e-]+)\n$")
      assert(took, output)
      return tonumber(took)
    end

    it("that nobody answers for ends in time, and the process ends well #N2", function()
      local took, reason = fails_as("timeout", "https://proxy.test")
      if not took then return pending(reason) end
      assert(took < 0.3 + SLACK, took)
      figure("N2, %s: %.1f ms over the time limit", way.name, (took - 0.3) * 1e3)
    end)

    it("that nobody answers for keeps no other call waiting #N2", function()
      local output, reason = among_names(nil, way.script(p) .. ([[
        local p <close> = require "support.proxy".start { tls = %s }
        local mj <close> = new { url = p.url, cafile = p.cafile, proxy = "", allow_http = true }
        local id, path, told = %q, %q, {}
        local op = mj:download("https://pictures.test/a.png", path, function(_, err)
          told[#told + 1] = err.kind
        end)
        local function fetched(task, err)
          told[#told + 1] = task and task.status or tostring(err)
          op:cancel()
        end
        for _ = 1, 3 do mj:step(0.02) end
        %s
        while mj:step() do end
        print(table.concat(told, " "))
      ]]):format(way.tls, SKU, process.scratch "picture", way.how == "callback"
        and "mj:fetch(id, fetched)" or "fetched(mj:fetch(id))"))
      if not output then return pending(reason) end
      assert.equal("SUCCESS aborted\n", output)
    end)

    for _, answer in ipairs { "nxdomain", "servfail" } do
      it("that there is not is dns: " .. answer .. " #N3", function()
        local took, reason = fails_as("dns", "https://proxy.test", answer)
        if not took then return pending(reason) end
        assert(took < 0.3 + SLACK, took)
        figure("N3, %s, %s: after %.1f ms", way.name, answer, took * 1e3)
      end)
    end

    it("is none, and no way leads there: connect, at once #N1", function()
      local took, reason = fails_as("connect", "https://192.0.2.1")
      if not took then return pending(reason) end
      assert(took < SLACK, took)
      figure("N1, %s: unreachable after %.1f ms", way.name, took * 1e3)
    end)

    it("with a dead address of IPv6 and a good one of IPv4 is reached #N9", function()
      local output, reason = among_names("127.0.0.1+::1", way.script(p) .. ([[
        local core = require "mjtask.core"
        local p <close> = require "support.proxy".start { tls = %s }
        local silent <close>, reason = require "support.silent" (p.port)
        if not silent then
          print(reason)
          return
        end
        local url = p.url:gsub("//.*:", "//pictures.example:")
        local mj <close> = new { url = url, cafile = p.cafile, proxy = "", allow_http = true }
        local before = core.now()
        local task, err = call(mj, "fetch", "1735030480754475", { timeout = 5 })
        print(task and task.status or err, err and err.attempts, core.now() - before)
      ]]):format(way.tls))
      if not output or output:find "^not run" then return pending(reason or output) end
      local took = tonumber(output:match "^SUCCESS\tnil\t([%d.e-]+)\n$")
      assert(took, output)
      -- libcurl gives the first address, the dead one, 0.2 s; less: it was not asked.
      assert(took > 0.15 and took < 0.2 + SLACK, took)
      figure("N9, %s: %.0f ms", way.name, took * 1e3)
    end)
  end)

  describe("a picture's name", function()
    -- In that namespace 93.184.216.34 is this machine, and public.
    local SCRIPT = [[
      local folder = %q
      local p <close> = require "support.proxy".start { tls = %s, address = "0.0.0.0" }
      p:set { image = %s }
      local url = ("%%s://pictures.example:%%d/attachments/a.png"):format(
        p.url:match "^%%l+", p.other_port)
      for n = 1, 2 do
        local mj <close> = new { url = p.url, cafile = p.cafile, retries = 0, proxy = "" }
        local path, err = call(mj, "download", url, folder .. "/" .. n)
        print(path and "saved" or err.kind, err and err.message)
      end
    ]]

    local function downloads(answer, fault)
      local folder <const>, remove = child.directory()
      local output, reason = among_names(answer, way.script(p)
        .. SCRIPT:format(folder, way.tls, fault and ("%q"):format(fault) or "false"))
      remove()
      return output, reason
    end

    it("that leads to a private address at the second look is refused then #D2", function()
      local output, reason = downloads "93.184.216.34,127.0.0.1"
      if not output then return pending(reason) end
      assert.matches("^saved\tnil\nconnect\t[^\n]*allow_private[^\n]*\n$", output)
    end)

    it("that leads to both is taken from the public one #D2", function()
      local output, reason = downloads "127.0.0.1+93.184.216.34"
      if not output then return pending(reason) end
      assert.equal("saved\tnil\nsaved\tnil\n", output)
    end)

    it("that leads to both, and breaks off, is not called private #D2", function()
      local output, reason = downloads("127.0.0.1+93.184.216.34", "rst")
      if not output then return pending(reason) end
      assert.equal(2, select(2, output:gsub("connect\t", "")), output)
      assert.is_nil(output:find("private", 1, true), output)
    end)
  end)

  describe("a way", function()
    it("that forgets a kept connection costs one try: the next is on a fresh one #N8", function()
      mj = new { url = p.forwarder_url, request_timeout = 0.25 }
      mj.schedule.random = function() return 0 end -- no backoff
      assert(fetch())
      p:forward { hole = true }
      local before = core.now()
      assert.equal(ID, assert(fetch()).id)
      local took = core.now() - before
      assert(took >= 0.24 and took < 0.25 + SLACK, took)
      assert.equal(2, #p:log()) -- the lost one never came
      assert.equal(2, p:connections())
      assert(fetch())
      assert.equal(2, p:connections())
    end)

    it("that forgets it, where there is one try: timeout, and then a fresh one #N8", function()
      mj = new { url = p.forwarder_url, request_timeout = 0.25, retries = 0 }
      assert(fetch())
      p:forward { hole = true }
      fails_with("timeout", fetch())
      assert.equal(ID, assert(fetch()).id)
    end)

    it("that forgets all, for good: timeout, within the limit #N8", function()
      mj = new { url = p.forwarder_url, request_timeout = 0.1 }
      assert(fetch())
      p:forward { hole = "all" }
      local before = core.now()
      fails_with("timeout", fetch(ID, { timeout = 0.25 }))
      assert(core.now() - before < 0.25 + SLACK)
    end)

    local HONEST = { timeout = true, connect = true, decode = true }

    it("that is slow and breaks off anywhere gives the task, or an error that says so #N10",
    function()
      local whole = new()
      local plain = assert(whole:fetch(ID))
      whole:close()
      local counts = {}
      for seed = 1, 30 do
        p:forward { rough = { seed = seed, delay = 0.002, within = way.tls and 4000 or 2000 } }
        mj = new { url = p.forwarder_url, request_timeout = 0.1, retries = 0 }
        local task, err = fetch()
        if task then assert.same(plain, task) else assert(HONEST[err.kind], tostring(err)) end
        local kind = task and "task" or err.kind
        counts[kind] = (counts[kind] or 0) + 1
        mj:close()
      end
      mj = nil
      figure("N10, %s: of 30, %d whole, %d connect, %d timeout", way.name, counts.task,
        counts.connect, counts.timeout)
      assert(counts.task > 5 and counts.connect > 2 and counts.timeout > 2,
        "the seeds have become harmless")
    end)

    it("that is slow and breaks off anywhere leaves a whole picture, or none #N10", function()
      local folder, remove = child.directory()
      local whole
      local counts = {}
      for seed = 100, 115 do
        p:forward { rough = { seed = seed, delay = 0.002, cuts = 0.7, within = 9000 } }
        mj = new { allow_private = true, timeout = 0.1, retries = 0 }
        local target = folder .. "/" .. seed
        local path, err = way.call(mj, "download", p.forwarder_url .. "/attachments/a.png", target)
        local file = io.open(target, "rb")
        local bytes = file and file:read "a"
        if file then file:close() end
        if path then
          whole = whole or bytes
          assert(bytes == whole and #bytes > 1000)
        else
          assert.is_nil(bytes)
          assert(err.kind == "not_image" or HONEST[err.kind], tostring(err))
        end
        counts[path and "saved" or "not"] = true
        mj:close()
      end
      mj = nil
      local pipe <close> = assert(io.popen("ls -A '" .. folder .. "' | grep -c part"))
      assert.equal("0", pipe:read "l")
      remove()
      assert(counts.saved and counts["not"], "the seeds have become harmless")
    end)

    it("that is slow and breaks off anywhere does not end a wait #N10", function()
      p:task(ID, { life = "short" })
      p:forward { rough = { seed = 7, delay = 0.002, cuts = 0.5, within = 9000 } }
      mj = new { url = p.forwarder_url, request_timeout = 0.1, interval = 0.1, max_interval = 0.1 }
      mj.schedule.random = function() return 0 end -- no backoff
      local task, err = way.call(mj, "wait", ID)
      assert.equal("SUCCESS", assert(task, err).status)
    end)
  end)

  describe("descriptors #N14", function()
    local UNKNOWN = "not run: no /proc/self/fd here"

    it("are given back by close, whatever happened", function()
      collectgarbage()
      collectgarbage()
      local base = descriptors()
      if not base then return pending(UNKNOWN) end
      mj = new { retries = 0, max_body = 65536 }
      for _, fault in ipairs {
        "pass", "rst", "stall", "stall_body", "short", "okrst", "deadsecond", "gzip_bomb",
        "garbage", "redirect_302", "pass",
      } do
        p:task(ID, { life = "done", fault = fault })
        fetch(ID, { request_timeout = 0.05 })
      end
      assert(descriptors() > base, "an open client has descriptors")
      mj:close()
      assert.equal(base, descriptors())
    end)

    it("are given back by the collector", function()
      collectgarbage()
      collectgarbage()
      local base = descriptors()
      if not base then return pending(UNKNOWN) end
      for _ = 1, 5 do assert(way.call(new(), "fetch", SKU)) end
      collectgarbage()
      collectgarbage()
      assert.equal(base, descriptors())
    end)

    it("do not pile up", function()
      mj = new { retries = 0 }
      p:set { fault = "okclose" }
      assert(fetch(SKU))
      collectgarbage()
      collectgarbage()
      local base = descriptors()
      if not base then return pending(UNKNOWN) end
      for _ = 1, 30 do assert(fetch(SKU)) end
      p:task(ID, { life = "done", fault = "rst" })
      for _ = 1, 10 do fetch() end
      assert(descriptors() <= base + 1)
    end)

    it("may be used up, but for some: an error, and well again when there are more", function()
      local output, status = child.run(way.script(p) .. ([[
        local given, id = { retries = 0 }, %q
        local kinds = {}
        for spare = 0, 8 do
          local mj, files = new(given), {}
          repeat
            files[#files + 1] = io.open("/dev/null")
            local last = io.open("/dev/null")
            if last then last:close() end
          until not last
          for n = 1, spare do table.remove(files):close() end
          local task, err = call(mj, "fetch", id)
          if not task then
            assert(err.retryable, tostring(err))
            kinds[err.kind] = true
          end
          local made, other = pcall(new, given) -- raises where it needs a descriptor
          if made then other:close() end
          for _, file in pairs(files) do file:close() end
          assert(call(mj, "fetch", id))
          mj:close()
          local last <close> = new(given)
          assert(call(last, "fetch", id))
        end
        local names = {}
        for kind in pairs(kinds) do names[#names + 1] = kind end
        print(table.concat(names, " "))
      ]]):format(SKU), nil, "ulimit -n 60; %s")
      assert.equal("connect\n", output)
      assert.equal(0, status)
    end)
  end)

  describe("signals #N13", function()
    it("do not end a fetch, nor lose it", function()
      p:task(ID, { life = "done", fault = { delay = 0.05 } })
      local storm = "%s & for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "
        .. "kill -STOP $!; kill -CONT $!; sleep 0.01; done 2> /dev/null; wait $!"
      -- The search for leaks traces the process, and hangs if that is stopped meanwhile.
      local options = os.getenv "ASAN_OPTIONS"
      local env = options and { ASAN_OPTIONS = options .. ":detect_leaks=0" } or nil
      local output, status = child.run(way.script(p) .. ([[
        local mj = new { retries = 0 }
        for _ = 1, 5 do assert(call(mj, "fetch", %q)) end
        print "well"
      ]]):format(ID), env, storm)
      assert.equal("well\n", output)
      assert.equal(0, status)
      assert.equal(5, #p:log())
    end)

    it("by the thousand, on connections that die, end nobody", function()
      local host, reason = process.host()
      if not host then return pending(reason) end
      p:task(ID, { life = "done", fault = "okrst" })
      local output, status = process.run(way.script(p) .. [[
        local mj = new { retries = 0 }
        storm(1000)
        for _ = 1, 10 do assert(call(mj, "fetch", (...), { timeout = 10 })) end
        print(storm(0) > 50)
      ]], { args = { ID }, runner = host .. " states 1" })
      assert.equal("true\nalive\n", output)
      assert.equal(0, status)
      assert.equal(10, #p:log())
    end)

    -- In a plain interpreter SIGPIPE is fatal. What is sent here is cut off in its midst.
    it("of broken pipes end nobody", function()
      p:forward { rough = { seed = 3, delay = 0, cuts = 1, within = 400000 } }
      local output, status = child.run(way.script(p) .. ([[
        local mj = new { url = %q, retries = 0, request_timeout = 0.1 }
        local lost = 0
        for _ = 1, 12 do
          local receipt, err = call(mj, "submit", "imagine", { prompt = ("x"):rep(500000) })
          if not receipt then lost = lost + 1 end
        end
        print(lost)
      ]]):format(p.forwarder_url))
      assert.equal("12\n", output)
      assert.equal(0, status)
      assert.same({}, p:log())
    end)

    it("of Ctrl-C end a fetch, though they came before it slept", function()
      local path, preload = process.shim "interrupt"
      if not path then return pending(preload) end
      p:task(ID, { fault = "stall" })
      local output, _, took = process.run(way.script(p) .. [[
        local mj, id = new { timeout = 20 }, ...
        coroutine.wrap(call)(mj, "fetch", id) -- the interpreter's hook is not in there
      ]], { args = { ID }, env = { LD_PRELOAD = preload, INTERRUPT = "1" } })
      assert.matches("interrupted!", output)
      assert(took < SLACK, took)
    end)

    for about, case in pairs {
      ["a fetch"] = { { fault = "stall" }, "call(mj, 'fetch', id)" },
      ["a fetch in a coroutine"] = { { fault = "stall" },
        "assert(coroutine.resume(coroutine.create(call), mj, 'fetch', id))" },
      ["a wait that sleeps"] = { { life = "stuck" },
        "call(mj, 'wait', id, { progress = function() io.stderr:write 'looked' end })", "looked" },
    } do
      it("of Ctrl-C end " .. about, function()
        local definition, script, said = case[1], case[2], case[3] or ""
        p:task(OTHER, definition)
        local places = way.how == "blocking" and 1 or 2 -- the one of a call that is left is free
        local c <close> = command.start({}, {
          program = process.file(way.script(p) .. ([[
            local mj = new { timeout = 10, max_inflight = %d }
            local id = %q
            local ok, problem = pcall(function() %s end)
            print(ok, tostring(problem):find("interrupted!", 1, true) ~= nil)
            print(mj:fetch(%q).status)
          ]]):format(places, OTHER, script, SKU)),
          env = { ASAN_OPTIONS = os.getenv "ASAN_OPTIONS" }, -- what it leaks is ours
        })
        local function is_under_way()
          for _, request in ipairs(p:log()) do
            if request.path:find(OTHER, 1, true) then return c:err() == said end
          end
        end
        assert(program.until_true(is_under_way), "no request comes")
        socket.sleep(0.1) -- until it sleeps
        local before = core.now()
        c:interrupt()
        assert.same({ out = "false\ttrue\nSUCCESS\n", err = said, code = 0 }, c:result())
        assert(core.now() - before < SLACK + SLACK)
      end)
    end
  end)
end

for _, way in ipairs(ways) do
  describe(way.name .. ":", function()
    if way.missing then return it("networks", function() pending(way.missing) end) end
    specs(way)
  end)
end
