-- Words for a shell, and the program that runs the specs.

local shell = {}

function shell.quoted(word)
  return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

--- The interpreter that runs the specs, if it is one.
function shell.interpreter()
  local first = 0
  while arg and arg[first - 1] do first = first - 1 end
  local name = arg and arg[first] or ""
  return name:match("lua[%d.]*$") and name or "lua5.4"
end

return shell
