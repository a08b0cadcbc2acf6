-- What each family of servers says in each case, as data. Knows nothing of sockets.
--
-- A row of `cases` is { status, body, type }; {method}, {path} and {look} are filled in. A case
-- that a family has no words for is missing. `order` is the order of a task's keys; a family
-- sends no others. `blank` is what it sends for what a task has not; what is not there either
-- is left out. `ended` is laid over a task that failed or was cancelled. `spell` turns
-- a task of lives.lua into the family's shape. `submits` are the names of its submits; what those
-- answer, and the routes they go with, is in results.lua.

local json = require "support.json"
local results = require "support.results"

local JSON = "application/json"
local JSON_UTF8 = "application/json; charset=utf-8"
local TEXT = "text/plain; charset=utf-8"
local HTML = "text/html"

local null = json.null

local function words(text)
  local out = {}
  for word in text:gmatch("%S+") do out[#out + 1] = word end
  return out
end

local dialects = {}

dialects.java = {
  type = JSON,
  order = words [[id action status prompt promptEn description state submitTime startTime
    finishTime imageUrl progress failReason properties]],
  blank = {
    startTime = null, finishTime = null, imageUrl = null, progress = null, failReason = null,
  },
  ended = { progress = "" },
  routes = { ["list-by-condition"] = true },
  submits = words "imagine change simple-change blend describe",
  cases = {
    unknown = { 200, "" },
    unauthorized = { 401, "" },
    no_channel = { 200, '{"code":3,"description":"无可用的账号实例","properties":{}}', JSON },
    server_fault = { 500, '{"timestamp":"2026-11-21T08:00:00.000+00:00","status":500,'
      .. '"error":"Internal Server Error","path":"{path}"}', JSON },
    no_route = { 404, '{"timestamp":"2026-11-21T08:00:00.000+00:00","status":404,'
      .. '"error":"Not Found","path":"{path}"}', JSON },
  },
}

-- As java, with buttons and with what needs them. Known by its documents only.
dialects.plus = {
  type = JSON,
  order = words [[id action status prompt promptEn description state submitTime startTime
    finishTime imageUrl progress failReason buttons properties customId emoji label type style]],
  blank = {
    startTime = null, finishTime = null, imageUrl = null, progress = null, failReason = null,
    buttons = json.list,
  },
  ended = dialects.java.ended,
  routes = {
    ["list-by-condition"] = true, ["list-by-ids"] = true, cancel = true, ["image-seed"] = true,
  },
  submits = words [[imagine action modal blend describe shorten upload-discord-images]],
  cases = {},
}
for name, row in pairs(dialects.java.cases) do dialects.plus.cases[name] = row end

dialects.net = {
  type = JSON_UTF8,
  astral = true,
  order = words [[parentId botType realBotType userId nonce messageId instanceId id action status
    prompt promptEn promptFull description state submitTime startTime finishTime imageUrl
    imageHeight imageWidth imageUrls videoUrls progress failReason buttons seed mode properties
    isCompleted customId emoji label type style]],
  blank = {
    parentId = null, botType = "MID_JOURNEY", realBotType = null, userId = null, nonce = null,
    messageId = null, instanceId = null, promptFull = null, startTime = null, finishTime = null,
    imageUrl = null, imageHeight = null, imageWidth = null, imageUrls = null, videoUrls = null,
    progress = null, failReason = null, buttons = json.list, seed = null, mode = "FAST",
    isCompleted = false,
  },
  ended = { progress = "", isCompleted = true },
  routes = {
    ["list-by-condition"] = true, ["list-by-ids"] = true, cancel = true, ["image-seed"] = true,
  },
  submits = words [[imagine action modal blend describe shorten upload-discord-images edit edits
    retexture video]],
  cases = {
    unknown = { 204, "" },
    unauthorized = { 401, "Authorization header missing.", TEXT },
    forbidden = { 403, "账号不可用", TEXT },
    quota = { 200, '{"success":false,"code":-1,'
      .. '"message":"\\u7528\\u6237\\u4ECA\\u65E5\\u7ED8\\u56FE\\u6B21\\u6570'
      .. '\\u5DF2\\u8FBE\\u4E0A\\u9650","timestamp":"638998272000000000"}', JSON_UTF8 },
    overload = { 429, "" },
    no_channel = { 200, '{"code":3,"description":"无可用的账号实例","result":null,'
      .. '"properties":{}}', JSON_UTF8 },
    server_fault = { 500, '{"success":false,"code":-1,"message":"\\u64CD\\u4F5C\\u5931\\u8D25"}',
      JSON_UTF8 },
    no_route = { 404, "" },
  },
}

function dialects.net.spell(task)
  task.isCompleted = task.status == "SUCCESS" or nil
end

local function go_error(message, kind)
  return '{"error":{"message":"' .. message .. '","type":"' .. (kind or "new_api_error") .. '"}}'
end

local GO_REQUEST = " (request id: 20261121160000123456789AbCdEfGh)"

dialects.go = {
  type = JSON_UTF8,
  escapes = { ["&"] = "\\u0026", ["<"] = "\\u003c", [">"] = "\\u003e" },
  order = words [[id action customId botType prompt promptEn description state submitTime startTime
    finishTime imageUrl status progress failReason buttons maskBase64 properties finalPrompt
    finalZhPrompt emoji label type style]],
  blank = {
    customId = "", botType = "", startTime = 0, finishTime = 0, imageUrl = "", progress = "0%",
    failReason = "", buttons = null, maskBase64 = "", properties = null,
  },
  ended = { progress = "100%" },
  routes = { ["list-by-condition"] = true, ["image-seed"] = true },
  submits = words [[imagine change simple-change action modal blend describe shorten
    upload-discord-images edits video]],
  cases = {
    unknown = { 400, '{"description":"task_no_found ","type":"upstream_error","code":4}',
      JSON_UTF8 },
    unauthorized = { 401, go_error("无效的令牌" .. GO_REQUEST), JSON_UTF8 },
    forbidden = { 403, go_error("该令牌无权访问模型 " .. GO_REQUEST), JSON_UTF8 },
    channel = { 403, go_error("普通用户不支持指定渠道" .. GO_REQUEST), JSON_UTF8 },
    quota = { 401, go_error("该令牌额度已用尽 TokenStatusExhausted[sk-***abc***xyz]"
      .. GO_REQUEST), JSON_UTF8 },
    overload = { 429, '{"description":"当前分组负载已饱和，请稍后再试，或升级账户以提升服务质量。'
      .. '","type":"upstream_error","code":30}', JSON_UTF8 },
    no_channel = { 503, go_error("当前分组 default 下对于模型 mj_imagine 无可用渠道"
      .. GO_REQUEST), JSON_UTF8 },
    server_fault = { 500, go_error("sql: connection is already closed" .. GO_REQUEST),
      JSON_UTF8 },
    no_route = { 404, go_error("Invalid URL ({method} {path})", "invalid_request_error"),
      JSON_UTF8 },
    web_ui = { 200, "<!doctype html><html><head><title>New API</title></head>"
      .. '<body><div id="root"></div></body></html>', HTML },
  },
}

-- Two properties are all that is kept; until the end the picture goes through the gateway,
-- under a URL that is new at each look.
function dialects.go.spell(task)
  local kept = task.properties
  task.properties = task.status == "SUCCESS"
    and { finalPrompt = kept.finalPrompt, finalZhPrompt = kept.finalZhPrompt } or nil
  if task.imageUrl and task.status == "IN_PROGRESS" then
    task.imageUrl = "{here}/mj/image/{id}?rand=173503051300000{look}"
  end
end

dialects.ts = {
  type = JSON_UTF8,
  order = words [[id action status prompt promptEn description state submitTime startTime
    finishTime imageUrl progress failReason properties buttons type style label customId emoji
    name]],
  blank = { progress = "0%" },
  ended = { progress = "" },
  routes = { ["list-by-condition"] = true, ["image-seed"] = true },
  seed_after = 2, -- as many times it is still looking for it
  submits = words "imagine change simple-change action modal blend describe shorten edits",
  cases = {
    unknown = { 200, "null", JSON_UTF8 },
    unauthorized = { 401, '{"error":"Unauthorized"}', JSON_UTF8 },
    no_channel = { 200, '{"code":3,"description":"No available account instance"}', JSON_UTF8 },
    server_fault = { 500, '{"statusCode":500,"error":"Internal Server Error",'
      .. '"message":"connect ECONNREFUSED"}', JSON_UTF8 },
    no_route = { 404, '{"message":"Route {method}:{path} not found","error":"Not Found",'
      .. '"statusCode":404}', JSON_UTF8 },
  },
}

-- Emoji are objects; what is empty is left out.
function dialects.ts.spell(task)
  for place, button in ipairs(task.buttons or {}) do
    task.buttons[place] = {
      customId = button.customId, type = button.type, style = button.style,
      label = button.label ~= "" and button.label or nil,
      emoji = button.emoji ~= "" and { name = button.emoji } or nil,
    }
  end
  if task.state == "" then task.state = nil end
end

dialects.php = {
  type = JSON,
  escapes = { ["/"] = "\\/" },
  order = words [[id action status submitTime startTime finishTime progress imageUrl prompt
    promptEn description failReason state buttons properties type style label emoji name
    custom_id]],
  blank = {
    startTime = null, finishTime = null, imageUrl = null, progress = "", failReason = null,
    buttons = json.list,
  },
  ended = { progress = "" },
  envelope = { '{"code":0,"msg":"ok","data":', "}" },
  routes = {},
  submits = {}, -- under other paths than /mj/submit
  cases = {
    unknown = { 200, '{"code":404,"msg":"未找到任务","data":null}', JSON },
    unauthorized = { 200, '{"code":403,"msg":"403 Api Secret 错误"}', JSON },
    server_fault = { 500, '{"code":500,"msg":"Server internal error"}', JSON },
    no_route = { 404, "<html><head><title>404 Not Found - webman</title></head>"
      .. "<body><center><h1>404 Not Found</h1></center></body></html>", HTML },
  },
}

local PHP_STATUS = {
  NOT_START = "PENDING", IN_PROGRESS = "RUNNING", SUCCESS = "FINISHED", FAILURE = "FAILED",
}

-- Times in seconds, its own words, and buttons in rows of five.
function dialects.php.spell(task)
  task.status = PHP_STATUS[task.status] or task.status
  for _, key in ipairs { "submitTime", "startTime", "finishTime" } do
    task[key] = task[key] and task[key] // 1000
  end
  if not task.buttons then return end
  local rows = {}
  for place, button in ipairs(task.buttons) do
    local row = (place - 1) // 5 + 1
    rows[row] = rows[row] or {}
    table.insert(rows[row], {
      type = button.type, style = button.style, label = button.label, custom_id = button.customId,
      emoji = button.emoji ~= "" and { name = button.emoji } or nil,
    })
  end
  task.buttons = rows
end

for name, dialect in pairs(dialects) do results.add(dialect, name) end

return dialects
