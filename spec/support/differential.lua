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
local REFERENCE = "python3 spec/support/reference.py"
local null = json_random.null
local KEPT, STRICT = { null = null }, { null = null, strict = true }

--- Why it cannot be run here; nil if it can.
function differential.missing()
  if not os.execute "python3 -c 'import json' 2>/dev/null" then return "python3 is not installed" end
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

-- The documents of one batch, from `next_document`; in a file, because a pipe has one direction.
local function write_batch(path, count, next_document)
  local file = assert(io.open(path, "wb"))
  local list = {}
  for i = 1, count do
    list[i] = next_document()
    file:write(#list[i], "\n", list[i])
  end
  assert(file:close())
  return list
end

local function compare(list, answers, counts, report)
  for _, json in ipairs(list) do
    local size = assert(tonumber(answers:read "l"), "the reference ended too early")
    local theirs = size > 0 and answers:read(size) or ""
    local ours = outcome(json)
    local mark = theirs:sub(1, 1)
    counts[mark] = (counts[mark] or 0) + 1
    if ours ~= theirs then report(json, ours, theirs) end
  end
end

--- Compares so many documents of both kinds; calls `report(json, ours, theirs)` for each that
--- differs. Returns how many of them were accepted ("="), replaced ("~") and rejected ("-").
function differential.run(documents, seed, report)
  local good, broken = json_random.new(seed), json_broken.new(seed + 2)
  local counts, done = {}, 0
  local function next_document()
    done = done + 1
    if done % 2 == 0 then return broken:document() end
    return (good:document())
  end
  local path = os.tmpname()
  while done < documents do
    local list = write_batch(path, math.min(BATCH, documents - done), next_document)
    local answers <close> = assert(io.popen(REFERENCE .. " < " .. path, "r"))
    compare(list, answers, counts, report)
  end
  os.remove(path)
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
    :format(documents, os.time() - started, counts["="] or 0, counts["~"] or 0, counts["-"] or 0))
  print(("%d differences"):format(differences))
  os.exit(differences == 0)
end

if arg and arg[0] and arg[0]:find "differential%.lua$" then
  main(tonumber(arg[1]) or 100000, tonumber(arg[2]) or 20260101)
end

return differential
