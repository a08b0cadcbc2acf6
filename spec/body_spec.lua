-- Pictures as data URLs: known vectors, every length, and the same back by another decoder.

local mime = require "mime"
local mjtask = require "mjtask"

local data_url = mjtask.data_url

local function payload(bytes, kind)
  return (data_url(bytes, kind):match("^data:[^;]+;base64,(.*)$"))
end

describe("data_url", function()
  it("gives the vectors of RFC 4648", function()
    for bytes, text in pairs {
      [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=",
      foobar = "Zm9vYmFy", ["\xFB\xFF\xBE"] = "+/++", ["\0"] = "AA==", ["\0\0\0"] = "AAAA",
      ["\xFF\xFF\xFF"] = "////", ["\xFF"] = "/w==", ["\xFF\xFF"] = "//8=",
    } do
      assert.equal(text, payload(bytes))
    end
  end)

  it("gives what another encoder gives, for every length from 0 to 40", function()
    math.randomseed(20261121)
    for length = 0, 40 do
      for _ = 1, 20 do
        local bytes = {}
        for n = 1, length do bytes[n] = string.char(math.random(0, 255)) end
        bytes = table.concat(bytes)
        assert.equal(length > 0 and mime.b64(bytes) or "", payload(bytes))
      end
    end
  end)

  it("gives every byte at every place", function()
    for byte = 0, 255 do
      local char = string.char(byte)
      for _, bytes in ipairs { char, "a" .. char, "ab" .. char, char .. "b" } do
        assert.equal(bytes, (mime.unb64(payload(bytes))))
      end
    end
  end)

  it("takes megabytes in no time", function()
    local bytes = ("\x89PNG\r\n\x1A\n\0"):rep(300000)
    local before = os.clock()
    local text = payload(bytes)
    assert.is_true(os.clock() - before < 5)
    assert.equal(#bytes // 3 * 4, #text)
    assert.equal(bytes, (mime.unb64(text)))
  end)

  it("knows a picture by its first bytes", function()
    for bytes, kind in pairs {
      ["\x89PNG\r\n\x1A\n\0\0"] = "image/png", ["\xFF\xD8\xFF\xE0"] = "image/jpeg",
      GIF87a = "image/gif", GIF89a = "image/gif", ["RIFF\1\2\3\4WEBPVP8L"] = "image/webp",
      [""] = "image/png", ["RIFF\1\2\3\4WAVE"] = "image/png", ["\x89PNG"] = "image/png",
      ["GIF88a"] = "image/png", [" GIF89a"] = "image/png",
    } do
      assert.equal("data:" .. kind .. ";base64,", data_url(bytes):match("^[^,]*,"))
    end
  end)

  it("takes another type at its word", function()
    assert.equal("data:image/webp;base64,Zg==", data_url("f", "image/webp"))
    assert.equal("data:image/svg+xml;base64,Zg==", data_url("f", "image/svg+xml"))
    assert.equal("data:image/jpeg;base64,iVBORw0KGgo=",
      data_url("\x89PNG\r\n\x1A\n", "image/jpeg"))
  end)

  it("names a wrong argument", function()
    for _, bytes in ipairs { 7, true, {} } do
      assert.error_matches(function() data_url(bytes) end, "^bytes: a string expected, got ")
    end
    assert.error_matches(function() data_url() end, "^bytes: a string expected, got nil")
    for _, kind in ipairs { "", "png", "image/", "/png", "image/png;a=b", "image/png,", "a b/c",
        "image/png\r\nX: y", 7, true, {} } do
      assert.error_matches(function() data_url("f", kind) end, "^mime: ")
    end
  end)
end)
