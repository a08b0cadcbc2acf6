-- What can be counted instead of timed, and so is the same on a busy machine: instructions by
-- callgrind, system calls by strace, of one fetch more. Knows rows of the plan.

local machine = require "bench.machine"

local counted = {}

local SHORT, LONG = 50, 450 -- fetches of two runs, whose difference counts

local function run(row, wrap, count)
  local env = { COUNT = count }
  for name, value in pairs(row.env) do env[name] = value end
  local output = machine.output("timeout --foreground -k 1 120 sh -c " ..
    require "support.shell".quoted(machine.command(wrap .. " " .. row.command, env)))
  if not output or not output:find("done " .. count .. " ", 1, true) then
    error(("%s: %s"):format(row.key, output or "failed"), 0)
  end
  return output
end

--- Instructions of one fetch in user space; nil and why not.
---@param row table
---@return number? instructions
---@return string? reason
function counted.instructions(row)
  if not machine.version "valgrind" then return nil, "valgrind is not installed" end
  local function collected(count)
    local wrap = "valgrind --tool=callgrind --callgrind-out-file=/dev/null"
    return tonumber(run(row, wrap, count):match "Collected : (%d+)")
  end
  return (collected(LONG) - collected(SHORT)) / (LONG - SHORT)
end

-- The table that strace -c writes: calls by name.
local function calls_of(row, count)
  local path = os.tmpname()
  run(row, "strace -f -qq -c -o " .. path, count)
  local calls = {}
  for number, name in machine.read(path):gmatch "[%d.]+ +[%d.]+ +%d+ +(%d+) +%d* *([%w_]+)\n" do
    if name ~= "total" then calls[name] = tonumber(number) end
  end
  os.remove(path)
  return calls
end

--- System calls of one fetch: in all, and by name those that are not next to nothing; nil and why
--- not.
---@param row table
---@return number? calls
---@return table<string, number>|string names
function counted.calls(row)
  if not machine.version "strace" then return nil, "strace is not installed" end
  local short, long = calls_of(row, SHORT), calls_of(row, LONG)
  local total, names = 0, {}
  for name, number in pairs(long) do
    local each = (number - (short[name] or 0)) / (LONG - SHORT)
    total = total + each
    if math.abs(each) >= 0.01 then names[name] = each end
  end
  return total, names
end

--- "1.00 sendto, 2.00 recvfrom", most first.
function counted.list(names)
  local list = {}
  for name, each in pairs(names) do list[#list + 1] = { name, each } end
  table.sort(list, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[1] < b[1]
  end)
  for n, pair in ipairs(list) do list[n] = ("%.2f %s"):format(pair[2], pair[1]) end
  return table.concat(list, ", ")
end

--- Of the plan's rows those that are counted, with what one fetch of each is.
---@param groups table[]
---@param keys string[]
---@param tell fun(line: string)
---@return table<string, { instructions?: number, calls?: number, names?: table, missing?: string }>
function counted.rows(groups, keys, tell)
  local results = {}
  local wanted = {}
  for _, key in ipairs(keys) do wanted[key] = true end
  for _, group in ipairs(groups) do
    for _, row in ipairs(group.rows) do
      if wanted[row.key] then
        local calls, names = counted.calls(row)
        local instructions, why = counted.instructions(row)
        results[row.key] = {
          instructions = instructions, calls = calls, names = calls and names or nil,
          missing = why or not calls and names or nil,
        }
        tell("counted " .. row.key)
      end
    end
  end
  return results
end

return counted
