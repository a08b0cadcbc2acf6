-- Writes the Lua files that libmjtask.a carries as C data: lua embed.lua lua/mjtask/x.lua ... > x.c
-- Knows how C spells bytes, and how a file is named to require; what is in the files it need not.

-- lua/mjtask/loop/luv.lua is "mjtask.loop.luv" to require, "@mjtask/loop/luv.lua" in tracebacks.
local function names_of(path)
  local short = assert(path:match("^lua/(.+)$"), path .. ": not below lua/")
  local stem = assert(short:match("^(.+)%.lua$"), path .. ": no .lua"):gsub("/init$", "")
  return stem:gsub("/", "."), "@" .. short
end

-- Numbers, because C compilers need not take string literals of more than 4095 bytes.
local function bytes_of(text)
  local lines = {}
  for at = 1, #text, 24 do
    lines[#lines + 1] = table.concat({ text:byte(at, at + 23) }, ",")
  end
  return table.concat(lines, ",\n")
end

local files = { ... }
table.sort(files)

local rows = {}
print '/* Written by src/static/embed.lua. */\n#include "sources.h"\n'
for number, path in ipairs(files) do
  local file <close> = assert(io.open(path, "rb"))
  local text = assert(file:read "a")
  assert(#text > 0, path .. ": empty") -- C has no empty arrays
  assert(load(text, "@" .. path, "t")) -- a typing error ends the build, not the host
  local module, chunk = names_of(path)
  print(("static const unsigned char file_%d[] = {\n%s};\n"):format(number, bytes_of(text)))
  rows[number] = ('  {"%s", "%s", file_%d, sizeof file_%d},'):format(module, chunk, number, number)
end
print "const Source sources[] = {"
print(table.concat(rows, "\n"))
print "  {NULL, NULL, NULL, 0},\n};"
