-- Clients that do anything at any time, by way of a proxy that breaks something in every request:
-- run by spec/soak.lua as a process of its own, `faults.lua SECONDS SEED`. Prints its samples, and
-- at last a line that begins with "sum" for its parent. Ends with 1 if a promise was broken.

package.path = "spec/?.lua;" .. package.path

local core = require "mjtask.core"
local mjtask = require "mjtask"
local child = require "support.child"
local dice = require "soak.dice"
local calls = require "soak.calls"
local drives = require "soak.drives"
local gauge = require "soak.gauge"
local ledger = require "soak.ledger"
local proxy = require "support.proxy"
local report = require "soak.report"
local slots = require "soak.slots"
local watched = require "soak.watched"

local SECONDS, SEED = tonumber(arg[1]), math.tointeger(tonumber(arg[2]))

local CLIENTS, CALLS = 12, 96 -- at a time
local SAMPLES, WARM = math.min(10, math.max(4, SECONDS // 4)), 2 -- the first ones are not judged
local NAP = 0.01 -- seconds at most in which nothing is looked at
local STIR = 0.25 -- seconds between two changes of what the proxies know and do
local PATIENCE = 12 -- seconds in which all must have ended
-- KiB. What lies between what is in use cannot be given back: that comes and goes, 2 MiB were seen.
local GROWTH = { heap = 64, held = 64, memory = 4096 }
local SLOW = 1 -- seconds that a step that must not wait may take

local now = core.now
local die = dice.new(SEED)
local key = ("sk-soak-%08x%08x"):format(die:whole(0, 0xFFFFFFFF), die:whole(0, 0xFFFFFFFF))
local folder, remove = child.directory "/dev/shm" -- where a file is durable at once

local verdict = report.verdict()
local book = ledger.new(key, verdict)

function drives.on_error(problem)
  if not slots.is_ouch(problem) then verdict:fail("an error: %s", tostring(problem)) end
end

-- ---- the proxies --------------------------------------------------------------------------------

local DIALECTS = { "java", "plus", "net", "go", "ts", "php" }
local HANDSHAKES = { "pass", "rst", "empty", "garbage", "stall", "rst_head" }

local proxies = { proxy.start() }
if proxy.no_tls() then
  report.line("soak: without TLS, %s", proxy.no_tls())
else
  proxies[2] = proxy.start { tls = true }
end

-- Something breaks in every request; and each link of the way by the forwarder, if nothing else.
local function set_up(p)
  p:set {
    dialect = die:pick(DIALECTS), fault = { any = die:whole(1, 1 << 30) }, log = false,
    submit = { life = die:hits(0.5) and "short" or "done" },
  }
  calls.stir_all(die, p)
end

local function stir_way(p)
  local secure = p.cafile ~= nil
  p:forward { hole = die:hits(0.1) or nil, rough = {
    seed = die:whole(1, 1 << 30), delay = 0.01, cuts = 1, within = secure and 20000 or 8000,
  } }
  if secure then
    local handshakes = {}
    for n = 1, die:whole(0, 4) do handshakes[n] = die:pick(HANDSHAKES) end
    p:set { handshakes = handshakes }
  end
end

local stirred = now()

local function stir()
  if now() - stirred < STIR then return end
  local p = die:pick(proxies)
  book:block(function()
    calls.stir(die, p)
    if die:hits(0.5) then stir_way(p) end
  end)
  stirred = now()
end

-- ---- the clients --------------------------------------------------------------------------------

local world = { ledger = book, dice = die, folder = folder }
local clients, leaving = {}, {}
local serial = 0
local names -- of the drives

local function trace(event)
  for _, value in pairs(event) do
    if tostring(value):find(key, 1, true) then verdict:fail("the key is in a trace") end
  end
end

local function new_client()
  local p = die:pick(proxies)
  local way = die:weighed { { "direct", 3 }, { "forwarder", 3 }, { "relay", 1 } }
  if not p.cafile and way == "relay" then way = "direct" end -- it would be shown the key
  local drive = die:pick(names)
  serial = serial + 1
  local options = {
    url = way == "forwarder" and p.forwarder_url or p.url, cafile = p.cafile, key = key,
    proxy = way == "relay" and p.relay_url or "", allow_private = true,
    timeout = die:between(0.8, 2), request_timeout = die:between(0.2, 0.5),
    retries = die:whole(0, 2), interval = 0.1, max_interval = die:between(0.1, 0.4),
    max_inflight = die:whole(1, 16), max_body = die:hits(0.5) and 65536 or nil,
    trace = die:hits(0.3) and trace or nil,
  }
  local who = ("client %d (%s, %s, by %s; request_timeout %.2f, retries %d, %d in flight)"):format(
    serial, p.cafile and "TLS" or "plain", way, drive, options.request_timeout, options.retries,
    options.max_inflight)
  local slot = slots.new(world, who, options, { options.url, p.other_url }, drive)
  slot.leaves = now() + die:between(0.3, 6)
  slot.is_quiet = die:hits(0.4) -- one call at a time: what is lost then, nothing else brings back
  return slot
end

local acts = {}

function acts.call(slot)
  slot:call_back(calls.random(die, slot))
end

-- One that returns what it gives.
local function plain_call(slot)
  return die:hits(0.2) and watched.loop(die, slot) or calls.random(die, slot)
end

function acts.park(slot)
  if not slot.drive.go then return acts.call(slot) end
  slot:park(function() return plain_call(slot) end, die:whole(1, 4))
end

function acts.block(slot)
  local call = plain_call(slot)
  local options = call.arguments[#call.arguments]
  options.timeout = die:between(0.05, 0.6)
  call.limit = options.timeout
  slot:block(call)
end

function acts.watch(slot)
  watched.call_back(slot)
end

function acts.list(slot)
  local list = next(slot.lists)
  if not list then return end
  if die:hits(0.5) then list:add() else list:close() end
end

function acts.hint(slot)
  slot.mj:hint(calls.id(die))
  slot.drive.touched(slot.mj)
end

function acts.cancel(slot)
  slot:cancel()
end

local WEIGHTS = {
  { "call", 60 }, { "park", 20 }, { "watch", 8 }, { "list", 4 }, { "hint", 6 }, { "cancel", 8 },
  { "block", 0.3 },
}

function world.act(slot)
  acts[die:weighed(WEIGHTS)](slot)
end

-- ---- the course ---------------------------------------------------------------------------------

local function drives_of()
  local list = {}
  for _, slot in pairs(clients) do list[#list + 1] = slot.drive end
  for slot in pairs(leaving) do list[#list + 1] = slot.drive end
  return list
end

local function turn(slot, ready)
  local before, stolen = now(), book:blocked_for()
  slot:turn(ready[slot.drive])
  local took = now() - before - (book:blocked_for() - stolen)
  if took > SLOW then verdict:fail("a step that must not wait took %.2f s: %s", took, slot.who) end
end

local function turn_all()
  local ready = drives.wait(drives_of(), NAP)
  for _, slot in pairs(clients) do turn(slot, ready) end
  for slot in pairs(leaving) do
    turn(slot, ready)
    if slot:is_idle() then
      leaving[slot] = nil
      if not slot.closed then slot:close() end
    end
  end
  book:tick()
end

-- The client's time is over: it is closed in the midst, or forgotten, or left to end what it has.
local function retire(place)
  local slot = clients[place]
  clients[place] = nil
  local how = die:weighed { { "close", 4 }, { "drop", 2 }, { "leave", 2 } }
  if slot.closed then how = "leave" end
  slot.leaving = true
  if how == "drop" then
    slot:drop()
    if not slot.closed then return end
  elseif how == "close" then
    slot:close()
  end
  leaving[slot] = true
end

local function play(deadline)
  while now() < deadline and not verdict:is_enough() do
    for place = 1, CLIENTS do
      local slot = clients[place]
      if slot and (slot.closed or now() >= slot.leaves) then retire(place) end
      if not clients[place] then clients[place] = new_client() end
    end
    for _ = book.count, CALLS - 1 do
      local slot = clients[die:whole(1, CLIENTS)]
      if not slot.closed and (not slot.is_quiet or slot:is_idle()) then world.act(slot) end
    end
    if die:hits(0.05) then collectgarbage "step" end
    stir()
    turn_all()
  end
end

-- All calls end, all clients go.
local function drain()
  for place in pairs(clients) do retire(place) end
  local deadline = now() + PATIENCE
  while (next(leaving) or book.count > 0) and now() < deadline do turn_all() end
  for slot in pairs(leaving) do
    verdict:fail("does not come to an end: %s", slot.who)
    slot:close()
    leaving[slot] = nil
  end
end

local function requests()
  local met, sum = {}, 0
  for _, p in ipairs(proxies) do
    for name, count in pairs(p:met()) do
      met[name], sum = (met[name] or 0) + count, sum + count
    end
  end
  return sum, met
end

local function files()
  local pipe <close> = assert(io.popen("ls -A " .. folder))
  local list = pipe:read "a"
  if list ~= "" then verdict:fail("files are left: %s", list:gsub("\n", " ")) end
  return select(2, list:gsub("\n", ""))
end

local function main()
  for _, p in ipairs(proxies) do set_up(p) end
  local probe = core.engine { url = "http://127.0.0.1:9", auth = "none" }
  local has_epoll = probe:pollfd() ~= nil
  probe:close()
  names = drives.names(has_epoll)
  if has_epoll then
    drives.warm_up(function(loop)
      return mjtask.new { url = "http://127.0.0.1:9", auth = "none", loop = loop }
    end)
  end
  report.line("soak: under faults, clients by %s", table.concat(names, ", "))
  drives.wait({}, 0)
  local base = gauge.read().descriptors
  local samples, started = {}, now()
  for n = 1, SAMPLES do
    for _, p in ipairs(proxies) do
      p:relay {}
      p:set { dialect = die:pick(DIALECTS) }
    end
    collectgarbage(die:hits(0.5) and "generational" or "incremental")
    play(started + SECONDS * n / SAMPLES)
    drain()
    local sample = gauge.read()
    calls.clean()
    sample.count, sample.requests, sample.files = book.begun, requests(), files()
    samples[n] = sample
    report.sample(n, sample, now() - started)
    verdict:descriptors(base, sample.descriptors)
    if verdict:is_enough() then break end
  end
  return samples
end

local ok, samples = xpcall(main, debug.traceback)
remove()
if not ok then
  verdict:fail("%s", samples)
  os.exit(false, false) -- what is there may be in any state
end
report.counts("ended with", book.outcomes)
report.counts("met", select(2, requests()))
verdict:growth(samples, WARM, GROWTH)
report.sum("calls under faults", samples, WARM)
for _, p in ipairs(proxies) do p:stop() end
os.exit(verdict:is_good(), true)
