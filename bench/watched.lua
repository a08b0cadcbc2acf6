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

local LUA = "lua5.4 "

local function env_of(server, path, tasks, interval)
  return { BASE = server.plain .. path, TASKS = tasks, INTERVAL = interval, SECONDS = LONG }
end

local function has_had(server, before, requests)
  return function() return server:counts().requests - before.requests >= requests end
end

--- A watch of tasks that do not end: what a look costs in the course of `seconds`, and how many
--- connections there were in all.
---@param server table
---@param path string "/large" or "/running"
---@param tasks integer
---@param interval number
---@param seconds number at least; and until nearly all have been looked at
---@return { cpu: number, wall: number, looks: integer, connections: integer }
function watched.look(server, path, tasks, interval, seconds)
  local start = server:counts()
  local process <close> = observe.start(LUA .. "bench/own/watch.lua",
    env_of(server, path, tasks, interval))
  -- All once, and some a second time: so it is in its stride.
  process:wait(has_had(server, start, math.ceil(1.1 * tasks) + 1), PATIENCE)
  local before, first = server:counts(), process:usage()
  local enough = has_had(server, before, math.ceil(0.8 * tasks))
  local till = socket.gettime() + seconds
  process:wait(function() return socket.gettime() >= till and enough() end, PATIENCE)
  local last, after = process:usage(), server:counts()
  local looks = after.requests - before.requests
  return {
    cpu = (last.cpu - first.cpu) / looks, wall = (last.time - first.time) / looks, looks = looks,
    connections = after.connections - start.connections,
  }
end

--- A row for the rounds: a thousand tasks as large as the seed, looked at as often as mjtask does.
--- Notes in `facts.connections` the most there were.
---@param server table
---@param facts table
function watched.group(server, facts)
  local row = {
    key = "watch", name = "mjtask, 1,000 tasks watched, a look", own = true,
    measure = function(_, scale)
      local seen = watched.look(server, "/large", 1000, LEAST, math.max(4 * scale, 0.5))
      facts.connections = math.max(facts.connections or 0, seen.connections)
      facts.looks = seen.looks
      return seen
    end,
  }
  return { key = "watch", title = "1,000 tasks watched, no lists", anchor = "fetch_16",
    rows = { row }, unit = "look", timeless = true }
end

--- What a waiting task takes, in bytes: of Lua's heap, of the process's memory, of that at its
--- peak.
---@param server table
---@param tasks integer
---@return { heap: number, rss: number, peak: number }
function watched.memory(server, tasks)
  local output = machine.measure(LUA .. "bench/own/waiting.lua",
    { BASE = server.plain .. "/running", TASKS = tasks })
  local heap, rss, peak = output:match "memory (%-?%d+) (%-?%d+) (%-?%d+)"
  if not heap then error(output, 0) end
  return { heap = tonumber(heap), rss = tonumber(rss), peak = tonumber(peak) }
end

--- How the cost of a look and of waiting grows with the number of tasks.
---@param server table
---@param sizes integer[]
---@param seconds number
---@param tell fun(line: string)
---@return table[] rows { tasks, cpu, looks, interval, heap, rss, peak }
function watched.growth(server, sizes, seconds, tell)
  local rows = {}
  for _, tasks in ipairs(sizes) do
    local interval = math.max(LEAST, tasks / RATE)
    local row = watched.look(server, "/running", tasks, interval, seconds)
    for name, bytes in pairs(watched.memory(server, tasks)) do row[name] = bytes end
    row.tasks, row.interval = tasks, interval
    rows[#rows + 1] = row
    tell(("%d tasks watched"):format(tasks))
  end
  return rows
end

-- ---- quiet --------------------------------------------------------------------------------------

local function start_quiet(server, tasks, before)
  local start = server:counts()
  local process = observe.start(LUA .. "bench/own/watch.lua",
    env_of(server, "/running", tasks, QUIET), before)
  process:wait(has_had(server, start, tasks + 1), PATIENCE)
  socket.sleep(SETTLED)
  return process
end

-- System calls of a trace that began in the given seconds.
local function calls_between(path, from, to)
  local count, names = 0, {}
  for line in machine.read(path):gmatch "[^\n]+" do
    local time, name = line:match "^%d+%s+([%d.]+) ([%w_]+)%("
    time = tonumber(time)
    if time and time >= from and time < to then
      count = count + 1
      names[#names + 1] = name
    end
  end
  return count, table.concat(names, " ")
end

-- What `listen(process)` gives of one that has looked at all its tasks, and how many looks fell
-- into that time nevertheless.
local function in_the_pause(server, tasks, before, listen)
  local process <close> = start_quiet(server, tasks, before)
  local requests = server:counts().requests
  local heard = listen(process)
  heard.looks = server:counts().requests - requests
  return heard
end

local function trace_pause(server, tasks)
  local path = os.tmpname()
  local words = "strace -f -qq -ttt -o " .. path
  local heard = in_the_pause(server, tasks, words, function()
    local from = socket.gettime()
    socket.sleep(LISTENED)
    return { from = from, to = socket.gettime() }
  end)
  heard.calls, heard.names = calls_between(path, heard.from, heard.to) -- all written: it has ended
  os.remove(path)
  return heard
end

--- A process that waits for many tasks, in the pause between its looks: seconds of CPU, wake-ups;
--- and the system calls that strace counts in another such process (nil: no strace). `looks`: that
--- fell into the pause, on a machine that is too busy; then it tells nothing.
---@param server table
---@param tasks integer
---@return { seconds: number, cpu: number, wakeups: integer, calls?: integer, names?: string,
---  looks: integer }
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
    quiet.calls, quiet.names = traced.calls, traced.names
    quiet.looks = quiet.looks + traced.looks
  end
  return quiet
end

return watched
