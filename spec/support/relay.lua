-- An HTTP proxy as networks have them, between a client and the local proxy: CONNECT for https, and
-- whole URLs for http. Knows no tasks. Named apart from "the proxy", which is the server of tasks.

local mime = require "mime"
local connection = require "support.connection"
local faults = require "support.faults"
local forwarder = require "support.forwarder"

local relay = {}

local settings, log = {}, {}

local NAMES = { user = true, hosts = true, fault = true }

--- How it behaves from here on, with an empty log: `user` ("name:word", else 407), `hosts` (name ->
--- port of 127.0.0.1, beside that machine's own names), `fault` (of faults.lua, for every request).
---@param what { user?: string, hosts?: table<string, integer>, fault?: string }
function relay.set(what)
  for name in pairs(what) do
    if not NAMES[name] then error("no such setting of the relay: " .. tostring(name), 0) end
  end
  if what.fault and not faults[what.fault] then error("no such fault: " .. what.fault, 0) end
  settings, log = what, {}
end

--- What it was asked: { method, path (what to connect to, or the whole URL), headers }.
function relay.log()
  return log
end

local HERE = { ["127.0.0.1"] = true, ["localhost"] = true }

local function port_of(host, port)
  local mapped = (settings.hosts or {})[host]
  return mapped or HERE[host] and math.tointeger(tonumber(port)) or nil
end

local function refusal(request)
  local wish = settings.user and "Basic " .. mime.b64(settings.user)
  if not wish or request.headers["proxy-authorization"] == wish then return nil end
  return {
    status = 407, body = "who are you?", type = "text/plain",
    headers = { ["Proxy-Authenticate"] = 'Basic realm="relay"' },
  }
end

local function tunnel(c, request)
  local port = port_of(request.path:match "^(.*):(%d+)$")
  if not port then return c:reply({ status = 502, body = "no such host" }, true) end
  c:send "HTTP/1.1 200 Connection established\r\n\r\n"
  forwarder.join(c, connection.dial(port))
end

-- The request as the server is to see it: its own, but for what is between client and relay.
local function pass_on(c, request)
  local host, port, path = request.path:match "^http://([^/:]+):?(%d*)(.*)$"
  port = host and port_of(host, port ~= "" and port or "80")
  if not port then return c:reply({ status = 502, body = "no such host" }, true) end
  local lines = { ("%s %s HTTP/1.1"):format(request.method, path == "" and "/" or path) }
  for name, value in pairs(request.headers) do
    if not name:find "^proxy%-" and name ~= "connection" then
      lines[#lines + 1] = name .. ": " .. value
    end
  end
  lines[#lines + 1] = "connection: close\r\n\r\n"
  local server = connection.dial(port)
  connection.guard(function()
    server:send(table.concat(lines, "\r\n") .. request.body)
    while true do c:send(server:receive()) end
  end)
  server:close()
  c:close()
end

--- Answers a request for anywhere.
function relay.handle(c, request)
  log[#log + 1] = {
    method = request.method, path = request.path, headers = request.headers,
    malformed = request.malformed,
  }
  local no, fault = refusal(request), faults[settings.fault]
  if type(fault) == "function" then
    fault(c, function() return { body = "relay" } end, {})
  elseif fault then
    c:reply(fault, true)
  elseif no or request.malformed then
    c:reply(no or { status = 400, body = "" }, true)
  elseif request.method == "CONNECT" then
    tunnel(c, request)
  else
    pass_on(c, request)
  end
end

return relay
