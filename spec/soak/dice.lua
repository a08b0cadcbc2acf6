-- Decisions at random, the same from the same seed. Knows nothing of what is decided.

local generator = require "support.generator"

local dice = {}

local methods = {}
local mt = { __index = methods }

function dice.new(seed)
  return setmetatable({ draw = generator(seed) }, mt)
end

--- True in that share of cases.
function methods:hits(share)
  return self.draw() < share
end

function methods:between(least, most)
  return least + self.draw() * (most - least)
end

--- An integer from `least` to `most`.
function methods:whole(least, most)
  return math.tointeger(least + self.draw() * (most - least + 1) // 1)
end

function methods:pick(list)
  return list[self:whole(1, #list)]
end

--- A name of { name = weight }, given as an array of { name, weight }.
function methods:weighed(rows)
  local total = 0
  for _, row in ipairs(rows) do total = total + row[2] end
  local left = self.draw() * total
  for _, row in ipairs(rows) do
    left = left - row[2]
    if left < 0 then return row[1] end
  end
  return rows[#rows][1]
end

return dice
