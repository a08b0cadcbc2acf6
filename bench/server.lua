-- The server that is fetched from: nginx on its own core, with the documents, over plain http, TLS
-- and HTTP/2. Knows where each lies; must not know who fetches.
--
--   local s <close> = server.start()
--   s.plain, s.tls1, s.tls2, s.each    -- base URLs: http, https, with HTTP/2, a connection each
--   s.tls2_wide                        -- HTTP/2 with room for 256 requests at a time
--   s.cafile, s.bundle                 -- our CA; the system's and ours in one file
--   s.listed                           -- tasks in the list below /listed
--   s:counts()                         -- requests and connections so far

local http = require "socket.http"
local child = require "support.child"
local nginx = require "support.nginx"
local documents = require "bench.documents"
local machine = require "bench.machine"

local BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
local LARGE = 1000 -- tasks under way that are as large as the seed
local LISTED = 100 -- of them in the list of those

-- nginx's own 128 would make a client that has more at a time open a second connection.
local WIDE = "    http2_max_concurrent_streams 256;\n"

local server = {}

local methods = {}
local mt = { __name = "bench.server", __index = methods }

server.missing = nginx.missing

-- Below the base URL: the seed and a list of a hundred; below /running and /large tasks that do not
-- end, small ones of any id and a thousand as large as the seed, without lists; below /listed only
-- a list of the first hundred of these, whatever is asked for.
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
    location = /mj/task/list-by-condition {
      alias {folder}/list.json;
      error_page 405 =200 /list.json;
    }
    location = /listed/mj/task/list-by-condition {
      alias {folder}/listed.json;
      error_page 405 =200 /listed.json;
    }
    location = /status { stub_status; }
    location ~ ^/running/mj/task/(?<running>\d+)/fetch$ { return 200 '{small}'; }
    location ~ ^/large/mj/task/(?<large>\d+)/fetch$ { alias {folder}/large/$large.json; }
]]

local function locations(folder)
  return (LOCATIONS:gsub("{(%l+)}", {
    folder = folder, sku = documents.ID, small = documents.small "$running",
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

local function write_list(folder)
  local tasks = {}
  for n = 1, LISTED do
    tasks[n] = machine.read(("%s/large/%s.json"):format(folder, documents.id(n)))
  end
  local file <close> = assert(io.open(folder .. "/listed.json", "wb"))
  file:write("[", table.concat(tasks, ","), "]")
end

local function fill(self)
  self.sizes = documents.write(self.folder, LARGE)
  write_list(self.folder)
  local extra = locations(self.folder)
  self.nginx = nginx.start {
    plain = { extra = extra },
    tls1 = { extra = extra, certificate = "good" },
    tls2 = { extra = extra, certificate = "good", http2 = true },
    tls2_wide = { extra = WIDE .. extra, certificate = "good", http2 = true },
    each = { extra = extra, certificate = "good", keepalive = 0 },
  }
  machine.pin_server(tonumber(machine.read(self.nginx.directory .. "/nginx.pid")))
  self.cafile = self.nginx.cafile
  for name, row in pairs(self.nginx.servers) do self[name] = row.url end
  self.bundle = write_bundle(self.folder .. "/bundle.pem", self.cafile)
end

--- Starts it. Nothing stays of one that could not be started, or was interrupted.
function server.start()
  local folder, remove = child.directory()
  local self = setmetatable({ folder = folder, remove = remove, listed = LISTED }, mt)
  local unfinished <close> = setmetatable({ self = self }, {
    __close = function(guard) if guard.self then guard.self:stop() end end,
  })
  fill(self)
  unfinished.self = nil
  return self
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
  if self.nginx then self.nginx:stop() end
  self.remove()
end

mt.__close = methods.stop

return server
