-- The README's example does what it says, word for word.

local proxy = require "support.proxy"

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

  it("has an example that runs, and prints what stands below it", function()
    local example, output = read("README.md"):match("```lua\n(.-)```\n\n```\n(.-)```")
    p:set { key = "the-key", auth = "raw", submit = { life = "short", fields = {
      imageUrl = "{here}/attachments/ghost.png",
    } } }
    p:task("1735030480754475", { life = "sku" })
    -- The same script, but the provider is our server and a look takes no seconds.
    local script = ([[
      package.loaded["mjtask.providers"] = { sku = { url = %q, auth = "raw", interval = 0.1 } }
    ]]):format(p.url) .. example
    local file <close> = assert(io.open(folder .. "/example.lua", "w"))
    file:write(script)
    file:flush()
    local run = assert(io.popen(("cd %s && MJTASK_KEY=the-key lua5.4 example.lua 2>&1")
      :format(folder)))
    local printed = run:read("a")
    assert.is_true((run:close()))
    assert.equal(output, printed)
    assert.equal("\x89PNG", read(folder .. "/ghost.png"):sub(1, 4))
  end)
end)
