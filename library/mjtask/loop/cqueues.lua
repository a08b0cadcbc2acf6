---@meta mjtask.loop.cqueues
-- Types of the adapter for the loop of cqueues. Nothing here runs.

---@class mjtask.loop.cqueues
local loop = {}

--- What the `loop` option takes. The coroutines of this controller may be parked.
---@param cq userdata a controller
---@return mjtask.Adapter
function loop.loop(cq) end

return loop
