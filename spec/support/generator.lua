-- Numbers at random that are one's own: the same from the same seed, whoever else draws.

-- xorshift64*
---@param seed integer
---@return fun(): number draw in [0, 1)
return function(seed)
  local state = seed * 0x9E3779B97F4A7C15 | 1
  local function draw()
    state = state ~ state >> 12
    state = state ~ state << 25
    state = state ~ state >> 27
    return (state * 0x2545F4914F6CDD1D >> 11) / 2.0 ^ 53
  end
  for _ = 1, 4 do draw() end
  return draw
end
