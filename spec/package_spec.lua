-- What is shipped: the rockspecs against each other and the tree, and what the core exports. Must
-- not install anything: that is rocks_spec's.

local mjtask = require "mjtask"
local process = require "support.process"
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

local function load_rock (path)
  local rock = {}
  assert(loadfile(path, "t", rock))()
  return rock
end

-- "1.0.0" of "1.0.0-1": the sources' version, without the rockspec's own revision.
local function number_of (rock)
  return assert(rock.version:match "^(.+)%-%d+$", rock.version)
end

-- Is it released, as the CHANGELOG says: has it a section, with a day?
local function is_released (number)
  local file <close> = assert(io.open "CHANGELOG.md")
  for found in file:read "a":gmatch "\n## %[?([%d.]+)%]? %- %d%d%d%d%-%d%d%-%d%d\n" do
    if found == number then return true end
  end
  return false
end

local SCM = "mjtask-scm-1.rockspec"

describe("the rockspec of what is in the tree", function ()
  local rock = load_rock(SCM)
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
  local rocks = { [SCM] = load_rock(SCM) }
  for _, path in ipairs(output "ls rockspecs/*.rockspec") do rocks[path] = load_rock(path) end

  it("are named after what they hold, and fetch the tag of that number", function ()
    for path, rock in pairs(rocks) do
      local name = ("%s-%s.rockspec"):format(rock.package, rock.version)
      assert.equal(name, path:match "[^/]+$")
      local tag = path ~= SCM and "v" .. number_of(rock) or nil
      assert.equal(tag, rock.source.tag, path)
    end
    assert.equal("scm", number_of(rocks[SCM]))
  end)

  it("have the version that the module tells; a number has its day in the CHANGELOG", function ()
    local known = {}
    for _, rock in pairs(rocks) do known[number_of(rock)] = true end
    assert(known[mjtask._VERSION], mjtask._VERSION)
    assert.equal(mjtask._VERSION ~= "scm", is_released(mjtask._VERSION))
  end)

  it("are the same but for the version, if they are of the tree or of what comes next", function ()
    local compared = 0
    for path, rock in pairs(rocks) do
      local number = number_of(rock)
      if path ~= SCM and (number == mjtask._VERSION or not is_released(number)) then
        local expected = load_rock(SCM)
        expected.version, expected.source.tag = rock.version, rock.source.tag
        assert.same(expected, rock, path)
        compared = compared + 1
      end
    end
    assert(compared <= 1, "there is more than one to come")
  end)

  it("are lint clean", function ()
    if not process.has "luarocks" then return pending "not run: luarocks is not installed" end
    for path in pairs(rocks) do
      local said, reason = process.build("luarocks --lua-version 5.4 lint " .. shell.quoted(path))
      assert.equal("", said, reason)
    end
  end)
end)

describe("the core", function ()
  it("exports what require looks for, and nothing else", function ()
    local path = assert(package.searchpath("mjtask.core", package.cpath))
    local names = {}
    for _, line in ipairs(output("nm -D --defined-only '" .. path .. "' 2>/dev/null")) do
      names[#names + 1] = line:match "%S+$"
    end
    if #names == 0 then return pending "not run: there is no nm that lists them" end
    assert.same({ "luaopen_mjtask_core" }, names)
  end)
end)
