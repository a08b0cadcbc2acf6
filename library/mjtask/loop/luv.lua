---@meta mjtask.loop.luv
-- Types of the adapter for libuv's loop. Nothing here runs.

---@class mjtask.loop.luv
local luv = {}

--- What the `loop` option takes. The coroutines of `go` may be parked.
---@return mjtask.Adapter
function luv.loop() end

--- Starts `fn(...)` in a coroutine in which calls yield.
---@param fn function
---@param ... any
---@return thread
function luv.go(fn, ...) end

--- Told of the errors of `go` and of callbacks; to be replaced. By default it writes to stderr.
---@param message any
function luv.on_error(message) end

return luv
