-- Pictures made from nothing: small, valid, and the same at each run. Knows no network.

local pictures = {}

-- PNG --------------------------------------------------------------------------------------------

local crcs = {}
for byte = 0, 255 do
  local crc = byte
  for _ = 1, 8 do crc = crc & 1 == 1 and 0xEDB88320 ~ (crc >> 1) or crc >> 1 end
  crcs[byte] = crc
end

local function crc32(bytes)
  local crc = 0xFFFFFFFF
  for place = 1, #bytes do crc = crcs[(crc ~ bytes:byte(place)) & 0xFF] ~ (crc >> 8) end
  return crc ~ 0xFFFFFFFF
end

local function adler32(bytes)
  local a, b = 1, 0
  for place = 1, #bytes do
    a = (a + bytes:byte(place)) % 65521
    b = (b + a) % 65521
  end
  return b << 16 | a
end

-- A zlib stream of stored blocks: nothing is compressed, so nothing can be compressed wrongly.
local function stored(bytes)
  local parts = { "\x78\x01" }
  for from = 1, #bytes, 65535 do
    local block = bytes:sub(from, from + 65534)
    local last = from + 65535 > #bytes and 1 or 0
    parts[#parts + 1] = ("<BI2I2"):pack(last, #block, ~#block & 0xFFFF) .. block
  end
  return table.concat(parts) .. (">I4"):pack(adler32(bytes))
end

local function chunk(name, bytes)
  return (">I4"):pack(#bytes) .. name .. bytes .. (">I4"):pack(crc32(name .. bytes))
end

--- A picture of `size` by `size` pixels in red, green and blue.
---@param size integer
---@return string bytes
function pictures.png(size)
  local rows = {}
  for y = 0, size - 1 do
    local row = { "\0" } -- as it is, no filter
    for x = 0, size - 1 do row[x + 2] = string.char(x * 5 & 255, y * 5 & 255, (x ~ y) * 3 & 255) end
    rows[y + 1] = table.concat(row)
  end
  return "\x89PNG\r\n\x1A\n" .. chunk("IHDR", (">I4I4BBBBB"):pack(size, size, 8, 2, 0, 0, 0))
    .. chunk("IDAT", stored(table.concat(rows))) .. chunk("IEND", "")
end

-- The others: one pixel each ---------------------------------------------------------------------

local function segment(marker, bytes)
  return "\xFF" .. marker .. (">I2"):pack(#bytes + 2) .. bytes
end

-- Grey. Each table has one code of one bit: "no difference", then "end of block".
local function jpeg()
  local codes = "\1" .. ("\0"):rep(15) .. "\0"
  return "\xFF\xD8" .. segment("\xE0", "JFIF\0\1\1\0\0\1\0\1\0\0")
    .. segment("\xDB", "\0" .. ("\1"):rep(64)) .. segment("\xC0", "\8\0\1\0\1\1\1\x11\0")
    .. segment("\xC4", "\0" .. codes) .. segment("\xC4", "\x10" .. codes)
    .. segment("\xDA", "\1\1\0\0\x3F\0") .. "\x3F" .. "\xFF\xD9"
end

-- Black. The bits of the LZW stream: clear, colour 0, end, of three bits each.
local function gif()
  return "GIF89a\1\0\1\0\x80\0\0" .. "\0\0\0\xFF\xFF\xFF" .. "\x2C\0\0\0\0\1\0\1\0\0"
    .. "\2\2\x44\1\0" .. "\x3B"
end

-- Black, lossless: five codes of one symbol each, so that the pixel itself takes no bit.
local function webp()
  local bits = ("0"):rep(28) .. "0000" -- width - 1, height - 1, no alpha, version
    .. "000" .. ("1000"):rep(3) .. "101" .. ("1"):rep(8) .. "1000"
  bits = bits .. ("0"):rep(-#bits % 16 + 8) -- with the sign, an even number of bytes
  local bytes = bits:gsub("........", function(byte)
    return string.char(math.tointeger(tonumber(byte:reverse(), 2)))
  end)
  local data = "WEBPVP8L" .. ("<I4"):pack(#bytes + 1) .. "\x2F" .. bytes
  return "RIFF" .. ("<I4"):pack(#data) .. data
end

-- By the end of a name. The PNG is of several KB, so that it comes in more than one piece; the
-- video is a head without a film.
local made = {
  png = { "image/png", pictures.png(64) },
  jpg = { "image/jpeg", jpeg() },
  gif = { "image/gif", gif() },
  webp = { "image/webp", webp() },
  mp4 = { "video/mp4", "\0\0\0\x18ftypisom\0\0\2\0isomiso2" .. "\0\0\0\8mdat" },
}
made.jpeg = made.jpg

--- The picture for a path, by the end of its name (a PNG where that says nothing), and its type.
---@param path string
---@return string bytes
---@return string type
function pictures.of(path)
  local row = made[(path:match("%.(%w+)$") or ""):lower()] or made.png
  return row[2], row[1]
end

return pictures
