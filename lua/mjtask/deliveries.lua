-- When user code runs, and whose its errors are. Knows a schedule's line of calls, and who belongs
-- to whom; must not know what anybody waits for.

local deliveries = {}

--- A call of user code, to be made when no operation runs. It is made for `operation` (or, if that
--- is a branch, for the one it belongs to), and not any more once that is abandoned; false: for
--- nobody, it is made in any case.
function deliveries.make(_, operation, callback, ...)
  while operation and operation.parent do operation = operation.parent end
  return {
    owner = operation, about = false, line = false, before = false, after = false,
    n = 1 + select("#", ...), callback, ...,
  }
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

-- Makes a call. Returns false, and the error that is the step's to raise, if there is one; an error
-- for a parked coroutine is kept for that.
local function make_call(self, delivery)
  local ok, err = self.call(table.unpack(delivery, 1, delivery.n))
  local owner, about = delivery.owner, delivery.about
  if ok and about then ok, err = not about.failed, about.problem end
  if ok then return true end
  local parked = owner and (owner.reader or owner)
  if not (parked and parked.parked) then return false, err end
  if not parked.failed then parked.failed, parked.problem = true, err end
  parked:cancel("aborted")
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
--- when all have been made. It takes less of the stack than what must precede it: a step, a start,
--- or `brace`; so none is lost for lack of memory.
function deliveries.run(self, awaited)
  local outer = self.nested
  local failed, problem = false, nil
  local left = (awaited or self.closed) and math.huge or self.deliveries.count
  self.nested = true
  while left > 0 and not self.deliveries:is_empty() do
    local ok, err = true, nil
    local delivery = next_delivery(self, awaited)
    if delivery then ok, err = make_call(self, delivery) end
    if not ok and failed then
      ok, err = pcall(add_error, self, problem, err, delivery and delivery.owner)
      problem = ok and err or problem
    elseif not ok then
      failed, problem = true, err
    end
    left = delivery and left - 1 or 0
  end
  self.nested = outer
  return failed, problem
end

return deliveries
