-- Beside mod_mjtask in the spec's Prosody: a clock that ticks every 10 ms, and the end of it all.
-- Knows mod_mjtask by its event. Prints "ticks N longest S" when as many tasks have ended as the
-- configuration says, or after ten seconds, and ends Prosody.

module:set_global()

local modulemanager = require "core.modulemanager"
local now = require "util.time".now
local timer = require "util.timer"

local TICK = 0.01
local PATIENCE = 10 -- seconds

local left = module:get_option_number("ticker_endings", 1)
local raises = module:get_option_string "ticker_raises" -- id at whose end a handler raises
local unloads = module:get_option_number "ticker_unloads" -- after so many ticks
local after = module:get_option_number("ticker_ticks_after", 0) -- more ticks before the end

local started = now()
local last, ticks, longest = started, 0, 0

timer.add_task(TICK, function(time)
  ticks, longest, last = ticks + 1, math.max(longest, time - last), time
  if ticks == unloads then
    assert(modulemanager.unload("*", "mjtask"))
    left = 0
  end
  if left <= 0 then after = after - 1 end
  if after >= 0 and time - started < PATIENCE then return TICK end
  print(("ticks %d longest %.3f left %d"):format(ticks, longest, left))
  prosody.shutdown("the spec has seen enough")
end)

module:hook("mjtask-ended", function(event)
  left = left - 1
  print(("ended %s %s after %d ticks"):format(event.id,
    event.task and event.task.status or event.error.kind, ticks))
  if event.id == raises then error "a handler's own mistake" end
end)
