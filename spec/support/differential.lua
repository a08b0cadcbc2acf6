-- Compares our decoder with Python's, document by document: accepted or not, strict or not, and
-- every value bit by bit. Knows both; reference.py lists where they differ on purpose.
--
-- By hand: lua5.4 spec/support/differential.lua [DOCUMENTS [SEED]], or make differential.

if arg and arg[0] and arg[0]:find "differential%.lua$" then
  package.path = "spec/?.lua;" .. package.path
end

local core = require "mjtask.core"
local json_broken = require "support.json_broken"
local json_random = require "support.json_random"

local differential = {}

local BATCH = 20000
-- without the sanitizers, which would find leaks in Python
local PYTHON = "LD_PRELOAD= python3 "
local REFERENCE = PYTHON .. "spec/support/reference.py"
local null = json_random.null
local KEPT, STRICT = { null = null }, { null = null, strict = true }

--- Why it cannot be run here; nil if it can.
function differential.missing()
  if os.execute(PYTHON .. "-c 'import json' 2>/dev/null") then return nil end
  return "python3 is not installed"
end

-- ---- ours, as reference.py writes it ------------------------------------------------------------

local write

local function write_table(out, value)
  if #value > 0 or next(value) == nil then
    out[#out + 1] = "["
    for i = 1, #value do write(out, value[i]) end
    out[#out + 1] = "]"
    return
  end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys)
  out[#out + 1] = "{"
  for i = 1, #keys do
    write(out, keys[i])
    write(out, value[keys[i]])
  end
  out[#out + 1] = "}"
end

function write(out, value)
  local kind = math.type(value) or type(value)
  if kind == "string" then
    out[#out + 1] = ("s%d:%s"):format(#value, value)
  elseif kind == "integer" then
    out[#out + 1] = ("i%d"):format(value)
  elseif kind == "float" then
    out[#out + 1] = ("d%016x"):format(string.unpack(">i8", string.pack(">d", value)))
  elseif kind == "boolean" then
    out[#out + 1] = value and "t" or "f"
  elseif value == null then
    out[#out + 1] = "n"
  else
    write_table(out, value)
  end
end

local function outcome(json)
  local value, fault = core.decode(json, KEPT)
  if value == nil then
    assert(fault, "neither a value nor a fault")
    assert(core.decode(json, STRICT) == nil, "strict takes what is refused otherwise")
    return "-"
  end
  local mark = core.decode(json, STRICT) == nil and "~" or "="
  local out = { mark }
  write(out, value)
  return table.concat(out)
end

-- ---- both ---------------------------------------------------------------------------------------

-- The reference answers from a file to a pipe: a pipe alone has one direction.
local function ask(list)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  for _, json in ipairs(list) do file:write(#json, "\n", json) end
  assert(file:close())
  return assert(io.popen(REFERENCE .. " < " .. path .. "; rm -f " .. path, "r"))
end

--- Compares both on a list of documents; calls `report(json, ours, theirs)` for each that differs.
--- Adds up in `counts` how many were accepted ("="), replaced ("~") and rejected ("-").
function differential.compare(list, report, counts)
  counts = counts or { ["="] = 0, ["~"] = 0, ["-"] = 0 }
  local answers <close> = ask(list)
  for _, json in ipairs(list) do
    local theirs = answers:read(assert(answers:read "n", "the reference ended too early") + 1)
    theirs = theirs:sub(2) -- less the line end after the number
    local ours = outcome(json)
    counts[theirs:sub(1, 1)] = counts[theirs:sub(1, 1)] + 1
    if ours ~= theirs then report(json, ours, theirs) end
  end
  return counts
end

--- Compares so many documents, every other one broken.
function differential.run(documents, seed, report)
  local good, broken = json_random.new(seed), json_broken.new(seed + 2)
  local counts
  for done = 0, documents - 1, BATCH do
    local list = {}
    for i = 1, math.min(BATCH, documents - done) do
      list[i] = i % 2 == 0 and broken:document() or (good:document())
    end
    counts = differential.compare(list, report, counts)
  end
  return counts
end

-- ---- by hand ------------------------------------------------------------------------------------

-- Where two texts begin to differ, and what is there.
local function show_difference(json, ours, theirs)
  local at = 1
  while ours:byte(at) == theirs:byte(at) do at = at + 1 end
  local from = math.max(1, at - 40)
  io.stderr:write(("%q\n  from byte %d on\n  ours:   %q\n  theirs: %q\n"):format(#json > 2000
    and json:sub(1, 2000) .. "…" or json, from, ours:sub(from, at + 80), theirs:sub(from, at + 80)))
end

local function main(documents, seed)
  local missing = differential.missing()
  if missing then
    io.stderr:write("not run: ", missing, "\n")
    os.exit(1)
  end
  local differences, started = 0, os.time()
  local counts = differential.run(documents, seed, function(json, ours, theirs)
    differences = differences + 1
    if differences <= 20 then show_difference(json, ours, theirs) end
  end)
  print(("%d documents in %d s: %d accepted, %d with something replaced, %d rejected")
    :format(documents, os.time() - started, counts["="], counts["~"], counts["-"]))
  print(("%d differences"):format(differences))
  os.exit(differences == 0)
end

if arg and arg[0] and arg[0]:find "differential%.lua$" then
  main(tonumber(arg[1]) or 100000, tonumber(arg[2]) or 20260101)
end

return differential
