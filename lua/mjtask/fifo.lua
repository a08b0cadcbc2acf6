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
  local last = self.last + 1
  self[last] = value -- fails for lack of memory, or comes to count
  self.last = last
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

return fifo
