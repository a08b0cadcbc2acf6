-- Processes that are looked at from outside while they run: what one has used of the CPU, how often
-- it woke up, what the server had of it meanwhile. Linux's /proc tells. Knows no client.

local socket = require "socket"
local machine = require "bench.machine"

local observe = {}

local methods = {}
local mt = { __name = "bench.observe", __index = methods }

local STEP = 0.02 -- seconds between two looks

--- Starts a command on the clients' core. `before`: words that go before it, such as strace's.
---@param command string
---@param env table<string, any>
---@param before? string
function observe.start(command, env, before)
  local words = machine.command(machine.pin() .. (before or "") .. " " .. command, env)
  local pipe = assert(io.popen("exec 2>&1 </dev/null; echo $$; " .. words))
  local pid = assert(math.tointeger(tonumber(pipe:read "l")))
  return setmetatable({ pipe = pipe, pid = pid }, mt)
end

local function sum(folder, file, pattern)
  local total = 0
  local pipe <close> = assert(io.popen("cat " .. folder .. "/task/*/" .. file .. " 2>/dev/null"))
  for value in pipe:read "a":gmatch(pattern) do total = total + tonumber(value) end
  return total
end

--- What all its threads have used so far: cpu (seconds), wakeups; and when that was (time).
---@return { cpu: number, wakeups: integer, time: number }
function methods:usage()
  local folder = "/proc/" .. self.pid
  return {
    cpu = sum(folder, "schedstat", "(%d+) %d+ %d+") / 1e9,
    wakeups = sum(folder, "status", "voluntary_ctxt_switches:%s*(%d+)"),
    time = socket.gettime(),
  }
end

--- Waits until `what()` is true. An error if it takes longer than `seconds`, or the process ends.
---@param what fun(): any
---@param seconds number
function methods:wait(what, seconds)
  local deadline = socket.gettime() + seconds
  while not what() do
    if machine.read(("/proc/%d/stat"):format(self.pid)) == "" then
      error("a watched process has ended: " .. self.pipe:read "a", 0)
    end
    if socket.gettime() > deadline then error("a watched process is too slow", 0) end
    socket.sleep(STEP)
  end
end

--- Ends it; of a command that runs another (strace does) that one, and it ends by itself.
function methods:stop()
  if not self.pipe then return end
  local children = machine.read(("/proc/%d/task/%d/children"):format(self.pid, self.pid))
  os.execute(("kill -TERM %s 2>/dev/null"):format(children:match "%d+" or self.pid))
  self.pipe:close()
  self.pipe = nil
end

mt.__close = methods.stop

return observe
