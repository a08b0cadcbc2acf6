-- `make instructions`: instructions and system calls of one fetch against limits.lua. Ends with a
-- failure if there are more, or if they cannot be counted. No time is measured.

package.path = package.path .. ";spec/?.lua"

local counted = require "bench.counted"
local limits = require "bench.limits"
local plan = require "bench.plan"
local server = require "bench.server"

local ok = true

local function cannot(why)
  io.stderr:write("not run: ", why, "\n")
  ok = false
end

local function check(what, value, limit, format)
  local fits = value <= limit
  ok = ok and fits
  print((what .. " per fetch: " .. format .. ", limit " .. format .. "%s")
    :format(value, limit, fits and "" or ": TOO MANY"))
end

local function run()
  local s <close> = server.start()
  local result = counted.rows(plan.clients(s), { "fetch" }, function() end).fetch
  if result.missing then return cannot(result.missing) end
  check("instructions", result.instructions, limits.instructions, "%.0f")
  check("system calls", result.calls, limits.calls, "%.2f")
  check("rt_sigaction", result.names.rt_sigaction or 0, 0, "%.2f")
  print("  " .. counted.list(result.names))
end

local missing = server.missing()
if missing then cannot(missing) else run() end
os.exit(ok, true) -- only here: what is to be closed must be closed
