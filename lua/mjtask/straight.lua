-- One request of a caller that blocks while nothing else is under way: on the caller's own stack,
-- without an operation, which would cost a third of the whole. Knows a schedule that is free; must
-- not know what is asked.

local shelter = require "mjtask.core".shelter

local straight = {}

-- What waits in place of an operation. It is used again and again.
local function take_seat(schedule)
  local seat = schedule.seat
  schedule.seat = false
  return seat or { thread = false, transfer = false, woken = false, gift = false }
end

-- Waits for the answer. Returns true if Ctrl-C came first.
local function wait(schedule, request, seat)
  local engine = schedule.engine
  seat.transfer = engine:start(request, seat)
  schedule.inflight = schedule.inflight + 1
  engine:wake_at(nil)
  repeat
    local interrupted
    if schedule.inflight == 1 and schedule.count == 0 then -- still nothing else
      interrupted = engine:step()
      schedule:run_transfers()
    else -- by a finalizer, or a debug hook
      interrupted = schedule:step()
    end
    if interrupted and schedule.interrupted() then return true end
  until seat.woken or schedule.closed
  return false
end

local function send(schedule, request)
  local seat = take_seat(schedule)
  local ok, interrupted = pcall(wait, schedule, request, seat)
  if seat.transfer then
    seat.transfer:cancel()
    seat.transfer, schedule.inflight = false, schedule.inflight - 1
  end
  local transfer = seat.gift or nil
  seat.woken, seat.gift = false, false
  schedule.seat = seat
  if not ok and not schedule.closed then error(interrupted, 0) end -- else by a finalizer
  if schedule.watched then schedule:tell_host() end
  return ok and transfer, ok and interrupted
end

--- Does `request`, as the engine's start takes it. Returns the ended transfer; none if it cannot be
--- done like that, or the client was closed meanwhile. Raises what the engine raises, and for
--- Ctrl-C; then nothing is left.
---@param schedule mjtask.Schedule
---@param request table
---@return userdata|false|nil transfer
function straight.send(schedule, request)
  if not schedule:is_free() then return nil end
  local transfer, interrupted = shelter(send, schedule, request)
  if interrupted then error("interrupted!", 0) end -- on the main thread it was raised just now
  return transfer
end

return straight
