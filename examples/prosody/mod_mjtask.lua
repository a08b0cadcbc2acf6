-- Waits for tasks inside Prosody, whose one thread serves everybody: nothing in here blocks. Logs
-- how each task ended, and fires "mjtask-ended" for other modules. In prosody.cfg.lua:
--
--   plugin_paths = { "/path/to/examples/prosody" }
--   modules_enabled = { …; "mjtask" }
--   mjtask_provider = "sku"                -- or mjtask_url
--   mjtask_key = "…"                       -- or MJTASK_KEY in Prosody's environment
--   mjtask_ids = { "1735030480754475" }
--
-- Needs a system with epoll.

module:set_global()

local mjtask = require "mjtask"
local server = require "net.server"

local mj = mjtask.new {
  provider = module:get_option_string "mjtask_provider",
  url = module:get_option_string "mjtask_url",
  key = module:get_option_string "mjtask_key",
  interval = module:get_option_number "mjtask_interval",
}

local function on_end(id, task, err)
  if task then
    module:log("info", "task %s: %s", id, task:images()[1] or "no picture")
  else
    module:log("warn", "task %s: %s", id, tostring(err))
  end
  module:fire_event("mjtask-ended", { id = id, task = task, error = err })
end

for _, id in ipairs(module:get_option_array("mjtask_ids", {})) do
  mj:wait(id, function(task, err) on_end(id, task, err) end)
end

-- Last: what the server watches lives on, even if the module could not be loaded.
-- The descriptor is readable whenever there is something to do, timers included. What raises here
-- is a handler of "mjtask-ended": that of one task, and the server goes on.
local function on_readable()
  local ok, err = pcall(mj.step, mj, 0)
  if not ok then module:log("error", "after a task: %s", err) end
end

local watched = server.watchfd(assert(mj:pollfd(), "there is no epoll here"), on_readable)

-- The watch first: the descriptor is the client's, and gone with it.
function module.unload()
  watched:close()
  mj:close()
end
