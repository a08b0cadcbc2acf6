-- Decodes one document COUNT times: DECODER names who, DOCUMENT the file, COLLECTOR the mode.

local setting = require "bench.own.setting"

local count = setting.number "COUNT"
if os.getenv "COLLECTOR" then collectgarbage(setting.text "COLLECTOR") end

local file <close> = assert(io.open(setting.text "DOCUMENT", "rb"))
local text = file:read "a"

-- The floor knows the value before it starts.
local function floor(mode)
  local module = require "floor"
  local program = module.compile(require "mjtask.core".decode(text))
  return function() return module.push(program, mode) end
end

local makers = {
  core = function() return require "mjtask.core".decode end,
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
