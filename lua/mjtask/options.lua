-- Every option: what it may be, where it may stand, what it is by default. Knows nothing else.

local options = {}

local MIB = 1024 * 1024
options.MAX_BODY = 8 * MIB -- bytes of a JSON document
local LONGEST = 1e6 -- seconds, some eleven days: what is longer is a slip of units

local function text(value)
  if type(value) ~= "string" then return "must be a string" end
  if value == "" then return "is empty" end
end

local function any_text(value)
  if type(value) ~= "string" then return "must be a string" end
end

local function boolean(value)
  if type(value) ~= "boolean" then return "must be true or false" end
end

local function callback(value)
  if type(value) ~= "function" then return "must be a function" end
end

local function table_of_headers(value)
  if type(value) ~= "table" then return "must be a table of names and values" end
end

local function seconds(least)
  return function(value)
    if type(value) ~= "number" then return "must be a number of seconds" end
    if not (value >= least and value <= LONGEST) then -- NaN is neither
      return ("must be %g to %g seconds"):format(least, LONGEST)
    end
  end
end

local function whole(least, most)
  return function(value)
    if not math.tointeger(value) or type(value) == "string" then return "must be an integer" end
    if value < least or value > most then
      return ("must be %d to %d"):format(least, most)
    end
  end
end

-- Who is trusted, and how: only where the client is made, because its connections are shared.
local of_client = {
  provider = text, url = text, key = any_text, auth = text,
  headers = table_of_headers, user_agent = text, proxy = any_text, cafile = text,
  allow_http = boolean, allow_private = boolean,
  max_inflight = whole(1, 10000),
  loop = callback, trace = callback,
}

-- For all calls where the client is made, or for one call.
local of_both = {
  timeout = seconds(0.001), request_timeout = seconds(0.001), retries = whole(0, 100),
  interval = seconds(0.1), max_interval = seconds(0.1), stall = seconds(0.1),
  max_body = whole(1, 1024 * MIB),
}

local of_decode = {
  strict = boolean,
  max_body = of_both.max_body,
  null = function() end, -- any value may stand for null
}

local function modal(value)
  if type(value) ~= "table" then return "must be a table { prompt =, mask = }" end
  for name, word in pairs(value) do
    if name ~= "prompt" and name ~= "mask" then
      return ("has no field %q: there are prompt and mask"):format(tostring(name))
    end
    if type(word) ~= "string" then return ("must have strings: %s is none"):format(name) end
  end
end

-- What belongs to one method only.
local of_method = {
  wait = { progress = callback },
  watch = { progress = callback },
  press = { modal = modal },
  download = { progress = callback, overwrite = boolean },
}

local defaults = {
  request_timeout = 30, retries = 2,
  interval = 5, max_interval = 30,
  max_inflight = 16,
}

-- Checks options against the sets that know them. Gives them as a plain table of their own: what
-- is only inherited was not checked.
local function check(given, level, ...)
  if given == nil then return {} end
  local own = {}
  if type(given) ~= "table" then
    error(("options: a table expected, got %s"):format(type(given)), level + 1)
  end
  for name, value in next, given do
    local known
    for _, set in ipairs { ... } do known = known or set[name] end
    if not known then error(("options: unknown option %q"):format(tostring(name)), level + 1) end
    local fault = known(value)
    if fault then error(("options.%s %s"):format(name, fault), level + 1) end
    own[name] = value
  end
  return own
end

-- None of these ends in a tail call: it would take a level away from under `error`.

--- Raises, at the caller's `level`, for an option that `mjtask.new` does not know or cannot take;
--- else gives the options.
function options.check_new(given, level)
  local own = check(given, level + 1, of_client, of_both)
  return own
end

local NONE = {} -- nobody changes it

--- Likewise for a call of `method`.
function options.check_call(given, method, level)
  if given == nil then return NONE end
  local own = check(given, level + 1, of_both, of_method[method] or NONE)
  return own
end

--- Likewise for decode.
function options.check_decode(given, level)
  local own = check(given, level + 1, of_decode)
  return own
end

--- What is wrong with a provider's row, which a script may have written; nil: nothing.
function options.check_row(row)
  if type(row) ~= "table" then return "is no table" end
  local fields = { url = text, auth = text, interval = of_both.interval, change = boolean }
  for name, known in pairs(fields) do
    local fault = row[name] ~= nil and known(row[name])
    if fault then return ("has a %s that %s"):format(name, fault) end
  end
end

--- What holds for a client: its options over a provider's row over the defaults.
---@param given table
---@param row table a provider's
function options.for_client(given, row)
  local settings = { interval = row.interval }
  for name, value in pairs(defaults) do
    if settings[name] == nil then settings[name] = value end
  end
  for name in pairs(of_both) do
    if given[name] ~= nil then settings[name] = given[name] end
  end
  settings.max_inflight = given.max_inflight or settings.max_inflight
  settings.trace = given.trace
  return settings
end

-- What a method has by default where neither the call nor the client says anything.
local of_methods = {
  wait = { timeout = 600, max_body = options.MAX_BODY },
  watch = { timeout = 600, max_body = options.MAX_BODY },
  download = { timeout = 600, max_body = 64 * MIB },
}
local of_other_methods = { timeout = 60, max_body = options.MAX_BODY }

--- What holds for a method's calls that say nothing: the client's settings over the method's.
---@param settings table
---@param method string
function options.for_method(settings, method)
  local own = {}
  for name, value in pairs(of_methods[method] or of_other_methods) do own[name] = value end
  for name, value in pairs(settings) do own[name] = value end
  return own
end

--- What holds for a call: its options over its method's.
---@param settings table
---@param given table
function options.for_call(settings, given)
  if next(given) == nil then return settings end
  return setmetatable(given, { __index = settings }) -- ours: check_call made it
end

return options
