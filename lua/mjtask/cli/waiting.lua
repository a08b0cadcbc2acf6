-- Waits for tasks, presses their buttons, waits for what that makes, saves the pictures: all at
-- once, by callbacks. Knows the library and the state; how it is shown is the display's.

local buttons = require "mjtask.buttons"
local core = require "mjtask.core"
local display = require "mjtask.cli.display"
local errors = require "mjtask.errors"
local exits = require "mjtask.cli.exits"
local ids = require "mjtask.ids"
local mjtask = require "mjtask"
local output = require "mjtask.cli.output"
local pictures = require "mjtask.cli.pictures"
local show = require "mjtask.cli.show"

local waiting = {}

local GRACE = 5 -- seconds after Ctrl-C for the answer to a press that is under way

-- How a task can end so that there is nothing left to wait for.
local final = {
  failed = true, cancelled = true, not_found = true, banned = true, rejected = true,
  no_button = true, ambiguous = true, no_image = true,
}

-- A press that ended so may have reached the server, and another one that failed with a modal: of
-- its two submits the first may have been accepted. These are certain to come before both.
local uncertain = { unknown_fate = true, aborted = true, closed = true }
local unsent = { no_button = true, ambiguous = true, failed = true, cancelled = true }

---@class mjtask.cli.Waiting
---@field mj mjtask.Client
---@field given { json?: boolean, output?: string, force?: boolean, modal?: table, again: boolean }
---@field state mjtask.cli.State
---@field code integer of the first failure, in the order of the tasks
local methods = {}
local mt = { __index = methods }

--- `given.again`: the tasks were named, so that results of an earlier run are given once more.
---@param mj mjtask.Client
---@param state mjtask.cli.State
---@param given table
---@return mjtask.cli.Waiting
function waiting.new(mj, state, given)
  return setmetatable({
    mj = mj, state = state, given = given, display = display.new(given.quiet),
    watcher = false, pressing = 0, -- presses under way
    codes = {}, -- by task
    interrupted = false, -- then nothing is begun or told any more
  }, mt)
end

-- ---- how it ends --------------------------------------------------------------------------------

local function save_state(self)
  local ok, problem = self.state:save()
  if not ok then output.say("the state could not be written: %s", problem) end
end

-- Where it stands among the tasks that were asked for: what a press made counts for its origin.
local function root(self, entry)
  for _ = 1, #self.state.tasks do -- a file may say that they made each other
    entry = self.state.by_id[entry.from] or entry
  end
  return entry.id
end

local function conclude(self, entry, is_open)
  self.display:drop(entry.id)
  entry.open = is_open
  self.state:save_soon()
end

-- Is there a press that has still to be made?
local function has_to_press(entry)
  for _, press in ipairs(entry.presses) do
    if not press.ids and not press.over then return true end
  end
  return false
end

local function fail(self, entry, err, press)
  if press then
    press.over = final[err.kind]
    conclude(self, entry, has_to_press(entry))
  else
    conclude(self, entry, not final[err.kind])
  end
  local id = root(self, entry)
  self.codes[id] = self.codes[id] or exits.of(err)
  local button = press and press.button or nil
  if self.given.json then
    local record = show.failure(err, entry.id)
    record.from, record.button = entry.from, button or entry.button
    output.json(record)
  else
    output.say("%s%s", button and ("button %s: "):format(button) or "", show.message(tostring(err)))
  end
end

local function succeed(self, entry, task, paths)
  if self.given.json then
    local record = show.record(task, entry.id)
    record.from, record.button, record.saved = entry.from, entry.button, paths
    output.json(record)
  else
    local results = paths or mjtask.images(task)
    for _, result in ipairs(results) do output.line(entry.id, show.status(task), result) end
    if #results == 0 then output.line(entry.id, show.status(task), "-") end
  end
  conclude(self, entry, false)
end

-- ---- a task that succeeded ----------------------------------------------------------------------

local function save_pictures(self, entry, task)
  local known = entry.saved or {}
  entry.saved = known
  self.display:show(entry.id, "saving")
  pictures.save(self.mj, task, entry.id, self.given.output, {
    force = self.given.force, known = known,
    note = function(path)
      table.insert(known, path)
      save_state(self)
    end,
    progress = function(bytes, total)
      self.display:show(entry.id, "saving", total and total > 0 and bytes * 100 / total or nil)
    end,
  }, function(paths, err)
    if self.interrupted then return end
    if err then return fail(self, entry, err) end
    return succeed(self, entry, task, paths)
  end)
end

local function finish(self, entry, task)
  if self.given.output then return save_pictures(self, entry, task) end
  return succeed(self, entry, task)
end

-- ---- presses ------------------------------------------------------------------------------------

local watch

-- What a press made is waited for; what an earlier run has seen to its end, only if that is wanted.
local function follow(self, press)
  for _, id in ipairs(press.ids) do
    local entry = self.state:entry(id)
    if entry.open or self.given.again then watch(self, id) end
  end
end

-- The answer to a press. Only if it is certain that nothing came of it, it may be made again.
local function note_answer(self, entry, press, receipt, err)
  local made = receipt or err.receipt -- of a task that waits for a modal
  if made and made.id then
    press.ids = made.ids
    for _, id in ipairs(made.ids) do self.state:entry(id, entry.id, press.button) end
    if not has_to_press(entry) then conclude(self, entry, false) end
  elseif err and (unsent[err.kind] or not uncertain[err.kind] and not self.given.modal) then
    press.sent = nil
  end
  save_state(self)
end

local function press_button(self, entry, task, press)
  press.sent = true -- before it is: whatever happens now, it must not be sent again
  local ok, problem = self.state:save()
  if not ok then
    press.sent = nil
    return fail(self, entry, errors.new("io", problem, { id = entry.id }), press)
  end
  self.pressing = self.pressing + 1
  self.display:show(entry.id, "pressing")
  self.mj:press(task, press.button, { modal = self.given.modal }, function(receipt, err)
    self.pressing = self.pressing - 1
    note_answer(self, entry, press, receipt, err)
    if self.interrupted then return end
    if not press.ids then
      err = err or errors.new("schema", "the server named no task", { id = entry.id })
      return fail(self, entry, err, press)
    end
    return follow(self, press)
  end)
end

-- What tells whether two labels mean one button, as far as that can be known.
local function key_of(task, press)
  local button = buttons.find(task, press.button)
  return button and buttons.custom_id(button) or press.button:lower()
end

-- Another of the task's presses that means the same button: "U1" and "u1" are one press.
local function has_twin(entry, task, press)
  local key = key_of(task, press)
  for _, other in ipairs(entry.presses) do
    if other ~= press and (other.ids or other.sent) and key_of(task, other) == key then
      return true
    end
  end
  return false
end

local function press_all(self, entry, task)
  for _, press in ipairs(entry.presses) do
    if press.ids then
      follow(self, press)
    elseif not press.sent and has_twin(entry, task, press) then
      press.over = true
      if not has_to_press(entry) then conclude(self, entry, false) end
    elseif press.sent then
      fail(self, entry, errors.new("unknown_fate", "an earlier run sent this press, and never knew "
        .. "what became of it: see on the server, then remove it from the state",
        { id = entry.id }), press)
    else
      press_button(self, entry, task, press)
    end
  end
end

-- ---- the watch ----------------------------------------------------------------------------------

local function take_end(self, id, task, err)
  if self.interrupted then return end
  local entry = self.state:entry(id)
  if err then return fail(self, entry, err) end
  if #entry.presses > 0 then return press_all(self, entry, task) end
  return finish(self, entry, task)
end

local function begin(self, list)
  self.watcher = self.mj:watch(list, {
    progress = function(task, percent)
      local id = ids.read(task) or #list == 1 and list[1]
      self.display:show(id or nil, show.status(task), percent)
    end,
  }, function(id, task, err)
    if id then return take_end(self, id, task, err) end
  end)
end

function watch(self, id)
  self.display:add(id)
  if not self.watcher or self.watcher:done() then
    begin(self, { id })
  else
    self.watcher:add(id)
  end
end

local function all_made(entry)
  for _, press in ipairs(entry.presses) do
    if not press.ids then return false end
  end
  return #entry.presses > 0
end

-- Those that an earlier run has pressed need no look: the server may not know them any more.
local function start(self, list)
  local fresh = {}
  for _, id in ipairs(list) do
    local entry = self.state:entry(id)
    if all_made(entry) then
      entry.open = false
      for _, press in ipairs(entry.presses) do follow(self, press) end
    else
      fresh[#fresh + 1] = id
      self.display:add(id)
    end
  end
  if #fresh > 0 then begin(self, fresh) end
end

-- ---- the whole ----------------------------------------------------------------------------------

-- Ctrl-C: a press that is under way is worth a moment, since nobody could know what became of it.
local function interrupted(self)
  local limit = core.now() + GRACE
  self.interrupted = true
  if self.pressing > 0 then
    output.say("waiting for the answer to a press; Ctrl-C again leaves at once")
  end
  while self.pressing > 0 and core.now() < limit do
    local ok, problem = pcall(self.mj.step, self.mj, 0.2)
    if not ok and exits.is_interrupt(problem) then break end
  end
end

local function say_open(self)
  local open = self.state:open_ids()
  output.say("interrupted; still open: %s", #open > 0 and table.concat(open, " ") or "nothing")
  if self.state.path then output.say("mjtask wait --state %s goes on", self.state.path) end
  return exits.INTERRUPTED
end

local function run(self, list)
  start(self, list)
  local rest -- seconds, nil: until something happens
  repeat
    local picture, file = self.display:tick(), self.state:tick()
    rest = picture and file and math.min(picture, file) or picture or file
  until not self.mj:step(rest)
end

--- Waits for these until all is done, and prints the results.
---@param list string[]
---@return integer code
function methods:run(list)
  local ok, problem = pcall(run, self, list)
  self.display:hide()
  local is_interrupt = not ok and exits.is_interrupt(problem)
  if is_interrupt then interrupted(self) end
  save_state(self)
  if is_interrupt then return say_open(self) end
  if not ok then error(problem, 0) end
  for _, entry in ipairs(self.state.tasks) do
    if self.codes[entry.id] then return self.codes[entry.id] end
  end
  return exits.DONE
end

return waiting
