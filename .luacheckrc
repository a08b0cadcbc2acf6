std = "lua54"
max_line_length = 100
include_files = {
  "lua/**/*.lua", "src/**/*.lua", "spec/**/*.lua", "library/**/*.lua", "examples/**/*.lua",
  "bench/**/*.lua", "fuzz/**/*.lua", "bin", "*.rockspec", "rockspecs/*.rockspec",
  ".luacheckrc", ".busted",
}
exclude_files = { ".lua", ".luarocks", ".install", "lua_modules", "build" }
files["examples/lighttpd"] = { globals = { "lighty" } }
files["examples/prosody"] = { globals = { "module" } }
files["spec/support/prosody"] = { globals = { "module", "prosody" } }
-- Declarations: nothing there runs.
files["library"] = { unused_args = false, max_line_length = false }
files["spec"] = { std = "+busted" }
files["spec/c"] = { globals = { "arg" }, read_globals = { "oom" } } -- inside its own host
files["*.rockspec"] = { std = "+rockspec" }
files["rockspecs"] = { std = "+rockspec" }
files[".luacheckrc"] = { std = "+luacheckrc" }
