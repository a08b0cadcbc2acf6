-- Notes which lines of lua/ this process runs, for spec/coverage.lua. Each one is appended to the
-- file that MJTASK_LINES names when it first runs, since processes of specs end in every way there
-- is. spec/run.lua and support/command.lua load it.

-- luacheck: globals coroutine.create coroutine.wrap pcall

local open, getinfo = io.open, debug.getinfo
local path = os.getenv "MJTASK_LINES"

-- Opened for each: kept open, it would be the descriptor that a spec has closed, or misses. Where
-- there is none left, the line is noted another time.
local function noted(entry)
  local file <close> = open(path, "ab")
  return file and file:write(entry, "\n") and true
end

local seen = {} -- source -> line -> true
local own = setmetatable({}, { __mode = "k" }) -- function -> its source; false: not ours

local function source_of(func)
  local source = getinfo(func, "S").source:match "^@.*(lua/mjtask/.*)$"
  if not source then return false end
  seen[source] = seen[source] or {}
  return source
end

local function on_line(_, line)
  local func = getinfo(2, "f").func
  local source = own[func]
  if source == nil then
    source = source_of(func)
    own[func] = source
  end
  if source and not seen[source][line] then
    seen[source][line] = noted(source .. ":" .. line)
  end
end

local sethook, create = debug.sethook, coroutine.create

-- A coroutine has a hook of its own.
function coroutine.create(func)
  local thread = create(func)
  sethook(thread, on_line, "l")
  return thread
end

-- The interpreter's Ctrl-C takes the hook away, as some specs do; who goes on has caught it.
local gethook, protected = debug.gethook, pcall

local function hooked(...)
  if not gethook() then sethook(on_line, "l") end
  return ...
end

function pcall(...)
  return hooked(protected(...))
end

local function check(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

function coroutine.wrap(func)
  local thread = coroutine.create(func)
  return function(...) return check(coroutine.resume(thread, ...)) end
end

sethook(on_line, "l")

-- The core's own thread, which works for the main one, was not made by that. (A spec may have taken
-- the core away.)
pcall(require, "mjtask.core")
for _, value in pairs(debug.getregistry()) do
  if type(value) == "thread" then sethook(value, on_line, "l") end
end
