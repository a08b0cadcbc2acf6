-- One request until it is answered: what to try again, and when. The only policy there is. Knows
-- operations and error kinds; must not know what is asked.

local errors = require "mjtask.errors"

local retry = {}

local BASE, CAP = 0.5, 8 -- seconds of the first and of the longest backoff
local SLOP = 0.002 -- seconds: libcurl counts in milliseconds
local OBEYED = 120 -- seconds of Retry-After that are waited for; who asks for more ends the call

--- What all requests of one call have in common.
---@class mjtask.Call
---@field schedule mjtask.Schedule
---@field operation mjtask.Operation
---@field client { paused_until: number, redact: function } a 429 stops the looks of all
---@field settings table timeout, request_timeout, retries (further tries), max_body, trace …
---@field id? string
---@field limit number seconds for the whole call
---@field started number monotonic seconds, like deadline
---@field deadline number
---@field attempts integer requests sent so far

--- Tells the user's `trace` function, if there is one.
---@param call mjtask.Call
---@param event table
function retry.trace(call, event)
  local trace = call.settings.trace
  if not trace then return end
  event.id = call.id
  call.schedule:deliver(call.operation, trace, event)
end

--- An error with what the call knows of itself. A server may well quote the key it refuses.
---@param call mjtask.Call
function retry.complete(call, err)
  err.message = call.client.redact(err.message)
  err.id = err.id or call.id
  err.unsent = nil
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

-- Sleeps until the client may ask again; or returns the error that it may not within the deadline.
local function sit_out_pause(call)
  local rest = call.client.paused_until - call.schedule.now()
  if rest <= 0 then return nil end
  if call.client.paused_until >= call.deadline then
    return errors.new("rate_limited", ("the server wants no requests for another %.3g s")
      :format(rest), { retry_after = rest })
  end
  call.operation:sleep_until(call.client.paused_until)
  return sit_out_pause(call) -- another answer may have prolonged it
end

local function attempt(call, request, read)
  local paused = not request.file and sit_out_pause(call) -- an image host is somebody else
  if paused then return nil, paused end
  call.attempts = call.attempts + 1
  retry.trace(call, { event = "request", path = request.path, attempt = call.attempts })
  if request.begin then request.begin() end
  local limit = request.limit or call.settings.request_timeout
  local transfer, err = call.operation:send(request, limit, call.deadline, request.tick)
  if not transfer then return nil, err or retry.timed_out(call) end
  local value, facts = transfer:answer()
  local result
  result, err = read(value, facts, call.client.redact)
  if err and err.kind == "timeout" and call.schedule.now() >= call.deadline - SLOP then
    err = retry.timed_out(call)
  end
  retry.trace(call, {
    event = "answer", attempt = call.attempts, kind = err and err.kind,
    status = not facts and 200 or facts.status,
  })
  return result, err
end

--- Makes a request, and again while the failure is worth it and time and tries are left.
--- `request` is what the engine takes, and: `once`, to be sent again only if not a byte of it went
--- out; `limit`, seconds for one try (request_timeout); `begin()`, called before each try;
--- `tick(transfer)`, now and then during one, may end it by an error. `read(value, facts, redact)`
--- turns the answer into a result, or nil and an error.
---@param call mjtask.Call
---@return any? result
---@return mjtask.Error? err
function retry.request(call, request, read)
  local last = 1 + call.settings.retries
  for try = 1, last do
    local result, err = attempt(call, request, read)
    if result ~= nil then return result end
    local now = call.schedule.now()
    local delay = err.retryable and pause_after(call, err, try)
    if err.kind == "rate_limited" and not request.file then
      local pause = delay or math.min(err.retry_after or 0, OBEYED)
      call.client.paused_until = math.max(call.client.paused_until, now + pause)
    end
    local sent_once = request.once and not err.unsent
    if not delay or try == last or sent_once or now + delay >= call.deadline then
      return nil, retry.complete(call, err)
    end
    retry.trace(call, { event = "retry", kind = err.kind, seconds = delay })
    call.operation:sleep_until(now + delay)
    request.fresh = true -- the old connection may be what is broken
  end
end

return retry
