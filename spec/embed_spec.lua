-- libmjtask.a: what it holds, and hosts that have nothing else of ours. Each runs in an empty
-- directory, and its require knows no path.

local child = require "support.child"
local process = require "support.process"
local proxy = require "support.proxy"
local shell = require "support.shell"
local static = require "support.static"

local SKU = "1735030480754475"
local KEY = "sk-0123456789abcdef"
local NOWHERE = { LUA_PATH_5_4 = "/nowhere/?.lua", LUA_CPATH_5_4 = "/nowhere/?.so" }

local OPENED = [[
  package.preload.mjtask = luaopen_mjtask
]]
local PRELUDE = [[
  package.path, package.cpath = "", ""
  local mjtask = require "mjtask"
  local core = require "mjtask.core"
  local url, key, id = ...
  local path = "/mj/task/" .. id .. "/fetch"
  local function new(fields)
    local given = { url = url, key = key, retries = 0, interval = 0.1 }
    for name, value in pairs(fields or {}) do given[name] = value end
    return mjtask.new(given)
  end
  -- Sends a request and leaves it under way.
  local function fly()
    local engine = core.engine { url = url, auth = "none" }
    local transfer = engine:start({ path = path, timeout = 5 }, 1)
    for _ = 1, 2 do engine:step(0.01) end
    assert(not engine:next())
    return engine, transfer
  end
]]

local p, archive, no_archive, host, no_host, folder, remove

local function lines_of(command)
  local pipe <close> = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  table.sort(lines)
  return lines
end

-- In the empty directory; `count` times, how is "states" or "threads".
local function run_host(how, count, script, options)
  options = options or {}
  local env = {}
  for _, half in ipairs { NOWHERE, options.env or {} } do
    for name, value in pairs(half) do env[name] = value end
  end
  return process.run(script, {
    runner = ("%s %s %d"):format(options.host or host, how, count), env = env,
    args = { p.url, KEY, SKU, table.unpack(options.args or {}) },
    shell = "cd " .. shell.quoted(folder),
  })
end

local function run(script, options)
  return run_host("states", 1, OPENED .. PRELUDE .. script, options)
end

-- What the sanitizers would call leaks is left on purpose: it is the parent's.
local function without_leaks()
  local given = os.getenv "ASAN_OPTIONS"
  return given and { ASAN_OPTIONS = given .. ":detect_leaks=0" } or nil
end

-- Pending where there is no compiler; but where all is there, `make static` has to work.
local function check_archive()
  local pipe <close> = assert(io.popen "uname -s")
  local system = pipe:read "a"
  if archive or system ~= "Linux\n" or not process.has "objcopy" then return end
  error(no_archive)
end

setup(function()
  p = proxy.start()
  folder, remove = child.directory()
  archive, no_archive = static.archive()
  if archive then host, no_host = process.host(archive) else no_host = no_archive end
  check_archive()
end)
teardown(function()
  p:stop()
  remove()
end)
before_each(function()
  p:reset()
  p:set { key = KEY }
end)

describe("libmjtask.a", function()
  it("has two global symbols", function()
    if not archive then return pending(no_archive) end
    local names = {}
    for _, line in ipairs(lines_of("nm -g --defined-only " .. archive .. " 2> /dev/null")) do
      names[#names + 1] = line:match "^%x+ %a _?([%w_]+)$"
    end
    if #names == 0 then return pending "not run: there is no nm that lists them" end
    table.sort(names)
    assert.same({ "luaopen_mjtask", "luaopen_mjtask_core" }, names)
  end)

  it("holds every Lua file of the library, under the name that require knows", function()
    if not host then return pending(no_host) end
    local output, status = run [[
      for name in pairs(package.preload) do print(name) end
    ]]
    assert.equal(0, status, output)
    local expected = { "mjtask.core" }
    for _, file in ipairs(lines_of "find lua -name '*.lua' ! -path 'lua/mjtask/cli/*'") do
      local name = file:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
      expected[#expected + 1] = name
    end
    table.sort(expected)
    local names = {}
    for name in output:gsub("alive\n$", ""):gmatch "[^\n]+" do names[#names + 1] = name end
    table.sort(names)
    assert.same(expected, names)
  end)

  it("has a Lua file as soon as there is one, and as long", function()
    local copy, remove_copy = child.directory()
    finally(remove_copy)
    assert(process.build("cp -R Makefile src lua " .. copy))
    -- The C text that the archive is compiled from, as make finds it after `change`.
    local function sources(change)
      assert(process.build(("cd %s && %s && make -s BUILD=build build/static/sources.c")
        :format(copy, change)))
      local file <close> = assert(io.open(copy .. "/build/static/sources.c"))
      return file:read "a"
    end
    local row = '{"mjtask.new.room", "@mjtask/new/room.lua", '
    local function has(text) return text:find(row, 1, true) ~= nil end
    assert.is_false(has(sources ":"))
    assert.is_true(has(sources "mkdir lua/mjtask/new; echo 'return 7' > lua/mjtask/new/room.lua"))
    -- In the future, because make does not see what is as old as what it has made.
    local other = sources("echo 'return 8' > lua/mjtask/new/room.lua; "
      .. "touch -t 203801010000 lua/mjtask/new/room.lua")
    assert.is_true(other:find("114,101,116,117,114,110,32,56,10};", 1, true) ~= nil)
    assert.is_false(has(sources "rm lua/mjtask/new/room.lua"))
    assert.is_false(pcall(sources, "echo 'return (' > lua/mjtask/new.lua"))
  end)
end)

describe("a host with libmjtask.a", function()
  it("fetches, waits, decodes and downloads without a Lua file of ours", function()
    if not host then return pending(no_host) end
    p:task(SKU, { life = "short", fields = { imageUrl = "{here}/attachments/ghost.png" } })
    local output, status = run [[
      assert(not package.searchpath("mjtask.client", package.path))
      local mj <close> = new()
      print(mj:fetch(id).status)
      local task = assert(mj:wait(id))
      print(task.status, task:button("U1").label)
      print(mj:download(task, "ghost.png"))
      print(mjtask.decode('{"id":"5","status":"SUCCESS"}'):outcome())
      print(select(2, mj:fetch "5").kind)
    ]]
    assert.equal("SUBMITTED\nSUCCESS\tU1\nghost.png\nsuccess\nnot_found\nalive\n", output)
    assert.equal(0, status)
    local file <close> = assert(io.open(folder .. "/ghost.png", "rb"))
    assert.equal("\x89PNG", file:read(4))
    assert(os.remove(folder .. "/ghost.png"))
  end)

  it("has calls by callback, many tasks at a time, and the rooms for loops", function()
    if not host then return pending(no_host) end
    for n = 1, 3 do p:task("173503048000000" .. n, { life = "done" }) end
    local output, status = run [[
      local ids, ended = { "1735030480000001", "1735030480000002", "1735030480000003" }, 0
      local fetched
      local mj <close> = new()
      mj:fetch(id, function(task) fetched = task.id end)
      mj:watch(ids, function(_, task) if task then ended = ended + 1 end end)
      while mj:step() do end
      print(fetched, ended)
      print(type(require "mjtask.loop.timer".loop))
      print(pcall(require, "mjtask.loop.luv")) -- which is there, and needs luv
    ]]
    assert.matches("^" .. SKU .. "\t3\nfunction\n"
      .. "false\tmjtask/loop/luv%.lua:%d+: module 'luv' not found", output)
    assert.equal(0, status)
  end)

  it("sees our files and lines in a traceback", function()
    if not host then return pending(no_host) end
    p:task(SKU, { life = "done" })
    local output = run [[
      print(debug.getinfo(mjtask.new, "S").source, debug.getinfo(mjtask.new, "S").linedefined)
      new():wait(id, { progress = function() error "the callback's" end })
    ]]
    local line = debug.getinfo(require "mjtask".new, "S").linedefined
    assert.matches("^@mjtask/init%.lua\t" .. line .. "\n", output)
    assert.matches("the callback's", output, 1, true)
    assert.matches("\n\tmjtask/schedule%.lua:%d+: in ", output)
  end)

  it("without lua-cjson cannot submit or press, and is told so in a line", function()
    if not host then return pending(no_host) end
    local output, status = run [[
      local mj <close> = new()
      print(pcall(mj.submit, mj, "imagine", { prompt = "a cat" }))
      print(pcall(mj.press, mj, id, "U1"))
    ]]
    local line = "false\tsubmits and presses need lua-cjson: module 'cjson' not found\n"
    assert.equal(line .. line .. "alive\n", output)
    assert.equal(0, status)
    assert.equal(0, #p:log())
  end)

  for _, how in ipairs { "archive", "module" } do
    it("submits and presses with lua-cjson linked in: the " .. how, function()
      if not host then return pending(no_host) end
      local cjson = static.cjson()[how]
      if not cjson then return pending("not run: lua-cjson is not there as " .. how) end
      local with, reason = process.host(("-DWITH_CJSON %s %s"):format(archive, cjson))
      assert.is_truthy(with, reason)
      p:task(SKU, { life = "done" })
      p:set { submit = { life = "done" } }
      local output, status = run([[
        package.preload.cjson = luaopen_cjson
        local mj <close> = new()
        print(mj:wait(assert(mj:submit("imagine", { prompt = "a cat" }))).status)
        print(mj:wait(assert(mj:press(id, "U1"))).status)
      ]], { host = with })
      assert.equal("SUCCESS\nSUCCESS\nalive\n", output)
      assert.equal(0, status)
    end)
  end
end)

describe("luaopen_mjtask", function()
  -- A script that opens by itself.
  local function opens(expected, script)
    if not host then return pending(no_host) end
    local output, status = run_host("states", 1, script)
    assert.equal(expected .. "alive\n", output)
    assert.equal(0, status)
  end

  it("gives the same table each time, whoever asks", function()
    opens("true\ttrue\ttrue\n", [[
      package.path, package.cpath = "", ""
      local mjtask = luaopen_mjtask()
      print(mjtask == luaopen_mjtask(), mjtask == require "mjtask", mjtask == package.loaded.mjtask)
    ]])
    opens("true\ttrue\ttrue\n", OPENED .. [[
      package.path, package.cpath = "", ""
      local mjtask = require "mjtask"
      print(mjtask == luaopen_mjtask(), mjtask == require "mjtask", mjtask == package.loaded.mjtask)
    ]])
  end)

  it("is content with a package that was trimmed", function()
    opens(require "mjtask"._VERSION .. "\nfunction\n", [[
      package.searchers[2], package.searchers[3], package.searchers[4] = nil, nil, nil
      package.preload, package.loaded, package.path, package.cpath = nil, nil, nil, nil
      package = nil
      print(luaopen_mjtask()._VERSION)
      print(type(require "mjtask.core".decode))
    ]])
  end)

  it("says what it needs where there is no package library", function()
    local said = "false\tmjtask needs require: open the library \"package\" first "
      .. "(luaL_openlibs does, or luaopen_package)\n"
    opens(said, [[
      require = nil
      print(pcall(luaopen_mjtask))
    ]])
    opens(said, [[
      debug.getregistry()._PRELOAD = nil
      print(pcall(luaopen_mjtask))
    ]])
  end)

  it("wins over files on disk, and leaves alone what the host has put into preload", function()
    local disk, remove_disk = child.directory()
    finally(remove_disk)
    assert(os.execute(("mkdir %s/mjtask"):format(disk)))
    for _, name in ipairs { "mjtask", "mjtask/errors", "mjtask/core", "mjtask/providers" } do
      local file <close> = assert(io.open(("%s/%s.lua"):format(disk, name), "w"))
      assert(file:write "error 'from disk'")
    end
    opens("true\tthe host's\n", ([[
      package.path = "%s/?.lua"
      local providers = { own = "the host's" }
      package.preload["mjtask.providers"] = function() return providers end
      package.preload.mjtask = luaopen_mjtask
      local mjtask = require "mjtask"
      print(mjtask.decode '{"id":"5"}' ~= nil, mjtask.providers.own)
    ]]):format(disk))
  end)

  it("comes too late where our files have been loaded from disk, and says nothing", function()
    opens("true\n", [[
      local disk = {}
      package.loaded.mjtask = disk
      print(luaopen_mjtask() == disk)
    ]])
  end)
end)

describe("a host with libmjtask.a and many states", function()
  it("runs 16 threads with a state each", function()
    if not host then return pending(no_host) end
    p:task(SKU, { life = "done" })
    local output, status = run_host("threads", 16, OPENED .. PRELUDE .. [[
      for _ = 1, 2 do
        local mj <close> = new()
        for _ = 1, 4 do
          local task, err = mj:fetch(id)
          assert(task and task.id == id, tostring(err))
        end
        assert(mj:wait(id):outcome() == "success")
      end
    ]])
    assert.equal("alive\n", output)
    assert.equal(0, status)
    assert.equal(16 * 2 * 5, #p:log())
  end)

  for how, count in pairs { states = 4, threads = 16 } do
    it("may close them while answers are under way: " .. how, function()
      if not host then return pending(no_host) end
      p:set { fault = { delay = 2 } } -- late, whatever else this machine does
      local output, status = run_host(how, count, OPENED .. PRELUDE .. [[
        HELD = { fly() } -- to be closed by lua_close
        for n = 4, 5 do
          HELD[n] = new()
          HELD[n]:fetch(id, function(_, err) io.write(n .. " " .. err.kind .. "\n") end)
          HELD[n]:watch({ id, "17350304800000" }, function() end)
          HELD[n]:step(0.01)
        end
        HELD[5]:close()
        local closed = fly()
        closed:close()
        fly() -- to be collected, perhaps by lua_close
        collectgarbage()
        local file = core.file "never.png"
        HELD[3] = core.engine { url = url, auth = "none" }
        HELD[3]:download({ url = url .. "/attachments/ghost.png", file = file }, 1)
        HELD[3]:step(0.01)
      ]])
      assert.equal(("5 closed\n"):rep(count) .. "alive\n", output)
      assert.equal(0, status)
      assert.same({}, lines_of(("ls -A %s"):format(shell.quoted(folder)))) -- nothing of the files
    end)
  end
end)

describe("a host with libmjtask.a that forks", function()
  local CHILDREN = {
    ["exits at once"] = "exit(0)",
    ["exits"] = "os.exit(0)",
    ["closes the state"] = "os.exit(0, true)",
    ["closes the client"] = "mj:close() engine:close() exit(0)",
    ["makes a client of its own"] = "assert(new():fetch(id).id == id) os.exit(0, true)",
  }
  for name, script in pairs(CHILDREN) do
    it("loses nothing to a child that " .. name, function()
      if not host then return pending(no_host) end
      p:task(SKU, { life = "done", script = { "pass", { delay = 0.1 } } })
      local output, status = run([[
        local mj = new()
        assert(mj:fetch(id).id == id)
        local engine, transfer = core.engine { url = url, auth = "raw", key = key }
        engine:start({ path = path, timeout = 5 }, 1)
        engine:step(0)
        engine:step(0.01)
        local pid = fork()
        if pid == 0 then
          local ok, problem = pcall(function()
            for _, call in ipairs { "fetch", "wait", "seed", "cancel" } do
              local ok, problem = pcall(mj[call], mj, id)
              assert(not ok and problem:find "before the fork", problem)
            end
            ]] .. script .. [[
          end)
          print(problem)
          exit(9)
        end
        print(wait(pid))
        assert(mj:fetch(id).id == id)
        repeat
          engine:step(1)
          transfer = select(2, engine:next())
        until transfer
        print(transfer:answer().id == id)
      ]], { env = without_leaks() })
      assert.equal("0\ntrue\nalive\n", output)
      assert.equal(0, status)
      assert.equal(name:find "own" and 3 or 2, p:connections())
    end)
  end
end)

describe("examples/embed", function()
  local program, no_program

  -- Built by the commands in its first comment, but into a directory of ours.
  setup(function()
    if not archive then no_program = no_archive return end
    local file <close> = assert(io.open "examples/embed/embed.c")
    local command = file:read "a":match "\n     (cc %-o .-)\n\n"
    program = process.scratch "embed"
    command = command:gsub("^cc ", process.cc() .. " ")
      :gsub("build/embed", program):gsub("build/static/libmjtask.a", archive)
    local output
    output, no_program = process.build(command)
    if not output then program = nil end
  end)

  local function embed(words, env)
    local names = {}
    for name, value in pairs(NOWHERE) do names[#names + 1] = name .. "=" .. value end
    for name, value in pairs(env or {}) do names[#names + 1] = name .. "=" .. value end
    local pipe = assert(io.popen(("cd %s && env %s %s %s 2>&1"):format(shell.quoted(folder),
      table.concat(names, " "), shell.quoted(program), words)))
    local output = pipe:read "a"
    return output, select(3, pipe:close())
  end

  local SHOWN = "SUCCESS 100 %\nstatus\tSUCCESS\n"
    .. "U1\tMJ::JOB::upsample::1::3182402e-79db-44e7-b9d7-0e63b94539d1\n"
    .. "image\thttps://cdn.discordapp.com/attachments/"

  it("waits for a task and tells of it, with URL and key from the environment", function()
    if not program then return pending(no_program) end
    local output, status = embed(SKU, { MJTASK_URL = p.url, MJTASK_KEY = KEY })
    assert.equal(SHOWN, output:sub(1, #SHOWN))
    assert.equal(0, status)
    assert.equal(1, #p:log())
  end)

  it("takes them as arguments, too", function()
    if not program then return pending(no_program) end
    local output, status = embed(("%s %s %s"):format(SKU, p.url, KEY))
    assert.equal(SHOWN, output:sub(1, #SHOWN))
    assert.equal(0, status)
  end)

  it("says what went wrong, in a line, and ends with 1", function()
    if not program then return pending(no_program) end
    local env = { MJTASK_URL = p.url, MJTASK_KEY = KEY }
    local output, status = embed("1", env)
    assert.matches("^embed: not_found: [^\n]+\n$", output)
    assert.equal(1, status)
    output, status = embed("", env)
    assert.equal("embed: usage: embed ID [URL [KEY]]\n", output)
    assert.equal(1, status)
    output, status = embed("1 ftp://x", env)
    assert.matches("^embed: [^\n]*options%.url [^\n]*\n$", output)
    assert.equal(1, status)
  end)
end)
