-- Runs a Lua script where the only name server never answers:
--   lua5.4 spec/support/mute_resolver.lua [--answer=nxdomain|servfail] SCRIPT [ARGUMENT...]
-- in network and mount namespaces of its own (Linux, unshare(1)). Its output and its exit status
-- are the script's; where namespaces are refused it prints "not run: REASON", and the status is 77.

local NOT_RUN = 77
local SET_UP = "ip link set lo up && mount --bind %s/resolv.conf /etc/resolv.conf"
  .. " && mount --bind %s/nsswitch.conf /etc/nsswitch.conf"
local FILES = { ["resolv.conf"] = "nameserver 127.0.0.1\n", ["nsswitch.conf"] = "hosts: dns\n" }
local RCODES = { servfail = 2, nxdomain = 3 }

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

-- The command line of the script, and the rcode of every answer, or nil for silence.
local function arguments(from)
  local mode = arg[from] and arg[from]:match("^%-%-answer=(%l+)$")
  local rcode = mode and (RCODES[mode] or error("unknown answer: " .. mode, 0))
  local words = { quoted(interpreter()) }
  for n = mode and from + 1 or from, #arg do words[#words + 1] = quoted(arg[n]) end
  if #words == 1 then error("which script?", 0) end
  return table.concat(words, " "), rcode
end

-- Inside: holds port 53 while the script runs; ends with the script's status.
local function inside(folder)
  local socket = require "socket"
  local command, rcode = arguments(3)
  local resolver = socket.udp()
  assert(resolver:setsockname("127.0.0.1", 53))
  resolver:settimeout(0.01)
  local status = folder .. "/status"
  local script = assert(io.popen(command .. "; echo $? > " .. status, "w"))
  repeat
    local query, address, port = resolver:receivefrom()
    if query and rcode then
      local flags = string.pack(">I2", 0x8180 | rcode)
      resolver:sendto(query:sub(1, 2) .. flags .. query:sub(5), address, port)
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
