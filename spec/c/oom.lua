-- Lets every operation run out of memory at each of its requests in turn, and looks at what is left
-- of it: see oom.c. Knows what must hold after any failure; what is done is in operations.lua.
--
--   oom spec/c/oom.lua INTERPRETER [NAME ...]     all operations, or those



arg[-1] = arg[1] -- runs the proxy
local here = arg[0]:match "^(.*)/" or "."
package.path = here .. "/?.lua;" .. here .. "/../?.lua;" .. package.path

local clock = require "support.clock"

local client = require "mjtask.client"
local proxy = require "support.proxy"
local operations = require "operations"

local PATIENCE = 200 -- steps that whatever is left may take
local SHOWN = 5 -- faults told of one operation

local p = proxy.start()
local faults, cases = 0, 0

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
  assert(schedule.deliveries:is_empty(), "a delivery is left")
  assert(not schedule.nested, "the schedule believes to be nested")
  assert(not next(mj.listeners), "a listener is left")
end

-- The outcome of an attempt: right, or a failure that names its reason.
local function check_outcome(operation, subject, status, refused, ...)
  if status ~= "ok" then
    assert(refused > 0, ...)
    assert(says_memory(...), ...)
  else
    local value, err = ...
    if value == nil and err ~= nil then
      assert(refused > 0 and says_memory(err), tostring(err))
    else
      operation.good(subject, ...)
    end
  end
end

-- ---- cases ----------------------------------------------------------------------------------------

local function new_client(operation)
  local given = {
    url = p.url, key = "sk-0123456789abcdef", retries = 1, headers = { ["X-Kind"] = "test" },
  }
  for name, value in pairs(operation.options or {}) do given[name] = value end
  return client.new(given, clock.new())
end

local function new_subject(operation, warm)
  local subject = { p = p }
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
  local before = oom.descriptors()
  local subject = new_subject(operation, source == "lua")
  collectgarbage()
  collectgarbage "stop"
  local outcome = table.pack(oom.attempt(source, mode, skipped, operation.run, subject))
  collectgarbage "restart"
  local refused = outcome[2]
  check_outcome(operation, subject, table.unpack(outcome, 1, outcome.n))
  local mj = subject.mj
  if operation.after then operation.after(subject, outcome[1], refused) end
  if mj and not mj.closed then
    if operation.calls_back then
      settle(mj, {})
      operation.told(subject, outcome[1], refused)
    end
    check_rest(mj)
    if operation.prepare then operation.prepare(subject) end
    operation.good(subject, operation.run(subject))
    check_rest(mj)
    mj:close()
  end
  if operation.finish then operation.finish(subject) end
  subject, mj = nil, nil
  collectgarbage()
  local after = oom.descriptors()
  assert(after == before, ("descriptors: %d, before %d"):format(after, before))
  return refused > 0
end

local function try_all(operation, source, mode)
  local skipped, shown = operation.first or 0, 0
  repeat
    local ok, refused = xpcall(try, debug.traceback, operation, source, mode, skipped)
    cases = cases + 1
    if not ok then
      faults, shown = faults + 1, shown + 1
      if shown <= SHOWN then
        print(("  FAULT %s, %s, %s, %d: %s"):format(operation.name, source, mode, skipped, refused))
      end
      refused = true
      if shown > 200 then break end
    end
    skipped = skipped + 1
  until not refused
  return skipped - 1
end

local wanted = {}
for n = 2, #arg do wanted[arg[n]] = true end

for _, operation in ipairs(operations) do
  if not next(wanted) or wanted[operation.name] then
    local started = os.time()
    local counts = {}
    for _, source in ipairs { "lua", "cold lua", "c", "cold c" } do
      for _, mode in ipairs { "once", "point", "on" } do
        if mode ~= "point" or source:find "lua" then
          counts[#counts + 1] = try_all(operation, source, mode)
        end
      end
    end
    if oom.leaks() then
      faults = faults + 1
      print("  FAULT " .. operation.name .. " leaks")
    end
    print(("%-16s %s  %d s"):format(operation.name, table.concat(counts, " "), os.time() - started))
  end
end

p:stop()
print(("%d cases, %d faults"):format(cases, faults))
if faults > 0 then error("faults", 0) end
