-- What becomes of a submit, a cancel, and a question for a seed: which case is answered, and which
-- task lives on. Knows tasks; the words are those of results.lua.

local cjson = require "cjson"
local tasks = require "support.tasks"

local submits = {}

local DATA_URL = "^data:[%w.+-]+/[%w.+-]+;base64,[A-Za-z0-9+/]+=*$"
local UPLOAD = "upload-discord-images"

-- Per name: the fields it needs, each with the check of its value.
local function text(value) return type(value) == "string" and value ~= "" end
local function any_text(value) return type(value) == "string" end
local function data_url(value) return type(value) == "string" and value:find(DATA_URL) ~= nil end
local function link(value)
  return data_url(value) or text(value) and value:find("^https?:") ~= nil
end
local function data_urls(least, most)
  return function(value)
    if type(value) ~= "table" or #value < least or #value > most then return false end
    for _, item in ipairs(value) do
      if not data_url(item) then return false end
    end
    return true
  end
end

local NEEDED = {
  imagine = { prompt = text },
  change = { taskId = text, action = text },
  ["simple-change"] = { content = text },
  action = { taskId = text, customId = text },
  modal = { taskId = text },
  blend = { base64Array = data_urls(2, 5) },
  describe = { base64 = link },
  shorten = { prompt = text },
  [UPLOAD] = { base64Array = data_urls(1, 10) },
  edit = { image = link, prompt = text },
  edits = { image = link, prompt = text },
  retexture = { image = link, prompt = text },
  video = { prompt = any_text },
}

local function has_all(body, name)
  for field, check in pairs(NEEDED[name]) do
    if not check(body[field]) then return false end
  end
  return true
end

-- Per name that is about another task: a case instead of "accepted", or nil.

local function finished(id)
  local task = tasks.find(id)
  if not task then return nil, "no_task" end
  local state = tasks.peek(task)
  if state.status ~= "SUCCESS" then return nil, "not_done" end
  return state
end

local CHANGES = { UPSCALE = true, VARIATION = true, REROLL = true }

local function change(body)
  local _, case = finished(body.taskId)
  if case then return case end
  local index = body.index
  local in_range = index == 1 or index == 2 or index == 3 or index == 4
  if not CHANGES[body.action] or body.action ~= "REROLL" and not in_range then return "invalid" end
end

local checks = { change = change }

checks["simple-change"] = function(body)
  local id, word = body.content:match("^(%S+) (%S+)$")
  if not id or not (word == "R" or word:find("^[UV][1-4]$")) then return "invalid" end
  return select(2, finished(id))
end

-- These always open a window.
local WINDOWS = { "::CustomZoom", "::Inpaint", "::PicReader::%d", "::PromptAnalyzer" }

function checks.action(body)
  local state, case = finished(body.taskId)
  if case then return case end
  local belongs = false
  for _, button in ipairs(state.buttons) do
    belongs = belongs or button.customId == body.customId
  end
  if not belongs then return "invalid" end
  for _, mark in ipairs(WINDOWS) do
    if body.customId:find(mark) then return "needs_modal" end
  end
  if body.customId:find("::PicReader::all", 1, true) then return "all" end
end

function checks.modal(body, made)
  local task = tasks.find(body.taskId)
  if not task then return "no_task" end
  if tasks.peek(task).status ~= "MODAL" then return "not_done" end
  if text(body.prompt) then task.ordered.prompt = body.prompt end
  tasks.go_on(task, made.life)
  return "continued"
end

checks[UPLOAD] = function() return "uploaded" end

-- ---- what a new task says of the submit that made it --------------------------------------------

local LETTERS = { U = "UPSCALE", V = "VARIATION", R = "REROLL" }
local JOBS = { upsample = "UPSCALE", variation = "VARIATION", reroll = "REROLL" }

local function action_of(name, body)
  if name == "change" then return body.action end
  if name == "simple-change" then return LETTERS[body.content:match "%S+ (%u)"] end
  local job = name == "action" and body.customId:match "^MJ::JOB::(%l+)"
  return JOBS[job] or name:upper()
end

-- Its own prompt, else that of the task whose button it is.
local function prompt_of(body)
  if text(body.prompt) then return body.prompt end
  local parent = tasks.find(body.taskId or tostring(body.content):match "^%S+")
  return parent and tasks.peek(parent).prompt or body.prompt
end

local function ordered(request)
  local name = request.path:match "/mj/submit/([^/]+)$"
  local ok, body = pcall(cjson.decode, request.body)
  if not NEEDED[name] or not ok or type(body) ~= "table" or not has_all(body, name) then
    return {} -- a plan took it
  end
  local prompt = prompt_of(body)
  return {
    action = action_of(name, body), prompt = any_text(prompt) and prompt or "",
    state = any_text(body.state) and body.state or nil,
  }
end

local serial = 0

--- A new task's id, as servers make them: milliseconds and three digits.
---@param made table what the plan says of tasks that submits make: life, pace, fields
---@param life? string what the case says of it
---@param request table the submit
function submits.new_task(made, life, request)
  serial = serial + 1
  local id = ("17350400%08d"):format(serial)
  tasks.define(id, {
    life = life or made.life, pace = made.pace, fields = made.fields, ordered = ordered(request),
  })
  return id
end

local function has(list, name)
  for _, one in ipairs(list) do
    if one == name then return true end
  end
  return false
end

--- The case that a submit is answered with, and the id of the task that it is about.
---@param request table
---@param name string what stands behind /mj/submit/
---@param dialect table
---@param made table
function submits.take(request, name, dialect, made)
  if not has(dialect.submits, name) then return "no_route" end
  local ok, body = pcall(cjson.decode, request.body)
  if not ok or type(body) ~= "table" or not has_all(body, name) then return "invalid" end
  local case = checks[name] and checks[name](body, made)
  return dialect.cases[case] and case or "accepted", body.taskId
end

local cancelled = {
  plus = { status = "CANCEL" },
  net = { status = "FAILURE", failReason = "取消任务", progress = "" },
}

--- The case that a cancel is answered with.
function submits.cancel(id, dialect, family)
  if not dialect.routes.cancel then return "no_route" end
  local task = tasks.find(id)
  if not task then return "no_task" end
  tasks.go_on(task, { cancelled[family] })
  return "cancelled"
end

--- The case that a question for a seed is answered with.
function submits.seed(id, dialect)
  if not dialect.routes["image-seed"] then return "no_route" end
  local task = tasks.find(id)
  if not task then return "no_task" end
  task.asked = (task.asked or 0) + 1
  return task.asked <= (dialect.seed_after or 0) and "seed_pending" or "seed"
end

return submits
