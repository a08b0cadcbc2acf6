-- Fetches by mjtask's core alone, INFLIGHT at a time: what is left of a fetch without arguments,
-- limits, retries, pauses, and the question whether the answer is the task. Not for users.

local core = require "mjtask.core"
local setting = require "bench.own.setting"

local count, inflight = setting.number "COUNT", setting.number("INFLIGHT", 1)
local engine <close> = assert(core.engine {
  url = setting.text "BASE", auth = "raw", key = "key", user_agent = "mjtask (Lua)",
  max_inflight = inflight, cafile = os.getenv "CAFILE",
})

local path = "/mj/task/" .. setting.text "ID" .. "/fetch"
local started, ended, buttons = 0, 0, 0

local function start()
  started = started + 1
  engine:start({ path = path, max_body = 8 << 20, timeout = 30 }, true)
end

for _ = 1, math.min(inflight, count) do start() end
while ended < count do
  engine:step()
  local waiter, transfer = engine:next()
  while waiter do
    ended = ended + 1
    buttons = buttons + #transfer:answer().buttons
    if started < count then start() end
    waiter, transfer = engine:next()
  end
end
setting.report(count, buttons)
