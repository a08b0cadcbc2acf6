-- Runs rows interleaved: each round runs every row once, so that what drifts drifts for all. Knows
-- what a row costs in seconds; must not know what it does.

local machine = require "bench.machine"

local rounds = {}

local LEAST = 4 -- of what a row does in a round

-- ---- numbers ------------------------------------------------------------------------------------

--- The middle one of some numbers.
---@param list number[]
---@return number
function rounds.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local half = #sorted // 2
  if #sorted % 2 == 1 then return sorted[half + 1] end
  return (sorted[half] + sorted[half + 1]) / 2
end

--- The smallest and the largest.
function rounds.range(list)
  return math.min(table.unpack(list)), math.max(table.unpack(list))
end

-- ---- one row ------------------------------------------------------------------------------------

--- Why a row cannot run here; nil: it can.
---@return string?
function rounds.missing(row)
  if row.missing then return row.missing end
  for _, name in ipairs(row.needs or {}) do
    if not machine.version(name) then return name .. " is not installed" end
  end
end

-- Runs a row's command with a count: what it cost; nil and why, also if it did not do its work.
local function run(row, count)
  local env = { COUNT = count }
  for name, value in pairs(row.env) do env[name] = value end
  local before = row.server and row.server:counts().connections
  local output, cost = machine.measure(row.command, env)
  if not output then return nil, cost end
  if before then cost.connections = row.server:counts().connections - before end
  local done, work = output:match "done (%d+) (%d+)"
  if tonumber(done) ~= count or tonumber(work) ~= count * row.work then
    return nil, ("%d times %d expected, but it said: %s"):format(count, row.work, output)
  end
  return cost
end

-- What one of them costs once all is warm: the difference of two runs, so that neither start nor
-- end of the process counts. Nil and why.
local function measure(row, scale)
  local count = math.max(math.floor(row.count * scale), LEAST)
  local short, reason = run(row, row.warm)
  if not short then return nil, reason end
  local long, why = run(row, row.warm + count)
  if not long then return nil, why end
  local per = count * (row.per or 1)
  return {
    wall = (long.wall - short.wall) / per, cpu = (long.cpu - short.cpu) / per,
    connections = row.server and math.max(short.connections, long.connections) or nil,
  }
end

-- Runs a row once more and notes what it cost. One that fails twice is out, but not the others; an
-- error is not of a row: it may be Ctrl-C, and ends all.
local function note(row, scale, result, tell)
  if result.missing then return end
  local run_row = row.measure or measure
  local cost, why = run_row(row, scale)
  if not cost then
    tell(("%s failed, and is run again: %s"):format(row.key, why))
    result.again = true
    cost, why = run_row(row, scale)
  end
  if cost then
    table.insert(result.wall, cost.wall)
    table.insert(result.cpu, cost.cpu)
    if cost.connections then
      result.connections = math.max(result.connections or 0, cost.connections)
    end
  else
    result.wall, result.cpu, result.failed = nil, nil, true
    result.missing = "it failed"
    tell(("%s failed: %s"):format(row.key, why))
  end
end

-- ---- all ----------------------------------------------------------------------------------------

--- Runs all rows of all groups, `count` rounds. Returns by a row's key { wall, cpu: a number of
--- seconds for each round; again?: a run failed, and the next did not; connections?: the most that
--- a run made, of a row with a `server` } or { missing = why, failed? }. A row may have a `measure`
--- of its own: nil and why when it fails.
---@param groups table[]
---@param count integer
---@param scale number of a row's count
---@param tell fun(line: string)
---@return table<string, table>
function rounds.run(groups, count, scale, tell)
  local rows, results = {}, {}
  for _, group in ipairs(groups) do
    for _, row in ipairs(group.rows) do
      local why = rounds.missing(row)
      results[row.key] = why and { missing = why } or { wall = {}, cpu = {} }
      if not why then rows[#rows + 1] = row end
    end
  end
  for round = 1, count do
    for n = 1, #rows do
      local row = rows[(n + round * 7) % #rows + 1] -- each round begins elsewhere
      note(row, scale, results[row.key], tell)
    end
    tell(("round %d of %d"):format(round, count))
  end
  return results
end

--- The ratio of two rows, each round's by itself, and of those the median; nil: one of them is
--- missing.
---@param results table
---@param key string
---@param anchor string
---@param what "cpu"|"wall"
---@return number?
function rounds.ratio(results, key, anchor, what)
  local a, b = results[key], results[anchor]
  if not (a and b and a[what] and b[what]) then return nil end
  local list = {}
  for n, value in ipairs(a[what]) do list[n] = value / b[what][n] end
  return rounds.median(list)
end

return rounds
