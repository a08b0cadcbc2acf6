-- A picture into a file: which URL is fetched, and the way it takes. What makes a whole file of it
-- is the core's; no server chooses a path here.

local answer = require "mjtask.answer"
local core = require "mjtask.core"
local errors = require "mjtask.errors"
local retry = require "mjtask.retry"
local tasks = require "mjtask.task"

local download = {}

local HOPS = 5 -- redirects that are followed

-- new-api gives its own pictures by the address it has for itself (the seed of pawmaas:
-- http://localhost:3001/mj/image/…); seen from here that is the base URL.
local function seen_from_here(engine, url)
  local host, rest = url:match("^[Hh][Tt][Tt][Pp][Ss]?://([^/?#]+)(/mj/image/.*)$")
  host = host and host:match("^%[.*%]") or host and host:match("^[^:]*")
  if host == "localhost" or host == "[::1]" or host and host:find("^127%.[0-9.]+$") then
    return engine:base() .. rest
  end
  return url
end

-- Watches a transfer: tells of its progress, and ends it when nothing has come for too long. A
-- large picture may take longer than an answer of the API, but not in silence.
local function watch(call)
  local schedule, settings = call.schedule, call.settings
  local seen, since
  return function()
    seen, since = 0, schedule.now()
  end, function(transfer)
    local bytes, total = transfer:received()
    if bytes ~= seen then
      seen, since = bytes, schedule.now()
      if settings.progress then
        schedule:deliver(call.operation, settings.progress, bytes, total)
      end
    elseif schedule.now() - since >= settings.request_timeout then
      return errors.new("timeout", ("nothing came for %g s"):format(settings.request_timeout))
    end
  end
end

-- One URL, tried as often as it is worth it. The result: true, or where it was moved to.
local function fetch(call, url, file)
  local begin, tick = watch(call)
  return retry.request(call, {
    url = url, path = "(image)", file = file, max_body = call.settings.max_body,
    limit = call.limit,
    begin = function()
      file:restart()
      begin()
    end,
    tick = tick,
  }, function(value, facts, redact)
    return answer.image(value, facts, redact, url)
  end)
end

-- Follows redirects; each address on the way is checked like the first. Never from https to http.
local function follow(call, url, file)
  local engine = call.client.engine
  local was_secure = false
  for _ = 0, HOPS do
    local ok, secure, fault = engine:image(url)
    if not ok then
      return nil, errors.new(secure, "the image's URL " .. fault, { retryable = false })
    end
    if was_secure and not secure then
      return nil, errors.new("redirect", "redirected from https to http, not followed")
    end
    was_secure = secure
    local moved, err = fetch(call, url, file)
    if not moved then return nil, err end
    if moved == true then return true end
    url = moved
  end
  return nil, errors.new("redirect", ("redirected more than %d times"):format(HOPS))
end

--- Downloads a URL, or a task's first picture, to `path`: the whole file or no file.
---@param call mjtask.Call
---@param what string|mjtask.Task
---@param path string
---@return string? path
---@return mjtask.Error? err
function download.run(call, what, path)
  local task = type(what) == "table" and what or nil
  local url = task and tasks.images(task)[1] or what
  if type(url) ~= "string" or url == "" then
    return nil, errors.new("no_image", "there is no picture to download", { task = task })
  end
  local overwrite = call.settings.overwrite
  local file <close>, fault = core.file(path, overwrite)
  if not file then
    return nil, retry.complete(call, errors.new("io", errors.printable(path) .. ": " .. fault))
  end
  local ok, err = follow(call, seen_from_here(call.client.engine, url), file)
  local kind
  if ok then
    ok, kind, fault = file:commit(overwrite)
    if kind == "io" then fault = errors.printable(path) .. ": " .. fault end
    err = not ok and errors.new(kind, fault)
  end
  if not ok then return nil, retry.complete(call, err) end
  return path
end

return download
