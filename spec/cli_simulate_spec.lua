-- `mjtask simulate`: the server of the specs, for everybody.

local child = require "support.child"
local command = require "support.command"
local core = require "mjtask.core"
local program = require "support.program"

local SKU, PAWMAAS = "1735030480754475", "1724963337114767"

describe("mjtask simulate", function()
  -- Starts it, and returns it and its URL, as its first line tells.
  local function simulate(words, options)
    table.insert(words, 1, "simulate")
    table.insert(words, "--port")
    table.insert(words, "0")
    local c = command.start(words, options)
    local told = program.until_true(function() return c:out():find "\n  mjtask press [^\n]+\n" end)
    assert(told, c:out() .. c:err())
    return c, assert(c:out():match "^(http://127%.0%.0%.1:%d+) answers ")
  end

  -- Without a key, as the example says that it is to be done.
  local function run(url, words)
    return command.run(words, { env = { MJTASK_URL = url, MJTASK_AUTH = "none" } })
  end

  it("knows two tasks, and makes one for each submit, whose picture can be saved", function()
    local c <close>, url = simulate { "--pace", "0.03" }
    local looks = { "wait", SKU, PAWMAAS, "--interval", "0.1", "--json", "-q" }
    local result = run(url, looks)
    assert.equal(0, result.code, result.err)
    for line in result.out:gmatch "[^\n]+" do
      assert.equal("SUCCESS", core.decode(line).task.status)
    end
    local folder <const>, remove = child.directory()
    result = run(url, { "submit", "imagine", "a red cat", "--wait", "-o", folder,
      "--interval", "0.1" })
    assert.equal(0, result.code, result.err)
    assert.matches("NOT_START 0%%\n", result.err)
    local id, path = result.out:match "^(%d+)\tSUCCESS\t([^\n]+)\n$"
    assert.equal(("%s/%s.png"):format(folder, id), path)
    result = run(url, { "press", id, "U2", "--wait", "-o", folder, "--interval", "0.1", "-q" })
    assert.equal(0, result.code, result.err)
    assert.not_equal(id, result.out:match "^%d+")
    remove()
    c:interrupt()
    result = c:result()
    assert.same({ 0, "" }, { result.code, result.err })
  end)

  it("lets tasks fare as it is told, in other dialects, with a key", function()
    local c <close>, url = simulate({ "--life", "failure", "--pace", "0", "--dialect", "net",
      "--key-file", "-" }, { input = "the-key" })
    assert.is_truthy(c:out():find("export MJTASK_KEY=", 1, true))
    assert.equal(4, run(url, { "submit", "imagine", "x" }).code)
    local result = command.run({ "submit", "imagine", "x", "--wait", "-q", "--interval", "0.1" },
      { url = url, key = "the-key" })
    assert.equal(1, result.code)
    assert.matches("Banned prompt detected", result.err)
    assert.is_nil(c:out():find("the-key", 1, true))
  end)

  it("serves on when its standard input ends, and says what it cannot do", function()
    local c <close>, url = simulate {}
    assert.equal(0, run(url, { "fetch", SKU }).code)
    assert.equal("", c:err())
    local port = url:match "%d+$"
    for words, reason in pairs {
      [{ "--port", port }] = "127%.0%.0%.1:" .. port .. ": address already in use; "
        .. "%-%-port 0 takes any",
      [{ "--port", "0", "--life", "eternal" }] = "no such life: eternal; there are backwards, ",
      [{ "--port", "0", "--life", "BUTTONS" }] = "no such life: BUTTONS; there are ",
      [{ "--port", "0", "--dialect", "latin" }] = "no such dialect: latin; there are go, java, ",
      [{ "--port", "70000" }] = "is not a whole number up to 65535",
      [{ "--pace=-1" }] = "is not a number",
    } do
      table.insert(words, 1, "simulate")
      local result = command.run(words)
      assert.equal(2, result.code)
      assert.matches("^mjtask: [^\n]*" .. reason .. "[^\n]*\n$", result.err)
    end
  end)

  it("names all lives in its help, and each is one", function()
    local err = command.run({ "simulate", "--port", "0", "--life", "eternal" }).err
    local names = assert(err:match "; there are ([%l_, ]+)\n")
    local help = command.run({ "help", "simulate" }).out:gsub("%s+", " ")
    assert.is_truthy(help:find("How tasks fare: " .. names .. ". (default: success)", 1, true))
    local output = child.run(([[
      require "support.lives".load_seeds "spec/fixtures/"
      local tasks = require "support.tasks"
      for name in (%q):gmatch "[%%l_]+" do tasks.states_of(name) end
    ]]):format(names))
    assert.equal("", output)
    for _, name in ipairs { "success", "short", "sku", "upscaled" } do
      assert.matches("%f[%l_]" .. name .. "%f[^%l_]", names)
    end
  end)

  it("leads nowhere else: its own two tasks' pictures are its own", function()
    local c <close>, url = simulate { "--life", "done", "--pace", "0" }
    local folder <const>, remove = child.directory()
    finally(remove)
    for _, id in ipairs { SKU, PAWMAAS } do
      local result = run(url, { "wait", id, "--interval", "0.1", "-q", "-o", folder })
      assert.same({ 0, ("%s\tSUCCESS\t%s/%s.png\n"):format(id, folder, id), "" },
        { result.code, result.out, result.err })
      local json = run(url, { "fetch", id, "--json" }).out
      for other in json:gmatch "https?://[^/\"]*" do assert.equal(url, other) end
      assert.is_truthy(json:find(url, 1, true))
    end
    assert.equal("", c:err())
  end)

  it("keeps the prompt and the state of a submit", function()
    local c <close>, url = simulate { "--life", "done" }
    local result = run(url, { "submit", "imagine", "a red cat", "-F", "state=mine", "-w", "--json",
      "-q" })
    local task = core.decode(result.out).task
    assert.same({ "a red cat", "mine", "IMAGINE" }, { task.prompt, task.state, task.action })
    result = run(url, { "press", task.id, "U2", "-w", "--json", "-q" })
    task = core.decode(result.out).task
    assert.same({ "a red cat", "UPSCALE" }, { task.prompt, task.action })
    assert.equal("", c:err())
  end)

  it("says that it needs luasocket, where there is none", function()
    local result = command.run({ "simulate", "--port", "0" }, {
      around = "LUA_INIT='package.preload.socket = function() error \"none\" end' %s",
    })
    assert.same({ 1, "mjtask: simulate needs luasocket: "
      .. "luarocks --lua-version 5.4 install luasocket\n" }, { result.code, result.err })
  end)

  it("is installed with all the files it needs, and no other", function()
    local file <close> = assert(io.open "Makefile")
    local list = file:read "a":match "\nSIMULATOR = .-%.lua,(.-)%)\n"
    local installed = {}
    for name in list:gmatch "[%w_]+" do installed[#installed + 1] = name end
    local output = child.run [[
      require "support.serving"
      local names = {}
      for name in pairs(package.loaded) do
        names[#names + 1] = name:match "^support%.(.*)$"
      end
      table.sort(names)
      print(table.concat(names, " "))
    ]]
    assert.equal(output, table.concat(installed, " ") .. "\n")
  end)
end)
