-- Gzip streams, made by the gzip program: deflate is not for a test to write again.

local gzip = {}

local SPACES = (" "):rep(1024 * 1024)

-- `times` streams, each around the one before, of `mib` MiB of spaces and then the text: still
-- the same JSON, for whoever takes the whole.
function gzip.pack(text, times, mib)
  local file = os.tmpname()
  local out = assert(io.popen(("gzip -n"):rep(times or 1, " | ") .. " > '" .. file .. "'", "w"))
  for _ = 1, mib or 0 do out:write(SPACES) end
  out:write(text)
  local ok = out:close()
  local packed = assert(io.open(file, "rb"))
  local bytes = packed:read("a")
  packed:close()
  os.remove(file)
  return assert(ok and bytes, "the gzip program failed")
end

local bombs = {}   -- "times mib" -> stream, without a text: a bomb takes long to make

function gzip.bomb(times, mib)
  local name = times .. " " .. mib
  bombs[name] = bombs[name] or gzip.pack("{}", times, mib)
  return bombs[name]
end

return gzip
