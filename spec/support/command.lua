-- bin/mjtask as a process of its own, with streams and an environment to order: run to its end, in
-- the background, or on a terminal. The host's own server, key and proxies do not reach it.
--
--   command.run({ "fetch", id }, { url = p.url })   -- { out =, err =, code = }
--   local c <close> = command.start({ "wait", id }, { url = p.url })
--   c:interrupt(); c:result()

local child = require "support.child"
local program = require "support.program"
local shell = require "support.shell"

local command = {}

local LIMIT = 20 -- seconds for one in the background to end

-- As in spec/run.lua: so that its collector works as hard as ours.
local COLLECTOR = {
  incremental = "collectgarbage('incremental', 1, 200, 10)",
  generational = "collectgarbage('generational', 256)",
}

-- So that `make coverage` counts its lines, too.
local LINES = ("dofile %q"):format(program.root .. "/spec/support/lines.lua")

local HIDDEN = "-u MJTASK_URL -u MJTASK_PROVIDER -u MJTASK_KEY -u MJTASK_AUTH -u NO_COLOR "
  .. "-u http_proxy -u https_proxy -u HTTPS_PROXY -u all_proxy -u ALL_PROXY -u no_proxy -u NO_PROXY"

-- The words of a shell that run it.
local function line(words, options)
  local given = { TERM = "xterm" }
  if options.url then given.MJTASK_URL, given.MJTASK_KEY = options.url, options.key or "the-key" end
  for name, value in pairs(options.env or {}) do given[name] = value end
  local parts = { "env", HIDDEN }
  for name, value in pairs(given) do parts[#parts + 1] = name .. "=" .. shell.quoted(value) end
  parts[#parts + 1] = shell.quoted(shell.interpreter())
  local collector = COLLECTOR[os.getenv "MJTASK_GC"]
  if collector then parts[#parts + 1] = "-e " .. shell.quoted(collector) end
  if os.getenv "MJTASK_LINES" then parts[#parts + 1] = "-e " .. shell.quoted(LINES) end
  parts[#parts + 1] = shell.quoted(options.program or program.root .. "/bin/mjtask")
  for _, word in ipairs(words) do parts[#parts + 1] = shell.quoted(word) end
  return table.concat(parts, " ")
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local function quoted_sh(script)
  return "sh -c " .. shell.quoted(script)
end

--- Runs it to its end. Options: url (of the server, with a key), key, env, input (its standard
--- input), directory (where it runs), program (a script in its place), around (shell commands in
--- which %s stands for it).
---@param words string[]
---@param options? table
---@return { out: string, err: string, code: integer }
function command.run(words, options)
  options = options or {}
  local folder, remove = child.directory()
  write(folder .. "/in", options.input or "")
  local text = line(words, options)
  if options.around then text = options.around:gsub("%%s", function() return text end) end
  local script = ("{ %s; } <%s/in >%s/out 2>%s/err"):format(text, folder, folder, folder)
  local output, code = program.run(quoted_sh(script), { directory = options.directory })
  local result = { out = read(folder .. "/out"), err = read(folder .. "/err"), code = code }
  remove()
  assert(output == "", output)
  return result
end

local methods = {}
local mt = { __index = methods }

--- Starts it in the background. Options as for run, but without around.
---@param words string[]
---@param options? table
function command.start(words, options)
  options = options or {}
  local folder, remove = child.directory()
  write(folder .. "/in", options.input or "")
  local self = setmetatable({ folder = folder, remove = remove }, mt)
  self.program = program.start(quoted_sh(([[
    %s <%s/in >%s/out 2>%s/err &
    cd %s; echo $! >pid.new; mv pid.new pid; wait $!; echo $? >code.new; mv code.new code]])
    :format(line(words, options), folder, folder, folder, folder)),
    { directory = options.directory })
  local path = folder .. "/pid"
  assert(program.until_true(function() return read(path) end), "it does not start")
  self.pid = read(path):match "%d+"
  return self
end

function methods:out() return read(self.folder .. "/out") or "" end
function methods:err() return read(self.folder .. "/err") or "" end

--- Ctrl-C, as a terminal sends it.
function methods:interrupt()
  assert(os.execute("kill -INT " .. self.pid))
end

--- How it ended, as run tells it.
function methods:result()
  local ended = program.until_true(function() return read(self.folder .. "/code") end, LIMIT)
  assert(ended, "it does not end")
  local code = math.tointeger(tonumber(read(self.folder .. "/code")))
  return { out = self:out(), err = self:err(), code = code }
end

function methods:close()
  os.execute(("kill %s 2>/dev/null"):format(self.pid))
  program.until_true(function() return read(self.folder .. "/code") end)
  self.program:stop()
  self.remove()
end

mt.__close = methods.close

--- Runs it on a terminal of that size. Returns all that the terminal was sent; or nil and why there
--- is none. Options: url, key, env; keys, shell commands whose output is typed.
---@param words string[]
---@param columns integer
---@param rows integer
---@param options? table
---@return string? bytes
---@return integer|string code
function command.on_terminal(words, columns, rows, options)
  local version = program.run "sh -c 'script --version'"
  if not version:find "util%-linux" then return nil, "not run: there is no script of util-linux" end
  options = options or {}
  local inner = ("stty cols %d rows %d; exec %s"):format(columns, rows, line(words, options))
  local script = "script -qec " .. shell.quoted(inner) .. " /dev/null"
  if options.keys then script = ("{ %s; } | %s"):format(options.keys, script) end
  return program.run(quoted_sh(script))
end

return command
