-- Operations as coroutines, and their timers: who waits for what, and when user code runs. Knows
-- an engine by its methods and a clock by its function; must not know what is asked of a server.
--
-- Memory may run out anywhere. In an operation that is the operation's own failure. Out here it
-- would lose one that waits, or a callback: so what wakes, ends and tells takes none, or has it
-- before there is anything to lose. Hence fields that are false, not nil, until they are needed.

local deliveries = require "mjtask.deliveries"
local heap = require "mjtask.heap"
local line = require "mjtask.line"
local shelter = require "mjtask.core".shelter

local schedule = {}

local TICK = 0.1 -- seconds between two reports of a transfer under way
local NAP = 0.05 -- seconds that a host which watches no descriptor may sleep while one flies
-- Requests at once that libcurl gives a new HTTP/2 connection, until the server has said how many
-- it takes. Of more it would make a connection each.
local COLD = 100
local ENDING = 12 -- levels of calls that ending an operation takes, with some to spare
local STEPPING = 48 -- those of a step; each error that is caught gives half of what is left back

---@class mjtask.Schedule
local methods = {}
local mt = { __name = "mjtask.schedule", __index = methods }

--- `engine` moves bytes (mjtask.core); `call`, `interrupted` are the core's. Clock and randomness
--- come from outside: `now()` gives monotonic seconds, `random()` a number in [0, 1). With `jump`
--- time is a fake: jump(t) is called instead of a sleep while no transfer is in flight.
---@param setup { engine: userdata, max_inflight: integer, call: function, interrupted: function,
---  now: (fun(): number), random: (fun(): number), jump?: fun(time: number) }
---@return mjtask.Schedule
function schedule.new(setup)
  return setmetatable({
    engine = setup.engine,
    call = setup.call,
    interrupted = setup.interrupted,
    now = setup.now,
    random = setup.random,
    jump = setup.jump,
    max_inflight = setup.max_inflight,
    inflight = 0, -- transfers with the engine
    answered = false, -- one of them has ended since there were none
    unstepped = false, -- one was started since its last step, and has work at once
    operations = {}, -- every operation that has not ended, as a key
    count = 0, -- of them
    timers = heap.new(), -- of operations
    queue = line.new(), -- operations that wait for one of max_inflight places
    deliveries = line.new(), -- calls of user code, in the order things happened
    current = false, -- the one that is out of that line, and not made yet
    seat = false, -- see straight.lua
    nested = false, -- an operation or user code runs
    stepping = false, -- a step is under way: what calls meanwhile is a finalizer
    closed = false, -- the reason, once it is
    watched = false, -- somebody else's loop watches the engine's descriptor
    on_busy = false, -- told whether anything is under way, when that changes
    busy = false, -- what it was told
  }, mt)
end

-- Lua needs memory for a stack that grows, and for the first call at each depth of one. The further
-- parameters make a level as wide as most are.
local function deepen(levels, _a, _b, _c, _d, _e, _f, _g, _h)
  if levels > 0 then deepen(levels - 1) end
end

--- Raises if there is not the memory that it takes to end an operation. To be called first, where
--- that is asked for: then nothing has happened yet. `all`: to end whatever a step may end.
---@param all? boolean
function methods:brace(all) -- luacheck: no self
  deepen(all and STEPPING or ENDING)
end

-- ---- operations ---------------------------------------------------------------------------------

---@class mjtask.schedule.Operation
---@field ended boolean
local operation_methods = {}
local operation_mt = { __name = "mjtask.operation", __index = operation_methods }

function operation_mt:__close()
  self:cancel("aborted")
end

-- What an operation waited for is over: takes it out of everything that knew it.
local function stop_waiting(self, operation)
  self.timers:remove(operation)
  self.queue:remove(operation)
  local transfer = operation.transfer
  if transfer then
    operation.transfer = false
    transfer:cancel()
    self.inflight = self.inflight - 1
  end
end

--- What it returned; nil and the reason, if it was ended from outside; nothing, if it failed.
function operation_methods:outcome()
  if self.reason then return nil, self.reason end
  if not self.failed then return self.value, self.err end
end

local function end_branches(operation)
  local reason = operation.cancelled or "aborted"
  if not operation.branches then return end
  for branch in next, operation.branches do branch:cancel(reason) end
end

-- Ends an operation: of itself, or for a reason from outside. Once: who asked before whether it has
-- ended may have run a finalizer since.
local function finish(self, operation, reason)
  if operation.ended then return end
  operation.ended, operation.reason = true, reason
  self.operations[operation] = nil
  self.count = self.count - 1
  stop_waiting(self, operation)
  local parent, conclude = operation.parent, operation.conclude
  if parent then
    parent.branches[operation] = nil
    parent:rouse()
  end
  end_branches(operation)
  if conclude then conclude(operation, operation:outcome()) end
end

-- An operation has died: of no memory, of no C stack, or of a fault of ours. That belongs to who
-- called; a branch takes the whole along.
local function fail(self, operation, problem)
  operation.failed, operation.problem = true, problem
  finish(self, operation, false)
  local parent = operation.parent
  if parent and not parent.ended then
    parent.failed, parent.problem = true, problem
    parent:cancel "aborted"
  end
end

-- Runs an operation until it waits for something again, or ends. Every allocation may run a
-- finalizer that calls the client, and with it this very operation: hence the questions.
local function resume(self, operation, ...)
  local outer, thread = self.nested, operation.thread
  self.nested = true
  local ok, problem = coroutine.resume(thread, ...)
  self.nested = outer
  if operation.ended then return end -- by a finalizer's step
  local reason = operation.cancelled or not ok and self.closed
  if ok and coroutine.status(thread) ~= "dead" then
    if reason then
      operation:cancel(reason)
    elseif operation.woken then -- before it had gone to sleep
      return resume(self, operation)
    end
  else
    if not ok then coroutine.close(thread) end -- its <close>, which do not run when it dies
    if ok or reason then
      finish(self, operation, reason)
    else
      fail(self, operation, problem)
    end
  end
end

-- Ends the waiting of an operation; `gift` is what it waited for.
local function wake(self, operation, gift)
  local thread = operation.thread
  operation.woken, operation.gift = true, gift
  if thread and coroutine.status(thread) == "suspended" then resume(self, operation) end
end

-- Inside an operation: waits, and returns what for; false: for a time.
local function pause(operation)
  coroutine.yield()
  local gift = operation.gift
  operation.woken, operation.gift = false, false
  return gift
end

-- What an operation runs.
local function run(operation, body, ...)
  operation.value, operation.err = body(operation, ...)
end

local function launch(self, parent, conclude, body, ...)
  local operation = setmetatable({
    schedule = self,
    thread = coroutine.create(run),
    parent = parent, branches = false, -- operations that end with it
    conclude = conclude, -- called when it has ended
    ended = true, -- until it is counted
    value = false, err = false, reason = false, -- how it ended, see outcome
    failed = false, problem = false, -- the error that is for who awaits it
    cancelled = false, -- the reason, while it still runs
    transfer = false, -- the one under way
    line = false, before = false, after = false, -- in the queue for places
    resting = false, roused = false,
    woken = false, gift = false, -- what it waited for, until it takes it
    abandoned = false, -- what it still had to tell concerns nobody
    parked = false, -- a coroutine of a loop awaits it
    reader = false, -- the operation that takes what this one brings forth, see watcher.lua
  }, operation_mt)
  if parent then parent.branches[operation] = true end
  if not self.closed then self.operations[operation] = true end -- else close may be walking over it
  self.count = self.count + 1
  operation.ended = false
  if self.closed then
    finish(self, operation, self.closed)
    return operation
  end
  resume(self, operation, operation, body, ...)
  return operation
end

local function spawn(self, conclude, body, ...)
  deepen(ENDING)
  return launch(self, false, conclude, body, ...)
end

--- Starts `body(operation, ...)` as an operation; it runs at once up to its first wait. What it
--- returns, two values at most, is its outcome. Raises if there is no memory to start one; what
--- fails later is told by its end.
---@return mjtask.schedule.Operation
function methods:spawn(body, ...)
  return shelter(spawn, self, false, body, ...)
end

--- The same; `conclude(operation, ...)` is called once, when it has ended, with its outcome. It
--- must not wait, nor run user code, nor fail.
---@return mjtask.schedule.Operation
function methods:spawn_with(conclude, body, ...)
  return shelter(spawn, self, conclude, body, ...)
end

--- Inside an operation: starts another that ends with it, and rouses it when it ends itself.
--- Raises where memory runs out: the end of both. A timer may be left then, which wakes nobody.
---@return mjtask.schedule.Operation
function operation_methods:branch(body, ...)
  self.branches = self.branches or {}
  return launch(self.schedule, self, false, body, ...)
end

--- Inside an operation: ends all that it has started. One that waits for a place may get that of
--- another, and run for a last time before it is its turn to end.
operation_methods.end_branches = end_branches

local start_queued

--- Ends the operation with `nil, reason`, whatever it waits for. One that runs ends at its next
--- wait; one that has ended stays as it is.
function operation_methods:cancel(reason)
  local owner = self.schedule
  if self.ended then return end
  self.cancelled = reason
  local status = coroutine.status(self.thread)
  if status == "running" or status == "normal" then return end -- a dead one may not have ended yet
  finish(owner, self, reason)
  coroutine.close(self.thread)
  start_queued(owner)
end

local function abandon(operation)
  local owner = operation.schedule
  owner:brace()
  if operation.ended then return end
  operation.abandoned = true
  operation:cancel "aborted"
  owner:tell_host()
end

--- From outside: ends the operation, and what it still has to tell concerns nobody. One that has
--- ended stays as it is. Raises if there is no memory for that; then nothing has happened.
function operation_methods:abandon()
  shelter(abandon, self)
end

--- Inside an operation: sleeps until `time`.
function operation_methods:sleep_until(time)
  self.schedule.timers:set(self, time)
  pause(self)
end

--- Inside an operation: sleeps until `time` (nil: without end), or until it is roused; not at all
--- if it was roused since it last slept here.
function operation_methods:rest(time)
  if self.roused then
    self.roused = false
    return
  end
  self.schedule.timers:set(self, time or math.huge) -- so that to be roused takes no memory
  self.resting = true
  pause(self)
  self.resting, self.roused = false, false
end

--- Ends the operation's rest, in the next step.
function operation_methods:rouse()
  if self.ended then return end
  self.roused = true
  if self.resting then self.schedule.timers:set(self, -math.huge) end
end

-- Is there a place for one transfer more?
local function has_place(self)
  local most = self.max_inflight
  if not self.answered and most > COLD then most = COLD end
  return self.inflight < most
end

-- Inside an operation: waits for one of max_inflight places. False: the deadline passed first.
local function wait_for_place(self, deadline)
  local owner = self.schedule
  if has_place(owner) and owner.queue:is_empty() then return true end
  owner.timers:set(self, deadline)
  owner.queue:push(self)
  return pause(self)
end

-- The place is taken only when it is used: a finalizer that runs during the start may need it.
local function start(self, request)
  local owner = self.schedule
  local engine = owner.engine
  local transfer = (request.file and engine.download or engine.start)(engine, request, self)
  self.transfer = transfer
  owner.answered = owner.answered and owner.inflight > 0
  owner.inflight, owner.unstepped = owner.inflight + 1, true
  return transfer
end

--- Inside an operation: does `request` (see the engine's start; with a file, its download) and
--- returns the ended transfer; nil if `deadline` passed before one of max_inflight places was free.
--- `limit` is what the exchange may take in seconds; it ends with the deadline in any case.
--- `admit(of, request)` is called as soon as there is a place; if it says no, that is given up
--- again, and nil and false are returned. `request.tick(transfer)` is called now and then
--- meanwhile; what it returns ends the exchange, and is returned behind a nil.
function operation_methods:send(request, limit, deadline, admit, of)
  local owner, tick = self.schedule, request.tick
  if not wait_for_place(self, deadline) then return nil end
  if admit and not admit(of, request) then return nil, false end
  request.timeout = math.min(limit, deadline - owner.now())
  if request.timeout <= 0 then return nil end
  local transfer = start(self, request)
  repeat
    if tick and self.transfer then owner.timers:set(self, owner.now() + TICK) end
    local ended = pause(self)
    local verdict = tick and tick(transfer)
    if verdict and not ended then
      stop_waiting(owner, self)
      return nil, verdict
    end
  until ended
  return transfer
end

-- Gives free places to those who wait longest for one.
function start_queued(self)
  while has_place(self) and not self.closed do
    local operation = self.queue:first()
    if not operation then return end
    if self.queue:remove(operation) then -- else a finalizer's step has just done all this
      self.timers:remove(operation)
      wake(self, operation, true)
    end
  end
end

-- ---- user code ----------------------------------------------------------------------------------

methods.delivery, methods.post, methods.deliver =
  deliveries.make, deliveries.post, deliveries.deliver

-- The time of what is due next; nil: nothing will ever be.
local function next_due(self)
  local _, due = self.timers:first()
  return due and due < math.huge and due or nil
end

-- Is the caller user code, or a finalizer, below which something of ours runs?
local function is_inside(self)
  return self.nested or self.stepping
end

--- Is nothing under way, nor to be told, and the caller none of ours?
function methods:is_free()
  return self.count == 0 and self.inflight == 0 and not self.closed and not is_inside(self)
    and not deliveries.are_due(self)
end

--- Is nothing under way, and nothing to be told?
function methods:is_idle()
  return self.count == 0 and (is_inside(self) or not deliveries.are_due(self))
end

--- Tells the host's loop when it is needed again. To be called after whatever changes that, unless
--- a step follows; inside of one it does nothing.
function methods:tell_host()
  if is_inside(self) or self.closed then return end
  if self.watched then
    self.engine:wake_at(deliveries.are_due(self) and -math.huge or next_due(self))
  end
  local busy = not self:is_idle()
  if self.on_busy and busy ~= self.busy then
    self.busy = busy
    shelter(self.on_busy, busy)
  end
end

-- ---- driving ------------------------------------------------------------------------------------

-- Wakes whose time has come. Was there one?
local function run_timers(self)
  local any = false
  local operation, due = self.timers:first()
  if operation then
    local now = self.now()
    while operation and due <= now do
      self.timers:remove(operation)
      self.queue:remove(operation)
      wake(self, operation, false)
      any = true
      operation, due = self.timers:first()
    end
  end
  if self.queue.head then start_queued(self) end
  return any
end

--- Hands out the transfers that have ended.
function methods:run_transfers()
  local operation, transfer = self.engine:next()
  while operation do
    operation.transfer = false
    self.inflight = self.inflight - 1
    self.answered = true
    self.timers:remove(operation)
    if self.queue.head then start_queued(self) end -- before this one, which may want a place again
    wake(self, operation, transfer)
    operation, transfer = self.engine:next()
  end
end

local function move(self, seconds, awaited, inside)
  local due = next_due(self)
  if self.jump and due and self.inflight == 0 then
    if due > self.now() then self.jump(due) end
    run_timers(self)
    return false
  end
  if run_timers(self) then
    seconds, due = 0, next_due(self) -- something has happened
  end
  if not inside and deliveries.are_due(self) then seconds = 0 end
  self.engine:wake_at(not self.jump and due or nil)
  if awaited and awaited.ended then seconds = 0 end -- by a finalizer's step, too
  if not due and self.inflight == 0 then seconds = 0 end -- what there is runs, below this finalizer
  self.unstepped = false
  local interrupted = self.engine:step(seconds)
  self:run_transfers()
  run_timers(self)
  return interrupted
end

-- Returns true and whether it ended early, or false and an error: to catch that once more would
-- take more of the stack.
local function step(self, seconds, awaited)
  if self.closed then return true, false end
  deepen(STEPPING)
  local outer, inside = self.stepping, is_inside(self)
  self.stepping = true
  local ok, interrupted = pcall(move, self, seconds, awaited, inside)
  self.stepping = outer
  if not ok and self.closed then return true, false end -- by a finalizer, in the middle of it
  return ok, interrupted
end

--- Moves everything on that can be moved, waiting at most `seconds` for it (nil: until something
--- happens). Runs no user code. Returns whether it ended early, perhaps by a signal.
---@param seconds? number
---@param awaited? mjtask.schedule.Operation its end is something, whoever brought it about
---@return boolean
function methods:step(seconds, awaited)
  local ok, interrupted = shelter(step, self, seconds, awaited)
  if not ok then error(interrupted, 0) end
  return interrupted
end

--- The step of a host's loop: moves everything on, and runs the user code that is due. From within
--- user code or a finalizer it only moves. Returns whether anything is still under way; raises the
--- first error of user code.
---@param seconds? number
---@return boolean
function methods:turn(seconds)
  if self:is_idle() then
    if self.watched and not self.closed then -- by an idle connection that the server has closed
      self.engine:step(0)
      self:tell_host()
    end
    return false
  end
  local interrupted = self:step(seconds)
  if not is_inside(self) then
    local failed, problem = deliveries.run(self)
    self:tell_host()
    if failed then error(problem, 0) end
  end
  if interrupted and self.interrupted() then error("interrupted!", 0) end
  return not self:is_idle()
end

--- How long a host that watches no descriptor may sleep before the next turn, in seconds; nil:
--- nothing is under way.
---@return number?
function methods:timeout()
  if deliveries.are_due(self) then return 0 end
  if self.count == 0 then return nil end
  if self.unstepped then return 0 end
  local due = next_due(self)
  local rest = due and math.max(due - self.now(), 0)
  if self.inflight > 0 or not rest then rest = math.min(rest or NAP, NAP) end
  return rest
end

local function drive(self, operation, awaited)
  local failed, problem
  while not operation.ended do
    local interrupted = self:step(nil, operation)
    failed, problem = deliveries.run(self, awaited)
    if failed then error(problem, 0) end
    if interrupted and self.interrupted() then error("interrupted!", 0) end
  end
  failed, problem = deliveries.run(self, awaited)
  if failed then error(problem, 0) end
end

local function start_for(self, seat, body, ...)
  seat.operation = spawn(self, false, body, ...)
end

local function start_and_drive(self, seat, ...)
  local inside = is_inside(self)
  shelter(start_for, self, seat, ...)
  drive(self, seat.operation, inside and seat.operation or nil)
end

local function leave(self, operation)
  if operation then
    operation.abandoned = true -- if it has ended, too
    operation:cancel "aborted"
  end
  self:tell_host()
end

-- Nothing that was left by an error is left behind; not by a <close>, which does not run in a
-- coroutine that dies. The error has taken of this stack: so that is done on the other.
local function results(self, operation, ok, problem)
  if not ok then
    shelter(leave, self, operation)
    error(problem, 0)
  end
  self:tell_host()
  if operation.failed then error(operation.problem, 0) end
  return operation:outcome()
end

--- Blocks until the operation has ended, and returns what it returned. An error on the way (a
--- callback's, Ctrl-C) ends it.
---@param operation mjtask.schedule.Operation
function methods:await(operation)
  return results(self, operation,
    pcall(drive, self, operation, is_inside(self) and operation or nil))
end

--- Does `body(operation, ...)` as an operation, and awaits it.
function methods:run(body, ...)
  local seat = { operation = false } -- Ctrl-C may come when it is started, and not yet returned
  local ok, problem = pcall(start_and_drive, self, seat, body, ...)
  return results(self, seat.operation, ok, problem)
end

local function end_all(self, reason, client)
  self:brace()
  self.closed = reason
  if client then client.closed = true end
  for operation in next, self.operations do operation:cancel(reason) end
end

--- Ends every operation with `nil, reason`, and moves nothing any more; `client.closed` is true
--- with that. What is to be told of it is told before this returns; its errors are raised. Without
--- memory it raises, and nothing has happened.
function methods:close(reason, client)
  if not self.closed then
    shelter(end_all, self, reason, client)
  elseif not deliveries.are_due(self) then
    return
  end
  local failed, problem = deliveries.run(self)
  if self.on_busy and self.busy then shelter(self.on_busy, false) end
  self.busy = false
  if failed then error(problem, 0) end
end

return schedule
