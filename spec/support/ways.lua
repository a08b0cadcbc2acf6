-- The ways to make a call, for specs that hold in all of them: over plain connections and over TLS,
-- blocking and by callback. A way starts its proxy; what is asked is the spec's.
--
--   for _, way in ipairs(ways) do
--     describe(way.name, function()
--       if way.missing then return it("is not run", function() pending(way.missing) end) end
--       setup(function() p = way.start() end)
--       … way.call(mj, "fetch", id, options) …
--       … child.run(way.script(p) .. "print(call(new { retries = 0 }, 'fetch', '1'))") …

local proxy = require "support.proxy"

local ways = {}

-- As text, because scripts in processes of their own make calls in these ways, too. `done` is told
-- once, and from a step.
local CALLS = {
  blocking = [[
    local function call(mj, method, ...)
      return mj[method](mj, ...)
    end
  ]],
  callback = [[
    local function call(mj, method, ...)
      local told, results = 0, nil
      local given = table.pack(...)
      given[given.n + 1] = function(...)
        told, results = told + 1, table.pack(...)
      end
      local operation = mj[method](mj, table.unpack(given, 1, given.n + 1))
      assert(told == 0, "called back before the first step")
      while mj:step() do end
      assert(told == 1 and operation:done(), "called back twice, or never")
      return table.unpack(results, 1, results.n)
    end
  ]],
}

local NEW = [[
  local function new(more)
    local given = { url = %q, cafile = %s, key = "sk-0123456789abcdef" }
    for name, value in pairs(more or {}) do given[name] = value end
    return require "mjtask".new(given)
  end
]]

for _, tls in ipairs { false, true } do
  for _, how in ipairs { "blocking", "callback" } do
    ways[#ways + 1] = {
      name = (tls and "over TLS, by " or "plain, by ") .. (how == "blocking" and "a blocking call"
        or "a callback"),
      tls = tls, how = how, missing = tls and proxy.no_tls() or nil,
      start = function() return proxy.start { tls = tls } end,
      call = assert(load(CALLS[how] .. "return call", "=ways"))(),
      -- What a script begins with that makes its clients by `new { … }`, and calls them by
      -- `call(mj, "fetch", …)`.
      script = function(p)
        return NEW:format(p.url, p.cafile and ("%q"):format(p.cafile) or "nil") .. CALLS[how]
      end,
    }
  end
end

--- What a client of this proxy needs, and `more`.
---@param p table
---@param more? table
function ways.options(p, more)
  local given = { url = p.url, cafile = p.cafile, key = "sk-0123456789abcdef" }
  for name, value in pairs(more or {}) do given[name] = value end
  return given
end

return ways
