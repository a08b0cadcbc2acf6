-- A client under a clock of its own, what it asked and when, and what is left of it. For the specs
-- of many tasks; the proxy is theirs.

local assert = require "luassert"
local client = require "mjtask.client"
local clock = require "support.clock"

local timed = {}

local LIST = "/mj/task/list-by-condition"

--- A client of the proxy `p`: with `jumps` (a clock of clock.lua, made if true) time jumps.
--- Returns it, its clock, and an array that each request is added to: { at, id, list (boolean) }.
function timed.new(p, options, jumps)
  local time, asked = jumps == true and clock.new() or jumps or nil, {}
  local given = { url = p.url, key = "sk-0123456789abcdef" }
  for name, value in pairs(options or {}) do given[name] = value end
  given.trace = given.trace or function(event)
    if event.event ~= "request" then return end
    asked[#asked + 1] = {
      at = time and time.elapsed(), id = event.id, list = event.path == LIST,
    }
  end
  return client.new(given, time), time, asked
end

--- Ids of sixteen digits, from one on.
function timed.ids(count, first)
  local ids = {}
  for n = 1, count do ids[n] = ("17350304%08d"):format((first or 0) + n) end
  return ids
end

--- Nothing is left of any call: no transfer, timer, operation, listener or delivery.
function timed.nothing_left(mj)
  local schedule = mj.schedule
  assert.equal(0, schedule.inflight, "transfers")
  assert.equal(0, schedule.count, "operations")
  assert.is_nil((next(schedule.operations)), "an operation")
  assert.equal(0, schedule.timers.count, "timers")
  assert.is_true(schedule.queue:is_empty(), "somebody waits for a place")
  assert.is_true(schedule.deliveries:is_empty(), "something is to be told")
  assert.is_nil((next(mj.listeners)), "a listener")
end

--- The lists among the requests that the proxy saw, and the single fetches: arrays of its log's
--- entries. A list's has `ids`.
function timed.requests(p)
  local lists, singles = {}, {}
  for _, request in ipairs(p:log()) do
    if request.path:find(LIST, 1, true) then
      request.ids = {}
      for id in request.body:gmatch '"(%d+)"' do request.ids[#request.ids + 1] = id end
      lists[#lists + 1] = request
    elseif request.path:find "/fetch$" then
      singles[#singles + 1] = request
    end
  end
  return lists, singles
end

--- Steps until nothing is under way. With `seconds` it gives up by then.
function timed.run(mj, most)
  local steps = 0
  while mj:step() do
    steps = steps + 1
    assert(steps < (most or 100000), "it does not end")
  end
end

return timed
