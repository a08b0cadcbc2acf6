-- The README's example does what it says, word for word.

local child = require "support.child"
local program = require "support.program"
local proxy = require "support.proxy"
local shell = require "support.shell"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

describe("the README", function()
  local p, folder

  setup(function()
    p = proxy.start()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
  end)

  teardown(function()
    p:stop()
    os.execute("rm -rf " .. folder)
  end)

  -- Runs a script, with the provider's row replaced by our server, where a look takes no seconds.
  local function run(script, arguments)
    local prelude = ([[
      package.loaded["mjtask.providers"] = { sku = { url = %q, auth = "raw", interval = 0.1 } }
    ]]):format(p.url)
    local file <close> = assert(io.open(folder .. "/example.lua", "w"))
    file:write(prelude, script)
    file:flush()
    local pipe = assert(io.popen(
      ("cd %s && MJTASK_PROVIDER=sku MJTASK_KEY=the-key lua5.4 example.lua %s 2>&1")
      :format(folder, arguments or "")))
    return pipe:read("a"), pipe:close()
  end

  -- The code below a heading.
  local function code(heading)
    return assert(read("README.md"):match("\n###? " .. heading .. "\n.-```lua\n(.-)```"), heading)
  end

  before_each(function()
    p:reset()
    p:set { key = "the-key", auth = "raw", submit = { life = "short", fields = {
      imageUrl = "{here}/attachments/ghost.png",
    } } }
    p:task("1735030480754475", { life = "sku" })
    p:task("1724963337114767", { life = "done", fields = { imageUrl = "https://i.example/x.png" } })
  end)

  it("has an example that runs, and prints what stands below it", function()
    local example, output = read("README.md"):match("```lua\n(.-)```\n\n```\n(.-)```")
    local printed, ok = run(example)
    assert.is_true(ok)
    assert.equal(output, printed)
    assert.equal("\x89PNG", read(folder .. "/ghost.png"):sub(1, 4))
  end)

  local CLIENT = "local mjtask = require 'mjtask'; local mj = mjtask.new()\n"

  it("has an example of many tasks that runs", function()
    local printed, ok = run(CLIENT .. code "Many tasks")
    assert.is_true(ok, printed)
    assert.is_truthy(printed:find("1724963337114767\thttps://i.example/x.png\n", 1, true))
    assert.is_truthy(printed:find("1735030480754475\thttps://", 1, true))
  end)

  it("takes its pieces of hosts from the examples", function()
    local function trimmed(text) return (("\n" .. text):gsub("\n[ \t]+", "\n")) end
    local pipe <close> = assert(io.popen "cat examples/*.lua examples/*/*.lua")
    local examples = trimmed(pipe:read("a"))
    local section = assert(read("README.md"):match "\n## Hosts\n(.-)\n## ")
    local count = 0
    for piece in section:gmatch "```%l*\n(.-)```" do
      assert.is_truthy(examples:find(trimmed(piece), 1, true), piece)
      count = count + 1
    end
    assert.equal(4, count)
  end)

  it("has an example of a callback that runs", function()
    local printed, ok = run(CLIENT .. code "Callbacks and event loops")
    assert.is_true(ok, printed)
    assert.is_truthy(printed:find("^https://[^\n]+\n$"))
  end)
end)

describe("the README's command line", function()
  it("has the exit codes that the program has, in the same words", function()
    local expected, rows = "", ""
    for _, row in ipairs(require "mjtask.cli.exits".meanings) do
      expected = expected .. ("| %d | %s |\n"):format(row[1], row[2])
    end
    local table_of_codes = assert(read("README.md"):match "\n| exit code |[^\n]*\n[^\n]*\n(.-)\n\n")
    for line in table_of_codes:gmatch "[^\n]+" do rows = rows .. line .. "\n" end
    assert.equal(expected, rows)
  end)

  it("has an example that runs, and prints what stands below each command", function()
    local p <close> = proxy.start()
    p:set { submit = { life = "short", fields = { imageUrl = "{here}/attachments/x.png" } } }
    local folder <const>, remove = child.directory()
    finally(remove)
    local own = assert(io.open(folder .. "/mjtask", "w"))
    own:write(("#!/bin/sh\n[ $1 = wait ] && set -- \"$@\" --interval 0.1\nexec %s %s \"$@\"\n")
      :format(shell.interpreter(), program.root .. "/bin/mjtask"))
    own:close() -- else it cannot be run
    local example = assert(read("README.md"):match "\n## Command line\n\n```\n(.-)```")
    local script = ""
    for words in example:gmatch "%$ ([^\n]+)\n" do
      script = script .. ("echo %s; %s\n"):format(shell.quoted("$ " .. words), words)
    end
    local output, code = program.run("sh -c " .. shell.quoted(
      "exec 2>errors; chmod +x mjtask; PATH=.:$PATH\n" .. script),
      { directory = folder, env = { MJTASK_URL = p.url, MJTASK_KEY = "k" } })
    assert.equal(example, output)
    assert.equal(0, code)
  end)
end)

describe("examples/watch.lua", function()
  it("says how each task ended, and fails if one did", function()
    local p <close> = proxy.start()
    p:set { key = "the-key" }
    p:task("1", { life = "done", fields = { imageUrl = "https://i.example/x.png" } })
    p:task("2", { life = "done", fields = { status = "FAILURE", failReason = "banned" } })
    local function run(ids)
      local pipe = assert(io.popen(
        ("MJTASK_URL=%s MJTASK_KEY=the-key lua5.4 examples/watch.lua %s 2>&1"):format(p.url, ids)))
      return pipe:read("a"), pipe:close()
    end
    local printed, ok = run "1"
    assert.equal("1\thttps://i.example/x.png\n", printed)
    assert.is_true(ok)
    printed, ok = run "1 2"
    assert.is_nil(ok)
    assert.is_truthy(printed:find("2\tfailed: the task failed: banned", 1, true))
  end)
end)

describe("the table of what must be survived", function()
  -- Row -> what it says: { specs = { name, … }, four = is it proved in four ways? }
  local rows = {}

  setup(function()
    for row, specs, four in read("spec/README.md"):gmatch
        "\n| (%u%d+) | [^|]* | ([^|]*) | ([^|]*)|" do
      rows[row] = { specs = {}, four = four:find "4" ~= nil }
      for name in specs:gmatch "[%w_/.]+" do table.insert(rows[row].specs, name) end
    end
  end)

  -- Tags of a spec, as keys.
  local function tags_of(path)
    local tags = {}
    for tag in read(path):gmatch "#(%u%d+)" do tags[tag] = true end
    return tags
  end

  it("names for each row specs that say they prove it", function()
    local count = 0
    for row, facts in pairs(rows) do
      local in_ways = false
      assert(#facts.specs > 0, row)
      for _, name in ipairs(facts.specs) do
        if name:find "/" then
          assert(read("spec/" .. name))
        else
          local path = "spec/" .. name .. "_spec.lua"
          assert(tags_of(path)[row], row .. ": " .. path)
          in_ways = in_ways or read(path):find("support.ways", 1, true) ~= nil
        end
      end
      assert(not facts.four or in_ways, row .. " is not proved in four ways")
      count = count + 1
    end
    assert.equal(14 + 9 + 3 + 9 + 5 + 5 + 14, count)
  end)

  it("has what each spec says it proves", function()
    local pipe <close> = assert(io.popen "ls spec/*_spec.lua")
    for path in pipe:lines() do
      local name = path:match "([%w_]+)_spec%.lua$"
      for row in pairs(tags_of(path)) do
        assert(rows[row], path .. ": " .. row)
        local listed = false
        for _, one in ipairs(rows[row].specs) do listed = listed or one == name end
        assert(listed, ("%s is not in row %s"):format(name, row))
      end
    end
  end)
end)
