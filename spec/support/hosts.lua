-- Event loops in which specs run clients, each with the same few functions: luv's, cqueues' and a
-- plain one of coroutines that sleep. Knows these loops; must not know what runs in them.
--
--   local host, missing = hosts.new "luv"  -- nil, "not run: why" where there is none
--   host.loop                              -- what the `loop` option takes
--   host.go(f, ...)                        -- starts a coroutine that may be parked
--   host.sleep(seconds)                    -- in one
--   host.every(seconds, f)                 -- a timer; returns what stops it
--   host.run()                             -- until nothing is left; gives the errors that came out

local core = require "mjtask.core"
local socket = require "socket"

local hosts = {}

local LIMIT = 10 -- seconds after which a loop counts as one that does not end

-- busted forgets modules between two files of specs, but luv must not be opened twice in a state:
-- the first one's loop is then collected under the second one's feet.
local REGISTRY = "support.hosts"
local kept = debug.getregistry()[REGISTRY] or {}
debug.getregistry()[REGISTRY] = kept
for name, module in pairs(kept) do package.loaded[name] = module end

--- A library of that name, opened once; nil: there is none.
function hosts.library(name)
  local found, library = pcall(require, name)
  for loaded, module in pairs(package.loaded) do
    if loaded == "luv" or loaded:find("cqueues", 1, true) and not loaded:find "^mjtask" then
      kept[loaded] = module
    end
  end
  return found and library or nil
end

-- A timer of luv's. It counts from when the loop last looked at the clock, which may be long ago.
local function after(uv, seconds, every, f)
  uv.update_time()
  local timer = uv.new_timer()
  timer:start(math.ceil(seconds * 1000), math.ceil(every * 1000), f)
  return timer
end

local function new_luv(uv, module)
  local host = { name = "luv", loop = module.loop(), go = module.go }
  local errors = {}
  module.on_error = function(message) errors[#errors + 1] = message end

  function host.sleep(seconds)
    local thread, timer = coroutine.running(), nil
    timer = after(uv, seconds, 0, function()
      timer:close()
      local ok, message = coroutine.resume(thread)
      if not ok then errors[#errors + 1] = message end
    end)
    coroutine.yield()
  end

  function host.every(seconds, f)
    local timer = after(uv, seconds, seconds, f)
    return function() timer:close() end
  end

  function host.run()
    local late = false
    local guard = after(uv, LIMIT, 0, function()
      late = true
      uv.stop()
    end)
    guard:unref()
    uv.run()
    guard:close()
    uv.run("nowait")
    assert(not late, "the loop does not end")
    local out = errors
    errors = {}
    return out
  end

  return host
end

local function new_cqueues(cqueues, module)
  local cq = cqueues.new()
  local host = { name = "cqueues", loop = module.loop(cq), sleep = cqueues.sleep, cq = cq }

  function host.go(f, ...)
    cq:wrap(f, ...)
  end

  function host.every(seconds, f)
    local on = true
    cq:wrap(function()
      cqueues.sleep(seconds)
      while on do
        f()
        cqueues.sleep(seconds)
      end
    end)
    return function() on = false end
  end

  function host.run()
    local deadline, errors = core.now() + LIMIT, {}
    while not cq:empty() do
      local ok, message = cq:step(deadline - core.now())
      if not ok then errors[#errors + 1] = message end
      assert(core.now() < deadline, "the loop does not end")
    end
    return errors
  end

  return host
end

local function new_timer(module)
  local host, sleeping, errors = { name = "timer" }, {}, {}

  local function resume(thread, ...)
    local ok, due = coroutine.resume(thread, ...)
    if not ok then errors[#errors + 1] = due end
    sleeping[thread] = coroutine.status(thread) == "suspended" and due or nil
  end

  function host.go(f, ...)
    local thread = coroutine.create(f)
    resume(thread, ...)
    return thread
  end

  function host.sleep(seconds)
    coroutine.yield(core.now() + seconds)
  end

  function host.every(seconds, f)
    local on = true
    host.go(function()
      host.sleep(seconds)
      while on do
        f()
        host.sleep(seconds)
      end
    end)
    return function() on = false end
  end

  -- Drops a coroutine, as if it had never been.
  function host.drop(thread)
    sleeping[thread] = nil
  end

  function host.run()
    local deadline = core.now() + LIMIT
    while next(sleeping) do
      local first, due = nil, math.huge
      for thread, time in pairs(sleeping) do
        if time < due then first, due = thread, time end
      end
      assert(due < deadline, "the loop does not end")
      socket.sleep(math.max(due - core.now(), 0))
      if coroutine.status(first) == "dead" then sleeping[first] = nil else resume(first) end
    end
    local out = errors
    errors = {}
    return out
  end

  host.loop = module.loop(host.sleep)
  return host
end

--- A new host of that name: "luv", "cqueues" or "timer".
---@param name string
---@return table? host
---@return string? missing
function hosts.new(name)
  if name == "timer" then return new_timer(require "mjtask.loop.timer") end
  local library = hosts.library(name)
  if not library then return nil, "not run: there is no " .. name end
  local engine <close> = core.engine { url = "http://127.0.0.1:9", auth = "none" }
  if not engine:pollfd() then return nil, "not run: there is no epoll here" end
  local make = name == "luv" and new_luv or new_cqueues
  return make(library, require("mjtask.loop." .. name))
end

return hosts
