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
local LATE = 1 -- seconds after it by which that is certain
local LEAST = 0.1 -- seconds between two looks
local KEPT = 64 -- bytes of a status or a progress; the longest word known has 11
local HINTED = 1 -- seconds between two looks, when somebody says that there is news

-- ---- what is known ------------------------------------------------------------------------------

--- What is known of the tasks that are waited for: one array a fact, by a task's place, because a
--- table each would cost more than all of it.
---@class mjtask.Book
---@field call mjtask.Call
---@field status table
---@field progress table
---@field changed_at number[] monotonic seconds, like started, deadline and looked
---@field started number[]
---@field deadline number[]
---@field looked number[] when the last look began
---@field interval number[] seconds
---@field failures integer[] failed looks in a row
---@field attempts integer[] requests
---@field overtime boolean[] the look that was owed at the deadline is under way
---@field hinted boolean[] told that there is news since the last look
local book_methods = {}
local book_mt = { __index = book_methods }

local FACTS = {
  "status", "progress", "changed_at", "started", "deadline", "looked", "interval", "failures",
  "attempts", "overtime", "hinted",
}

---@param call mjtask.Call whose settings hold for all
---@return mjtask.Book
function poll.new_book(call)
  local book = { call = call }
  for _, fact in ipairs(FACTS) do book[fact] = {} end
  return setmetatable(book, book_mt)
end

--- A task is waited for since `now`.
function book_methods:open(place, now)
  self.status[place] = false -- never seen: no task says that
  self.changed_at[place], self.started[place], self.looked[place] = now, now, -math.huge
  self.deadline[place] = now + self.call.limit
  self.interval[place] = self.call.settings.interval
  self.failures[place], self.attempts[place] = 0, 0
end

function book_methods:close(place)
  for _, fact in ipairs(FACTS) do self[fact][place] = nil end
end

--- A look begins.
function book_methods:look(place)
  self.looked[place] = self.call.schedule.now()
  self.hinted[place] = nil
end

-- A value that can be compared, and kept: servers may send anything, of any length.
local function plain(value)
  if type(value) == "string" then
    return #value <= KEPT and value or value:sub(1, KEPT) .. "… " .. #value
  end
  return type(value) == "number" and value or nil
end

-- Only status and progress count: new-api sends another imageUrl with each answer.
local function is_news(self, place, task)
  local status, progress = plain(rawget(task, "status")), plain(rawget(task, "progress"))
  local changed = status ~= self.status[place] or progress ~= self.progress[place]
  self.status[place], self.progress[place] = status, progress
  return changed
end

local function note(self, place, task, hinted)
  local settings, schedule = self.call.settings, self.call.schedule
  if is_news(self, place, task) then
    self.changed_at[place], self.interval[place] = schedule.now(), settings.interval
    if settings.progress then
      schedule:deliver(self.call.operation, settings.progress, task, tasks.percent(task))
    end
  elseif not hinted then
    local most = math.max(settings.interval, settings.max_interval)
    self.interval[place] = math.min(self.interval[place] * GROWTH, most)
  end
  self.failures[place] = 0
end

local function is_stalled(self, place)
  local stall = self.call.settings.stall
  return stall and self.call.schedule.now() - self.changed_at[place] >= stall
end

-- Has the server put off all requests until the time is over?
local function is_held_up(self, place, err)
  return err.kind == "rate_limited"
    and self.call.client.pace.paused_until >= self.deadline[place]
end

--- Takes in what a look brought: a task, or an error. Returns true if the wait is over, and its
--- result or its error.
function book_methods:judge(place, task, err, hinted)
  if not task then
    local failures = self.failures[place] + 1
    self.failures[place] = failures
    local over = not err.retryable or failures >= FAILURES or is_held_up(self, place, err)
      or self.call.schedule.now() >= self.deadline[place] and not self:is_late(place)
    return over, nil, err
  end
  note(self, place, task, hinted)
  local outcome = tasks.outcome(task)
  if outcome == "success" then return true, task end
  if outcome then return true, nil, tasks.failure(task, self.call.client.redact) end
  if is_stalled(self, place) then
    return true, nil, errors.new("stalled", ("nothing has changed for %g s")
      :format(self.call.settings.stall), { task = task })
  end
  return false
end

--- When to look next. The time limit and `stall` are not slept over. `chance` is a random number in
--- [0, 1): tasks that are looked at together share it.
function book_methods:next_look(place, chance)
  local now = self.call.schedule.now()
  local due = now + self.interval[place] * (1 + JITTER * (2 * chance - 1))
  local stall = self.call.settings.stall
  if stall then due = math.min(due, self.changed_at[place] + stall) end
  if self.hinted[place] then due = math.min(due, self:soonest(place)) end
  return math.max(due, now + LEAST)
end

--- When the next look may be that a hint asks for: whoever sends hints must not make us hammer.
function book_methods:soonest(place)
  return math.max(self.call.schedule.now(), self.looked[place] + HINTED)
end

--- Has its deadline passed while nobody stepped? A look that was under way may have failed by that.
function book_methods:is_late(place)
  return not self.overtime[place] and self.call.schedule.now() >= self.deadline[place] + LATE
end

--- Its deadline has passed. Returns true if a look was due, by then at the latest, and nobody has
--- stepped for a while: it is owed, and a little time with it. False if the time is over: a step
--- that comes a moment late must not take that time.
function book_methods:extend(place, due)
  local now = self.call.schedule.now()
  local late = now - math.min(due, self.deadline[place])
  if self.overtime[place] or late < LATE then return false end
  self.overtime[place] = true
  self.deadline[place] = now + LAST_LOOK
  return true
end

-- ---- one task -----------------------------------------------------------------------------------

-- The one task of a plain wait is at the first place of its book.
local waiter_methods = {}
local waiter_mt = { __index = waiter_methods }

function waiter_mt:__close()
  self.call.client.listeners[self] = nil
end

--- Somebody says that there is news of a task.
function waiter_methods:hint(id)
  if id ~= self.call.id then return end
  self.book.hinted[1] = true
  if self.due then
    self.due = math.min(self.due, self.book:soonest(1))
    self.call.operation:rouse()
  end
end

-- The status as `trace` may see it, which prints what it is told: it is the server's word.
local function status_shown(self)
  local status = self.book.status[1]
  if type(status) ~= "string" then return status end
  return errors.printable(self.call.client.redact(status))
end

-- Sleeps until the next look. Returns when it was due.
local function sleep(self)
  local call, book = self.call, self.book
  local now = call.schedule.now
  self.due = book:next_look(1, call.schedule.random())
  if call.settings.trace then
    retry.trace(call, {
      event = "wait", seconds = self.due - now(), status = status_shown(self),
    })
  end
  repeat call.operation:rest(math.min(self.due, call.deadline))
  until now() >= math.min(self.due, call.deadline)
  local due = self.due
  self.due = nil
  return due
end

local function wait(self, fetch)
  local call, book = self.call, self.book
  local last
  local function give_up(err)
    err.task = err.task or last
    return nil, retry.complete(call, err)
  end
  while true do
    local hinted = book.hinted[1]
    book:look(1)
    local task, err = fetch(call)
    last = task or last
    local over
    over, task, err = book:judge(1, task, err, hinted)
    if over and task then return task end
    if over then return give_up(err) end
    if book.overtime[1] then return give_up(retry.timed_out(call)) end
    local due = sleep(self)
    if call.schedule.now() >= call.deadline then
      if not book:extend(1, due) then return give_up(retry.timed_out(call)) end
      call.deadline = book.deadline[1]
    end
  end
end

--- Looks at a task until it has ended, or the time is over.
---@param call mjtask.Call
---@param fetch fun(call: mjtask.Call): mjtask.Task?, mjtask.Error? one look, retries included
---@return mjtask.Task? task once it succeeded
---@return mjtask.Error? err
function poll.wait(call, fetch)
  local self <close> = setmetatable({
    call = call, book = poll.new_book(call), due = nil,
  }, waiter_mt)
  self.book:open(1, call.started)
  call.client.listeners[self] = true
  return wait(self, fetch)
end

return poll
