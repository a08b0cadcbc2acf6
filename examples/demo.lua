-- The main job without an account: a local server plays the lives of two tasks, and the library
-- waits for them. Run by `make demo`; a script of yours needs only what stands between the lines.

package.path = package.path .. ";spec/?.lua" -- the server is the one of our tests
local proxy <close> = require "support.proxy".start()
proxy:set { key = "demo-key" }
proxy:task("1735030480754475", { life = "sku", pace = 0.15 })
proxy:task("1724963337114767", { life = "pawmaas", pace = 0.15 })

local function bar(percent)
  local done = (percent or 0) * 30 // 100
  return ("#"):rep(done) .. ("."):rep(30 - done)
end

local function show(task, percent)
  print(("  %-12s [%s] %3d %%"):format(task.status, bar(percent), percent or 0))
end

local jobs = { { "sku", "1735030480754475" }, { "pawmaas", "1724963337114767" } }

for _, job in ipairs(jobs) do
  local name, id = table.unpack(job)
  print(("\n%s: waiting for task %s"):format(name, id))
  ------------------------------------------------------------------------------------------------
  local mjtask = require "mjtask"
  local mj <close> = mjtask.new { url = proxy.url, key = "demo-key" }

  local task = assert(mj:wait(id, { interval = 0.1, progress = show }))
  print("  image  " .. task.imageUrl)
  print("  U1     " .. assert(task:button("U1")).customId)
  print("  🔄     " .. assert(task:button("🔄")).customId)
  ------------------------------------------------------------------------------------------------
end
