-- Waiting for a task: when to look, and when to stop. Knows tasks and a function that fetches one;
-- must not know how it is fetched.

local errors = require "mjtask.errors"
local retry = require "mjtask.retry"
local tasks = require "mjtask.task"

local poll = {}

local GROWTH = 1.4 -- of the interval, after a look that found nothing new
local JITTER = 0.25 -- of the interval, to either side: clients must not march in step
local FAILURES = 5 -- failed looks in a row that end a wait
local LAST_LOOK = 5 -- seconds for the one after a deadline that passed while nobody stepped

-- A value that can be compared; servers may send anything.
local function plain(value)
  return (type(value) == "string" or type(value) == "number") and value or nil
end

-- Takes in what a look found. Only status and progress count: new-api sends another imageUrl with
-- each answer. Returns whether it is news.
local function notice(state, task)
  local status, progress = plain(rawget(task, "status")), plain(rawget(task, "progress"))
  local changed = state.task == nil or status ~= state.status or progress ~= state.progress
  state.task, state.status, state.progress = task, status, progress
  state.failures = 0
  return changed
end

local function is_stalled(call, state)
  local stall = call.settings.stall
  return stall and call.schedule.now() - state.changed_at >= stall
end

-- The end of a wait: the error knows the last task that was seen.
local function give_up(call, state, err)
  err.task = err.task or state.task
  return nil, retry.complete(call, err)
end

-- One look. Returns true and the wait's results if it is over.
local function look(call, state, fetch)
  local settings = call.settings
  local task, err = fetch(call)
  if not task then
    state.failures = state.failures + 1
    local over = not err.retryable or state.failures >= FAILURES
      or call.schedule.now() >= call.deadline
    return over, nil, err
  end
  if notice(state, task) then
    state.changed_at = call.schedule.now()
    state.interval = settings.interval
    if settings.progress then
      call.schedule:deliver(call.operation, settings.progress, task, tasks.percent(task))
    end
  else
    local most = math.max(settings.interval, settings.max_interval)
    state.interval = math.min(state.interval * GROWTH, most)
  end
  local outcome = tasks.outcome(task)
  if outcome == "success" then return true, task end
  if outcome then return true, nil, tasks.failure(task) end
  if is_stalled(call, state) then
    return true, nil, errors.new("stalled", ("nothing has changed for %g s"):format(settings.stall))
  end
  return false
end

-- When to look next. The time limit and `stall` are not slept over.
local function next_look(call, state)
  local now = call.schedule.now()
  local due = now + state.interval * (1 + JITTER * (2 * call.schedule.random() - 1))
  if call.settings.stall then due = math.min(due, state.changed_at + call.settings.stall) end
  return math.max(due, now + 0.1)
end

--- Looks at a task until it has ended, or the time is over.
---@param call mjtask.Call
---@param fetch fun(call: mjtask.Call): mjtask.Task?, mjtask.Error? one look, retries included
---@return mjtask.Task? task once it succeeded
---@return mjtask.Error? err
function poll.wait(call, fetch)
  local now = call.schedule.now
  local state = { interval = call.settings.interval, changed_at = now(), failures = 0 }
  while true do
    local over, task, err = look(call, state, fetch)
    if over and task then return task end
    if over then return give_up(call, state, err) end
    if state.overtime then return give_up(call, state, retry.timed_out(call)) end
    local due = next_look(call, state)
    retry.trace(call, { event = "wait", seconds = due - now(), status = state.status })
    call.operation:sleep_until(math.min(due, call.deadline))
    if now() >= call.deadline then
      if due >= call.deadline then return give_up(call, state, retry.timed_out(call)) end
      state.overtime = true -- nobody stepped for a while: the look that was due in time is owed
      call.deadline = now() + LAST_LOOK
    end
  end
end

return poll
