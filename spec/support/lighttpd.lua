-- lighttpd with examples/lighttpd on a port of its own, its spool in a folder of its own.
--
--   local missing = lighttpd.missing()    -- nil, or why it cannot run
--   local l = lighttpd.start()            -- l:stop() in teardown; or <close>
--   l:post(body)                          -- status, answer
--   l:spool() l:clear() l:log()

local http = require "socket.http"
local ltn12 = require "ltn12"
local socket = require "socket"
local child = require "support.child"
local program = require "support.program"
local shell = require "support.shell"

local lighttpd = {}

local methods = {}
local mt = { __name = "lighttpd", __index = methods }

local TRIES = 3 -- a port found free may be taken by the time it is bound
local SECONDS = 5 -- for an answer, and for the start

local function output_of(command)
  local pipe = assert(io.popen("LD_PRELOAD= " .. command .. " 2>&1"))
  local text = pipe:read "a"
  return pipe:close() and true or false, text
end

local folder = program.root .. "/examples/lighttpd"

--- Nil if it can run here, else what is missing.
---@return string?
function lighttpd.missing()
  local path = program.find "lighttpd"
  if not path then return "lighttpd is not installed" end
  local ok, text = output_of(("sh -c %s"):format(shell.quoted(
    ("cd %s && MJTASK_PORT=1 %s -tt -f lighttpd.conf"):format(shell.quoted(folder), path))))
  if not ok then return "lighttpd says " .. text:gsub("%s+$", "") end
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

--- Starts it. Options: spool (where it is, if elsewhere), extra (lines after the configuration).
---@param options? { spool?: string, extra?: string }
function lighttpd.start(options)
  options = options or {}
  local own, remove = child.directory()
  local self = setmetatable({ remove = remove, file = options.spool or own .. "/hints" }, mt)
  local configuration = own .. "/lighttpd.conf"
  write(configuration, ('include "%s/lighttpd.conf"\n%s\n'):format(folder, options.extra or ""))
  local command = ("%s -D -f %s"):format(program.find "lighttpd", shell.quoted(configuration))
  local said
  for _ = 1, TRIES do
    self.port = program.port()
    self.program = program.start(command, {
      directory = folder, env = { MJTASK_PORT = self.port, MJTASK_SPOOL = self.file },
    })
    program.until_true(function()
      said = self:log()
      return said:find("server started", 1, true) or said:find("can't bind", 1, true)
    end, SECONDS)
    if said:find("server started", 1, true) then return self end
    self.program:stop()
  end
  remove()
  error("lighttpd did not start: " .. said, 2)
end

local function new_socket()
  local sock = socket.tcp()
  sock:settimeout(SECONDS)
  return sock
end

--- Sends a body; gives the status and the answer's body. `options`: method, path, chunked.
---@param body string
---@param options? table
---@return integer|string status
---@return string answer
---@return table headers
function methods:post(body, options)
  options = options or {}
  local answer = {}
  local ok, status, headers = http.request {
    url = ("http://127.0.0.1:%d%s"):format(self.port, options.path or "/notify"), proxy = false,
    method = options.method or "POST", create = new_socket,
    headers = options.chunked and { ["transfer-encoding"] = "chunked" }
      or { ["content-length"] = #body },
    source = ltn12.source.string(body), sink = ltn12.sink.table(answer),
  }
  return ok and status or "no answer: " .. tostring(status), table.concat(answer), headers
end

--- A connection to it, for what post cannot say.
function methods:connect()
  local sock = new_socket()
  assert(sock:connect("127.0.0.1", self.port))
  return sock
end

--- The spool's lines.
---@return string[]
function methods:spool()
  local lines = {}
  local file <close> = io.open(self.file, "r")
  if file then
    for line in file:lines() do lines[#lines + 1] = line end
  end
  return lines
end

function methods:clear()
  os.remove(self.file)
end

--- All that it has said since its start.
function methods:log()
  return self.program:output()
end

function methods:stop()
  self.program:stop()
  self.remove()
end

mt.__close = methods.stop

return lighttpd
