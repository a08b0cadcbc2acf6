-- What this process holds, exactly: descriptors, Lua's heap, what malloc has given, memory. Knows
-- where it can be read, and what has grown.
--
-- The size that /proc/self/statm tells is rounded by the kernel, to some 64 pages a processor;
-- smaps_rollup is not. What malloc gave is counted by the shim that spec/soak.lua loads before the
-- C library; without it the size has in it what malloc only keeps, which is what there was at most.
-- What cannot be read is nil.

local descriptors = require "support.descriptors"

local gauge = {}

local library = os.getenv "SOAK_MEMORY"
local memory = library and assert(package.loadlib(library, "luaopen_memory"))()

-- Pages of its own: those of files come and go with the cache.
local function resident()
  local file = io.open "/proc/self/smaps_rollup"
  if not file then return nil end
  local text = file:read "a"
  file:close()
  local kib = math.tointeger(tonumber(text:match "\nAnonymous:%s*(%d+)"))
  return kib and 1024 * kib
end

--- { descriptors, heap, held, memory }, the last three in bytes, when all garbage is gone.
function gauge.read()
  collectgarbage()
  collectgarbage()
  if memory then memory.trim() end
  return {
    heap = math.tointeger(collectgarbage "count" * 1024), held = memory and memory.held(),
    memory = resident(), descriptors = descriptors(),
  }
end

-- Lua's table of all strings doubles when it is full, and shrinks when three quarters are empty.
-- From here on it has the size that the soak needs.
local strings = {}
for n = 1, 10000 do strings[n] = "string " .. n end
assert(#strings == 10000)
strings = nil -- luacheck: ignore

local function least(samples, field, from, to)
  local value
  for at = from, to do
    local here = samples[at][field]
    if not here then return nil end
    value = math.min(value or here, here)
  end
  return value
end

--- By how many bytes something has grown: the least of the second half of the samples against the
--- least of the first, without the `warm` ones before. A peak is not growth, but what never comes
--- back is. Nil: there are too few, or it could not be read.
---@param samples table[]
---@param field string
---@param warm integer
---@return integer? bytes
function gauge.growth(samples, field, warm)
  local half = (#samples - warm) // 2
  if half < 1 then return nil end
  local first = least(samples, field, warm + 1, warm + half)
  local last = least(samples, field, warm + half + 1, #samples)
  return first and last and last - first
end

return gauge
