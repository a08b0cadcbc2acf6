-- HTTP/2: many requests at once share one connection, on an nginx that speaks it over TLS. Requests
-- one after the other, and what certificates are worth, are tls_spec's.

local mjtask = require "mjtask"
local nginx = require "support.nginx"
local proxy = require "support.proxy"
local socket = require "socket"

local BURST = 200
local COLD = 100 -- as many as start before one has ended

local missing = nginx.missing()
local n, gate, mute

-- ---- a server behind nginx, in this process -----------------------------------------------------

-- It answers one of COLD requests, and nobody else before all that are left of BURST are there: so
-- many have been under way at once then.
local function new_gate()
  local self = { held = {}, passed = 0, listener = assert(socket.tcp()) }
  assert(self.listener:bind("127.0.0.1", 0))
  assert(self.listener:listen(BURST)) -- at luasocket's 32 a SYN may have to come again, after 1 s
  self.listener:settimeout(0)
  local _, port = self.listener:getsockname()
  self.url = "http://127.0.0.1:" .. port
  return self
end

-- To answer before the head is read could reset what nginx has not read yet.
local function answer(connection, body)
  connection:settimeout(1)
  repeat until (connection:receive "*l" or "") == ""
  local head = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
  connection:send(head:format(#body) .. body)
  connection:close()
end

local function serve(self, body)
  local connection = self.listener:accept()
  while connection do
    self.held[#self.held + 1] = connection
    connection = self.listener:accept()
  end
  local wanted, passing = BURST - 1, BURST - 1
  if self.passed == 0 then wanted, passing = COLD, 1 end
  if #self.held < wanted then return end
  for _ = 1, passing do answer(table.remove(self.held), body) end
  self.passed = self.passed + passing
end

local function shut(self)
  for _, held in ipairs(self.held) do held:close() end
  self.listener:close()
end

-- ---- the client ---------------------------------------------------------------------------------

local function client(server, max_inflight, url)
  return mjtask.new {
    url = url or n.servers[server].url, key = "k", cafile = n.cafile, timeout = 20,
    max_inflight = max_inflight,
  }
end

-- Starts `count` fetches, all of which must succeed; `turn` is called until they have, and says if
-- one is under way. Returns how many connections that took, by the server's log.
local function connections_of(count, mj, id, turn)
  local done = 0
  for _ = 1, count do
    mj:fetch(id, function(task, err)
      assert(task, err)
      assert.equal("SUCCESS", task.status)
      done = done + 1
    end)
  end
  while turn() do end
  assert.equal(count, done)
  local log = n:log(count, "/mj/task/" .. id .. "/fetch")
  local seen, connections = {}, 0
  for _, request in ipairs(log) do
    assert.equal("HTTP/2.0", request.protocol)
    if not seen[request.connection] then connections = connections + 1 end
    seen[request.connection] = true
  end
  return connections
end

describe("over HTTP/2", function()
  if missing then
    it("requests at once share a connection", function()
      pending("not run: " .. missing)
    end)
    return
  end

  setup(function()
    gate, mute = new_gate(), new_gate()
    n = nginx.start {
      usual = { certificate = "good", http2 = true },
      held = {
        certificate = "good", http2 = true, upstream = gate.url,
        extra = "http2_max_concurrent_streams 256;",
      },
      wide = {
        certificate = "good", http2 = true, extra = "http2_max_concurrent_streams 256;",
      },
      mute = { certificate = "good", http2 = true, upstream = mute.url },
      few = { certificate = "good", http2 = true, extra = "http2_max_concurrent_streams 8;" },
    }
  end)
  teardown(function()
    if n then n:stop() end
    if gate then shut(gate) end
    if mute then shut(mute) end
  end)

  -- The first of them has no connection yet, and the others wait for what becomes of its own.
  it("the first requests of a client share a connection", function()
    local mj <close> = client("usual", 16)
    assert.equal(1, connections_of(16, mj, "first", function() return mj:step() end))
  end)

  -- Until the server's settings arrive (here: late) libcurl takes 100 for their limit.
  it("more than 100 first requests share a connection, and those after its end another", function()
    local p <close> = proxy.start()
    local far = { to = n.servers.wide.port, late = 0.02 }
    p:forward(far)
    local mj <close> = client("wide", BURST, (p.forwarder_url:gsub("^http:", "https:")))
    local function turn() return mj:step() end
    assert.equal(1, connections_of(BURST, mj, "first_burst", turn))
    far.cut = true
    p:forward(far)
    assert.equal(1, connections_of(BURST, mj, "later_burst", turn))
  end)

  it("200 at once share a connection where the server allows 256", function()
    local mj <close> = client("held", BURST)
    local connections = connections_of(BURST, mj, "burst", function()
      serve(gate, '{"id":"burst","status":"SUCCESS"}')
      return mj:step(0.01)
    end)
    assert.equal(1, connections)
    assert.equal(BURST, gate.passed)
  end)

  -- Where all connections have as many requests as the server allows, libcurl opens another one for
  -- the next request, and keeps it. An idle one is taken first: there are never more of them than
  -- requests at once.
  it("a server that allows 8 streams is asked over no more connections than max_inflight",
  function()
    local mj <close> = client("few", 40)
    assert(mj:fetch("settings"))
    local connections = connections_of(BURST, mj, "few", function() return mj:step() end)
    assert(connections <= 40, connections .. " connections")
  end)

  -- libcurl takes a connection that others joined for a kept one, and a POST that it lost there is
  -- one that it would send again by itself.
  it("a submit is sent once, though another joined its connection, which died then", function()
    local p <close> = proxy.start()
    local way = { to = n.servers.mute.port }
    p:forward(way)
    local mj <close> = client("mute", 8, (p.forwarder_url:gsub("^http:", "https:")))
    local posts, submitted, fetched = mute.held, nil, nil
    local function drive_until(is_so)
      local deadline = socket.gettime() + 5
      while not is_so() do
        assert(socket.gettime() < deadline, "it does not come")
        mj:step(0.01)
        local connection = mute.listener:accept()
        if connection then
          connection:settimeout(1)
          if connection:receive "*l":find "^POST" then
            posts[#posts + 1] = connection -- it never hears of it
          else
            answer(connection, '{"id":"1","status":"SUCCESS"}')
          end
        end
      end
    end
    mj:submit("imagine", { prompt = "x" }, function(...) submitted = table.pack(...) end)
    drive_until(function() return #posts > 0 end)
    mj:fetch("1", function(...) fetched = table.pack(...) end)
    drive_until(function() return fetched end)
    assert(fetched[1], fetched[2])
    way.cut = "rst"
    p:forward(way)
    drive_until(function() return submitted or #posts > 1 end)
    assert.equal(1, #posts)
    assert.is_nil(submitted[1])
    assert.equal("unknown_fate", submitted[2].kind)
    assert.equal(n:log(1, "/mj/submit/imagine")[1].connection,
      n:log(1, "/mj/task/1/fetch")[1].connection)
  end)

  -- Before its settings are known the first connection is given 100 of them. It sends eight at once
  -- when they are.
  it("no request is lost to a server that turns out to allow 8 streams", function()
    local mj <close> = client("few", BURST)
    connections_of(BURST, mj, "turns_out", function() return mj:step() end)
  end)
end)
