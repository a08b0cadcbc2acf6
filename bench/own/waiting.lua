-- What TASKS waiting tasks take in memory, in bytes: ids, places, timers, all. Each has been looked
-- at once. The process has had its requests, and so its connections and its garbage, before.

local setting = require "bench.own.setting"

local LONG = 1000 -- seconds until the next look: none within this
local WARM = 500 -- looks that give the process its usual size

local function status(name)
  local file <close> = assert(io.open "/proc/self/status")
  return 1024 * tonumber(file:read "a":match(name .. ":%s*(%d+)"))
end

local function sizes()
  collectgarbage()
  collectgarbage()
  return { heap = collectgarbage "count" * 1024, rss = status "VmRSS", peak = status "VmHWM" }
end

local mj <close> = setting.client { interval = LONG, max_interval = LONG }

-- Looks at each once, and leaves them waiting: nothing flies then, and nothing is due for long.
local function watch(ids)
  local watcher = mj:watch(ids, { timeout = LONG * 10 }, function() end)
  repeat mj:step() until mj:timeout() > 1
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
