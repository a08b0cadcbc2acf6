-- Operations as coroutines, and their timers: who waits for what, and when user code runs. Knows
-- an engine by its methods and a clock by its function; must not know what is asked of a server.

local schedule = {}

local TICK = 0.1 -- seconds between two reports of a transfer under way

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
    operations = {}, -- every operation that has not ended, as a key
    timers = {}, -- a binary heap of operations, by `due`; each knows its `place`
    queue = { first = nil, last = nil }, -- operations that wait for one of max_inflight places
    deliveries = { first = 1, last = 0 }, -- calls of user code, in the order things happened
    nested = false, -- an operation or user code runs
    closed = nil, -- the reason, once it is
  }, mt)
end

-- ---- the timer heap -----------------------------------------------------------------------------

local function put(timers, place, operation)
  timers[place] = operation
  operation.place = place
end

local function rise(timers, place, operation)
  while place > 1 do
    local parent = timers[place // 2]
    if parent.due <= operation.due then break end
    put(timers, place, parent)
    place = place // 2
  end
  put(timers, place, operation)
end

local function sink(timers, place, operation)
  local count = #timers
  while 2 * place <= count do
    local child = 2 * place
    if child < count and timers[child + 1].due < timers[child].due then child = child + 1 end
    if timers[child].due >= operation.due then break end
    put(timers, place, timers[child])
    place = child
  end
  put(timers, place, operation)
end

local function set_timer(self, operation, due)
  operation.due = due
  rise(self.timers, #self.timers + 1, operation)
end

local function clear_timer(self, operation)
  local timers, place = self.timers, operation.place
  if not place then return end
  local last = timers[#timers]
  timers[#timers] = nil
  operation.place = nil
  if last ~= operation then
    rise(timers, place, last)
    sink(timers, last.place, last)
  end
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
  clear_timer(self, operation)
  dequeue(operation)
  local transfer = operation.transfer
  if transfer then
    operation.transfer = nil
    transfer:cancel()
    self.inflight = self.inflight - 1
  end
end

local function finish(self, operation, ...)
  operation.ended = true
  operation.results = table.pack(...)
  self.operations[operation] = nil
  stop_waiting(self, operation)
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
  end
end

-- Ends the waiting of an operation; `value` is what it waited for.
local function wake(self, operation, value)
  if coroutine.status(operation.thread) == "suspended" then
    return resume(self, operation, value)
  end
  operation.woken, operation.value = true, value
end

--- Starts `body(operation, ...)` as an operation; it runs at once up to its first wait.
---@return mjtask.Operation
function methods:spawn(body, ...)
  local operation = setmetatable({
    schedule = self,
    thread = coroutine.create(body),
    ended = false,
    transfer = nil, -- the one under way
    due = nil, place = nil, -- in the timer heap
    queue = nil, before = nil, after = nil, -- in the queue for places
    woken = false, value = nil, -- while it ran
    abandoned = false, -- who awaited it left by an error
  }, operation_mt)
  if self.closed then -- just now, perhaps while close walks over the operations
    finish(self, operation, nil, self.closed)
    return operation
  end
  self.operations[operation] = true
  resume(self, operation, operation, ...)
  return operation
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
  finish(owner, self, nil, reason)
  coroutine.close(self.thread)
  start_queued(owner)
end

--- Inside an operation: sleeps until `time`.
function operation_methods:sleep_until(time)
  set_timer(self.schedule, self, time)
  coroutine.yield()
end

-- Inside an operation: waits for one of max_inflight places. False: the deadline passed first.
local function wait_for_place(self, deadline)
  local owner = self.schedule
  if owner.inflight < owner.max_inflight and not owner.queue.first then return true end
  enqueue(owner.queue, self)
  set_timer(owner, self, deadline)
  return coroutine.yield()
end

-- The place is taken only when it is used: a finalizer that runs during the start may need it.
local function start(self, request)
  local owner = self.schedule
  local engine = owner.engine
  local transfer = (request.file and engine.download or engine.start)(engine, request, self)
  self.transfer = transfer
  owner.inflight = owner.inflight + 1
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
    if tick and self.transfer then set_timer(owner, self, owner.now() + TICK) end
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

-- ---- driving ------------------------------------------------------------------------------------

-- Wakes whose time has come. Was there one?
local function run_timers(self)
  local now, any = self.now(), false
  local operation = self.timers[1]
  while operation and operation.due <= now do
    clear_timer(self, operation)
    dequeue(operation)
    wake(self, operation, nil)
    any = true
    operation = self.timers[1]
  end
  start_queued(self)
  return any
end

local function run_transfers(self)
  local operation, transfer = self.engine:next()
  while operation do
    operation.transfer = nil
    self.inflight = self.inflight - 1
    clear_timer(self, operation)
    start_queued(self) -- before this one, which may want a place again
    wake(self, operation, transfer)
    operation, transfer = self.engine:next()
  end
end

local function move(self, seconds, awaited)
  local first = self.timers[1]
  if self.jump and first and self.inflight == 0 then
    if first.due > self.now() then self.jump(first.due) end
    run_timers(self)
    return false
  end
  if run_timers(self) then seconds = 0 end -- something has happened
  if not self.nested and self.deliveries.first <= self.deliveries.last then seconds = 0 end
  first = not self.jump and self.timers[1] or nil
  self.engine:wake_at(first and first.due)
  if awaited and awaited.ended then seconds = 0 end -- by a finalizer's step, too
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

local function push(queue, value)
  queue.last = queue.last + 1
  queue[queue.last] = value
end

local function pop(queue)
  local value = queue[queue.first]
  if value == nil then return nil end
  queue[queue.first] = nil
  queue.first = queue.first + 1
  return value
end

--- Notes a call of user code, to be made when no operation runs.
function methods:deliver(operation, callback, ...)
  push(self.deliveries, table.pack(operation, callback, ...))
end

-- Takes the next delivery: any, or the next of one operation. What an abandoned operation had to
-- tell concerns nobody any more.
local function next_delivery(self, operation)
  local queue = self.deliveries
  if not operation then
    local delivery = pop(queue)
    while delivery and delivery[1].abandoned do delivery = pop(queue) end
    return delivery
  end
  for at = queue.first, queue.last do
    local delivery = queue[at]
    if delivery[1] == operation then
      table.move(queue, at + 1, queue.last + 1, at)
      queue.last = queue.last - 1
      return delivery
    end
  end
end

-- Makes the calls that are due: all of them, or from within a callback only those of `operation`.
-- The first error of user code is raised when all have been made.
local function run_deliveries(self, operation)
  local outer = self.nested
  local whose = outer and operation or nil
  local failed, problem = false, nil
  self.nested = true
  local delivery = next_delivery(self, whose)
  while delivery do
    local ok, err = self.call(table.unpack(delivery, 2, delivery.n))
    if not ok and not failed then failed, problem = true, err end
    delivery = next_delivery(self, whose)
  end
  self.nested = outer
  if failed then error(problem, 0) end
end

local function drive(self, operation)
  while not operation.ended do
    local interrupted = self:step(nil, operation)
    run_deliveries(self, operation)
    if interrupted and self.interrupted() then error("interrupted!", 0) end
  end
  run_deliveries(self, operation)
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
    error(problem, 0)
  end
  if operation.fault ~= nil then error(operation.fault, 0) end
  return table.unpack(operation.results, 1, operation.results.n)
end

--- Ends every operation with `nil, reason`, and moves nothing any more.
function methods:close(reason)
  self.closed = self.closed or reason
  for operation in pairs(self.operations) do operation:cancel(reason) end
end

return schedule
