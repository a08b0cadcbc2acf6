-- What is to work again after it ran out of memory: see oom.lua.
--
-- An operation: `prepare(subject)` with all memory there is, before each run; `run(subject)` with
-- less; `good(subject, ...)` raises unless these are the results of a run that went well.

local mjtask = require "mjtask"

local SKU = "1735030480754475"
local ID = "17350304800000"

local function is_task(id)
  return function(_, task, err) assert(task and task.id == id and err == nil, err) end
end

return {
  {
    name = "fetch",
    run = function(s) return s.mj:fetch(SKU) end,
    good = is_task(SKU),
  },
  {
    name = "wait",
    prepare = function(s) s.p:task(ID, { life = "short" }) end,
    run = function(s) return s.mj:wait(ID) end,
    good = is_task(ID),
  },
}
