-- When user code runs, and whose its errors are. Knows a schedule's line of calls, and who belongs
-- to whom; must not know what anybody waits for.

local shelter = require "mjtask.core".shelter

local deliveries = {}

--- A call of user code, to be made when no operation runs. It is made for `operation` (or, if that
--- is a branch, for the one it belongs to), and not any more once that is abandoned; false: for
--- nobody, it is made in any case. `prepare(delivery)`, if it has one, is called before, and may
--- say what is to be told, or false: nothing is. It must not fail. `made`: it was begun.
function deliveries.make(_, operation, callback, ...)
  while operation and operation.parent do operation = operation.parent end
  return {
    owner = operation, about = false, line = false, before = false, after = false,
    prepare = false, of = false, made = false,
    n = 1 + select("#", ...), callback, ...,
  }
end

--- Is there one?
function deliveries.are_due(self)
  return self.current ~= false or not self.deliveries:is_empty()
end

--- Notes a delivery; each once. With an operation, which has ended, it tells of that: if that one
--- failed, its error is raised behind it.
function deliveries.post(self, delivery, operation)
  delivery.about = operation or false
  self.deliveries:push(delivery)
end

--- Both at once.
function deliveries.deliver(self, operation, callback, ...)
  self.deliveries:push(deliveries.make(self, operation, callback, ...))
end

local function concerns(delivery, awaited)
  local owner = delivery.owner
  return owner == awaited or owner and owner.reader == awaited
end

-- Takes the next delivery: any, or the next for whom `awaited` was started.
local function next_delivery(self, awaited)
  local queue = self.deliveries
  if awaited then return queue:take(concerns, awaited) end
  local delivery = queue:pop()
  while delivery and delivery.owner and delivery.owner.abandoned do delivery = queue:pop() end
  return delivery
end

-- The same, and what is to be told. One that Ctrl-C kept from being made comes first.
local function take(self, awaited)
  self:brace()
  local delivery, outer = self.current, self.nested
  if delivery then return delivery end
  self.nested = true -- a finalizer runs no user code now
  repeat delivery = next_delivery(self, awaited)
  until not delivery or not delivery.prepare or delivery.prepare(delivery)
  self.current, self.nested = delivery, outer
  return delivery
end

-- Makes a call. Returns false, and the error that is the step's to raise, if there is one; an error
-- for a parked coroutine is kept for that.
local function make_call(self, delivery)
  local ok, err = self.call(self, delivery)
  local owner, about = delivery.owner, delivery.about
  if ok and about then ok, err = not about.failed, about.problem end
  if ok then return true end
  local parked = owner and (owner.reader or owner)
  if not (parked and parked.parked) then return false, err end
  if not parked.failed then parked.failed, parked.problem = true, err end
  shelter(parked.cancel, parked, "aborted")
  return true
end

-- One error more than a step can raise: it is for the next one, or said with the first.
local function add_error(self, problem, err, owner)
  if self.closed then return ("%s\n%s"):format(tostring(problem), tostring(err)) end
  deliveries.deliver(self, owner, error, err, 0)
  return problem
end

--- Makes the calls that are due: all of them, or only those for one awaited operation. What they
--- bring forth themselves is for the next time: calls that fail at once, each made by the callback
--- of the one before, must not keep a host from its loop. The first error of user code is returned
--- when all have been made. For lack of memory a call stays where it is.
function deliveries.run(self, awaited)
  local failed, problem = false, nil
  local left = (awaited or self.closed) and math.huge
    or self.deliveries.count + (self.current and 1 or 0)
  while left > 0 and deliveries.are_due(self) do
    local delivery = false
    local ok, err = pcall(self.brace, self) -- again: each error that is caught takes of the stack
    if ok then ok, err = pcall(shelter, take, self, awaited) end
    if ok and err then
      delivery = err
      ok, err = make_call(self, delivery)
    end
    if not ok and failed then
      ok, err = pcall(add_error, self, problem, err, delivery and delivery.owner)
      problem = ok and err or problem
    elseif not ok then
      failed, problem = true, err
    end
    left = delivery and left - 1 or 0
  end
  return failed, problem
end

return deliveries
