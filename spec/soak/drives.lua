-- How a client is moved on: by steps, when its descriptor is readable, when its timeout has passed,
-- or by an event loop, in whose coroutines calls park. Knows loops; must not know what is asked.
--
-- A drive has `name`; `loop`, what the client is to be made with; `watch(mj)`, called once; `fd`,
-- what must be readable before `turn(mj, ready)` does anything; `touched(mj)`, called when somebody
-- has started or ended something; where calls can park, `go(f)`, which starts a coroutine, and
-- `drop(thread)`, if it can be dropped; and `holds`, if the loop holds a client that is busy.

local socket = require "socket"
local now = require "mjtask.core".now
local timers = require "mjtask.loop.timer"

local found, uv = pcall(require, "luv")
local luv = found and require "mjtask.loop.luv"
local cqueues
found, cqueues = pcall(require, "cqueues")
local controller = found and cqueues.new()

local FILLED = 150

local drives = {}

--- Told of all errors that come out of a step or a loop.
function drives.on_error(problem)
  error(problem, 0)
end

local function told(problem)
  drives.on_error(problem)
end

local function step(mj, seconds)
  local ok, problem = pcall(mj.step, mj, seconds)
  if not ok then told(problem) end
end

local function nothing() end

local makers = {}

function makers.steps()
  return { watch = nothing, touched = nothing, turn = function(mj) step(mj, 0) end }
end

function makers.naps()
  return { watch = nothing, touched = nothing, turn = function(mj) step(mj, 0.002) end }
end

-- If this misses a readiness nothing else moves the client.
function makers.descriptor()
  local self = { touched = nothing }
  function self.watch(mj)
    local fd = mj:pollfd()
    self.fd = { getfd = function() return fd end, dirty = function() return false end }
  end
  function self.turn(mj, ready)
    if ready then step(mj, 0) end
  end
  return self
end

function makers.timeout()
  local due = math.huge
  local self = { watch = nothing }
  function self.touched(mj)
    due = now() + (mj:timeout() or math.huge)
  end
  function self.turn(mj)
    if now() < due then return end
    step(mj, 0)
    self.touched(mj)
  end
  return self
end

-- Coroutines that sleep. Who is parked steps; where nobody is, the timeout does.
function makers.timer()
  local self, sleeping = makers.timeout(), {}
  local turn = self.turn

  local function resume(thread)
    local ok, due = coroutine.resume(thread)
    if not ok then told(due) end
    sleeping[thread] = ok and coroutine.status(thread) == "suspended" and due or nil
  end

  self.loop = timers.loop(function(seconds) coroutine.yield(now() + seconds) end)

  function self.go(f)
    resume(coroutine.create(f))
  end

  function self.drop(thread)
    sleeping[thread] = nil
  end

  function self.turn(mj)
    local due = {}
    for thread, time in pairs(sleeping) do
      if time <= now() then due[#due + 1] = thread end
    end
    for _, thread in ipairs(due) do
      if sleeping[thread] and coroutine.status(thread) == "suspended" then resume(thread) end
    end
    turn(mj)
  end

  return self
end

if luv then
  luv.on_error = told
  function makers.luv()
    return {
      loop = luv.loop(), watch = nothing, touched = nothing, turn = nothing, go = luv.go,
      holds = true,
    }
  end
end

if controller then
  local adapter = require "mjtask.loop.cqueues"
  function makers.cqueues()
    return {
      loop = adapter.loop(controller), watch = nothing, touched = nothing, turn = nothing,
      go = function(f) controller:wrap(f) end, holds = true,
    }
  end
end

local ORDER = { "steps", "naps", "descriptor", "timeout", "timer", "luv", "cqueues" }

-- A client for each descriptor that there may be. The loop of luv keeps a handle for each that it
-- has ever watched: that must not look as if something grew.
local function fill(make)
  local clients = {}
  for n = 1, FILLED do clients[n] = make(luv.loop()) end
  for _, mj in ipairs(clients) do mj:close() end
end

--- To be called once, before anything is measured. `make(loop)` makes a client.
function drives.warm_up(make)
  if not luv then return end
  fill(make)
  local file <close> = assert(io.open "/dev/null") -- for those between them
  fill(make)
  uv.run "nowait"
  assert(file)
end

--- The names of those there are; `epoll`: without one there are fewer.
---@param epoll boolean
---@return string[]
function drives.names(epoll)
  local needs = { descriptor = true, luv = true, cqueues = true }
  local names = {}
  for _, name in ipairs(ORDER) do
    if makers[name] and (epoll or not needs[name]) then names[#names + 1] = name end
  end
  return names
end

---@param name string
function drives.new(name)
  local self = makers[name]()
  self.name = name
  return self
end

local shared = {}
for _, fd in ipairs { luv and uv.backend_fd() or false, controller and controller:pollfd() } do
  if fd then
    shared[#shared + 1] = { getfd = function() return fd end, dirty = function() return false end }
  end
end

--- Waits at most so long, or until one of the drives has something to do; lets loops run. Returns
--- which of the drives are ready, as keys.
---@param list table[]
---@param seconds number
function drives.wait(list, seconds)
  local sources, owner, ready = table.move(shared, 1, #shared, 1, {}), {}, {}
  for _, drive in ipairs(list) do
    if drive.fd then
      sources[#sources + 1], owner[drive.fd] = drive.fd, drive
    end
  end
  for _, source in ipairs((socket.select(sources, nil, seconds))) do
    if owner[source] then ready[owner[source]] = true end
  end
  if luv then uv.run "nowait" end
  if controller then
    local ok, problem = controller:step(0)
    while not ok do
      told(problem)
      ok, problem = controller:step(0)
    end
  end
  return ready
end

return drives
