-- What makes a shell complete mjtask's words: argparse's script, with what that leaves out. Knows
-- the shells; must not know what the commands do.

local completions = {}

local SHELLS = "bash zsh fish"

local adapt = {}

-- Argparse completes no arguments in bash.
local BASH = [[
    case "$cmd $prev" in
        'completion completion')
            COMPREPLY=($(compgen -W "%s" -- "$cur"))
            ;;
        'help help')
            COMPREPLY=($(compgen -W "%s" -- "$cur"))
            ;;
    esac

]]

function adapt.bash(script, names)
  local before, rest = script:match '^(.*\n)(    if %[%[ "%$cur" = %-%* .*)$'
  return before and before .. BASH:format(SHELLS, names) .. rest or script
end

-- Argparse ends with a call, which is right where zsh loads the script as a function, and an error
-- where it is read by eval.
local ZSH = [[
if [ "$funcstack[1]" = "_mjtask" ]; then
  _mjtask "$@"
else
  compdef _mjtask mjtask
fi
]]

function adapt.zsh(script)
  script = script:gsub('(\n    help%)\n.-): :_files"', '%1: :_mjtask_cmds"')
  return (script:gsub("_mjtask%s*$", ZSH))
end

local FISH = "complete -c mjtask -n '__fish_mjtask_seen_command %s' -xa '%s'\n"

function adapt.fish(script, names)
  return script .. FISH:format("completion", SHELLS) .. FISH:format("help", names)
end

--- The script for a shell.
---@param shell "bash"|"zsh"|"fish"
---@param parser table argparse's
---@param commands string[] their names
---@return string
function completions.script(shell, parser, commands)
  local script = parser[("get_%s_complete"):format(shell)](parser)
  return (adapt[shell](script, table.concat(commands, " ")):gsub("\n+$", ""))
end

return completions
