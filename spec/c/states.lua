-- What runs out of memory in a state of its own, which is closed then: loading the modules, and the
-- end of a state. Entries as in operations.lua; what their text gives is for oom.c.

local ID, OTHER = "17350304800000", "17350304800001"

local states = {}

local function add(operation)
  states[#states + 1] = operation
end

add {
  name = "require-core",
  text = [[
    return function() return require "mjtask.core" end,
      function() assert(require "mjtask.core".decode "1" == 1) end
  ]],
}

add {
  name = "require", stride = 41,
  text = [[
    return function() return require "mjtask" end,
      function() assert(require "mjtask".decode '{"id":"1"}'.id == "1") end
  ]],
}

-- The modules' own work: they are compiled before.
local COMPILED = [[
  local given = load(...)()
  for name, code in pairs(given.modules) do package.preload[name] = load(code, "=" .. name, "b") end
]]

add {
  name = "require-run", stride = 3,
  text = COMPILED .. [[
    return function() return require "mjtask" end,
      function() assert(require "mjtask".decode '{"id":"1"}'.id == "1") end
  ]],
}

add {
  name = "lua-close", ends = true,
  prepare = function(s)
    s.p:task(ID, { life = "stuck" })
    s.p:task(OTHER, { life = "done", fault = "stall" })
  end,
  text = COMPILED .. [[
    local mjtask = require "mjtask"
    kept = {}
    for n = 1, 2 do
      local mj = mjtask.new { url = given.url, auth = "none" }
      mj:fetch("17350304800001", print)
      kept[n] = { mj, mj:watch { "17350304800000", "17350304800001" } }
      for _ = 1, 3 do mj:step(0.002) end
    end
    return function() end
  ]],
}

return states
