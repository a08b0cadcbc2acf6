-- What changes something on the server: submits, presses, modals, cancels; and the seed. Knows
-- tasks and buttons; the sending and the retrying are retry.lua's.
--
-- All this goes out on fresh connections: on a kept one the first answer may be one that nobody
-- asked for, and none of these answers tells which task it is about.

local answer = require "mjtask.answer"
local body = require "mjtask.body"
local buttons = require "mjtask.buttons"
local errors = require "mjtask.errors"
local retry = require "mjtask.retry"
local tasks = require "mjtask.task"

local actions = {}

--- Posts to /mj/submit/<name>. On a fresh connection: over a kept one that has died libcurl would
--- send a POST a second time by itself, and a picture would be paid for twice. So it would over a
--- fresh one that others have joined: `once` forbids it that.
---@param call mjtask.Call
---@param name string
---@param json string
function actions.submit(call, name, json)
  return retry.request(call, {
    path = "/mj/submit/" .. name, body = json, fresh = true, once = true,
    max_body = call.settings.max_body,
  }, answer.receipt)
end

local action_of_kind = { upsample = "UPSCALE", variation = "VARIATION", reroll = "REROLL" }

-- The buttons of a first grid, for servers without buttons (novicezk): what submit/change takes.
local function change_of(query)
  if type(query) == "table" then
    local action, index = action_of_kind[query.kind], query.index
    if action == "REROLL" then return action end
    if index and (index < 1 or index > 4) then return nil end
    return action, index and math.tointeger(index)
  end
  local letter, index = query:upper():match("^%s*([UV])([1-4])%s*$")
  if letter then return letter == "U" and "UPSCALE" or "VARIATION", math.tointeger(index) end
  local bare = query:gsub("\u{FE0F}", "")
  if bare == "🔄" or query:lower() == "reroll" then return "REROLL" end
end

-- The name and body of the submit that presses a button; or nil and why there is none.
local function aim(call, task, query)
  local outcome, id = tasks.outcome(task), call.id -- the task itself may have none
  if not outcome then
    return nil, errors.new("no_button", ('the task is not done yet: its status is "%s"')
      :format(errors.printable(rawget(task, "status") or "", 40)), { task = task })
  elseif outcome ~= "success" then
    return nil, tasks.failure(task, call.client.redact)
  end
  local action, index = change_of(query)
  if call.client.row.change and action and #buttons.all(task) == 0 then
    if action ~= "REROLL" and not index then
      return nil, errors.new("ambiguous", "which one? The query has no index", { task = task })
    end
    return "change", { taskId = id, action = action, index = index }
  end
  local button, err = buttons.find(task, query)
  if not button then return nil, err end
  return "action", { taskId = id, customId = buttons.custom_id(button) }
end

--- Presses a button: submits its customId, and answers the modal that may come of it.
---@param call mjtask.Call
---@param task mjtask.Task
---@param query string|mjtask.ButtonQuery
function actions.press(call, task, query)
  local name, what = aim(call, task, query)
  if not name then return nil, retry.complete(call, what) end
  local receipt, err = actions.submit(call, name, body.encode(what))
  local modal = call.settings.modal
  local waiting = err and err.receipt -- err.id may be that of the task that was pressed
  if not (modal and waiting and waiting.id) then return receipt, err end
  return actions.submit(call, "modal", body.encode {
    taskId = waiting.id, prompt = modal.prompt or "", maskBase64 = modal.mask,
  })
end

--- Cancels a task on the server (midjourney-proxy-plus, trueai). Tried again like a read: to cancel
--- twice is to cancel.
---@param call mjtask.Call
function actions.cancel(call)
  return retry.request(call, {
    path = "/mj/task/" .. call.id .. "/cancel", body = "{}", fresh = true,
    max_body = call.settings.max_body,
  }, answer.cancelled)
end

--- The seed of a task's picture; a server that is still looking for it is asked again.
---@param call mjtask.Call
function actions.seed(call)
  local now = call.schedule.now
  while true do
    local seed, err = retry.request(call, {
      path = "/mj/task/" .. call.id .. "/image-seed", fresh = true,
      max_body = call.settings.max_body,
    }, answer.seed)
    if seed or not err.pending then return seed, err end
    local due = now() + (err.retry_after or call.settings.interval)
    if due >= call.deadline then return nil, retry.complete(call, retry.timed_out(call)) end
    call.operation:sleep_until(due)
  end
end

return actions
