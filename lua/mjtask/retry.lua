-- One request until it is answered: what to try again, and when. The only policy there is. Knows
-- operations and error kinds; must not know what is asked.

local errors = require "mjtask.errors"
local fifo = require "mjtask.fifo"
local straight = require "mjtask.straight"

local retry = {}

local BASE, CAP = 0.5, 8 -- seconds of the first and of the longest backoff
local SLOP = 0.002 -- seconds: libcurl counts in milliseconds
local OBEYED = 120 -- seconds of Retry-After that are waited for; who asks for more ends the call
local GAP, WIDEST = 0.1, 8 -- seconds between two requests after a first 429, and after many
local CLOSING, CLOSED = 0.8, 0.01 -- what is left of the gap by each good answer; less is none

--- What all requests of one call have in common.
---@class mjtask.Call
---@field schedule mjtask.Schedule
---@field operation mjtask.schedule.Operation
---@field client mjtask.Client
---@field settings table timeout, request_timeout, retries (further tries), max_body, trace …
---@field id? string
---@field limit number seconds for the whole call
---@field started number monotonic seconds, like deadline
---@field deadline number
---@field attempts integer requests sent so far
---@field refusals? integer the pace's, when the last one was sent
---@field first? mjtask.Error how the first try failed, if that went straight

--- Tells the user's `trace` function; only if there is one: that spares the event.
---@param call mjtask.Call
---@param event table
function retry.trace(call, event)
  event.id = call.id
  call.schedule:deliver(call.operation, call.settings.trace, event)
end

--- An error with what the call knows of itself. A server may well quote the key it refuses.
---@param call mjtask.Call
function retry.complete(call, err)
  err.message = call.client.redact(err.message)
  if type(err.id) == "string" and err.id ~= call.id then -- it is the server's word, too
    err.id = call.client.redact(err.id)
  end
  err.id = err.id or call.id
  err.unsent, err.stray = nil, nil
  err.attempts = call.attempts
  err.elapsed = call.schedule.now() - call.started
  return err
end

--- The error of a call whose time is over.
---@param call mjtask.Call
function retry.timed_out(call)
  return errors.new("timeout", ("not done within the time limit of %g s"):format(call.limit))
end

-- Seconds until the next try: what the server asks for, else full jitter, so that clients which
-- failed together do not come back together. Nil: longer than anybody would wait.
local function pause_after(call, err, try)
  local asked = err.retry_after
  if asked then return asked <= OBEYED and asked or nil end
  return call.schedule.random() * math.min(CAP, BASE * 2 ^ (try - 1))
end

--- When a client may ask: not before `paused_until`, which a 429 or a Retry-After sets. What had to
--- wait would go out all at once then, and be refused again: hence a gap between two requests,
--- wider by each 429, closed again by good answers. Who waits stands in a line, of which only the
--- first looks at the time: no turn is promised, and so none is lost, nor too late.
---@class mjtask.Pace
---@field paused_until number monotonic seconds, like next_turn
---@field next_turn number when the next request may go out
---@field gap number seconds between two
---@field refusals integer bursts of requests that were answered with 429
---@field line mjtask.Fifo of seats

---@return mjtask.Pace
function retry.new_pace()
  return {
    paused_until = -math.huge, next_turn = -math.huge, gap = 0, refusals = 0, line = fifo.new(),
  }
end

local function turn_of(pace)
  return math.max(pace.paused_until, pace.next_turn)
end

-- The first in the line who is still there.
local function first_of(line)
  local seat = line:first_value()
  while seat and (seat.left or seat.operation.ended) do
    line:pop()
    seat = line:first_value()
  end
  return seat
end

local function rouse_first(line)
  local seat = first_of(line)
  if seat then seat.operation:rouse() end
end

-- Who leaves the line, for whatever reason, lets the next one look at the time.
local seat_mt = {
  __close = function(seat)
    seat.left = true
    rouse_first(seat.line)
  end,
}

local function join(line, operation)
  local seat = setmetatable({ line = line, operation = operation, left = false }, seat_mt)
  line:push(seat)
  return seat
end

-- Of a burst that is refused only the first 429 counts: `refusals` is what it was when the request
-- went out.
local function slow_down(pace, time, refusals)
  pace.paused_until = math.max(pace.paused_until, time)
  if refusals == pace.refusals then
    pace.refusals = pace.refusals + 1
    pace.gap = math.min(WIDEST, math.max(GAP, 2 * pace.gap))
  end
  rouse_first(pace.line) -- it may have no time for that
end

local function speed_up(pace)
  pace.gap = pace.gap * CLOSING
  if pace.gap < CLOSED then pace.gap = 0 end
end

-- Waits until it is this call's turn; or returns the error that it is not within the deadline.
local function wait_for_turn(call)
  local pace, now = call.client.pace, call.schedule.now
  local time = now()
  if turn_of(pace) > time or first_of(pace.line) then
    local seat <close> = join(pace.line, call.operation)
    local turn = turn_of(pace)
    while turn > now() or first_of(pace.line) ~= seat do
      local rest = pace.paused_until - now()
      if pace.paused_until >= call.deadline then
        return errors.new("rate_limited", ("the server wants no requests for another %.3g s")
          :format(rest), { retry_after = rest })
      elseif now() >= call.deadline then
        return errors.new("rate_limited", "too many requests wait for their turn")
      end
      call.operation:rest(first_of(pace.line) == seat and math.min(turn, call.deadline)
        or call.deadline)
      turn = turn_of(pace)
    end
    time = now()
  end
  pace.next_turn = time + pace.gap
end

-- An image host is somebody else.
local function pace_of(call, request)
  return not request.file and call.client.pace or nil
end

-- There is a place for the request: may it go out? Not if there was a 429 since it got its turn.
local function admit(call, request)
  local pace = pace_of(call, request)
  if pace and pace.paused_until > call.schedule.now() then return false end
  call.refusals = pace and pace.refusals
  call.attempts = call.attempts + 1
  if call.settings.trace then
    retry.trace(call, { event = "request", path = request.path, attempt = call.attempts })
  end
  if request.begin then request.begin() end
  return true
end

-- Sends it when it is its turn. The third result is true if it never was.
local function send(call, request)
  local pace = pace_of(call, request)
  local limit = request.limit or call.settings.request_timeout
  local transfer, err
  repeat
    local paused = pace and wait_for_turn(call)
    if paused then return nil, paused, true end
    transfer, err = call.operation:send(request, limit, call.deadline, admit, call)
  until err ~= false
  if transfer then return transfer end
  return nil, err or retry.timed_out(call)
end

-- What a transfer brought.
local function judge(call, request, transfer, read)
  local value, facts = transfer:answer()
  local result, err = read(value, facts, call.client.redact, call)
  if result ~= nil and not request.file then speed_up(call.client.pace) end
  -- The connection may be out of step: by an answer that nobody asked for.
  if err and err.stray then err.stray = transfer:kept() end
  if err and err.kind == "timeout" and call.schedule.now() >= call.deadline - SLOP then
    err = retry.timed_out(call)
  end
  if call.settings.trace then
    retry.trace(call, {
      event = "answer", attempt = call.attempts, kind = err and err.kind,
      status = not facts and 200 or facts.status,
    })
  end
  return result, err
end

-- The third result is true if nobody was asked, because it was not this call's turn.
local function attempt(call, request, read)
  local err = call.first
  if err then
    call.first = nil
    return nil, err
  end
  local transfer, unasked
  transfer, err, unasked = send(call, request)
  if not transfer then return nil, err, unasked end
  return judge(call, request, transfer, read)
end

--- The first try of a call that blocks. If nothing else is under way, nor to be waited for, nor to
--- be told, it goes straight, on the caller's own stack. Nil if that cannot be, or if it fails:
--- `request` goes on from there.
---@param call mjtask.Call
---@return any? result
function retry.straight(call, request, read)
  local client, settings = call.client, call.settings
  local pace = client.pace
  if settings.trace or client.loop or turn_of(pace) > call.started or first_of(pace.line) then
    return nil
  end
  request.timeout = math.min(settings.request_timeout, call.limit)
  local transfer = straight.send(call.schedule, request)
  if not transfer then return nil end
  pace.next_turn = call.started + pace.gap
  call.attempts, call.refusals = 1, pace.refusals
  local result
  result, call.first = judge(call, request, transfer, read)
  return result
end

--- Makes a request, and again while the failure is worth it and time and tries are left.
--- `request` is what the engine takes, and: `once`, to be sent again only if not a byte of it went
--- out; `hasty`, not to be sent again after a timeout; `limit`, seconds for one try
--- (request_timeout); `begin()`, called before each; `tick(transfer)`, now and then during one,
--- may end it by an error. `read(value, facts, redact, call)` turns the answer into a result, or
--- nil and an error.
---@param call mjtask.Call
---@return any? result
---@return mjtask.Error? err
function retry.request(call, request, read)
  local last = 1 + call.settings.retries
  for try = 1, last do
    local result, err, unasked = attempt(call, request, read)
    if result ~= nil then return result end
    local now = call.schedule.now()
    local delay = (err.retryable or err.stray) and pause_after(call, err, try)
    local is_refusal = err.kind == "rate_limited" or err.retry_after and not err.pending
    if is_refusal and not request.file and not unasked then
      local pause = delay or math.min(err.retry_after or 0, OBEYED)
      slow_down(call.client.pace, now + pause, call.refusals)
    end
    local sent_once = request.once and not err.unsent or request.hasty and err.kind == "timeout"
    if not delay or try == last or sent_once or now + delay >= call.deadline then
      return nil, retry.complete(call, err)
    end
    if call.settings.trace then
      retry.trace(call, { event = "retry", kind = err.kind, seconds = delay })
    end
    call.operation:sleep_until(now + delay)
    request.fresh = true -- the old connection may be what is broken
  end
end

return retry
