-- First in, first out. Knows nothing else.

local fifo = {}

---@class mjtask.Fifo
---@field first integer
---@field last integer
local methods = {}
local mt = { __index = methods }

---@return mjtask.Fifo
function fifo.new()
  return setmetatable({ first = 1, last = 0 }, mt)
end

function methods:push(value)
  self.last = self.last + 1
  self[self.last] = value
end

--- The oldest value; nil if there is none.
function methods:pop()
  local value = self[self.first]
  if value == nil then return nil end
  self[self.first] = nil
  if self.first < self.last then self.first = self.first + 1 else self.first, self.last = 1, 0 end
  return value
end

--- The oldest value, which stays.
function methods:first_value()
  return self[self.first]
end

function methods:is_empty()
  return self.first > self.last
end

function methods:count()
  return self.last - self.first + 1
end

--- Takes out the oldest value for which `suits(value)` is true.
function methods:take(suits)
  for at = self.first, self.last do
    local value = self[at]
    if suits(value) then
      table.move(self, at + 1, self.last + 1, at)
      self.last = self.last - 1
      return value
    end
  end
end

return fifo
