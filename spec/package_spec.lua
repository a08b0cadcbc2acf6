-- What is shipped: the rockspec against the tree, and what the core exports.

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

describe("the rockspec", function ()
  local rock = {}
  assert(loadfile("mjtask-scm-1.rockspec", "t", rock))()
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

  it("installs the command line, and the folders of the simulator", function ()
    assert.same({ "bin/mjtask" }, rock.build.install.bin)
    assert.same({ "spec/fixtures", "spec/support" }, rock.build.copy_directories)
    for _, name in ipairs { "fixtures/sku.json", "support/serving.lua" } do
      io.open("spec/" .. name):close()
    end
  end)

  it("has the version that the module tells", function ()
    assert.equal(rock.version:match "^(.*)%-%d+$", require "mjtask"._VERSION)
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
