-- What is measured, as data: groups of rows, each a command that does COUNT of something. Knows
-- where each document lies and what peers need; must not know how often and in what order they run.
--
-- A row: key, name; command, env; needs (what machine.version has to know), missing (another reason
-- why it cannot run); count (of a full run's round), warm (done before those), per (tasks in one),
-- work (what one has to bring: bytes, buttons or tasks), measure (see rounds.run), server (that
-- counts its connections); own (of mjtask), floor (it does less than a client has to), variant (of
-- another row, to show what a choice is worth), beside (of a peer: the own row it is compared with,
-- if not the group's first). A group: title, rows, anchor (what its ratios are to), unit, timeless
-- (only CPU says something).

local documents = require "bench.documents"
local machine = require "bench.machine"
local warmed = require "bench.warmed"

local plan = {}

local BUTTONS = 9 -- of the seed
local WARM = 50
local V8 = 6000 -- fetches after which Node has compiled nearly all that it will
local PATH = "/mj/task/" .. documents.ID .. "/fetch"
local C = machine.program "" -- a quoted folder, to which a name can be added
local LUA = machine.lua_command
local PYTHON = machine.python .. " bench/peers/"
local NODE = "node bench/peers/"

local function merged(...)
  local out = {}
  for _, part in ipairs { ... } do
    for name, value in pairs(part) do out[name] = value end
  end
  return out
end

-- Rows of clients that fetch the seed from `base`; `env` and `more` hold for all of them.
local function fetches(base, env, more)
  local all = merged({ URL = base .. PATH, BASE = base, ID = documents.ID }, env or {})
  local rows = {}
  local function add(key, name, command, count, row)
    row = merged({ work = BUTTONS, warm = WARM }, more or {}, row or {},
      { key = key, name = name, command = command, count = count })
    row.env = merged(all, row.env or {})
    rows[#rows + 1] = row
  end
  return add, rows
end

local function receive(bytes, env)
  return { work = bytes, floor = true, env = env }
end

local decoding = { env = { DECODE = 1 }, needs = { "lua-cjson" } }

local of_node = { needs = { "node" }, warm = V8, measure = warmed.measure }

-- Mode: "request" or "kept"; version: of HTTP over TLS.
local function lua_http(mode, version)
  return { env = { MODE = mode, VERSION = version }, needs = { "lua-http", "lua-cjson" } }
end

-- ---- groups -------------------------------------------------------------------------------------

local function one_after_another(server)
  local add, rows = fetches(server.plain)
  local bytes = server.sizes.seed
  add("bare", "bare socket, C, nothing decoded", C .. "bare", 15000, receive(bytes))
  add("receive", "libcurl, C, nothing decoded", C .. "curl_easy", 10000, receive(bytes))
  add("plain_c", "libcurl and lua-cjson, C", C .. "curl_easy", 8000, decoding)
  add("fetch", "mjtask, fetch", LUA .. "bench/own/fetch.lua", 8000, { own = true })
  add("fetch_generational", "mjtask, fetch, generational collector",
    LUA .. "bench/own/fetch.lua", 8000,
    { own = true, variant = true, env = { COLLECTOR = "generational" } })
  add("core", "mjtask's core alone", LUA .. "bench/own/core.lua", 8000,
    { own = true, floor = true })
  add("luasocket", "luasocket, a connection each", LUA .. "bench/peers/luasocket.lua", 4000,
    { needs = { "luasocket", "lua-cjson" } })
  add("luasocket_kept", "luasocket, kept by a trick", LUA .. "bench/peers/luasocket.lua", 6000,
    { needs = { "luasocket", "lua-cjson" }, env = { MODE = "kept" } })
  add("lua_http", "lua-http, request:go, a connection each", LUA .. "bench/peers/lua_http.lua",
    2500, lua_http "request")
  add("lua_http_kept", "lua-http, kept", LUA .. "bench/peers/lua_http.lua", 5000, lua_http "kept")
  add("popen", "curl by io.popen", LUA .. "bench/peers/popen.lua", 60,
    { needs = { "curl", "lua-cjson" }, warm = 2 })
  add("requests", "Python requests, a Session", PYTHON .. "requests_session.py", 1500,
    { needs = { "requests" } })
  add("httpx", "Python httpx, a Client", PYTHON .. "httpx_client.py", 1500, { needs = { "httpx" } })
  add("aiohttp", "Python aiohttp", PYTHON .. "aiohttp_client.py", 2500, { needs = { "aiohttp" } })
  add("node_fetch", "Node fetch", NODE .. "node_fetch.js", 3000, of_node)
  add("node_http", "Node http, keepAlive agent", NODE .. "node_http.js", 5000, of_node)
  return { title = "One fetch after another", anchor = "plain_c", rows = rows }
end

local function at_a_time(server)
  local add, rows = fetches(server.plain, { INFLIGHT = 16 }, { warm = 200 })
  local bytes = server.sizes.seed
  add("bare_16", "bare sockets and epoll, C, nothing decoded", C .. "bare", 60000, receive(bytes))
  add("receive_16", "libcurl multi, C, nothing decoded", C .. "curl_multi", 30000, receive(bytes))
  add("plain_c_16", "libcurl multi and lua-cjson, C", C .. "curl_multi", 20000, decoding)
  add("fetch_16", "mjtask, callbacks", LUA .. "bench/own/flight.lua", 20000, { own = true })
  add("core_16", "mjtask's core alone", LUA .. "bench/own/core.lua", 20000,
    { own = true, floor = true })
  add("lua_http_16", "lua-http, kept", LUA .. "bench/peers/lua_http.lua", 8000, lua_http "kept")
  add("httpx_16", "Python httpx, an AsyncClient", PYTHON .. "httpx_client.py", 1500,
    { needs = { "httpx" } })
  add("aiohttp_16", "Python aiohttp", PYTHON .. "aiohttp_client.py", 4000,
    { needs = { "aiohttp" } })
  add("node_fetch_16", "Node fetch", NODE .. "node_fetch.js", 4000, of_node)
  add("node_http_16", "Node http, keepAlive agent", NODE .. "node_http.js", 10000, of_node)
  return { title = "16 fetches at a time", anchor = "plain_c_16", rows = rows }
end

local function lists(server)
  local ids = {}
  for n = 1, 100 do ids[n] = documents.id(n) end
  local add, rows = fetches(server.plain, nil, { warm = 5, work = 100 * BUTTONS, per = 100 })
  local post = {
    URL = server.plain .. "/mj/task/list-by-condition",
    BODY = '{"ids":["' .. table.concat(ids, '","') .. '"]}',
  }
  add("receive_list", "libcurl, C, nothing decoded", C .. "curl_easy", 3000,
    receive(server.sizes.list, post))
  add("plain_c_list", "libcurl and lua-cjson, C", C .. "curl_easy", 600,
    { env = merged(post, decoding.env), needs = decoding.needs })
  add("list", "mjtask, fetch_many", LUA .. "bench/own/list.lua", 1000, { own = true })
  return { title = "A list of 100 tasks, each task", anchor = "plain_c_list",
    rows = rows, unit = "task" }
end

local function over_tls(server)
  local trust = { CAFILE = server.cafile, NODE_EXTRA_CA_CERTS = server.cafile }
  local add, rows = fetches(server.tls1, trust)
  local second = { URL = server.tls2 .. PATH, BASE = server.tls2 }
  add("plain_c_tls", "libcurl and lua-cjson, C", C .. "curl_easy", 6000, decoding)
  add("plain_c_h2", "libcurl and lua-cjson, C, HTTP/2", C .. "curl_easy", 6000,
    { env = merged(second, decoding.env), needs = decoding.needs, beside = "fetch_h2" })
  add("fetch_tls", "mjtask, fetch", LUA .. "bench/own/fetch.lua", 6000, { own = true })
  add("fetch_h2", "mjtask, fetch, HTTP/2", LUA .. "bench/own/fetch.lua", 6000,
    { own = true, env = second })
  add("lua_http_tls", "lua-http, kept", LUA .. "bench/peers/lua_http.lua", 3000, lua_http "kept")
  local h2 = lua_http("kept", 2)
  h2.env, h2.beside = merged(second, h2.env), "fetch_h2"
  add("lua_http_h2", "lua-http, kept, HTTP/2", LUA .. "bench/peers/lua_http.lua", 1500, h2)
  add("luasec", "luasec, a connection each", LUA .. "bench/peers/luasec.lua", 400,
    { needs = { "luasec", "luasocket", "lua-cjson" }, warm = 5 })
  add("popen_tls", "curl by io.popen", LUA .. "bench/peers/popen.lua", 40,
    { needs = { "curl", "lua-cjson" }, warm = 2 })
  add("requests_tls", "Python requests, a Session", PYTHON .. "requests_session.py", 1500,
    { needs = { "requests" } })
  add("httpx_tls", "Python httpx, a Client", PYTHON .. "httpx_client.py", 1500,
    { needs = { "httpx" } })
  add("aiohttp_tls", "Python aiohttp", PYTHON .. "aiohttp_client.py", 2000,
    { needs = { "aiohttp" } })
  add("node_fetch_tls", "Node fetch", NODE .. "node_fetch.js", 3000, of_node)
  add("node_http_tls", "Node https, keepAlive agent", NODE .. "node_http.js", 4000, of_node)
  return { title = "One fetch after another over TLS", anchor = "plain_c_tls",
    rows = rows }
end

local function at_a_time_over_tls(server)
  local add, rows = fetches(server.tls1, { CAFILE = server.cafile, INFLIGHT = 16 }, { warm = 200 })
  local second = { URL = server.tls2 .. PATH, BASE = server.tls2 }
  add("plain_c_tls_16", "libcurl multi and lua-cjson, C", C .. "curl_multi", 15000, decoding)
  add("plain_c_h2_16", "libcurl multi and lua-cjson, C, HTTP/2", C .. "curl_multi", 15000,
    { env = merged(second, decoding.env), needs = decoding.needs, beside = "fetch_h2_16" })
  add("fetch_tls_16", "mjtask, callbacks", LUA .. "bench/own/flight.lua", 15000, { own = true })
  add("fetch_h2_16", "mjtask, callbacks, HTTP/2", LUA .. "bench/own/flight.lua", 15000,
    { own = true, env = second })
  add("lua_http_tls_16", "lua-http, kept", LUA .. "bench/peers/lua_http.lua", 4000, lua_http "kept")
  return { title = "16 fetches at a time over TLS", anchor = "plain_c_tls_16",
    rows = rows }
end

-- Root needs no namespace of users to mount.
local function unshare()
  if not machine.find "unshare" then return nil end
  for _, flags in ipairs { "-m", "-r -m" } do
    if machine.output("unshare " .. flags .. " mount --bind /tmp /tmp") then
      return "unshare " .. flags
    end
  end
end

-- A command run where the system's own file of certificates has ours, too; nil and why not.
local function trusting(command)
  local enter = unshare()
  if not enter then return nil, "mounting over the system's CA bundle is forbidden here" end
  local words = 'mount --bind "$BUNDLE" /etc/ssl/certs/ca-certificates.crt && exec ' .. command
  return ("%s sh -c '%s'"):format(enter, words)
end

local function new_connections(server)
  local add, rows = fetches(server.each, { CAFILE = server.cafile }, { warm = 5 })
  local own = LUA .. "bench/own/fetch.lua"
  local bundled = { CAFILE = server.bundle }
  local no_bundle = not server.bundle and "this system has no CA bundle in one file" or nil
  add("plain_c_new", "libcurl and lua-cjson, C, our CA only", C .. "curl_easy", 400, decoding)
  add("fetch_new", "mjtask, our CA only", own, 500, { own = true })
  add("plain_c_bundle", "libcurl and lua-cjson, C, the system's CA bundle, as it comes",
    C .. "curl_easy", 40, { env = merged(bundled, decoding.env), needs = decoding.needs,
      missing = no_bundle, beside = "fetch_bundle" })
  add("fetch_bundle", "mjtask, the system's CA bundle as cafile", own, 500,
    { own = true, env = bundled, missing = no_bundle })
  local command, why = trusting(own)
  add("fetch_system", "mjtask, the system's CA bundle, no cafile", command or own, 500,
    { own = true, env = { BUNDLE = server.bundle }, missing = no_bundle or why })
  rows[#rows].env.CAFILE = nil
  return { title = "A new TLS connection for each fetch", anchor = "plain_c_new", rows = rows }
end

-- libcurl is to wait for a connection that will take more requests, and not to open one for each.
local function at_once_over_h2(server)
  local add, rows = fetches(server.tls2_wide, { CAFILE = server.cafile, INFLIGHT = 200 },
    { warm = 400, server = server })
  add("plain_c_h2_200", "libcurl multi and lua-cjson, C", C .. "curl_multi", 15000, decoding)
  add("fetch_h2_200", "mjtask, callbacks", LUA .. "bench/own/flight.lua", 15000, { own = true })
  return { title = "200 fetches at a time over HTTP/2", anchor = "plain_c_h2_200", rows = rows }
end

--- Groups of clients.
---@param server table
---@return table[]
function plan.clients(server)
  return {
    one_after_another(server), at_a_time(server), lists(server), over_tls(server),
    at_a_time_over_tls(server), new_connections(server), at_once_over_h2(server),
  }
end

-- ---- decoders -----------------------------------------------------------------------------------

local DECODERS = {
  { "floor", "floor: the Lua API alone, nothing parsed", floor = true },
  { "core", "mjtask's decoder", own = true },
  { "cjson", "lua-cjson", needs = { "lua-cjson" } },
  { "dkjson_lpeg", "dkjson with LPeg", needs = { "dkjson", "lpeg" }, slower = 8 },
  { "dkjson", "dkjson, plain Lua", needs = { "dkjson" }, slower = 12 },
}

-- A build whose strings are scanned without SSE2: see the Makefile.
local PORTABLE = ("%s/build/portable/lib/?.so;%s"):format(machine.root, package.cpath)

-- Variants, on the seed alone: what a choice is worth.
local VARIANTS = {
  { "portable", "mjtask's decoder, built without SSE2", own = true, variant = true },
  { "mjtask", "mjtask.decode: checked, with methods", own = true, variant = true },
  { "floor_unsized", "floor, tables that grow as they are filled", floor = true, variant = true },
  { "floor_keys", "floor, keys that are kept between documents", floor = true, variant = true },
  { "floor", "floor, generational collector", floor = true, variant = true,
    collector = "generational" },
  { "core", "mjtask's decoder, generational collector", own = true, variant = true,
    collector = "generational" },
  { "cjson", "lua-cjson, generational collector", needs = { "lua-cjson" }, variant = true,
    collector = "generational" },
}

-- Document, title, how many a round, tasks in it.
local DOCUMENTS = {
  { "seed", "the seed", 60000, 1 }, { "pawmaas", "the other seed", 60000, 1 },
  { "small", "a small task under way", 300000, 1 },
  { "escapes", "the seed with a long prompt in \\uXXXX", 40000, 1 },
  { "list", "a list of 100", 500, 100 },
}

local function decoder_row(server, document, decoder, count, tasks)
  local key = ("%s_%s"):format(decoder[1], document)
  return {
    key = decoder.collector and key .. "_" .. decoder.collector or key, name = decoder[2],
    command = LUA .. "bench/own/decode.lua", count = count // (decoder.slower or 1),
    warm = math.max(count // 100, 2), needs = decoder.needs, own = decoder.own,
    floor = decoder.floor, work = tasks, variant = decoder.variant,
    env = { DECODER = decoder[1], DOCUMENT = server:path(document),
      COLLECTOR = decoder.collector,
      LUA_CPATH = decoder[1] == "portable" and PORTABLE or nil },
  }
end

--- Groups of decoders, a document each.
---@param server table
---@return table[]
function plan.decoders(server)
  local groups = {}
  for _, document in ipairs(DOCUMENTS) do
    local name, title, count, tasks = table.unpack(document)
    local rows = {}
    local function add(list)
      for _, decoder in ipairs(list) do
        rows[#rows + 1] = decoder_row(server, name, decoder, count, tasks)
      end
    end
    add(DECODERS)
    if name == "seed" then add(VARIANTS) end
    groups[#groups + 1] = {
      anchor = "cjson_" .. name, rows = rows, unit = "document",
      timeless = true,
      title = ("Decoding %s (%d bytes)"):format(title, server.sizes[name]),
    }
  end
  return groups
end

-- ---- choices ------------------------------------------------------------------------------------

--- What Lua adds to the core: the row of the whole, and that of the core alone.
plan.lua_part = {
  { "one fetch after another", "fetch", "core" },
  { "16 fetches at a time, by callbacks", "fetch_16", "core_16" },
}

--- What a choice is worth: the row that has it, and the row that has it not.
plan.choices = {
  { "the own decoder, not lua-cjson", "core_seed", "cjson_seed" },
  { "strings scanned by SSE2, not eight bytes at a time", "core_seed", "portable_seed" },
  { "tables made as large as they get (on the floor)", "floor_seed", "floor_unsized_seed" },
  { "all keys kept between documents (on the floor)", "floor_keys_seed", "floor_seed" },
  { "generational collector: decoder", "core_seed_generational", "core_seed" },
  { "generational collector: floor", "floor_seed_generational", "floor_seed" },
  { "generational collector: fetch", "fetch_generational", "fetch" },
  { "a TLS connection kept, not one each", "fetch_tls", "fetch_new" },
  { "certificates read once, not for each connection (libcurl as it comes in C)", "fetch_bundle",
    "plain_c_bundle" },
  { "HTTP/2 over TLS, not 16 connections", "fetch_h2_16", "fetch_tls_16" },
  { "16 at a time, not one after another", "fetch_16", "fetch" },
  { "a list of 100, not 100 fetches", "list", "fetch" },
  { "a list of 100, not 100 fetches 16 at a time", "list", "fetch_16" },
}

return plan
