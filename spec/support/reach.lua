-- Everything that can be reached from a value: fields, metatables, user values, upvalues, the
-- stacks of coroutines. For finding what must not be there.

local reach = {}

local function each_slot(co, level, visit)
  for _, sign in ipairs { 1, -1 } do
    local at = sign
    while true do
      local name, value = debug.getlocal(co, level, at)
      if not name then break end
      visit(value, "local " .. name)
      at = at + sign
    end
  end
end

local inside = {}

function inside.table(value, visit)
  for key, inner in next, value do
    visit(key, "a key")
    visit(inner, "." .. (type(key) == "string" and key or type(key)))
  end
end

function inside.userdata(value, visit)
  local n = 1
  while true do
    local inner, there = debug.getuservalue(value, n)
    if not there then break end
    visit(inner, "user value " .. n)
    n = n + 1
  end
end

inside["function"] = function(value, visit)
  local n = 1
  while true do
    local name, inner = debug.getupvalue(value, n)
    if not name then break end
    visit(inner, "upvalue " .. name)
    n = n + 1
  end
end

function inside.thread(value, visit)
  local level = 0
  while true do
    local info = debug.getinfo(value, level, "f")
    if not info then break end
    visit(info.func, "function at " .. level)
    each_slot(value, level, visit)
    level = level + 1
  end
end

--- Calls `look(string, way)` for every string that can be reached from the roots; returns how many
--- values there were.
---@param roots table
---@param look fun(text: string, way: string)
function reach.strings(roots, look)
  local seen, todo, count = {}, {}, 0
  local function visitor(way)
    return function(value, step)
      if type(value) == "string" then
        look(value, way .. " " .. step)
      elseif type(value) ~= "number" and value ~= nil and not seen[value] then
        seen[value] = true
        count = count + 1
        todo[#todo + 1] = { value, #way < 400 and way .. " " .. step or way }
      end
    end
  end
  seen[seen], seen[todo], seen[roots] = true, true, true
  for name, root in next, roots do visitor("")(root, tostring(name)) end
  while #todo > 0 do
    local value, way = table.unpack(table.remove(todo))
    local visit = visitor(way)
    visit(debug.getmetatable(value), "metatable")
    local open = inside[type(value)]
    if open then open(value, visit) end
  end
  return count
end

return reach
