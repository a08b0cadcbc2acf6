-- What a wait has still to do, and what it did that must not be done twice: in memory, and in the
-- file that --state names. Knows files and JSON; must not know a server.
--
-- A press costs money, so it is noted before it is sent: whatever happens then, to us or to the
-- machine, the next run knows of it. The file is written beside and renamed. Its lock goes along
-- from file to file, so that two runs never have the same state.

local core = require "mjtask.core"
local exits = require "mjtask.cli.exits"
local json = require "mjtask.cli.json"

local state = {}

local VERSION = 1
local SOON = 1 -- seconds for which what costs nothing may be unwritten

--- A press that is wanted. `sent`: it went out, or was about to; `ids`: the tasks that it made;
--- `over`: it cannot be made.
---@class mjtask.cli.Press
---@field button string
---@field sent? boolean
---@field ids? string[]
---@field over? boolean

--- A task. `from` and `button`: it was made by that press.
---@class mjtask.cli.Entry
---@field id string
---@field open boolean is there anything left to do?
---@field presses mjtask.cli.Press[]
---@field saved? string[] files
---@field from? string
---@field button? string

---@class mjtask.cli.State
local methods = {}
local mt = { __index = methods }

-- ---- what a file may hold -----------------------------------------------------------------------

local function is_list_of(value, check)
  if type(value) ~= "table" or #value == 0 and next(value) ~= nil then return false end
  for _, item in ipairs(value) do
    if not check(item) then return false end
  end
  return true
end

local function is_text(value) return type(value) == "string" end
local function is_id(value) return is_text(value) and core.id(value) ~= nil end
local function is_none_or(check, value) return value == nil or check(value) end
local function is_boolean(value) return type(value) == "boolean" end

local function is_press(value)
  return type(value) == "table" and is_text(value.button) and is_none_or(is_boolean, value.sent)
    and is_none_or(is_boolean, value.over)
    and is_none_or(function(ids) return is_list_of(ids, is_id) end, value.ids)
end

local function is_entry(value)
  return type(value) == "table" and is_id(value.id) and is_boolean(value.open)
    and is_list_of(value.presses, is_press) and is_none_or(is_id, value.from)
    and is_none_or(is_text, value.button)
    and is_none_or(function(paths) return is_list_of(paths, is_text) end, value.saved)
end

-- The tasks in a file's text; or nil and what is wrong with it.
local function parse(text)
  local value, fault, offset = core.decode(text)
  if value == nil and fault then return nil, ("%s at byte %d"):format(fault, offset) end
  if type(value) ~= "table" or value.mjtask_state == nil then return nil, "it is something else" end
  if value.mjtask_state ~= VERSION then return nil, "another version of mjtask wrote it" end
  if not is_list_of(value.tasks, is_entry) then return nil, "its tasks are broken" end
  return value.tasks
end

-- ---- the file -----------------------------------------------------------------------------------

local function exists(path)
  local file = io.open(path, "r")
  if file then file:close() end
  return file ~= nil
end

local function check_lock(file, path)
  local locked, problem = core.lock(file, path)
  if locked == false then
    exits.usage("%s: another mjtask is at work with it", path)
  elseif not locked then
    exits.usage("%s cannot be locked: %s", path, problem)
  end
end

-- Reads the file, or makes it, and takes its lock.
local function load(self)
  local path = self.path
  local is_new = not exists(path)
  local file, problem = io.open(path, is_new and "a+" or "r+")
  if not file then exits.usage("--state %s", problem) end
  check_lock(file, path)
  self.file = file
  file:seek "set"
  local text = file:read "a" or ""
  if is_new and text == "" then return end
  local tasks, fault = parse(text)
  if not tasks then
    exits.usage("%s is no state that can be gone on from (%s). Presses may be noted there, so it "
      .. "is left alone: remove it to begin anew", path, fault)
  end
  for _, entry in ipairs(tasks) do
    self.tasks[#self.tasks + 1], self.by_id[entry.id] = entry, entry
  end
end

--- The state in that file; without one, a state that ends with the program. Ends the program if it
--- cannot be had.
---@param path? string
---@return mjtask.cli.State
function state.open(path)
  local self = setmetatable({
    path = path, file = false, tasks = {}, by_id = {}, due = false,
  }, mt)
  if path then
    load(self)
    local ok, problem = self:save()
    if not ok then exits.usage("--state %s", problem) end
  end
  return self
end

-- Writes a file that is locked before it has the name.
local function write(path, text)
  local file, problem = io.open(path, "w")
  if not file then return nil, problem end
  local ok
  ok, problem = file:write(text, "\n")
  if ok then ok, problem = file:flush() end
  if ok then ok, problem = core.lock(file, path) end
  if ok then return file end
  file:close()
  os.remove(path)
  return nil, ("%s: %s"):format(path, problem or "it is locked")
end

--- Writes it down. Without a file there is nothing to do.
---@return boolean? ok
---@return string? problem
function methods:save()
  self.due = false
  if not self.path then return true end
  local beside = self.path .. ".new"
  local file, problem = write(beside, json.line { mjtask_state = VERSION, tasks = self.tasks })
  if not file then return nil, problem end
  local ok
  ok, problem = os.rename(beside, self.path)
  if not ok then
    file:close()
    os.remove(beside)
    return nil, problem
  end
  self.file:close()
  self.file = file
  return true
end

--- It is to be written soon: what a rerun would only look at again is not worth a file each time.
function methods:save_soon()
  self.due = self.due or core.now() + SOON
end

--- Writes it if it is due. Returns the seconds until then, nil if there is nothing to be written.
---@return number?
function methods:tick()
  if not self.due then return nil end
  local left = self.due - core.now()
  if left > 0 then return left end
  self:save() -- if that fails, the next press or the end tells
end

-- ---- tasks --------------------------------------------------------------------------------------

--- The task's entry, which is made if there is none.
---@param id string
---@param from? string
---@param button? string
---@return mjtask.cli.Entry
function methods:entry(id, from, button)
  local entry = self.by_id[id]
  if not entry then
    entry = { id = id, open = true, presses = {}, from = from, button = button }
    self.tasks[#self.tasks + 1], self.by_id[id] = entry, entry
  end
  return entry
end

--- The ids of what is open, in the order they came.
---@return string[]
function methods:open_ids()
  local list = {}
  for _, entry in ipairs(self.tasks) do
    if entry.open then list[#list + 1] = entry.id end
  end
  return list
end

--- Wants a button pressed. One that was pressed, or is about to, is not pressed again.
---@param entry mjtask.cli.Entry
---@param button string
function methods:want(entry, button) -- luacheck: no self
  local press
  for _, one in ipairs(entry.presses) do
    if one.button == button then press = one end
  end
  if not press then
    press = { button = button }
    table.insert(entry.presses, press)
  end
  press.over = nil
  if not press.ids then entry.open = true end
end

return state
