-- Nothing but fetches that succeed, by one client, for as long or as many as asked: run by
-- spec/soak.lua as a process of its own, `fetches.lua SECONDS FETCHES` (0: as many as there is time
-- for). Prints its samples, and at last a "sum" for its parent. Ends with 1 if something has grown,
-- or a fetch was not as it should be.

package.path = "spec/?.lua;" .. package.path

local core = require "mjtask.core"
local mjtask = require "mjtask"
local child = require "support.child"
local gauge = require "soak.gauge"
local nginx = require "support.nginx"
local proxy = require "support.proxy"
local report = require "soak.report"

local SECONDS, FETCHES = tonumber(arg[1]), math.tointeger(tonumber(arg[2]))

local ID = "1735030480754475" -- the seed: 4,524 bytes
local INFLIGHT = 16
local BATCH = 500 -- fetches in flight together, and as many one after another
local SAMPLES, WARM = 10, 3 -- the first ones are not judged
local GROWTH = { heap = 64, held = 64, memory = 64 } -- KiB
-- Until so many fetches what malloc has given still finds its places, between which something is
-- left: then the size may have grown by more KiB.
local SETTLED, UNSETTLED = 1000000, 256

local now = core.now

local LOCATION = [[
    access_log off;
    error_log error.log crit;
    location = /mj/task/%s/fetch {
      default_type application/json;
      alias %s/seed.json;
    }]]

local function copy(from, to)
  local input <close> = assert(io.open(from, "rb"))
  local output <close> = assert(io.open(to, "wb"))
  assert(output:write(input:read "a"))
end

-- Who answers: a URL, and what ends it.
local function serve()
  local missing = nginx.missing()
  if missing then
    report.line("soak: plain fetches from the local proxy, as %s", missing)
    local p = proxy.start()
    p:set { log = false }
    return p.url, function() p:stop() end
  end
  local folder, remove = child.directory()
  copy("spec/fixtures/sku.json", folder .. "/seed.json")
  local n = nginx.start { plain = { extra = LOCATION:format(ID, folder) } }
  return n.servers.plain.url, function()
    n:stop()
    remove()
  end
end

local url, stop = serve()
local base = gauge.read().descriptors
local mj = mjtask.new { url = url, key = "sk-0123456789abcdef", retries = 0, proxy = "" }
local verdict = report.verdict()
local fetched = 0

local function take(task, err)
  fetched = fetched + 1
  if not task then return verdict:fail("fetch %d: %s", fetched, tostring(err)) end
  if task.id ~= ID or task.progress ~= "100%" or task:outcome() ~= "success" then
    verdict:fail("fetch %d: another task: %s %s", fetched, task.id, task.progress)
  end
end

-- So many at a time, until there were `count`.
local function fly(count)
  local begun, told = 0, 0
  local function begin()
    begun = begun + 1
    mj:fetch(ID, function(...)
      told = told + 1
      take(...)
      if begun < count then begin() end
    end)
  end
  for _ = 1, math.min(INFLIGHT, count) do begin() end
  while mj:step() do end
  if told ~= count then verdict:fail("%d fetches, and %d were told", count, told) end
end

local function walk(count)
  for _ = 1, count do take(mj:fetch(ID)) end
end

local way = fly

-- Both ways in turn, until there were `most` or it is time.
local function fetch(most, due)
  while fetched < most and now() < due and not verdict:is_enough() do
    way(most < math.huge and math.min(BATCH, most - fetched) or BATCH)
    way = way == fly and walk or fly
  end
end

local function run()
  local samples, started = {}, now()
  for n = 1, SAMPLES do
    if FETCHES > 0 then
      fetch(FETCHES * n // SAMPLES, math.huge)
    else
      fetch(math.huge, started + SECONDS * n / SAMPLES)
    end
    samples[n] = gauge.read()
    samples[n].count = fetched
    report.sample(n, samples[n], now() - started)
    if verdict:is_enough() then break end
  end
  return samples
end

local samples = run()
mj:close()
mj = nil
local last = gauge.read()
stop()
verdict:descriptors(base, last.descriptors)
if fetched < SETTLED then GROWTH.memory = UNSETTLED end
verdict:growth(samples, WARM, GROWTH)
report.sum("plain fetches", samples, WARM)
os.exit(verdict:is_good(), true)
