-- What a type file of library/ declares, read as text: classes, their fields, functions, aliases.
-- Knows the few annotations that are used there; must not know what they are about.
--
--   local types = declared.read "library/mjtask.lua"
--   types.classes["mjtask.Task"].fields.status    -- { type = "string", optional = true }
--   types.classes["mjtask.WaitOptions"].parent    -- "mjtask.CallOptions"
--   types.classes["mjtask.Client"].methods.fetch  -- { params, arities, options }
--   types.aliases["mjtask.Outcome"]               -- "…"|"…": the text; declared.words of it: a set

local declared = {}

local function read_lines(path)
  local lines = {}
  for line in assert(io.lines(path)) do lines[#lines + 1] = line end
  return lines
end

-- A field's line: `name`, `name?` or `[string]`, then what it is.
local function add_field(class, text)
  local name, mark, what = text:match "^([%w_]+)(%??) (.+)$"
  if name then
    assert(not class.fields[name], "declared twice: " .. name)
    class.fields[name] = { type = what, optional = mark == "?" }
  else
    assert(text:match "^%[string%]", "not understood: " .. text)
  end
end

local function split(text)
  local names = {}
  for name in text:gmatch "[^%s,]+" do names[#names + 1] = name end
  return names
end

-- How many parameters the function in an annotation has: names before colons, not those of
-- functions and tables inside of it.
local function count_params(overload)
  local params = assert(overload:match "^fun(%b())", overload):sub(2, -2)
  params = params:gsub("%b()", ""):gsub("%b{}", "")
  local count = 0
  for _ in params:gmatch "[%w_]+%??:" do count = count + 1 end
  return count
end

-- A function: its parameters' names, the class of its options, and how many arguments the forms
-- that are given take, `self` included where there is one.
local function new_function(params, is_method, notes)
  local own = { params = split(params), arities = {} }
  own.arities[1] = #own.params + (is_method and 1 or 0)
  for _, note in ipairs(notes) do
    own.options = own.options or note:match "^param options%?? (%S+)"
    local overload = note:match "^overload (.+)$"
    if overload then own.arities[#own.arities + 1] = count_params(overload) end
  end
  return own
end

-- A class: its line, and the table that follows is its functions'.
local function new_class(types, text)
  local name = text:match "^%S+"
  assert(not types.classes[name], "declared twice: " .. name)
  local class = { parent = text:match "^%S+ : (%S+)", fields = {}, methods = {} }
  types.classes[name] = class
  return class
end

---@param path string
---@return table types
function declared.read(path)
  local types = { classes = {}, aliases = {}, module = nil }
  local class, alias, notes, by_table = nil, nil, {}, {}
  for _, line in ipairs(read_lines(path)) do
    local tag, text = line:match "^%-%-%-@(%w+) ?(.*)$"
    local name, dot, method, params = line:match "^function ([%w_]+)([.:])([%w_]+)%((.-)%) end$"
    if tag == "class" then
      class, alias = new_class(types, text), nil
    elseif tag == "field" then
      add_field(class, text)
    elseif tag == "alias" then
      alias = text:match "^%S+"
      types.aliases[alias] = text:match "^%S+ (.*)$" or ""
    elseif tag then
      notes[#notes + 1] = tag .. " " .. text
    elseif line:match "^%-%-%-|" then
      types.aliases[alias] = types.aliases[alias] .. line:sub(4)
    elseif line:match "^local ([%w_]+) = {}" then
      by_table[line:match "^local ([%w_]+)"] = class
    elseif name then
      local owner = assert(by_table[name], "whose is it? " .. line)
      assert(not owner.methods[method], "declared twice: " .. method)
      owner.methods[method] = new_function(params, dot == ":", notes)
    elseif line:match "^return " then
      types.module = by_table[line:match "^return ([%w_]+)"]
    end
    if not line:match "^%-%-" then notes = {} end
  end
  return types
end

--- The words in quotes of an alias, as keys.
function declared.words(text)
  local words = {}
  for word in text:gmatch '"([^"]*)"' do words[word] = true end
  return words
end

--- The fields of a class and of those it inherits from, as keys.
function declared.fields(types, name)
  local all = {}
  while name do
    local class = assert(types.classes[name], name)
    for field in pairs(class.fields) do all[field] = true end
    name = class.parent
  end
  return all
end

return declared
