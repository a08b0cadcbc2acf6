-- Runs a Lua script where there is no network, and the only name server never answers:
--   lua5.4 spec/support/mute_resolver.lua [--answer=ANSWER] SCRIPT [ARGUMENT...]
-- in network and mount namespaces of its own (Linux, unshare(1)). Its output and its exit status
-- are the script's; where namespaces are refused it prints "not run: REASON", and the status is 77.
--
-- ANSWER may be nxdomain, servfail, or addresses: 93.184.216.34,127.0.0.1 is one for the first
-- look-up, and another from the second on; 127.0.0.1+::1 are both at once. This machine has them
-- all, there.

local NOT_RUN = 77
local SET_UP = "ip link set lo up && mount --bind %s/resolv.conf /etc/resolv.conf"
  .. " && mount --bind %s/nsswitch.conf /etc/nsswitch.conf"
local FILES = { ["resolv.conf"] = "nameserver 127.0.0.1\n", ["nsswitch.conf"] = "hosts: dns\n" }
local RCODES = { servfail = 2, nxdomain = 3 }
local A, AAAA = 1, 28 -- the types of questions for addresses of IPv4 and IPv6
local ONE = ("\0"):rep(15) .. "\1" -- ::1, which is all of IPv6 that there is

local function quoted(word)
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end

local function interpreter()
  local first = 0
  while arg[first - 1] do first = first - 1 end
  return arg[first]
end

local function read(file)
  local input = io.open(file, "r")
  local text = input and input:read("a") or ""
  if input then input:close() end
  return text
end

local function write(file, text)
  local output = assert(io.open(file, "w"))
  output:write(text)
  output:close()
end

-- The command line of the script, and what is answered: an array of what each look-up gets, which
-- is an rcode or an array of addresses; or nil for silence.
local function arguments(from)
  local mode = arg[from] and arg[from]:match("^%-%-answer=(%S+)$")
  local answers = mode and {}
  for word in (mode or ""):gmatch "[^,]+" do
    local addresses = {}
    for address in word:gmatch "[%d.:]+" do addresses[#addresses + 1] = address end
    answers[#answers + 1] = RCODES[word] or addresses[1] and addresses
      or error("unknown answer: " .. word, 0)
  end
  local words = { quoted(interpreter()) }
  for n = mode and from + 1 or from, #arg do words[#words + 1] = quoted(arg[n]) end
  if #words == 1 then error("which script?", 0) end
  return table.concat(words, " "), answers
end

-- The question of a query, and what type of address it asks for.
local function question_of(query)
  local question = query:match("^[^\0]*\0....", 13)
  return question, string.unpack(">I2", question, -4)
end

-- The answer to a query: the rcode, or such of the addresses as were asked for.
local function answer_to(query, what)
  local question, kind = question_of(query)
  local records, count = {}, 0
  for _, address in ipairs(type(what) == "table" and what or {}) do
    local bytes = address == "::1" and ONE
      or address:gsub("(%d+)%.?", function(n) return string.char(tonumber(n)) end)
    if kind == (#bytes == 4 and A or AAAA) then
      records[#records + 1] = string.pack(">I2I2I2I4s2", 0xC00C, kind, 1, 0, bytes)
      count = count + 1
    end
  end
  local flags = 0x8180 | (type(what) == "number" and what or 0)
  return query:sub(1, 2) .. string.pack(">I2I2I2I2I2", flags, 1, count, 0, 0) .. question
    .. table.concat(records)
end

-- Inside: holds port 53 while the script runs; ends with the script's status.
local function inside(folder)
  local socket = require "socket"
  local command, answers = arguments(3)
  for _, addresses in ipairs(answers or {}) do
    for _, address in ipairs(type(addresses) == "table" and addresses or {}) do
      if not address:find "^127%." and address ~= "::1" then
        assert(os.execute("ip address add " .. address .. "/32 dev lo"))
      end
    end
  end
  local resolver = socket.udp()
  assert(resolver:setsockname("127.0.0.1", 53))
  resolver:settimeout(0.01)
  local status = folder .. "/status"
  local script = assert(io.popen(command .. "; echo $? > " .. status, "w"))
  local lookups = 0
  repeat
    local query, address, port = resolver:receivefrom()
    if query and answers then
      if select(2, question_of(query)) == A then lookups = lookups + 1 end
      local nth = math.max(1, math.min(lookups, #answers))
      resolver:sendto(answer_to(query, answers[nth]), address, port)
    end
  until read(status):find("\n")
  script:close()
  os.exit(tonumber(read(status)))
end

local function namespaces()
  local id = io.popen("id -u")
  local user = id:read("l")
  id:close()
  return user == "0" and "unshare -n -m" or "unshare -r -n -m"
end

local function outside()
  arguments(1)
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -m 700 " .. folder))
  for name, text in pairs(FILES) do write(folder .. "/" .. name, text) end
  local enter = namespaces() .. " sh -c "
  local set_up = SET_UP:format(folder, folder)
  local problem = folder .. "/problem"
  local words = { quoted(interpreter()), quoted(arg[0]), "--inside", folder }
  for _, word in ipairs(arg) do words[#words + 1] = quoted(word) end
  local status
  if os.execute(enter .. quoted(set_up) .. " 2> " .. problem) then
    local whole = set_up .. " && exec " .. table.concat(words, " ")
    status = select(3, os.execute(enter .. quoted(whole)))
  else
    print("not run: " .. read(problem):gsub("%s+$", ""))
    status = NOT_RUN
  end
  os.execute("rm -r " .. folder)
  os.exit(status)
end

if arg[1] == "--inside" then inside(arg[2]) else outside() end
