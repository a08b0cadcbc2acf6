-- What waiting costs: CPU of a look while many tasks are watched, memory of each, and that nothing
-- happens between looks. Knows the server's tasks that do not end.

local socket = require "socket"
local machine = require "bench.machine"
local observe = require "bench.observe"

local watched = {}

local LONG = 100000 -- seconds that a watch may last
local PATIENCE = 120 -- seconds in which every task has had a look
local RATE = 8000 -- looks a second that a watch of very many tasks is to make
local LEAST = 0.1 -- seconds between two looks of one task: the shortest that mjtask takes
local QUIET = 5 -- seconds between looks of the process that is to be quiet
local SETTLED, LISTENED = 0.3, 2 -- seconds after the first looks, and of the pause before the next

local PROGRAM = machine.lua_command .. "bench/own/watch.lua"

local function env_of(server, path, tasks, interval)
  return { BASE = server.plain .. path, TASKS = tasks, INTERVAL = interval, SECONDS = LONG }
end

local function has_had(server, before, requests)
  return function() return server:counts().requests - before.requests >= requests end
end

--- A watch of tasks that do not end: what a look costs in the course of `seconds`, and how many
--- connections there were in all. Nil and why.
---@param server table
---@param path string "/large", "/running" or "/listed"
---@param tasks integer
---@param interval number
---@param seconds number at least; and until nearly all have been looked at
---@param per? integer looks that a request makes: 1
---@return { cpu: number, wall: number, looks: integer, connections: integer }?
---@return string? reason
function watched.look(server, path, tasks, interval, seconds, per)
  per = per or 1
  local start = server:counts()
  local process <close> = observe.start(PROGRAM, env_of(server, path, tasks, interval))
  -- All once, and some a second time: so it is in its stride.
  local strides = has_had(server, start, math.ceil(1.1 * tasks / per) + 1)
  local ok, why = process:wait(strides, PATIENCE)
  if not ok then return nil, why end
  local before, first = server:counts(), process:usage()
  local enough = has_had(server, before, math.ceil(0.8 * tasks / per))
  local till = socket.gettime() + seconds
  ok, why = process:wait(function() return socket.gettime() >= till and enough() end, PATIENCE)
  if not ok then return nil, why end
  -- In the same order as before: both have run equally long.
  local after, last = server:counts(), process:usage()
  local looks = per * (after.requests - before.requests)
  return {
    cpu = (last.cpu - first.cpu) / looks, wall = (last.time - first.time) / looks, looks = looks,
    connections = after.connections - start.connections,
  }
end

--- Rows for the rounds: tasks as large as the seed, looked at as often as mjtask does; a thousand
--- one by one, and a hundred by lists of them all. Notes in `facts.connections` the most there were
--- of the thousand.
---@param server table
---@param facts table
function watched.group(server, facts)
  local row = {
    key = "watch", name = "mjtask, 1,000 tasks watched, a look", own = true,
    measure = function(_, scale)
      local seen, why = watched.look(server, "/large", 1000, LEAST, math.max(4 * scale, 0.5))
      if not seen then return nil, why end
      facts.connections = math.max(facts.connections or 0, seen.connections)
      return seen
    end,
  }
  local listed = {
    key = "watch_listed", name = "mjtask, 100 tasks watched by lists, a look", own = true,
    measure = function(_, scale)
      return watched.look(server, "/listed", server.listed, LEAST, math.max(4 * scale, 0.5),
        server.listed)
    end,
  }
  return { title = "Tasks watched", anchor = "fetch_16", rows = { row, listed },
    unit = "look", timeless = true }
end

--- What a waiting task takes, in bytes: of Lua's heap, of the process's memory, of that at its
--- peak. Nil and why.
---@param server table
---@param tasks integer
---@return { heap: number, rss: number, peak: number }?
---@return string? reason
function watched.memory(server, tasks)
  local output, why = machine.measure(machine.lua_command .. "bench/own/waiting.lua",
    { BASE = server.plain .. "/running", TASKS = tasks })
  if not output then return nil, why end
  local heap, rss, peak = output:match "memory (%-?%d+) (%-?%d+) (%-?%d+)"
  if not heap then return nil, output end
  return { heap = tonumber(heap), rss = tonumber(rss), peak = tonumber(peak) }
end

-- What a look and waiting cost with so many tasks; nil and why.
local function with(server, tasks, interval, seconds)
  local row, why = watched.look(server, "/running", tasks, interval, seconds)
  if not row then return nil, why end
  local memory, reason = watched.memory(server, tasks)
  if not memory then return nil, reason end
  for name, bytes in pairs(memory) do row[name] = bytes end
  return row
end

--- How the cost of a look and of waiting grows with the number of tasks.
---@param server table
---@param sizes integer[]
---@param seconds number
---@param tell fun(line: string)
---@return table[] rows { tasks, interval, cpu, looks, connections, heap, rss, peak }, or
---  { tasks, interval, missing = why, failed }
function watched.growth(server, sizes, seconds, tell)
  local rows = {}
  for n, tasks in ipairs(sizes) do
    local interval = math.max(LEAST, tasks / RATE)
    local row, why = with(server, tasks, interval, seconds)
    rows[n] = row or { missing = "it failed", failed = true }
    rows[n].tasks, rows[n].interval = tasks, interval
    tell(("%d tasks watched%s"):format(tasks, row and "" or ": failed: " .. why))
  end
  return rows
end

-- ---- quiet --------------------------------------------------------------------------------------

-- System calls of a trace that began in the given seconds.
local function calls_between(path, from, to)
  local all, count = 0, 0
  for line in machine.read(path):gmatch "[^\n]+" do
    local time = tonumber(line:match "^%d+%s+([%d.]+) [%w_]+%(")
    if time then all = all + 1 end
    if time and time >= from and time < to then count = count + 1 end
  end
  assert(all > 0, "no line of strace's is understood")
  return count
end

-- What `listen(process)` gives of one that has looked at all its tasks, and how many looks fell
-- into that time nevertheless.
local function in_the_pause(server, tasks, before, listen)
  local start = server:counts()
  local process <close> = observe.start(PROGRAM, env_of(server, "/running", tasks, QUIET), before)
  assert(process:wait(has_had(server, start, tasks + 1), PATIENCE))
  socket.sleep(SETTLED)
  local requests = server:counts().requests
  local heard = listen(process)
  heard.looks = server:counts().requests - requests
  return heard
end

local function trace_pause(server, tasks)
  local path = server.folder .. "/trace"
  local words = "strace -f -qq -ttt -o " .. path
  local heard = in_the_pause(server, tasks, words, function()
    local from = socket.gettime()
    socket.sleep(LISTENED)
    return { from = from, to = socket.gettime() }
  end)
  heard.calls = calls_between(path, heard.from, heard.to) -- all written: it has ended
  return heard
end

--- A process that waits for many tasks, in the pause between its looks: seconds of CPU, wake-ups;
--- and the system calls that strace counts in another such process (nil: no strace). `looks`: that
--- fell into the pause, on a machine that is too busy; then it tells nothing. Raises if it fails.
---@param server table
---@param tasks integer
---@return { seconds: number, cpu: number, wakeups: integer, calls?: integer, looks: integer }
function watched.quiet(server, tasks)
  local quiet = in_the_pause(server, tasks, nil, function(process)
    local before = process:usage()
    socket.sleep(LISTENED)
    local after = process:usage()
    return { cpu = after.cpu - before.cpu, wakeups = after.wakeups - before.wakeups }
  end)
  quiet.seconds = LISTENED
  if machine.version "strace" then
    local traced = trace_pause(server, tasks)
    quiet.calls = traced.calls
    quiet.looks = quiet.looks + traced.looks
  end
  return quiet
end

return watched
