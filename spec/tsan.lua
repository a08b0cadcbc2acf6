-- 16 threads with a state each, watched by the thread sanitizer: `make tsan` runs this with the
-- host it has built. Ends with a line that tells the sum, and with 1 if that is not clean.

package.path = "spec/?.lua;" .. package.path
local process = require "support.process"

local THREADS, ROUNDS, LOOKS = 16, 4, 10
local QUICK, MOVING, SLOW = "1735030480754475", "17350304800001", "17350304800000"

local SCRIPT = [[
  package.path, package.cpath = "", ""
  package.preload.mjtask = luaopen_mjtask
  local mjtask = require "mjtask"
  local url, quick, moving, slow, rounds, looks = ...
  local picture = os.tmpname()

  local function new()
    return mjtask.new { url = url, key = "a-key", interval = 0.1 }
  end

  -- Leaves requests under way.
  local function fly()
    local mj = new()
    mj:fetch(slow, function() end)
    mj:watch({ slow, moving }, function() end)
    mj:step(0.005)
    mj:step(0.005)
    return mj
  end

  local seen = 0
  assert(new():wait(moving, { progress = function() seen = seen + 1 end }))
  assert(seen > 0)
  for _ = 1, rounds do
    local mj = new()
    for _ = 1, looks - 2 do assert(mj:fetch(quick).id == quick) end
    mj:fetch(quick, function(found) assert(found.id == quick) end)
    while mj:step() do end
    local task = assert(mj:wait(quick))
    assert(task:button "U1" and task:outcome() == "success")
    assert(mj:download(url .. "/attachments/ghost.png", picture, { overwrite = true }))
    assert(mj:fetch "none" == nil)
    assert(mjtask.decode '{"id":"5","status":"SUCCESS"}')
    fly():close()
    fly() -- to be collected
    collectgarbage()
    mj:close()
  end
  os.remove(picture)
  HELD = { fly(), fly(), new() } -- to be closed by lua_close
]]

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

local proxy <close> = require "support.proxy".start()
proxy:task(QUICK, { life = "done" })
proxy:task(MOVING, { life = "success", pace = 0.1 })
proxy:task(SLOW, { life = "done", fault = { delay = 0.2 } })
local output, status = process.run(SCRIPT, {
  runner = ("%s threads %d"):format(arg[1], THREADS),
  args = { proxy.url, QUICK, MOVING, SLOW, ROUNDS, LOOKS },
  env = { TSAN_OPTIONS = "history_size=4 second_deadlock_stack=1 suppressions=" },
})

local fetches = 0
for _, request in ipairs(proxy:log()) do
  if request.path:find(QUICK, 1, true) then fetches = fetches + 1 end
end
local reports = count(output, "WARNING: ThreadSanitizer")
local clean = output == "alive\n" and status == 0 and fetches == THREADS * ROUNDS * LOOKS
if not clean then io.write(output) end
print(("tsan: %d threads, %d fetches, %d reports"):format(THREADS, fetches, reports))
if not clean then os.exit(1, true) end
