-- A loop that has a sleep of its own, and watches no descriptor for us: copas, darktable,
-- Hammerspoon. Knows a client's step and timeout, and the host's sleep.

local timer = {}

local NAP = 0.05 -- seconds at most: another coroutine may start, cancel or close something

--- What the `loop` option takes. `sleep(seconds)` parks the running coroutine of the host's. Where
--- it lets others run without a yield, as darktable's does, say `unyielding`: then it is used
--- outside of coroutines, too.
---@param sleep fun(seconds: number)
---@param unyielding? boolean
function timer.loop(sleep, unyielding)
  if type(sleep) ~= "function" then
    error(("sleep: a function expected, got %s"):format(type(sleep)), 2)
  end
  return function(client)
    return {
      unyielding = unyielding or false,
      current = coroutine.running,
      park = function()
        sleep(math.min(client:timeout() or NAP, NAP))
        client:step(0) -- who steps is told of a callback's error
      end,
      wake = function() end, -- who is parked looks by itself
      busy = function() end,
      detach = function() end,
    }
  end
end

return timer
