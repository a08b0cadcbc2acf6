-- Measures rows whose process itself says what it has used since it was warm: one process for each
-- round, where others take two. Knows what such a process prints; must not know which they are.

local machine = require "bench.machine"

local warmed = {}

local LEAST = 4 -- of what a row does in a round, and of what makes it warm
local CHECK = 0.01 -- below this share of its count nobody believes the numbers: it need not be warm

--- A row's `measure`: what one of them costs after `row.warm` of them, whatever the scale; nil and
--- why not.
---@param row table
---@param scale number
---@return { wall: number, cpu: number }? seconds
---@return string? reason
function warmed.measure(row, scale)
  local count = math.max(math.floor(row.count * scale), LEAST)
  local warm = scale < CHECK and LEAST or row.warm
  local env = { COUNT = warm + count, WARM = warm }
  for name, value in pairs(row.env) do env[name] = value end
  local output, cost = machine.measure(row.command, env)
  if not output then return nil, cost end
  local wall, cpu, done, work = output:match "since ([%d.]+) ([%d.]+)\ndone (%d+) (%d+)"
  if tonumber(done) ~= warm + count or tonumber(work) ~= (warm + count) * row.work then
    return nil, ("%s: %d times %d expected, but it said: %s"):format(row.key, warm + count,
      row.work, output)
  end
  return { wall = wall / count, cpu = cpu / count }
end

return warmed
