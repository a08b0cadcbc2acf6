-- The JSON that is served and decoded, all of it made from the two seed answers in spec/fixtures.

local documents = {}

local ID = "1735030480754475" -- the first seed's
local LIST = 100 -- tasks
-- Three times this is the long prompt.
local CHINESE = "一只身披破旧黑铁铠甲的幽灵战士伫立在夜色笼罩的荒原之上周身散发着淡蓝色的荧光"
  .. "没有实体的身躯如同薄雾手中紧握残破的铁剑面容宛若中年男子背景是残月之下的远山"

documents.ID = ID

local function fixture(name)
  local file <close> = assert(io.open("spec/fixtures/" .. name .. ".json", "rb"))
  return file:read "a"
end

-- Without the space between tokens, as servers send it. The seeds have no escapes.
local function minified(text)
  assert(not text:find("\\", 1, true))
  local out = {}
  for outside, inside in (text .. '""'):gmatch '([^"]*)("[^"]*")' do
    out[#out + 1] = outside:gsub("%s+", "") .. inside
  end
  return table.concat(out):sub(1, -3)
end

local function replaced(text, from, to)
  local at, last = text:find(from, 1, true)
  assert(at, from)
  return text:sub(1, at - 1) .. to .. text:sub(last + 1)
end

-- The same task under another id.
local function renamed(seed, id)
  return replaced(seed, ID, id)
end

-- As it was shortly before its end.
local function running(seed, id)
  local text = replaced(seed, '"SUCCESS"', '"IN_PROGRESS"')
  return renamed(replaced(text, '"100%"', '"93%"'), id)
end

-- Every character as \uXXXX, as servers of some languages write it.
local function escaped(text)
  local out = {}
  for _, code in utf8.codes(text) do out[#out + 1] = ("\\u%04x"):format(code) end
  return table.concat(out)
end

-- The seed with a long Chinese prompt wherever its prompt stands.
local function with_escapes(seed)
  local prompt = seed:match '"prompt":"(.-)"'
  local long = escaped(CHINESE:rep(3))
  local parts, place = {}, 1
  local from, to = seed:find(prompt, place, true)
  while from do
    parts[#parts + 1] = seed:sub(place, from - 1) .. long
    place = to + 1
    from, to = seed:find(prompt, place, true)
  end
  return table.concat(parts) .. seed:sub(place)
end

local SMALL = '{"id":"%s","action":"IMAGINE","status":"IN_PROGRESS",'
  .. '"prompt":"a cat in the wilderness at night --s 550",'
  .. '"promptEn":"a cat in the wilderness at night --s 550","description":"",'
  .. '"submitTime":1735030481000,"startTime":1735030482000,"finishTime":null,"progress":"46%%",'
  .. '"imageUrl":"","failReason":null,"buttons":[],"state":""}'

--- A task under way without a picture; `id` may be a word that the server fills in.
---@param id string
---@return string
function documents.small(id)
  return SMALL:format(id)
end

local function list(seed)
  local tasks = {}
  for n = 1, LIST do tasks[n] = renamed(seed, documents.id(n)) end
  return "[" .. table.concat(tasks, ",") .. "]"
end

--- The id of the n-th task of lists and watches.
---@return string
function documents.id(n)
  return ("%d"):format(1735030480000000 + n)
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

--- Writes them all into a folder; of `large` tasks under way a file each, as large as the seed.
--- Returns the bytes of each.
---@param folder string
---@param large integer
---@return table<string, integer>
function documents.write(folder, large)
  local seed = minified(fixture "sku")
  local all = {
    seed = seed, pawmaas = minified(fixture "pawmaas"), small = documents.small(ID),
    list = list(seed), escapes = with_escapes(seed),
  }
  local sizes = {}
  for name, text in pairs(all) do
    write(("%s/%s.json"):format(folder, name), text)
    sizes[name] = #text
  end
  assert(os.execute("mkdir '" .. folder .. "/large'"))
  for n = 1, large do
    local id = documents.id(n)
    write(("%s/large/%s.json"):format(folder, id), running(seed, id))
  end
  return sizes
end

return documents
