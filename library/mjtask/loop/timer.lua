---@meta mjtask.loop.timer
-- Types of the adapter for hosts that have a sleep. Nothing here runs.

---@class mjtask.loop.timer
local timer = {}

--- What the `loop` option takes.
---@param sleep fun(seconds: number) the host's own; it parks the running coroutine
---@param unyielding? boolean sleep lets others run without a yield, and so works outside of coroutines
---@return mjtask.Adapter
function timer.loop(sleep, unyielding) end

return timer
