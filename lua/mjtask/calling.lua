-- One job, three ways to call it: it blocks, it calls back, or it parks a coroutine of a loop.
-- Knows operations and loops; must not know what is asked.

local errors = require "mjtask.errors"
local options = require "mjtask.options"
local retry = require "mjtask.retry"
local shelter = require "mjtask.core".shelter

local calling = {}

local reasons = {
  aborted = "cancelled by the caller",
  closed = "the client was closed",
}

--- A call of `method`: what its requests have in common.
---@param client mjtask.Client
---@param method string
---@param given table the call's own options, checked
---@param id? string
---@return mjtask.Call
function calling.new(client, method, given, id)
  local settings = client.settings_of[method] or options.for_method(client.settings, method)
  client.settings_of[method] = settings
  settings = options.for_call(settings, given)
  local started = client.schedule.now()
  return {
    schedule = client.schedule, client = client, settings = settings, id = id, attempts = 0,
    started = started, limit = settings.timeout, deadline = started + settings.timeout,
  }
end

--- The error of what was ended from outside.
---@param reason "aborted"|"closed"
---@param spare? mjtask.Error becomes it: no memory is needed then
---@return mjtask.Error
function calling.ended(reason, spare)
  local err = spare or errors.new(reason, reasons[reason])
  err.kind, err.message = reason, reasons[reason]
  return err
end

--- The results of an operation as a call gives them: one that was ended from outside knows only the
--- reason.
---@param call mjtask.Call
function calling.results(call, value, err)
  if value == nil and not errors.is(err) then
    err = retry.complete(call, calling.ended(err))
  end
  if err == nil then return value end -- and nothing more: calls nest in `assert`
  return value, err
end

-- What the operation of a call does.
local function with_operation(operation, call, job, ...)
  call.operation = operation
  return job(call, ...)
end

-- Starts a call's job. `conclude(operation, ...)`: see the schedule.
local function start(call, conclude, job, ...)
  return call.schedule:spawn_with(conclude, with_operation, call, job, ...)
end

-- ---- by callback --------------------------------------------------------------------------------

---@class mjtask.Operation
local handle_methods = {}
local handle_mt = { __name = "mjtask.operation", __index = handle_methods }

local function check_handle(self)
  if getmetatable(self) ~= handle_mt then
    error("an operation expected: call its methods with a colon", 3)
  end
end

--- Ends the call; `done` is told `aborted` by the next step. One that has ended stays as it is.
function handle_methods:cancel()
  check_handle(self)
  self.operation:abandon()
end

--- Has `done` been called?
---@return boolean
function handle_methods:done()
  check_handle(self)
  return self.delivery.made
end

handle_mt.__close = handle_methods.cancel

-- What `done` is to be told, for which no memory is needed.
local function prepare(delivery)
  local handle = delivery.of
  local operation, call = handle.operation, handle.call
  local value, err = operation:outcome()
  if value == nil and not errors.is(err) then
    err = calling.ended(operation.reason or "aborted", handle.spare)
    err.attempts, err.elapsed = call.attempts, call.schedule.now() - call.started
  end
  delivery[2], delivery[3], delivery.n = value, err, err == nil and 2 or 3
  handle.call, handle.spare = false, false
  return true
end

-- Nobody has to hold the handle: the schedule holds the operation until it has ended.
local function call_back(call, done, job, ...)
  local schedule = call.schedule
  local handle = setmetatable({
    operation = false, call = call, delivery = false,
    spare = errors.new("aborted", reasons.aborted, { id = call.id, attempts = 0, elapsed = 0 }),
  }, handle_mt)
  local delivery = schedule:delivery(false, done, false, false) -- now: it must not fail when due
  delivery.prepare, delivery.of, handle.delivery = prepare, handle, delivery
  handle.operation = start(call, function(operation)
    handle.operation = operation -- which has ended before it has a handle, perhaps
    schedule:post(delivery, operation)
  end, job, ...)
  schedule:tell_host()
  return handle
end

-- ---- parked -------------------------------------------------------------------------------------

-- Ends an operation whose coroutine was closed or collected: nobody is there to be woken.
local function abandon(guard)
  local operation = guard.operation
  if not operation then return end -- closed before
  operation.schedule:brace()
  guard.operation = false
  operation.conclude, operation.parked = false, false
  operation:abandon()
end

local guard_mt = { __close = abandon, __gc = abandon }

local function park(call, loop, thread, job, ...)
  local schedule = call.schedule
  local seat = setmetatable({ thread = thread }, { __mode = "v" }) -- it may be collected meanwhile
  local function wake()
    if seat.parked and seat.thread then loop.wake(seat.thread) end
  end
  local delivery = schedule:delivery(false, wake)
  local guard <close> = setmetatable({ operation = false }, guard_mt)
  local operation = start(call, function() schedule:post(delivery) end, job, ...)
  operation.parked, guard.operation = true, operation
  schedule:tell_host()
  while not operation.ended do
    seat.parked = true
    loop.park()
    seat.parked = false
  end
  if operation.failed then error(operation.problem, 0) end
  return calling.results(call, operation:outcome())
end

-- ---- all three ----------------------------------------------------------------------------------

-- The coroutine that may be parked, if there is one. Not one that cannot yield just now, in a
-- callback or a finalizer; unless this loop's way to park does not yield, and it is none of ours.
local function parkable(client)
  local loop = client.loop
  if not loop then return nil end
  if coroutine.isyieldable() or loop.unyielding and not client.schedule.nested then
    return loop.current()
  end
end

--- Runs `job(call, ...)` as an operation. With `done` it returns a handle at once; else what the
--- job returns, in a coroutine of the client's loop by parking that.
---@param call mjtask.Call
---@param done? fun(value: any, err: mjtask.Error?)
function calling.run(call, done, job, ...)
  if done then return shelter(call_back, call, done, job, ...) end
  local thread = parkable(call.client)
  if thread then return park(call, call.client.loop, thread, job, ...) end
  return calling.results(call, call.schedule:run(with_operation, call, job, ...))
end

return calling
