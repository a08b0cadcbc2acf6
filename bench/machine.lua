-- The machine that is measured on: its cores, which programs and modules it has, and how a command
-- is run on one core in an environment of its own. Knows no measurement.

local shell = require "support.shell"

local machine = {}

local LIMIT = 300 -- seconds after which a command that should have ended is ended

--- A command's output, both streams; nil if it failed, and what it said.
---@param command string
---@return string? output
---@return string? reason
function machine.output(command)
  local pipe = assert(io.popen(command .. " 2>&1 </dev/null"))
  local text = pipe:read "a"
  if pipe:close() then return text end
  return nil, text
end

local function first_line(command)
  local text = machine.output(command)
  return text and text:match "%S[^\n]*"
end

--- Where a program lies; nil if nowhere.
---@param name string
---@return string?
function machine.find(name)
  return first_line("PATH=$PATH:/usr/sbin command -v " .. shell.quoted(name))
end

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

machine.read = read

-- ---- cores --------------------------------------------------------------------------------------

-- The first two cores that this process may use: of the clients, of the server. Nil: one for all.
local function find_cores()
  local list = read "/proc/self/status":match "Cpus_allowed_list:%s*(%S+)" or ""
  local cores = {}
  for from, to in list:gmatch "(%d+)%-?(%d*)" do
    for core = tonumber(from), tonumber(to) or tonumber(from) do cores[#cores + 1] = core end
  end
  if #cores < 2 or not machine.find "taskset" then return nil, #cores end
  return { client = cores[1], server = cores[2] }, #cores
end

machine.cores, machine.count = find_cores()

--- Words that put a command on the clients' core.
---@return string
function machine.pin()
  return machine.cores and ("taskset -c %d "):format(machine.cores.client) or ""
end

--- Moves a process to the server's core.
---@param pid integer
function machine.pin_server(pid)
  if not machine.cores then return end
  assert(machine.output(("taskset -a -p -c %d %d"):format(machine.cores.server, pid)))
end

-- ---- commands -----------------------------------------------------------------------------------

--- The checkout, as an absolute path: clients run in it, but who knows.
machine.root = first_line "pwd"
--- The folder of the build, below the checkout, and the word that starts Lua: the Makefile's.
machine.build = os.getenv "BUILD" or "build"
machine.lua_command = (os.getenv "LUA" or "lua5.4") .. " "

--- Words that start one of our programs in C.
---@param name string
---@return string
function machine.program(name)
  return shell.quoted(("%s/%s/bench/%s"):format(machine.root, machine.build, name))
end

--- A command in an environment that holds only what it needs, so that no proxy, no certificates and
--- no settings of this machine's user take part.
---@param command string
---@param env table<string, any>
---@return string
function machine.command(command, env)
  local words = {
    "exec env -i PATH=" .. shell.quoted(os.getenv "PATH"), "HOME=/nonexistent", "LANG=C.UTF-8",
    "LUA_PATH=" .. shell.quoted(package.path),
    "LUA_CPATH=" .. shell.quoted(package.cpath),
  }
  for name, value in pairs(env) do words[#words + 1] = name .. "=" .. shell.quoted(value) end
  return table.concat(words, " ") .. " " .. command
end

--- Runs a command on the clients' core. Returns its output, and seconds: wall, cpu (user and system
--- time, of all that it started and waited for). Nil and why if it fails.
---@param command string
---@param env table<string, any>
---@return string? output
---@return { wall: number, cpu: number }|string cost
function machine.measure(command, env)
  local line = ("%s%s %d %s"):format(machine.pin(), machine.program "measure", LIMIT, command)
  local pipe = assert(io.popen("exec 2>&1 </dev/null; " .. machine.command(line, env)))
  local output = pipe:read "a"
  local ok = pipe:close()
  local wall, user, system = output:match "measured ([%d.]+) ([%d.]+) ([%d.]+)\n$"
  if not ok or not wall then return nil, ("%s\nfailed: %s"):format(command, output) end
  return output, { wall = tonumber(wall), cpu = tonumber(user) + tonumber(system) }
end

-- ---- what there is ------------------------------------------------------------------------------

--- Debian's Python, whose modules are Debian's; else whatever is called so.
machine.python = machine.find "/usr/bin/python3" or "python3"

-- A command and the pattern of a version in its first line; or what a Python or a Lua has to have.
local probes = {
  curl = "curl --version | ^curl (%S+)",
  libcurl = "curl-config --version | %d%S*",
  lua = machine.lua_command .. "-v | Lua (%S+)",
  nginx = "PATH=$PATH:/usr/sbin nginx -v | nginx/(%S+)",
  node = "node --version | %S+",
  valgrind = "valgrind --version | %d%S*",
  -- where it is, it may still be forbidden
  strace = "strace -o /dev/null true && strace --version | version (%S+)",
  gnuplot = "gnuplot --version | gnuplot (.*)",
  openssl = "openssl version | OpenSSL (%S+)",
  requests = "python requests", httpx = "python httpx", aiohttp = "python aiohttp",
  luasocket = [[lua print(require "socket"._VERSION:match "%d%S*")]],
  luasec = [[lua print(require "ssl"._VERSION)]],
  ["lua-cjson"] = [[lua print(require "cjson"._VERSION)]],
  dkjson = [[lua print((require "dkjson".version:gsub("dkjson ", "")))]],
  lpeg = [[lua local v = require "lpeg".version print(type(v) == "function" and v() or v)]],
  ["lua-http"] = [[lua local old = ";/usr/share/lua/5.3/?.lua;/usr/share/lua/5.2/?.lua"
    package.path = package.path .. old
    require "http.request" print(require "http.version".version)]],
}

local function probe(how)
  local command, pattern = how:match "^(.*) | (.*)$"
  if command then return (first_line(command) or ""):match(pattern) end
  local language, code = how:match "^(%l+) (.*)$"
  if language == "python" then
    return first_line(("%s -c 'import %s; print(%s.__version__)' 2>/dev/null"):format(
      machine.python, code, code))
  end
  return first_line(machine.lua_command .. "-e " .. shell.quoted(code) .. " 2>/dev/null")
end

local known = {}

--- A program's or a module's version; nil if it is not here.
---@param name string
---@return string?
function machine.version(name)
  if known[name] == nil then
    known[name] = probe(probes[name]) or false
  end
  return known[name] or nil
end

--- Name and version of all that there is, sorted.
---@return string[]
function machine.versions()
  local list = {}
  for name in pairs(probes) do
    local version = machine.version(name)
    if version then list[#list + 1] = name .. " " .. version end
  end
  table.sort(list)
  return list
end

--- The machine in one line.
---@return string
function machine.name()
  local cpu = read "/proc/cpuinfo":match "model name%s*:%s*([^\n]+)" or "unknown processor"
  local debian = read "/etc/os-release":match 'PRETTY_NAME="([^"]+)"' or "unknown system"
  return ("%s, %d cores (%s), %s, Linux %s"):format(cpu, machine.count,
    machine.cores and "one for the server, one for the client" or "not pinned", debian,
    first_line "uname -r" or "?")
end

return machine
