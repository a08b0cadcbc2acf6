-- What a server's answer means: a task, or which kind of error. Knows every dialect; knows no
-- network, no core and no clock.

local errors = require "mjtask.errors"
local tasks = require "mjtask.task"

local answer = {}

-- How servers say it, lower case. Sources: new-api's constants and messages, trueai's
-- SubmitController, novicezk's and webman-php's answers.
local quota_words = {
  "quota", "insufficient", "balance", "额度", "余额", "欠费", "次数已达上限",
}
local not_found_words = {
  "task_no_found", "not found", "not exist", "not_exist", "未找到", "不存在", "找不到",
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
  return type(text) == "string" and text or "", math.tointeger(tonumber(value.code))
end

-- Spring's and the gateways' own pages for a path that nothing serves.
local function is_no_route(value, facts, text)
  return says(text, no_route_words)
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
  if says(text, quota_words) then return "quota" end
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
  auth = "the server refuses the key",
  quota = "out of credit",
  rate_limited = "too many requests",
  not_found = "no such task",
  unsupported = "the server has no such route: is the base URL right?",
  schema = "the answer is JSON, but no task",
}

local function message_of(kind, facts, text)
  if kind == "redirect" then
    return "redirected to " .. errors.printable(facts.target or "nowhere") .. ", not followed"
  end
  if kind == "decode" then
    return ('the answer is not complete JSON (%s): "%s"')
      :format(facts.fault, errors.printable(facts.excerpt or "", 120))
  end
  local ours = own_words[kind] or "the server answered with an error"
  return text:find("%S") and ours .. ": " .. errors.printable(text) or ours
end

-- The error of an answer that is not what was asked for.
local function failure(value, facts)
  facts = facts or { status = 200 }
  if facts.kind then
    -- Below HTTP. A broken answer is a fault of the way, not of the question: worth a retry.
    return errors.new(facts.kind, errors.printable(facts.message), {
      status = facts.status, sent = facts.sent, retryable = facts.kind == "http" or nil,
    })
  end
  local text, code = words_of(value, facts)
  local kind, retryable = classify(value, facts, lower(text), code)
  return errors.new(kind, message_of(kind, facts, text), {
    status = facts.status, code = code, retry_after = facts.retry_after, retryable = retryable,
  })
end

local function id_of(task)
  local id = rawget(task, "id")
  if math.type(id) == "integer" then return ("%d"):format(id) end
  return type(id) == "string" and id ~= "" and id or nil
end

--- Reads the answer to a fetch.
---@param value any the decoded body, nil if it is no JSON
---@param facts? table what the core's transfer says beside it, nil: JSON with status 200
---@param id string the id that was asked for
---@return mjtask.Task? task
---@return mjtask.Error? err
function answer.task(value, facts, id)
  local ok = not facts or not facts.kind and facts.status >= 200 and facts.status < 300
  local task = ok and tasks.unwrap(value)
  if not ok or not tasks.is_task(task) then return nil, failure(value, facts) end
  local own = id_of(task)
  if own and own ~= id then
    return nil, errors.new("schema", "the server sent another task: id "
      .. errors.printable(own, 128))
  end
  return tasks.adopt(task)
end

--- Reads a document that came some other way: a webhook's body, a file.
function answer.document(value)
  local task = tasks.unwrap(value)
  if not tasks.is_task(task) then return nil, failure(value) end
  return tasks.adopt(task)
end

return answer
