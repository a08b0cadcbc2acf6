-- The server that is fetched from: nginx on its own core, with the documents, over plain http, TLS
-- and HTTP/2. Knows where each lies; must not know who fetches.
--
--   local s <close> = server.start()
--   s.plain, s.tls1, s.tls2, s.each    -- base URLs: http, https, with HTTP/2, a connection each
--   s.cafile, s.bundle                 -- our CA; the system's and ours in one file
--   s:counts()                         -- requests and connections so far

local http = require "socket.http"
local child = require "support.child"
local nginx = require "support.nginx"
local documents = require "bench.documents"
local machine = require "bench.machine"

local BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
local LARGE = 1000 -- tasks under way that are as large as the seed

local server = {}

local methods = {}
local mt = { __name = "bench.server", __index = methods }

server.missing = nginx.missing

-- Below the base URL: the two seeds and a list of a hundred; below /running and /large tasks that
-- do not end, small ones of any id and a thousand as large as the seed, without lists.
local LOCATIONS = [[
    access_log off;
    error_log error.log crit;
    root {folder};
    sendfile on;
    open_file_cache max=2000;
    open_file_cache_valid 1d;
    default_type application/json;
    location = /mj/task/{sku}/fetch {
      if ($http_authorization = "") { return 401; }
      alias {folder}/seed.json;
    }
    location = /mj/task/{pawmaas}/fetch {
      if ($http_authorization = "") { return 401; }
      alias {folder}/pawmaas.json;
    }
    location = /mj/task/list-by-condition {
      alias {folder}/list.json;
      error_page 405 =200 /list.json;
    }
    location = /status { stub_status; }
    location ~ ^/running/mj/task/(?<running>\d+)/fetch$ { return 200 '{small}'; }
    location ~ ^/large/mj/task/(?<large>\d+)/fetch$ { alias {folder}/large/$large.json; }
]]

local function locations(folder)
  return (LOCATIONS:gsub("{(%l+)}", {
    folder = folder, sku = documents.ID, pawmaas = documents.PAWMAAS,
    small = documents.small "$running",
  }))
end

-- The system's certificates and ours in one file; nil where the system has no such file.
local function write_bundle(path, cafile)
  local system = machine.read(BUNDLE)
  if system == "" then return nil end
  local file <close> = assert(io.open(path, "wb"))
  file:write(system, machine.read(cafile))
  return path
end

function server.start()
  local folder, remove = child.directory()
  local sizes = documents.write(folder, LARGE)
  local extra = locations(folder)
  local ok, n = pcall(nginx.start, {
    plain = { extra = extra },
    tls1 = { extra = extra, certificate = "good" },
    tls2 = { extra = extra, certificate = "good", http2 = true },
    each = { extra = extra, certificate = "good", keepalive = 0 },
  })
  if not ok then
    remove()
    error(n, 0)
  end
  machine.pin_server(tonumber(machine.read(n.directory .. "/nginx.pid")))
  local self = { nginx = n, remove = remove, folder = folder, sizes = sizes, cafile = n.cafile }
  for name, row in pairs(n.servers) do self[name] = row.url end
  self.bundle = write_bundle(folder .. "/bundle.pem", n.cafile)
  return setmetatable(self, mt)
end

--- Where a document lies: for decoders, which have no server.
function methods:path(name)
  return ("%s/%s.json"):format(self.folder, name)
end

--- How many requests and connections the server has had, without those for this.
---@return { requests: integer, connections: integer }
function methods:counts()
  self.asked = (self.asked or 0) + 1
  local text = assert(http.request(self.plain .. "/status"))
  local accepted, _, requests = text:match "(%d+) (%d+) (%d+)"
  return {
    requests = tonumber(requests) - self.asked, connections = tonumber(accepted) - self.asked,
  }
end

function methods:stop()
  self.nginx:stop()
  self.remove()
end

mt.__close = methods.stop

return server
