rockspec_format = "3.0"
package = "mjtask"
version = "scm-1"

source = {
  url = "git+https://example.org/mjtask.git",
}

description = {
  summary = "The tasks of a Midjourney proxy: fetch, wait, watch, press, download.",
  detailed = [[
Fetches the tasks of a Midjourney proxy, waits for them, watches many at once,
finds their buttons by label, presses them and saves the pictures. Works in
plain scripts, in coroutines and inside a host's event loop.]],
  license = "MIT",
  labels = { "midjourney", "http", "client", "async" },
}

supported_platforms = { "unix" }

dependencies = {
  "lua >= 5.4, < 5.5",
  "lua-cjson >= 2.1.0",
  "argparse >= 0.7",
}

-- No header is named: LuaRocks does not look where Debian and Ubuntu keep it,
-- and the compiler does.
external_dependencies = {
  CURL = { library = "curl" },
}

build = {
  type = "builtin",
  modules = {
    ["mjtask"] = "lua/mjtask/init.lua",
    ["mjtask.actions"] = "lua/mjtask/actions.lua",
    ["mjtask.answer"] = "lua/mjtask/answer.lua",
    ["mjtask.body"] = "lua/mjtask/body.lua",
    ["mjtask.buttons"] = "lua/mjtask/buttons.lua",
    ["mjtask.calling"] = "lua/mjtask/calling.lua",
    ["mjtask.cli"] = "lua/mjtask/cli/init.lua",
    ["mjtask.cli.arguments"] = "lua/mjtask/cli/arguments.lua",
    ["mjtask.cli.commands"] = "lua/mjtask/cli/commands.lua",
    ["mjtask.cli.completions"] = "lua/mjtask/cli/completions.lua",
    ["mjtask.cli.connect"] = "lua/mjtask/cli/connect.lua",
    ["mjtask.cli.display"] = "lua/mjtask/cli/display.lua",
    ["mjtask.cli.exits"] = "lua/mjtask/cli/exits.lua",
    ["mjtask.cli.ids"] = "lua/mjtask/cli/ids.lua",
    ["mjtask.cli.jobs"] = "lua/mjtask/cli/jobs.lua",
    ["mjtask.cli.json"] = "lua/mjtask/cli/json.lua",
    ["mjtask.cli.output"] = "lua/mjtask/cli/output.lua",
    ["mjtask.cli.pictures"] = "lua/mjtask/cli/pictures.lua",
    ["mjtask.cli.screen"] = "lua/mjtask/cli/screen.lua",
    ["mjtask.cli.show"] = "lua/mjtask/cli/show.lua",
    ["mjtask.cli.simulate"] = "lua/mjtask/cli/simulate.lua",
    ["mjtask.cli.state"] = "lua/mjtask/cli/state.lua",
    ["mjtask.cli.waiting"] = "lua/mjtask/cli/waiting.lua",
    ["mjtask.client"] = "lua/mjtask/client.lua",
    ["mjtask.deliveries"] = "lua/mjtask/deliveries.lua",
    ["mjtask.download"] = "lua/mjtask/download.lua",
    ["mjtask.errors"] = "lua/mjtask/errors.lua",
    ["mjtask.fifo"] = "lua/mjtask/fifo.lua",
    ["mjtask.heap"] = "lua/mjtask/heap.lua",
    ["mjtask.ids"] = "lua/mjtask/ids.lua",
    ["mjtask.line"] = "lua/mjtask/line.lua",
    ["mjtask.loop.cqueues"] = "lua/mjtask/loop/cqueues.lua",
    ["mjtask.loop.luv"] = "lua/mjtask/loop/luv.lua",
    ["mjtask.loop.timer"] = "lua/mjtask/loop/timer.lua",
    ["mjtask.options"] = "lua/mjtask/options.lua",
    ["mjtask.poll"] = "lua/mjtask/poll.lua",
    ["mjtask.providers"] = "lua/mjtask/providers.lua",
    ["mjtask.retry"] = "lua/mjtask/retry.lua",
    ["mjtask.schedule"] = "lua/mjtask/schedule.lua",
    ["mjtask.straight"] = "lua/mjtask/straight.lua",
    ["mjtask.task"] = "lua/mjtask/task.lua",
    ["mjtask.watch"] = "lua/mjtask/watch.lua",
    ["mjtask.watcher"] = "lua/mjtask/watcher.lua",
    ["mjtask.core"] = {
      sources = {
        "src/address.c",
        "src/decode.c",
        "src/engine.c",
        "src/file.c",
        "src/headers.c",
        "src/host.c",
        "src/mjtask.c",
        "src/pollset.c",
        "src/transfer.c",
        "src/url.c",
      },
      libraries = { "curl", "pthread", "dl" },
      incdirs = { "$(CURL_INCDIR)" },
      libdirs = { "$(CURL_LIBDIR)" },
    },
  },
  install = {
    bin = { "bin/mjtask" },
  },
  -- The types for editors are in library. Those of spec are for `mjtask simulate`: the server of
  -- our specs.
  copy_directories = { "docs", "examples", "library", "spec/fixtures", "spec/support" },
}

-- By make, because LuaRocks does not build before it tests, nor says where the modules are.
test = {
  type = "command",
  command = [[sh -c 'exec make test ARGS="$*"' test]],
}
