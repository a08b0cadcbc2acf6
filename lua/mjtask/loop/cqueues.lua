-- The loop of cqueues, and so of lua-http. Knows a client's step and descriptor, and cqueues.

local condition = require "cqueues.condition"
local cqueues = require "cqueues"

local loop = {}

--- What the `loop` option takes. The coroutines of this controller may be parked; a callback's
--- error is raised by the controller, like that of any coroutine of its.
---@param cq userdata a controller
function loop.loop(cq)
  if cqueues.type(cq) ~= "controller" then
    error(("cq: a controller expected, got %s"):format(type(cq)), 2)
  end
  return function(client)
    local source = {
      pollfd = assert(client:pollfd(), "no descriptor here: use loop.timer"), events = "r",
    }
    local weak = setmetatable({ client = client }, { __mode = "v" }) -- idle, it may be collected
    local held = { client = nil } -- while it is busy
    local pumping, idle = false, condition.new()
    local signs = setmetatable({}, { __mode = "k" }) -- by parked coroutine

    local function pump()
      while held.client do
        cqueues.poll(source, idle)
        local ok, err = true, nil
        if held.client then ok, err = pcall(held.client.step, held.client, 0) end
        if not ok then cq:wrap(error, err, 0) end -- and go on
      end
      pumping = false
    end

    return {
      current = function()
        local running, directly = cqueues.running()
        return running == cq and directly and coroutine.running()
      end,
      park = function()
        local thread = coroutine.running()
        signs[thread] = signs[thread] or condition.new()
        signs[thread]:wait()
      end,
      wake = function(thread)
        signs[thread]:signal()
      end,
      busy = function(on)
        held.client = on and weak.client or nil
        if not on then
          idle:signal()
        elseif not pumping then
          pumping = true
          cq:wrap(pump)
        end
      end,
      detach = function()
        cqueues.cancel(source.pollfd) -- else it says "Bad file descriptor"
      end,
    }
  end
end

return loop
