-- A program beside the specs, which ends with them: where it finds the modules, what it printed,
-- and a port for it. Knows nothing of what it runs.
--
--   local server = program.start("lighttpd -D -f x.conf", { directory = d, env = { A = "1" } })
--   server:output()      -- what it has printed so far, both streams
--   server:stop()        -- or <close>
--   program.run("true", options)     -- one that ends by itself: all that it printed, its status

local socket = require "socket"
local child = require "support.child"
local process = require "support.process"
local shell = require "support.shell"

local program = {}

local methods = {}
local mt = { __name = "program", __index = methods }

local STEP = 0.02 -- seconds between two looks

local function here()
  local pipe <close> = assert(io.popen "pwd")
  return pipe:read "l"
end

-- Templates of a search path that hold from any folder.
local function absolute(path)
  return (path:gsub("[^;]+", function(template)
    return template:find "^/" and template or here() .. "/" .. template:gsub("^%./", "")
  end))
end

--- This checkout's folder.
program.root = here()

-- The sanitizers' runtime stays, as our core needs it; what the host itself leaves is not ours.
local function environment(extra)
  local words = { "LUA_PATH=" .. shell.quoted(absolute(package.path)),
    "LUA_CPATH=" .. shell.quoted(absolute(package.cpath)) }
  if process.is_sanitized() then
    local given = os.getenv "ASAN_OPTIONS" or ""
    words[#words + 1] = "ASAN_OPTIONS=" .. shell.quoted(given .. ":detect_leaks=0")
    words[#words + 1] = "LD_PRELOAD=" .. shell.quoted(os.getenv "LD_PRELOAD")
  end
  for name, value in pairs(extra or {}) do
    words[#words + 1] = name .. "=" .. shell.quoted(value)
  end
  return table.concat(words, " ")
end

--- Where a program lies, also in sbin, which is in nobody's PATH but root's; nil if nowhere.
---@param name string
---@return string?
function program.find(name)
  local pipe = assert(io.popen(("PATH=$PATH:/usr/sbin:/usr/local/sbin command -v %s 2>/dev/null")
    :format(shell.quoted(name))))
  local path = pipe:read "l"
  return pipe:close() and path or nil
end

--- A port of 127.0.0.1 that nobody has at this moment.
---@return integer
function program.port()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  listener:close()
  return math.tointeger(tonumber(port))
end

--- Does anybody listen there?
function program.listens(port)
  local sock = socket.tcp()
  sock:settimeout(0.2)
  local connected = sock:connect("127.0.0.1", port) ~= nil
  sock:close()
  return connected
end

-- A command as a shell's words, with the environment that is ours to give.
local function line(command, options)
  return ("cd %s || exit; exec env -u LUA_INIT -u LUA_INIT_5_4 -u LUA_PATH_5_4 -u LUA_CPATH_5_4 "
    .. "%s %s </dev/null"):format(shell.quoted(options.directory or program.root),
    environment(options.env), command)
end

-- The shell ends the program when its standard input ends: also when this process is killed.
local RUN = "(%s) >%s 2>&1 & child=$!; read -r line; kill $child 2>/dev/null; "
  .. "wait $child 2>/dev/null"

--- Starts it. Options: directory (where it runs; the checkout), env.
---@param command string
---@param options? { directory?: string, env?: table<string, string> }
function program.start(command, options)
  local folder, remove = child.directory()
  local self = setmetatable({ remove = remove, log = folder .. "/output" }, mt)
  local words = RUN:format(line(command, options or {}), shell.quoted(self.log))
  self.process = assert(io.popen("LD_PRELOAD= sh -c " .. shell.quoted(words), "w"))
  return self
end

local LIMIT = 20 -- seconds after which a program that should end is ended

--- Runs it to its end.
---@param command string
---@param options? { directory?: string, env?: table<string, string> }
---@return string output both streams
---@return integer status 124 if it had to be ended
function program.run(command, options)
  local words = line(("timeout -k 1 %d %s"):format(LIMIT, command), options or {}) .. " 2>&1"
  local pipe = assert(io.popen("LD_PRELOAD= sh -c " .. shell.quoted(words)))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

--- What it has printed so far.
---@return string
function methods:output()
  local file <close> = io.open(self.log, "r")
  return file and file:read "a" or ""
end

--- Looks again and again until `what()` is true; false if it is not within `seconds`.
---@param what fun(): any
---@param seconds? number 5
function program.until_true(what, seconds)
  local deadline = socket.gettime() + (seconds or 5)
  repeat
    if what() then return true end
    socket.sleep(STEP)
  until socket.gettime() > deadline
  return false
end

function methods:stop()
  if self.process then self.process:close() end
  self.process = nil
  self.remove()
end

mt.__close = methods.stop

return program
