-- The client: what mjtask.new gives, and its methods. Puts the rooms together; the waiting, the
-- retrying and the meaning of answers are theirs.

local actions = require "mjtask.actions"
local answer = require "mjtask.answer"
local body = require "mjtask.body"
local buttons = require "mjtask.buttons"
local calling = require "mjtask.calling"
local core = require "mjtask.core"
local download = require "mjtask.download"
local ids = require "mjtask.ids"
local options = require "mjtask.options"
local poll = require "mjtask.poll"
local providers = require "mjtask.providers"
local retry = require "mjtask.retry"
local schedule = require "mjtask.schedule"
local shelter = core.shelter
local watcher = require "mjtask.watcher"

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

-- Leaves the loop before the descriptor is gone. A forked child, in which the engine raises, leaves
-- its parent's alone.
local function release(self)
  if self.loop and pcall(self.engine.pollfd, self.engine) then pcall(self.loop.detach) end
  self.engine:close()
end

-- Ends a client that nobody can reach: nobody is told.
local function drop(self)
  if self.closed then return end
  self.closed, self.schedule.closed = true, "closed"
  release(self)
end

local guard_mt = { __gc = function(self) drop(self.client) end }

-- To be made after all that an adapter has made, so that what it detaches is alive.
local function guard(self)
  self.guard = setmetatable({ client = self }, guard_mt)
end

local of_loops = { "current", "park", "wake", "busy", "detach" }

-- What is wrong with what an adapter gave; nil: nothing.
local function check_loop(loop)
  for _, name in ipairs(of_loops) do
    if type(loop) ~= "table" or type(loop[name]) ~= "function" then
      return ("options.loop gives no function %q"):format(name)
    end
  end
end

-- The host's loop, as an adapter makes it for this client.
local function attach(self, adapter, level)
  self.schedule:brace() -- to leave it again takes no memory then
  local ok, loop = pcall(adapter, self)
  local fault = ok and check_loop(loop)
  if fault or not ok then
    drop(self)
    error(fault or loop, fault and level + 1 or 0)
  end
  self.loop, self.schedule.on_busy = loop, loop.busy
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
  if not ok and engine == "not enough memory" then error(engine, 0) end
  if not ok then error("options." .. tostring(engine), 2) end
  if not engine then error("cannot make a client: " .. fault, 2) end
  local settings = options.for_client(given, row)
  local self = setmetatable({
    engine = engine,
    redact = function(text) return engine:redact(text) end,
    row = row,
    settings = settings,
    settings_of = {}, -- the same with what each method has by default, by its name
    pace = retry.new_pace(),
    lists = nil, -- has the server list-by-condition? nil: not known yet
    listeners = {}, -- who wants hints, as keys
    loop = false, -- the host's
    guard = false,
    closed = false,
    schedule = schedule.new {
      engine = engine, max_inflight = settings.max_inflight,
      call = core.call, interrupted = core.interrupted,
      now = clock.now or core.now, random = clock.random or math.random, jump = clock.jump,
    },
  }, mt)
  if given.loop then attach(self, given.loop, 2) end
  local made, problem = pcall(guard, self)
  if not made then
    drop(self)
    error(problem, 0)
  end
  return self
end

-- ---- arguments ----------------------------------------------------------------------------------

local function check_client(self, level)
  if getmetatable(self) ~= mt then
    error("a client expected: call its methods with a colon", level + 1)
  end
end

local function check_self(self, level)
  check_client(self, level + 1)
  if self.closed then error("the client is closed", level + 1) end
end

-- What ends every method's arguments: options, which may be left out, and a callback.
local function check_tail(given, done, method, level)
  if done == nil and type(given) == "function" then given, done = nil, given end
  if done ~= nil and type(done) ~= "function" then
    error(("done: a function expected, got %s"):format(type(done)), level + 1)
  end
  given = options.check_call(given, method, level + 1)
  return given, done
end

-- ---- calls --------------------------------------------------------------------------------------

local function read_task(value, facts, redact, call)
  return answer.task(value, facts, redact, call.id)
end

local function request_of(call)
  return {
    path = "/mj/task/" .. call.id .. "/fetch", max_body = call.settings.max_body, timeout = false,
  }
end

local function fetch(call)
  return retry.request(call, request_of(call), read_task)
end

--- Fetches a task: GET /mj/task/{id}/fetch.
---@param id string|integer|table
---@param given? table timeout (60 s), request_timeout, retries, max_body
---@param done? fun(task?: mjtask.Task, err?: mjtask.Error)
---@return mjtask.Task? task with `done` the operation, as with every method
---@return mjtask.Error? err
function methods:fetch(id, given, done)
  check_self(self, 2)
  id = ids.check(id, 2)
  given, done = check_tail(given, done, "fetch", 2)
  local call = calling.new(self, "fetch", given, id)
  local task = not done and retry.straight(call, request_of(call), read_task)
  if task then return task end
  return calling.run(call, done, fetch)
end

--- Fetches many tasks: by lists where the server has them, else at most max_inflight at once.
---@param list (string|integer|table)[]
---@param given? table as for fetch
---@param done? fun(tasks?: table, errors: table)
---@return table<string, mjtask.Task>? tasks by id; nil if nothing could be asked
---@return table<string, mjtask.Error>|mjtask.Error errors by id; or the one
function methods:fetch_many(list, given, done)
  check_self(self, 2)
  list = ids.check_list(list, 2)
  given, done = check_tail(given, done, "fetch_many", 2)
  local call = calling.new(self, "fetch_many", given)
  return calling.run(call, done, watcher.fetch_many, list, fetch)
end

--- Looks at a task until it has ended.
---@param id string|integer|table
---@param given? table timeout (600 s), interval, max_interval, stall, progress, and those of fetch
---@param done? fun(task?: mjtask.Task, err?: mjtask.Error)
---@return mjtask.Task? task once it succeeded
---@return mjtask.Error? err with `task`, where one is known
function methods:wait(id, given, done)
  check_self(self, 2)
  id = ids.check(id, 2)
  given, done = check_tail(given, done, "wait", 2)
  return calling.run(calling.new(self, "wait", given, id), done, poll.wait, fetch)
end

--- Looks at many tasks until each has ended: `for id, task, err in mj:watch(ids) do`, one step per
--- task, with what wait would have given. The time limit is each task's own. To leave the loop ends
--- the watch.
---@param list (string|integer|table)[]
---@param given? table as for wait
---@param each? fun(id?: string, task?: mjtask.Task, err?: mjtask.Error) at the end each(nil)
---@return mjtask.Watcher watcher callable; add(id), close()
function methods:watch(list, given, each)
  check_self(self, 2)
  list = ids.check_list(list, 2)
  given, each = check_tail(given, each, "watch", 2)
  local watching = watcher.new(calling.new(self, "watch", given), list, fetch, each)
  return watching, nil, nil, watching
end

local function tell_listeners(self, id)
  local listeners = {} -- their own table changes with each wait that a finalizer may start
  for listener in pairs(self.listeners) do listeners[#listeners + 1] = listener end
  for _, listener in ipairs(listeners) do listener:hint(id) end
  self.schedule:tell_host()
end

--- Somebody says that there is news of a task, a webhook for example: whoever waits for it looks
--- soon, at most once a second. Nothing of the hook itself is believed.
---@param id string|integer|table what is no id, or nobody's, does nothing; nor does a closed client
function methods:hint(id)
  check_client(self, 2) -- a hook may well come after the end
  local kind = type(id)
  if kind ~= "string" and kind ~= "number" and kind ~= "table" then
    error(("id: a string, an integer or a table expected, got %s"):format(kind), 2)
  end
  id = ids.read(id)
  if not id or self.closed then return end
  shelter(tell_listeners, self, id)
end

--- Submits something: POST /mj/submit/<name>. It is sent once: a lost answer is `unknown_fate`.
---@param name string imagine, blend, describe, shorten, action, modal, change, video, …
---@param what table the body; `{}` is an object, ids are strings
---@param given? table timeout (60 s), request_timeout, max_body
---@param done? fun(receipt?: mjtask.Receipt, err?: mjtask.Error)
---@return mjtask.Receipt? receipt
---@return mjtask.Error? err
function methods:submit(name, what, given, done)
  check_self(self, 2)
  if type(name) ~= "string" or not core.id(name) then
    error("name must be one word of a path, such as \"imagine\"", 2)
  end
  if type(what) ~= "table" then error(("body: a table expected, got %s"):format(type(what)), 2) end
  given, done = check_tail(given, done, "submit", 2)
  local ok, json = pcall(body.encode, what)
  if not ok then error(json, 2) end
  return calling.run(calling.new(self, "submit", given), done, actions.submit, name, json)
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
---@param done? fun(receipt?: mjtask.Receipt, err?: mjtask.Error)
---@return mjtask.Receipt? receipt of the task that the press makes
---@return mjtask.Error? err
function methods:press(task_or_id, query, given, done)
  check_self(self, 2)
  local id = ids.check(task_or_id, 2)
  buttons.check_query(query, 2)
  given, done = check_tail(given, done, "press", 2)
  local ok, fault = pcall(body.ready)
  if not ok then error(fault, 2) end
  return calling.run(calling.new(self, "press", given, id), done, function(call)
    local task, err = task_or_id, nil
    if not is_whole_task(task) then task, err = fetch(call) end
    if not task then return nil, err end
    return actions.press(call, task, query)
  end)
end

--- Cancels a task on the server, where it can do that.
---@param done? fun(cancelled?: true, err?: mjtask.Error)
---@return true? cancelled
---@return mjtask.Error? err `unsupported` where it cannot
function methods:cancel(id, given, done)
  check_self(self, 2)
  id = ids.check(id, 2)
  given, done = check_tail(given, done, "cancel", 2)
  return calling.run(calling.new(self, "cancel", given, id), done, actions.cancel)
end

--- The seed of a task's picture. One that the server is still looking for is waited for.
---@param done? fun(seed?: string, err?: mjtask.Error)
---@return string? seed
---@return mjtask.Error? err
function methods:seed(id, given, done)
  check_self(self, 2)
  id = ids.check(id, 2)
  given, done = check_tail(given, done, "seed", 2)
  return calling.run(calling.new(self, "seed", given, id), done, actions.seed)
end

--- Downloads a picture: the whole file or no file. It goes out without the key, over connections of
--- its own; private addresses are refused unless allow_private, or the API itself is there.
---@param what string|mjtask.Task a URL, or a task: its first picture
---@param path string where; an existing file is kept unless overwrite
---@param given? table overwrite, progress(bytes, total), timeout (600 s), max_body (64 MiB), …
---@param done? fun(path?: string, err?: mjtask.Error)
---@return string? path
---@return mjtask.Error? err
function methods:download(what, path, given, done)
  check_self(self, 2)
  if type(what) ~= "string" and type(what) ~= "table" then
    error(("url: a string or a task expected, got %s"):format(type(what)), 2)
  end
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then
    error("path: the name of a file expected", 2)
  end
  given, done = check_tail(given, done, "download", 2)
  return calling.run(calling.new(self, "download", given), done, download.run, what, path)
end

-- ---- a host's loop ------------------------------------------------------------------------------

--- Moves on whatever is under way, and runs the callbacks that are due. An error in one is raised
--- here, when the others have run.
---@param seconds? number how long to wait for something to happen; nil: until it does
---@return boolean busy is anything still under way?
function methods:step(seconds)
  check_client(self, 2)
  if seconds ~= nil and not (type(seconds) == "number" and seconds >= 0) then
    error("seconds: a number from 0 on expected", 2)
  end
  return self.schedule:turn(seconds)
end

--- The descriptor that is readable when step(0) has work, timers included; nil: there is no epoll
--- here, or the client is closed.
---@return integer?
function methods:pollfd()
  check_client(self, 2)
  if self.closed then return nil end
  local fd = self.engine:pollfd()
  self.schedule.watched = fd ~= nil
  self.schedule:tell_host()
  return fd
end

--- For hosts that watch no descriptor: how long they may sleep before step(0).
---@return number? seconds nil: nothing is under way
function methods:timeout()
  check_client(self, 2)
  return self.schedule:timeout()
end

-- ---- the end ------------------------------------------------------------------------------------

--- Ends whatever is under way with the kind `closed`, and wipes the key. Callbacks are told before
--- this returns; if there is not even the memory for that, it raises, and can be called again.
--- Idempotent.
function methods:close()
  check_client(self, 2)
  local again = self.closed
  local ok, problem = pcall(self.schedule.close, self.schedule, "closed", self)
  if self.closed and not again then release(self) end
  if not ok then error(problem, 0) end
end

mt.__close = methods.close

function mt:__tostring()
  return ("mjtask.client(%s)"):format(self.engine:base())
end

return client
