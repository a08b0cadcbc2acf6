-- How the program ends: which code each kind of error has, and what the codes mean. Knows the names
-- of the kinds in errors.lua; must not know commands.

local exits = { DONE = 0, FAILED = 1, USAGE = 2, TIME = 3, AUTH = 4, NETWORK = 5, NOT_FOUND = 6,
  INTERRUPTED = 130 }

--- Code and meaning, for people: --help prints it, and the README has the same.
exits.meanings = {
  { exits.DONE, "all is done" },
  { exits.FAILED, "a task failed, was cancelled or wants input; a submit or a press was refused, "
    .. "or its answer lost; no such button or picture; a file could not be written; `decode`: no "
    .. "task" },
  { exits.USAGE, "wrong usage: an option, an id, no key, a broken state file" },
  { exits.TIME, "the time is over, or nothing changed for --stall seconds" },
  { exits.AUTH, "the key is refused, or out of credit" },
  { exits.NETWORK, "the network or the server is in trouble: try again later" },
  { exits.NOT_FOUND, "no such task or route, or the picture's URL is dead" },
  { exits.INTERRUPTED, "Ctrl-C" },
}

--- Kind of error -> code. `unknown_fate` is not the network's: who tries again may pay twice.
exits.of_kind = {
  dns = exits.NETWORK, connect = exits.NETWORK, tls = exits.NETWORK,
  timeout = exits.TIME, stalled = exits.TIME,
  http = exits.NETWORK, redirect = exits.NETWORK, decode = exits.NETWORK, schema = exits.NETWORK,
  too_large = exits.NETWORK, not_image = exits.NETWORK,
  auth = exits.AUTH, quota = exits.AUTH,
  rate_limited = exits.NETWORK, busy = exits.NETWORK,
  not_found = exits.NOT_FOUND, unsupported = exits.NOT_FOUND, expired = exits.NOT_FOUND,
  banned = exits.FAILED, rejected = exits.FAILED, unknown_fate = exits.FAILED,
  failed = exits.FAILED, cancelled = exits.FAILED, needs_input = exits.FAILED,
  no_button = exits.FAILED, ambiguous = exits.FAILED, no_image = exits.FAILED,
  io = exits.FAILED, closed = exits.FAILED,
  aborted = exits.INTERRUPTED,
}

---@param err mjtask.Error
---@return integer code
function exits.of(err)
  return exits.of_kind[err.kind] or exits.FAILED
end

local mt = { __name = "mjtask.exit" }

--- Ends the program, from wherever it is: raises what `mjtask.cli` turns into a line and a code.
---@param code integer
---@param message? string nil: nothing is said
function exits.stop(code, message)
  error(setmetatable({ code = code, message = message }, mt), 0)
end

--- Ends it for the caller's mistake.
function exits.usage(message, ...)
  exits.stop(exits.USAGE, select("#", ...) > 0 and message:format(...) or message)
end

--- Is it what `stop` raises?
function exits.is_stop(value)
  return getmetatable(value) == mt
end

--- Is it what Ctrl-C raises, in a callback with its traceback?
function exits.is_interrupt(value)
  return type(value) == "string" and value:find("interrupted!", 1, true) ~= nil
end

--- A module of another rock, or ends the program with what would bring it.
---@param name string
---@param purpose string what needs it
---@param rock string
---@param code? integer
function exits.need(name, purpose, rock, code)
  local ok, module = pcall(require, name)
  if ok then return module end
  if exits.is_interrupt(module) then error(module, 0) end
  exits.stop(code or exits.FAILED, ("%s %s: luarocks --lua-version 5.4 install %s")
    :format(purpose, rock, rock))
end

return exits
