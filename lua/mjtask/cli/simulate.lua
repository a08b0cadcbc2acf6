-- The simulator: the server of our own specs, for everybody's tests. Knows where that is installed
-- and what it is told; how servers answer is its own business.

local connect = require "mjtask.cli.connect"
local errors = require "mjtask.errors"
local exits = require "mjtask.cli.exits"
local output = require "mjtask.cli.output"

local simulate = {}

local TICK = 0.2 -- seconds after which Ctrl-C is heard

local SEEDS = { sku = "1735030480754475", pawmaas = "1724963337114767" }

-- Where the server lies, seen from the program: in a checkout and in a rock's folder, or where
-- `make install` puts it.
local function find_server(here)
  for _, folder in ipairs { here .. "/../spec", here .. "/../share/mjtask" } do
    local file = io.open(folder .. "/support/serving.lua", "r")
    if file then
      file:close()
      return folder
    end
  end
  exits.stop(exits.FAILED, "the simulator is not installed beside " .. here)
end

local function load_rooms(folder)
  exits.need("socket", "simulate needs", "luasocket")
  exits.need("cjson", "simulate needs", "lua-cjson")
  package.path = folder .. "/?.lua;" .. package.path
  return {
    serving = require "support.serving", service = require "support.service",
    loop = require "support.loop", lives = require "support.lives",
    dialects = require "support.dialects",
  }
end

-- The names of a table's rows, for who gave another one.
local function check_name(what, word, rows, is_row)
  local names = {}
  for name, row in pairs(rows) do
    if is_row(row) then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if name == word then return end
  end
  exits.usage("no such %s: %s; there are %s", what, word, table.concat(names, ", "))
end

-- Lives are lists of states; beside them lives.lua has what these are made of.
local function is_life(row)
  return type(row) == "table" and (type(row[1]) == "string" or row[1] and row[1].status ~= nil)
end

local function is_any() return true end

local function listen(rooms, port, fixtures)
  local ok, ports, origin = pcall(rooms.serving.start, {
    port = ("%d"):format(port), fixtures = fixtures,
  })
  if ok then return origin .. ports.port end
  if exits.is_interrupt(ports) then error(ports, 0) end
  exits.usage("127.0.0.1:%d: %s; --port 0 takes any", port,
    (tostring(ports):gsub("^[^\n]-:%d+: ", "")))
end

-- The two seeds, but that their pictures are ours: what is simulated stays on this machine.
local function define_seeds(rooms, url, pace)
  for name, id in pairs(SEEDS) do
    local seed, states = rooms.lives.seeds[name], rooms.lives[name]
    local image = ("%s/attachments/%s.png"):format(url, id)
    seed.body = seed.body:gsub('("imageUrl": *)"[^"]*"', function(field)
      return ('%s"%s"'):format(field, image)
    end)
    states[#states] = seed.body
    rooms.service.define(id, { life = name, pace = pace })
  end
end

local function told(given, origin, key)
  local file = given.key_file and given.key_file ~= "-" and errors.visible(given.key_file)
  local auth = key and (file and ("export MJTASK_KEY=$(cat %s)"):format(file)
    or "export MJTASK_KEY=...  # the one that was given here") or "export MJTASK_AUTH=none"
  return ([[
%s answers as %s does; tasks live as "%s", %g s a state. Ctrl-C ends it.

Try in another terminal:

  export MJTASK_URL=%s
  %s
  mjtask wait %s
  mjtask submit imagine "a red cat" --wait -o .
  mjtask press %s U1 --wait]]):format(origin, given.dialect, given.life, given.pace, origin, auth,
    SEEDS.sku, SEEDS.sku)
end

--- Serves until Ctrl-C. `here`: the program's folder.
---@param given table
---@param here string
---@return integer code
function simulate.run(given, here)
  local folder = find_server(here)
  local rooms = load_rooms(folder)
  local key = given.key_file and connect.read_key(given.key_file) or false
  local pace = given.pace > 0 and given.pace or "look"
  local url = listen(rooms, given.port, folder .. "/fixtures/")
  check_name("life", given.life, rooms.lives, is_life)
  check_name("dialect", given.dialect, rooms.dialects, is_any)
  rooms.service.listen(url, url) -- pictures too: nothing to be allowed
  rooms.service.set {
    dialect = given.dialect, key = key, submit = { life = given.life, pace = pace },
  }
  define_seeds(rooms, url, pace)
  rooms.loop.spawn(function()
    while true do rooms.loop.sleep(TICK) end
  end)
  output.text(told(given, url, key))
  local ok, problem = pcall(rooms.loop.run)
  if not ok and not exits.is_interrupt(problem) then error(problem, 0) end
  return exits.DONE
end

return simulate
