-- The kinds of error, and the table that a failure of the world is. Knows no network and no core.

local errors = {}

--- Every kind there is, and whether the same call may well succeed if it is made again.
errors.kinds = {
  dns = true, connect = true, tls = false, timeout = true, stalled = true,
  http = false, -- by default; 408, 425, 5xx and broken answers are, see answer.lua
  auth = false, quota = false, rate_limited = true, not_found = false, redirect = false,
  decode = true, schema = false, too_large = false,
  busy = true, banned = false, rejected = false, unknown_fate = false,
  failed = false, cancelled = false, needs_input = false,
  no_button = false, ambiguous = false, no_image = false, unsupported = false,
  expired = false, not_image = false, io = false, aborted = false, closed = false,
}

local LIMIT = 200 -- bytes of a server's text in a message

-- Code points that change how a terminal or a reader sees the text around them: format
-- characters of direction and width, line and paragraph separators, the byte order mark.
local function is_hidden(code)
  return code < 0x20 or code >= 0x7F and code < 0xA0 or code == 0xAD or code == 0x61C
    or code >= 0x200B and code <= 0x200F or code >= 0x2028 and code <= 0x202E
    or code >= 0x2060 and code <= 0x206F or code == 0xFEFF or code >= 0xFFF9 and code <= 0xFFFB
    or code >= 0xE0000 and code <= 0xE007F
end

-- A character that must not be seen as it is, or (no UTF-8) `byte`, in a reader's terms.
local function spelt(code, byte)
  if not code then return ("\\x%02X"):format(byte) end
  return code < 0x80 and ("\\x%02X"):format(code) or ("\\u{%X}"):format(code)
end

--- Text from anywhere without what plays tricks on a terminal or a reader: control and direction
--- characters and broken UTF-8 are spelt out, line breaks too.
---@param text string
---@param spell? fun(code?: integer, byte: integer): string another spelling of these
---@return string
function errors.visible(text, spell)
  if not text:find("[^\x20-\x7E]") then return text end
  spell = spell or spelt
  local parts, at = {}, 1
  while at <= #text do
    local code = utf8.len(text, at, at) and utf8.codepoint(text, at)
    -- not utf8.offset, which skips stray continuation bytes, C1 controls among them
    local after = at + (code and #utf8.char(code) or 1)
    parts[#parts + 1] = (not code or is_hidden(code)) and spell(code, text:byte(at))
      or text:sub(at, after - 1)
    at = after
  end
  return table.concat(parts)
end

-- Leaves out of URLs what only their owner should know: user and password, and the query, which
-- may be a signature. Each pattern reads the text once, whatever it is.
local function discreet(text)
  text = text:gsub("://[^/%s]*@", "://")
  text = text:gsub("://(%S*)", function(rest)
    local query = rest:find("?", 1, true)
    return query and "://" .. rest:sub(1, query) .. "…"
  end)
  return (text:gsub("([?&]hm=)%x+", "%1…"))
end

--- Text from anywhere, fit for a message: one line, control and direction characters spelt out,
--- without signatures and passwords of URLs, at most `limit` bytes of it (200).
---@param text any
---@param limit? integer bytes
---@return string
function errors.printable(text, limit)
  text = discreet(tostring(text))
  limit = limit or LIMIT
  local cut = #text > limit
  if cut then
    while limit > 0 and text:byte(limit + 1) & 0xC0 == 0x80 do limit = limit - 1 end
    text = text:sub(1, limit)
  end
  text = errors.visible((text:gsub("[\t-\r]+", " ")))
  return cut and text .. "…" or text
end

local mt = { __name = "mjtask.error" }

function mt.__tostring(err)
  local about = {}
  if err.id then about[#about + 1] = "id " .. errors.printable(err.id) end
  if err.status then about[#about + 1] = "HTTP " .. tostring(err.status) end
  if err.code then about[#about + 1] = "code " .. tostring(err.code) end
  if err.attempts and err.attempts > 1 then about[#about + 1] = err.attempts .. " tries" end
  local tail = #about > 0 and " (" .. table.concat(about, ", ") .. ")" or ""
  return ("%s: %s%s"):format(err.kind, err.message, tail)
end

--- Makes an error. `fields` (id, status, code, retry_after, task, retryable …) becomes the error.
---@param kind string one of errors.kinds
---@param message string one line, without secrets
---@param fields? table
---@return table
function errors.new(kind, message, fields)
  local err = fields or {}
  assert(errors.kinds[kind] ~= nil, kind)
  err.kind, err.message = kind, message
  if err.retryable == nil then err.retryable = errors.kinds[kind] end
  return setmetatable(err, mt)
end

--- Is it an error of ours?
function errors.is(value)
  return getmetatable(value) == mt
end

return errors
