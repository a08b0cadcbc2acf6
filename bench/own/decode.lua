-- Decodes one document COUNT times: DECODER names who, DOCUMENT the file, COLLECTOR the mode.

local setting = require "bench.own.setting"

local count = setting.number "COUNT"

local file <close> = assert(io.open(setting.text "DOCUMENT", "rb"))
local text = file:read "a"

local function same(a, b)
  if type(a) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- The floor knows the value before it starts.
local function floor(mode)
  local module, value = require "floor", require "mjtask.core".decode(text)
  local program = module.compile(value)
  assert(same(value, module.push(program, mode)), "the floor builds something else")
  return function() return module.push(program, mode) end
end

local makers = {
  core = function() return require "mjtask.core".decode end,
  portable = function() return require "mjtask.core".decode end, -- of another LUA_CPATH
  mjtask = function() return require "mjtask".decode end,
  cjson = function() return require "cjson".decode end,
  dkjson = function() return require "dkjson".decode end,
  dkjson_lpeg = function() return require "dkjson".use_lpeg().decode end,
  floor = function() return floor "sized" end,
  floor_unsized = function() return floor "unsized" end,
  floor_keys = function() return floor "keys" end,
}

local decode = makers[setting.text "DECODER"]()
local tasks = 0
for _ = 1, count do
  local value = decode(text)
  tasks = tasks + (value.id and 1 or #value)
end
setting.report(count, tasks)
