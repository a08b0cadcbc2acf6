-- Prosody with examples/prosody/mod_mjtask.lua and a clock that ticks beside it, on no port at all.
--
--   local missing = prosody.missing()     -- nil, or why it cannot run
--   local output = prosody.run { mjtask_url = p.url, mjtask_ids = { "1" }, ticker_endings = 1 }

local child = require "support.child"
local program = require "support.program"
local shell = require "support.shell"

local prosody = {}

local SETTINGS = [[
run_as_root = true
daemonize = false
data_path = %q
pidfile = %q
plugin_paths = { %q, %q }
certificates = %q
modules_enabled = { "mjtask", "ticker" }
modules_disabled = { "c2s", "s2s", "s2s_auth_certs", "tls", "posix", "offline" }
c2s_ports, s2s_ports, http_ports, https_ports = {}, {}, {}, {}
c2s_direct_tls_ports, s2s_direct_tls_ports, component_ports, console_ports = {}, {}, {}, {}
log = { { levels = { min = "info" }, to = "console", timestamps = false } }
VirtualHost "localhost"
]]

--- Nil if it can run here, else what is missing.
---@return string?
function prosody.missing()
  if not program.find "prosody" then return "prosody is not installed" end
end

local function literal(value)
  if type(value) ~= "table" then return ("%q"):format(value) end
  local items = {}
  for i, item in ipairs(value) do items[i] = literal(item) end
  return "{" .. table.concat(items, ",") .. "}"
end

--- Runs it to its end, and returns all that it printed.
---@param settings table<string, string|number|string[]> mjtask_… and those of mod_ticker
---@return string output
---@return integer status
function prosody.run(settings)
  local folder, remove = child.directory()
  local path = folder .. "/prosody.cfg.lua"
  do
    local file <close> = assert(io.open(path, "w"))
    for name, value in pairs(settings) do file:write(name, " = ", literal(value), "\n") end
    file:write(SETTINGS:format(folder, folder .. "/pid", program.root .. "/examples/prosody",
      program.root .. "/spec/support/prosody", folder))
  end
  local command = ("%s --config %s"):format(program.find "prosody", shell.quoted(path))
  local output, status = program.run(command, { directory = folder })
  remove()
  return output, status
end

return prosody
