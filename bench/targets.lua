-- What a full run has to show: each target is a limit, where its value comes from, and what to know
-- if it is not reached. None is ever left out: what could not be measured says so. Knows results,
-- must not know how they were made.

local rounds = require "bench.rounds"

local targets = {}

local KB = 1024
local NOT_HERE = "only in a full run"
local NO_CURLV3 = "it would have to be built from source: Debian has none for 5.4"

--- All that was measured.
---@class bench.Results
---@field costs table<string, table> by row: see rounds.run
---@field counted table<string, table> by row: see counted.rows
---@field facts table of the watch: connections
---@field growth table[] see watched.growth
---@field quiet table see watched.quiet
---@field delays table[]
---@field overshoot table[]

-- ---- where values come from ---------------------------------------------------------------------

local function missing_of(costs, ...)
  for _, key in ipairs { ... } do
    local row = costs[key]
    if not row then return key .. " was not measured" end
    if row.missing then return row.missing end
  end
end

local function ratio(key, anchor)
  return function(all)
    local value = rounds.ratio(all.costs, key, anchor, "cpu")
    return value, not value and missing_of(all.costs, key, anchor) or nil
  end
end

-- What is left of such a ratio if a fetch is only libcurl and our decoder: no target below it
-- can be reached by anybody who uses these two.
local function least_of(received, anchor)
  local keys = { received, "core_seed" }
  return function(all)
    if missing_of(all.costs, anchor, table.unpack(keys)) then return nil end
    local sum = 0
    for _, key in ipairs(keys) do sum = sum + rounds.median(all.costs[key].cpu) end
    return sum / rounds.median(all.costs[anchor].cpu)
  end
end

-- The same of a task in a list, in microseconds.
local function least_of_list(all)
  local received, decoded = all.costs.receive_list, all.costs.core_list
  if received.missing or decoded.missing then return nil end
  return (rounds.median(received.cpu) + rounds.median(decoded.cpu) / 100) * 1e6
end

-- Microseconds or milliseconds of CPU.
local function cpu(unit, key)
  return function(all)
    local why = missing_of(all.costs, key)
    if why then return nil, why end
    return rounds.median(all.costs[key].cpu) / unit
  end
end

local function unmeasured(why)
  return function() return nil, why end
end

local function count(key, what)
  return function(all)
    local row = all.counted[key]
    if not row then return nil, key .. " was not counted" end
    return row[what], row.missing
  end
end

-- The same bound, counted.
local function counted_least(all)
  local curl = count("receive", "instructions")(all)
  local decoder = count("core_seed", "instructions")(all)
  return curl and decoder and curl + decoder
end

-- The most that one run of this row has made.
local function connections(key)
  return function(all)
    local row = all.costs[key]
    return row and row.connections, missing_of(all.costs, key)
  end
end

local function calls_named(name)
  return function(all)
    local row = all.counted.fetch
    if not (row and row.names) then return nil, row and row.missing or "fetch was not counted" end
    return row.names[name] or 0
  end
end

-- The larger of Lua's heap and what the process has more of: neither alone is the whole, for the
-- heap is without what C takes, and pages that were free before are used again unseen. The pages of
-- few tasks say nothing.
local function memory(tasks, with_pages)
  return function(all)
    for _, row in ipairs(all.growth) do
      if row.tasks == tasks then
        if row.missing then return nil, row.missing end
        return with_pages and math.max(row.heap, row.rss) or row.heap
      end
    end
    return nil, all.growth.missing or NOT_HERE
  end
end

local function in_the_pause(what)
  return function(all)
    local quiet = all.quiet
    if quiet.missing then return nil, quiet.missing end
    if quiet.looks > 0 then return nil, "looks fell into the pause: the machine is too busy" end
    if not quiet[what] then return nil, "strace does not run here" end
    return quiet[what]
  end
end

-- ---- the list -----------------------------------------------------------------------------------

-- Why a target is not reached, where that is known.
local CORE = "the core alone is above it, see \"What Lua adds\"; \"Where a fetch goes\" in the "
  .. "README says what it does beside libcurl and the decoder"
local BOUND = "libcurl and the decoder alone take more: \"at least\" is above it"
local BY_CALLBACK = "each fetch is an operation with a coroutine and a handle of its own: \"What "
  .. "Lua adds\" has the core without them"
local PAGES = "\"From one task to very many\" has Lua's heap by itself: the rest is what C takes, "
  .. "and pages that held garbage, which Lua's collector lets grow as large as what is alive"
local ABSOLUTE = "a time, not a ratio: the rows of C in the same table say how fast the machine is"
local TIMERS = "a look has timers in it, and wakes up for few answers at a time, see \"Limits of "
  .. "these figures\" in the README"
local LISTED = "\"at least\" is libcurl and the decoder; the rest is Lua's, some 300 of its "
  .. "instructions a task: whether it is one, which of those asked for, its methods"

-- What, limit, format, value, the least that it can be; why: it is not reached.
local LIST = {
  { "CPU of a fetch, to libcurl that decodes nothing", 1.20, "%.2f", ratio("fetch", "receive"),
    least_of("receive", "receive"), why = CORE },
  { "CPU of a fetch, to libcurl and lua-cjson in C", 0.85, "%.2f", ratio("fetch", "plain_c"),
    least_of("receive", "plain_c"), why = CORE },
  { "CPU of a fetch, to Lua-cURLv3 and lua-cjson", 0.85, "%.2f", unmeasured(NO_CURLV3) },
  { "16 at a time: CPU of a fetch, to libcurl multi and lua-cjson in C", 0.80, "%.2f",
    ratio("fetch_16", "plain_c_16"), least_of("receive_16", "plain_c_16"), why = BY_CALLBACK },
  { "16 at a time: CPU of a fetch, to Lua-cURLv3's multi and lua-cjson", 0.70, "%.2f",
    unmeasured(NO_CURLV3) },
  { "16 at a time: CPU of a fetch, to lua-http", 0.35, "%.2f", ratio("fetch_16", "lua_http_16"),
    least_of("receive_16", "lua_http_16"), why = BY_CALLBACK },
  { "16 at a time: CPU of a fetch, to Python's aiohttp", 0.15, "%.2f",
    ratio("fetch_16", "aiohttp_16"), least_of("receive_16", "aiohttp_16"), why = BY_CALLBACK },
  { "16 at a time: CPU of a fetch, to Node's fetch", 0.12, "%.2f",
    ratio("fetch_16", "node_fetch_16"), least_of("receive_16", "node_fetch_16"), why = BOUND },
  { "instructions of a fetch, user space", 165000, "%.0f", count("fetch", "instructions"),
    counted_least, why = CORE },
  { "system calls of a fetch", 6, "%.2f", count("fetch", "calls") },
  { "of them rt_sigaction", 0, "%.2f", calls_named "rt_sigaction" },
  { "decoder on the seed, to lua-cjson", 0.36, "%.2f", ratio("core_seed", "cjson_seed") },
  { "decoder on the seed, to the floor", 1.25, "%.2f", ratio("core_seed", "floor_seed"),
    why = "the two are also counted: the table of instructions has both, and varies less" },
  { "decoder on a small task, to lua-cjson", 0.50, "%.2f", ratio("core_small", "cjson_small") },
  { "decoder on a list of 100, to lua-cjson", 0.50, "%.2f", ratio("core_list", "cjson_list") },
  { "decoder on \\uXXXX, to lua-cjson", 0.50, "%.2f", ratio("core_escapes", "cjson_escapes") },
  { "a further TLS connection with the system's CA bundle, ms CPU", 1.5, "%.2f",
    cpu(1e-3, "fetch_system"), why = ABSOLUTE },
  { "a further TLS connection with that bundle given as cafile, ms CPU", 1.5, "%.2f",
    cpu(1e-3, "fetch_bundle"), why = ABSOLUTE },
  { "1,000 tasks watched: CPU of a look, to a fetch of 16 at a time", 1.3, "%.2f",
    ratio("watch", "fetch_16"), why = TIMERS },
  -- The target above would forgive a look whatever is forgiven a fetch: this is 1.3 times what a
  -- fetch of 16 at a time is to be.
  { "1,000 tasks watched: CPU of a look, to libcurl multi and lua-cjson in C", 1.3 * 0.80,
    "%.2f", ratio("watch", "plain_c_16"),
    why = "a look is such a fetch as 16 at a time are: see there" },
  { "1,000 tasks watched: connections in all", 16, "%.0f",
    function(all) return all.facts.connections, "not measured" end },
  { "a list of 100: CPU of a task, µs", 9, "%.1f", cpu(1e-6, "list"), least_of_list, why = LISTED },
  { "memory of a waiting task, of 1,000: Lua's heap, bytes", KB, "%.0f", memory(1000) },
  { "memory of a waiting task, of 10,000: Lua's heap or resident, bytes", KB, "%.0f",
    memory(10000, true), why = PAGES },
  { "memory of a waiting task, of 100,000: Lua's heap or resident, bytes", KB, "%.0f",
    memory(100000, true), why = PAGES },
  { "1,000 tasks waiting, between looks: CPU, µs", 0, "%.0f",
    function(all)
      local seconds, why = in_the_pause "cpu"(all)
      return seconds and seconds * 1e6, why
    end },
  { "1,000 tasks waiting, between looks: wake-ups", 0, "%.0f", in_the_pause "wakeups" },
  { "1,000 tasks waiting, between looks: system calls", 0, "%.0f", in_the_pause "calls" },
  { "200 at a time over HTTP/2: connections", 1, "%.0f", connections "fetch_h2_200" },
}

local UNKNOWN = "nobody knows yet: measure again on a quiet machine, then look for what has changed"

local function verdict_on(value, limit)
  if value <= limit then return "reached" end
  if limit == 0 then return "not reached" end
  return ("not reached, by %.1f %%"):format(math.max((value / limit - 1) * 100, 0.1))
end

--- Every target: what, its limit, the value or "–", the verdict, the least it can be or "–", as
--- texts; why it is not reached, nil if it is or was not measured.
---@param all bench.Results
---@return { what: string, limit: string, value: string, verdict: string, least: string,
---  reached: boolean, why?: string }[]
function targets.judge(all)
  local list = {}
  for n, target in ipairs(LIST) do
    local what, limit, format, measure, bound = table.unpack(target, 1, 5)
    local value, missing = measure(all)
    local least = bound and bound(all)
    local reached = value ~= nil and value <= limit
    local function text(number) return number and format:format(number) or "–" end
    list[n] = {
      what = what, limit = text(limit), value = text(value), least = text(least),
      verdict = value and verdict_on(value, limit) or "not run: " .. missing,
      reached = reached, why = value and not reached and (target.why or UNKNOWN) or nil,
    }
  end
  return list
end

return targets
