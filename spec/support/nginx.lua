-- nginx on loopback, with the certificates of certificates.lua: TLS and HTTP/2 for specs and
-- measurements.
--
--   local nginx = require "support.nginx"
--   local missing = nginx.missing()               -- nil, or why it cannot run
--   local n = nginx.start {                       -- in setup; n:stop() in teardown; or <close>
--     good = { certificate = "good", http2 = true },
--     plain = { body = '{"id":"1"}' },
--   }
--   n.servers.good.url, n.cafile, n:log()
--
-- A server's row: certificate (a row of certificates.lua; none: plain http), http2 (false),
-- protocols ("TLSv1.2 TLSv1.3"), ciphers, keepalive (75 seconds; 0: a connection for each request),
-- upstream (a URL that gets the requests), body (what is answered otherwise; without both: a task
-- of the id that is asked for, done), extra (configuration).

local socket = require "socket"
local certificates = require "support.certificates"

local START_SECONDS = 5
local TRIES = 3 -- a port found free may be taken by the time nginx binds it
local STEP = 0.02 -- seconds between two looks

local nginx = {}

local methods = {}
local mt = { __name = "nginx", __index = methods }

local FETCH = [[
    location ~ "/mj/task/(?<id>[^/]+)/fetch$" {
      default_type application/json;
      return 200 '{"id":"$id","status":"SUCCESS","progress":"100%"}';
    }]]

local function quoted(word)
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end

-- A sanitizer that is loaded before this process would judge openssl and nginx, too.
local BARE = "unset LD_PRELOAD;"

local function output_of(command)
  local pipe = assert(io.popen(("%s { %s; } 2>&1"):format(BARE, command)))
  local text = pipe:read("a")
  return pipe:close() and true or false, text
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local function read(path)
  local file <close> = io.open(path, "r")
  return file and file:read("a") or ""
end

-- Where nginx lies: often in sbin, which is in nobody's PATH but root's.
local function program()
  local ok, path = output_of("PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx")
  return ok and path:match("^[^\n]+") or nil
end

--- Nil if it can run here, else what is missing.
function nginx.missing()
  if not program() then return "nginx is not installed" end
  if certificates.missing() then return certificates.missing() end
  local _, version = output_of(quoted(program()) .. " -V")
  if not version:find("http_ssl_module", 1, true) then return "this nginx has no TLS" end
  if not version:find("http_v2_module", 1, true) then return "this nginx has no HTTP/2" end
end

-- ---- configuration ------------------------------------------------------------------------------

local HEAD = [[
daemon off;
master_process off;
pid nginx.pid;
error_log error.log info;
events { worker_connections 1024; }
http {
  log_format facts '$server_port $server_protocol $status $connection $ssl_protocol '
    '$ssl_session_reused $request_uri';
  access_log access.log facts;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 1000000;
  ssl_session_cache shared:sessions:1m;
]]

local function server_lines(row)
  local lines = { "  server {" }
  local function add(...)
    lines[#lines + 1] = "    " .. string.format(...):gsub("[^}]$", "%0;")
  end
  add("listen 127.0.0.1:%d%s%s", row.port, row.certificate and " ssl" or "",
    row.http2 and " http2" or "")
  add("keepalive_timeout %d", row.keepalive or 75)
  if row.certificate then
    add("ssl_certificate %s", certificates.path(row.certificate .. ".pem"))
    add("ssl_certificate_key %s", certificates.path(row.certificate .. ".key"))
    add("ssl_protocols %s", row.protocols or "TLSv1.2 TLSv1.3")
    if row.ciphers then add("ssl_ciphers %s", row.ciphers) end
  end
  if row.extra then lines[#lines + 1] = row.extra end
  if row.upstream then
    add("location / { proxy_pass %s; }", row.upstream)
  elseif row.body then
    add("location / { default_type application/json; return 200 '%s'; }", row.body)
  else
    lines[#lines + 1] = FETCH
  end
  lines[#lines + 1] = "  }\n"
  return table.concat(lines, "\n")
end

local function free_ports(rows)
  local listeners = {}
  for name, row in pairs(rows) do
    local listener = assert(socket.bind("127.0.0.1", 0))
    local _, port = listener:getsockname()
    row.port = math.tointeger(tonumber(port))
    listeners[name] = listener
  end
  for _, listener in pairs(listeners) do listener:close() end
end

-- ---- life ---------------------------------------------------------------------------------------

local function is_listening(port)
  local sock = socket.tcp()
  sock:settimeout(0.2)
  local ok = sock:connect("127.0.0.1", port)
  sock:close()
  return ok
end

local function all_listen(rows)
  for _, row in pairs(rows) do
    if not is_listening(row.port) then return false end
  end
  return true
end

-- The shell ends nginx when its standard input ends: also when this process is killed.
local RUN = "%s -p %s -c nginx.conf >output.log 2>&1 & child=$!; "
  .. "read -r line; kill $child 2>/dev/null; wait $child"

local function launch(self)
  free_ports(self.servers)
  local parts = { HEAD }
  for _, row in pairs(self.servers) do parts[#parts + 1] = server_lines(row) end
  write(self.directory .. "/nginx.conf", table.concat(parts) .. "}\n")
  os.remove(self.directory .. "/nginx.pid") -- and what the last try said
  os.remove(self.directory .. "/output.log")
  local command = RUN:format(quoted(program()), quoted(self.directory .. "/"))
  command = ("%s cd %s && { %s; }"):format(BARE, quoted(self.directory), command)
  self.process = assert(io.popen(command, "w"))
  local deadline = socket.gettime() + START_SECONDS
  while socket.gettime() < deadline do
    -- The file first: on a port that another process took, somebody listens, too.
    if read(self.directory .. "/nginx.pid") ~= "" and all_listen(self.servers) then return true end
    if read(self.directory .. "/output.log"):find("[emerg]", 1, true) then break end
    socket.sleep(STEP)
  end
  self.process:close()
  self.process = nil
  return false
end

--- Starts nginx with these servers, by name. Each gets `port` and `url`.
---@param servers table<string, table>
function nginx.start(servers)
  local _, directory = output_of "mktemp -d"
  directory = directory:match "^[^\n]+"
  local self = setmetatable({
    directory = directory, cafile = certificates.path "ca.pem", servers = {},
  }, mt)
  for name, row in pairs(servers) do
    self.servers[name] = {}
    for option, value in pairs(row) do self.servers[name][option] = value end
  end
  local problem
  for _ = 1, TRIES do
    if launch(self) then break end
    problem = read(directory .. "/output.log") .. read(directory .. "/error.log")
  end
  if not self.process then
    self:stop()
    error("nginx did not start: " .. tostring(problem), 2)
  end
  for _, row in pairs(self.servers) do
    row.url = ("%s://127.0.0.1:%d"):format(row.certificate and "https" or "http", row.port)
  end
  return self
end

--- What it answered, oldest first: { port, protocol ("HTTP/2.0"), status, connection, tls
--- ("TLSv1.3"), reused, path }; `path`: only what was asked for there. Waits a moment for `count`
--- of them: nginx writes them when the client has its answer already.
---@param count? integer
---@param path? string
function methods:log(count, path)
  local deadline = socket.gettime() + 2
  local requests
  repeat
    requests = {}
    for line in read(self.directory .. "/access.log"):gmatch("([^\n]+)\n") do
      local port, protocol, status, connection, tls, reused, asked =
        line:match("^(%d+) (%S+) (%d+) (%d+) (%S+) (%S+) (.*)$")
      if port and (not path or asked == path) then
        requests[#requests + 1] = {
          port = math.tointeger(port), protocol = protocol, status = math.tointeger(status),
          connection = math.tointeger(connection), tls = tls, reused = reused == "r", path = asked,
        }
      end
    end
    if #requests >= (count or 0) then return requests end
    socket.sleep(STEP)
  until socket.gettime() > deadline
  return requests
end

--- Its own log of errors, as text.
function methods:errors()
  return read(self.directory .. "/error.log")
end

function methods:stop()
  if self.process then self.process:close() end
  self.process = nil
  if self.directory then os.execute("rm -rf " .. quoted(self.directory)) end
  self.directory = nil
end

mt.__close = methods.stop

return nginx
