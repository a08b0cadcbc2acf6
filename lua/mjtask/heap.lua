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

--- The entry that is due first, and when; nothing if there is none.
function methods:first()
  if self.count > 0 then return self.items[1], self.due[1] end
end

--- When an entry is due; nil if it is not in here.
function methods:when(item)
  local place = self.place[item]
  return place and self.due[place]
end

-- Puts an entry in, moves it, or (without `due`) takes it out. It calls nothing: each call may have
-- to grow the stack, with that run the collector, and with that a finalizer that uses this heap.
local function change(self, item, due)
  local items, dues, places, count = self.items, self.due, self.place, self.count
  local place = places[item]
  if not due then
    if not place then return end
    places[item] = nil
    item, due = items[count], dues[count] -- the last one takes the place
    items[count], dues[count] = nil, nil
    count = count - 1
    self.count = count
    if place > count then return end
  elseif not place then
    -- What may fail for lack of memory comes first. It is nothing to anybody until it is counted.
    place = count + 1
    items[place] = false
    dues[place] = due
    places[item] = place
    count = place
    self.count = count
  end
  while place > 1 do
    local above = place // 2
    if dues[above] <= due then break end
    items[place], dues[place], places[items[above]] = items[above], dues[above], place
    place = above
  end
  while 2 * place <= count do
    local below = 2 * place
    if below < count and dues[below + 1] < dues[below] then below = below + 1 end
    if dues[below] >= due then break end
    items[place], dues[place], places[items[below]] = items[below], dues[below], place
    place = below
  end
  items[place], dues[place], places[item] = item, due, place
end

--- Puts an entry in, or moves it.
function methods:set(item, due)
  change(self, item, due)
end

--- Takes an entry out, if it is in here.
function methods:remove(item)
  change(self, item, nil)
end

return heap
