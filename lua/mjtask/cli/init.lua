-- The command line as a whole: from words to an exit code. Puts its rooms together; what a command
-- does is theirs.

local arguments = require "mjtask.cli.arguments"
local commands = require "mjtask.cli.commands"
local completions = require "mjtask.cli.completions"
local exits = require "mjtask.cli.exits"
local jobs = require "mjtask.cli.jobs"
local output = require "mjtask.cli.output"

local cli = {}

local function help(given, parsers)
  local about = given.about and parsers.commands[given.about] or parsers.parser
  if given.about and not parsers.commands[given.about] then
    exits.usage("unknown command '%s'. See mjtask --help", given.about)
  end
  output.text(about:get_help())
  return exits.DONE
end

local function completion(given, parsers)
  output.text(completions.script(given.shell, parsers.parser, parsers.names))
  return exits.DONE
end

local function run(words, here)
  local given, parsers = arguments.read(words)
  local name = given.command
  if name == "help" then return help(given, parsers) end
  if name == "completion" then return completion(given, parsers) end
  if name == "simulate" then return require "mjtask.cli.simulate".run(given, here) end
  return (commands[name] or jobs[name])(given)
end

-- What an error that ended the program is worth, said in one line.
local function tell(problem)
  if exits.is_stop(problem) then
    if problem.message then output.say("%s", problem.message) end
    return problem.code
  elseif exits.is_interrupt(problem) then
    output.say "interrupted"
    return exits.INTERRUPTED
  end
  output.say("%s", (tostring(problem):match "^[^\n]*"))
  return exits.FAILED
end

--- Does what the words say.
---@param words string[]
---@param here string the program's folder
---@return integer code
function cli.main(words, here)
  output.open()
  local ok, result = pcall(run, words, here)
  local code = ok and result or tell(result)
  ok, result = pcall(output.close)
  return ok and code or code ~= exits.DONE and code or tell(result)
end

return cli
