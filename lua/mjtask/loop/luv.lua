-- libuv's loop. Knows a client's step and descriptor, and luv.

local uv = require "luv"

local luv = {}

local started = setmetatable({}, { __mode = "k" }) -- coroutines of go
local resting = {} -- handles of clients that are gone, by descriptor

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

-- A handle for a descriptor. It is never closed, only stopped, and used again when the number comes
-- back: luv before 1.45 crashes if the state ends while one is closing, as it does in every script
-- that ends with its client; and libuv, closing one later, would stop who has the number then.
local function take_handle(fd)
  local poll = resting[fd]
  resting[fd] = nil
  if poll and not poll:is_closing() then return poll end
  return assert(uv.new_poll(fd))
end

--- What the `loop` option takes.
function luv.loop()
  return function(client)
    local fd = assert(client:pollfd(), "no descriptor here: use loop.timer")
    local poll = take_handle(fd)
    local weak = setmetatable({ client = client }, { __mode = "v" }) -- idle, it may be collected
    local held = { client = nil } -- while it is busy; luv holds the callback, and that this
    local parked = {}
    poll:start("r", function()
      local served, ok, err = held.client or weak.client, true, nil
      if served then ok, err = pcall(served.step, served, 0) end
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
        resting[fd] = poll
      end,
    }
  end
end

return luv
