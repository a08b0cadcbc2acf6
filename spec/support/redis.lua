-- redis-server on a port of its own, with a password, its files in a folder of its own; and
-- lua-redis to ask it. Knows nothing of what is kept there.
--
--   local missing = redis.missing()       -- nil, or why it cannot run
--   local r = redis.start()               -- r:stop() in teardown; or <close>
--   r.url, r.path                         -- for scripts: MJTASK_REDIS, LUA_PATH
--   r:ask("XLEN", "mjtask:tasks")         -- the answer
--   r:crash() r:go_on()                   -- kill -9; started again, it knows what it knew
--   r:written()                           -- all that was ever changed in it, as it logs that

local child = require "support.child"
local program = require "support.program"
local shell = require "support.shell"

local redis = {
  -- Debian has lua-redis for older Luas; it runs.
  path = package.path .. ";/usr/share/lua/5.3/?.lua",
}

local methods = {}
local mt = { __name = "redis", __index = methods }

local WORD = "a-word"
local TRIES = 3 -- a port found free may be taken by the time it is bound
local SECONDS = 5 -- for an answer, and for the start

-- The client as a module of our own: not in reach of other specs.
local function client_of()
  local path = assert(package.searchpath("redis", redis.path))
  return assert(loadfile(path))()
end

--- Nil if it can run here, else what is missing.
---@return string?
function redis.missing()
  if not program.find "redis-server" then return "redis-server is not installed" end
  if not package.searchpath("redis", redis.path) then return "lua-redis is not installed" end
end

-- Also the sanitizers' runtime is not for it: it has an allocator of its own.
local COMMAND = "env -u LD_PRELOAD sh -c %s"
local SERVER = "echo pid $$; exec %s --bind 127.0.0.1 --port %d --requirepass %s --dir %s"
  .. " --save '' --appendonly yes --appendfsync no"

local function launch(self)
  self.program = program.start(COMMAND:format(shell.quoted(SERVER:format(
    program.find "redis-server", self.port, WORD, shell.quoted(self.folder)))))
  local said
  program.until_true(function()
    said = self.program:output()
    return said:find("Ready to accept connections", 1, true) or said:find("bind: ", 1, true)
  end, SECONDS)
  self.pid = said:match "pid (%d+)\n"
  return said:find("Ready to accept connections", 1, true) and true or nil, said
end

function redis.start()
  local folder, remove = child.directory()
  local self = setmetatable({ folder = folder, remove = remove }, mt)
  local said
  for _ = 1, TRIES do
    self.port = program.port()
    self.url = ("redis://:%s@127.0.0.1:%d"):format(WORD, self.port)
    local ok
    ok, said = launch(self)
    if ok then return self end
    self.program:stop()
  end
  remove()
  error("redis-server did not start: " .. said, 2)
end

--- One command, its answer. Raises what Redis refuses.
function methods:ask(command, ...)
  if not self.client then
    local client = client_of()
    self.client = client.connect { host = "127.0.0.1", port = self.port, timeout = SECONDS }
    self.client:auth(WORD)
    self.command = client.command
  end
  return self.command(command)(self.client, ...)
end

function methods:crash()
  os.execute("kill -9 " .. self.pid)
  self.program:stop()
  self.client = nil
end

function methods:go_on()
  assert(launch(self))
end

--- Its log of what was changed, in which every argument of a command stands as it is.
---@return string
function methods:written()
  local pipe <close> = assert(io.popen("cat " .. shell.quoted(self.folder) .. "/appendonlydir/*"))
  return pipe:read "a"
end

function methods:stop()
  self.program:stop()
  self.remove()
end

mt.__close = methods.stop

return redis
