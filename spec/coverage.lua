-- Runs the specs and says which lines of lua/ none of them has run; what they run in processes of
-- their own does not count. `lua5.4 spec/coverage.lua [ARGUMENTS OF run.lua]`; run by
-- `make coverage`, which asks gcovr the same of the core.

-- luacheck: globals coroutine.create coroutine.wrap

local seen = {} -- source -> line -> true
local own = {} -- function -> its source's lines; false: not ours

local function lines_of(func)
  local source = debug.getinfo(func, "S").source:match "^@.*(lua/mjtask/.*)$"
  if not source then return false end
  seen[source] = seen[source] or {}
  return seen[source]
end

local function on_line(_, line)
  local func = debug.getinfo(2, "f").func
  local lines = own[func]
  if lines == nil then
    lines = lines_of(func)
    own[func] = lines
  end
  if lines then lines[line] = true end
end

setmetatable(own, { __mode = "k" })

local sethook, create = debug.sethook, coroutine.create

-- A coroutine has a hook of its own.
function coroutine.create(func)
  local thread = create(func)
  sethook(thread, on_line, "l")
  return thread
end

-- The core's own thread, which works for the main one, was not made by that.
require "mjtask.core"
for _, value in pairs(debug.getregistry()) do
  if type(value) == "thread" then sethook(value, on_line, "l") end
end

local function check(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

function coroutine.wrap(func)
  local thread = coroutine.create(func)
  return function(...) return check(coroutine.resume(thread, ...)) end
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

local function report()
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
end

-- The specs may leave by os.exit, and may not.
local told = setmetatable({}, { __gc = function()
  sethook()
  report()
end })

sethook(on_line, "l")
dofile "spec/run.lua"
assert(told)
