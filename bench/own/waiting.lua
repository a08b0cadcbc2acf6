-- What TASKS waiting tasks take in memory, in bytes: ids, places, timers, all. Each has been looked
-- at once. The process has had its requests, and so its connections and its garbage, before.

local setting = require "bench.own.setting"

local LONG = 1000 -- seconds until the next look: none within this
local WARM = 500 -- looks that give the process its usual size

local looks = 0
local function count(event)
  if event.event == "answer" then looks = looks + 1 end
end

local function status(name)
  local file <close> = assert(io.open "/proc/self/status")
  return 1024 * tonumber(file:read "a":match(name .. ":%s*(%d+)"))
end

local function sizes()
  collectgarbage()
  collectgarbage()
  return { heap = collectgarbage "count" * 1024, rss = status "VmRSS", peak = status "VmHWM" }
end

local mj <close> = setting.client { interval = LONG, max_interval = LONG, trace = count }

-- Looks at each once, and leaves them waiting.
local function watch(ids)
  local before = looks
  local watcher = mj:watch(ids, { timeout = LONG * 10 }, function() end)
  while looks < before + #ids do mj:step() end
  return watcher
end

watch(setting.ids(WARM)):close()
mj:step(0)
local before = sizes()
local tasks = setting.number "TASKS"
watch(setting.ids(tasks))
local after = sizes()

local function each(name) return (after[name] - before[name]) / tasks end
print(("memory %.0f %.0f %.0f"):format(each "heap", each "rss", each "peak"))
