-- The client of a command: where the key comes from, and which options reach the library. The key
-- is never an argument: other users of the machine can read those.

local exits = require "mjtask.cli.exits"
local mjtask = require "mjtask"
local output = require "mjtask.cli.output"
local show = require "mjtask.cli.show"

local connect = {}

--- The first line of a file, or of standard input for "-".
---@param path string
---@return string
function connect.read_key(path)
  local file, problem = io.stdin, nil
  if path ~= "-" then file, problem = io.open(path, "r") end
  if not file then exits.usage("--key-file: %s", problem) end
  local line
  line, problem = file:read "l"
  if path ~= "-" then file:close() end
  local key = (line or ""):match "^%s*(.-)%s*$"
  if problem then problem = ("%s: %s"):format(path, problem) end
  if key == "" then exits.usage("--key-file: %s", problem or path .. " has no key") end
  return key
end

local NAMES = {
  "provider", "url", "auth", "proxy", "cafile", "timeout", "retries", "interval", "stall",
  "allow_http", "allow_private",
}

local function say(event)
  local words = { "trace:", event.event }
  event.event = nil
  local names = {}
  for name in pairs(event) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do words[#words + 1] = name .. "=" .. tostring(event[name]) end
  output.say("%s", table.concat(words, " "))
end

--- Makes the client that the arguments and the environment ask for.
---@param arguments table
---@return mjtask.Client
function connect.client(arguments)
  local given = { user_agent = "mjtask/" .. mjtask._VERSION }
  given.trace = arguments.trace and say or nil
  for _, name in ipairs(NAMES) do given[name] = arguments[name] end
  if arguments.key_file then given.key = connect.read_key(arguments.key_file) end
  local ok, mj = pcall(mjtask.new, given)
  if ok then return mj end
  if exits.is_interrupt(mj) then error(mj, 0) end
  local reason = tostring(mj):gsub("^[^\n]-:%d+: ", ""):gsub("^options%.", "")
  if reason:find "^key is missing" then
    reason = "no key: set MJTASK_KEY, or give --key-file FILE, or --auth none"
  elseif reason:find "^url is missing" then
    reason = "no server: set MJTASK_URL or MJTASK_PROVIDER, or give --url or --provider"
  end
  exits.usage("%s", show.message(reason))
end

return connect
