-- How the proxy misbehaves, by name. An entry is a plan as data, which service.lua lays under
-- the caller's own, or a function(c, answer, plan): c is the connection; answer() the answer
-- otherwise due (a task goes on by one look only if it is called); plan holds the fault's
-- arguments. A function that returns without closing leaves the connection for the next request.

local connection = require "support.connection"
local gzip = require "support.gzip"

local faults = {}

local MOMENT = 0.02   -- seconds in which a peer has surely read what was sent to it
local MIB = 1024 * 1024
local CHUNKED = { "Transfer-Encoding: chunked" }

-- An answer's head, with other framing than its length, and its body.
local function wire(answer, framing)
  return connection.head(answer, framing or connection.length(answer)), answer.body or ""
end

local function half(bytes)
  return bytes:sub(1, #bytes // 2)
end

-- Silence and slowness ---------------------------------------------------------------------------

function faults.stall(c)
  c:hang()
end

function faults.stall_head(c)
  c:send("HTTP/1.1 200 OK\r\nContent-Ty")
  c:hang()
end

function faults.stall_body(c, answer)
  local head, body = wire(answer())
  c:send(head .. half(body))
  c:hang()
end

-- `bytes` (1) each `every` seconds; 0: as fast as it goes, in segments of so many.
function faults.drip(c, answer, plan)
  local all, bytes = table.concat { wire(answer()) }, plan.bytes or 1
  for from = 1, #all, bytes do
    c:send(all:sub(from, from + bytes - 1))
    c:sleep(plan.every or 0.1)
  end
end

faults.bytewise = { fault = "drip", every = 0 }

-- Ends of connections ----------------------------------------------------------------------------

function faults.rst(c)
  c:reset()
end

-- It did what it was asked to do, and nobody hears of it.
function faults.done_rst(c, answer)
  answer()
  c:reset()
end

function faults.rst_head(c)
  c:send("HTTP/1.1 200 OK\r\nContent-Ty")
  c:sleep(MOMENT)
  c:reset()
end

function faults.rst_body(c, answer)
  local head, body = wire(answer())
  c:send(head .. half(body))
  c:sleep(MOMENT)
  c:reset()
end

function faults.empty(c)
  c:close()
end

function faults.short(c, answer)
  local head, body = wire(answer())
  c:send(head .. half(body))
  c:close()
end

function faults.short_chunk(c, answer)
  local head, body = wire(answer(), CHUNKED)
  c:send(("%s%x\r\n%s"):format(head, #body, half(body)))
  c:close()
end

-- Chunks that end where they should, but no last one.
function faults.no_last_chunk(c, answer)
  local head, body = wire(answer(), CHUNKED)
  c:send(("%s%x\r\n%s\r\n"):format(head, #body, body))
  c:close()
end

faults.close = { close = true }
faults.okclose = { close = "silent" }

function faults.okrst(c, answer)
  c:reply(answer())
  c:sleep(MOMENT)
  c:reset()
end

-- The second request on a kept connection finds it dead.
local function second(kill)
  return function(c, answer)
    if c.requests > 1 then kill(c) else c:reply(answer()) end
  end
end

faults.deadsecond = second(function(c) c:close() end)
faults.rstsecond = second(function(c) c:reset() end)
faults.stallsecond = second(function(c) c:hang() end)

-- Bodies -----------------------------------------------------------------------------------------

-- Entries that send the ordinary answer with another body.
local function body_fault(change)
  return function(c, answer, plan)
    local out = answer()
    out.body = change(out.body, plan)
    c:reply(out)
  end
end

faults.bom = body_fault(function(body) return "\u{FEFF}" .. body end)
faults.truncated = body_fault(half)
faults.trailing = body_fault(function(body) return body .. "]garbage" end)
faults.nul = body_fault(function(body) return body .. "\0garbage" end)
faults.twice = body_fault(function(body) return body .. body end)

local PAGE = "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>"
  .. "\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"

local function page(status, title)
  return { status = status, type = "text/html", body = PAGE:format(title, title) }
end

faults.html = page(200, "Welcome to nginx!")
faults.html_502 = page(502, "502 Bad Gateway")
faults.html_504 = page(504, "504 Gateway Time-out")
faults.empty_body = { status = 200, body = "", type = "application/json" }
faults.plain_null = { status = 200, body = "null", type = "application/json" }

-- Codings ----------------------------------------------------------------------------------------

local function coding_fault(coding, pack)
  return function(c, answer, plan)
    local out = answer()
    out.headers = { ["Content-Encoding"] = coding }
    out.body = pack(out.body, plan)
    c:reply(out)
  end
end

faults.gzip = coding_fault("gzip", function(body) return gzip.pack(body) end)
faults.gzip_twice = coding_fault("gzip, gzip", function(body) return gzip.pack(body, 2) end)
faults.gzip_bad = coding_fault("gzip", function(body) return gzip.pack(body):sub(1, 20) .. body end)
faults.gzip_not = coding_fault("gzip", function(body) return body end)
faults.gzip_truncated = coding_fault("gzip", function(body) return half(gzip.pack(body)) end)
faults.gzip_bad_sum = coding_fault("gzip", function(body)
  local packed = gzip.pack(body)
  return packed:sub(1, -9) .. "\0\0\0\0" .. packed:sub(-4)
end)
faults.gzip_bomb = coding_fault("gzip", function(_, plan) return gzip.bomb(1, plan.mib or 8) end)
faults.gzip_twice_bomb = coding_fault("gzip, gzip", function(_, plan)
  return gzip.bomb(2, plan.mib or 8)
end)
faults.unknown_coding = coding_fault("x-mystery", function(body) return body end)

-- Framing ----------------------------------------------------------------------------------------

-- Entries that send the ordinary answer with other lines in place of its length.
local function framed(lines, shape)
  return function(c, answer)
    local head, body = wire(answer(), lines)
    c:send(head .. (shape and shape(body) or body))
    c:close()
  end
end

local function chunk(bytes)
  return ("%x\r\n%s\r\n"):format(#bytes, bytes)
end

local function chunked(body)
  return chunk(half(body)) .. chunk(body:sub(#body // 2 + 1)) .. chunk("")
end

-- No fault at all: the ordinary answer in two chunks.
function faults.chunked(c, answer)
  local head, body = wire(answer(), CHUNKED)
  c:send(head .. chunked(body))
end

faults.until_close = framed { "Connection: close" }
faults.until_close_short = framed({ "Connection: close" }, half)
faults.negative_length = framed { "Content-Length: -1" }
faults.huge_length = framed { "Content-Length: 99999999999999999999" }
faults.no_number_length = framed { "Content-Length: many" }
faults.length_and_chunked = framed(
  { "Content-Length: 5", "Transfer-Encoding: chunked" }, chunked)

function faults.two_lengths(c, answer)
  local head, body = wire(answer())
  c:send(head:gsub("\r\n", "\r\nContent-Length: 7\r\n", 1) .. body)
  c:close()
end

-- As many bytes as its Content-Length says, but that is `by` (20) too few.
function faults.length_too_small(c, answer, plan)
  local out = answer()
  c:send(connection.head(out, { "Content-Length: " .. #out.body - (plan.by or 20) }) .. out.body)
  c:close()
end

-- A whole second answer that nobody asked for.
function faults.extra_answer(c, answer)
  local out = answer()
  local extra = { status = 200, type = out.type, body = '{"id":"extra","status":"SUCCESS"}' }
  c:send(table.concat { wire(out) } .. table.concat { wire(extra) })
end

-- The same, apart from the first: over TLS in a record of its own.
function faults.stray_answer(c, answer)
  local out = answer()
  c:send(table.concat { wire(out) })
  local stray = { status = 200, type = out.type, body = '{"id":"stray","status":"SUCCESS"}' }
  c:send(table.concat { wire(stray) })
end

-- Endless bodies of spaces, or of plan.mib MiB of them before the answer's own.

local SPACES = (" "):rep(65536)

local function endless(framing, pack)
  return function(c, answer, plan)
    local head, body = wire(answer(), framing)
    c:send(head)
    local left = plan.mib and plan.mib * MIB or math.huge
    while left > 0 do
      c:send(pack(SPACES))
      left = left - #SPACES
    end
    c:send(pack(body) .. pack(""))
    c:close()
  end
end

faults.chunk_big = endless({ "Transfer-Encoding: chunked", "Connection: close" }, chunk)
faults.no_length = endless({ "Connection: close" }, function(bytes) return bytes end)

-- A body of plan.mib MiB (16) whose length is declared.
faults.big = body_fault(function(body, plan) return SPACES:rep((plan.mib or 16) * 16) .. body end)

-- Heads ------------------------------------------------------------------------------------------

-- Entries that send further lines in the ordinary answer's head.
local function more_lines(make)
  return function(c, answer, plan)
    local head, body = wire(answer())
    c:send(head:sub(1, -3) .. make(plan) .. "\r\n" .. body)
  end
end

faults.big_header = more_lines(function() return "X-Big: " .. ("x"):rep(400 * 1024) .. "\r\n" end)
faults.many_headers = more_lines(function() return ("X-Many: another one\r\n"):rep(20000) end)
faults.nul_header = more_lines(function() return "X-Nul: a\0b\r\n" end)
faults.no_colon = more_lines(function() return "no colon in this line\r\n" end)
faults.folded = more_lines(function() return "X-Folded: a\r\n b\r\n" end)
faults.bare_lf = more_lines(function() return "X-Bare: a\nX-Lf: b\r\n" end)

function faults.many_100(c, answer)
  c:send(("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"):rep(2000))
  c:reply(answer())
end

function faults.http09(c, answer)
  c:send(answer().body)
  c:close()
end

function faults.garbage(c)
  c:send("\x16\x03\x01\0\xff\xfe SSH-2.0-\r\n\r\n\0\0")
  c:close()
end

function faults.bad_status(c, answer)
  local head, body = wire(answer())
  c:send(head:gsub("^HTTP/1.1 %d+", "HTTP/1.1 2000000", 1) .. body)
  c:close()
end

-- Redirects and Retry-After ----------------------------------------------------------------------

for _, status in ipairs { 301, 302, 303, 307, 308 } do
  faults["redirect_" .. status] = { status = status, headers = { Location = "{other}{path}" } }
end
faults.redirect_loop = { status = 302, headers = { Location = "{path}" } }
faults.redirect_nowhere = { status = 302 }

local function date(seconds)
  return function() return os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + seconds) end
end

for name, value in pairs {
  seconds = "2", zero = "0", negative = "-5", huge = "1e99", overflow = ("9"):rep(40),
  garbage = "soon", fraction = "1.5", decade = "315360000", date = date(2), past = date(-3600),
  far_date = date(315360000), old_date = "Sunday, 06-Nov-94 08:49:37 GMT",
} do
  faults["retry_after_" .. name] = { status = 429, headers = { ["Retry-After"] = value } }
end

return faults
