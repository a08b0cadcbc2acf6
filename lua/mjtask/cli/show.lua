-- Tasks, buttons and errors as they are printed: a block for people, a table for JSON. Knows their
-- fields; must not know where it goes.

local buttons = require "mjtask.buttons"
local errors = require "mjtask.errors"
local mjtask = require "mjtask"

local show = {}

local function text_of(value)
  if math.type(value) == "float" then return ("%.14g"):format(value) end
  return errors.visible(tostring(value))
end

-- Options of the library's that its messages name, and what they are here.
local OPTIONS = {
  { 'press with modal = { prompt = ... }, or submit("modal")', "press with --prompt TEXT" },
  { "allow_http = true", "--allow-http" },
  { "allow_private = true", "--allow-private" },
}

--- A message of the library's in the words of the command line.
---@param text string
---@return string
function show.message(text)
  for _, row in ipairs(OPTIONS) do
    local from, to = text:find(row[1], 1, true)
    if from then text = text:sub(1, from - 1) .. row[2] .. text:sub(to + 1) end
  end
  return text
end

local function is_said(value)
  return value ~= nil and value ~= "" and type(value) ~= "table"
end

--- A task's status as a word, which servers do not owe us.
---@param task mjtask.Task
---@return string
function show.status(task)
  local status = rawget(task, "status")
  return is_said(status) and text_of(status) or "-"
end

--- A task as a block of lines: a name and a value each. Nothing in it is more than one line.
---@param task mjtask.Task
---@param id? string as it was asked for
---@return string
function show.block(task, id)
  local lines = {}
  local function add(name, value)
    if is_said(value) then lines[#lines + 1] = ("%-9s %s"):format(name, text_of(value)) end
  end
  local percent = mjtask.percent(task)
  add("id", id or rawget(task, "id"))
  add("status", show.status(task))
  add("progress", percent and ("%d%%"):format(percent // 1 | 0))
  add("prompt", rawget(task, "prompt"))
  add("reason", rawget(task, "failReason"))
  for _, url in ipairs(mjtask.images(task)) do add("image", url) end
  local names = {}
  for at, button in ipairs(mjtask.buttons(task)) do names[at] = buttons.name(button) end
  add("buttons", #names > 0 and table.concat(names, ", ") or nil)
  return table.concat(lines, "\n")
end

--- A task for JSON: what the library says of it, and the task itself.
---@param task mjtask.Task
---@param id? string
---@return table
function show.record(task, id)
  return {
    id = id or rawget(task, "id"), outcome = mjtask.outcome(task), percent = mjtask.percent(task),
    images = mjtask.images(task), task = task,
  }
end

--- A button for JSON.
---@param button mjtask.Button
---@return table
function show.button(button)
  local custom_id = buttons.custom_id(button)
  return { name = buttons.name(button), customId = custom_id, pressable = custom_id ~= nil,
    button = button }
end

--- A receipt for JSON.
---@param receipt mjtask.Receipt
---@return table
function show.receipt(receipt)
  return {
    id = receipt.id, ids = receipt.ids, code = receipt.code, description = receipt.description,
    queue = receipt.queue, result = receipt.result, properties = receipt.properties,
  }
end

local ERROR_FIELDS = {
  "kind", "message", "retryable", "status", "code", "retry_after", "attempts", "elapsed",
}

--- An error for JSON, with the last that was seen of its task.
---@param err mjtask.Error
---@param id? string
---@return table
function show.failure(err, id)
  local record = {
    id = id or err.id, error = {}, task = err.task,
    receipt = err.receipt and show.receipt(err.receipt), -- of what waits for a modal
  }
  for _, name in ipairs(ERROR_FIELDS) do record.error[name] = err[name] end
  record.error.message = show.message(err.message)
  return record
end

return show
