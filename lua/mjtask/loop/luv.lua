-- libuv's loop. Knows a client's step and descriptor, and luv.

local uv = require "luv"

local luv = {}

local started = setmetatable({}, { __mode = "k" }) -- coroutines of go
local stopped = {} -- handles of clients that are gone, to be closed

--- Told of the errors of `go` and of callbacks: luv itself would end the process.
---@param message any
function luv.on_error(message)
  io.stderr:write("mjtask: ", tostring(message), "\n")
end

local function resume(thread, ...)
  local ok, err = coroutine.resume(thread, ...)
  if not ok then luv.on_error(debug.traceback(thread, tostring(err))) end
end

--- Starts `fn(...)` in a coroutine that may be parked by the calls of clients with this loop.
---@param fn function
---@return thread
function luv.go(fn, ...)
  local thread = coroutine.create(fn)
  started[thread] = true
  resume(thread, ...)
  return thread
end

-- To be called while the loop runs, which finishes it: luv before 1.45 crashes if the state ends
-- with a handle that is closing.
local function close_stopped()
  while #stopped > 0 do
    local poll = table.remove(stopped)
    if not poll:is_closing() then poll:close() end
  end
end

--- What the `loop` option takes.
function luv.loop()
  return function(client)
    local poll = assert(uv.new_poll(assert(client:pollfd(), "no descriptor here: use loop.timer")))
    local weak = setmetatable({ client = client }, { __mode = "v" }) -- idle, it may be collected
    local held = { client = nil } -- while it is busy
    local parked = {}
    poll:start("r", function()
      close_stopped()
      local ok, err = true, nil
      if weak.client then ok, err = pcall(weak.client.step, weak.client, 0) end
      if not ok then luv.on_error(err) end
    end)
    poll:unref()
    return {
      current = function()
        local thread = coroutine.running()
        return started[thread] and not poll:is_closing() and thread
      end,
      park = function()
        local thread = coroutine.running()
        local _ <close> = setmetatable({}, { __close = function() parked[thread] = nil end })
        parked[thread] = true -- luv holds no coroutines
        coroutine.yield()
      end,
      wake = function(thread)
        if parked[thread] and coroutine.status(thread) == "suspended" then resume(thread) end
      end,
      busy = function(on)
        held.client = on and (held.client or weak.client) or nil
        if on then poll:ref() else poll:unref() end
      end,
      detach = function()
        if poll:is_closing() then return end -- by somebody else, with all there are
        poll:stop()
        stopped[#stopped + 1] = poll
      end,
    }
  end
end

return luv
