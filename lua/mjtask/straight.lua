-- One request of a caller that blocks while nothing else is under way: on the caller's own stack,
-- without an operation, which would cost a third of the whole. Knows a schedule that is free; must
-- not know what is asked.

local straight = {}

-- What waits in place of an operation. It is used again and again.
local function take_seat(schedule)
  local seat = schedule.seat
  schedule.seat = false
  return seat or { thread = false, transfer = false, woken = false, gift = false }
end

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
    if interrupted and schedule.interrupted() then error("interrupted!", 0) end
  until seat.woken or schedule.closed
  return seat.gift
end

--- Does `request`, as the engine's start takes it. Returns the ended transfer; nil if it cannot be
--- done like that, or the client was closed meanwhile. Raises what the engine raises, and for
--- Ctrl-C; then nothing is left.
---@param schedule mjtask.Schedule
---@param request table
---@return userdata? transfer
function straight.send(schedule, request)
  if not schedule:is_free() then return nil end
  local seat = take_seat(schedule)
  local ok, transfer = pcall(wait, schedule, request, seat)
  if seat.transfer then
    seat.transfer:cancel()
    seat.transfer, schedule.inflight = false, schedule.inflight - 1
  end
  seat.woken, seat.gift = false, false
  schedule.seat = seat
  if not ok and not schedule.closed then error(transfer, 0) end -- else by a finalizer
  if schedule.watched then schedule:tell_host() end
  return ok and transfer or nil
end

return straight
