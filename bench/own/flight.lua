-- INFLIGHT fetches at a time by mjtask, in its callback form: each that ends starts the next.

local setting = require "bench.own.setting"

local count, inflight = setting.number "COUNT", setting.number "INFLIGHT"
local id = setting.text "ID"
local mj <close> = setting.client { max_inflight = inflight }

local started, ended, buttons = 0, 0, 0

local function start(done)
  started = started + 1
  mj:fetch(id, done)
end

local function done(task, err)
  if err then error(err) end
  ended = ended + 1
  buttons = buttons + #task.buttons
  if started < count then start(done) end
end

for _ = 1, math.min(inflight, count) do start(done) end
while mj:step() do end
setting.report(ended, buttons)
