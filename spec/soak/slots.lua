-- A client among several, how it is moved on, and the calls that it owes an end: made by callback,
-- parked or blocking, cancelled, forgotten. Knows drives and the ledger; what is asked is not its
-- business.

local mjtask = require "mjtask"
local drives = require "soak.drives"

-- No string, which would be given a traceback.
local OUCH = setmetatable({}, { __tostring = function() return "ouch, on purpose" end })

local slots = {}

local methods = {}
local mt = { __index = methods }

--- `world`: ledger, dice, folder, and act(slot), which does anything. `options` of the client have
--- its limits; `origins` are where it finds pictures; `drive` is a name.
function slots.new(world, who, options, origins, drive)
  local self = setmetatable({
    world = world, ledger = world.ledger, dice = world.dice, folder = world.folder, who = who,
    origins = origins, timeout = options.timeout, drive = drives.new(drive),
    -- Of the calls under way, as keys, and how each is ended: a handle; or { thread = }, what is
    -- parked in it, if it does not block.
    entries = {},
    lists = {}, -- the watches that call back, as keys; see watched.lua
    closed = false, dropped = false, leaving = false,
  }, mt)
  options.loop = self.drive.loop
  self.mj = mjtask.new(options)
  self.drive.watch(self.mj)
  return self
end

--- Is it an error that was thrown here, or several of them, and nothing else?
function slots.is_ouch(problem)
  return problem == OUCH or not tostring(problem):gsub(tostring(OUCH), ""):find "%S"
end

--- What callbacks do now and then: raise, call the client themselves, or close it.
function methods:misbehave()
  local dice = self.dice
  if dice:hits(0.02) then error(OUCH, 0) end
  if self.closed or self.dropped then return end
  if dice:hits(0.05) then self.world.act(self) end
  if dice:hits(0.005) and not self.closed then self:close() end
end

local function begin(self, call, blocks)
  local entry = self.ledger:begin(call.what, self.who, call.limit, call.waits, blocks)
  entry.abandon = call.abandon
  return entry
end

-- It has ended: for good, and once.
local function finish(self, entry, call, value, err)
  self.entries[entry] = nil
  local ledger = self.ledger
  ledger:told(entry, value, err, function()
    return call.check(value, err, function(one) ledger:check_error(entry, one) end)
  end)
  local fault = call.ended(value)
  if fault then ledger:fail(entry, "%s", fault) end
end

-- ---- three ways to call -------------------------------------------------------------------------

--- By callback.
function methods:call_back(call)
  local entry, inside = begin(self, call), true
  local arguments = table.move(call.arguments, 1, #call.arguments, 1, {})
  arguments[#arguments + 1] = function(value, err)
    if inside then self.ledger:fail(entry, "told inside the call that began it") end
    finish(self, entry, call, value, err)
    self:misbehave()
  end
  local handle = self.mj[call.method](self.mj, table.unpack(arguments))
  inside = false
  if self.ledger:is_open(entry) then self.entries[entry] = handle end
  self.drive.touched(self.mj)
end

-- Makes a call that returns what it gives, or what stands in its place: parked in `thread`, or
-- blocking.
local function take(self, call, thread)
  local entry = begin(self, call, not thread)
  self.entries[entry] = { thread = thread }
  local run = call.run or self.mj[call.method]
  local results = table.pack(pcall(run, self.mj, table.unpack(call.arguments)))
  if results[1] then
    finish(self, entry, call, results[2], results[3])
  else
    self.entries[entry] = nil
    self.ledger:raised(entry)
    call.abandon()
    if not slots.is_ouch(results[2]) then
      self.ledger:fail(entry, "it raises: %s", tostring(results[2]))
    end
  end
  self.drive.touched(self.mj)
end

--- In a coroutine of the client's loop: `count` calls, one after another.
function methods:park(make, count)
  self.drive.go(function()
    for _ = 1, count do
      if self.closed or self.leaving then return end
      take(self, make(), (coroutine.running()))
    end
  end)
end

--- Blocking.
function methods:block(call)
  self.ledger:block(take, self, call)
end

-- ---- ends ---------------------------------------------------------------------------------------

-- The coroutine goes: by the collector, or at once.
local function drop_thread(self, entry, thread)
  if not self.drive.drop or coroutine.status(thread) ~= "suspended" then return end
  self.entries[entry] = nil
  self.ledger:forget(entry)
  self.drive.drop(thread)
  if self.dice:hits(0.5) then coroutine.close(thread) end
  entry.abandon()
end

--- Ends some call: cancels it, or drops the coroutine that is parked in it.
function methods:cancel()
  local entry, how = next(self.entries)
  if not entry then return end
  if how.thread then
    drop_thread(self, entry, how.thread)
  elseif how.cancel then
    self.ledger:ended(entry, "aborted")
    how:cancel()
  end
  self.drive.touched(self.mj)
end

--- Closes the client. Who has a callback is told before this returns; who is parked, soon.
function methods:close()
  self.closed, self.drive.fd = true, nil
  local owed = {}
  for entry, how in pairs(self.entries) do
    self.ledger:ended(entry, "closed")
    if how.cancel then owed[entry] = true end
  end
  for list in pairs(self.lists) do list:closing(owed) end
  local ok, problem = pcall(self.mj.close, self.mj)
  if not ok then drives.on_error(problem) end
  self.ledger:must_be_told(owed)
end

--- Forgets the client, and whoever waits for it: the collector finds both. A loop that watches
--- descriptors holds a client that is busy: there it is closed.
function methods:drop()
  if self.drive.holds then return self:close() end
  self.dropped = true
  for entry in pairs(self.entries) do
    self.ledger:forget(entry)
    entry.abandon()
  end
  for list in pairs(self.lists) do list:forget() end
end

function methods:is_idle()
  return next(self.entries) == nil and next(self.lists) == nil
end

function methods:turn(ready)
  self.drive.turn(self.mj, ready)
end

return slots
