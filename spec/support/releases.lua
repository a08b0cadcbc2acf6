-- Our rockspecs, and which of them are released: the sources and the CHANGELOG tell. Must not know
-- what a rockspec should say.

local mjtask = require "mjtask"

local releases = {}

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- Has it a section, with a day?
local function is_released(number)
  for found in read "CHANGELOG.md":gmatch "\n## %[?([%d.]+)%]? %- %d%d%d%d%-%d%d%-%d%d\n" do
    if found == number then return true end
  end
  return false
end

--- Each rockspec: its path and text; `rock`, what it says; `number`, its version without the
--- rockspec's own revision; `released`; `current`: are its sources those of the tree, so that it
--- must fit them? The last one is the newest release's, or that of the next.
function releases.rockspecs()
  local list = {}
  local pipe <close> = assert(io.popen "ls *.rockspec; ls rockspecs/*.rockspec | sort -V")
  for path in pipe:lines() do
    local one = { path = path, text = read(path), rock = {} }
    assert(load(one.text, "=" .. path, "t", one.rock))()
    one.number = assert(one.rock.version:match "^(.+)%-%d+$", path)
    one.released = is_released(one.number)
    one.current = not one.released or one.number == mjtask._VERSION
    list[#list + 1] = one
  end
  return list
end

--- The newest that must fit the tree: of the next release, if there is one, else of the tree alone.
function releases.newest()
  local list = releases.rockspecs()
  for at = #list, 1, -1 do
    if list[at].current then return list[at] end
  end
end

return releases
