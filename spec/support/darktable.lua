-- What `make hosts` runs: darktable-cli with examples/darktable/mjtask.lua and the local proxy. Not
-- a spec, as darktable is large. Prints what it saw; ends with 1 if the task did not end as it
-- should.

package.path = "spec/?.lua;" .. package.path

local child = require "support.child"
local program = require "support.program"
local proxy = require "support.proxy"
local shell = require "support.shell"

local ID = "1735030480754475"

-- Runs the example as its header says, and counts the sleeps that it takes of darktable's.
local SCRIPT = [[
  local timer = require "mjtask.loop.timer"
  local loop, sleeps = timer.loop, 0
  timer.loop = function(sleep, unyielding)
    return loop(function(seconds)
      sleeps = sleeps + 1
      return sleep(seconds)
    end, unyielding)
  end
  dofile(%q)(%q)
  print(("sleeps: %%d"):format(sleeps))
]]

-- What darktable-cli exports meanwhile.
local function write_picture(path)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write("P6\n8 8\n255\n", ("\x80"):rep(8 * 8 * 3)))
end

local function run(url)
  local folder, remove = child.directory()
  write_picture(folder .. "/in.ppm")
  local script = SCRIPT:format(program.root .. "/examples/darktable/mjtask.lua", ID)
  local command = "darktable-cli in.ppm out.jpg --core -d lua --configdir config --cachedir cache "
    .. "--library :memory: --luacmd " .. shell.quoted(script)
  local output, status = program.run(command, {
    directory = folder, env = { HOME = folder, MJTASK_URL = url, MJTASK_AUTH = "none" },
  })
  remove()
  return output, status
end

if not program.find "darktable-cli" then
  print "not run: darktable-cli is not installed"
  os.exit(1)
end

local p = proxy.start()
p:task(ID, { life = "short", pace = 0.3, fields = { imageUrl = "{here}/attachments/ghost.png" } })
local output, status = run(p.url)
local looks = #p:log()
p:stop()
print(output .. ("darktable-cli: status %d, %d looks"):format(status, looks))
local seen = output:find("the task's picture: " .. p.url .. "/attachments/ghost.png", 1, true)
local sleeps = tonumber(output:match "sleeps: (%d+)") or 0
os.exit(seen ~= nil and status == 0 and looks > 1 and sleeps > 1, true)
