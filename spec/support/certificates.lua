-- Certificates for specs, made by openssl when they are first needed, in a folder that goes when
-- the specs end. Knows no server.
--
--   local certificates = require "support.certificates"
--   certificates.missing()             -- nil, or why there are none
--   certificates.path "expired.pem"    -- and expired.key; ca.pem is who signs the good ones
--
-- In a process of its own they are made anew, unless SPEC_CERTIFICATES says where they are.

local process = require "support.process"
local shell = require "support.shell"

local certificates = {}

--- Who signs, what names the certificate has, and for how many days: openssl's words.
certificates.rows = {
  good = { issuer = "ca", names = "DNS:localhost,IP:127.0.0.1,DNS:pictures.example", days = 2 },
  wrong_host = { issuer = "ca", names = "DNS:other.example,IP:192.0.2.1", days = 2 },
  expired = { issuer = "ca", names = "DNS:localhost,IP:127.0.0.1", days = -1 },
  untrusted = { issuer = "stranger", names = "DNS:localhost,IP:127.0.0.1", days = 2 },
  self_signed = { names = "DNS:localhost,IP:127.0.0.1", days = 2 },
}

local AUTHORITIES = { "ca", "stranger" }
local NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

--- Nil, or what is missing.
---@return string?
function certificates.missing()
  if not process.has "openssl" then return "openssl is not installed" end
end

local folder = os.getenv "SPEC_CERTIFICATES" -- else once they are made

local function must(command, ...)
  command = ("cd %s && "):format(shell.quoted(folder)) .. command:format(...)
  local output, reason = process.build(command)
  if not output then error(reason, 0) end
end

local function make_authority(name)
  must("openssl req -x509 %s -keyout %s.key -out %s.pem -days 2 -subj '/CN=mjtask %s'",
    NEW_KEY, name, name, name)
end

local function make_certificate(name, row)
  local extensions <close> = assert(io.open(("%s/%s.ext"):format(folder, name), "w"))
  extensions:write("subjectAltName=", row.names, "\n")
  extensions:close()
  must("openssl req %s -keyout %s.key -out %s.csr -subj '/CN=mjtask spec'", NEW_KEY, name, name)
  local signer = row.issuer and ("-CA %s.pem -CAkey %s.key -CAcreateserial")
    :format(row.issuer, row.issuer) or ("-signkey %s.key"):format(name)
  must("openssl x509 -req -in %s.csr %s -days %d -extfile %s.ext -out %s.pem",
    name, signer, row.days, name, name)
end

local function make()
  folder = process.scratch "certificates"
  assert(os.execute("mkdir " .. shell.quoted(folder)))
  for _, name in ipairs(AUTHORITIES) do make_authority(name) end
  for name, row in pairs(certificates.rows) do make_certificate(name, row) end
end

--- The path of a file: NAME.pem or NAME.key of a row above, "ca.pem", "stranger.pem"; without a
--- name that of the folder.
---@param name? string
---@return string
function certificates.path(name)
  if not folder then make() end
  return name and folder .. "/" .. name or folder
end

return certificates
