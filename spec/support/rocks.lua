-- LuaRocks for specs: run with a home of its own, so that nobody's rocks and settings are seen or
-- touched; rocks made of folders; and a folder of rocks as its only server, so that no network is
-- asked. Must not know what is in a rock.
--
--   local room <close> = rocks.room()
--   room:pack(rockspec, folder)          -- a rock of sources, for the server
--   room:publish()                       -- the server's manifest
--   room:luarocks("--tree", tree, "--only-server", room.server, "install", "mjtask")

local child = require "support.child"
local process = require "support.process"
local shell = require "support.shell"

local rocks = {}

local LIMIT = 300 -- seconds for one command, which may compile

local methods = {}
local mt = { __index = methods }

--- Why there is no LuaRocks for Lua 5.4 here, or nil.
---@return string?
function rocks.missing()
  for _, name in ipairs { "luarocks", "luarocks-admin", "zip", "unzip", "tar", "make", "gcc" } do
    if not process.has(name) then return ("not run: there is no %s"):format(name) end
  end
  if os.execute "[ $(uname) = Darwin ]" then
    return "not run: LuaRocks must be told where Homebrew has libcurl"
  end
end

-- Runs words of a shell; returns what they printed, and whether all went well. The sanitizers'
-- library is not for other programs.
local function run(words)
  local pipe = assert(io.popen("LD_PRELOAD=; export LD_PRELOAD; exec 2>&1; " .. words))
  local output = pipe:read "a"
  return output, pipe:close() == true
end

local function checked(words)
  local output, ok = run(words)
  return ok and output or error(output, 2)
end

function rocks.room()
  local path, remove = child.directory()
  local self = setmetatable({ path = path, server = path .. "/server", remove = remove }, mt)
  checked(("cd %s && mkdir home server"):format(shell.quoted(path)))
  return self
end

function methods:close() self.remove() end

mt.__close = methods.close

local function joined(words)
  local quoted = {}
  for at, word in ipairs(words) do quoted[at] = shell.quoted(word) end
  return table.concat(quoted, " ")
end

-- LuaRocks may be of another Lua: the modules of this one are only for what it starts.
local ENVIRONMENT = [[env -i PATH="$PATH" HOME=%s LUA_PATH_5_4=%s LUA_CPATH_5_4=%s timeout %d %s ]]
  .. "--lua-version 5.4 %s"

local function call(self, program, words, directory)
  return run(("cd %s && exec "):format(shell.quoted(directory or self.path)) .. ENVIRONMENT:format(
    shell.quoted(self.path .. "/home"), shell.quoted(package.path), shell.quoted(package.cpath),
    LIMIT, program, joined(words)))
end

--- Runs luarocks. Returns its output, both streams, and whether it went well.
---@param ... string
---@return string output
---@return boolean ok
function methods:luarocks(...)
  return call(self, "luarocks", { ... })
end

--- The same in another folder than the room's.
function methods:luarocks_in(directory, ...)
  return call(self, "luarocks", { ... }, directory)
end

local function name_of(rockspec)
  local rock = {}
  assert(load(rockspec, "rockspec", "t", rock))()
  return ("%s-%s"):format(rock.package, rock.version)
end

--- Makes a rock of sources for the server: the rockspec's text, and the folder as an archive, which
--- takes the place of whatever `source` says.
---@param rockspec string
---@param folder string its last name is that which a release's folder would have
function methods:pack(rockspec, folder)
  local name, parent, base = name_of(rockspec), folder:match "^(.*)/([^/]+)$"
  local archive = ("%s/%s.tar.gz"):format(self.path, base)
  checked(("tar -C %s -czf %s %s"):format(shell.quoted(parent), shell.quoted(archive),
    shell.quoted(base)))
  local source = ("source = { url = %q }"):format("file://" .. archive)
  local text, count = rockspec:gsub("source = %b{}", function() return source end)
  assert(count == 1, "the rockspec has no source")
  local path = ("%s/%s.rockspec"):format(self.path, name)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
  file:flush()
  local output, ok = self:luarocks("pack", path)
  assert(ok, output)
  checked(("mv %s/%s.src.rock %s"):format(shell.quoted(self.path), name, shell.quoted(self.server)))
end

--- A rock of sources that somebody has fetched: from the folder that MJTASK_ROCKS names, else among
--- what LuaRocks keeps. Copies it to the server, and returns its name; nil if LuaRocks keeps none.
--- Raises if a folder is named that has none: who names one wants no stand-in.
---@param name string
---@return string?
function methods:take(name)
  local named = os.getenv "MJTASK_ROCKS"
  local folder = named and shell.quoted(named) or '"${XDG_CACHE_HOME:-$HOME/.cache}/luarocks"'
  local found = run(("find %s -name %s -type f 2>/dev/null | sort | tail -n 1"):format(folder,
    shell.quoted(name .. "-[0-9]*.src.rock"))):match "[^\n]+"
  if not found and named then error(("there is no %s in %s (MJTASK_ROCKS)"):format(name, named)) end
  if not found then return nil end
  checked(("cp %s %s"):format(shell.quoted(found), shell.quoted(self.server)))
  return found:match "[^/]+$"
end

local STAND_IN = [[
rockspec_format = "3.0"
package = %q
version = "%s-1"
source = { }
description = { summary = "A stand-in: what this machine has of it, as it was built here." }
build = { type = "none", install = { %s = { [%q] = %q } } }
]]

--- A stand-in for a rock of one module: the file that `require` finds on this machine, with the
--- version that it tells. Returns its name; or nil and why there is none.
---@param name string
---@param module string
---@param version? string
---@return string? name
---@return string? reason
function methods:stand_in(name, module, version)
  local path, kind = package.searchpath(module, package.path), "lua"
  if not path then path, kind = package.searchpath(module, package.cpath), "lib" end
  if not path or not version then return nil, "not run: there is no " .. name end
  local folder, file = ("%s/%s-%s"):format(self.path, name, version), path:match "[^/]+$"
  checked(("mkdir %s && cp -L %s %s/%s"):format(shell.quoted(folder), shell.quoted(path),
    shell.quoted(folder), shell.quoted(file)))
  self:pack(STAND_IN:format(name, version, kind, module, file), folder)
  return ("%s-%s-1.src.rock"):format(name, version)
end

--- Makes the server's manifest of what lies there.
function methods:publish()
  local output, ok = call(self, "luarocks-admin", { "make-manifest", self.server })
  assert(ok, output)
end

--- The files and links below a folder, sorted.
---@param folder string
---@return string[]
function rocks.files(folder)
  local list = {}
  local output = checked(("cd %s && find . ! -type d | sort"):format(shell.quoted(folder)))
  for path in output:gmatch "%./([^\n]+)" do list[#list + 1] = path end
  return list
end

--- Copies the checkout, without what was built in it.
---@param checkout string
---@param folder string
function rocks.copy(checkout, folder)
  checked(("mkdir -p %s && tar -C %s --exclude=./build --exclude=./.git -cf - . | tar -C %s -xf -")
    :format(shell.quoted(folder), shell.quoted(checkout), shell.quoted(folder)))
end

return rocks
