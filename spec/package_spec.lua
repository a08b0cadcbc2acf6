-- What is shipped: the rockspecs against each other and the tree, and what the core exports. Must
-- not install anything: that is rocks_spec's.

local mjtask = require "mjtask"
local process = require "support.process"
local program = require "support.program"
local releases = require "support.releases"
local shell = require "support.shell"

local function output (command)
  local pipe <close> = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  return lines
end

local function sorted (list)
  table.sort(list)
  return list
end

local scm
local others = {} -- the rockspecs of releases, and of the next
for _, one in ipairs(releases.rockspecs()) do
  if one.path == "mjtask-scm-1.rockspec" then scm = one else others[#others + 1] = one end
end

describe("the rockspec of what is in the tree", function ()
  local rock = scm.rock
  local modules = rock.build.modules

  it("lists the Lua files that there are, under their names", function ()
    local expected = {}
    for _, path in ipairs(output "find lua -name '*.lua'") do
      local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
      expected[name] = path
    end
    local listed = {}
    for name, module in pairs(modules) do
      if type(module) == "string" then listed[name] = module end
    end
    assert.same(expected, listed)
  end)

  it("lists the C files that there are, but for those that only libmjtask.a needs", function ()
    assert.same(sorted(output "ls src/*.c"), sorted(modules["mjtask.core"].sources))
  end)

  it("installs the command line, documents, types, and the folders of the simulator", function ()
    assert.same({ "bin/mjtask" }, rock.build.install.bin)
    assert.same({ "docs", "examples", "library", "spec/fixtures", "spec/support" },
      rock.build.copy_directories)
    for _, path in ipairs { "docs/errors.md", "examples/watch.lua", "library/mjtask.lua",
      "spec/fixtures/sku.json", "spec/support/serving.lua" } do
      assert(io.open(path)):close()
    end
  end)
end)

-- A release's rockspec cannot read the other, so it says the same again. Once it is released it may
-- fall behind.
describe("the rockspecs", function ()
  it("are named after what they hold, and fetch the tag of that number", function ()
    for _, one in ipairs { scm, table.unpack(others) } do
      local name = ("%s-%s.rockspec"):format(one.rock.package, one.rock.version)
      assert.equal(one == scm and name or "rockspecs/" .. name, one.path)
      assert.equal(one ~= scm and "v" .. one.number or nil, one.rock.source.tag)
    end
    assert.equal("scm", scm.number)
  end)

  it("have the version that the module tells; a number has its day in the CHANGELOG", function ()
    local current = mjtask._VERSION == "scm" and scm
    for _, one in ipairs(others) do
      if one.number == mjtask._VERSION and one.released then current = one end
    end
    assert(current, mjtask._VERSION)
  end)

  it("say the same of the next release as of the tree, but for the version", function ()
    for _, one in ipairs(others) do
      if one.current then
        local rock, expected = {}, {}
        load(one.text, one.path, "t", rock)()
        load(scm.text, scm.path, "t", expected)()
        rock.version, rock.source.tag = expected.version, nil
        assert.same(expected, rock)
      end
    end
  end)

  it("are lint clean", function ()
    if not process.has "luarocks" then return pending "not run: luarocks is not installed" end
    for _, one in ipairs { scm, table.unpack(others) } do
      local lint = "luarocks --lua-version 5.4 lint " .. shell.quoted(one.path)
      local said, reason = process.build(lint)
      assert.equal("", said, reason)
    end
  end)
end)

describe("make -s env", function ()
  local SCRIPT = [[unset LD_PRELOAD MAKEFLAGS LUA_PATH LUA_CPATH LUA_PATH_5_4 LUA_CPATH_5_4
    %s; eval "$(make -s env)"; %s -e "print(package.path) print(package.cpath)"]]

  for before, rest in pairs {
    [":"] = "", ["export LUA_PATH='/x/?.lua;;' LUA_CPATH='/x/?.so'"] = ";/x/?%s",
    ["export LUA_PATH_5_4='/x/?.lua' LUA_CPATH_5_4=/x/?.so LUA_PATH=/y/?.lua"] = ";/x/?%s",
    ["export LUA_PATH_5_4= LUA_CPATH=/x/?.so"] = false,
  } do
    it("lets Lua find the checkout first, after: " .. before, function ()
      local lines = output("sh -c " .. shell.quoted(SCRIPT:format(before,
        shell.quoted(shell.interpreter()))))
      local path = ("%s/lua/?.lua;%s/lua/?/init.lua"):format(program.root, program.root)
      local cpath = program.root .. "/build/lib/?.so"
      local function starts (line, with)
        assert.equal(with .. ";", line:sub(1, #with + 1))
      end
      starts(lines[1], path .. (rest and rest:format ".lua" or ""))
      starts(lines[2], cpath .. (rest and rest:format ".so" or ";/x/?.so"))
    end)
  end
end)

describe("the core", function ()
  local path = assert(package.searchpath("mjtask.core", package.cpath))

  it("is bound when it is loaded, read-only then, stays, and has no code on its stack", function ()
    local text = table.concat(output("readelf -Wld '" .. path .. "' 2> /dev/null"), "\n")
    if text == "" then return pending "not run: there is no readelf that knows it" end
    assert.matches("BIND_NOW", text, 1, true)
    assert.matches("NODELETE", text, 1, true)
    assert.matches("GNU_RELRO", text, 1, true)
    assert.matches("GNU_STACK[%sx%d]+ RW ", text)
  end)

  it("guards its frames", function ()
    local text = table.concat(output("nm -D --undefined-only '" .. path .. "' 2> /dev/null"), "\n")
    if text == "" then return pending "not run: there is no nm that lists them" end
    assert.matches("__stack_chk_fail", text, 1, true)
  end)

  it("exports what require looks for, and nothing else", function ()
    local names = {}
    for _, line in ipairs(output("nm -D --defined-only '" .. path .. "' 2> /dev/null")) do
      names[#names + 1] = line:match "%S+$"
    end
    if #names == 0 then return pending "not run: there is no nm that lists them" end
    if table.concat(names, " "):find "__gcov" then
      return pending "not run: a build that counts lines exports its counters"
    end
    assert.same({ "luaopen_mjtask_core" }, names)
  end)
end)
