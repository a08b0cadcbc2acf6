-- Shows on standard error how tasks fare: redrawn in place on a terminal, else a line a change.
-- Knows terminals; how it looks is screen.lua's.

local core = require "mjtask.core"
local errors = require "mjtask.errors"
local output = require "mjtask.cli.output"
local screen = require "mjtask.cli.screen"

local display = {}

local STDERR = 2
local TICK = 0.2 -- seconds between two pictures, so that the time goes on
local SOONEST = 0.05 -- seconds: so many changes at once are one picture

---@class mjtask.cli.Display
local methods = {}
local mt = { __index = methods }

local function is_set(name)
  return (os.getenv(name) or "") ~= ""
end

--- `quiet`: shows nothing.
---@param quiet? boolean
---@return mjtask.cli.Display
function display.new(quiet)
  local can_draw = is_set "TERM" and os.getenv "TERM" ~= "dumb"
  local drawn = not quiet and can_draw and core.columns(STDERR) ~= nil
  local self = setmetatable({
    drawn = drawn, -- in place
    quiet = quiet or false,
    color = not is_set "NO_COLOR",
    rows = {}, -- in their order: id, status, percent, since
    by_id = {},
    lines = {}, -- on the terminal now
    due = 0, -- when the next picture is
  }, mt)
  if drawn then output.cover(self) end
  return self
end

-- ---- on a terminal ------------------------------------------------------------------------------

-- The lines that the terminal made of ours: one that has become narrower has broken some.
local function height(lines, columns)
  local count = 0
  for _, line in ipairs(lines) do
    local width = utf8.len((line:gsub("\27%[%d*m", "")))
    count = count + math.max(1, (width + columns - 1) // columns)
  end
  return count
end

-- What takes the terminal back to where the picture begins, and clears the rest.
local function back(self, columns)
  local lines = height(self.lines, columns)
  self.lines = {}
  return lines > 0 and ("\27[%dA\r\27[J"):format(lines) or ""
end

--- Takes the picture away: a line of text goes where it was.
function methods:hide()
  if #self.lines == 0 then return end
  io.stderr:write(back(self, core.columns(STDERR) or 80))
  self.due = core.now() + SOONEST
end

local function draw(self)
  local now = core.now()
  local columns, height_of_all = core.columns(STDERR)
  if not columns then return end
  local rows = {}
  for at, row in ipairs(self.rows) do
    rows[at] = {
      id = row.id, status = row.status, percent = row.percent, seconds = now - row.since,
    }
  end
  -- A line less than there are, and a column: what is full makes terminals scroll, or break lines.
  local lines = screen.lines(rows, columns - 1, height_of_all - 1, self.color)
  local text = back(self, columns)
  self.lines = lines
  for _, line in ipairs(lines) do text = text .. line .. "\n" end
  if text ~= "" then io.stderr:write(text) end -- at once, so that it does not flicker
  self.due = now + TICK
end

-- ---- either way ---------------------------------------------------------------------------------

local function change(self)
  if self.drawn then self.due = math.min(self.due, core.now() + SOONEST) end
end

--- A task is waited for.
---@param id string
function methods:add(id)
  if self.by_id[id] then return end
  local row = { id = id, status = "waiting", since = core.now() }
  self.rows[#self.rows + 1], self.by_id[id] = row, row
  change(self)
end

--- How a task fares, if it is one of these.
---@param id? string
---@param status string
---@param percent? number
function methods:show(id, status, percent)
  local row = self.by_id[id]
  if not row or row.status == status and row.percent == percent then return end
  row.status, row.percent = status, percent
  change(self)
  if self.drawn or self.quiet then return end
  io.stderr:write(("%s %s%s\n"):format(id, errors.visible(status),
    percent and (" %d%%"):format(percent // 1 | 0) or ""))
end

--- A task has ended, or is nobody's any more.
function methods:drop(id)
  self.by_id[id] = nil
  for at, row in ipairs(self.rows) do
    if row.id == id then table.remove(self.rows, at) break end
  end
  change(self)
end

--- Brings the picture up to date, and says for how long that will do: seconds, nil without end.
---@return number?
function methods:tick()
  if not self.drawn then return nil end
  if core.now() >= self.due then draw(self) end
  return math.max(self.due - core.now(), 0.01)
end

return display
