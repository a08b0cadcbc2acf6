-- Waits for any number of tasks at once, and says how each ended.
-- MJTASK_PROVIDER=sku MJTASK_KEY=... lua5.4 watch.lua 1735030480754475 1735030480754476 ...

if not arg[1] then error("usage: watch.lua ID...", 0) end
local mjtask = require "mjtask"
local mj <close> = mjtask.new()

local failed = 0
for id, task, err in mj:watch(arg) do
  print(id, task and task.imageUrl or err)
  if err then failed = failed + 1 end
end
mj:close()
os.exit(failed == 0)
