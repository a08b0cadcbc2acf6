-- Which answer a request gets: settings, scripts, keys, routes. Knows nothing of sockets.

local cjson = require "cjson"
local auth = require "support.auth"
local chance = require "support.chance"
local dialects = require "support.dialects"
local faults = require "support.faults"
local images = require "support.images"
local submits = require "support.submits"
local tasks = require "support.tasks"

local service = {}

local DEFAULTS = {
  dialect = "go",     -- how the server speaks
  key = false,        -- none: everybody may in
  auth = false,       -- a rule of auth.lua; else the dialect's own
  envelope = false,   -- tasks come in {"code":0,...,"data":}
  fault = false,      -- what every request gets: a plan, see below
  submit = {},        -- what every submit gets: a plan, and life, pace, fields of its task
  image = false,      -- what every request for an image gets: a plan
  list = false,       -- what every list gets: a plan; also drop (ids), add (JSON of more entries)
  lists = {},         -- what the next lists get: a plan for each
  script = {},        -- what the next requests get: a plan for each
  handshakes = {},    -- what the next ones of TLS meet: the name of a fault, or "pass", for each
  certificate = "good", newest = "1.3",   -- what TLS shows, and its newest version
  log = true,         -- is there a log? In hours it becomes long
}

local ENVELOPE = { '{"code":0,"message":"成功","data":', "}" }

local settings
local urls = {}   -- here, other: of the two ports

function service.listen(here, other)
  urls = { here = here, other = other }
end

function service.reset()
  settings = {}
  for name, value in pairs(DEFAULTS) do settings[name] = value end
  tasks.reset()
  chance.reset()
end

function service.has_log()
  return settings.log
end

-- Plans ------------------------------------------------------------------------------------------
-- "pass", the name of a fault or of a dialect's case, or a table { fault =, case =, status =,
-- body =, type =, headers =, delay =, close = } with a fault's own arguments. For submits also
-- life, pace, fields of the task that is made, and result, queue, word of the answer. With `cut`
-- a connection that ends says nothing of it to TLS. { any = SEED } leaves it to chance.lua.

local function plan_of(wish)
  local plan = wish
  if type(wish) == "string" then
    plan = wish == "pass" and {} or faults[wish] and { fault = wish } or { case = wish }
  end
  local answer = faults[plan.fault]
  if type(answer) ~= "table" then return plan end
  local merged = {}
  for _, half in ipairs { answer, plan } do
    for name, value in pairs(half) do merged[name] = value end
  end
  merged.fault = answer.fault
  return merged
end

-- Does it say more than what the task of a submit is like?
local function is_plan(wish)
  if type(wish) ~= "table" then return wish end
  for name in pairs(wish) do
    if name ~= "life" and name ~= "pace" and name ~= "fields" then return true end
  end
  return false
end

local function check_plan(wish, dialect)
  local plan = plan_of(wish)
  if plan.fault and not faults[plan.fault] then
    error("no such fault: " .. tostring(plan.fault), 0)
  end
  if plan.case and not dialects[dialect].cases[plan.case] then
    error(("%s: no such case, and no such fault: %s"):format(dialect, tostring(plan.case)), 0)
  end
end

local function check_plans(holder, dialect)
  for _, name in ipairs { "script", "lists" } do
    for _, wish in ipairs(holder[name] or {}) do check_plan(wish, dialect) end
  end
  for _, name in ipairs { "fault", "submit", "image", "list" } do
    if holder[name] then check_plan(holder[name], dialect) end
  end
end

function service.set(changes)
  local dialect = changes.dialect or settings.dialect
  if not dialects[dialect] then error("no such dialect: " .. tostring(dialect), 0) end
  if changes.auth and not auth[changes.auth] then error("no such auth: " .. changes.auth, 0) end
  check_plans(changes, dialect)
  for _, fault in ipairs(changes.handshakes or {}) do check_plan(fault, dialect) end
  local submitted = type(changes.submit) == "table" and changes.submit or {}
  if submitted.life then tasks.states_of(submitted.life) end
  for name in pairs(changes) do
    if DEFAULTS[name] == nil then error("no such setting: " .. tostring(name), 0) end
  end
  for name, value in pairs(changes) do settings[name] = value end
end

-- Defines a task, or each of several.
function service.define(ids, definition)
  local dialect = definition.dialect or settings.dialect
  if not dialects[dialect] then error("no such dialect: " .. tostring(dialect), 0) end
  check_plans(definition, dialect)
  local define = type(ids) == "table" and tasks.define_all or tasks.define
  define(ids, definition)
end

-- Answers ----------------------------------------------------------------------------------------

-- What submits make, and what is said of it: the server's submit, under the plan.
local function made_by(plan)
  local made = { result = '"{id}"', queue = 3, word = "blood" }
  for _, half in ipairs { type(settings.submit) == "table" and settings.submit or {}, plan } do
    for name, value in pairs(half) do made[name] = value end
  end
  return made
end

-- The dialect's words for a case; {id} makes a task.
local function say(case, request, plan, about)
  local row = dialects[settings.dialect].cases[case]
  if not row then return { status = 500, body = "no such case: " .. case, type = "text/plain" } end
  local made = made_by(plan or {})
  local words = {
    method = request.method, path = request.path, task = about, queue = tostring(made.queue),
    word = made.word, url = urls.other .. "/attachments/grid.webp",
  }
  local body = row[2]:gsub("{result}", function() return made.result end)
    :gsub("{(%l+)}", function(word)
      return word == "id" and submits.new_task(made, row.makes, request) or words[word]
    end)
  local headers = {}
  for name, value in pairs(row.headers or {}) do headers[name] = value end
  return { status = row[1], body = body, type = row[3], headers = headers }
end

local function fetch(request, id)
  local task = tasks.find(id)
  if not task then return say("unknown", request) end
  local dialect = dialects[settings.dialect]
  local body = tasks.look(task, settings.dialect, urls)
  local around = settings.envelope and ENVELOPE or dialect.envelope
  if around then body = around[1] .. body .. around[2] end
  return { status = 200, body = body, type = dialect.type }
end

-- The tasks known, in another order than asked.
local function list(request, route, plan)
  local dialect = dialects[settings.dialect]
  if not dialect.routes[route] then return say("no_route", request) end
  local ok, wish = pcall(cjson.decode, request.body)
  if not ok or type(wish) ~= "table" then return { status = 400, body = "" } end
  local found, dropped = {}, {}
  for _, id in ipairs(plan.drop or {}) do dropped[id] = true end
  for _, id in ipairs(type(wish.ids) == "table" and wish.ids or {}) do
    local task = tasks.find(type(id) == "number" and ("%.0f"):format(id) or id)
    if task and not dropped[task.id] then
      table.insert(found, 1, tasks.look(task, settings.dialect, urls))
    end
  end
  found[#found + 1] = plan.add
  return { status = 200, body = "[" .. table.concat(found, ",") .. "]", type = dialect.type }
end

local function submit(request, name, plan)
  local dialect = dialects[settings.dialect]
  local case, about = submits.take(request, name, dialect, made_by(plan))
  return say(case, request, plan, about)
end

local function cancel(request, id, plan)
  local dialect = dialects[settings.dialect]
  return say(submits.cancel(id, dialect, settings.dialect), request, plan, id)
end

local function seed(request, id, plan)
  return say(submits.seed(id, dialects[settings.dialect]), request, plan, id)
end

-- Method, pattern of the path, handler, whether it needs no key.
local ROUTES = {
  { "GET", "/mj/task/([^/]+)/fetch$", fetch },
  { "POST", "/mj/task/(list%-by%-%l+)$", list },
  { "POST", "/mj/submit/([^/]+)$", submit },
  { "POST", "/mj/task/([^/]+)/cancel$", cancel },
  { "GET", "/mj/task/([^/]+)/image%-seed$", seed },
  { "GET", "/mj/image/([^/]+)$", images.picture, true },
  { "GET", "^/attachments/", images.picture, true },
  { "GET", "^/fault/[^/]+/attachments/", images.picture, true },
  { "GET", "^/hop/", images.hop, true },
  { "GET", "^/to/(.+)$", images.to, true },
}

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function route_of(request)
  local path = request.path:gsub("[?#].*", "")
  for _, route in ipairs(ROUTES) do
    local part = request.method == route[1] and path:match(route[2])
    if part then return route, unescape(part) end
  end
end

-- The case in which a request is sent away for its key, or nil.
local function refusal(request)
  if not settings.key then return nil end
  local ok, case = auth[settings.auth or settings.dialect](request.headers, settings.key)
  return not ok and (case or "unauthorized") or nil
end

local function ordinary(request, plan)
  local route, part = route_of(request)
  if not route then
    local has_ui = dialects[settings.dialect].cases.web_ui
    local below_api = request.path:find("/mj/", 1, true)
    return say(has_ui and not below_api and "web_ui" or "no_route", request)
  end
  local case = not route[4] and refusal(request)
  if case then return say(case, request) end
  return route[3](request, part, plan)
end

local function answer(plan, request)
  local out
  if plan.case then out = say(plan.case, request, plan, select(2, route_of(request)))
  elseif plan.status or plan.body then out = { body = "" }
  else out = ordinary(request, plan)
  end
  for _, name in ipairs { "status", "body", "type" } do out[name] = plan[name] or out[name] end
  local words = { here = urls.here, other = urls.other, path = request.path }
  for name, value in pairs(plan.headers or {}) do
    out.headers = out.headers or {}
    if type(value) == "function" then value = value() end
    out.headers[name] = tostring(value):gsub("{(%l+)}", words)
  end
  return out
end

-- By the path /fault/NAME/..., else by the server's script, the task's script, the task's fault,
-- the server's submit, lists, list or image, the server's fault.
local function planned(request)
  local named = request.path:match("^/fault/([^/]+)/")
  if named then return plan_of(named) end
  local route, id = route_of(request)
  local handler = route and route[3]
  local task = handler == fetch and tasks.find(id) or { script = {} }
  local own = handler == submit and is_plan(settings.submit) and settings.submit
    or handler == list and (table.remove(settings.lists, 1) or settings.list)
    or handler == images.picture and settings.image
  local plan = plan_of(table.remove(settings.script, 1) or table.remove(task.script, 1)
    or task.fault or own or settings.fault or "pass")
  if not plan.any then return plan end
  return plan_of(chance.pick(plan, dialects[settings.dialect].cases, request))
end

function service.serve(connection, request)
  local plan = planned(request)
  local function reply() return answer(plan, request) end
  connection.cuts = plan.cut
  if plan.delay then connection:sleep(plan.delay) end
  if plan.fault then return faults[plan.fault](connection, reply, plan) end
  connection:reply(reply(), plan.close)
end

-- Before a connection's first request, where TLS is spoken.
function service.secure(connection, tls)
  local fault = table.remove(settings.handshakes, 1) or "pass"
  if fault == "pass" then
    return connection:secure(tls, settings.certificate, settings.newest)
  end
  connection:receive()
  faults[fault](connection, function() return { body = "no TLS" } end, {})
end

return service
