-- Calls everything there is with arguments of all kinds, hostile ones among them. What comes back
-- must be results, or an error that was raised on purpose: one that begins with a place inside the
-- library is an accident.

local mjtask = require "mjtask"
local core = require "mjtask.core"

local fuzz = {}

local HOSTILE = "a hostile metamethod"
local IDS = { "1735030480000001", "nonesuch", "1735030480754475" }
local DOCUMENTS = {
  "", "null", "{}", "[]", '{"id":1}', '{"id":"x","status":"SUCCESS","imageUrl":"http://x/?ex=ff"}',
  '{"status":"SUCCESS","buttons":[{"customId":"MJ::JOB::upsample::1::x","label":"U1"},null,3]}',
  '{"code":0,"data":{"id":"x","progress":{"a":[]},"buttons":{"a":1}}}', "\xEF\xBB\xBF{}", "[[[[",
}
local WORDS = {
  "id", "status", "buttons", "imageUrl", "imageUrls", "videoUrls", "progress", "properties",
  "label", "emoji", "customId", "kind", "index", "failReason", "code", "data", "url", "key",
  "auth", "headers", "timeout", "retries", "interval", "stall", "max_body", "trace", "proxy",
  "strict", "null", "max_size", "max_depth", "allow_http", "max_inflight", "cafile",
  "user_agent", "path", "body", "request_timeout", "provider",
}
local TEXTS = {
  "", "U1", "SUCCESS", "FAILURE", "50%", "100%", "none", "auto", "raw", "sku", "x\0y", "\xFF\xFE",
  "\u{1F431}\u{FE0F}", ("x"):rep(129), ("%s"):rep(40), "https://x.invalid/a.png?ex=66666666&is=1",
  "http://127.0.0.1:9", "/mj/task/1/fetch", "..", "1e999", "-0", "0x10", "%d%s%n",
}
local NUMBERS = {
  0, 1, -1, 2, 100, 0.5, -0.0, 1e15, 2 ^ 53, 2 ^ 63, 1e300, 0 / 0, math.huge, -math.huge,
  math.maxinteger, math.mininteger, 1735030480000001, 1735030480000001.0,
}

-- ---- arguments ----------------------------------------------------------------------------------

local pick, value

function pick(list)
  return list[math.random(#list)]
end

local function raise() error(HOSTILE, 0) end

local EVENTS = {
  "__index", "__newindex", "__call", "__tostring", "__len", "__pairs", "__eq", "__lt", "__le",
  "__concat", "__unm", "__add", "__name",
}

local function hostile()
  local mt = {}
  for _ = 1, math.random(4) do
    mt[pick(EVENTS)] = pick { raise, raise, function() return {} end, 42, {} }
  end
  -- of these two Lua itself expects more than that they can be called
  if mt.__pairs then mt.__pairs = raise end
  if mt.__tostring then mt.__tostring = raise end
  if math.random(4) == 1 then mt.__metatable = pick { false, "locked", 42 } end
  return setmetatable({ id = pick(IDS) }, mt)
end

local function random_table(depth)
  local out = {}
  for _ = 1, math.random(0, 4) do
    local key = pick { pick(WORDS), math.random(4), value(depth + 1) }
    if key ~= nil and key == key then out[key] = value(depth + 1) end
  end
  if math.random(8) == 1 then out[pick(WORDS)] = out end
  return out
end

local function random_bytes()
  local bytes = {}
  for n = 1, math.random(0, 40) do bytes[n] = string.char(math.random(0, 255)) end
  return table.concat(bytes)
end

local objects = {} -- clients, engines, transfers in every state

local makers = {
  function() return nil end,
  function() return math.random(2) == 1 end,
  function() return pick(NUMBERS) end,
  function() return math.random(math.mininteger, math.maxinteger) end,
  function() return pick(IDS) end,
  function() return pick(TEXTS) end,
  function() return pick(WORDS) end,
  function() return pick(DOCUMENTS) end,
  random_bytes,
  function() return hostile() end,
  function() return pick { raise, type, function() return 1 end, coroutine.yield } end,
  function() return coroutine.create(raise) end,
  function() return pick(objects) end,
}

function value(depth)
  if depth < 3 and math.random(4) == 1 then return random_table(depth) end
  return pick(makers)()
end

-- ---- what is called -----------------------------------------------------------------------------

local LIMITS = { timeout = 0.001, retries = 0, request_timeout = 0.001 }

-- Functions of the module and of the core, and methods of every kind of object. Each takes the
-- arguments and passes them on, but for what would make a call wait.
local function targets(url)
  local list = {}
  local function add(name, call) list[#list + 1] = { name = name, call = call } end

  for name, f in pairs(mjtask) do
    if type(f) == "function" then add("mjtask." .. name, f) end
  end
  for name, f in pairs(core) do
    if type(f) == "function" then add("core." .. name, f) end
  end

  local live = mjtask.new { url = url, key = "k", timeout = 0.001, retries = 0 }
  local closed = mjtask.new { url = url, key = "k" }
  closed:close()
  local engine, dead = core.engine { url = url }, core.engine { url = url }
  local idle = engine:start({ path = "/mj/task/x/fetch" }, 1)
  idle:cancel()
  engine:start({ path = "/mj/task/x/fetch", timeout = 0.2 }, 1)
  local taken
  for _ = 1, 100 do
    engine:step(0.01)
    taken = select(2, engine:next())
    if taken then break end
  end
  local flying = engine:start({ path = "/mj/task/x/fetch", timeout = 0.2 }, 1)
  local orphan = dead:start({ path = "/mj/task/x/fetch" }, 1)
  dead:close()
  objects = { live, closed, engine, dead, idle, taken, flying, orphan }

  for _, name in ipairs { "fetch", "wait" } do
    add("client." .. name, live[name])
    add("live:" .. name, function(id, given, ...)
      if type(given) == "table" and not getmetatable(given) then
        for option, least in pairs(LIMITS) do given[option] = least end
      else
        given = nil
      end
      return live[name](live, id, given, ...)
    end)
    add("closed:" .. name, function(...) return closed[name](closed, ...) end)
  end
  for _, name in ipairs { "base", "next", "pollfd", "redact", "start", "step", "wake_at" } do
    local method = engine[name]
    add("engine." .. name, function(self, ...)
      if self == engine and (name == "step" or name == "next") then self = dead end
      return method(self, ...)
    end)
    add("dead:" .. name, function(...) return method(dead, ...) end)
    if name ~= "step" then
      add("engine:" .. name, function(...) return method(engine, ...) end)
    end
  end
  add("engine:step(0)", function() return engine:step(0) end)
  add("engine.close", function(self, ...)
    if self ~= engine then return engine.close(self, ...) end
  end)
  for _, transfer in ipairs { idle, taken, flying, orphan } do
    for _, name in ipairs { "answer", "cancel" } do
      add("transfer:" .. name, function(...) return transfer[name](transfer, ...) end)
      add("transfer." .. name, transfer[name])
    end
  end
  return list, function()
    live:close()
    engine:close()
  end
end

-- ---- the run ------------------------------------------------------------------------------------

local function is_accident(message)
  if type(message) ~= "string" then return message == nil end
  if message:find(HOSTILE, 1, true) then return false end
  return message:find("^[^\n]*mjtask/[%w/]+%.lua:%d+:") ~= nil
end

local function shown(v)
  if type(v) == "string" then return ("%q"):format(v:sub(1, 60)) end
  if type(v) == "number" then return ("%.17g"):format(v) end
  return type(v)
end

--- Makes so many calls; returns how many gave results, how many raised, and the accidents.
function fuzz.run(seed, calls, url)
  math.randomseed(seed)
  local list, finish = targets(url)
  local fine, raised, accidents = 0, 0, {}
  for n = 1, calls do
    local target = pick(list)
    local count = math.random(0, 4)
    local given = {}
    for at = 1, count do given[at] = value(0) end
    local results = table.pack(pcall(target.call, table.unpack(given, 1, count)))
    if results[1] then
      fine = fine + 1
      local made = results[2]
      if target.name == "mjtask.new" and math.random(2) == 1 then made:close() end
      if type(made) == "table" and rawget(made, "kind") and rawget(made, "message") then
        assert(type(tostring(made)) == "string")
      end
    else
      raised = raised + 1
      if is_accident(results[2]) then
        local words = {}
        for at = 1, count do words[at] = shown(given[at]) end
        accidents[target.name] = ("%s(%s): %s"):format(target.name, table.concat(words, ", "),
          tostring(results[2]))
      end
    end
    if n % 200 == 0 then collectgarbage() end
  end
  finish()
  return fine, raised, accidents
end

return fuzz
