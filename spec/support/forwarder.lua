-- A way to the server that is not the server: hands bytes on, and loses them on demand. Knows
-- neither HTTP nor TLS.

local connection = require "support.connection"
local generator = require "support.generator"
local loop = require "support.loop"

local forwarder = {}

local links = {} -- those that are open, as keys
local settings = {}
local opened -- links since the settings were made

local NAMES = { hole = true, rough = true, late = true, to = true, cut = true }

local function break_off(link)
  if link.ending == "silence" then
    link.lost = true
    return
  end
  for _, side in ipairs { link.client, link.server } do
    if not side.closed then
      if link.ending == "rst" then side:reset() else side:close() end
    end
  end
end

--- What the way is like from here on, for links that are made: `hole`, true: what is open now says
--- nothing more, as behind a router that has forgotten it; "all": nor does what comes later.
--- `rough = { seed =, delay = 0.01, cuts = 0.5, within = 4000 }`: pieces of any size, late by up to
--- `delay` seconds; that share of the links ends within so many bytes, by FIN, RST or silence.
--- `cut`: what is open now ends, by FIN, or "rst". `late`: seconds that what is handed on takes.
--- `to`: the port it leads to, not the first one.
---@param what { hole?: boolean|"all", rough?: table, late?: number, to?: integer,
---  cut?: boolean|"rst" }
function forwarder.set(what)
  for name in pairs(what) do
    if not NAMES[name] then error("no such way: " .. tostring(name), 0) end
  end
  settings, opened = what, 0
  if what.hole then
    for link in pairs(links) do link.lost = true end
  end
  if what.cut then
    for link in pairs(links) do
      if what.cut == "rst" then link.ending = "rst" end
      break_off(link)
    end
  end
end

forwarder.set {}

local ENDS = { "fin", "rst", "silence" }

-- How this link will be, by chance: pieces, delays, and whether it ends early, after how many
-- bytes in both directions, and how. By numbers of its own: who runs first among several changes
-- nothing.
local function make_rough(link, rough)
  local chance = generator(rough.seed * 1000003 + opened)
  link.chance, link.delay = chance, rough.delay or 0.01
  if chance() < (rough.cuts or 0.5) then
    link.left = math.floor(chance() * (rough.within or 4000))
    link.ending = ENDS[1 + math.floor(chance() * #ENDS)]
  end
end

local function hand_on_roughly(link, to, bytes)
  local from = 1
  while from <= #bytes and not link.lost and not to.closed do
    local chance = link.chance
    local size = chance() < 0.5 and math.floor(chance() * 400) + 1 or #bytes
    local piece = bytes:sub(from, from + size - 1)
    if chance() < 0.3 then loop.sleep(chance() * link.delay) end
    if link.left and #piece >= link.left then piece = piece:sub(1, link.left) end
    if not to.closed and not link.lost then to:send(piece) end
    from = from + #piece
    if link.left then
      link.left = link.left - #piece
      if link.left <= 0 then return break_off(link) end
    end
  end
end

local function hand_on(link, to, bytes)
  if link.lost then return end
  if link.chance then return hand_on_roughly(link, to, bytes) end
  if link.late then loop.sleep(link.late) end
  if not to.closed then to:send(bytes) end
end

local function pump(link, from, to)
  connection.guard(function()
    while not from.closed do hand_on(link, to, from:receive()) end
  end)
  link.ended = link.ended + 1
  if link.ended == 1 and not link.lost then
    if not to.closed then to.plain:shutdown "send" end
    return
  end
  links[link] = nil
  for _, side in ipairs { from, to } do
    if not side.closed then side:close() end
  end
end

local function start(link)
  links[link], link.ended = true, 0
  loop.spawn(pump, link, link.client, link.server)
  pump(link, link.server, link.client)
end

--- Joins two connections until both are through: each gets what the other sends.
function forwarder.join(client, server)
  start { client = client, server = server }
end

--- Takes a connection for the server at `port`.
function forwarder.serve(sock, port)
  local link = { client = connection.new(sock), server = connection.dial(settings.to or port) }
  link.lost, link.late = settings.hole == "all", settings.late
  opened = opened + 1
  if settings.rough then make_rough(link, settings.rough) end
  start(link)
end

return forwarder
