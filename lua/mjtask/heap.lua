-- What is due first: a binary heap whose entries can be moved and taken out, because it knows the
-- place of each. Knows no clock, and not what its entries are.

local heap = {}

---@class mjtask.Heap
---@field items any[] by place
---@field due number[] by place
---@field place table<any, integer> by item
---@field count integer
local methods = {}
local mt = { __index = methods }

---@return mjtask.Heap
function heap.new()
  return setmetatable({ items = {}, due = {}, place = {}, count = 0 }, mt)
end

local function put(self, place, item, due)
  self.items[place], self.due[place], self.place[item] = item, due, place
end

local function rise(self, place, item, due)
  local items, dues = self.items, self.due
  while place > 1 do
    local above = place // 2
    if dues[above] <= due then break end
    put(self, place, items[above], dues[above])
    place = above
  end
  put(self, place, item, due)
end

local function sink(self, place, item, due)
  local items, dues, count = self.items, self.due, self.count
  while 2 * place <= count do
    local below = 2 * place
    if below < count and dues[below + 1] < dues[below] then below = below + 1 end
    if dues[below] >= due then break end
    put(self, place, items[below], dues[below])
    place = below
  end
  put(self, place, item, due)
end

local function settle(self, place, item, due)
  local above = place // 2
  if above > 0 and self.due[above] > due then return rise(self, place, item, due) end
  return sink(self, place, item, due)
end

--- The entry that is due first, and when; nothing if there is none.
function methods:first()
  return self.items[1], self.due[1]
end

--- When an entry is due; nil if it is not in here.
function methods:when(item)
  local place = self.place[item]
  return place and self.due[place]
end

--- Puts an entry in, or moves it.
function methods:set(item, due)
  local place = self.place[item]
  if place then return settle(self, place, item, due) end
  self.count = self.count + 1
  rise(self, self.count, item, due)
end

--- Takes an entry out, if it is in here.
function methods:remove(item)
  local place, count = self.place[item], self.count
  if not place then return end
  local last, due = self.items[count], self.due[count]
  self.items[count], self.due[count], self.place[item] = nil, nil, nil
  self.count = count - 1
  if last ~= item then settle(self, place, last, due) end
end

return heap
