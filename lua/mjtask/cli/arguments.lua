-- The command line: its commands, their options and what --help says. Knows argparse; must not know
-- what the commands do.

local core = require "mjtask.core"
local exits = require "mjtask.cli.exits"
local mjtask = require "mjtask"

local arguments = {}

local NARROW, WIDE = 40, 100 -- columns of help

-- ---- values -------------------------------------------------------------------------------------

local function number(least, what)
  return function(word)
    local value = tonumber(word)
    if value and value >= least then return value end
    return nil, ('"%s" is not %s'):format(word, what)
  end
end

local seconds = number(0.001, "a number of seconds")

local function whole(most)
  return function(word)
    local value = math.tointeger(tonumber(word))
    if value and value >= 0 and value <= most then return value end
    return nil, ('"%s" is not a whole number up to %d'):format(word, most)
  end
end

local function id(word)
  local checked, fault = core.id(word)
  if checked or word == "-" then return word end
  return nil, ('id "%s" %s'):format(word, fault)
end

-- ---- options that several commands have ---------------------------------------------------------

local ways = { "auto", "bearer", "raw", "mj-api-secret", "none" }
local providers = {}
for name in pairs(mjtask.providers) do providers[#providers + 1] = name end
table.sort(providers)

local function listed(names)
  return table.concat(names, ", ")
end

local function server(command)
  command:group("Server",
    command:option("--provider", ("A server known by its name: %s."):format(listed(providers)))
      :argname "NAME":choices(providers),
    command:option("--url", "The server's base URL."):argname "URL",
    command:option("--auth", ("How the key is sent: %s."):format(listed(ways)))
      :argname "HOW":choices(ways),
    command:option("--key-file", "Read the key from FILE, - for standard input, instead of "
      .. "MJTASK_KEY."):argname "FILE",
    command:option("--timeout", "Seconds for the whole call; to wait, for each task (60; 600).")
      :argname "S":convert(seconds),
    command:option("--retries", "Further tries of a request that failed (2)."):argname "N"
      :convert(whole(100)),
    command:option("--proxy", "An HTTP proxy; an empty one ignores the environment's.")
      :argname "URL",
    command:option("--cafile", "Certificates in place of the system's."):argname "FILE",
    command:flag("--allow-http", "Send the key over plain http to another machine."),
    command:flag("--allow-private", "Save pictures from private addresses."),
    command:flag("--trace", "Say each request, answer and retry on standard error."))
end

local function ids(command)
  command:argument("ID", "A task's id; - reads ids from standard input, one a line.")
    :target "id":args "+":convert(id)
end

local function looks(command)
  return command:option("--interval", "Seconds between two looks, at first (5).")
      :argname "S":convert(seconds),
    command:option("--stall", "Give up when nothing has changed for so long.")
      :argname "S":convert(seconds)
end

local function format(command)
  return command:flag("--json", "One line of JSON for each result.")
end

local function saving(command, default)
  return command:option("-o --output", ("Save the pictures %s, as ID.png, .webp and so on.")
      :format(default or "there")):argname "DIR",
    command:flag("-f --force", "Replace files that exist.")
end

local function quiet(command)
  return command:flag("-q --quiet", "No progress on standard error.")
end

local function modal(command)
  return command:option("--prompt", "The answer if the press opens a window."):argname "TEXT",
    command:option("--mask", "With --prompt: a picture of what to change."):argname "FILE"
end

-- ---- commands -----------------------------------------------------------------------------------

local define = {}

function define.fetch(command)
  command:description "Print tasks as they are now."
  ids(command)
  format(command)
  server(command)
  return "mjtask fetch 1735030480754475\n  mjtask fetch --json 1735030480754475 | jq .task.prompt"
end

function define.wait(command)
  command:description("Wait for tasks, and print what they made: id, status and a URL, or the file "
    .. "that was saved. How each fares is shown on standard error.")
  command:argument("ID", "A task's id; - reads ids from standard input. With --state there may be "
    .. "none: then what is open there."):target "id":args "*":convert(id)
  command:group("Results", format(command), saving(command))
  command:group("Waiting",
    command:option("--state", "Keep in FILE what is still open, and what was pressed already: a "
      .. "rerun goes on, and presses nothing twice."):argname "FILE",
    looks(command))
  command:group("Presses",
    command:option("--press", "Press this button of each task that succeeded, and wait for what "
      .. "that makes. Several times: several buttons."):argname "LABEL":count "*",
    modal(command))
  quiet(command)
  server(command)
  return "mjtask wait 1735030480754475 --press U1 -o pictures\n"
    .. "  mjtask wait --state night.json $(cat ids) ; mjtask wait --state night.json"
end

function define.watch(command)
  command:description("Print a line for each change of a task and for each end, as they come. With "
    .. "- more ids come from standard input, while the others are watched.")
  ids(command)
  format(command)
  command:group("Waiting", looks(command))
  server(command)
  return "mjtask watch 1735030480754475 1724963337114767\n  tail -f ids | mjtask watch -"
end

function define.buttons(command)
  command:description "List a task's buttons: label, whether it can be pressed, custom id."
  command:argument("ID", "The task's id."):target "id":convert(id)
  format(command)
  server(command)
  return "mjtask buttons 1735030480754475"
end

-- What press and submit have in common: what becomes of the task that is made.
local function groups_of_made(command)
  command:group("Results", format(command),
    command:flag("-w --wait", "Wait for it, as `mjtask wait` does."), saving(command))
  command:group("Waiting", looks(command))
  quiet(command)
  server(command)
end

function define.press(command)
  command:description("Press a button of a task that succeeded, and print the id of the task that "
    .. "makes. This costs money: it is sent once.")
  command:argument("ID", "The task's id."):target "id":convert(id)
  command:argument("LABEL", "The button's label, emoji or custom id."):target "label"
  command:group("Presses", modal(command))
  groups_of_made(command)
  return "mjtask press 1735030480754475 U1 --wait -o .\n"
    .. "  mjtask press 1735030480754475 🔄"
end

function define.submit(command)
  command:description("Submit something, and print the id of the task that makes. This costs "
    .. "money: it is sent once.")
  command:argument("NAME", "What: imagine, blend, describe, shorten, … as in POST submit/NAME.")
    :target "name"
  command:argument("PROMPT", "The prompt; in quotes, as --ar and the like belong to it.")
    :target "prompt":args "*"
  command:group("What is sent",
    command:option("-i --image", "A picture: of describe the one, else one of base64Array. Several "
      .. "times: several."):argname "FILE":count "*",
    command:option("-F --field", "A field of the body: NAME=TEXT, or NAME:=JSON."):argname "FIELD"
      :count "*")
  groups_of_made(command)
  return 'mjtask submit imagine "a red cat --ar 16:9" --wait -o .\n'
    .. "  mjtask submit blend -i one.png -i two.png -F dimensions=PORTRAIT\n"
    .. "  mjtask submit describe -i cat.png --wait --json"
end

function define.download(command)
  command:description "Save the pictures of tasks, and print their files: whole files or none."
  ids(command)
  command:group("Results", format(command), saving(command, "there (here)"))
  server(command)
  return "mjtask download 1735030480754475 -o pictures"
end

function define.decode(command)
  command:description("Read a task from a JSON document, such as a webhook's body, and print it as "
    .. "fetch does. Needs no server.")
  command:argument("FILE", "The document (standard input)."):target "file":args "?"
  format(command)
  return "mjtask decode < hook.json"
end

-- Those of the simulator, which is not loaded for its help.
local LIVES = "backwards, cancel, churning, completed, done, failure, foreign, foreign_failed, "
  .. "modal, no_image, no_status, null_status, pawmaas, short, sku, stuck, stuck_submitted, "
  .. "success, unswept, upscaled, upscaled_done, window"

function define.simulate(command)
  command:description("Serve tasks on this machine, as the servers do, for tests of your own: no "
    .. "account, no costs. Each submit makes a task that lives as ordered; 1735030480754475 and "
    .. "1724963337114767 are there from the start. It keeps prompt and state; it posts no hooks. "
    .. "Needs luasocket.")
  command:option("--port", "Where it listens, on 127.0.0.1; 0: any that is free."):argname "N"
    :convert(whole(65535)):default "8080"
  command:option("--life", ("How tasks fare: %s."):format(LIVES)):argname "NAME":default "success"
  command:option("--pace", "Seconds for each state of a task."):argname "S"
    :convert(number(0, "a number of seconds")):default "2"
  command:option("--dialect", "Whose answers: go (new-api), java, plus, net, ts, php.")
    :argname "NAME":default "go"
  command:option("--key-file", "The key that it wants; else all may in."):argname "FILE"
  return "mjtask simulate --life failure --pace 0.5"
end

function define.completion(command)
  command:description "Print what makes a shell complete mjtask's words."
  command:argument("SHELL", "bash, zsh or fish."):target "shell":choices { "bash", "zsh", "fish" }
  return 'eval "$(mjtask completion bash)"     in ~/.bashrc; with zsh in ~/.zshrc, after compinit\n'
    .. "  mjtask completion fish > ~/.config/fish/completions/mjtask.fish"
end

function define.help(command)
  command:description "Print this, or a command's own help."
  command:argument("COMMAND", "The command."):target "about":args "?"
  return "mjtask help wait"
end

-- In the order of --help, each with its line there.
local COMMANDS = {
  { "fetch", "tasks as they are now" },
  { "wait", "wait for tasks; press buttons, save pictures" },
  { "watch", "a line for each change of tasks, as it comes" },
  { "buttons", "a task's buttons" },
  { "press", "press a button" },
  { "submit", "imagine, blend, describe, …" },
  { "download", "save pictures" },
  { "decode", "read a task from a file" },
  { "simulate", "a server of one's own to try all this with" },
  { "completion", "completion for bash, zsh or fish" },
  { "help", "help for a command" },
}

-- ---- the whole ----------------------------------------------------------------------------------

local ENVIRONMENT = [[
Environment:
  MJTASK_PROVIDER, MJTASK_URL, MJTASK_AUTH   the server, unless options name one
  MJTASK_KEY   the key; it is never taken from the arguments
  NO_COLOR     no colours]]

-- Text in lines of so many columns, all but the first behind the indent.
local function wrapped(text, columns, indent)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and #indent + #line + 1 + #word > columns then
      lines[#lines + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. indent)
end

local function exit_codes(columns)
  local lines = { "Exit codes:" }
  for _, row in ipairs(exits.meanings) do
    lines[#lines + 1] = ("  %-5d%s"):format(row[1], wrapped(row[2], columns, "       "))
  end
  return table.concat(lines, "\n")
end

-- Argparse tells the words that are wrong, and what may have been meant, on two lines.
local function refuse(parser, message)
  local command = parser._name:match "%S+$" or "mjtask"
  local hint = command == "submit" and message:find "unknown option"
    and " (A prompt belongs in quotes.)" or ""
  exits.usage("%s%s See %s --help", message:gsub("\n", ". "):gsub("([^.?])$", "%1."), hint,
    parser:_get_fullname())
end

local function new_parser()
  local columns = math.max(NARROW, math.min(core.columns(1) or 80, WIDE))
  local argparse = exits.need("argparse", "the command line needs", "argparse", exits.USAGE)
  local parser = argparse("mjtask",
    "The tasks of a Midjourney proxy: fetched, waited for, their buttons pressed, their pictures "
    .. "saved.")
  parser:command_target "command":require_command(true)
  parser:help_max_width(columns):usage_max_width(columns)
  parser:flag("-V --version", "Print the version."):action(function()
    print("mjtask " .. mjtask._VERSION)
    os.exit(0)
  end)
  local commands, names = {}, {}
  for at, row in ipairs(COMMANDS) do
    local name, summary = row[1], row[2]
    local command = parser:command(name):summary(summary)
    command:epilog("Examples:\n  " .. define[name](command))
    commands[name], names[at] = command, name
  end
  parser:epilog(table.concat({
    "`mjtask help COMMAND` tells more, with examples.", exit_codes(columns), ENVIRONMENT,
  }, "\n\n"))
  parser.error = refuse
  return parser, commands, names
end

--- Reads the words of a command line. Ends the program if they are wrong.
---@param words string[]
---@return table arguments with `command`
---@return table parsers { parser, commands } which know their help; and the commands' names
function arguments.read(words)
  local parser, commands, names = new_parser()
  return parser:parse(words), { parser = parser, commands = commands, names = names }
end

return arguments
