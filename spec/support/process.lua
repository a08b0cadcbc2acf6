-- Processes for specs, with more to order than child.lua has: what stands before the command, and
-- which program runs the script: an interpreter, or a C host compiled here.

local shell = require "support.shell"

local process = {}

local folder -- made when first needed, removed when the specs end

--- Is the core built with sanitizers? They do not go with strace, and count what is left on
--- purpose.
function process.is_sanitized()
  return (os.getenv "LD_PRELOAD" or ""):find("asan", 1, true) ~= nil
end

function process.has(program)
  return os.execute("command -v " .. shell.quoted(program) .. " > /dev/null 2>&1") == true
end

-- Removed by __gc when the state closes: busted has no hook for the end of all.
local function scratch(name)
  if not folder then
    folder = setmetatable({ path = os.tmpname() }, {
      __gc = function(self) os.execute("rm -r " .. shell.quoted(self.path)) end,
    })
    os.remove(folder.path)
    assert(os.execute("mkdir -m 700 " .. shell.quoted(folder.path)))
  end
  return folder.path .. "/" .. name
end

-- So that a child's collector works as hard as ours.
local COLLECTOR = {
  incremental = "collectgarbage('incremental', 1, 1000) ",
  generational = "collectgarbage 'generational' ",
}

-- Where the child finds the modules: as this process does.
local function environment(extra)
  local words = {
    "-u LUA_INIT", "-u LUA_INIT_5_4",
    "LUA_PATH_5_4=" .. shell.quoted(package.path), "LUA_CPATH_5_4=" .. shell.quoted(package.cpath),
  }
  for name, value in pairs(extra or {}) do
    words[#words + 1] = name .. "=" .. shell.quoted(value)
  end
  return table.concat(words, " ")
end

local serial = 0

--- The path of a file with this text, which lives as long as the specs run.
---@param text string
---@param name? string
---@return string
function process.file(text, name)
  serial = serial + 1
  local path = scratch(name or "script" .. serial .. ".lua")
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
  return path
end

--- Runs `script` and returns its output (both streams), its status (a signal: its number, negative)
--- and the seconds it took. `options`: args; shell (commands before it), wrap (words put before
--- the runner), runner (words, in place of the interpreter), env.
---@param script string Lua
---@param options? table
---@return string output
---@return integer status
---@return number seconds
function process.run(script, options)
  options = options or {}
  local words = { shell.quoted(process.file((COLLECTOR[os.getenv "MJTASK_GC"] or "") .. script)) }
  for _, word in ipairs(options.args or {}) do words[#words + 1] = shell.quoted(word) end
  local command = ("exec 2>&1; %s; exec env %s %s %s %s"):format(
    options.shell or ":", environment(options.env), options.wrap or "",
    options.runner or shell.quoted(shell.interpreter()), table.concat(words, " "))
  local now = require "socket".gettime
  local started = now()
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  local _, how, status = pipe:close()
  return output, how == "signal" and -status or status, now() - started
end

local function flags_of(package, version)
  local pipe = assert(io.popen(("pkg-config --cflags --libs '%s%s' 2> /dev/null")
    :format(package, version or "")))
  local flags = pipe:read "a"
  if pipe:close() then return (flags:gsub("%s+", " ")) end
end

local function lua_flags()
  for _, name in ipairs { "lua5.4", "lua-5.4", "lua54", "lua" } do
    local flags = flags_of(name, " >= 5.4")
    if flags then return flags end
  end
end

--- Runs a command that compiles, without the sanitizers' LD_PRELOAD, which would find leaks in the
--- compiler.
---@param command string
---@return string? output nil: it failed
---@return string? reason
function process.build(command)
  local pipe = assert(io.popen("LD_PRELOAD=; exec 2>&1; " .. command))
  local output = pipe:read "a"
  if pipe:close() then return output end
  return nil, ("not run: %s says %s"):format(command:match "^%S+", output)
end

--- A path among those that go when the specs end.
---@param name string
---@return string
function process.scratch(name)
  serial = serial + 1
  return scratch(name .. serial)
end

--- What links programs with the archive of the build under test.
function process.cc()
  return process.is_sanitized() and "gcc -fsanitize=address,undefined" or "cc"
end

--- Compiles host.c and returns what runs it; or nil and why not. The linker exports all of Lua's
--- functions, as it must in a host that loads modules.
---@param static? string what links libmjtask.a
---@return string? runner
---@return string? reason
function process.host(static)
  if not process.has "cc" then return nil, "not run: there is no cc" end
  local flags = lua_flags()
  if not flags then return nil, "not run: pkg-config knows no Lua 5.4" end
  local path = shell.quoted(process.scratch "host")
  local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$"
  local compiler = static and process.cc() .. " -DSTATIC" or "cc"
  if static then static = static .. " " .. (flags_of "libcurl" or "-lcurl") end
  local output, reason = process.build(
    ("%s -std=c99 -O1 -g -Wall -Wextra -o %s %s %s %s -Wl,-E -lpthread -ldl -lm"):format(
      compiler, path, shell.quoted(here .. "/host.c"), static or "", flags))
  return output and path, reason
end

local shims = {} -- name -> path

--- Compiles shims/NAME.c, once. Returns the path of what is to be loaded before the C library, and
--- what LD_PRELOAD must say for it; or nil and why not.
---@param name string
---@return string? path
---@return string preload or the reason
function process.shim(name)
  if not shims[name] then
    if not process.has "cc" then return nil, "not run: there is no cc" end
    local flags = lua_flags()
    if not flags then return nil, "not run: pkg-config knows no Lua 5.4" end
    local path = process.scratch "shim" .. ".so"
    local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$"
    local output, reason = process.build(
      ("cc -std=gnu99 -O1 -g -Wall -Wextra -fPIC -shared -o %s %s/shims/%s.c %s -ldl"):format(
        shell.quoted(path), shell.quoted(here), name, flags))
    if not output then return nil, reason end
    shims[name] = path
  end
  return shims[name], (os.getenv "LD_PRELOAD" or "") .. " " .. shims[name]
end

return process
