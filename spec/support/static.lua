-- libmjtask.a for specs: that of the build under test.

local process = require "support.process"

local static = {}

local function exists(path)
  local file = io.open(path)
  return file and file:close()
end

-- build/asan/ and others like it, which have flags of their own; nil: the ordinary build.
local function variant()
  local core = assert(package.searchpath("mjtask.core", package.cpath))
  return core:match "^(.*build/%w+/)lib/mjtask/core%.so$"
end

--- Where it is; or nil, and why there is none. The ordinary one is made here, those of `make asan`
--- and others there.
---@return string? path
---@return string? reason
function static.archive()
  local folder = variant()
  if not folder then
    local output, reason = process.build "make -s static"
    return output and "build/static/libmjtask.a", reason
  end
  local path = folder .. "static/libmjtask.a"
  if exists(path) then return path end
  return nil, ("not run: %s was not made"):format(path)
end

--- What links lua-cjson into a program, by how: { archive =, module = } where they are there.
---@return table<string, string>
function static.cjson()
  local found = {}
  local pipe <close> = assert(io.popen "cc -print-file-name=liblua5.4-cjson.a 2> /dev/null")
  for how, path in pairs {
    archive = pipe:read "l", module = package.searchpath("cjson", package.cpath),
  } do
    if path:find "^/" and exists(path) then found[how] = path end
  end
  return found
end

return static
