-- The client: what mjtask.new gives, and its methods. Puts the rooms together; the waiting, the
-- retrying and the meaning of answers are theirs.

local actions = require "mjtask.actions"
local answer = require "mjtask.answer"
local body = require "mjtask.body"
local buttons = require "mjtask.buttons"
local core = require "mjtask.core"
local download = require "mjtask.download"
local errors = require "mjtask.errors"
local options = require "mjtask.options"
local poll = require "mjtask.poll"
local providers = require "mjtask.providers"
local retry = require "mjtask.retry"
local schedule = require "mjtask.schedule"
local tasks = require "mjtask.task"

local client = {}

---@class mjtask.Client
local methods = {}
local mt = { __name = "mjtask.client", __index = methods }

-- ---- making one ---------------------------------------------------------------------------------

local function env(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

-- The provider's row and the server's url and auth; or nil and what is missing. The environment
-- describes a server as a whole: it speaks only if the options name none.
local function find_server(given)
  local name, url, auth = given.provider, given.url, given.auth
  if not name and not url then
    name, url = env "MJTASK_PROVIDER", env "MJTASK_URL"
    auth = auth or env "MJTASK_AUTH"
  end
  local row = {}
  if name then
    row = providers[name]
    if not row then return nil, ("provider %q is not in mjtask.providers"):format(name) end
    local fault = options.check_row(row)
    if fault then return nil, ("provider %q %s"):format(name, fault) end
  end
  url = url or row.url
  if not url then
    return nil, "url is missing: give a url or a provider, or set MJTASK_URL or MJTASK_PROVIDER"
  end
  return row, url, auth or row.auth or "auto"
end

-- What the core's engine takes, and the provider's row; or nil and what is missing.
local function configure(given)
  local row, url, auth = find_server(given)
  if not row then return nil, url end
  local key = given.key or env "MJTASK_KEY"
  if not key and auth ~= "none" then
    return nil, 'key is missing: give one, set MJTASK_KEY, or say auth = "none"'
  end
  return {
    url = url, auth = auth, key = key,
    headers = given.headers, proxy = given.proxy, cafile = given.cafile,
    user_agent = given.user_agent or "mjtask (Lua)",
    allow_http = given.allow_http, allow_private = given.allow_private,
    max_inflight = given.max_inflight,
  }, row
end

--- Makes a client. `clock` is for tests: { now, random, jump }, see schedule.lua.
---@param given? table
---@param clock? table
---@return mjtask.Client
function client.new(given, clock)
  given, clock = options.check_new(given, 2), clock or {}
  local configuration, row = configure(given)
  if not configuration then error("options." .. row, 2) end
  local ok, engine, fault = pcall(core.engine, configuration)
  if not ok then error("options." .. tostring(engine), 2) end
  if not engine then error("cannot make a client: " .. fault, 2) end
  local settings = options.for_client(given, row)
  return setmetatable({
    engine = engine,
    redact = function(text) return engine:redact(text) end,
    row = row,
    settings = settings,
    settings_of = {}, -- the same with what each method has by default, by its name
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

-- Runs `job(call, ...)` as an operation and blocks until it has ended.
local function run(self, method, given, id, job, ...)
  local settings = self.settings_of[method] or options.for_method(self.settings, method)
  self.settings_of[method] = settings
  settings = options.for_call(settings, given)
  local started = self.schedule.now()
  local call = {
    schedule = self.schedule, client = self, settings = settings, id = id, attempts = 0,
    started = started, limit = settings.timeout, deadline = started + settings.timeout,
  }
  local operation = self.schedule:spawn(function(operation, ...)
    call.operation = operation
    return job(call, ...)
  end, ...)
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
  return retry.request(call, request, function(value, facts, redact)
    return answer.task(value, facts, redact, call.id)
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
  given = options.check_call(given, "fetch", 2)
  return run(self, "fetch", given, id, fetch)
end

--- Looks at a task until it has ended.
---@param id string|integer|table
---@param given? table timeout (600 s), interval, max_interval, stall, progress, and those of fetch
---@return mjtask.Task? task once it succeeded
---@return mjtask.Error? err with `task`, where one is known
function methods:wait(id, given)
  check_self(self, 2)
  id = check_id(id, 2)
  given = options.check_call(given, "wait", 2)
  return run(self, "wait", given, id, poll.wait, fetch)
end

--- Submits something: POST /mj/submit/<name>. It is sent once: a lost answer is `unknown_fate`.
---@param name string imagine, blend, describe, shorten, action, modal, change, video, …
---@param what table the body; `{}` is an object, ids are strings
---@param given? table timeout (60 s), request_timeout, max_body
---@return mjtask.Receipt? receipt
---@return mjtask.Error? err
function methods:submit(name, what, given)
  check_self(self, 2)
  if type(name) ~= "string" or not core.id(name) then
    error("name must be one word of a path, such as \"imagine\"", 2)
  end
  if type(what) ~= "table" then error(("body: a table expected, got %s"):format(type(what)), 2) end
  given = options.check_call(given, "submit", 2)
  local ok, json = pcall(body.encode, what)
  if not ok then error(json, 2) end
  return run(self, "submit", given, nil, actions.submit, name, json)
end

-- A task that carries its buttons, or anything that tells the id of one.
local function is_whole_task(value)
  return type(value) == "table"
    and (type(rawget(value, "status")) == "string" or rawget(value, "buttons") ~= nil)
end

--- Presses a button of a task that succeeded. An id is fetched first.
---@param task_or_id mjtask.Task|string|integer|table
---@param query string|mjtask.ButtonQuery as for mjtask.button
---@param given? table modal = { prompt =, mask = }, timeout (60 s), request_timeout, …
---@return mjtask.Receipt? receipt of the task that the press makes
---@return mjtask.Error? err
function methods:press(task_or_id, query, given)
  check_self(self, 2)
  local id = check_id(task_or_id, 2)
  buttons.check_query(query, 2)
  given = options.check_call(given, "press", 2)
  return run(self, "press", given, id, function(call)
    local task, err = task_or_id, nil
    if not is_whole_task(task) then task, err = fetch(call) end
    if not task then return nil, err end
    return actions.press(call, task, query)
  end)
end

--- Cancels a task on the server, where it can do that.
---@return true? cancelled
---@return mjtask.Error? err `unsupported` where it cannot
function methods:cancel(id, given)
  check_self(self, 2)
  id = check_id(id, 2)
  given = options.check_call(given, "cancel", 2)
  return run(self, "cancel", given, id, actions.cancel)
end

--- The seed of a task's picture. One that the server is still looking for is waited for.
---@return string? seed
---@return mjtask.Error? err
function methods:seed(id, given)
  check_self(self, 2)
  id = check_id(id, 2)
  given = options.check_call(given, "seed", 2)
  return run(self, "seed", given, id, actions.seed)
end

--- Downloads a picture: the whole file or no file. It goes out without the key, over connections of
--- its own; private addresses are refused unless allow_private, or the API itself is there.
---@param what string|mjtask.Task a URL, or a task: its first picture
---@param path string where; an existing file is kept unless overwrite
---@param given? table overwrite, progress(bytes, total), timeout (600 s), max_body (64 MiB), …
---@return string? path
---@return mjtask.Error? err
function methods:download(what, path, given)
  check_self(self, 2)
  if type(what) ~= "string" and type(what) ~= "table" then
    error(("url: a string or a task expected, got %s"):format(type(what)), 2)
  end
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then
    error("path: the name of a file expected", 2)
  end
  given = options.check_call(given, "download", 2)
  local url = type(what) == "table" and tasks.images(what)[1] or what
  if type(url) ~= "string" or url == "" then
    return nil, errors.new("no_image", "there is no picture to download", {
      task = type(what) == "table" and what or nil,
    })
  end
  return run(self, "download", given, nil, download.run, url, path)
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
