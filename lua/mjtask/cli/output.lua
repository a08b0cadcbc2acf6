-- Standard output and error: lines. Knows what a terminal must not see, and what is to be done when
-- nobody reads; must not know tasks.

local errors = require "mjtask.errors"
local exits = require "mjtask.cli.exits"
local json = require "mjtask.cli.json"

local output = {}

local EBADF, EPIPE = 9, 32

local cover -- what is drawn where the next line will stand
local held = {}

--- Before any other file is open: the number of a standard stream that is closed would be the next
--- socket's, and our lines would go to a server. What is held there cannot be written to either.
function output.open()
  for _, stream in ipairs { io.stdin, io.stdout, io.stderr } do
    local _, _, code = stream:seek "cur"
    if code == EBADF then held[#held + 1] = io.open("/dev/null", "r") end
  end
  io.stdout:setvbuf "line"
end

--- Something that is drawn on the terminal has `hide()`; nil: nothing is.
function output.cover(drawn)
  cover = drawn
end

-- Ends the program if it was not written. `lost`: the line, which may be an id that was paid for.
local function check(lost, ok, message, code)
  if ok then return end
  -- Who reads us has had enough: that is no fault.
  exits.stop(exits.FAILED, code ~= EPIPE and ("standard output: %s%s"):format(message,
    lost and ("; lost is: %s"):format((lost:gsub("\t", " "))) or "") or nil)
end

-- In one piece: of two, the C library keeps the first, and says nothing if it cannot write it when
-- the line end comes.
local function write(text)
  return io.stdout:write(text .. "\n")
end

--- Writes a line of fields with tabs between them, made visible.
function output.line(...)
  local fields = table.pack(...)
  for at = 1, fields.n do fields[at] = errors.visible(tostring(fields[at])) end
  if cover then cover:hide() end
  local line = table.concat(fields, "\t")
  check(line, write(line))
end

--- Writes a value as a line of JSON.
function output.json(value)
  local line = json.line(value)
  if cover then cover:hide() end
  check(line, write(line))
end

--- Writes text of ours: help.
function output.text(text)
  check(nil, write(text))
end

--- Says something on standard error, where nobody may be.
function output.say(text, ...)
  if select("#", ...) > 0 then text = text:format(...) end
  if cover then cover:hide() end
  io.stderr:write("mjtask: ", errors.visible(text), "\n")
end

function output.close()
  check(nil, io.stdout:flush())
end

return output
