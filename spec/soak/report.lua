-- What the parts of the soak say, line by line, and what they are ended with. Knows samples.

local gauge = require "soak.gauge"
local literal = require "support.literal"

local report = {}

local MOST = 10 -- complaints; then it is enough

-- A sample's fields that must not grow, and what they are.
local GROWING = { { "heap", "Lua heap" }, { "held", "malloc" }, { "memory", "RSS" } }

function report.line(format, ...)
  print(format:format(...))
  io.stdout:flush()
end

local function kib(bytes)
  return bytes and ("%.0f"):format(bytes / 1024) or "?"
end

function report.sample(n, sample, seconds)
  if n == 1 then
    report.line("%8s %9s %11s %12s %14s %11s %9s %6s", "seconds", "calls", "requests",
      "descriptors", "Lua heap, KiB", "malloc, KiB", "RSS, KiB", "files")
  end
  report.line("%8.0f %9d %11s %12s %14s %11s %9s %6s", seconds, sample.count,
    sample.requests or "-", sample.descriptors or "?", kib(sample.heap), kib(sample.held),
    kib(sample.memory), sample.files or "-")
end

function report.counts(title, counts)
  local names, words = {}, {}
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names)
  for n, name in ipairs(names) do words[n] = ("%s %d"):format(name, counts[name]) end
  report.line("soak: %s: %s", title, table.concat(words, ", "))
end

--- For the parent: what there was after the warm-up, and at last.
function report.sum(what, samples, warm)
  local first, last = samples[warm + 1] or samples[#samples], samples[#samples]
  report.line("sum %s", literal.write { what = what, first = first, last = last })
end

-- ---- the verdict --------------------------------------------------------------------------------

local methods = {}
local mt = { __index = methods }

function report.verdict()
  return setmetatable({ complaints = 0 }, mt)
end

function methods:fail(fault, ...)
  self.complaints = self.complaints + 1
  if self.complaints <= MOST then report.line("soak: BROKEN: " .. fault, ...) end
end

function methods:is_enough()
  return self.complaints >= MOST
end

function methods:is_good()
  return self.complaints == 0
end

function methods:descriptors(base, count)
  if count ~= base then self:fail("%d descriptors, and %d at the beginning", count, base) end
end

--- Each field may have grown by so many KiB.
---@param limits table<string, integer> by field
function methods:growth(samples, warm, limits)
  for _, row in ipairs(GROWING) do
    local field, name = row[1], row[2]
    local grown, most = gauge.growth(samples, field, warm), limits[field]
    local is_exact = field ~= "memory" or samples[1].held -- else it was not trimmed
    if grown and is_exact and grown > 1024 * most then
      self:fail("%s has grown by %s KiB, %d are allowed", name, kib(grown), most)
    end
  end
end

return report
