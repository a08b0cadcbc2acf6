-- The commands that make tasks or wait for them: submit, press, wait, watch. Each takes its
-- arguments and returns the exit code.

local body = require "mjtask.body"
local connect = require "mjtask.cli.connect"
local core = require "mjtask.core"
local exits = require "mjtask.cli.exits"
local ids = require "mjtask.cli.ids"
local ids_of = require "mjtask.ids"
local mjtask = require "mjtask"
local output = require "mjtask.cli.output"
local pictures = require "mjtask.cli.pictures"
local show = require "mjtask.cli.show"
local states = require "mjtask.cli.state"
local waiting = require "mjtask.cli.waiting"

local jobs = {}

-- ---- what is sent -------------------------------------------------------------------------------

local function read_picture(path)
  local file, problem = io.open(path, "rb")
  if not file then exits.usage("%s", problem) end
  local bytes
  bytes, problem = file:read "a"
  file:close()
  if not bytes then exits.usage("%s: %s", path, problem) end
  return body.data_url(bytes)
end

-- NAME=TEXT or NAME:=JSON.
local function add_field(what, word)
  local name, kind, value = word:match "^([%w_]+)(:?=)(.*)$"
  if not name then exits.usage("--field %s: NAME=TEXT or NAME:=JSON expected", word) end
  if kind == ":=" then
    local json = value
    local fault
    value, fault = core.decode(json)
    if value == nil then exits.usage("--field %s: %s", name, fault or "it is null") end
  end
  what[name] = value
end

local function body_of(given)
  local what, images = {}, {}
  if #given.prompt > 0 then what.prompt = table.concat(given.prompt, " ") end
  for at, path in ipairs(given.image) do images[at] = read_picture(path) end
  if given.name == "describe" and #images > 0 then
    if #images > 1 then exits.usage "describe takes one picture" end
    what.base64 = images[1]
  elseif #images > 0 then
    what.base64Array = images
  end
  for _, word in ipairs(given.field) do add_field(what, word) end
  if next(what) == nil then exits.usage "nothing to submit: give a prompt, a picture or a field" end
  return what
end

local function modal_of(given)
  if given.mask and not given.prompt then exits.usage "--mask needs --prompt" end
  if not given.prompt then return nil end
  return { prompt = given.prompt, mask = given.mask and read_picture(given.mask) or nil }
end

-- ---- submit and press ---------------------------------------------------------------------------

-- What must be right before anything is sent that costs money.
local function check_output(given)
  local fault = given.output and pictures.check(given.output)
  if fault then exits.stop(exits.FAILED, fault) end
end

local function settings(given, more)
  more.json, more.output, more.force, more.quiet =
    given.json, given.output, given.force, given.quiet
  return more
end

-- What came of a submit: the ids; of an upload, which makes no task, its URLs.
local function say_receipt(given, receipt)
  if given.json then return output.json(show.receipt(receipt)) end
  local lines, result = receipt.ids, receipt.result
  if #lines == 0 then lines = type(result) == "table" and result or { result } end
  for _, line in ipairs(lines) do output.line(line) end
end

local function finish(given, mj, receipt, err)
  if not receipt then
    if given.json then
      output.json(show.failure(err))
    else
      output.say("%s", show.message(tostring(err)))
    end
    return exits.of(err)
  end
  if not given.wait or #receipt.ids == 0 then
    say_receipt(given, receipt)
    return exits.DONE
  end
  local state = states.open()
  for _, id in ipairs(receipt.ids) do state:entry(id) end
  return waiting.new(mj, state, settings(given, {})):run(receipt.ids)
end

-- Sends it. Ctrl-C meanwhile: nobody knows whether it arrived.
local function send(mj, method, ...)
  local ok, receipt, err = pcall(mj[method], mj, ...)
  if ok then return receipt, err end
  if exits.is_interrupt(receipt) then
    output.say "interrupted: it may have been accepted all the same"
    exits.stop(exits.INTERRUPTED)
  end
  if type(receipt) ~= "string" then error(receipt, 0) end
  exits.usage("%s", (receipt:gsub("^[^\n]-:%d+: ", ""))) -- a button without a name, bad UTF-8
end

function jobs.submit(given)
  local what = body_of(given)
  check_output(given)
  local mj <close> = connect.client(given)
  return finish(given, mj, send(mj, "submit", given.name, what))
end

function jobs.press(given)
  local id, modal = ids.check(given.id), modal_of(given)
  check_output(given)
  local mj <close> = connect.client(given)
  -- First, and apart from what costs money: Ctrl-C before that is sure to have cost nothing.
  local begun = core.now()
  local task, err = mj:fetch(id)
  if not task then return finish(given, mj, nil, err) end
  local rest = given.timeout and math.max(given.timeout - (core.now() - begun), 0.1)
  return finish(given, mj, send(mj, "press", ids_of.read(task) and task or id, given.label,
    { modal = modal, timeout = rest }))
end

-- ---- wait ---------------------------------------------------------------------------------------

-- Without ids there must be a state that has some.
local function check_goes_on(path)
  if not path then exits.usage "no ids. See mjtask wait --help" end
  local file, problem = io.open(path, "r")
  if not file then exits.usage("no ids, and --state %s", problem) end
  file:close()
end

function jobs.wait(given)
  local list, modal = ids.read(given.id), modal_of(given)
  local named = #list > 0
  if not named then check_goes_on(given.state) end
  check_output(given)
  local mj <close> = connect.client(given)
  local state = states.open(given.state)
  if not named then list = state:open_ids() end
  for _, id in ipairs(list) do
    local entry = state:entry(id)
    local is_made = entry.from and not named -- by a press, which is not meant
    for _, label in ipairs(is_made and {} or given.press) do state:want(entry, label) end
  end
  if #list == 0 then output.say("nothing is open in %s", given.state) end
  return waiting.new(mj, state, settings(given, { modal = modal, again = named })):run(list)
end

-- ---- watch --------------------------------------------------------------------------------------

local NAP = 0.1 -- seconds between two looks at standard input, while tasks are watched

local function say_change(given, id, task, percent)
  if given.json then
    output.json { event = "change", id = id, status = show.status(task), percent = percent }
  else
    output.line(id, show.status(task), percent and ("%d%%"):format(percent // 1 | 0) or "-")
  end
end

local function say_end(given, id, task, err)
  if given.json then
    local record = task and show.record(task, id) or show.failure(err, id)
    record.event = "end"
    output.json(record)
  elseif task then
    output.line(id, show.status(task), table.unpack(mjtask.images(task)))
  else
    output.line(id, err.kind, show.message(err.message))
  end
end

-- Watches more of them. `all` has every id in its order, and the codes of those that have ended.
local function add(all, mj, given, more)
  for _, id in ipairs(more) do all.order[#all.order + 1] = id end
  if all.watcher and not all.watcher:done() then
    for _, id in ipairs(more) do all.watcher:add(id) end
  elseif #more > 0 then
    all.watcher = mj:watch(more, {
      progress = function(task, percent)
        local id = ids_of.read(task)
        -- the end will say as much
        if id and not mjtask.outcome(task) then say_change(given, id, task, percent) end
      end,
    }, function(id, task, err)
      if not id or all.interrupted then return end
      all.codes[id] = err and exits.of(err) or exits.DONE
      return say_end(given, id, task, err)
    end)
  end
end

-- Until all have ended and no more can come.
local function follow(all, mj, given, stream)
  repeat
    local busy = mj:step(stream and NAP or nil)
    if stream then
      add(all, mj, given, stream:take(not busy))
      if stream.over then stream, busy = nil, true end
    end
  until not busy and not stream
end

function jobs.watch(given)
  local words, stream = {}, nil
  for _, word in ipairs(given.id) do
    if word == "-" then stream = stream or ids.stream() else words[#words + 1] = word end
  end
  local mj <close> = connect.client(given)
  local all = { order = {}, codes = {}, watcher = false, interrupted = false }
  add(all, mj, given, ids.read(words))
  local ok, problem = pcall(follow, all, mj, given, stream)
  if not ok and not exits.is_interrupt(problem) then error(problem, 0) end
  local open, code = {}, nil
  for _, id in ipairs(all.order) do
    if not all.codes[id] then open[#open + 1] = id end
    if all.codes[id] ~= exits.DONE then code = code or all.codes[id] end
  end
  if ok and #all.order == 0 then exits.usage "no ids. See mjtask watch --help" end
  if ok then return code or exits.DONE end
  all.interrupted = true -- what the client tells when it is closed is nobody's
  output.say("interrupted; still open: %s", #open > 0 and table.concat(open, " ") or "nothing")
  return exits.INTERRUPTED
end

return jobs
