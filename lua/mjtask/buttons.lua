-- The buttons of a task: finds them by label, emoji, customId or meaning. Knows the wire's shapes
-- of a button; knows no network, no core, and not what a status means.

local errors = require "mjtask.errors"

---@class mjtask.Button A button, just as the server sent it.
---@field customId? string what a press submits; a link has none (webman-php spells it custom_id)
---@field label? string `""` or absent where the button shows an emoji
---@field emoji? string|{ name: string } an object in the TypeScript port and in webman-php
---@field type? integer
---@field style? integer

---@class mjtask.ButtonQuery What a button does; labels change with Midjourney's versions.
---@field kind string operation word of the customId, exactly: `upsample`, `reroll`, `Outpaint`
---@field index? integer first number after that word; without it any index fits

---@class mjtask.buttons
local buttons = {}

local max_depth = 8 -- rows in rows; captured: 2. A Lua table may hold itself, JSON cannot
local max_listed = 25 -- names in a message: as many as a Discord message has buttons
local max_name = 40 -- bytes of one such name

-- ASCII only and by hand: string.lower and %s follow the host's locale, which would break UTF-8.
local lower = {}
for byte = ("A"):byte(), ("Z"):byte() do
  lower[string.char(byte)] = string.char(byte + 32)
end

local function trim(text)
  local first = text:find("[^ \t-\r]")
  return first and text:match("^.*[^ \t-\r]", first) or ""
end

local function folded(text)
  return (trim(text):gsub("[A-Z]", lower))
end

-- U+FE0F asks for an emoji's coloured form: servers send it (⬅️ 🖌️ ❤️), keyboards often do not.
local function bare(emoji)
  return (emoji:gsub("\u{FE0F}", ""))
end

local function as_is(text)
  return text
end

local function text_field(object, name)
  local value = rawget(object, name)
  return type(value) == "string" and value or ""
end

local function label(button)
  return text_field(button, "label")
end

local function emoji(button)
  local value = rawget(button, "emoji")
  if type(value) == "table" then
    return text_field(value, "name")
  end
  return text_field(button, "emoji")
end

--- What a press of this button submits.
---@param button mjtask.Button
---@return string? custom_id nil if it cannot be pressed: a link has none, new-api lets any type by
function buttons.custom_id(button)
  local id = text_field(button, "customId")
  if id == "" then
    id = text_field(button, "custom_id")
  end
  return id ~= "" and id or nil
end

--- What a customId does. They read `MJ::JOB::<word>::<index>::…`, `MJ::Job::<word>::<index>` or
--- `MJ::<Word>::…` (trueai's CustomComponentModel.cs, and every captured task).
---@param custom_id string
---@return string? word nil if it is no such customId
---@return integer? index the first number after the word, if there is one
function buttons.operation(custom_id)
  local segments = custom_id:gmatch("[^:]+")
  if segments() ~= "MJ" then
    return nil
  end
  local word = segments()
  if word == "JOB" or word == "Job" then
    word = segments() or word
  end
  for segment in segments do
    local index = segment:match("^[0-9]+$") and math.tointeger(tonumber(segment))
    if index then
      return word, index
    end
  end
  return word
end

-- A list's integer keys in order: other decoders than ours leave a hole where an array had null.
local function indices(list)
  local keys = {}
  for key in next, list do
    if math.type(key) == "integer" then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys)
  return keys
end

local function is_button(value)
  return rawget(value, "customId") ~= nil
    or rawget(value, "custom_id") ~= nil
    or rawget(value, "label") ~= nil
    or rawget(value, "emoji") ~= nil
end

-- Appends the buttons in `value`: a button, a list, rows of rows (webman-php), or Discord's own
-- { components = … }. Anything else (null, false, a string) holds none.
local function gather(found, value, depth)
  if type(value) ~= "table" or depth > max_depth then
    return found
  end
  local components = rawget(value, "components")
  if type(components) == "table" then
    return gather(found, components, depth + 1)
  end
  if is_button(value) then
    found[#found + 1] = value
    return found
  end
  for _, key in ipairs(indices(value)) do
    gather(found, rawget(value, key), depth + 1)
  end
  return found
end

local function buttons_of(task)
  return gather({}, rawget(task, "buttons"), 0)
end

local function filter(list, fits)
  local hits = {}
  for _, button in ipairs(list) do
    if fits(button) then
      hits[#hits + 1] = button
    end
  end
  return hits
end

-- Tried in this order; the first pass with a hit decides.
local passes = {
  { key = label, wanted = as_is },
  { key = function(button) return bare(emoji(button)) end, wanted = bare },
  { key = function(button) return buttons.custom_id(button) or "" end, wanted = as_is },
  { key = function(button) return folded(label(button)) end, wanted = folded },
}

local function matching(list, query)
  if type(query) == "table" then
    return filter(list, function(button)
      local word, index = buttons.operation(buttons.custom_id(button) or "")
      return word == query.kind and (query.index == nil or query.index == index)
    end)
  end
  -- Many labels and emojis are empty: what is empty in any pass would hit them.
  if trim(bare(query)) == "" then
    return {}
  end
  for _, pass in ipairs(passes) do
    local wanted = pass.wanted(query)
    local hits = filter(list, function(button)
      return pass.key(button) == wanted
    end)
    if #hits > 0 then
      return hits
    end
  end
  return {}
end

local function operation_name(button)
  local word, index = buttons.operation(buttons.custom_id(button) or "")
  return word and (index and word .. " " .. index or word)
end

--- What a button is called in a message: its label, else its emoji, else what it does.
---@param button mjtask.Button
---@return string name printable
function buttons.name(button)
  local name = trim(label(button))
  if name == "" then
    name = emoji(button)
  end
  if name == "" then
    name = operation_name(button) or buttons.custom_id(button) or "(nameless)"
  end
  return errors.printable(name, max_name)
end

-- A name together with what would tell it from one that looks the same.
local function full_name_of(button)
  local operation = operation_name(button)
  local name = buttons.name(button)
  operation = operation and errors.printable(operation, max_name)
  return operation and operation ~= name and ("%s (%s)"):format(name, operation) or name
end

local function listed(list, name)
  local names = {}
  for i = 1, math.min(#list, max_listed) do
    names[i] = name(list[i])
  end
  if #list > max_listed then
    names[#names + 1] = ("and %d more"):format(#list - max_listed)
  end
  return table.concat(names, ", ")
end

local function shown(query)
  if type(query) == "string" then
    return ('"%s"'):format(errors.printable(query, max_name))
  end
  local kind = ('kind "%s"'):format(errors.printable(query.kind, max_name))
  return query.index and ("%s, index %d"):format(kind, query.index) or kind
end

local function none_at_all(task)
  local status = text_field(task, "status")
  if status == "SUCCESS" then -- the rest of the words is task.lua's; this only chooses a message
    return "the task has none"
  end
  return ('the task has none: buttons come with success, and its status is "%s"')
    :format(errors.printable(status, max_name))
end

local function refusal(kind, message, task)
  local id = rawget(task, "id")
  if type(id) ~= "string" and math.type(id) ~= "integer" then
    id = nil
  end
  return errors.new(kind, message, { id = id, task = task })
end

local function check_task(task)
  if type(task) ~= "table" then
    error(("task: a table expected, got %s"):format(type(task)), 3)
  end
end

--- Raises unless `query` is one: for callers who must know before they ask a server.
---@param query string|mjtask.ButtonQuery
---@param level? integer whose mistake it is, as in `error`; 1, the default: the caller of this
function buttons.check_query(query, level)
  level = (level or 1) + 1
  if type(query) == "string" then
    return
  end
  if type(query) ~= "table" then
    error(("query: a string or { kind =, index = } expected, got %s"):format(type(query)), level)
  end
  for field in pairs(query) do
    if field ~= "kind" and field ~= "index" then
      error(("query.%s: no such field; there are kind and index"):format(tostring(field)), level)
    end
  end
  if type(query.kind) ~= "string" then
    error(("query.kind: a string expected, got %s"):format(type(query.kind)), level)
  end
  if query.index ~= nil and not (type(query.index) == "number" and math.tointeger(query.index)) then
    error(("query.index: an integer expected, got %s"):format(tostring(query.index)), level)
  end
end

--- The one button a query means. A press costs money, so nothing is guessed.
---
--- A string is tried as exact label, emoji (U+FE0F ignored), customId, and trimmed label in any
--- ASCII case; the first of these with a hit decides. The same customId twice is one button.
---@param task mjtask.Task
---@param query string|mjtask.ButtonQuery
---@return mjtask.Button? button the task's own table
---@return mjtask.Error? err `no_button`: none fits, or it has no customId; `ambiguous`: several fit
function buttons.find(task, query)
  check_task(task)
  buttons.check_query(query, 2)
  local there = buttons_of(task)
  local hits = matching(there, query)
  if #hits == 0 then
    local rest = #there > 0 and "the task has " .. listed(there, buttons.name) or none_at_all(task)
    return nil, refusal("no_button", ("no button fits %s: %s"):format(shown(query), rest), task)
  end

  local pressable, seen = {}, {}
  for _, button in ipairs(hits) do
    local id = buttons.custom_id(button)
    if id and not seen[id] then
      seen[id] = true
      pressable[#pressable + 1] = button
    end
  end
  if #pressable == 0 then
    return nil, refusal("no_button",
      ("what fits %s cannot be pressed: it has no customId"):format(shown(query)), task)
  end
  if #pressable > 1 then
    return nil, refusal("ambiguous", ("%d buttons fit %s: %s")
      :format(#pressable, shown(query), listed(pressable, full_name_of)), task)
  end
  return pressable[1]
end

--- All buttons, or all that a query fits by the same passes; links without a customId too.
---@param task mjtask.Task
---@param query? string|mjtask.ButtonQuery
---@return mjtask.Button[] buttons in the task's order; empty if there are none
function buttons.all(task, query)
  check_task(task)
  local there = buttons_of(task)
  if query == nil then
    return there
  end
  buttons.check_query(query, 2)
  return matching(there, query)
end

return buttons
