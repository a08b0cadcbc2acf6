-- What a full run has to show: each target is a limit and where its value comes from. None is ever
-- left out: what could not be measured says so. Knows results, must not know how they were made.

local rounds = require "bench.rounds"

local targets = {}

local KB = 1024
local NOT_HERE = "only in a full run"

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

-- Microseconds or milliseconds of CPU of the first of these rows that there is.
local function cpu(unit, ...)
  local keys = { ... }
  return function(all)
    for _, key in ipairs(keys) do
      local row = all.costs[key]
      if row and row.cpu then return rounds.median(row.cpu) / unit end
    end
    return nil, missing_of(all.costs, keys[#keys])
  end
end

local function count(what)
  return function(all)
    local row = all.counted.fetch
    if not row then return nil, "fetch was not counted" end
    return row[what], row.missing
  end
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

local function memory(tasks)
  return function(all)
    for _, row in ipairs(all.growth) do
      if row.tasks == tasks then return row.rss, row.missing end
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

-- What, limit, format, value, the least that it can be.
local LIST = {
  { "CPU of a fetch, to libcurl that decodes nothing", 1.20, "%.2f", ratio("fetch", "receive"),
    least_of("receive", "receive") },
  { "CPU of a fetch, to libcurl and lua-cjson in C", 0.85, "%.2f", ratio("fetch", "plain_c"),
    least_of("receive", "plain_c") },
  { "16 at a time: CPU of a fetch, to libcurl multi and lua-cjson in C", 0.80, "%.2f",
    ratio("fetch_16", "plain_c_16"), least_of("receive_16", "plain_c_16") },
  { "16 at a time: CPU of a fetch, to lua-http", 0.35, "%.2f", ratio("fetch_16", "lua_http_16"),
    least_of("receive_16", "lua_http_16") },
  { "instructions of a fetch, user space", 165000, "%.0f", count "instructions" },
  { "system calls of a fetch", 6, "%.2f", count "calls" },
  { "of them rt_sigaction", 0, "%.2f", calls_named "rt_sigaction" },
  { "decoder on the seed, to lua-cjson", 0.36, "%.2f", ratio("core_seed", "cjson_seed") },
  { "decoder on the seed, to the floor", 1.25, "%.2f", ratio("core_seed", "floor_seed") },
  { "decoder on a small task, to lua-cjson", 0.50, "%.2f", ratio("core_small", "cjson_small") },
  { "decoder on a list of 100, to lua-cjson", 0.50, "%.2f", ratio("core_list", "cjson_list") },
  { "decoder on \\uXXXX, to lua-cjson", 0.50, "%.2f", ratio("core_escapes", "cjson_escapes") },
  { "a further TLS connection with the system's CA bundle, ms CPU", 1.5, "%.2f",
    cpu(1e-3, "fetch_system", "fetch_bundle") },
  { "1,000 tasks watched: CPU of a look, to a fetch of 16 at a time", 1.3, "%.2f",
    ratio("watch", "fetch_16") },
  { "1,000 tasks watched: connections in all", 16, "%.0f",
    function(all) return all.facts.connections, "not measured" end },
  { "a list of 100: CPU of a task, µs", 9, "%.1f", cpu(1e-6, "list") },
  { "memory of a waiting task, of 1,000, bytes", KB, "%.0f", memory(1000) },
  { "memory of a waiting task, of 10,000, bytes", KB, "%.0f", memory(10000) },
  { "memory of a waiting task, of 100,000, bytes", KB, "%.0f", memory(100000) },
  { "1,000 tasks waiting, between looks: CPU, µs", 0, "%.0f",
    function(all)
      local seconds, why = in_the_pause "cpu"(all)
      return seconds and seconds * 1e6, why
    end },
  { "1,000 tasks waiting, between looks: wake-ups", 0, "%.0f", in_the_pause "wakeups" },
  { "1,000 tasks waiting, between looks: system calls", 0, "%.0f", in_the_pause "calls" },
  { "200 at a time over HTTP/2: connections", 1, "%.0f", connections "fetch_h2_200" },
}

local function verdict_on(value, limit)
  if value <= limit then return "reached" end
  if limit == 0 then return "not reached" end
  return ("not reached, by %.0f %%"):format((value / limit - 1) * 100)
end

--- Every target: what, its limit, the value or "–", the verdict, the least it can be or "–"; as
--- texts.
---@param all bench.Results
---@return { what: string, limit: string, value: string, verdict: string, least: string,
---  reached: boolean }[]
function targets.judge(all)
  local list = {}
  for n, target in ipairs(LIST) do
    local what, limit, format, measure, bound = table.unpack(target)
    local value, why = measure(all)
    local least = bound and bound(all)
    local function text(number) return number and format:format(number) or "–" end
    list[n] = {
      what = what, limit = text(limit), value = text(value), least = text(least),
      verdict = value and verdict_on(value, limit) or "not run: " .. why,
      reached = value ~= nil and value <= limit,
    }
  end
  return list
end

return targets
