-- How long after their end tasks are known to have ended, and what that costs in requests. METHOD:
-- "wait" (each by a wait of its own), "watch" (all by one), "hint" (a watch that is told when one
-- has ended, as a webhook would, and else looks seldom), "fixed" (each every INTERVAL seconds).
--
-- TASKS ids and what their states take are given as "ID=SECONDS ..."; a task's life begins with its
-- first look. All times are this process's.

local core = require "mjtask.core"
local socket = require "socket"
local setting = require "bench.own.setting"

local method, states = setting.text "METHOD", setting.number "STATES"
local interval = tonumber(setting.text "INTERVAL")
local hook_after = tonumber(os.getenv "HOOK" or 0) -- seconds from a task's end to its webhook

local ids, pace = {}, {}
for id, seconds in setting.text "TASKS":gmatch "(%d+)=([%d.]+)" do
  ids[#ids + 1], pace[id] = id, tonumber(seconds)
end

local requests, left = 0, #ids
local first, delays = {}, {}

local mj <close> = setting.client {
  interval = interval,
  trace = function(event) if event.event == "request" then requests = requests + 1 end end,
}

local function end_of(id) return first[id] + (states - 1) * pace[id] end

local function saw(id) first[id] = first[id] or core.now() end

local function ended(id, err)
  if err then error(err) end
  delays[#delays + 1] = core.now() - end_of(id)
  left = left - 1
end

local methods = {}

function methods.wait()
  for _, id in ipairs(ids) do
    mj:wait(id, { progress = function() saw(id) end }, function(_, err) ended(id, err) end)
  end
  while mj:step() do end
end

local function watch(options)
  options.progress = function(task) saw(task.id) end
  mj:watch(ids, options, function(id, _, err) if id then ended(id, err) end end)
end

function methods.watch()
  watch {}
  while mj:step() do end
end

-- The next hook that is due; nil: none any more.
local function next_hook(hooked)
  local soonest, whose
  for id in pairs(first) do
    local due = end_of(id) + hook_after
    if not hooked[id] and (not soonest or due < soonest) then soonest, whose = due, id end
  end
  return soonest, whose
end

function methods.hint()
  watch { max_interval = interval }
  local hooked = {}
  while left > 0 do
    local due, id = next_hook(hooked)
    local rest = due and due - core.now() or 0.01
    if id and rest <= 0 then
      hooked[id] = true
      mj:hint(id)
    end
    mj:step(math.max(rest, 0))
  end
end

-- As scripts without a library do it; but all tasks in one process, by callbacks.
function methods.fixed()
  local due = {}
  local function look(id)
    due[id] = nil
    mj:fetch(id, function(task, err)
      if err then return ended(id, err) end
      saw(id)
      if task:outcome() then ended(id) else due[id] = core.now() + interval end
    end)
  end
  local function next_due()
    local soonest, whose = math.huge, nil
    for id, time in pairs(due) do
      if time < soonest then soonest, whose = time, id end
    end
    return soonest - core.now(), whose
  end
  for _, id in ipairs(ids) do look(id) end
  local flies = true
  while left > 0 do
    local rest, whose = next_due()
    if rest <= 0 then
      look(whose)
      flies = true
    elseif flies then -- what comes may be due before `rest` is over
      flies = mj:step(math.min(rest, 1))
    else
      socket.sleep(rest)
    end
  end
end

methods[method]()
local list = {}
for n, delay in ipairs(delays) do list[n] = ("%.3f"):format(delay) end
print(("delays %d %s"):format(requests, table.concat(list, " ")))
