-- The tasks the proxy knows: which state a look shows, and that state as a dialect's text.

local cjson = require "cjson"
local dialects = require "support.dialects"
local json = require "support.json"
local lives = require "support.lives"
local loop = require "support.loop"

local tasks = {}

local known = {}     -- id -> task
local writers = {}   -- dialect -> its JSON writer
for name, dialect in pairs(dialects) do writers[name] = json.writer(dialect) end

-- The states of a life, given by its name or as they are. Raises if there is none such.
function tasks.states_of(life)
  local states = type(life) == "table" and life or lives[life]
  if type(states) ~= "table" or #states == 0 then error("no such life: " .. tostring(life), 0) end
  return states
end

-- life: a name, or states of one's own. pace: "look" (each look goes on by one), or seconds.
-- ordered: action, prompt and state of the submit that made it.
function tasks.define(id, definition)
  local life = definition.life or "success"
  local states = tasks.states_of(life)
  known[id] = {
    id = id, states = states, named = type(life) == "string", pace = definition.pace or "look",
    fields = definition.fields or {}, bare = definition.bare, dialect = definition.dialect,
    script = definition.script or {}, fault = definition.fault, ordered = definition.ordered or {},
    looks = 0,
  }
end

-- Many tasks alike. In states that are whole bodies {id} is filled in here, once.
function tasks.define_all(ids, definition)
  for _, id in ipairs(ids) do
    local own = {}
    for name, value in pairs(definition) do own[name] = value end
    if type(own.life) == "table" then
      own.life = {}
      for place, state in ipairs(definition.life) do
        own.life[place] = type(state) == "string" and state:gsub("{id}", id) or state
      end
    end
    if own.script then own.script = table.move(own.script, 1, #own.script, 1, {}) end
    tasks.define(id, own)
  end
end

function tasks.reset()
  known = {}
  for _, seed in pairs(lives.seeds) do tasks.define(seed.id, { life = { seed.body } }) end
end

function tasks.find(id)
  return known[id]
end

-- Another life for a task, from its beginning.
function tasks.go_on(task, life)
  task.states, task.named = tasks.states_of(life or "success"), type(life or "") == "string"
  task.looks, task.since = 0, nil
end

local function state_now(task)
  local steps = math.max(task.looks, 1)
  if task.pace ~= "look" and task.since then
    steps = (loop.now() - task.since) // task.pace + 1
  end
  return task.states[math.tointeger(math.min(steps, #task.states))]
end

local function current_state(task)
  task.looks = task.looks + 1
  task.since = task.since or loop.now()
  return state_now(task)
end

-- A task's status, buttons and prompt, without a look.
function tasks.peek(task)
  local state = state_now(task)
  if type(state) == "string" then
    local ok, decoded = pcall(cjson.decode, state)
    state = ok and type(decoded) == "table" and decoded or {}
  end
  local buttons = task.fields.buttons or state.buttons
  return {
    status = task.fields.status or state.status,
    buttons = type(buttons) == "table" and buttons or {},
    prompt = task.fields.prompt or state.prompt or task.ordered.prompt,
  }
end

local function lay_over(under, over)
  for key, value in pairs(over or {}) do under[key] = value end
  return under
end

-- A deep copy, with the words in braces filled in.
local function filled(value, words)
  if type(value) == "string" then return (value:gsub("{(%l+)}", words)) end
  if type(value) ~= "table" or getmetatable(value) then return value end
  local copy = {}
  for key, inner in pairs(value) do copy[key] = filled(inner, words) end
  return copy
end

-- A state of lives.lua as a task in the dialect's shape.
local function spelled(task, state, dialect)
  local out, ordered = filled(lives.BASE, {}), task.ordered
  out.action = ordered.action or out.action
  if ordered.state then out.state = "{state}" end
  if ordered.prompt then
    out.prompt, out.promptEn, out.properties.finalPrompt = "{prompt}", "{prompt}", "{prompt}"
  end
  lay_over(out, filled(state, {}))
  out.submitTime = math.tointeger(tonumber(task.id:match("^%d%d%d%d%d%d%d%d%d%d%d%d%d")))
    or 1735030480754
  out.startTime = out.started and out.submitTime + out.started
  out.finishTime = out.finished and out.submitTime + out.finished
  if out.status == "FAILURE" or out.status == "CANCEL" then lay_over(out, dialect.ended) end
  if dialect.spell then dialect.spell(out) end
  local sent = {}
  for _, key in ipairs(dialect.order) do
    if out[key] == nil then sent[key] = dialect.blank[key] else sent[key] = out[key] end
  end
  return sent
end

-- One look at a task: its JSON now. `urls` fills {here} and {other}.
function tasks.look(task, dialect, urls)
  local state = current_state(task)
  if type(state) == "string" then return state end
  local name = task.dialect or dialect
  local out = {}
  if not task.bare then
    out = spelled(task, task.named and state or {}, dialects[name])
  end
  if not task.named then lay_over(out, state) end
  lay_over(out, task.fields)
  return writers[name](filled(out, {
    id = task.id, look = tostring(task.looks), here = urls.here, other = urls.other,
    prompt = task.ordered.prompt, state = task.ordered.state,
  }))
end

return tasks
