-- Says which lines of lua/ the specs have not run, in their own process or as the command line, by
-- what spec/support/lines.lua has noted: `lua5.4 spec/coverage.lua FILE`. Run by `make coverage`,
-- which asks gcovr the same of the core.

local function read_seen(path)
  local seen = {} -- source -> line -> true
  for entry in io.lines(path) do
    local source, line = entry:match "^(lua/.*):(%d+)$"
    assert(source, "not a line of lua/: " .. entry)
    seen[source] = seen[source] or {}
    seen[source][math.tointeger(tonumber(line))] = true
  end
  return seen
end

-- Lines with instructions, in order. A function's last one has its return, though nobody may get
-- there: an `end` alone says nothing.
local function active_lines(path)
  local text, active, order = {}, {}, {}
  for line in io.lines(path) do text[#text + 1] = line end
  local pipe <close> = assert(io.popen("luac5.4 -l -p " .. path))
  for line in pipe:lines() do
    local n, name = line:match "^%s+%d+%s+%[(%d+)%]%s+(%u+)"
    n = name ~= "VARARGPREP" and math.tointeger(tonumber(n)) -- no hook sees that one
    if n and not active[n] and not text[n]:find "^%s*end[%s,)}]*$" then
      active[n] = true
      order[#order + 1] = n
    end
  end
  table.sort(order)
  return order
end

local seen = read_seen(assert(arg[1], "usage: lua5.4 spec/coverage.lua FILE"))
local all, run = 0, 0
local pipe <close> = assert(io.popen "find lua -name '*.lua' | sort")
for path in pipe:lines() do
  local missed = {}
  local active, lines = active_lines(path), seen[path] or {}
  for _, line in ipairs(active) do
    if not lines[line] then missed[#missed + 1] = line end
  end
  all, run = all + #active, run + #active - #missed
  print(("%-30s %4d of %4d %s"):format(path, #active - #missed, #active,
    table.concat(missed, " ")))
end
print(("lua/: %d of %d lines, %.1f %%"):format(run, all, 100 * run / all))
