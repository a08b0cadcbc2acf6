-- How tasks under way look on a terminal: from rows and a width to lines of text. Knows no
-- terminal, no clock and no client.

local errors = require "mjtask.errors"

local screen = {}

local STATUS = 12 -- columns of a status; the longest usual word is IN_PROGRESS
local LEAST_ID, MOST_ID = 6, 24 -- columns; usual ids have 16 to 19
local SHORT_BAR, LEAST_BAR, MOST_BAR = 6, 10, 40 -- columns; the short one where all is narrow
local GAP, ELLIPSIS = "  ", "…"

--- One task under way.
---@class mjtask.cli.Row
---@field id string
---@field status string
---@field percent? number
---@field seconds number since it is waited for

--- Seconds as a clock shows them: 0:07, 12:34, 1:02:03.
---@param seconds number
---@return string
function screen.clock(seconds)
  local whole = seconds // 1 | 0
  local hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
  if hours > 0 then return ("%d:%02d:%02d"):format(hours, minutes, rest) end
  return ("%d:%02d"):format(minutes, rest)
end

-- Servers choose the words; a character of two columns would break the picture.
local function plain(text)
  return (errors.visible(text):gsub("[\x80-\xFF]+", "?"))
end

-- A task's end tells more than its beginning, which is a date.
local function fit_id(id, columns)
  if #id <= columns then return id .. (" "):rep(columns - #id) end
  return ELLIPSIS .. id:sub(#id - columns + 2)
end

local function fit(text, columns)
  if #text <= columns then return text .. (" "):rep(columns - #text) end
  return text:sub(1, columns - 1) .. ELLIPSIS
end

local function bar(percent, columns, color)
  local inner = columns - 2
  local done = math.floor((percent or 0) * inner / 100)
  local full, rest = ("#"):rep(done), ("."):rep(inner - done)
  if color and done > 0 then full = "\27[32m" .. full .. "\27[0m" end
  return "[" .. full .. rest .. "]"
end

local function longest(rows, least, most, text_of)
  local width = least
  for _, row in ipairs(rows) do width = math.max(width, #text_of(row)) end
  return math.min(width, most)
end

-- How many columns each part gets; 0: it is left out. Percent and time tell most, then which task
-- it is, then its status. Where these and a bar do not fit, the status has no columns to spare,
-- and a short bar tells more than the beginning of an id.
local function divide(rows, columns)
  local function id(row) return row.id end
  local function clock(row) return screen.clock(row.seconds) end
  local function status_of(row) return plain(row.status) end
  local longest_id, longest_clock = longest(rows, 0, MOST_ID, id), longest(rows, 4, columns, clock)
  local parts = { clock = longest_clock, id = 0, status = 0, bar = 0 }
  local left = columns - #"100% " - longest_clock
  local function take(part, least, most)
    if left < #GAP + least then return end
    parts[part] = math.min(most, left - #GAP)
    left = left - #GAP - parts[part]
  end
  local is_narrow = left < 3 * #GAP + longest_id + STATUS + LEAST_BAR
  local status = is_narrow and longest(rows, 0, STATUS, status_of) or STATUS
  local short_id = math.min(longest_id, LEAST_ID)
  take("id", short_id, short_id)
  take("status", status, status)
  if is_narrow and parts.status > 0 then take("bar", SHORT_BAR, SHORT_BAR) end
  if parts.id > 0 then
    local more = math.min(longest_id - parts.id, left)
    parts.id, left = parts.id + more, left - more
  end
  if parts.bar > 0 then
    parts.bar = parts.bar + left
  elseif not is_narrow then
    take("bar", LEAST_BAR, MOST_BAR)
  end
  return parts
end

local function line(row, parts, columns, color)
  local words = {}
  if parts.id > 0 then words[#words + 1] = fit_id(row.id, parts.id) end
  if parts.status > 0 then words[#words + 1] = fit(plain(row.status), parts.status) end
  if parts.bar > 0 then words[#words + 1] = bar(row.percent, parts.bar, color) end
  local percent = row.percent and ("%3d%%"):format(row.percent // 1 | 0) or "   -"
  words[#words + 1] = percent .. (" %%%ds"):format(parts.clock):format(screen.clock(row.seconds))
  local text = table.concat(words, GAP)
  return #words > 1 and text or text:sub(1, columns)
end

--- The lines that show these rows: none wider than `columns`, and no more than `most`, of which the
--- last one then counts the rest.
---@param rows mjtask.cli.Row[]
---@param columns integer
---@param most integer
---@param color boolean
---@return string[]
function screen.lines(rows, columns, most, color)
  local shown = #rows <= most and #rows or math.max(most - 1, 0)
  local parts = divide(rows, columns)
  local lines = {}
  for at = 1, shown do lines[at] = line(rows[at], parts, columns, color) end
  if shown < #rows then
    lines[#lines + 1] = ("and %d more"):format(#rows - shown):sub(1, columns)
  end
  return lines
end

return screen
