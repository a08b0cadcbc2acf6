-- What a user of LuaRocks gets: the rock of the next release (if there is none yet, of the tree),
-- from a server that has it and what it depends on, into a tree that is empty. The server is a
-- folder; nothing is fetched. What mjtask depends on are rocks of sources: those in the folder that
-- MJTASK_ROCKS names, which must have them, or those that LuaRocks keeps; else stand-ins, which
-- hold the modules that this machine has.

local program = require "support.program"
local releases = require "support.releases"
local rocks = require "support.rocks"
local shell = require "support.shell"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

-- The version that a module of this machine tells.
local function told(module, field)
  local ok, value = pcall(require, module)
  return ok and value[field] or nil
end

describe("a release", function()
  local newest = releases.newest()
  local number = newest.number
  local room, reason, checkout, tree

  -- As RELEASING.md has it: the rockspec's number in the sources, and nothing else.
  local function release()
    checkout = ("%s/mjtask-%s"):format(room.path, number)
    rocks.copy(program.root, checkout)
    local path = checkout .. "/lua/mjtask/init.lua"
    local text, count = read(path):gsub('_VERSION = "[^"]*"', ('_VERSION = "%s"'):format(number))
    assert(count == 1)
    write(path, text)
    room:pack(newest.text, checkout)
  end

  setup(function()
    reason = rocks.missing()
    if reason then return end
    room = rocks.room()
    release()
    local _
    for name, module in pairs { ["lua-cjson"] = "cjson", argparse = "argparse" } do
      local version = told(module, module == "cjson" and "_VERSION" or "version")
      local rock = room:take(name)
      if not rock then _, reason = room:stand_in(name, module, version) end
      if reason then return end
    end
    room:publish()
  end)

  teardown(function()
    if room then room:close() end
  end)

  -- Runs luarocks with a tree, and with our server alone.
  local function luarocks(there, ...)
    local output, ok = room:luarocks("--tree", there, "--only-server", room.server, ...)
    assert(ok, output)
    return output
  end

  local function installed(there)
    local names = {}
    for name in luarocks(there, "list", "--porcelain"):gmatch "([%w-]+)\t[^\n]*\tinstalled\t" do
      names[#names + 1] = name
    end
    return names
  end

  -- Its command line, from anywhere; all modules are the tree's.
  local function mjtask(there, words)
    return program.run(shell.quoted(there .. "/bin/mjtask") .. " " .. words,
      { directory = "/", env = { LUA_PATH = "", LUA_CPATH = "", LD_PRELOAD = "" } })
  end

  local function works(there)
    local path = ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(there, there)
    local output, code = program.run(shell.interpreter() .. " -e " .. shell.quoted [[
      local mjtask = require "mjtask"
      print(mjtask._VERSION, mjtask.decode '{"id":"1","status":"SUCCESS"}':outcome())
      print((require "cjson".encode { "x" }))]], { directory = "/", env = {
        LUA_PATH = path, LUA_CPATH = there .. "/lib/lua/5.4/?.so", LD_PRELOAD = "",
      } })
    assert.same({ number .. "\tsuccess\n[\"x\"]\n", 0 }, { output, code })
    assert.same({ "mjtask " .. number .. "\n", 0 }, { mjtask(there, "--version") })
    output, code = mjtask(there, "--help")
    assert.matches("^Usage: mjtask ", output)
    assert.equal(0, code)
  end

  -- The simulator of the tree. It wants luasocket, which is this machine's.
  local function simulates(there)
    local own, id = shell.quoted(there .. "/bin/mjtask"), "1735030480754475"
    local server <close> = program.start(own .. " simulate --port 0",
      { directory = "/", env = { LD_PRELOAD = "" } })
    assert(program.until_true(function() return server:output():find "mjtask press" end),
      server:output())
    local url = server:output():match "^(http://127%.0%.0%.1:%d+) answers "
    local output, code = program.run(own .. " fetch " .. id,
      { directory = "/", env = { MJTASK_URL = url, MJTASK_AUTH = "none", LD_PRELOAD = "" } })
    assert.matches("^id +" .. id .. "\n", output)
    assert.equal(0, code)
  end

  -- The path of a tree into which it was installed by name; the same for who only looks.
  local function shared()
    if not tree then
      tree = room.path .. "/tree"
      luarocks(tree, "install", "mjtask")
    end
    return tree
  end

  it("is installed by name with what it depends on, and works", function()
    if reason then return pending(reason) end
    assert.same({ "argparse", "lua-cjson", "mjtask" }, installed(shared()))
    works(shared())
    simulates(shared())
  end)

  it("exports what require looks for, and nothing else, though LuaRocks knows no -fvisibility",
    function()
      if reason then return pending(reason) end
      local path = shared() .. "/lib/lua/5.4/mjtask/core.so"
      local output, code = program.run("nm -D --defined-only " .. shell.quoted(path))
      assert.equal(0, code, output)
      local names = {}
      for name in output:gmatch "(%S+)\n" do names[#names + 1] = name end
      assert.same({ "luaopen_mjtask_core" }, names)
    end)

  it("has in its rock the documents, the examples and the types that the checkout has", function()
    if reason then return pending(reason) end
    local own = ("%s/lib/luarocks/rocks-5.4/mjtask/%s"):format(shared(),
      newest.rock.version)
    for _, folder in ipairs { "docs", "examples", "library" } do
      local files = rocks.files(folder)
      assert(#files > 3)
      assert.same(files, rocks.files(own .. "/" .. folder))
      for _, name in ipairs(files) do
        local path = ("%s/%s"):format(folder, name)
        assert.equal(read(path), read(own .. "/" .. path), path)
      end
    end
  end)

  it("is installed without a compiler from a rock that was built", function()
    if reason then return pending(reason) end
    local other = room.path .. "/other"
    local rock = luarocks(shared(), "pack", "mjtask"):match "Packed: ([^\n]+%.rock)"
    assert.not_matches("%.src%.rock$", rock)
    for _, name in ipairs { "lua-cjson", "argparse" } do luarocks(other, "install", name) end
    luarocks(other, "install", rock, "CC=false", "LD=false")
    works(other)
  end)

  it("leaves nothing behind when it is removed, nor does what it depends on", function()
    if reason then return pending(reason) end
    local output, ok = room:luarocks("--tree", shared(), "remove", "lua-cjson")
    assert.is_false(ok)
    assert.matches("would break dependencies for: *\nmjtask ", output)
    for _, name in ipairs { "mjtask", "lua-cjson", "argparse" } do
      luarocks(shared(), "remove", name)
    end
    assert.same({ "lib/luarocks/rocks-5.4/manifest" }, rocks.files(tree))
    tree = nil
  end)

  it("is tested by `luarocks test` in a checkout in which nothing is built", function()
    if reason then return pending(reason) end
    write(checkout .. "/spec/broken_spec.lua", 'it("fails", function() assert.equal(1, 2) end)')
    local output, ok = room:luarocks_in(checkout, "test", "spec/heap_spec.lua")
    assert(ok, output)
    assert.matches("\n%d+ successes / 0 failures / 0 errors / 0 pending", output)
    output, ok = room:luarocks_in(checkout, "test", "spec/heap_spec.lua", "spec/broken_spec.lua")
    assert.is_false(ok)
    assert.matches("\n%d+ successes / 1 failure / 0 errors / 0 pending", output)
  end)
end)
