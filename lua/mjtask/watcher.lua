-- What mj:watch gives: the tasks that have ended, one by one, in a loop or by callback. Knows
-- calls; when to look is watch.lua's.

local calling = require "mjtask.calling"
local fifo = require "mjtask.fifo"
local ids_of = require "mjtask.ids"
local shelter = require "mjtask.core".shelter
local watch = require "mjtask.watch"

local watcher = {}

-- Errors of which the server has been asked: they are about the task.
local answered = { not_found = true, schema = true, decode = true, too_large = true, http = true }

-- The handle points to its state, never back: nobody holds it but the caller.
---@class mjtask.Watcher
local methods = {}
local mt = { __name = "mjtask.watcher", __index = methods }

local function state_of(self)
  if getmetatable(self) ~= mt then
    error("a watcher expected: call its methods with a colon", 3)
  end
  return self.state
end

-- Unless it was closed since that happened.
local function is_wanted(delivery)
  return not delivery.of.left
end

-- A task has ended.
local function tell(state, id, task, err)
  if state.left then return end
  local schedule = state.call.schedule
  if state.each then
    local delivery = schedule:delivery(state.operation, state.each, id, task, err)
    delivery.prepare, delivery.of = is_wanted, state
    schedule:post(delivery)
  else
    state.ended:push { id, task, err }
    for reader in next, state.readers do reader:rouse() end
  end
end

-- All have ended with the operation of that round. Unless a callback has added one since, with
-- another: then the end comes after that, however soon it is over.
local function prepare_end(delivery)
  local state = delivery.of
  local operation = state.operation
  if delivery.about ~= operation or state.over then return false end
  local reason = state.left and "aborted" or state.cut and (operation.reason or "aborted")
  state.over = true
  delivery[4] = reason and calling.ended(reason, state.spare) or nil
  return true
end

-- Tells of each task that it was closed.
local function give_up(state, reason)
  state.watch:give_up(function() return calling.ended(reason) end)
end

-- The operation has ended: all tasks have, or it was told to, or it failed.
local function conclude(state, operation, value, reason)
  local call = state.call
  state.operation = operation
  call.client.listeners[state.watch] = nil
  if reason == "closed" then
    local ok, problem = pcall(give_up, state, reason)
    if not ok then operation.failed, operation.problem = true, problem end -- no memory for each
  end
  state.cut = not value
  for reader in next, state.readers do reader:rouse() end -- `pairs` would make a string
  if operation.failed or state.each and state.cut then state.closed = true end
  if state.each then
    call.schedule:post(state.ending, operation)
  end
end

local function launch(state)
  local call = state.call
  local schedule, listeners = call.schedule, call.client.listeners
  if state.each then -- made now: to tell the end must not fail when it is due
    local ending = schedule:delivery(false, state.each, nil, nil, false)
    ending.prepare, ending.of = prepare_end, state
    state.ending, state.spare = ending, calling.ended "aborted"
  end
  schedule:brace(true) -- for what closes it, too, when a loop is left
  schedule:spawn_with(function(...) conclude(state, ...) end, function(operation)
    state.operation, call.operation = operation, operation
    listeners[state.watch] = true
    state.watch:run(operation)
    return true
  end)
  schedule:tell_host()
end

--- Watches tasks. The watcher is for a loop; with `each` it calls back, and lives on until all have
--- ended, whoever holds it.
---@param call mjtask.Call
---@param ids string[]
---@param fetch fun(call: mjtask.Call): mjtask.Task?, mjtask.Error?
---@param each? fun(id?: string, task?: mjtask.Task, err?: mjtask.Error)
---@return mjtask.Watcher
function watcher.new(call, ids, fetch, each)
  local state = {
    call = call, each = each,
    ended = fifo.new(), nothing = fifo.new(), -- in place of the other, once it is closed
    readers = setmetatable({}, { __mode = "k" }), -- one that is cancelled does not come back
    operation = false, -- the last one
    -- the delivery of the last one's end, and the error to be told then
    ending = false, spare = false,
    cut = false, -- it did not end of itself
    closed = false, -- nothing can be added
    left = false, -- by who called close
    over = false, -- the callback was told the end
  }
  state.watch = watch.new(call, fetch, function(...) tell(state, ...) end)
  for _, id in ipairs(ids) do state.watch:add(id) end
  local self = setmetatable({ state = state }, mt) -- before there is anything to be closed
  shelter(launch, state)
  return self
end

-- Starts another operation, for a task that was added to those that have all ended. Where there is
-- no memory for one the task is not watched, rather than watched by nobody.
local function launch_again(state, id)
  local last = state.operation
  local ok, problem = pcall(launch, state)
  if ok then return end
  if state.operation == last then state.watch:take_back(id) end
  error(problem, 0)
end

-- Waits until another task has ended, or the watch.
local function wait(call, state)
  local reader = call.operation
  state.operation.reader = reader
  state.readers[reader] = true
  if state.ended:is_empty() and not state.operation.ended then reader:rest() end
  state.readers[reader] = nil
  return true
end

--- The next task that has ended: its id and itself, or its id, nil and the error, as mj:wait gives
--- them. Nothing when all have ended.
function mt:__call()
  local state = state_of(self)
  if state.each then error("this watcher calls back", 2) end
  while true do
    local entry = state.ended:pop()
    if entry then return entry[1], entry[2], entry[3] end
    local operation = state.operation
    if operation.failed then -- said once
      operation.failed = false
      error(operation.problem, 0)
    end
    if operation.ended then return nil end
    calling.run(calling.new(state.call.client, "watch", {}), nil, wait, state)
  end
end

local function add(state, id)
  state.call.schedule:brace() -- to take back what is half done
  local added = state.watch:add(id)
  if state.operation.ended then
    launch_again(state, id)
  else
    state.call.schedule:tell_host()
  end
  return added
end

--- Watches another task. False: it is watched already.
---@param id string|integer|table
---@return boolean
function methods:add(id)
  local state = state_of(self)
  id = ids_of.check(id, 2)
  if state.closed or state.over or state.call.client.closed then
    error("the watcher is closed", 2)
  end
  return shelter(add, state, id)
end

local function close(state)
  state.call.schedule:brace()
  state.closed, state.left = true, true
  state.ended = state.nothing
  if state.operation then state.operation:abandon() end
end

--- Ends it: nothing more is told, but to a callback its end. Idempotent.
function methods:close()
  shelter(close, state_of(self))
end

methods.cancel = methods.close

--- Has all been told?
---@return boolean
function methods:done()
  local state = state_of(self)
  if state.each then return state.over end
  return state.operation.ended and state.ended:is_empty()
end

mt.__close = methods.close

-- If memory is what is missing, the next collection tries again.
function mt:__gc()
  if self.state.each then return end
  local ok, problem = pcall(methods.close, self) -- the client may be gone
  if not ok and problem == "not enough memory" then setmetatable(self, mt) end
end

--- Asks once for each of many tasks: the body of mj:fetch_many.
---@param call mjtask.Call
---@param ids string[]
---@return table<string, mjtask.Task>? tasks
---@return table<string, mjtask.Error>|mjtask.Error errors
function watcher.fetch_many(call, ids, fetch)
  local found, failed, asked = {}, {}, #ids == 0
  local all = watch.new(call, fetch, function(id, task, err)
    found[id], failed[id] = task, err
    asked = asked or err == nil or answered[err.kind] or false
  end, true)
  for _, id in ipairs(ids) do all:add(id) end
  all:run(call.operation)
  if not asked then return nil, failed[ids[1]] end
  return found, failed
end

return watcher
