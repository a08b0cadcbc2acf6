-- What our own clients of the measurements have in common: settings from the environment, and the
-- line at the end that the runner checks.

local setting = {}

if os.getenv "COLLECTOR" then collectgarbage(os.getenv "COLLECTOR") end

---@return string
function setting.text(name)
  return os.getenv(name) or error(name .. " is not set", 2)
end

---@return integer
function setting.number(name, otherwise)
  local value = os.getenv(name)
  return value and math.tointeger(tonumber(value)) or otherwise or error(name .. " is not set", 2)
end

--- The client that is measured: BASE, CAFILE, the key in one header, as a provider's row in
--- providers.lua has it and as all peers send it; all else is as it comes.
---@param more? table further options
---@return mjtask.Client
function setting.client(more)
  local given = {
    url = setting.text "BASE", key = "key", auth = "raw", cafile = os.getenv "CAFILE",
  }
  for name, value in pairs(more or {}) do given[name] = value end
  return require "mjtask".new(given)
end

--- So many fetches, so much work in all: buttons seen.
function setting.report(fetches, work)
  print(("done %d %d"):format(fetches, work))
end

--- Ids that no two tasks share, as servers give them.
---@return string[]
function setting.ids(count)
  local ids = {}
  for n = 1, count do ids[n] = ("%d"):format(1735030480000000 + n) end
  return ids
end

return setting
