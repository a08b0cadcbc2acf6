-- What others took of our cores while we measured: other processes, and the host of a virtual
-- machine. Knows the kernel's clocks; must not know what is measured.

local machine = require "bench.machine"

local others = {}

local STATES = 8 -- of a core: user, nice, system, idle, iowait, irq, softirq, steal
local IDLE = { [4] = true, [5] = true }
local FIRST, LAST = 11, 14 -- numbers after a process's state: its user, system; its children's

local function is_ours(core)
  return not machine.cores or core == machine.cores.client or core == machine.cores.server
end

-- Ticks that our cores have been busy, for anybody, and that they have been there.
local function of_cores()
  local busy, all = 0, 0
  for core, line in machine.read "/proc/stat":gmatch "cpu(%d+) ([^\n]+)" do
    local state = 0
    for ticks in line:gmatch "%d+" do
      state = state + 1
      if state <= STATES and is_ours(tonumber(core)) then
        all = all + ticks
        if not IDLE[state] then busy = busy + ticks end
      end
    end
  end
  return busy, all
end

-- Ticks that this process has used, and all that it and they have started and waited for.
local function of_ours()
  local place, used = 0, 0
  for number in machine.read "/proc/self/stat":match ".*%) %a(.*)":gmatch "%-?%d+" do
    place = place + 1
    if place >= FIRST and place <= LAST then used = used + number end
  end
  return used
end

--- Begins to look. The function that it returns is to be called when all that was started has
--- ended, since only then its time is known: it says which share of our cores others had, 0 to 1.
---@return fun(): number
function others.watch()
  local busy, all = of_cores()
  local ours = of_ours()
  return function()
    local busy_now, all_now = of_cores()
    local theirs = busy_now - busy - (of_ours() - ours)
    return math.max(theirs / math.max(all_now - all, 1), 0)
  end
end

return others
