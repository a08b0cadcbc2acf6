-- Downloads onto disks that fill up, fail, or see the process killed: the whole file or no file.

local child = require "support.child"
local pictures = require "support.pictures"
local process = require "support.process"
local ways = require "support.ways"

local PNG = pictures.of "a.png"

local function specs(way)
  local p, folder, remove

  local function listing()
    local names = {}
    local pipe <close> = assert(io.popen("ls -A '" .. folder .. "'"))
    for name in pipe:lines() do names[#names + 1] = name end
    return names
  end

  local function read(path)
    local file <close> = io.open(path, "rb")
    return file and file:read "a"
  end

  -- What a script in the folder's place needs to know.
  local function facts()
    return way.script(p) .. ("local FOLDER, IMAGES = %q, %q\n"):format(folder, p.other_url) .. [[
      local function list()
        local pipe <close> = assert(io.popen("ls -A '" .. FOLDER .. "'"))
        return (pipe:read "a":gsub("\n", " "))
      end
      local function show(path, err)
        local why = err and err.message:match "[^:]*$":gsub("^ ", "")
        print(path and "saved" or err.kind, why, list())
      end
    ]]
  end

  setup(function() p = way.start() end)
  teardown(function() p:stop() end)
  before_each(function()
    p:reset()
    folder, remove = child.directory()
  end)
  after_each(function() remove() end)

  describe("a disk #D4", function()
    it("that is full gets no file, and keeps the old one", function()
      local large = pictures.png(200)
      p:set { script = { { body = large }, "pass", { body = large } } }
      local output = child.run(facts() .. [[
        local mount = "mount -t tmpfs -o size=64k tmpfs '" .. FOLDER .. "' 2> /dev/null"
        if not os.execute(mount) then os.exit(77) end
        local mj <close> = new { allow_private = true }
        show(call(mj, "download", IMAGES .. "/attachments/large.png", FOLDER .. "/new"))
        show(call(mj, "download", IMAGES .. "/attachments/small.gif", FOLDER .. "/old"))
        show(call(mj, "download", IMAGES .. "/attachments/large.png", FOLDER .. "/old",
          { overwrite = true }))
        local file <close> = io.open(FOLDER .. "/old", "rb")
        print(#file:read "a")
      ]], nil, "unshare -m %s || echo refused")
      if output:find "refused\n$" then
        return pending "not run: a mount namespace is refused"
      end
      local FULL = "No space left on device"
      assert.equal(("io\t%s\t\nsaved\tnil\told \nio\t%s\told \n%d\n"):format(FULL, FULL,
        #pictures.of "a.gif"), output)
    end)

    it("that may not be written gets no request", function()
      local output = child.run(facts() .. [[
        local mount = "mount -t tmpfs -o ro tmpfs '" .. FOLDER .. "' 2> /dev/null"
        if not os.execute(mount) then os.exit(77) end
        local mj <close> = new { allow_private = true }
        show(call(mj, "download", IMAGES .. "/attachments/a.png", FOLDER .. "/new"))
      ]], nil, "unshare -m %s || echo refused")
      if output:find "refused\n$" then
        return pending "not run: a mount namespace is refused"
      end
      assert.equal("io\tRead-only file system\t\n", output)
      assert.same({}, p:log())
    end)

    -- Which call, the how-manieth, and its errno: what comes out. EIO 5, EINVAL 22, EPERM 1,
    -- EINTR 4, ENOSPC 28, EXDEV 18, ENOSYS 38.
    local FAILURES = {
      { "write", 1, 5, "io" }, { "write", 2, 5, "io" }, { "write", 1, 28, "io" },
      { "write", 1, 4, "saved" }, { "write", 2, 4, "saved" }, { "write", 1, 0, "saved" },
      { "ftruncate", 1, 5, "io" }, { "lseek", 1, 5, "io" }, { "fsync", 1, 5, "io" },
      { "close", 1, 5, "io" }, { "renameat2", 1, 5, "io" }, { "renameat2", 1, 22, "saved" },
      { "renameat2", 1, 38, "saved" }, { "fsync folder", 1, 22, "saved" },
    }
    -- The same where a file is replaced.
    local OVERWRITES = {
      { "write", 1, 5, "io" }, { "fsync", 1, 5, "io" }, { "close", 1, 5, "io" },
      { "rename", 1, 5, "io" }, { "rename", 1, 18, "io" },
    }

    -- The lines of a script that has the shim, about each row.
    local function failures(rows, script)
      local path, preload = process.shim "disk"
      if not path then return nil, preload end
      local lines = {}
      for n, row in ipairs(rows) do
        lines[n] = ("attempt(%q, %d, %d)\n"):format(table.unpack(row))
      end
      local output, status = process.run(facts()
        .. ("local disk = assert(package.loadlib(%q, 'luaopen_disk'))()\n"):format(path)
        .. "local mj <close> = new { allow_private = true }\n" .. script
        .. table.concat(lines), { env = { LD_PRELOAD = preload } })
      assert.equal(0, status, output)
      return output
    end

    it("whose calls fail gets no file", function()
      p:set { image = { body = pictures.png(200) } } -- too large for a single write
      local output, reason = failures(FAILURES, [[
        local function attempt(...)
          disk.fail(...)
          local path, err = call(mj, "download", IMAGES .. "/attachments/a.png", FOLDER .. "/new")
          print(path and "saved" or err.kind, disk.failed(), list())
          os.remove(FOLDER .. "/new")
        end
      ]])
      if not output then return pending(reason) end
      local expected = {}
      for n, row in ipairs(FAILURES) do
        expected[n] = ("%s\ttrue\t%s\n"):format(row[4], row[4] == "saved" and "new " or "")
      end
      assert.equal(table.concat(expected), output)
    end)

    it("whose calls fail keeps the old file", function()
      local output, reason = failures(OVERWRITES, [[
        local function attempt(...)
          local file = assert(io.open(FOLDER .. "/old", "wb"))
          file:write "what was there"
          file:close()
          disk.fail(...)
          local path, err = call(mj, "download", IMAGES .. "/attachments/a.png", FOLDER .. "/old",
            { overwrite = true })
          local there <close> = assert(io.open(FOLDER .. "/old", "rb"))
          print(path and "saved" or err.kind, disk.failed(), list(), there:read "a")
        end
      ]])
      if not output then return pending(reason) end
      local expected = {}
      for n, row in ipairs(OVERWRITES) do
        expected[n] = ("%s\ttrue\told \twhat was there\n"):format(row[4])
      end
      assert.equal(table.concat(expected), output)
    end)

    it("that takes less than it is given, or is interrupted, has every byte in the end", function()
      local output, reason = failures({ { "write", 1, 0 }, { "write", 1, 4 } }, [[
        local n = 0
        local function attempt(...)
          n = n + 1
          disk.fail(...)
          assert(call(mj, "download", IMAGES .. "/attachments/a.png", FOLDER .. "/" .. n))
        end
      ]])
      if not output then return pending(reason) end
      for n = 1, 2 do assert.equal(PNG, read(folder .. "/" .. n)) end
      assert.equal(2, #listing())
    end)
  end)

  describe("a process that is killed #D4", function()
    local PLAIN_ONLY = 10 -- rounds of ten, of which the other ways have one

    it("leaves whole files, and temporary ones", function()
      if not io.open "/proc/self/stat" then return pending "not run: there is no /proc" end
      local script = facts() .. [[
        local n = tonumber(os.getenv "N")
        local stat <close> = assert(io.open "/proc/self/stat")
        local delay = (n * 37 + tonumber(os.getenv "ROUND") * 11) % 100 / 1000 + 0.005
        local mj = new { allow_private = true }
        for i = 1, 100000 do
          local over = i % 2 == 0
          if i == 2 then -- one is there, whatever happens now
            assert(os.execute(("(sleep %.3f; kill -9 %d) &"):format(delay, stat:read "n")))
          end
          assert(call(mj, "download", IMAGES .. "/attachments/a.png",
            ("%s/%d-%d"):format(FOLDER, n, over and i - 1 or i), { overwrite = over }))
        end
        print "alive"
      ]]
      p:set { image = { fault = "drip", every = 0.002, bytes = 2000 } }
      local finals, parts, rounds = 0, 0, way == ways[1] and PLAIN_ONLY or 1
      for round = 1, rounds do
        local output = child.run(script, { ROUND = tostring(round) },
          "for n in 0 1 2 3 4 5 6 7 8 9; do export N=$n; %s & done; wait")
        assert.is_nil(output:find("alive", 1, true))
        assert.is_nil(output:find("download", 1, true), output)
        for _, name in ipairs(listing()) do
          if name:find "^%.mjtask%-%x+%.part$" then
            parts = parts + 1
          else
            assert.truthy(name:find "^%d+%-%d+$", name)
            assert.equal(PNG, read(folder .. "/" .. name), name)
            finals = finals + 1
          end
          os.remove(folder .. "/" .. name)
        end
      end
      assert(parts > rounds, "killed in mid-way: " .. parts)
      assert(parts <= 10 * rounds)
      assert(finals >= 10 * rounds, "whole: " .. finals)
    end)
  end)
end

for _, way in ipairs(ways) do
  describe(way.name .. ":", function()
    if way.missing then return it("disks", function() pending(way.missing) end) end
    specs(way)
  end)
end
