-- Lua values as text: how a spec and the proxy talk over /control. Exact for integers and for
-- strings of any bytes, which JSON is not.

local json = require "support.json"

local literal = {}

local WORDS = { null = json.null, absent = json.absent, list = json.list }

local NAMES = {}
for name, word in pairs(WORDS) do NAMES[word] = name end

function literal.write(value)
  if NAMES[value] then return NAMES[value] end
  local kind = type(value)
  if kind == "table" then
    local out = {}
    for k, v in pairs(value) do
      out[#out + 1] = "[" .. literal.write(k) .. "]=" .. literal.write(v)
    end
    return "{" .. table.concat(out, ",") .. "}"
  end
  if kind == "nil" then return "nil" end
  if kind == "string" or kind == "number" or kind == "boolean" then
    return string.format("%q", value)
  end
  error("a " .. kind .. " cannot be sent to the proxy")
end

function literal.read(text)
  return assert(load("return " .. text, "=control", "t", WORDS))()
end

return literal
