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
    wakeups = sum(folder, "status", "\nvoluntary_ctxt_switches:%s*(%d+)"), -- not nonvoluntary
    time = socket.gettime(),
  }
end

-- One that has ended is a zombie until we close its pipe.
local function has_ended(self)
  local state = machine.read(("/proc/%d/stat"):format(self.pid)):match ".*%) (%a)"
  return not state or state == "Z"
end

-- Of a command that runs another (strace does) that one, and it ends by itself.
local function kill(self)
  local children = machine.read(("/proc/%d/task/%d/children"):format(self.pid, self.pid))
  os.execute(("kill -TERM %s 2>/dev/null"):format(children:match "%d+" or self.pid))
end

--- Waits until `what()` is true. Nil, and why with the process's own words, if that takes longer
--- than `seconds` or the process ends; then it is of no more use.
---@param what fun(): any
---@param seconds number
---@return true?
---@return string? reason
function methods:wait(what, seconds)
  local deadline = socket.gettime() + seconds
  while not what() do
    if has_ended(self) then return nil, "the process has ended: " .. self.pipe:read "a" end
    if socket.gettime() > deadline then
      kill(self)
      return nil, ("the process was too slow, %g s: %s"):format(seconds, self.pipe:read "a")
    end
    socket.sleep(STEP)
  end
  return true
end

--- Ends it, if it has not ended, and waits for that.
function methods:stop()
  if not self.pipe then return end
  kill(self)
  self.pipe:close()
  self.pipe = nil
end

mt.__close = methods.stop

--- A list for processes that run at a time: to be kept in a `<close>` variable, which ends them.
---@return table
function observe.list()
  return setmetatable({}, {
    __close = function(list)
      for _, process in ipairs(list) do process:stop() end
    end,
  })
end

return observe
