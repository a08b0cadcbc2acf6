-- Many tasks at a time: by lists where the server has them, else one by one. Knows requests and
-- what poll.lua knows of waiting; must not know how the call was made.

local answer = require "mjtask.answer"
local errors = require "mjtask.errors"
local fifo = require "mjtask.fifo"
local heap = require "mjtask.heap"
local options = require "mjtask.options"
local poll = require "mjtask.poll"
local retry = require "mjtask.retry"

local watch = {}

local LIST = "/mj/task/list-by-condition"
local GROUP = 100 -- tasks in one list; huanwangai's limit is 500, the others name none
local SMALL = 8 -- tasks in a list that is not halved any more: it is one of them that is so large
local PROBE = 10 -- seconds for the first list: a server that has none may well not answer at all
local EARLY = 0.5 -- of its interval, by which a look may be early if another goes out anyway

-- Errors that a server may say of every request, and so not of lists.
local universal = { auth = true, quota = true, tls = true }

--- Tasks that are looked at until each has ended. A place is in the heap, with the time of its next
--- look, or of its deadline while it is ready or looked at.
---@class mjtask.Watch
---@field call mjtask.Call
---@field fetch fun(call: mjtask.Call): mjtask.Task?, mjtask.Error?
---@field tell fun(id: string, task?: mjtask.Task, err?: mjtask.Error) one has ended
---@field once boolean one look each, whatever it brings
---@field open integer tasks that have not ended
local methods = {}
local mt = { __name = "mjtask.watch", __index = methods }

-- As it is without a task.
local function reset(self)
  self.timers = heap.new() -- of places
  self.ids = {} -- by place
  self.places = {} -- by id
  self.free = {} -- places to be used again
  self.ready, self.lone = fifo.new(), fifo.new() -- places that are due, for a list and for none
  -- by place: it is ready or looked at, and so not free yet, whatever happens; "hinted": somebody
  -- said that there is news; "late": its time passed while nobody stepped, and a look is owed
  self.taken = {}
  self.alone = {} -- by place: not in a list, this time
  self.workers = 0
  self.rests_until = math.huge -- a worker may be through before there was a rest
end

---@param call mjtask.Call
---@return mjtask.Watch
function watch.new(call, fetch, tell, once)
  local self = setmetatable({
    call = call, fetch = fetch, tell = tell, once = once or false,
    book = poll.new_book(call), open = 0, group = GROUP,
  }, mt)
  reset(self)
  return self
end

-- ---- tasks come and go --------------------------------------------------------------------------

-- May fail half-way, for lack of memory. What is looked at once is due now, and has the time of the
-- whole call: nothing has to be kept in mind of it.
local function enter(self, place, id, now)
  self.ids[place], self.places[id] = id, place
  if self.once then
    self.book.attempts[place] = 0
    self.taken[place] = true
    self.ready:push(place)
  else
    self.book:open(place, now)
    self.timers:set(place, now)
  end
end

--- Adds a task. Returns false if it is watched already.
---@param id string
---@return boolean
function methods:add(id)
  if self.places[id] then return false end
  local count = #self.free
  local place = self.free[count] or #self.ids + 1
  local before = self.ids[place]
  local ok, problem = pcall(enter, self, place, id, self.call.schedule.now())
  if not ok then
    self.timers:remove(place)
    self.book:close(place)
    self.places[id], self.ids[place], self.taken[place] = nil, before, nil
    error(problem, 0)
  end
  self.free[count] = nil
  self.open = self.open + 1
  if self.operation then self.operation:rouse() end
  return true
end

--- Takes back a task that was added, before anything was done for it. Takes no memory.
---@param id string
function methods:take_back(id)
  local place = self.places[id]
  self.timers:remove(place)
  self.book:close(place)
  self.places[id], self.open = nil, self.open - 1
  if place == #self.ids then
    self.ids[place] = nil
  else
    self.ids[place] = false
    self.free[#self.free + 1] = place -- whence it came: there is room
  end
end

local function free(self, place)
  self.taken[place] = nil
  self.ids[place] = false -- no hole in the array
  self.free[#self.free + 1] = place
end

-- A task has ended, or the wait for it.
local function conclude(self, place, task, err)
  local id, book = self.ids[place], self.book
  if err then
    local own = { client = self.call.client, schedule = self.call.schedule, id = id,
      attempts = book.attempts[place], started = book.started[place] or self.call.started }
    err = retry.complete(own, err)
  end
  self.places[id], self.ids[place], self.alone[place] = nil, false, nil
  self.timers:remove(place)
  if not self.once then book:close(place) end
  self.open = self.open - 1
  if not self.taken[place] then free(self, place) end
  self.tell(id, task, err)
end

local function time_out(self, place)
  local status, progress = self.book.status[place], self.book.progress[place]
  local err = retry.timed_out(self.call)
  if status then
    local seen = progress and ("%s %s"):format(status, progress) or status
    seen = errors.printable(self.call.client.redact(seen), 60)
    err.message = ("%s; last seen: %s"):format(err.message, seen)
  end
  conclude(self, place, nil, err)
end

-- ---- what is due --------------------------------------------------------------------------------

local function line_up(self, place)
  local line = self.alone[place] and self.lone or self.ready
  line:push(place)
end

-- From here on until its look is over only its deadline is waited for.
local function make_ready(self, place)
  self.taken[place] = true
  self.timers:set(place, self.book.deadline[place])
  line_up(self, place)
end

-- Moves what is due to the ready ones, and ends what has had its time.
local function gather(self)
  local now, book = self.call.schedule.now(), self.book
  local place, due = self.timers:first()
  while place and due <= now do
    if self.taken[place] and book:is_late(place) then -- its look may still bring something
      book:extend(place, due)
      self.taken[place] = "late"
      self.timers:set(place, book.deadline[place])
    elseif self.taken[place] or now >= book.deadline[place] and not book:extend(place, due) then
      time_out(self, place)
    else
      make_ready(self, place)
    end
    place, due = self.timers:first()
  end
end

-- The next place in line that has not ended meanwhile.
local function next_place(self, line)
  local place = line:pop()
  while place and not self.ids[place] do
    free(self, place)
    place = line:pop()
  end
  return place
end

-- A look that goes out anyway takes along what would be due soon.
local function gather_early(self, group)
  local now, book = self.call.schedule.now(), self.book
  local place, due = self.timers:first()
  while #group < self.group and place and not self.taken[place]
    and due - now <= EARLY * book.interval[place] do
    make_ready(self, place)
    group[#group + 1] = self.ready:pop() -- which was empty
    place, due = self.timers:first()
  end
end

-- The next places to look at, nil if none is due: several if lists are worth trying.
local function next_group(self)
  gather(self)
  local group = { next_place(self, self.lone) }
  if group[1] then return group end
  local size = self.call.client.lists ~= false and self.group or 1
  repeat
    local place = next_place(self, self.ready)
    group[#group + 1] = place
  until not place or #group == size
  if #group > 0 and #group < size then gather_early(self, group) end
  return #group > 0 and group or nil
end

local function is_due(self)
  return not (self.ready:is_empty() and self.lone:is_empty())
end

-- ---- looks --------------------------------------------------------------------------------------

-- To be looked at again at once.
local function look_again(self, place, alone)
  if not self.ids[place] then return free(self, place) end -- ended meanwhile
  self.taken[place], self.alone[place] = true, alone
  line_up(self, place)
end

-- A look is over: the place is due again, or has ended.
local function judge(self, place, task, err, chance)
  local state = self.taken[place]
  self.taken[place], self.alone[place] = nil, nil
  if not self.ids[place] then return free(self, place) end -- ended meanwhile
  if self.once then return conclude(self, place, task, err) end
  local over
  over, task, err = self.book:judge(place, task, err, state == "hinted")
  if over then return conclude(self, place, task, err) end
  if state == "late" then return look_again(self, place) end
  if self.book.overtime[place] then return time_out(self, place) end
  local due = self.book:next_look(place, chance)
  self.timers:set(place, math.min(due, self.book.deadline[place]))
end

local function begin(self, call, group)
  local book, now = self.book, self.call.schedule.now()
  call.attempts, call.started, call.deadline, call.id = 0, now, now, nil
  if self.once then
    call.deadline = self.call.deadline
    return
  end
  for _, place in ipairs(group) do
    call.deadline = math.max(call.deadline, book.deadline[place])
    self.taken[place] = book.hinted[place] and "hinted" or true
    book:look(place)
  end
end

local function count_attempts(self, call, group)
  local attempts = self.book.attempts
  for _, place in ipairs(group) do
    if attempts[place] then attempts[place] = attempts[place] + call.attempts end
  end
end

local function look_at_one(self, call, group)
  local place = group[1]
  begin(self, call, group)
  call.id = self.ids[place]
  local task, err = self.fetch(call)
  count_attempts(self, call, group)
  judge(self, place, task, err, call.schedule.random())
end

-- Their ids are unreserved characters of RFC 3986 only: nothing in them is to be escaped.
local function fetch_list(self, call, group)
  local ids = {}
  for at, place in ipairs(group) do ids[at] = self.ids[place] end
  local request = {
    path = LIST, body = '{"ids":["' .. table.concat(ids, '","') .. '"]}',
    max_body = call.settings.max_body,
  }
  if call.client.lists == nil then
    local left = call.deadline - call.schedule.now()
    request.hasty, request.limit = true, math.min(PROBE, left / 3, call.settings.request_timeout)
  end
  local found, err = retry.request(call, request, answer.list)
  count_attempts(self, call, group)
  return found, err, ids
end

-- What a list that failed says of each task.
local function copy_error(err)
  return errors.new(err.kind, err.message, {
    retryable = err.retryable, status = err.status, code = err.code, retry_after = err.retry_after,
  })
end

-- One task of a list that failed, or was empty, alone: does it tell that lists are what is wrong?
-- That is so if it fails in another way than this kind; without one, only if it succeeds. What can
-- be said of that task is said.
local function try_one(self, call, group, kind)
  call.id, call.attempts = self.ids[group[1]], 0
  if not call.id then return false end -- ended meanwhile
  local task, err = self.fetch(call)
  count_attempts(self, call, { group[1] })
  if err and err.retryable then return false end
  judge(self, table.remove(group, 1), task, err, call.schedule.random())
  return task ~= nil or kind ~= nil and err.kind ~= kind
end

-- What is to become of the places left in a group whose list failed: "again", "alone": they are to
-- be looked at again, at once; "failed": the failure is one of each.
local function diagnose(self, call, group, err)
  local client, kind = call.client, err.kind
  if kind == "too_large" and #group > SMALL then
    self.group = math.min(self.group, #group // 2)
    return "again"
  end
  local of_lists = not err.retryable and not universal[kind]
  if client.lists then return of_lists and "alone" or "failed" end
  if not of_lists and not try_one(self, call, group, kind) then return "failed" end
  -- That it was too much is no reason never to ask for one again, if the caller's own limit is low.
  if kind == "too_large" and call.settings.max_body < options.MAX_BODY then
    self.group = 1 -- for this call
  elseif kind ~= "rate_limited" then
    client.lists = false
  end
  return "alone"
end

local function is_any_of(found, ids)
  for _, id in ipairs(ids) do
    if found[id] then return true end
  end
  return false
end

local function look_at_list(self, call, group)
  begin(self, call, group)
  local found, err, ids = fetch_list(self, call, group)
  local fate = "alone" -- of those that the list leaves out
  if not found then
    fate = diagnose(self, call, group, err)
  elseif not call.client.lists then
    call.client.lists = is_any_of(found, ids) or not try_one(self, call, group)
  end
  if found then self.group = math.min(GROUP, self.group + 1) end
  local chance = call.schedule.random()
  for _, place in ipairs(group) do
    local task = found and found[self.ids[place]]
    if task then
      judge(self, place, task, nil, chance)
    elseif fate == "failed" then
      judge(self, place, nil, copy_error(err), call.schedule.random())
    else
      look_again(self, place, fate == "alone")
    end
  end
end

local most_workers

-- Looks at what is due until nothing is.
local function work(operation, self)
  local own = self.call
  local call = {
    schedule = own.schedule, client = own.client, settings = own.settings, limit = own.limit,
    operation = operation,
  }
  local group = next_group(self)
  while group do
    local look = #group > 1 and look_at_list or look_at_one
    look(self, call, group)
    local _, due = self.timers:first()
    if self.open == 0 or due and due < self.rests_until
      or is_due(self) and self.workers < most_workers(self) then
      self.operation:rouse()
    end
    group = next_group(self)
  end
  self.workers = self.workers - 1
end

-- ---- the whole ----------------------------------------------------------------------------------

-- Until we know whether there are lists one worker finds it out.
function most_workers(self)
  if self.call.client.lists == nil and self.open > 1 then return 1 end
  return self.call.settings.max_inflight
end

--- Looks at them until all have ended: the body of an operation.
---@param operation mjtask.schedule.Operation
function methods:run(operation)
  self.operation, self.workers = operation, 0
  while self.open > 0 do
    gather(self)
    while is_due(self) and self.workers < most_workers(self) do
      self.workers = self.workers + 1
      operation:branch(work, self)
    end
    local _, due = self.timers:first()
    self.rests_until = due or math.huge
    if self.open > 0 then operation:rest(due) end
  end
  operation:end_branches() -- before the reset: a worker's last act may be to free a place
  self.operation = nil
  reset(self)
end

--- Ends all that are open with an error.
---@param make fun(): mjtask.Error
function methods:give_up(make)
  for place = 1, #self.ids do
    if self.ids[place] then conclude(self, place, nil, make()) end
  end
end

--- Somebody says that there is news of a task.
function methods:hint(id)
  local place = self.places[id]
  if not place then return end
  self.book.hinted[place] = true
  if self.taken[place] then return end -- a look is under way, or about to be
  local due = math.min(self.timers:when(place), self.book:soonest(place))
  self.timers:set(place, due)
  if self.operation then self.operation:rouse() end
end

return watch
