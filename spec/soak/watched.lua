-- Watches, and what they owe: each task is told once, and then the end. Knows the ledger; must not
-- know how the client is moved on.

local mjtask = require "mjtask"
local calls = require "soak.calls"

local watched = {}

local methods = {}
local mt = { __index = methods }

local function ids_of(dice)
  local ids = {}
  for n = 1, dice:whole(1, 12) do ids[n] = calls.id(dice) end
  return ids
end

local function check(id)
  return function(task)
    if mjtask.outcome(task) ~= "success" then return "no success" end
    if tostring(rawget(task, "id")) ~= id then return "another id" end
  end
end

-- ---- by callback --------------------------------------------------------------------------------

-- A task that has ended can be added again before it was told: then it is told twice.
local function own(self, id)
  local entry = self.ledger:begin(("watch of %s, limit %g"):format(id, self.limit), self.slot.who,
    self.limit, true)
  entry.id = id
  table.insert(self.tasks, entry)
  self.ledger:extend(self.ending)
end

-- Whoever is owed it for longest.
local function take(self, id)
  for place, entry in ipairs(self.tasks) do
    if entry.id == id then return table.remove(self.tasks, place) end
  end
end

local function tell(self, id, task, err)
  local entry = take(self, id)
  if not entry then return self.ledger:fail(self.ending, "told of %s, which nobody watches", id) end
  self.ledger:told(entry, task, err, check(id))
end

local function tell_end(self, err)
  self.slot.lists[self], self.over = nil, true
  for _, entry in ipairs(self.tasks) do
    self.ledger:fail(entry, "not told before the end")
    self.ledger:forget(entry)
  end
  self.ledger:told(self.ending, err == nil and true or nil, err)
end

--- Starts one with some tasks.
function watched.call_back(slot)
  local dice = slot.dice
  local options, limit = calls.options(dice, slot.timeout)
  local self = setmetatable({
    slot = slot, ledger = slot.ledger, limit = limit, tasks = {}, over = false, left = false,
    ending = slot.ledger:begin("the end of a watch", slot.who, limit, true),
  }, mt)
  local ids, seen = ids_of(dice), {}
  for _, id in ipairs(ids) do
    if not seen[id] then own(self, id) end
    seen[id] = true
  end
  slot.lists[self] = true
  self.watcher = slot.mj:watch(ids, options, function(id, task, err)
    if id == nil then tell_end(self, err) else tell(self, id, task, err) end
    if dice:hits(0.1) then self:add() end
    slot:misbehave()
  end)
  slot.drive.touched(slot.mj)
end

--- Watches another task.
function methods:add()
  if self.over or self.left or self.slot.closed then return end
  local id = calls.id(self.slot.dice)
  if self.watcher:add(id) then own(self, id) end
  self.slot.drive.touched(self.slot.mj)
end

--- Ends it: nothing is told but the end.
function methods:close()
  if self.over or self.left then return end
  self.left = true
  for _, entry in ipairs(self.tasks) do self.ledger:forget(entry) end
  self.tasks = {}
  self.ledger:ended(self.ending, "aborted")
  self.watcher:close()
  self.slot.drive.touched(self.slot.mj)
end

--- The client is about to be closed: all must be told by that.
function methods:closing(owed)
  for _, entry in ipairs(self.tasks) do
    self.ledger:ended(entry, "closed")
    owed[entry] = true
  end
  self.ledger:ended(self.ending, "closed")
  owed[self.ending] = true
end

function methods:forget()
  for _, entry in ipairs(self.tasks) do self.ledger:forget(entry) end
  self.ledger:forget(self.ending)
end

-- ---- in a loop ----------------------------------------------------------------------------------

--- A call, as those of calls.lua, that runs a loop over a watch, to its end or not.
function watched.loop(dice, slot)
  local options, limit = calls.options(dice, slot.timeout)
  local left, ids = dice:hits(0.3) and dice:whole(1, 4) or math.huge, ids_of(dice)
  local told, failed = {}, {}
  local function run(mj, list, settings)
    for id, task, err in mj:watch(list, settings) do
      if told[id] then failed[#failed + 1] = id .. " was told twice" end
      told[id], failed[#failed + 1] = err or true, task and check(id)(task)
      left = left - 1
      if left <= 0 then return true end
    end
    return true
  end
  return {
    run = run, arguments = { ids, options }, limit = limit, waits = true,
    what = ("a loop over a watch, limit %g"):format(limit),
    check = function(_, _, check_error)
      for _, id in ipairs(ids) do
        if left > 0 and not told[id] then return id .. " was not told" end
        if told[id] and told[id] ~= true then check_error(told[id]) end
      end
      return failed[1]
    end,
    ended = function() end, abandon = function() end,
  }
end

return watched
