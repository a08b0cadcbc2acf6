-- What the task fuzzer does with a document: reads it as everything a server may send, and asks of
-- what came out all that a script may ask. Raises for what nobody was promised. Knows all of the
-- library but its network.

local answer = require "mjtask.answer"
local buttons = require "mjtask.buttons"
local core = require "mjtask.core"
local errors = require "mjtask.errors"
local ids = require "mjtask.ids"
local mjtask = require "mjtask"
local tasks = require "mjtask.task"

local null = ... -- what stands for it, where nulls are kept

local KEY = "sk-aB3dE5fG7hI9"
local ID = "1735030480754475"
local URL = "https://cdn.discordapp.com/a.png?ex=676bc867&is=676a76e7&hm=c1a6&"
local LONGEST = 4000 -- bytes of a message; the longest list the buttons of a task, and its query

local engine = core.engine { url = "https://api.example.org", auth = "bearer", key = KEY }

local function redact(text)
  return engine:redact(text)
end

local function check(condition, what)
  if not condition then error("does not hold: " .. what, 2) end
  return condition
end

local function is_in(list, value)
  for _, one in ipairs(list) do
    if rawequal(one, value) then return true end
  end
  return false
end

-- ---- errors -------------------------------------------------------------------------------------

-- C1 controls, and what sets the direction of text.
local HIDDEN = { "\xC2[\x80-\x9F]", "\xE2\x80[\xAA-\xAE]", "\xE2\x81[\xA6-\xA9]" }

-- Fit for a terminal: UTF-8 in one line, no controls, nothing that changes the text around it.
local function check_text(text)
  check(type(text) == "string" and utf8.len(text), "a message is UTF-8")
  check(#text <= LONGEST, "a message is short")
  check(not text:find "[\0-\x1F\x7F]", "a message has no control characters")
  for _, hidden in ipairs(HIDDEN) do
    check(not text:find(hidden), "a message changes nothing around it")
  end
end

local function check_error(err, kinds)
  check(errors.is(err), "an error is one of ours")
  check(errors.kinds[err.kind] ~= nil, "the kind is known")
  check(not kinds or kinds[err.kind], "the kind is one of those that are promised")
  check(type(err.retryable) == "boolean", "an error says whether it is retryable")
  check(err.code == nil or math.type(err.code) == "integer", "a code is an integer")
  err.message = redact(err.message) -- as retry.complete does
  if type(err.id) == "string" then err.id = redact(err.id) end
  check_text(err.message)
  check_text(tostring(err))
  check(not tostring(err):find(KEY, 1, true), "an error does not show the key")
end

-- A result or an error, and not both.
local function either(value, err, kinds)
  check((value == nil) ~= (err == nil), "either a result or an error")
  if err ~= nil then check_error(err, kinds) end
  return value
end

-- ---- tasks --------------------------------------------------------------------------------------

local OUTCOMES = { success = true, failed = true, cancelled = true, needs_input = true }
local REFUSED = { no_button = true, ambiguous = true }

local function check_time(time)
  check(time == nil or math.type(time) == "integer" and time >= 0, "a time is a positive integer")
end

local function check_images(task)
  local images, seen = mjtask.images(task), {}
  for _, url in ipairs(images) do
    check(type(url) == "string" and url ~= "" and not seen[url], "images are different URLs")
    seen[url] = true
    check_time(mjtask.expires(url))
    local fine, kind, message = engine:image(url)
    check(fine or type(kind) == "string" and type(message) == "string", "an image or a reason")
    if not fine then check_text(message) end
  end
  check_time(mjtask.expires(task))
end

local function check_query(task, query, all)
  local hits = buttons.all(task, query)
  for _, button in ipairs(hits) do check(is_in(all, button), "what fits is one of all") end
  local button, err = buttons.find(task, query)
  if not either(button, err, REFUSED) then return end
  check(is_in(hits, button), "what is found fits")
  check(type(buttons.custom_id(button)) == "string", "what is found can be pressed")
  for _, other in ipairs(hits) do
    local id = buttons.custom_id(other)
    check(id == nil or id == buttons.custom_id(button), "nothing is guessed")
  end
end

local QUERIES = {
  "U1", " v2", "🔄", "🔄\u{FE0F}", "MJ::JOB::upsample::1::3182402e-79db-44e7-b9d7-0e63b94539d1", "",
  { kind = "upsample", index = 1 }, { kind = "reroll" },
}
local FIELDS = { "label", "emoji", "customId" }

-- Asks as one of the buttons is called, and for what it does. `turn` chooses.
local function check_own_query(task, all, turn)
  local button = all[turn % #all + 1]
  local name = button[FIELDS[turn % #FIELDS + 1]]
  if type(name) == "string" then check_query(task, name, all) end
  local kind, index = buttons.operation(buttons.custom_id(button) or "")
  if kind then check_query(task, { kind = kind, index = index }, all) end
end

local function check_buttons(task, turn)
  local all = buttons.all(task)
  for _, button in ipairs(all) do check(type(button) == "table", "a button is a table") end
  check_query(task, QUERIES[turn % #QUERIES + 1], all)
  if #all > 0 then check_own_query(task, all, turn) end
end

local function check_task(task, turn)
  check(type(task) == "table", "a task is a table")
  local outcome, percent = mjtask.outcome(task), mjtask.percent(task)
  check(outcome == nil or OUTCOMES[outcome], "an outcome is one of four")
  check(percent == nil or percent >= 0 and percent <= 100, "a percentage is one")
  check(percent == nil or math.type(percent) == "integer" or percent % 1 ~= 0,
    "a whole percentage is an integer")
  local err = tasks.failure(task)
  check((err ~= nil) == (outcome ~= nil and outcome ~= "success"), "what failed has an error")
  if err then
    check(err.kind == outcome and err.task == task, "its error is about it")
    check_error(err)
  end
  check_images(task)
  check_buttons(task, turn)
  local id = ids.read(task)
  check(id == nil or #id <= 128 and id:find "^[A-Za-z0-9%-._~]+$", "an id is a path segment")
end

-- ---- answers ------------------------------------------------------------------------------------

local STATUSES = { 200, 201, 202, 204, 302, 400, 401, 402, 403, 404, 405, 408, 410, 429, 500, 503 }

local function facts_of(json, value, fault)
  local status = STATUSES[#json % #STATUSES + 1]
  if value ~= nil and status == 200 then return nil end -- as the core has it
  local facts = { status = status, sent = 100, type = #json % 3 == 0 and "text/html" or nil }
  if status == 429 then facts.retry_after = 2.0 end
  if status == 302 then facts.location = json:sub(1, 400) end
  if not json:find "[^ \t\r\n]" then
    facts.empty = true
  elseif fault then
    facts.fault, facts.excerpt = fault .. " at byte 0", json:sub(1, 512)
  end
  return facts
end

local function check_receipt(receipt)
  if not receipt then return end
  check(receipt.id == receipt.ids[1], "the first id is the id")
  check(math.type(receipt.code) == "integer", "a receipt has a code")
  check(receipt.queue == nil or math.type(receipt.queue) == "integer", "the queue is a number")
  check(type(tostring(receipt)) == "string", "a receipt has a text")
  for _, id in ipairs(receipt.ids) do check(core.id(id) == id, "a receipt's id is one") end
end

-- Decoded for each anew: a reader may adopt what it reads.
local function check_answers(json, options)
  local value, fault = core.decode(json, options)
  local facts = facts_of(json, value, value == nil and fault)
  local function decoded() return (core.decode(json, options)) end

  local function read(how, extra) return either(how(decoded(), facts, redact, extra)) end
  local task = read(answer.task, ID)
  if task then check(tasks.is_task(task), "a task is one") end
  for id, listed in pairs(read(answer.list) or {}) do
    check(type(id) == "string" and tasks.is_task(listed), "a list has tasks by their ids")
  end
  check_receipt(read(answer.receipt))
  check(read(answer.cancelled) ~= false, "cancelled or not")
  local seed = read(answer.seed)
  check(seed == nil or core.id(seed) == seed, "a seed is a word")
  read(function(body, given, ...)
    return answer.image(body, given or { status = 200 }, ...)
  end, URL)
end

local MODES = { {}, { strict = true }, { null = null } }

-- Not all of it each time, but always the same of the same document.
local function run(json)
  local turn = #json
  local task = either(mjtask.decode(json, MODES[turn % #MODES + 1]))
  if task then check_task(task, turn) end
  local value = core.decode(json)
  if type(value) == "table" then check_task(value, turn + 1) end -- whatever it is
  check_answers(json, turn % 2 == 0 and MODES[3] or nil)
end

return run, engine
