-- The time to the answer: how long after a task's end a script knows of it, and how many requests
-- that takes, by each way of waiting. The local proxy plays the tasks' lives at a pace of seconds.

local proxy = require "support.proxy"
local lives = require "support.lives"
local machine = require "bench.machine"
local observe = require "bench.observe"
local rounds = require "bench.rounds"

local delays = {}

local TASKS = 20 -- a method
local LIFE = "success"
local PACE = 3 -- seconds a state: ten of them make half a minute, as the seeds' took
local SPREAD = 0.3 -- of it: no two tasks take equally long
local HOOK = 0.05 -- seconds until a webhook is there
local SELDOM = 30 -- seconds between looks of who has webhooks

-- Name, method, seconds between looks.
local METHODS = {
  { "mjtask, wait", "wait", 5 }, { "mjtask, watch", "watch", 5 },
  { "mjtask, watch and a webhook's hint", "hint", SELDOM },
  { "a fetch every 2 s", "fixed", 2 }, { "a fetch every 5 s", "fixed", 5 },
}

-- The same lives for every method: ids of its own, but equal paces.
local function tasks_of(p, number, scale)
  local words = {}
  for n = 1, TASKS do
    local id = ("%d"):format(1735030480000000 + 1000 * number + n)
    local share = (n * 7 % TASKS) / (TASKS - 1) * 2 - 1 -- -1 to 1, in no order
    local pace = PACE * scale * (1 + SPREAD * share)
    p:task(id, { life = LIFE, pace = pace })
    words[n] = ("%s=%.6f"):format(id, pace)
  end
  return table.concat(words, " ")
end

local function read(name, process)
  local output = process.pipe:read "a"
  local requests, list = output:match "delays (%d+) ([%d.%- ]+)\n"
  if not requests then error(name .. ": " .. output, 0) end
  local result = { name = name, requests = tonumber(requests) / TASKS }
  local all = {}
  for delay in list:gmatch "%S+" do all[#all + 1] = tonumber(delay) end
  if #all ~= TASKS then error(("%s: %d answers"):format(name, #all), 0) end
  result.median = rounds.median(all)
  result.least, result.most = rounds.range(all)
  return result
end

--- All methods at once, each in a process of its own. `scale`: of all times but the webhook's and
--- the second that mjtask leaves between two looks.
---@param scale number
---@return { name: string, interval: number, median: number, least: number, most: number,
---  requests: number }[]
function delays.run(scale)
  local p <close> = proxy.start()
  local processes <close>, results = observe.list(), {}
  for n, method in ipairs(METHODS) do
    local tasks = tasks_of(p, n, scale)
    processes[n] = observe.start(machine.lua_command .. "bench/own/delay.lua", {
      BASE = p.url, TASKS = tasks, METHOD = method[2], INTERVAL = method[3] * scale,
      STATES = #lives[LIFE], HOOK = HOOK,
    })
  end
  for n, method in ipairs(METHODS) do
    results[n] = read(method[1], processes[n])
    results[n].interval = method[3] * scale
  end
  return results
end

--- In words, for the table's heading.
function delays.describe(scale)
  local text = ("%d tasks each, ten states of %.3g s (±%.0f %%); a webhook is %g s after the end.")
    :format(TASKS, PACE * scale, SPREAD * 100, HOOK)
  if scale == 1 then return text end
  return text .. (" **Scaled down:** all times are %g of the real ones, but for the webhook's and "
    .. "the second that mjtask leaves between two looks when it is told of news."):format(scale)
end

return delays
