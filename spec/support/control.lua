-- The calls under /control, by which a spec rules the proxy. Bodies are Lua literals both ways.

local chance = require "support.chance"
local forwarder = require "support.forwarder"
local literal = require "support.literal"
local loop = require "support.loop"
local relay = require "support.relay"
local service = require "support.service"

local control = {}

local log, accepted = {}, 0

local CALLS = {}

function CALLS.reset()
  log, accepted = {}, 0
  service.reset()
  forwarder.set {}
  relay.set {}
end

function CALLS.set(changes)
  service.set(changes)
end

function CALLS.task(definition, id)
  service.define(id, definition or {})
end

function CALLS.tasks(what)
  service.define(what.ids, what.definition or {})
end

function CALLS.log()
  return log
end

function CALLS.connections()
  return accepted
end

CALLS.met = chance.met
CALLS.forward = forwarder.set
CALLS.relay = relay.set
CALLS.relayed = relay.log
CALLS.quit = loop.stop

-- A connection was accepted; it gets its number. Those of the control count for nothing.
local serial = 0
function control.accept(c)
  serial, accepted = serial + 1, accepted + 1
  c.number = serial
end

local function discount(c)
  if c.is_control then return end
  c.is_control = true
  accepted = accepted - 1
end

function control.note(c, request)
  if not service.has_log() then return end
  log[#log + 1] = {
    method = request.method, path = request.path, headers = request.headers, body = request.body,
    malformed = request.malformed, connection = c.number, port = c.port, at = loop.now(),
  }
end

-- Takes the request if it is for the control.
function control.take(c, request)
  local name, id = (request.path or ""):match("^/control/(%l+)/?([^/]*)$")
  if not CALLS[name] then return false end
  discount(c)
  local ok, result = pcall(function()
    return CALLS[name](request.body ~= "" and literal.read(request.body) or nil, id)
  end)
  c:reply({
    status = ok and 200 or 400, type = "text/plain; charset=utf-8",
    body = not ok and result or result ~= nil and literal.write(result) or "",
  }, true)
  return true
end

return control
