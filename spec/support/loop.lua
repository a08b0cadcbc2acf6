-- One select loop, and coroutines that wait in it for a socket or for time. Knows nothing of HTTP.

local socket = require "socket"

local loop = {}

local parked = {}   -- coroutine -> what it waits for: { sock =, way = "read"|"write", due = }
local running = true

loop.now = socket.gettime

local function resume(co, ...)
  local ok, ask = coroutine.resume(co, ...)
  if not ok then io.stderr:write(debug.traceback(co, ask), "\n") end
  parked[co] = coroutine.status(co) == "suspended" and ask or nil
end

function loop.spawn(f, ...)
  resume(coroutine.create(f), ...)
end

-- True once the socket is ready; nil when the seconds are over first.
function loop.wait(sock, way, seconds)
  return coroutine.yield { sock = sock, way = way, due = seconds and loop.now() + seconds }
end

function loop.sleep(seconds)
  return coroutine.yield { due = loop.now() + seconds }
end

function loop.stop()
  running = false
end

-- What select is to be asked: the sockets each way, who waits for them, and for how long at most.
-- One that somebody else has closed is as good as ready: who waits for it finds out.
local function gather()
  local sets, owner, due = { read = {}, write = {} }, {}, math.huge
  for co, ask in pairs(parked) do
    if ask.sock and ask.sock:getfd() < 0 then
      ask.due = 0
    elseif ask.sock then
      table.insert(sets[ask.way], ask.sock)
      owner[ask.sock] = co
    end
    due = math.min(due, ask.due or math.huge)
  end
  return sets, owner, due < math.huge and math.max(due - loop.now(), 0) or nil
end

local function ready(sets, owner, timeout)
  local out = {}
  local readable, writable = socket.select(sets.read, sets.write, timeout)
  for _, list in ipairs { readable, writable } do
    for _, sock in ipairs(list) do out[owner[sock]] = true end
  end
  local now = loop.now()
  for co, ask in pairs(parked) do
    if not out[co] and ask.due and ask.due <= now then out[co] = false end
  end
  return out
end

function loop.run()
  while running do
    for co, is_ready in pairs(ready(gather())) do resume(co, is_ready or nil) end
  end
end

return loop
