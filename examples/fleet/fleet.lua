-- What the scripts of the fleet ask of Redis: who submits, who works, who reads the results. Knows
-- entries and ids; nothing of how a task is waited for, and no key.
--
-- MJTASK_REDIS=redis://[USER]:WORD@HOST:PORT; without it the one of this machine.

local redis = require "redis"
local url = require "socket.url"

local fleet = {}

local TASKS = "mjtask:tasks" -- a stream: an entry for each task that is open
local GROUP = "workers" -- its consumer group
local NUMBER = "mjtask:worker" -- of the last worker: each is called by its own
local RESULTS = "mjtask:results" -- a hash: how each task ended, by id
local ANSWER = 2 -- seconds for one of Redis
local DAY = 86400000 -- milliseconds, as Redis counts

-- The client is older than streams.
for _, name in ipairs { "xadd", "xautoclaim", "xclaim", "xgroup", "xlen", "xreadgroup" } do
  redis.commands[name] = redis.command(name)
end

-- What Redis refused, or a connection that failed: to be told from any other error.
local failure = { __tostring = function(self) return self.message end }

function redis.error(message)
  error(setmetatable({ message = message }, failure), 0)
end

function fleet.is_failure(problem)
  return getmetatable(problem) == failure
end

local methods = {}
local mt = { __index = methods }

--- A connection.
function fleet.connect()
  local at = url.parse(os.getenv "MJTASK_REDIS" or "redis://127.0.0.1")
  local client = redis.connect { host = at.host, port = at.port, timeout = ANSWER }
  if at.user and at.user ~= "" then
    client:auth(at.user, at.password)
  elseif at.password then
    client:auth(at.password)
  end
  return setmetatable({ client = client, cursor = "0-0" }, mt)
end

--- Could that be the id of a task? mjtask takes no other.
function fleet.is_id(id)
  return #id <= 128 and id:find "^[%w%-._~]+$" and id ~= "." and id ~= ".."
end

function methods:submit(id)
  self.client:xadd(TASKS, "*", "id", id)
end

--- How tasks have ended, by id, and how many have not.
function methods:results()
  return self.client:hgetall(RESULTS), self.client:xlen(TASKS)
end

-- ---- for workers --------------------------------------------------------------------------------

--- Makes it the connection of a worker; gives that one's name, a new one if it has none yet.
function methods:join(name)
  local ok, err = pcall(self.client.xgroup, self.client, "CREATE", TASKS, GROUP, 0, "MKSTREAM")
  if not ok and not tostring(err):find("BUSYGROUP", 1, true) then error(err, 0) end
  self.name = name or "worker-" .. self.client:incr(NUMBER)
  return self.name
end

--- At most so many entries for this worker: { { name, { "id", id } }, … }. First those that nobody
--- gave a sign of life of for so many seconds; then new ones.
function methods:take(room, seconds)
  local left = self.client:xautoclaim(TASKS, GROUP, self.name, ("%d"):format(seconds * 1000 // 1),
    self.cursor, "COUNT", room)
  self.cursor = left[1] -- it looks at ten times as many, and no more
  if #left[2] > 0 then return left[2] end
  local new = self.client:xreadgroup("GROUP", GROUP, self.name, "COUNT", room,
    "STREAMS", TASKS, ">")
  return new and new[1][2] or {}
end

local function claim(self, entries, idle)
  local words = { TASKS, GROUP, self.name, 0 }
  for name in pairs(entries) do words[#words + 1] = name end
  if #words == 4 then return end
  table.move({ "IDLE", idle, "JUSTID" }, 1, 3, #words + 1, words)
  self.client:xclaim(words)
end

--- A sign of life of these entries, the keys of a table.
function methods:keep(entries) claim(self, entries, 0) end

--- Anybody may take them, at once.
function methods:release(entries) claim(self, entries, DAY) end

-- In one step, with nobody's between: a result comes when its entries go. If they are gone,
-- somebody was faster, since we slept; or Redis has done this before, and its answer was lost.
local WRITE = [[
  local tasks, results = KEYS[1], KEYS[2]
  local group, me, tries, id, result = unpack(ARGV, 1, 5)
  for i = 6, #ARGV do
    local entry = redis.call("XPENDING", tasks, group, ARGV[i], ARGV[i], 1)[1]
    if tries ~= "0" and (not entry or entry[2] ~= me or entry[4] < tonumber(tries)) then
      return "left"
    end
  end
  if redis.call("XACK", tasks, group, unpack(ARGV, 6)) == 0 then return "late" end
  redis.call("XDEL", tasks, unpack(ARGV, 6))
  return redis.call("HSETNX", results, id, result) == 1 and "written" or "known"
]]

--- Writes the result of an id, for which there are these entries (an array). With `tries` only if
--- they were taken so many times, else they are left to whoever takes them next. Says what became
--- of it: "written", "left"; "late", "known": there is one already.
function methods:write(id, result, entries, tries)
  return self.client:eval(WRITE, 2, TASKS, RESULTS, GROUP, self.name, tries or 0, id, result,
    table.unpack(entries))
end

return fleet
