-- The commands but for those that wait: what each asks of the library, and prints. Each takes its
-- arguments and returns the exit code.

local buttons = require "mjtask.buttons"
local connect = require "mjtask.cli.connect"
local exits = require "mjtask.cli.exits"
local ids = require "mjtask.cli.ids"
local mjtask = require "mjtask"
local output = require "mjtask.cli.output"
local pictures = require "mjtask.cli.pictures"
local show = require "mjtask.cli.show"

local commands = {}

-- An error where a result would be. Returns its code.
local function complain(given, err, id, saved)
  if given.json then
    local record = show.failure(err, id)
    record.saved = saved
    output.json(record)
  else
    output.say("%s", show.message(tostring(err)))
  end
  return exits.of(err)
end

-- Tasks in the order of their ids: calls `take(id, task)` for each that there is, which may return
-- a code other than 0. Returns the first of these, or of errors.
local function each_task(given, mj, take)
  local list = ids.read(given.id)
  if #list == 0 then exits.usage("no ids. See mjtask %s --help", given.command) end
  local found, failed = mj:fetch_many(list)
  if not found then return complain(given, failed) end
  local code
  for _, id in ipairs(list) do
    local own = failed[id] and complain(given, failed[id], id) or take(id, found[id])
    if own ~= exits.DONE then code = code or own end
  end
  return code or exits.DONE
end

function commands.fetch(given)
  local mj <close> = connect.client(given)
  local is_next = false
  return each_task(given, mj, function(id, task)
    if given.json then
      output.json(show.record(task, id))
    else
      output.text((is_next and "\n" or "") .. show.block(task, id))
    end
    is_next = true
    return exits.DONE
  end)
end

function commands.buttons(given)
  local mj <close> = connect.client(given)
  local id = ids.check(given.id)
  local task, err = mj:fetch(id)
  if not task then return complain(given, err, id) end
  for _, button in ipairs(mjtask.buttons(task)) do
    if given.json then
      output.json(show.button(button))
    else
      local custom_id = buttons.custom_id(button)
      output.line(buttons.name(button), custom_id and "pressable" or "not pressable",
        custom_id or "-")
    end
  end
  return exits.DONE
end

function commands.decode(given)
  local file, problem = io.stdin, nil
  if given.file and given.file ~= "-" then file, problem = io.open(given.file, "rb") end
  local text
  if file then text, problem = file:read "a" end
  if file and not text then problem = ("%s: %s"):format(given.file, problem) end
  if not text then exits.usage("%s", problem) end
  local task, err = mjtask.decode(text)
  if not task then
    err.message = err.message:gsub("^the answer", "the document") -- no server is asked
    complain(given, err)
    return exits.FAILED -- whatever kind it is: nothing that a network could mend
  end
  if given.json then output.json(show.record(task)) else output.text(show.block(task)) end
  return exits.DONE
end

function commands.download(given)
  local folder = given.output or "."
  local fault = pictures.check(folder)
  if fault then exits.stop(exits.FAILED, fault) end
  local mj <close> = connect.client(given)
  return each_task(given, mj, function(id, task)
    local saved, failure
    pictures.save(mj, task, id, folder, { force = given.force }, function(paths, err)
      saved, failure = paths, err
    end)
    while mj:step() do end
    if not given.json then
      for _, path in ipairs(saved) do output.line(path) end
    elseif not failure then
      output.json { id = id, saved = saved }
    end
    return failure and complain(given, failure, id, saved) or exits.DONE
  end)
end

return commands
