-- Lets every operation run out of memory at each of its requests in turn, and looks at what is left
-- of it: see oom.c. Knows what must hold after any failure; what is done is in operations.lua.
--
--   oom spec/c/oom.lua INTERPRETER [NAME ...]     all operations, or those



arg[-1] = arg[1] -- runs the proxy
local here = arg[0]:match "^(.*)/" or "."
package.path = here .. "/?.lua;" .. here .. "/../?.lua;" .. package.path

local child = require "support.child"
local clock = require "support.clock"

local client = require "mjtask.client"
local proxy = require "support.proxy"
local operations = require "operations"

local PATIENCE = 200 -- steps that whatever is left may take
local SHOWN, MOST = 5, 100 -- faults of one variant that are told, and after which it is given up

local p = proxy.start()
local folder, remove = child.directory "/dev/shm" -- where a file is durable at once
local faults, cases = 0, 0

-- What the states of their own are given: the server, and our modules compiled.
local given = ("return { url = %q, modules = {"):format(p.url)
for name, searched in pairs(package.loaded) do
  local path = name:find "^mjtask" and package.searchpath(name, package.path)
  if path and searched then
    given = given .. ("[%q] = %q,"):format(name, string.dump(assert(loadfile(path))))
  end
end
given = given .. "} }"

-- ---- what must hold -----------------------------------------------------------------------------

local function says_memory(text)
  return tostring(text):find("memory", 1, true) ~= nil
end

-- Moves on what a failure left. Each call may still raise what it has to tell.
local function settle(mj, told)
  for _ = 1, PATIENCE do
    local ok, busy = pcall(mj.step, mj, 1)
    if not ok then told[#told + 1] = busy end
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
  assert(not next(schedule.timers.place), "the heap holds what is not in it")
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

-- The outcome of an attempt: right, or a failure that names its reason.
local function check_outcome(operation, subject, status, refused, ...)
  if status ~= "ok" then
    assert(refused > 0 and says_memory(...), ...)
    return
  end
  local good, problem = pcall(operation.good, subject, ...)
  if good then return end
  assert(refused > 0, problem)
  if operation.fair then return operation.fair(subject, ...) end
  local value, err = ...
  assert(value == nil and says_memory(err), tostring(problem))
end

-- ---- cases ----------------------------------------------------------------------------------------

local function new_client(operation)
  local given = {
    url = p.url, key = "sk-0123456789abcdef", retries = 1, headers = { ["X-Kind"] = "test" },
    timeout = 60, request_timeout = 5,
  }
  for name, value in pairs(operation.options or {}) do given[name] = value end
  return client.new(given, clock.new())
end

local function new_subject(operation, warm)
  p:reset()
  local subject = { p = p, folder = folder }
  if not operation.bare then subject.mj = new_client(operation) end
  if operation.prepare then operation.prepare(subject) end
  if warm then
    operation.good(subject, operation.run(subject))
    if operation.prepare then operation.prepare(subject) end
  end
  return subject
end

-- One request for memory is refused; and the next time there is enough. Returns whether it came to
-- that request.
local function try(operation, source, mode, skipped)
  local before = descriptors()
  local subject = new_subject(operation, source == "lua")
  collectgarbage()
  collectgarbage "stop"
  local outcome = table.pack(oom.attempt(source, mode, skipped, operation.run, subject))
  collectgarbage "restart"
  local refused = outcome[2]
  check_outcome(operation, subject, table.unpack(outcome, 1, outcome.n))
  local mj = subject.mj
  if mj and operation.calls_back then
    settle(mj, {})
    operation.told(subject, outcome[1])
  end
  if operation.after then operation.after(subject) end
  if mj and not mj.closed then
    check_rest(mj)
    if operation.prepare then operation.prepare(subject) end
    operation.good(subject, operation.run(subject))
    check_rest(mj)
    mj:close()
  end
  if operation.finish then operation.finish(subject) end
  subject, mj = nil, nil
  collectgarbage()
  local after = descriptors()
  assert(after == before, ("descriptors: %d, before %d"):format(after, before))
  return refused > 0
end

-- The same in a state of its own, which is closed then.
local function try_state(operation, source, mode, skipped)
  local before = descriptors()
  p:reset()
  if operation.prepare then operation.prepare { p = p } end
  local status, refused, problem = oom.state(source, mode, skipped, operation.text, given)
  assert(status == "ok" or refused > 0 and says_memory(problem), problem)
  local after = descriptors()
  assert(after == before, ("descriptors: %d, before %d"):format(after, before))
  return refused > 0
end

local function try_all(operation, source, mode)
  local skipped, shown = 0, 0
  local once = operation.text and try_state or try
  repeat
    local ok, refused = xpcall(once, debug.traceback, operation, source, mode, skipped)
    cases = cases + 1
    if not ok then
      faults, shown = faults + 1, shown + 1
      if shown <= SHOWN then
        print(("  FAULT %s, %s, %s, %d: %s"):format(operation.name, source, mode, skipped, refused))
      end
    end
    skipped = skipped + (operation.stride or 1)
  until ok and not refused or shown > MOST
  return skipped - 1
end

local VARIANTS = {
  { "lua", "point" }, { "lua", "on" },
  { "cold lua", "once" }, { "cold lua", "point" }, { "cold lua", "on" },
  { "c", "once" }, { "c", "on" },
}
local OF_STATES = { { "lua", "once" }, { "lua", "point" }, { "lua", "on" }, { "c", "once" }, { "c", "on" } }
local OF_ENDS = { { "lua", "end" }, { "c", "end" } }

local wanted = {}
for n = 2, #arg do wanted[arg[n]] = true end

for _, operation in ipairs(operations) do
  if not next(wanted) or wanted[operation.name] then
    local started, before = os.clock(), cases
    local counts = {}
    for _, variant in ipairs(operation.ends and OF_ENDS or operation.text and OF_STATES or VARIANTS) do
      counts[#counts + 1] = try_all(operation, table.unpack(variant))
    end
    if oom.leaks() then
      faults = faults + 1
      print("  FAULT " .. operation.name .. " leaks")
    end
    print(("%-24s %s  %d cases, %.1f s"):format(operation.name, table.concat(counts, " "),
      cases - before, os.clock() - started))
  end
end

p:stop()
remove()
print(("%d cases, %d faults"):format(cases, faults))
if faults > 0 then error("faults", 0) end
