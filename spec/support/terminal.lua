-- What a terminal shows after the bytes it was sent: as much of one as our display needs, and an
-- error for all else.

local terminal = {}

local methods = {}
local mt = { __index = methods }

---@param columns integer
---@param rows integer
function terminal.new(columns, rows)
  local self = setmetatable({ columns = columns, rows = rows, lines = {}, x = 1, y = 1 }, mt)
  for y = 1, rows do self.lines[y] = {} end
  return self
end

local function line_feed(self)
  if self.y < self.rows then
    self.y = self.y + 1
  else -- it scrolls
    table.remove(self.lines, 1)
    self.lines[self.rows] = {}
  end
end

local sequences = {}

function sequences.A(self, count) self.y = math.max(1, self.y - count) end
function sequences.m() end -- colours

function sequences.J(self)
  for x = self.x, self.columns do self.lines[self.y][x] = nil end
  for y = self.y + 1, self.rows do self.lines[y] = {} end
end

local function put(self, character)
  if self.x > self.columns then
    self.x = 1
    line_feed(self)
  end
  self.lines[self.y][self.x] = character
  self.x = self.x + 1
end

--- Takes in what was sent.
---@param bytes string
function methods:feed(bytes)
  local at = 1
  while at <= #bytes do
    local number, letter, behind = bytes:match("^\27%[(%d*)(%a)()", at)
    if letter then
      local sequence = assert(sequences[letter], "a sequence that no display of ours sends")
      sequence(self, math.tointeger(tonumber(number)) or 1)
      at = behind
    else
      local character = assert(bytes:match("^" .. utf8.charpattern, at))
      if character == "\r" then self.x = 1
      elseif character == "\t" then self.x = math.min((self.x - 1) // 8 * 8 + 9, self.columns)
      elseif character == "\b" then self.x = math.max(1, self.x - 1) -- the line's own, of ^D
      elseif character == "\n" then line_feed(self)
      else
        assert(character:byte() >= 32 and character ~= "\127", "a raw control character")
        put(self, character)
      end
      at = at + #character
    end
  end
end

--- The lines it shows, without what is empty behind each and below all.
---@return string[]
function methods:picture()
  local shown = {}
  for y, line in ipairs(self.lines) do
    local text = ""
    for x = 1, self.columns do text = text .. (line[x] or " ") end
    shown[y] = text:gsub(" +$", "")
  end
  while shown[#shown] == "" do shown[#shown] = nil end
  return shown
end

return terminal
