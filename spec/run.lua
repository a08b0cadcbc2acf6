-- Runs busted under the interpreter that runs this file. MJTASK_GC makes the
-- collector work all the time, so that what it can break does break: a pointer
-- to a value that nothing holds, a finalizer at a bad moment.
local mode = os.getenv "MJTASK_GC"

if mode == "incremental" then
  -- No pause between cycles, and each in many small steps, so that the program
  -- always runs in the midst of one. (A pause of 0 would mean: as it was.)
  collectgarbage("incremental", 1, 200, 10)
elseif mode == "generational" then
  -- The growth, in percent, that calls for a collection of what is young is
  -- kept in a byte: 256 is none at all, a collection at every chance.
  collectgarbage("generational", 256)
elseif mode then
  error("MJTASK_GC: incremental or generational, not " .. mode)
end

if os.getenv "MJTASK_LINES" then dofile "spec/support/lines.lua" end

require "busted.runner" { standalone = false }
