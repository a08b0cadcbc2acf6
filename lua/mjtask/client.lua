-- The client: what mjtask.new gives, and its methods. Puts the rooms together; the waiting, the
-- retrying and the meaning of answers are theirs.

local answer = require "mjtask.answer"
local core = require "mjtask.core"
local errors = require "mjtask.errors"
local options = require "mjtask.options"
local poll = require "mjtask.poll"
local providers = require "mjtask.providers"
local retry = require "mjtask.retry"
local schedule = require "mjtask.schedule"

local client = {}

---@class mjtask.Client
local methods = {}
local mt = { __name = "mjtask.client", __index = methods }

local FETCH_TIME, WAIT_TIME = 60, 600 -- seconds, of a whole call

-- ---- making one ---------------------------------------------------------------------------------

-- The provider's row and the server's url and auth; or nil and what is missing. The environment
-- describes a server as a whole: it speaks only if the options name none.
local function find_server(given)
  local name, url, auth = given.provider, given.url, given.auth
  if not name and not url then
    name, url = os.getenv "MJTASK_PROVIDER", os.getenv "MJTASK_URL"
    auth = auth or os.getenv "MJTASK_AUTH"
  end
  local row = providers[name or false]
  if name and not row then
    return nil, ("provider %q is not in mjtask.providers"):format(name)
  elseif not row and not url then
    return nil, "url is missing: give a url or a provider, or set MJTASK_URL or MJTASK_PROVIDER"
  end
  row = row or {}
  return row, url or row.url, auth or row.auth or "auto"
end

-- What the core's engine takes, and the provider's row; or nil and what is missing.
local function configure(given)
  local row, url, auth = find_server(given)
  if not row then return nil, url end
  local key = given.key or os.getenv "MJTASK_KEY"
  if not key and auth ~= "none" then
    return nil, 'key is missing: give one, set MJTASK_KEY, or say auth = "none"'
  end
  return {
    url = url, auth = auth, key = key,
    headers = given.headers, proxy = given.proxy, cafile = given.cafile,
    user_agent = given.user_agent or "mjtask (Lua)",
    allow_http = given.allow_http, max_inflight = given.max_inflight,
  }, row
end

--- Makes a client. `clock` is for tests: { now, random, jump }, see schedule.lua.
---@param given? table
---@param clock? table
---@return mjtask.Client
function client.new(given, clock)
  options.check_new(given, 2)
  given, clock = given or {}, clock or {}
  local configuration, row = configure(given)
  if not configuration then error("options." .. row, 2) end
  local ok, engine = pcall(core.engine, configuration)
  if not ok then error("options." .. engine, 2) end
  local settings = options.for_client(given, row)
  return setmetatable({
    engine = engine,
    settings = settings,
    paused_until = -math.huge, -- no request before this time: a server said 429
    closed = false,
    schedule = schedule.new {
      engine = engine, max_inflight = settings.max_inflight,
      call = core.call, interrupted = core.interrupted,
      now = clock.now or core.now, random = clock.random or math.random, jump = clock.jump,
    },
  }, mt)
end

-- ---- arguments ----------------------------------------------------------------------------------

local function check_self(self, level)
  if getmetatable(self) ~= mt then
    error("a client expected: call its methods with a colon", level + 1)
  end
  if self.closed then error("the client is closed", level + 1) end
end

-- An id: a string, an integer, or any table with an id, such as a task or a receipt.
local function check_id(value, level)
  if type(value) == "table" then value = rawget(value, "id") end
  local id, fault = core.id(value)
  if not id then error("id " .. fault, level + 1) end
  return id
end

-- ---- calls --------------------------------------------------------------------------------------

-- Runs `body(call)` as an operation and blocks until it has ended.
local function run(self, id, given, time, body)
  local settings = options.for_call(self.settings, given)
  local started, limit = self.schedule.now(), settings.timeout or time
  local call = {
    schedule = self.schedule, client = self, settings = settings, id = id, attempts = 0,
    started = started, limit = limit, deadline = started + limit,
  }
  local operation = self.schedule:spawn(function(operation)
    call.operation = operation
    return body(call)
  end)
  local value, err = self.schedule:await(operation)
  if value == nil and not errors.is(err) then
    -- ended by close, which knows only the reason
    err = retry.complete(call, errors.new("closed", "the client was closed"))
  end
  if value == nil then return nil, err end
  return value
end

local function fetch(call)
  local request = { path = "/mj/task/" .. call.id .. "/fetch", max_body = call.settings.max_body }
  return retry.request(call, request, function(value, facts)
    return answer.task(value, facts, call.id)
  end)
end

--- Fetches a task: GET /mj/task/{id}/fetch.
---@param id string|integer|table
---@param given? table timeout (60 s), request_timeout, retries, max_body
---@return mjtask.Task? task
---@return mjtask.Error? err
function methods:fetch(id, given)
  check_self(self, 2)
  id = check_id(id, 2)
  options.check_call(given, false, 2)
  return run(self, id, given, FETCH_TIME, fetch)
end

--- Looks at a task until it has ended.
---@param id string|integer|table
---@param given? table timeout (600 s), interval, max_interval, stall, progress, and those of fetch
---@return mjtask.Task? task once it succeeded
---@return mjtask.Error? err with `task`, where one is known
function methods:wait(id, given)
  check_self(self, 2)
  id = check_id(id, 2)
  options.check_call(given, true, 2)
  return run(self, id, given, WAIT_TIME, function(call)
    return poll.wait(call, fetch)
  end)
end

--- Ends whatever is under way with the kind `closed`, and wipes the key. Idempotent.
function methods:close()
  if getmetatable(self) ~= mt then
    error("a client expected: call its methods with a colon", 2)
  end
  self.closed = true
  self.schedule:close("closed")
  self.engine:close()
end

mt.__close = methods.close

function mt:__tostring()
  return ("mjtask.client(%s)"):format(self.engine:base())
end

return client
