-- The main job without an account: a local server plays the lives of two tasks, and the library
-- waits for them; then examples/upscale.lua presses a button and saves the picture. Run by
-- `make demo`.

package.path = package.path .. ";spec/?.lua" -- the server is the one of our tests
local shell = require "support.shell"
local proxy <close> = require "support.proxy".start()
proxy:set {
  key = "demo-key",
  submit = { life = "done", fields = { imageUrl = "{here}/attachments/ghost.png" } },
}
proxy:task("1735030480754475", { life = "sku", pace = 0.15 })
proxy:task("1724963337114767", { life = "pawmaas", pace = 0.15 })

local mjtask = require "mjtask"
local mj <close> = mjtask.new { url = proxy.url, key = "demo-key", interval = 0.1 }

local function show(task, percent)
  local done = (percent or 0) * 30 // 100
  local bar = ("#"):rep(done) .. ("."):rep(30 - done)
  print(("  %-12s [%s] %3d %%"):format(task.status, bar, percent or 0))
end

for _, id in ipairs { "1735030480754475", "1724963337114767" } do
  print("waiting for task " .. id)
  local task = assert(mj:wait(id, { progress = show }))
  print("  image  " .. task.imageUrl)
  print("  U1     " .. assert(task:button("U1")).customId)
  print("  🔄     " .. assert(task:button("🔄")).customId)
end

local path = os.tmpname()
os.remove(path)
local command = ("MJTASK_URL=%s MJTASK_KEY=demo-key %s examples/upscale.lua %s U1 %s")
  :format(proxy.url, shell.quoted(shell.interpreter()), "1735030480754475", path)
print("pressing U1, and saving what it makes")
assert(os.execute(command))
os.execute("command -v file >/dev/null && file " .. path)
assert(os.remove(path))
