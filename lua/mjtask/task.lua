-- What a task says: how it ended, how far it is, its pictures and when they expire. Knows the
-- wire's fields and every status word; knows no network, no core, no client and no clock.

local buttons = require "mjtask.buttons"
local errors = require "mjtask.errors"

---@alias mjtask.Outcome "success"|"failed"|"cancelled"|"needs_input"

---@class mjtask.tasks
local tasks = {}

--- Status word -> outcome; false while the task runs. The only list of them. A word that is not in
--- it (new-api sends "" for the first 15 s, trueai null) means: still running.
---@type table<string, mjtask.Outcome|false>
tasks.statuses = {
  -- novicezk and all its kin
  NOT_START = false,
  SUBMITTED = false,
  IN_PROGRESS = false, -- also "in-progress", of other vendors
  SUCCESS = "success",
  FAILURE = "failed",
  -- midjourney-proxy-plus and trueai
  MODAL = "needs_input", -- never advances alone: it waits for POST submit/modal
  CANCEL = "cancelled",
  -- new-api's documentation and webman-php
  PENDING = false,
  -- webman-php
  STARTED = false,
  RUNNING = false,
  FINISHED = "success",
  FAILED = "failed", -- also "failed", of other vendors
  -- mjdjourney
  COMPLETED = "success",
}

local max_word = 64 -- bytes of a status or a progress worth reading; the longest known has 11
local max_reason = 500 -- bytes of failReason in a message; trueai sends up to 4000 characters

-- By hand: string.upper follows the host's locale (Turkish has another capital i).
local upper = {}
for byte = ("a"):byte(), ("z"):byte() do
  upper[string.char(byte)] = string.char(byte - 32)
end
upper["-"], upper[" "] = "_", "_"

-- A value the server sent as a short word, trimmed; nil if it is none.
local function word(value)
  if type(value) == "string" and #value <= max_word then
    return value:match("^[ \t-\r]*(.-)[ \t-\r]*$")
  end
end

local function check_task(task)
  if type(task) ~= "table" then
    error(("task: a table expected, got %s"):format(type(task)), 3)
  end
end

--- How the task ended. Only `status` decides: new-api sends progress "100%" with a FAILURE.
---@param task mjtask.Task
---@return mjtask.Outcome? outcome nil while it runs
function tasks.outcome(task)
  check_task(task)
  local status = word(rawget(task, "status"))
  return status and tasks.statuses[status:gsub("[a-z%- ]", upper)] or nil
end

local function read_percent(value)
  if type(value) == "string" then
    local text = word(value)
    value = text and tonumber(text:match("^([0-9]+%.?[0-9]*)[ \t-\r]*%%?$"))
  end
  if type(value) == "number" and value >= 0 then -- NaN is not
    return math.tointeger(value) or value
  end
end

--- How far the task is, by its `progress`: "46%" in most servers, 46, "46" or 46.5 as well. More
--- than 100 is 100. Free text (novicezk passes on "Paused", "Waiting to start"), "" and a negative
--- number say nothing. A success whose progress says nothing is at 100.
---@param task mjtask.Task
---@return number? percent 0..100, an integer where it is whole
function tasks.percent(task)
  check_task(task)
  local percent = read_percent(rawget(task, "progress"))
  if percent then
    return percent < 100 and percent or 100
  end
  return tasks.outcome(task) == "success" and 100 or nil
end

-- The spellings of one thing, the preferred one first: imageUrls and videoUrls are trueai's and
-- hold { url, thumbnail } (new-api has videoUrls), image_urls and video_urls CometAPI's and hold
-- strings; imageUrl is everybody's.
local sources = {
  { "imageUrls", "image_urls", "imageUrl", "image_url" },
  { "videoUrls", "video_urls", "videoUrl", "video_url" },
}

-- Appends the URLs in `value`: a string, { url = … }, or a list of either.
local function gather(urls, seen, value, in_list)
  if type(value) == "table" then
    local url = rawget(value, "url")
    if url ~= nil then
      value = url
    elseif not in_list then
      for i = 1, rawlen(value) do
        gather(urls, seen, rawget(value, i), true)
      end
    end
  end
  if type(value) == "string" and value ~= "" and not seen[value] then
    seen[value] = true
    urls[#urls + 1] = value
  end
end

--- The URLs of what the task made: those of the first field that has any among imageUrls,
--- image_urls, imageUrl, image_url, then likewise videoUrls, video_urls, videoUrl, video_url. They
--- are the wire's, verbatim. While the task runs imageUrl may be a preview; a DESCRIBE's is the
--- picture it was given.
---@param task mjtask.Task
---@return string[] urls without duplicates; empty if there are none
function tasks.images(task)
  check_task(task)
  local urls, seen = {}, {}
  for _, names in ipairs(sources) do
    local before = #urls
    for _, name in ipairs(names) do
      gather(urls, seen, rawget(task, name))
      if #urls > before then
        break
      end
    end
  end
  return urls
end

-- Discord signs its CDN's URLs: ?ex=<expires>&is=<issued>&hm=<hmac>&, times in hex; proxies of the
-- CDN keep the query, so the host does not matter.
local function url_expires(url)
  local before_fragment = url:match("^[^#]*")
  local query = before_fragment:match("%?(.*)$") or ""
  for parameter in query:gmatch("[^&]+") do
    local digits = parameter:match("^ex=([0-9A-Fa-f]+)$")
    local time = digits and #digits <= 16 and tonumber(digits, 16)
    if time and time >= 0 then -- 16 digits can wrap around
      return time
    end
  end
end

--- When a signed URL dies: Discord's `ex` parameter. Fetching the task again does not renew it.
---@param task_or_url mjtask.Task|string for a task: its first URL that says so
---@return integer? time Unix seconds; nil if the URL does not say
function tasks.expires(task_or_url)
  if type(task_or_url) == "string" then
    return url_expires(task_or_url)
  elseif type(task_or_url) ~= "table" then
    error(("task_or_url: a task or a string expected, got %s"):format(type(task_or_url)), 2)
  end
  for _, url in ipairs(tasks.images(task_or_url)) do
    local time = url_expires(url)
    if time then
      return time
    end
  end
end

--- Whether a decoded value is a task: an object with a string or integer id, or a string status.
---@param value any
---@return boolean
function tasks.is_task(value)
  if type(value) ~= "table" then
    return false
  end
  local id = rawget(value, "id")
  return type(id) == "string"
    or math.type(id) == "integer"
    or type(rawget(value, "status")) == "string"
end

local envelope_codes = { [0] = true, [1] = true, [200] = true }

--- Takes one envelope off: mjdjourney and webman-php answer { code, message or msg, data = task }.
---@param value any
---@return any value what was in the envelope if that is a task; else the value itself
function tasks.unwrap(value)
  if type(value) == "table" and not tasks.is_task(value) then
    local data = rawget(value, "data")
    if envelope_codes[rawget(value, "code")] and tasks.is_task(data) then
      return data
    end
  end
  return value
end

-- Sugar only. buttons, state, progress are fields of the wire, so no method bears such a name; a
-- field named like a method hides it, and the functions of this room do not care.
local task_mt = {
  __name = "mjtask.task",
  __index = {
    button = buttons.find,
    outcome = tasks.outcome,
    percent = tasks.percent,
    images = tasks.images,
    expires = tasks.expires,
  },
}

--- Gives a task its methods.
---@param task table
---@return mjtask.Task task the same table
function tasks.adopt(task)
  return setmetatable(task, task_mt)
end

-- `redact` comes first: what printable leaves out of a URL may be a part of a key.
local function reason(task, redact)
  local text = rawget(task, "failReason")
  if type(text) == "string" and text:find("[^ \t-\r]") then
    return ": " .. errors.printable(redact(text), max_reason)
  end
  -- Shown, but as what it is: it may well read "Submit success", or be the prompt.
  text = rawget(task, "description")
  if type(text) == "string" and text:find("[^ \t-\r]") then
    return (', no reason given (description "%s")')
      :format(errors.printable(redact(text), max_reason))
  end
  return ", no reason given"
end

local endings = {
  failed = function(task, redact) return "the task failed" .. reason(task, redact) end,
  cancelled = function(task, redact) return "the task was cancelled" .. reason(task, redact) end,
  needs_input = function()
    return "the task waits for input: POST submit/modal, or press with modal = { prompt = ... }"
  end,
}

--- The error of a task that ended without success; its kind is the outcome, and the task is on it.
---@param task mjtask.Task
---@param redact? fun(text: string): string takes a key out of a text: a server may quote it
---@return mjtask.Error? err `failed`, `cancelled` or `needs_input`; nil if it runs or succeeded
function tasks.failure(task, redact)
  check_task(task)
  local outcome = tasks.outcome(task)
  local message = endings[outcome or ""]
  if not message then
    return nil
  end
  local id = rawget(task, "id")
  if type(id) ~= "string" and math.type(id) ~= "integer" then
    id = nil
  end
  return errors.new(outcome, message(task, redact or tostring), { task = task, id = id })
end

return tasks
