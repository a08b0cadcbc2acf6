std = "lua54"
max_line_length = 100
include_files = {
  "lua/**/*.lua", "spec/**/*.lua", "library/**/*.lua", "examples/**/*.lua", "bench/**/*.lua",
  "fuzz/**/*.lua",
  "bin", "*.rockspec", ".luacheckrc", ".busted",
}
exclude_files = { ".lua", ".luarocks", ".install", "lua_modules", "build" }
-- declarations: nothing there runs
files["library"] = { unused_args = false, max_line_length = false }
files["spec"] = { std = "+busted" }
files["*.rockspec"] = { std = "+rockspec" }
files[".luacheckrc"] = { std = "+luacheckrc" }
