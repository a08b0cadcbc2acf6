-- Operations as coroutines, and their timers: who waits for what, and when user code runs. Knows
-- an engine by its methods and a clock by its function; must not know what is asked of a server.

local fifo = require "mjtask.fifo"
local heap = require "mjtask.heap"

local schedule = {}

local TICK = 0.1 -- seconds between two reports of a transfer under way
local NAP = 0.05 -- seconds that a host which watches no descriptor may sleep while one flies

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
    unstepped = false, -- one was started since its last step, and has work at once
    operations = {}, -- every operation that has not ended, as a key
    count = 0, -- of them
    timers = heap.new(), -- of operations
    queue = { first = nil, last = nil }, -- operations that wait for one of max_inflight places
    deliveries = fifo.new(), -- calls of user code, in the order things happened
    nested = false, -- an operation or user code runs
    closed = nil, -- the reason, once it is
    watched = false, -- somebody else's loop watches the engine's descriptor
    on_busy = nil, -- told whether anything is under way, when that changes
    busy = false, -- what it was told
  }, mt)
end

-- ---- the queue for places -----------------------------------------------------------------------

-- Operations are linked with each other, so that one that gives up leaves nothing behind.
local function enqueue(queue, operation)
  operation.queue, operation.before = queue, queue.last
  if queue.last then queue.last.after = operation else queue.first = operation end
  queue.last = operation
end

local function dequeue(operation)
  local queue, before, after = operation.queue, operation.before, operation.after
  if not queue then return end
  operation.queue, operation.before, operation.after = nil, nil, nil
  if before then before.after = after else queue.first = after end
  if after then after.before = before else queue.last = before end
end

-- ---- operations ---------------------------------------------------------------------------------

---@class mjtask.Operation
---@field ended boolean
local operation_methods = {}
local operation_mt = { __name = "mjtask.operation", __index = operation_methods }

function operation_mt:__close()
  self:cancel("aborted")
end

-- What an operation waited for is over: takes it out of everything that knew it.
local function stop_waiting(self, operation)
  self.timers:remove(operation)
  dequeue(operation)
  local transfer = operation.transfer
  if transfer then
    operation.transfer = nil
    transfer:cancel()
    self.inflight = self.inflight - 1
  end
end

-- Once: who asked before whether it has ended may have run a finalizer since.
local function finish(self, operation, ...)
  if operation.ended then return end
  operation.ended = true
  operation.results = table.pack(...)
  self.operations[operation] = nil
  self.count = self.count - 1
  stop_waiting(self, operation)
  local parent, branches, conclude = operation.parent, operation.branches, operation.conclude
  if parent then
    parent.branches[operation] = nil
    parent:rouse()
  end
  for branch in pairs(branches or {}) do branch:cancel(operation.cancelled or "aborted") end
  if conclude then conclude(operation, ...) end
end

-- Runs an operation until it waits for something again, or ends. Every allocation may run a
-- finalizer that calls the client, and with it this very operation: hence the questions.
local function resume(self, operation, ...)
  local outer = self.nested
  self.nested = true
  local results = table.pack(coroutine.resume(operation.thread, ...))
  self.nested = outer
  local reason = operation.cancelled or self.closed
  if operation.ended then return end -- by a finalizer's step
  if results[1] and coroutine.status(operation.thread) ~= "dead" then
    if operation.cancelled then
      operation:cancel(operation.cancelled)
    elseif operation.woken then -- before it had gone to sleep
      local value = operation.value
      operation.woken, operation.value = false, nil
      return resume(self, operation, value)
    end
  elseif results[1] and not operation.cancelled then
    finish(self, operation, table.unpack(results, 2, results.n))
  elseif reason then
    finish(self, operation, nil, reason)
  else -- no memory, no C stack, or a fault of ours: it belongs to who called
    operation.fault = results[2]
    finish(self, operation)
    local parent = operation.parent
    if parent and not parent.ended then
      parent.fault = operation.fault
      parent:cancel "aborted"
    end
  end
end

-- Ends the waiting of an operation; `value` is what it waited for.
local function wake(self, operation, value)
  if coroutine.status(operation.thread) == "suspended" then
    return resume(self, operation, value)
  end
  operation.woken, operation.value = true, value
end

local function launch(self, parent, conclude, body, ...)
  local operation = setmetatable({
    schedule = self,
    thread = coroutine.create(body),
    parent = parent, branches = nil, -- operations that end with it
    conclude = conclude, -- called when it has ended
    ended = false,
    transfer = nil, -- the one under way
    queue = nil, before = nil, after = nil, -- in the queue for places
    resting = false, roused = false,
    woken = false, value = nil, -- while it ran
    abandoned = false, -- what it still had to tell concerns nobody
    parked = false, problem = nil, -- a coroutine of a loop awaits it; an error that is for it
    reader = nil, -- the operation that takes what this one brings forth, see watch.lua
  }, operation_mt)
  self.count = self.count + 1
  if self.closed then -- just now, perhaps while close walks over the operations
    finish(self, operation, nil, self.closed)
    return operation
  end
  self.operations[operation] = true
  if parent then parent.branches[operation] = true end
  resume(self, operation, operation, ...)
  return operation
end

--- Starts `body(operation, ...)` as an operation; it runs at once up to its first wait.
---@return mjtask.Operation
function methods:spawn(body, ...)
  return launch(self, nil, nil, body, ...)
end

--- The same; `conclude(operation, ...)` is called once, when it has ended, with its results. It
--- must not wait, nor run user code.
---@return mjtask.Operation
function methods:spawn_with(conclude, body, ...)
  return launch(self, nil, conclude, body, ...)
end

--- Inside an operation: starts another that ends with it, and rouses it when it ends itself.
---@return mjtask.Operation
function operation_methods:branch(body, ...)
  self.branches = self.branches or {}
  return launch(self.schedule, self, nil, body, ...)
end

local start_queued

--- Ends the operation with `nil, reason`, whatever it waits for. One that runs ends at its next
--- wait; one that has ended stays as it is.
function operation_methods:cancel(reason)
  local owner = self.schedule
  if self.ended then return end
  if coroutine.status(self.thread) ~= "suspended" then
    self.cancelled = reason
    return
  end
  self.cancelled = reason
  finish(owner, self, nil, reason)
  coroutine.close(self.thread)
  start_queued(owner)
end

--- Inside an operation: sleeps until `time`.
function operation_methods:sleep_until(time)
  self.schedule.timers:set(self, time)
  coroutine.yield()
end

--- Inside an operation: sleeps until `time` (nil: without end), or until it is roused; not at all
--- if it was roused since it last slept here.
function operation_methods:rest(time)
  if self.roused then
    self.roused = false
    return
  end
  self.resting = true
  if time then self.schedule.timers:set(self, time) end
  coroutine.yield()
  self.resting, self.roused = false, false
end

--- Ends the operation's rest, in the next step.
function operation_methods:rouse()
  if self.ended then return end
  self.roused = true
  if self.resting then self.schedule.timers:set(self, -math.huge) end
end

-- Inside an operation: waits for one of max_inflight places. False: the deadline passed first.
local function wait_for_place(self, deadline)
  local owner = self.schedule
  if owner.inflight < owner.max_inflight and not owner.queue.first then return true end
  enqueue(owner.queue, self)
  owner.timers:set(self, deadline)
  return coroutine.yield()
end

-- The place is taken only when it is used: a finalizer that runs during the start may need it.
local function start(self, request)
  local owner = self.schedule
  local engine = owner.engine
  local transfer = (request.file and engine.download or engine.start)(engine, request, self)
  self.transfer = transfer
  owner.inflight, owner.unstepped = owner.inflight + 1, true
  return transfer
end

--- Inside an operation: does `request` (see the engine's start; with a file, its download) and
--- returns the ended transfer; nil if `deadline` passed before one of max_inflight places was free.
--- `limit` is what the exchange may take in seconds; it ends with the deadline in any case.
--- `tick(transfer)` is called now and then meanwhile; what it returns ends the exchange, and is
--- returned behind a nil.
function operation_methods:send(request, limit, deadline, tick)
  local owner = self.schedule
  if not wait_for_place(self, deadline) then return nil end
  request.timeout = math.min(limit, deadline - owner.now())
  if request.timeout <= 0 then return nil end
  local transfer = start(self, request)
  repeat
    if tick and self.transfer then owner.timers:set(self, owner.now() + TICK) end
    local ended = coroutine.yield()
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
  while self.inflight < self.max_inflight and not self.closed do
    local operation = self.queue.first
    if not operation then return end
    stop_waiting(self, operation)
    wake(self, operation, true)
  end
end

-- ---- user code ----------------------------------------------------------------------------------

--- Notes a call of user code, to be made when no operation runs. It is made for `operation` (or,
--- if that is a branch, for the one it belongs to), and not any more once that is abandoned; false:
--- for nobody, it is made in any case.
function methods:deliver(operation, callback, ...)
  while operation and operation.parent do operation = operation.parent end
  self.deliveries:push(table.pack(operation, callback, ...))
end

-- Takes the next delivery: any, or the next for whom `awaited` was started.
local function next_delivery(self, awaited)
  local queue = self.deliveries
  if awaited then
    return queue:take(function(delivery)
      local owner = delivery[1]
      return owner == awaited or owner and owner.reader == awaited
    end)
  end
  local delivery = queue:pop()
  while delivery and delivery[1] and delivery[1].abandoned do delivery = queue:pop() end
  return delivery
end

-- Makes the calls that are due: all of them, or only those for one awaited operation. What they
-- bring forth themselves is for the next time: calls that fail at once, each made by the callback
-- of the one before, must not keep a host from its loop. The first error of user code is returned
-- when all have been made; but one that is for a parked coroutine is kept for it.
local function run_deliveries(self, awaited)
  local outer = self.nested
  local failed, problem = false, nil
  local left = (awaited or self.closed) and math.huge or self.deliveries:count()
  self.nested = true
  local delivery = next_delivery(self, awaited)
  while delivery do
    local ok, err = self.call(table.unpack(delivery, 2, delivery.n))
    if not ok then
      local owner = delivery[1]
      local parked = owner and (owner.reader or owner)
      if parked and parked.parked then
        parked.problem = parked.problem or { err }
        parked:cancel("aborted")
      elseif not failed then
        failed, problem = true, err
      end
    end
    left = left - 1
    delivery = left > 0 and next_delivery(self, awaited)
  end
  self.nested = outer
  return failed, problem
end

--- Is nothing under way, and nothing to be told?
function methods:is_idle()
  return self.count == 0 and (self.nested or self.deliveries:is_empty())
end

--- Tells the host's loop when it is needed again. To be called after whatever changes that, unless
--- a step follows; inside of one it does nothing.
function methods:tell_host()
  if self.nested or self.closed then return end
  if self.watched then
    local _, due = self.timers:first()
    self.engine:wake_at(not self.deliveries:is_empty() and -math.huge or due)
  end
  local busy = not self:is_idle()
  if self.on_busy and busy ~= self.busy then
    self.busy = busy
    self.on_busy(busy)
  end
end

-- ---- driving ------------------------------------------------------------------------------------

-- Wakes whose time has come. Was there one?
local function run_timers(self)
  local now, any = self.now(), false
  local operation, due = self.timers:first()
  while operation and due <= now do
    self.timers:remove(operation)
    dequeue(operation)
    wake(self, operation, nil)
    any = true
    operation, due = self.timers:first()
  end
  start_queued(self)
  return any
end

local function run_transfers(self)
  local operation, transfer = self.engine:next()
  while operation do
    operation.transfer = nil
    self.inflight = self.inflight - 1
    self.timers:remove(operation)
    start_queued(self) -- before this one, which may want a place again
    wake(self, operation, transfer)
    operation, transfer = self.engine:next()
  end
end

local function move(self, seconds, awaited)
  local _, due = self.timers:first()
  if self.jump and due and self.inflight == 0 then
    if due > self.now() then self.jump(due) end
    run_timers(self)
    return false
  end
  if run_timers(self) then seconds = 0 end -- something has happened
  if not self.nested and not self.deliveries:is_empty() then seconds = 0 end
  _, due = self.timers:first()
  self.engine:wake_at(not self.jump and due or nil)
  if awaited and awaited.ended then seconds = 0 end -- by a finalizer's step, too
  if not due and self.inflight == 0 then seconds = 0 end -- what there is runs, below this finalizer
  self.unstepped = false
  local interrupted = self.engine:step(seconds)
  run_transfers(self)
  run_timers(self)
  return interrupted
end

--- Moves everything on that can be moved, waiting at most `seconds` for it (nil: until something
--- happens). Runs no user code. Returns whether it ended early, perhaps by a signal.
---@param seconds? number
---@param awaited? mjtask.Operation its end is something, whoever brought it about
---@return boolean
function methods:step(seconds, awaited)
  if self.closed then return false end
  local ok, interrupted = pcall(move, self, seconds, awaited)
  if ok then return interrupted end
  if self.closed then return false end -- by a finalizer, in the middle of it
  error(interrupted, 0)
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
  if not self.nested then
    local failed, problem = run_deliveries(self)
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
  if not self.deliveries:is_empty() then return 0 end
  if self.count == 0 then return nil end
  if self.unstepped then return 0 end
  local _, due = self.timers:first()
  local rest = due and math.max(due - self.now(), 0)
  if self.inflight > 0 or not rest then rest = math.min(rest or NAP, NAP) end
  return rest
end

local function drive(self, operation)
  local failed, problem
  local awaited = self.nested and operation or nil
  while not operation.ended do
    local interrupted = self:step(nil, operation)
    failed, problem = run_deliveries(self, awaited)
    if failed then error(problem, 0) end
    if interrupted and self.interrupted() then error("interrupted!", 0) end
  end
  failed, problem = run_deliveries(self, awaited)
  if failed then error(problem, 0) end
end

--- Blocks until the operation has ended, and returns what it returned. Left by an error (a
--- callback's, Ctrl-C) it leaves nothing behind; not by a <close>, which does not run in a
--- coroutine that dies.
---@param operation mjtask.Operation
function methods:await(operation)
  local outer = self.nested
  local ok, problem = pcall(drive, self, operation)
  if not ok then
    self.nested = outer
    operation:cancel("aborted")
    operation.abandoned = true
  end
  self:tell_host()
  if not ok then error(problem, 0) end
  if operation.fault ~= nil then error(operation.fault, 0) end
  return table.unpack(operation.results, 1, operation.results.n)
end

--- Ends every operation with `nil, reason`, and moves nothing any more. What is to be told of that
--- is told before this returns; its first error is raised.
function methods:close(reason)
  if self.closed then return end
  self.closed = reason
  for operation in pairs(self.operations) do operation:cancel(reason) end
  local failed, problem = run_deliveries(self)
  if self.on_busy and self.busy then self.on_busy(false) end
  self.busy = false
  if failed then error(problem, 0) end
end

return schedule
