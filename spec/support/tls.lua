-- TLS below a connection of the server, by LuaSec. Knows certificates by their names, and no HTTP.
--
-- Beside the socket that speaks TLS stays the one below it, of the same descriptor: what breaks off
-- there does so as networks do, without a word of TLS.

local ssl = require "ssl"
local core = require "ssl.core"
local loop = require "support.loop"

local tls = {}

local NOBODY = core.SOCKET_INVALID

-- The newest that a server speaks: LuaSec's options against all that are newer. Below 1.2 OpenSSL 3
-- wants the least security for it.
local NEWER = {
  ["1.0"] = { "no_tlsv1_1", "no_tlsv1_2", "no_tlsv1_3" }, ["1.1"] = { "no_tlsv1_2", "no_tlsv1_3" },
  ["1.2"] = { "no_tlsv1_3" }, ["1.3"] = {},
}
local CIPHERS = "ALL:@SECLEVEL=0"

tls.folder = nil -- where the certificates are

local contexts = {} -- by certificate and version, made when first needed

-- A peer that leaves without a word has closed: LuaSec 1.2 would read of it for ever.
local function options_of(newest)
  local name = ssl.config.options.ignore_unexpected_eof and "ignore_unexpected_eof"
  local options = table.move(NEWER[newest], 1, #NEWER[newest], 1, {})
  options[#options + 1] = name or nil
  return options
end

local function context_of(certificate, newest)
  local name = certificate .. " " .. newest
  contexts[name] = contexts[name] or assert(ssl.newcontext {
    mode = "server", protocol = "any", options = options_of(newest), ciphers = CIPHERS,
    certificate = ("%s/%s.pem"):format(tls.folder, certificate),
    key = ("%s/%s.key"):format(tls.folder, certificate),
  })
  return contexts[name]
end

--- A TLS socket over a plain one, which stays usable for `tls.cut`.
---@param certificate string
---@param newest string "1.0" … "1.3"
function tls.wrap(plain, certificate, newest)
  local descriptor = plain:getfd()
  local sock = assert(ssl.wrap(plain, context_of(certificate, newest)))
  plain:setfd(descriptor)
  sock:settimeout(0)
  return sock
end

--- Shakes hands; false if the peer does not like it, or has left.
function tls.handshake(sock)
  while true do
    local ok, problem = sock:dohandshake()
    if ok then return true end
    if problem ~= "wantread" and problem ~= "wantwrite" then return false end
    loop.wait(sock, problem == "wantread" and "read" or "write")
  end
end

--- Closes with TLS's own word for it.
function tls.close(sock, plain)
  plain:setfd(NOBODY)
  sock:close()
end

--- Closes the connection without a word. The TLS socket is freed at once: later its descriptor may
--- be somebody else's.
function tls.cut(sock, plain)
  plain:close()
  sock:close()
end

return tls
