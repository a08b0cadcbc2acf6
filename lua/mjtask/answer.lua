-- What a server's answer means: a task, or which kind of error. Knows every dialect; knows no
-- network, no core and no clock. `redact(text)` takes the key out of a text: a server may quote it.

local errors = require "mjtask.errors"
local tasks = require "mjtask.task"

local answer = {}

-- How servers say it, lower case. Sources: new-api's constants and messages, trueai's
-- SubmitController, novicezk's and webman-php's answers.
local quota_words = {
  "quota", "insufficient", "balance", "额度", "余额", "欠费", "次数已达上限",
}
local not_found_words = {
  "task_no_found", "task_not_found", "not found", "not exist", "not_exist", "未找到", "不存在", "找不到",
}
local no_route_words = { "invalid url", "^route ", "cannot get", "cannot post", "no route" }

local function says(text, words)
  for _, word in ipairs(words) do
    if text:find(word) then return true end
  end
  return false
end

-- By hand, as everywhere: string.lower follows the host's locale and could break UTF-8.
local small = {}
for byte = ("A"):byte(), ("Z"):byte() do small[string.char(byte)] = string.char(byte + 32) end

local function lower(text)
  return (text:gsub("[A-Z]", small))
end

-- The server's own words and code: servers use one of five places for them.
local function words_of(value, facts)
  if type(value) ~= "table" then return facts.excerpt or "", nil end
  local problem = value.error
  local text = value.description or value.message or value.msg
    or type(problem) == "table" and problem.message or problem
  text = type(text) == "string" and text:match "^%s*(.-)%s*$" or ""
  return text, math.tointeger(tonumber(value.code))
end

-- Spring's and the gateways' own pages for a path that nothing serves.
local function is_no_route(value, facts, text)
  return says(text, no_route_words)
    or facts.empty -- trueai; nobody says so of an unknown id
    or type(value) == "table" and value.path ~= nil and value.timestamp ~= nil
    or facts.type ~= nil and facts.type:find("html", 1, true) ~= nil
end

local kind_of_status = {
  [400] = "http", [401] = "auth", [402] = "quota", [403] = "auth", [404] = "not_found",
  [405] = "unsupported", [429] = "rate_limited", [501] = "unsupported",
}

-- `code` inside a body that came with 200: webman-php repeats HTTP's, the others are the codes of
-- a submit (3: no such task, 30: new-api overloaded).
local kind_of_code = {
  [3] = "not_found", [30] = "rate_limited", [401] = "auth", [402] = "quota", [403] = "auth",
  [404] = "not_found", [429] = "rate_limited",
}

local function is_retryable_status(status)
  return status == 408 or status == 425 or status >= 500 and status ~= 501
end

-- The kind of an answer that is no task, and whether it is worth another try (nil: as its kind).
local function classify(value, facts, text, code)
  local status = facts.status or 200
  if status >= 300 and status < 400 then return "redirect" end
  if is_retryable_status(status) then return "http", true end
  local is_page = facts.type ~= nil and facts.type:find("html", 1, true) ~= nil
  if not is_page and says(text, quota_words) then return "quota" end
  if status == 404 and is_no_route(value, facts, text) then return "unsupported" end
  if kind_of_status[status] == "http" and says(text, not_found_words) then return "not_found" end
  if status >= 400 then return kind_of_status[status] or "http" end
  -- a success, but of what?
  if facts.empty or value == nil and not facts.fault then return "not_found" end
  if facts.fault then return "decode" end
  if type(value) ~= "table" then return "schema" end
  if kind_of_code[code] then return kind_of_code[code] end
  if code == -1 or code and code >= 500 and code < 600 then return "http", true end
  if says(text, not_found_words) then return "not_found" end
  if (code == 0 or code == 200) and value.data == nil then return "not_found" end
  return "schema"
end

local own_words = {
  busy = "no room in the queue",
  banned = "a banned word",
  rejected = "the server refuses this",
  auth = "the server refuses the key",
  quota = "out of credit",
  rate_limited = "too many requests",
  not_found = "no such task",
  unsupported = "the server has no such route: is the base URL right?",
  schema = "the answer is JSON, but no task",
}

local SHOWN = 120 -- bytes of a page that is no JSON

local function message_of(kind, facts, text, redact)
  if kind == "redirect" then
    local target = redact(facts.location or "nowhere"):match("^[^?#]*")
    return ("redirected to %s, not followed"):format(errors.printable(target))
  end
  if kind == "decode" then
    return ('the answer is not complete JSON (%s; its type is %s): "%s"'):format(facts.fault,
      facts.type and errors.printable(redact(facts.type)) or "not given",
      errors.printable(redact(facts.excerpt), SHOWN))
  end
  local ours = own_words[kind] or "the server answered with an error"
  if not text:find("[^ \t-\r]") then return ours end
  return ours .. ": " .. errors.printable(redact(text), facts.excerpt and SHOWN)
end

-- The error of an answer that is not what was asked for.
local function failure(value, facts, redact)
  facts = facts or { status = 200 }
  if facts.kind then
    -- Below HTTP. A broken answer is a fault of the way, not of the question: worth a retry.
    local retryable = facts.kind == "http" or nil
    if facts.refused then retryable = false end -- by ourselves, and again
    return errors.new(facts.kind, errors.printable(redact(facts.message)), {
      status = facts.status, retryable = retryable, unsent = facts.sent == 0,
    })
  end
  local text, code = words_of(value, facts)
  local kind, retryable = classify(value, facts, lower(text), code)
  return errors.new(kind, message_of(kind, facts, text, redact), {
    status = facts.status, code = code, retry_after = facts.retry_after, retryable = retryable,
  })
end

local function id_of(task)
  local id = rawget(task, "id")
  if math.type(id) == "integer" then return ("%d"):format(id) end
  return type(id) == "string" and id ~= "" and id or nil
end

--- Reads the answer to a fetch. An error that is `stray` (an extra field) is another's answer.
---@param value any the decoded body, nil if it is no JSON
---@param facts? table what the core's transfer says beside it, nil: JSON with status 200
---@param redact fun(text: string): string
---@param id string the id that was asked for
---@return mjtask.Task? task
---@return mjtask.Error? err
function answer.task(value, facts, redact, id)
  local ok = not facts or not facts.kind and facts.status >= 200 and facts.status < 300
  local task = ok and tasks.unwrap(value)
  if not ok or not tasks.is_task(task) then return nil, failure(value, facts, redact) end
  local own = id_of(task)
  if own and own ~= id then
    return nil, errors.new("schema", "the server sent another task: id "
      .. errors.printable(redact(own), 128), { stray = true })
  end
  return tasks.adopt(task)
end

--- Reads the answer to list-by-condition: an array of tasks, in any order; servers leave out those
--- they do not know.
---@return table<string, mjtask.Task>? tasks by their ids
---@return mjtask.Error? err
function answer.list(value, facts, redact)
  local ok = not facts or not facts.kind and facts.status >= 200 and facts.status < 300
  local list = value
  local code = type(value) == "table" and value.code
  if code == 0 or code == 1 or code == 200 then list = value.data end -- an envelope
  if not ok or type(list) ~= "table" or #list == 0 and next(list) ~= nil then
    return nil, failure(value, facts, redact)
  end
  local found = {}
  for _, task in ipairs(list) do
    local id = tasks.is_task(task) and id_of(task)
    if id then found[id] = tasks.adopt(task) end
  end
  return found
end

--- Reads a document that came some other way: a webhook's body, a file.
function answer.document(value)
  local task = tasks.unwrap(value)
  if not tasks.is_task(task) then return nil, failure(value, {}, tostring) end
  return tasks.adopt(task)
end

-- ---- submits -----------------------------------------------------------------------------------

-- Queues and accounts that will have room again: novicezk, trueai ("提交失败，队列已满") and the port.
local busy_words = { "队列已满", "queue is full", "queue full", "无可用", "no available", "饱和" }
-- new-api could not get its own upstream to answer, or not read what it said.
local lost_words = { "do_request_failed", "read_response_body_failed", "unmarshal_response" }

-- Codes of a submit: novicezk's ReturnCode, trueai's, new-api's constants. The others go by words.
local accepted_code = { [0] = true, [1] = true, [22] = true, [200] = true }
local kind_of_submit_code = {
  [3] = "not_found", [23] = "busy", [30] = "rate_limited",
  [401] = "auth", [402] = "quota", [403] = "auth", [404] = "not_found", [429] = "rate_limited",
}

local receipt_mt = {
  __name = "mjtask.receipt",
  __tostring = function(receipt) return receipt.id or "" end,
}

-- An id as a string; nil for what is none, such as the URL of an upload.
local function as_id(value)
  if math.type(value) == "float" then value = math.tointeger(value) end
  if math.type(value) == "integer" then return ("%d"):format(value) end
  if type(value) ~= "string" or #value > 128 or value == "." or value == ".." then return nil end
  return value:match("^[A-Za-z0-9%-._~]+$")
end

-- `result` is one id, a number, a list, or ids joined by commas (trueai's PicReader::all).
local function ids_of(result)
  local ids = {}
  if type(result) == "string" then
    for part in result:gmatch("[^,]+") do ids[#ids + 1] = as_id(part:match("^%s*(%S+)%s*$")) end
  elseif type(result) == "table" then
    for _, part in ipairs(result) do ids[#ids + 1] = as_id(part) end
  else
    ids[1] = as_id(result)
  end
  return ids
end

local function make_receipt(value, code)
  local properties = type(value.properties) == "table" and value.properties or nil
  local ids = ids_of(value.result)
  return setmetatable({
    id = ids[1], ids = ids, code = code, description = value.description or value.message,
    queue = properties and math.tointeger(tonumber(properties.numberOfQueues)),
    result = value.result, properties = properties,
  }, receipt_mt)
end

local function is_explicit(status)
  return status < 500 or status == 503 or status == 501
end

local function unknown_fate(why, facts)
  return errors.new("unknown_fate", "the submit went out, and its answer was lost (" .. why
    .. "): it may have been accepted", { status = facts and facts.status })
end

local function kind_of_submit(value, facts, text, code)
  local status = facts and facts.status or 200
  if status ~= 400 and status ~= 404 and status >= 300 then
    return classify(value, facts, text, code)
  end
  if code == 24 then return "banned" end -- whose text may quote the prompt, with any word
  if says(text, lost_words) then return "unknown_fate" end
  if says(text, quota_words) then return "quota" end
  if says(text, busy_words) then return "busy" end
  if kind_of_submit_code[code] then return kind_of_submit_code[code] end
  if status == 404 and not code then return classify(value, facts, text, code) end
  return says(text, not_found_words) and "not_found" or "rejected"
end

-- The error of a submit that the server did not take.
local function refusal(value, facts, redact)
  facts = facts or { status = 200 }
  local text, code = words_of(value, facts)
  local kind, retryable = kind_of_submit(value, facts, lower(text), code)
  if kind == "unknown_fate" then return unknown_fate(errors.printable(redact(text)), facts) end
  local properties = type(value) == "table" and value.properties
  local word = kind == "banned" and type(properties) == "table" and properties.bannedWord
  if type(word) == "string" then text = ('"%s"'):format(word) end
  return errors.new(kind, message_of(kind, facts, text, redact), {
    status = facts.status, code = code, retry_after = facts.retry_after, retryable = retryable,
  })
end

-- HTTP's status, the server's code, and whether the former is a good one.
local function outline(value, facts)
  local status = facts and facts.status or 200
  local code = type(value) == "table" and math.tointeger(tonumber(value.code)) or nil
  return status, code, status >= 200 and status < 300
end

--- Reads the answer to a submit.
---@param value any
---@param facts? table
---@return table? receipt { id, ids, code, description, queue, result, properties }
---@return mjtask.Error? err `needs_input` has the receipt of the task that waits, and its id
function answer.receipt(value, facts, redact)
  if facts and facts.kind then
    local err = failure(value, facts, redact)
    if err.unsent then return nil, err end
    return nil, unknown_fate(err.message, facts)
  end
  local status, code, good = outline(value, facts)
  if not is_explicit(status) then return nil, unknown_fate("HTTP " .. status, facts) end
  if good and not code then return nil, unknown_fate("it is no answer to a submit", facts) end
  if good and accepted_code[code] then return make_receipt(value, code) end
  if good and code == 21 then
    -- novicezk: the same exists already, as its properties tell; all others: a modal is needed
    local receipt = make_receipt(value, code)
    local known = receipt.properties or {}
    if known.status ~= nil or known.imageUrl ~= nil then return receipt end
    return nil, errors.new("needs_input", "the server waits for a modal: press with modal = "
      .. "{ prompt = ... }, or submit(\"modal\")", {
      code = code, id = receipt.id, receipt = receipt,
    })
  end
  return nil, refusal(value, facts, redact)
end

--- Reads the answer to a cancel: plus sends { code, description }, trueai an empty 200.
function answer.cancelled(value, facts, redact)
  if facts and facts.kind then return nil, failure(value, facts, redact) end
  local _, code, good = outline(value, facts)
  if good and (accepted_code[code] or facts and facts.empty) then return true end
  return nil, refusal(value, facts, redact)
end

--- Reads the answer to image-seed: the seed as a string; or nil, and an error that is `pending` (an
--- extra field) while the server is still looking for it.
function answer.seed(value, facts, redact)
  if facts and facts.kind then return nil, failure(value, facts, redact) end
  local status, code, good = outline(value, facts)
  local pending = status == 202 or good and code == 22 -- the port's ways to say it
  local seed = good and code and not pending
    and as_id(value.result ~= nil and value.result or value.seed)
  if seed then return seed end
  local err = refusal(value, facts, redact)
  err.pending = pending or nil
  return nil, err
end

-- ---- images -------------------------------------------------------------------------------------

local gone = { [403] = true, [404] = true, [410] = true }
local YEAR_10000 = 253402300800 -- os.date raises for times that are far beyond it

--- Reads the answer to a download: true, or the URL it was redirected to.
function answer.image(value, facts, redact, url)
  if facts.kind then return nil, failure(value, facts, redact) end
  if facts.status == 200 then return true end
  if facts.location then return facts.location end
  local time = tasks.expires(url)
  if gone[facts.status] then
    local is_date = time and time < YEAR_10000
    local when = is_date and "; it expired " .. os.date("!%Y-%m-%d %H:%M UTC", time) or ""
    return nil, errors.new("expired", "the image's URL is dead" .. when .. ". To fetch the task "
      .. "again does not renew it; a button of the task makes a new picture",
      { status = facts.status })
  elseif facts.status == 401 then
    return nil, errors.new("http", "the image host wants to know who asks; it never gets the key",
      { status = facts.status })
  elseif facts.status > 200 and facts.status < 300 then
    return nil, errors.new("http", "the image host sent something else than the whole picture",
      { status = facts.status })
  end
  return nil, failure(value, facts, redact)
end

return answer
