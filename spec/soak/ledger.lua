-- What is owed to each call that was begun: it is told once, in time, with a value or an error of a
-- known kind that says nothing of the key. Knows errors; must not know what was called, nor hold a
-- client.

local errors = require "mjtask.errors"
local now = require "mjtask.core".now

local SLACK = 1 -- seconds on promised limits
-- Seconds without a step from which on a wait that is over may look once more, and those that it
-- may take for that: see poll.lua.
local GAP, LAST_LOOK = 0.9, 5

local ledger = {}

local methods = {}
local mt = { __index = methods }

--- `key`: what no error may show. `verdict` is told of each promise that was not kept.
function ledger.new(key, verdict)
  return setmetatable({
    key = key, verdict = verdict,
    open = {}, count = 0, -- entries that are owed something, as keys
    begun = 0, -- calls so far
    outcomes = {}, -- how often: by kind; "value"; "raised", by an error in a callback
    -- Seconds in which somebody's call blocked, and in which one did inside of another; when those
    -- that still do have begun.
    stolen = 0, nested = 0, blocked = {},
    ticked = now(), gap = 0, -- when all had been stepped last, and the seconds before that
  }, mt)
end

-- Seconds in which nobody could be served, so far: because of a blocking call; to one that blocks
-- itself (`blocks`), because of another inside of it.
local function stolen(self, blocks)
  if blocks then return self.nested end
  local first = self.blocked[1]
  return self.stolen + (first and now() - first or 0)
end

methods.blocked_for = stolen

local function lost_by(self, entry)
  return stolen(self, entry.blocks) - entry.stolen
end

local function describe(self, entry)
  return ("%s of %s, limit %g s, %.2f s ago, %.2f s of them in others' blocking calls"):format(
    entry.what, entry.who, entry.limit, now() - entry.begun, lost_by(self, entry))
end

--- Something is wrong with an entry.
function methods:fail(entry, fault, ...)
  self.verdict:fail("%s: %s", fault:format(...), describe(self, entry))
end

--- A call begins. `what` says which, with its options; `who` for whom. `waits`: it may look once
--- more when its time has passed while nobody stepped. `blocks`: it serves itself.
---@return table entry
function methods:begin(what, who, limit, waits, blocks)
  local entry = {
    what = what, who = who, limit = limit, waits = waits or false, blocks = blocks or false,
    begun = now(), stolen = stolen(self, blocks), grace = 0, told = 0, forgotten = false,
    reasons = {}, -- for which it was ended from outside, as keys
  }
  self.open[entry] = true
  self.count, self.begun = self.count + 1, self.begun + 1
  return entry
end

-- Nothing is owed any more.
local function settle(self, entry)
  if not self.open[entry] then return end
  self.open[entry] = nil
  self.count = self.count - 1
end

--- Nobody will be told: the client was dropped, or told not to tell.
function methods:forget(entry)
  settle(self, entry)
  entry.forgotten = true
end

function methods:is_open(entry)
  return self.open[entry] ~= nil
end

--- It is ended from outside, for that reason: from here on it is owed an end at once.
function methods:ended(entry, reason)
  local again = next(entry.reasons)
  entry.reasons[reason] = true
  if again or entry.told > 0 then return end
  entry.limit = 0
  self:extend(entry)
end

--- Its time begins anew.
function methods:extend(entry)
  entry.begun, entry.stolen = now(), stolen(self, entry.blocks)
end

local function lateness(self, entry)
  local lost = lost_by(self, entry)
  local grace = entry.blocks and entry.waits and lost > GAP and LAST_LOOK or entry.grace
  return now() - entry.begun - entry.limit - SLACK - grace - lost
end

-- Is it an error as they are promised?
local function check_error(self, entry, err)
  if not errors.is(err) then return self:fail(entry, "no error of ours: %s", tostring(err)) end
  if errors.kinds[err.kind] == nil then return self:fail(entry, "no known kind: %s", err.kind) end
  local text = tostring(err)
  if text:find(self.key, 1, true) or err.message:find(self.key, 1, true) then
    self:fail(entry, "the key is in its error")
  end
  if text:find "[\0-\x1F\x7F]" then self:fail(entry, "no printable line: %q", text) end
  if (err.kind == "aborted" or err.kind == "closed") and not entry.reasons[err.kind] then
    self:fail(entry, "%s by nobody", err.kind)
  end
end

local function count(self, outcome)
  self.outcomes[outcome] = (self.outcomes[outcome] or 0) + 1
end

--- It is told, or has returned. `check(value)` returns what is wrong with a value.
function methods:told(entry, value, err, check)
  entry.told = entry.told + 1
  if entry.told > 1 then return self:fail(entry, "told %d times", entry.told) end
  if entry.forgotten then return self:fail(entry, "told, and nobody was to be") end
  if lateness(self, entry) > 0 then self:fail(entry, "told too late") end
  settle(self, entry)
  if value == nil then
    count(self, err and err.kind or "nothing")
    if err == nil then return self:fail(entry, "told nothing") end
    return check_error(self, entry, err)
  end
  count(self, "value")
  local fault = check and check(value, err)
  if fault then self:fail(entry, "not what was asked for: %s", fault) end
end

--- An error that is part of a value.
function methods:check_error(entry, err)
  check_error(self, entry, err)
end

--- It was left by the error of a callback: that is its end.
function methods:raised(entry)
  entry.told = entry.told + 1
  if entry.told > 1 then return self:fail(entry, "told, and raised") end
  settle(self, entry)
  count(self, "raised")
end

--- Runs what blocks: nobody else is served meanwhile.
function methods:block(f, ...)
  local depth = #self.blocked + 1
  self.blocked[depth] = now()
  local results = table.pack(pcall(f, ...))
  local which, took = depth == 1 and "stolen" or "nested", now() - self.blocked[depth]
  self[which], self.blocked[depth] = self[which] + took, nil
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

--- Everybody has been stepped: who should have been told by now?
function methods:tick()
  local gap = now() - self.ticked
  local was_long = gap + self.gap > GAP -- for some: the first in a round, the last in another
  for entry in pairs(self.open) do
    if was_long and entry.waits then entry.grace = LAST_LOOK + gap + self.gap end
    if lateness(self, entry) > 0 then
      self:fail(entry, "not told yet")
      settle(self, entry)
    end
  end
  self.ticked, self.gap = now(), gap
end

--- These, too, should have been told by now: their client was closed.
function methods:must_be_told(entries)
  for entry in pairs(entries) do
    if self.open[entry] then
      self:fail(entry, "not told by close")
      settle(self, entry)
    end
  end
end

return ledger
