-- What it costs to watch many tasks: memory, CPU and requests, as a Markdown table. Against the
-- tests' local server, whose own CPU does not count. In a checkout that is built:
--   eval "$(make -s env)"; lua5.4 bench/watch.lua [seconds of an interval]

package.path = "spec/?.lua;" .. package.path

local client = require "mjtask.client"
local clock = require "support.clock"
local core = require "mjtask.core"
local proxy = require "support.proxy"

local INTERVAL = tonumber(arg and arg[1]) or 5
local INTERVALS = 3 -- that are measured
local LONG = 1e6 -- seconds

-- What a running task looks like: as short as can be; the bytes of a seed, but for its status.
local function bodies()
  local file <close> = assert(io.open("spec/fixtures/pawmaas.json", "rb"))
  local seed = file:read("a")
  local id = seed:match '"id"%s*:%s*"(%d+)"'
  return {
    small = '{"id":"{id}","status":"IN_PROGRESS","progress":"46%"}',
    seed = (seed:gsub(id, "{id}"):gsub('"SUCCESS"', '"IN_PROGRESS"')),
  }
end

local function ids_of(count)
  local ids = {}
  for n = 1, count do ids[n] = ("17350304%08d"):format(n) end
  return ids
end

-- Bytes that are in use. Tables of the interpreter's own shrink by steps.
local function memory()
  for _ = 1, 6 do collectgarbage() end
  return collectgarbage "count" * 1024
end

-- Bytes a task, ids included: once it is added, and once it was seen. In time that jumps.
local function measure_memory(server, count)
  local mj <close> = client.new({ url = server.url, auth = "none" }, clock.new())
  local before = memory()
  local watcher <close> = mj:watch(ids_of(count), {
    interval = 1000, max_interval = 1000, timeout = LONG,
  })
  local added = memory() - before
  local places = watcher.state.watch
  repeat mj:step() until mj.schedule.inflight == 0 and not next(places.taken)
  local seen = memory() - before
  return added / count, seen / count
end

-- CPU seconds and requests of an interval on the real clock, and the most connections.
local function measure_work(server, count)
  local requests = 0
  local mj <close> = client.new {
    url = server.url, auth = "none", interval = INTERVAL, max_interval = INTERVAL,
    trace = function(event) if event.event == "request" then requests = requests + 1 end end,
  }
  local watcher <close> = mj:watch(ids_of(count), { timeout = LONG })
  local function run(seconds)
    local stop = core.now() + seconds
    repeat mj:step(math.max(stop - core.now(), 0)) until core.now() >= stop
  end
  run(INTERVAL * 1.5) -- the first looks, and what is found out by them
  requests = 0
  local cpu = os.clock()
  run(INTERVAL * INTERVALS)
  cpu = os.clock() - cpu
  assert(watcher.state.watch.open == count, "tasks have ended")
  return cpu / INTERVALS, requests / INTERVALS, server:connections()
end

local server <close> = proxy.start()
local body_of = bodies()

local function prepare(row)
  server:reset()
  server:set { list = not row.lists and "no_route" or false }
  server:tasks(ids_of(row.count), { life = { body_of[row.body] } })
end

print(("An interval is %g s; a task's body has %d bytes (small) or %d (seed).\n")
  :format(INTERVAL, #body_of.small + 12, #body_of.seed + 12))
print("| watched | body | lists | bytes each, added | seen | requests an interval "
  .. "| CPU s an interval | most connections |")
print "|---|---|---|---|---|---|---|---|"
for _, row in ipairs {
  { count = 1000, body = "seed", lists = true }, { count = 10000, body = "seed", lists = true },
  { count = 10000, body = "small", lists = true }, { count = 100000, body = "small", lists = true },
  { count = 1000, body = "seed", lists = false }, { count = 10000, body = "small", lists = false },
} do
  prepare(row)
  local added, seen = measure_memory(server, row.count)
  prepare(row)
  local cpu, requests, connections = measure_work(server, row.count)
  print(("| %d | %s | %s | %.0f | %.0f | %.0f | %.3f | %d |"):format(row.count, row.body,
    row.lists and "yes" or "no", added, seen, requests, cpu, connections))
  io.stdout:flush()
end
