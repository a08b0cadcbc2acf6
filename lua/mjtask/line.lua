-- First in, first out, of tables that are linked with each other: to come and to go takes no
-- memory, and whoever gives up leaves nothing behind. Knows nothing else.
--
-- Whoever is to stand in a line has the fields `line`, `before` and `after`, false at first. Not
-- nil: a field that comes and goes may need memory each time.

local line = {}

---@class mjtask.Line
local methods = {}
local mt = { __index = methods }

---@return mjtask.Line
function line.new()
  return setmetatable({ head = false, tail = false, count = 0 }, mt)
end

function methods:push(item)
  local last = self.tail
  item.line, item.before = self, last
  if last then last.after = item else self.head = item end
  self.tail = item
  self.count = self.count + 1
end

--- Takes out an item. Returns whether it was in here.
---@return boolean
function methods:remove(item)
  if item.line ~= self then return false end
  local before, after = item.before, item.after
  item.line, item.before, item.after = false, false, false
  if before then before.after = after else self.head = after end
  if after then after.before = before else self.tail = before end
  self.count = self.count - 1
  return true
end

--- The oldest item, which stays; false if there is none.
function methods:first()
  return self.head
end

-- Each call below may run a finalizer, and that take out the very item: whoever removes it has it.

--- Takes out the oldest item for which `suits(item, ...)` is true; false if there is none.
function methods:take(suits, ...)
  local item = self.head
  while item do
    local fits = suits(item, ...)
    if item.line ~= self then
      item = self.head
    elseif not fits then
      item = item.after
    elseif self:remove(item) then
      return item
    else
      item = self.head
    end
  end
  return false
end

--- Takes out the oldest item; false if there is none.
function methods:pop()
  local item = self.head
  while item and not self:remove(item) do item = self.head end
  return item
end

function methods:is_empty()
  return not self.head
end

return line
