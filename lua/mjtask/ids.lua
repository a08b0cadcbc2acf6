-- Ids: what stands for one in an argument. Knows the core's rule for their characters.

local core = require "mjtask.core"

local ids = {}

local function id_of(value)
  if type(value) == "table" then value = rawget(value, "id") end
  return core.id(value)
end

--- The id that a string, an integer, or any table with an id means; raises at the caller's `level`.
---@param value string|integer|table
---@param level integer
---@return string
function ids.check(value, level)
  local id, fault = id_of(value)
  if not id then error("id " .. fault, level + 1) end
  return id
end

--- The same without raising: nil for what is no id.
---@return string?
function ids.read(value)
  return (id_of(value))
end

--- The ids in an array, each once.
---@param list (string|integer|table)[]
---@param level integer
---@return string[]
function ids.check_list(list, level)
  if type(list) ~= "table" or rawget(list, "id") ~= nil or #list == 0 and next(list) ~= nil then
    error("ids: an array of ids expected", level + 1)
  end
  local checked, seen = {}, {}
  for at = 1, #list do
    local id, fault = id_of(list[at])
    if not id then error(("ids[%d] %s"):format(at, fault), level + 1) end
    if not seen[id] then
      seen[id] = true
      checked[#checked + 1] = id
    end
  end
  return checked
end

return ids
