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

--- Takes out an item, if it is in here.
function methods:remove(item)
  if item.line ~= self then return end
  local before, after = item.before, item.after
  item.line, item.before, item.after = false, false, false
  if before then before.after = after else self.head = after end
  if after then after.before = before else self.tail = before end
  self.count = self.count - 1
end

--- The oldest item, which stays; false if there is none.
function methods:first()
  return self.head
end

--- Takes out the oldest item for which `suits(item, ...)` is true; false if there is none. Its call
--- may run a finalizer, and that change what is in here.
function methods:take(suits, ...)
  local item = self.head
  while item do
    local fits = suits(item, ...)
    if item.line ~= self then
      item = self.head
    elseif fits then
      self:remove(item)
      return item
    else
      item = item.after
    end
  end
  return false
end

--- Takes out the oldest item; false if there is none.
function methods:pop()
  local item = self.head
  if item then self:remove(item) end
  return item
end

function methods:is_empty()
  return not self.head
end

return line
