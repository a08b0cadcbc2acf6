-- A clock and a die for specs: time stands still while a transfer is under way, and jumps to what
-- is due next in place of a sleep. Goes as the second argument of require "mjtask.client".new.
--
--   local time = clock.new()            -- random() always gives 0.5
--   local mj = client.new(options, time)
--   time.elapsed()                      -- seconds since the clock was made
--   time.sleeps                         -- the seconds of each jump

local clock = {}

local START = 1000 -- seconds; a monotonic clock begins anywhere but at zero

--- `chance`: what random() gives, a number or a function.
function clock.new(chance)
  local self = { time = START, chance = chance or 0.5, sleeps = {} }

  function self.now() return self.time end

  function self.random()
    if type(self.chance) == "function" then return self.chance() end
    return self.chance
  end

  function self.jump(time)
    self.sleeps[#self.sleeps + 1] = time - self.time
    self.time = time
  end

  function self.elapsed() return self.time - START end

  return self
end

return clock
