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
  return require "support.serving", require "support.service", require "support.loop"
end

-- The server's own words for what it does not know, as a usage error.
local function try(f, ...)
  local ok, first, second = pcall(f, ...)
  if ok then return first, second end
  if exits.is_interrupt(first) then error(first, 0) end
  exits.usage("%s", (tostring(first):gsub("^[^\n]-:%d+: ", "")))
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
  local serving, service, loop = load_rooms(folder)
  local key = given.key_file and connect.read_key(given.key_file) or false
  local pace = given.pace > 0 and given.pace or "look"
  local ports, origin = try(serving.start, {
    port = ("%d"):format(given.port), fixtures = folder .. "/fixtures/",
  })
  service.listen(origin .. ports.port, origin .. ports.port) -- pictures too: nothing to be allowed
  try(service.set, {
    dialect = given.dialect, key = key, submit = { life = given.life, pace = pace },
  })
  for life, id in pairs(SEEDS) do service.define(id, { life = life, pace = pace }) end
  loop.spawn(function()
    while true do loop.sleep(TICK) end
  end)
  output.text(told(given, origin .. ports.port, key))
  local ok, problem = pcall(loop.run)
  if not ok and not exits.is_interrupt(problem) then error(problem, 0) end
  return exits.DONE
end

return simulate
