-- Ids from arguments and from standard input. Knows the core's rule for their characters.

local core = require "mjtask.core"
local exits = require "mjtask.cli.exits"
local errors = require "mjtask.errors"

local ids = {}

--- The id, or ends the program.
---@param word string
---@return string
function ids.check(word)
  local id, fault = core.id(word)
  if not id then exits.usage('id "%s" %s', errors.printable(word, 40), fault) end
  return id
end

-- The first field of a line, so that lines of `submit`, `wait` and `watch` do; nil: it is empty.
local function id_in(line)
  local word = line:match "^%s*(%S+)"
  return word and ids.check(word)
end

--- All that the arguments name, each once. "-": those on standard input, to its end.
---@param words string[]
---@return string[]
function ids.read(words)
  local list, seen = {}, {}
  local function add(id)
    if id and not seen[id] then
      seen[id] = true
      list[#list + 1] = id
    end
  end
  for _, word in ipairs(words) do
    if word ~= "-" then
      add(ids.check(word))
    else
      for line in io.stdin:lines() do add(id_in(line)) end
    end
  end
  return list
end

--- Ids on standard input, as they come. Reads no byte more than there are, and so never waits.
local methods = {}
local mt = { __index = methods }

local STDIN = 0

function ids.stream()
  io.stdin:setvbuf "no" -- what a buffer holds could not be asked for
  return setmetatable({ line = "", over = false }, mt)
end

--- The ids of the lines that have come since. With `patient` it waits for one first.
---@param patient boolean
---@return string[]
function methods:take(patient)
  local list = {}
  while not self.over and (patient or core.readable(STDIN)) do
    local byte = io.stdin:read(1)
    self.over = not byte
    if byte and byte ~= "\n" then
      self.line = self.line .. byte
    else
      list[#list + 1] = id_in(self.line)
      self.line = ""
      patient = patient and #list == 0
    end
  end
  return list
end

return ids
