-- Lua in a process of its own, with the paths of this one and an environment to order: the host's
-- own MJTASK_ and proxy variables do not reach it.

local shell = require "support.shell"

local child = {}

local HIDDEN = {
  "MJTASK_URL", "MJTASK_PROVIDER", "MJTASK_KEY", "MJTASK_AUTH", "LUA_INIT", "LUA_INIT_5_4",
  "LUA_PATH_5_4", "LUA_CPATH_5_4", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
  "ALL_PROXY", "no_proxy", "NO_PROXY",
}

--- Runs `script` and returns all that it printed, errors included, and its exit status.
---@param script string
---@param environment? table<string, string>
---@param around? string shell commands in which %s stands for the child's: "ulimit -n 40; %s"
---@return string output
---@return integer status
function child.run(script, environment, around)
  local words = { "env" }
  for _, name in ipairs(HIDDEN) do words[#words + 1] = "-u " .. name end
  local given = { LUA_PATH = package.path, LUA_CPATH = package.cpath }
  for name, value in pairs(environment or {}) do given[name] = value end
  for name, value in pairs(given) do words[#words + 1] = name .. "=" .. shell.quoted(value) end
  words[#words + 1] = shell.quoted(shell.interpreter()) .. " -e " .. shell.quoted(script) .. " 2>&1"
  local command = table.concat(words, " ")
  command = around and around:gsub("%%s", function() return command end) or command
  local pipe = assert(io.popen(command))
  local output = pipe:read("a")
  local _, _, status = pipe:close()
  return output, status
end

--- A new, empty directory, and what removes it and all in it. Below `parent`, if that can be had.
---@param parent? string
---@return string path
---@return fun() remove
function child.directory(parent)
  local there = parent and "mktemp -d -p " .. shell.quoted(parent) .. " 2> /dev/null || " or ""
  local pipe <close> = assert(io.popen(there .. "mktemp -d"))
  local path = pipe:read("l")
  assert(path and path:match("^/[^']+$"), "mktemp gave no directory")
  return path, function() os.execute("rm -rf " .. shell.quoted(path)) end
end

return child
