-- A worker of the fleet: takes ids from Redis, waits for their tasks, writes down how each ended,
-- and takes over what a worker held that is gone. As many as you like, on any machine; README.md
-- says what that guarantees. Ctrl-C ends it well: others go on with what it held, at once.
--
-- MJTASK_REDIS=redis://:WORD@HOST MJTASK_PROVIDER=sku MJTASK_KEY=... lua5.4 worker.lua

package.path = (arg[0]:match "^.*/" or "") .. "?.lua;" .. package.path
local cjson = require "cjson"
local socket = require "socket"
local fleet = require "fleet"
local mjtask = require "mjtask"

local ROOM = tonumber(os.getenv "MJTASK_ROOM" or 100) -- tasks at a time
local TAKEOVER = tonumber(os.getenv "MJTASK_TAKEOVER" or 60) -- seconds without a sign of life
local TRIES = 5 -- at a task of which it cannot be found out how it ends
local GLANCE = 0.2 -- seconds between two looks into Redis
local RETRY = 1 -- and if that failed

-- How tasks end. Any other error is about the server, the way there or us, and is no result yet.
local ENDS = { failed = true, cancelled = true, needs_input = true, not_found = true }
-- About us, perhaps: then we take nothing for a while, so that others get it.
local OURS = { auth = true, quota = true, dns = true, connect = true, tls = true }

local mj <close> = mjtask.new()
local queue, me -- nil while there is no connection; what we are called
local watcher -- nil while there is nothing to watch
local held, count = {}, 0 -- by id: its entries, several if it was submitted twice; how many ids
local ids = {} -- by entry: what we give signs of life of
local ended = {} -- by id: what is to be written, kept until it is
local kept, failed = 0, 0 -- when we last gave a sign of life; when something of OURS happened

-- Is that so many seconds ago? A clock may be set back, too.
local function is_over(time, seconds)
  return math.abs(socket.gettime() - time) >= seconds
end

local function each(id, task, err)
  if not id then watcher = nil return end -- those were all
  if err and OURS[err.kind] then failed = socket.gettime() end
  ended[id] = { tries = not (task or ENDS[err.kind]) and TRIES, text = cjson.encode {
    outcome = task and "success" or err.kind, image = task and task:images()[1],
    error = err and tostring(err), worker = me,
  } }
end

local function watch(id)
  held[id], count = {}, count + 1
  if not fleet.is_id(id) then -- anybody may have written that
    ended[id] = { text = cjson.encode { outcome = "invalid", worker = me } }
  elseif watcher then
    watcher:add(id)
  else
    watcher = mj:watch({ id }, each)
  end
end

local function take(entries)
  for _, entry in ipairs(entries) do
    local name, id = entry[1], entry[2][2]
    if not held[id] then watch(id) end
    if not ids[name] then table.insert(held[id], name) end
    ids[name] = id
  end
end

local function write()
  for id, result in pairs(ended) do
    print(id, queue:write(id, result.text, held[id], result.tries))
    for _, name in ipairs(held[id]) do ids[name] = nil end
    held[id], ended[id], count = nil, nil, count - 1
  end
end

-- All that there is to say to Redis. Where it fails it is done again, from its beginning.
local function exchange()
  if not queue then
    local new = fleet.connect()
    me = new:join(me)
    queue = new
  end
  write()
  if is_over(kept, TAKEOVER / 3) then
    queue:keep(ids)
    kept = socket.gettime()
  end
  if count < ROOM and is_over(failed, TAKEOVER) then take(queue:take(ROOM - count, TAKEOVER)) end
end

local function work()
  local last, pause = 0, 0
  while true do
    if is_over(last, pause) then
      local ok, problem = pcall(exchange)
      last, pause = socket.gettime(), ok and GLANCE or RETRY
      if not ok then
        if not fleet.is_failure(problem) then error(problem, 0) end
        io.stderr:write("Redis: ", tostring(problem), "\n")
        queue = nil
      end
    end
    if not mj:step(GLANCE) then socket.sleep(GLANCE) end
  end
end

io.stdout:setvbuf "line"
local _, problem = pcall(work)
if count > 0 then -- the old connection may be in the middle of something
  queue = fleet.connect()
  queue:join(me)
  write()
  queue:release(ids)
end
if not tostring(problem):find("interrupted!", 1, true) then error(problem, 0) end
