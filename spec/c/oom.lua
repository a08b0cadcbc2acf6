-- Lets every operation run out of memory at each of its requests in turn, and looks at what is left
-- of it: see oom.c. Knows what must hold after any failure; what is done is in operations.lua.
--
--   oom spec/c/oom.lua INTERPRETER [--core] [NAME ...]
--
-- All operations, or those; with --core only what the core itself asks for is refused. INTERPRETER
-- runs the proxy, a process of its own that has all the memory it wants.

arg[-1] = table.remove(arg, 1)
local here = arg[0]:match "^(.*)/" or "."
package.path = ("%s/?.lua;%s/../?.lua;%s"):format(here, here, package.path)

-- What is done once a process, before anything else needs it. Each failure is no more than that.
local once = -1
repeat
  local status, refused, problem = oom.state("c", "once", once + 1, [[
    return function() return require "mjtask.core" end
  ]], "")
  assert(status == "ok" and refused == 0 or problem:find "memory", problem)
  once = once + 1
until refused == 0
assert(once >= 2, "libcurl was there before")

local socket = require "socket"
local child = require "support.child"
local client = require "mjtask.client"
local clock = require "support.clock"
local operations = require "operations"
local proxy = require "support.proxy"

local PATIENCE = 200 -- steps that whatever is left may take
local BYTES = 199 -- between two limits of memory
local SELDOM = 5 -- times: how much fewer are refused where the collector runs
local SHOWN, MOST = 5, 100 -- faults of one variant that are told, and after which it is given up

local p = proxy.start()
local folder, remove = child.directory "/dev/shm" -- where a file is durable at once
local faults, cases = 0, once + 1
local core_only, wanted = false, {}

-- What the states of their own are given: the server, and our modules compiled.
local parts = {}
for name in pairs(package.loaded) do
  local path = name:find "^mjtask" and package.searchpath(name, package.path)
  if path then
    parts[#parts + 1] = ("[%q] = %q,"):format(name, string.dump(assert(loadfile(path))))
  end
end
local given = ("return { url = %q, modules = { %s } }"):format(p.url, table.concat(parts))

-- ---- what must hold -----------------------------------------------------------------------------

local function says_memory(text)
  return tostring(text):find("memory", 1, true) ~= nil
end

-- Moves on what a failure left. Each call may still raise what it has to tell.
local function settle(mj)
  for _ = 1, PATIENCE do
    local ok, busy = pcall(mj.step, mj, 1)
    if ok and not busy then return end
  end
  error "the client does not come to rest"
end

local function check_rest(mj)
  local schedule = mj.schedule
  assert(schedule.count == 0, "the count of operations is " .. schedule.count)
  assert(not next(schedule.operations), "an operation is left")
  assert(schedule.inflight == 0, "transfers in flight: " .. schedule.inflight)
  assert(schedule.timers.count == 0, "timers: " .. schedule.timers.count)
  assert(not next(schedule.timers.place), "the heap knows what is not in it")
  assert(schedule.queue:is_empty(), "an operation is in the queue")
  assert(not schedule.nested, "the schedule believes to be nested")
  assert(not next(mj.listeners), "a listener is left")
  mj:step(0) -- forgets what would be told of an operation that failed
  assert(schedule.deliveries:is_empty(), "a delivery is left")
end

-- How many descriptors are open, and one more; 0: unknown here.
local function descriptors()
  return #(oom.files "/proc/self/fd" or {})
end

-- Those of a name look-up that was given up go with its thread.
local function check_descriptors(before)
  local deadline = socket.gettime() + 1
  while descriptors() ~= before and socket.gettime() < deadline do socket.sleep(0.005) end
  local after = descriptors()
  assert(after == before, ("descriptors: %d, before %d"):format(after, before))
end

-- The outcome of an attempt: right, or a failure that names its reason.
local function check_outcome(operation, subject, status, refused, ...)
  if operation.raises then
    local problem = tostring((...))
    if status == "error" and problem:find(operation.raises, 1, true) then return end
    assert(refused > 0, "raised nothing")
  end
  if status ~= "ok" then
    assert(refused > 0 and says_memory(...), ...)
    return
  end
  local good, problem = pcall(operation.good, subject, ...)
  if good then return end
  assert(refused > 0, problem)
  if operation.fair then return operation.fair(subject, ...) end
  local value, err = ...
  assert(value == nil and says_memory(err), problem)
end

-- ---- cases --------------------------------------------------------------------------------------

local function new_client(operation)
  local options = {
    url = p.url, key = "sk-0123456789abcdef", retries = 0, headers = { ["X-Kind"] = "test" },
    timeout = 60, request_timeout = 5,
  }
  for name, value in pairs(operation.options or {}) do options[name] = value end
  return client.new(options, clock.new())
end

-- A run with all the memory there is.
local function run_well(operation, subject)
  if operation.raises then
    local ok, problem = pcall(operation.run, subject)
    assert(not ok and tostring(problem):find(operation.raises, 1, true), problem)
  else
    operation.good(subject, operation.run(subject))
  end
  operation.after(subject)
  if subject.mj then check_rest(subject.mj) end
end

local function new_subject(operation, is_warm)
  p:reset()
  local subject = { p = p, folder = folder }
  if not operation.bare then subject.mj = new_client(operation) end
  operation.prepare(subject)
  if is_warm then
    run_well(operation, subject)
    operation.prepare(subject)
  end
  return subject
end

-- At rest, so that the requests are the same each time; or at work whenever it likes: then they are
-- not, and finalizers run between any two of them.
local function set_collector(is_collecting, skipped)
  collectgarbage()
  if not is_collecting then
    collectgarbage "stop"
  elseif skipped % 2 == 0 then
    collectgarbage("generational", 5, 20)
  else
    collectgarbage("incremental", 100, 400, 6)
  end
end

local function reset_collector()
  collectgarbage("incremental", 200, 100, 13)
  collectgarbage "restart"
end

-- Garbage that steps the client when it is collected, and then again.
local function litter(mj)
  local held = setmetatable({ mj = mj }, { __mode = "v" })
  local mt = {}
  function mt.__gc()
    if not held.mj then return end
    pcall(held.mj.step, held.mj, 0)
    setmetatable({}, mt)
  end
  setmetatable({}, mt)
  return function() held.mj = nil end
end

-- Memory is refused once; and the next time there is enough. Returns whether it came to that. What
-- is cold is a client that has done nothing yet, on a stack on which nothing has run.
local function try_one(operation, source, mode, skipped)
  local from, collecting = source:gsub("^collecting ", "")
  local is_cold = source:find "cold" or operation.final
  local subject = new_subject(operation, not is_cold)
  local clean = collecting > 0 and litter(subject.mj)
  set_collector(collecting > 0, skipped)
  local outcome = table.pack(oom.attempt(from, mode, skipped, operation.run, subject))
  reset_collector()
  if clean then clean() end
  check_outcome(operation, subject, table.unpack(outcome, 1, outcome.n))
  local mj = subject.mj
  if operation.told then
    settle(mj)
    operation.told(subject, outcome[1])
  end
  operation.after(subject)
  if mj and not mj.closed then
    check_rest(mj)
    operation.prepare(subject)
    run_well(operation, subject)
    mj:close()
  end
  return outcome[2] > 0
end

local function try(...)
  local before = descriptors()
  local refused = try_one(...)
  collectgarbage()
  check_descriptors(before)
  return refused
end

-- The same in a state of its own, which is closed then.
local function try_state(operation, source, mode, skipped)
  local before = descriptors()
  p:reset()
  operation.prepare { p = p }
  local status, refused, problem = oom.state(source, mode, skipped, operation.text, given)
  assert(status == "ok" or refused > 0 and says_memory(problem), problem)
  check_descriptors(before)
  return refused > 0
end

-- ---- all of them --------------------------------------------------------------------------------

local function report(operation, source, mode, skipped, problem)
  print(("  FAULT %s, %s, %s, %d: %s"):format(operation.name, source, mode, skipped, problem))
end

-- Refuses one request after the other, until there are no more. Returns how many there were.
local function try_all(operation, source, mode, first)
  local attempt = operation.text and try_state or try
  local stride = mode == "limit" and BYTES or source:find "lua" and operation.stride or 1
  if source:find "collecting" then stride = stride * SELDOM end
  local skipped, count, failed = first % stride, 0, 0
  repeat
    local ok, refused = xpcall(attempt, debug.traceback, operation, source, mode, skipped)
    count = count + 1
    if not ok then
      failed = failed + 1
      if failed <= SHOWN then report(operation, source, mode, skipped, refused) end
    end
    skipped = skipped + stride
  until ok and not refused or failed > MOST
  cases, faults = cases + count, faults + failed
  return count - 1
end

local OF_CORE = { "cold c once", "cold c on" }
local OF_STATE = { "lua point", "lua on" }
local FINAL = { "lua once", "lua point", "lua on", "lua limit", "c once", "c on" }
local RAISING = { "lua once", "lua point", "lua on", "lua limit", "cold lua point", "cold lua on" }
local ALL = {
  "lua point", "lua on", "lua limit", "cold lua once", "cold lua point", "cold lua on",
  "cold c once", "cold c on", "collecting lua point", "collecting lua on",
  "collecting cold lua on",
}

local function variants_of(operation)
  if operation.text then return core_only and {} or operation.ends and { "lua end" } or OF_STATE end
  if core_only or operation.of_core then return OF_CORE end
  return operation.may_raise and RAISING or operation.final and FINAL or ALL
end

local function do_nothing() end

local function try_operation(operation)
  operation.prepare = operation.prepare or do_nothing
  operation.after = operation.after or do_nothing
  local before, counts = cases, {}
  for n, variant in ipairs(variants_of(operation)) do
    local source, mode = variant:match "^(.*) (%l+)$"
    counts[n] = ("%s %d"):format(variant, try_all(operation, source, mode, n))
  end
  if oom.leaks() then
    faults = faults + 1
    print("  FAULT " .. operation.name .. " leaks")
  end
  if cases > before then print(("%-22s %s"):format(operation.name, table.concat(counts, ", "))) end
end

for _, word in ipairs(arg) do
  if word == "--core" then core_only = true else wanted[word] = true end
end
for _, operation in ipairs(operations) do
  if not next(wanted) or wanted[operation.name] then try_operation(operation) end
end

p:stop()
remove()
print(("%d cases, %d faults"):format(cases, faults))
if faults > 0 then error("memory is not all that was missing", 0) end
