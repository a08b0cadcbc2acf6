-- What each family of servers answers to a submit, to a cancel and to the question for a seed, as
-- data. Knows nothing of sockets or tasks.
--
-- A row is { code, description, … } with `result` (false: none) and `properties` as JSON, and
-- `status` where it is not 200; or `body` as it is, with its type; `makes` is a new task's life.
-- {result}, {id}, {task}, {queue}, {word} and {url} are filled in: {id} makes a new task, {task}
-- is the one asked about.

local results = {}

local JSON = "application/json; charset=utf-8"
local TEXT = "text/plain; charset=utf-8"

local QUEUED = '{"numberOfQueues":{queue},"discordInstanceId":"1118138338562560102"}'
local BANNED = '{"promptEn":"a lot of {word}","bannedWord":"{word}"}'
local EXISTING = '{"status":"IN_PROGRESS","imageUrl":"{url}"}'
local REMIX = '{"finalPrompt":"a black cat","remix":true}'
local SEED = '"636646138"'

local WINDOW = "window"

local zh = {
  accepted = { 1, "提交成功", result = "{result}" },
  continued = { 1, "提交成功", result = '"{task}"' },
  queued = { 22, "排队中，前面还有{queue}个任务", result = "{result}", properties = QUEUED },
  exists = { 21, "任务已存在", result = "{result}", properties = EXISTING },
  needs_modal = { 21, "窗口等待", result = "{result}", properties = REMIX, makes = WINDOW },
  queue_full = { 23, "队列已满，请稍后尝试", result = false, properties =
    '{"discordInstanceId":"1118138338562560102"}' },
  banned = { 24, "可能包含敏感词", result = false, properties = BANNED },
  failed = { 9, "提交失败：连接被重置", result = false },
  invalid = { 4, "参数错误", result = false },
  no_task = { 3, "关联任务不存在或已失效", result = false },
  not_done = { 4, "关联任务状态错误", result = false },
  uploaded = { 1, "success", result =
    '["https://cdn.discordapp.com/a/1.png","https://cdn.discordapp.com/a/2.png"]' },
  seed = { 1, "成功", result = SEED },
}

local en = {
  accepted = { 1, "Submit success", result = "{result}" },
  continued = { 1, "Submit success", result = '"{task}"' },
  queued = { 22, "In queue, there are {queue} tasks ahead", result = "{result}",
    properties = QUEUED },
  needs_modal = { 21, "Waiting for window confirm", result = "{result}", properties = REMIX,
    makes = WINDOW },
  queue_full = { 23, "Queue is full, please try again later", result = false },
  banned = { 24, "May contain sensitive words", result = false, properties = BANNED },
  failed = { 9, "Submit failed: socket hang up", result = false },
  invalid = { 4, "Validation error", result = false },
  no_task = { 3, "Related task does not exist or has expired", result = false },
  not_done = { 4, "Related task status error", result = false },
  -- it carries the task's id, which is not the seed
  seed_pending = { 22, "Seed is being fetched", result = '"{task}"', status = 202,
    headers = { ["Retry-After"] = "5" } },
  seed = { body = '{"code":1,"description":"success","seed":' .. SEED .. "}", type = JSON },
}

-- The gateway's own refusals: one shape for them all.
local function upstream(status, code, words)
  return {
    body = ('{"description":"%s ","type":"upstream_error","code":%d}'):format(words, code),
    status = status, type = JSON,
  }
end

-- What is laid over the words of a language; false: the family has no such answer.
local families = {
  java = { words = zh, needs_modal = false, continued = false, uploaded = false, seed = false },
  plus = {
    words = zh, exists = false,
    cancelled = { 1, "成功", result = false },
  },
  net = {
    words = zh, exists = false, null = true,
    queue_full = { 9, "提交失败，队列已满，请稍后重试", result = false },
    no_task = { 3, "任务不存在或已失效", result = false, status = 404 },
    no_hash = { 4, "关联任务状态错误", result = false, status = 400 },
    all = { 1, "提交成功", result = '"{id},{id},{id},{id}"' },
    logic = { status = 200, type = JSON,
      body = '{"success":false,"code":-1,"message":"\\u64CD\\u4F5C\\u5931\\u8D25",'
        .. '"timestamp":"638998272000000000"}' },
    limit = { 4, "用户今日绘图次数已达上限", result = false },
    cancelled = { body = "", status = 200 },
    cancel_denied = { body = "无权限操作", status = 400, type = TEXT },
  },
  go = {
    words = zh, exists = false,
    -- it makes a 1 of a 22
    queued = { 1, "排队中，前面还有{queue}个任务", result = "{result}", properties = QUEUED },
    invalid = upstream(400, 4, "prompt_is_required"),
    no_task = upstream(400, 4, "task_no_found"),
    not_done = upstream(400, 4, "task_status_not_success"),
    no_quota = upstream(400, 4, "quota_not_enough"),
    lost = upstream(500, 5, "do_request_failed"),
    lost_400 = upstream(400, 5, "do_request_failed"),
  },
  ts = { words = en },
  php = { words = {} },
}

local function body_of(row, null)
  if row.body then return row.body end
  local result = row.result and ',"result":' .. row.result or null and ',"result":null' or ""
  return ('{"code":%d,"description":"%s"%s,"properties":%s}')
    :format(row[1], row[2], result, row.properties or "{}")
end

--- Adds the answers of a family to its cases.
---@param dialect table
---@param name string
function results.add(dialect, name)
  local family = families[name]
  local function add(case, row)
    dialect.cases[case] = {
      row.status or 200, body_of(row, family.null), row.type or row.body ~= "" and JSON or nil,
      headers = row.headers, makes = row.makes,
    }
  end
  for case, row in pairs(family.words) do
    if family[case] == nil then add(case, row) end
  end
  for case, row in pairs(family) do
    if type(row) == "table" and case ~= "words" then add(case, row) end
  end
end

return results
