-- bin/mjtask as its users meet it: each command, each exit code, what it says of mistakes. Waiting,
-- pressing and the state file are in cli_wait_spec.lua.

local child = require "support.child"
local command = require "support.command"
local core = require "mjtask.core"
local errors = require "mjtask.errors"
local exits = require "mjtask.cli.exits"
local mjtask = require "mjtask"
local process = require "support.process"
local program = require "support.program"
local proxy = require "support.proxy"
local shell = require "support.shell"

local SKU = "1735030480754475"
local IMAGE = "https://i.example/x.png?ex=676bc867&hm=5f4dcc3b"

describe("the command line", function()
  local p

  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  local function run(words, options)
    options = options or {}
    options.url = options.url or p.url
    return command.run(words, options)
  end

  -- It ended so, and said one line.
  local function refuses(code, pattern, result)
    assert.equal(code, result.code, result.err)
    assert.equal("", result.out)
    assert.matches("^mjtask: [^\n]*\n$", result.err)
    assert.matches(pattern, result.err)
  end

  local function decoded(line)
    return assert(core.decode(line))
  end

  -- ---- words ------------------------------------------------------------------------------------

  it("tells its version and its help, which has every command and every exit code", function()
    local result = command.run { "--version" }
    assert.same({ 0, "mjtask " .. mjtask._VERSION .. "\n" }, { result.code, result.out })
    result = command.run { "--help" }
    assert.equal(0, result.code)
    for _, name in ipairs { "fetch", "wait", "watch", "buttons", "press", "submit", "download",
        "decode", "simulate", "completion", "help" } do
      assert.matches("\n   " .. name .. " ", result.out)
      local own = command.run { name, "--help" }
      assert.equal(0, own.code)
      assert.matches("^Usage: mjtask " .. name .. " ", own.out)
      assert.matches("\nExamples:\n", own.out)
      assert.same(own, command.run { "help", name })
    end
    for _, row in ipairs(exits.meanings) do
      local line = ("\n  %-5d%s"):format(row[1], row[2]:match "^%S+")
      assert(result.out:find(line, 1, true), line)
    end
  end)

  it("says what is wrong with its words in one line, and what may have been meant", function()
    refuses(2, "unknown command 'wiat'%. Did you mean 'wait'%?", run { "wiat" })
    refuses(2, "unknown option '%-%-pres'%. Did you mean '%-%-press'%?", run { "wait", "--pres" })
    refuses(2, "unknown command 'x'", run { "help", "x" })
    refuses(2, "a command is required", run {})
    refuses(2, "no ids", run { "wait" })
    for _, name in ipairs { "fetch", "wait", "watch", "download" } do
      refuses(2, "no ids%. See mjtask " .. name .. " %-%-help\n",
        run({ name, "-" }, { input = "\n" }))
    end
    refuses(2, "missing argument 'ID'", run { "fetch" })
    refuses(2, '"soon" is not a number', run { "wait", "1", "--timeout", "soon" })
    refuses(2, "timeout must be", run { "wait", "1", "--timeout", "1e9" })
    refuses(2, 'id "a b" must be', run { "fetch", "a b" })
    refuses(2, 'id "%.%./x" must be', run({ "watch", "-" }, { input = "../x\n" }))
    refuses(2, "belongs in quotes", run { "submit", "imagine", "a cat", "--ar", "16:9" })
    refuses(2, "nothing to submit", run { "submit", "imagine" })
    refuses(2, "NAME=TEXT", run { "submit", "imagine", "-F", "x" })
    refuses(2, "No such file", run { "submit", "describe", "-i", "/nowhere/x.png" })
    refuses(2, "prompt is not UTF%-8", run { "submit", "imagine", "\xFF" })
    refuses(2, "must be one of 'bash', 'zsh', 'fish'", run { "completion", "csh" })
    assert.equal(0, #p:log())
  end)

  it("says in one line that there is no server, no key, no such provider", function()
    refuses(2, "no server: set MJTASK_URL", command.run { "fetch", "1" })
    refuses(2, "no key: set MJTASK_KEY", command.run({ "fetch", "1" }, {
      env = { MJTASK_PROVIDER = "sku" },
    }))
    refuses(2, "must be one of 'pawmaas', 'sku'", run { "fetch", "1", "--provider", "x" })
    refuses(2, "url ", run { "fetch", "1", "--url", "ftp://x" })
    refuses(2, "No such file", run { "fetch", "1", "--key-file", "/nowhere" })
    refuses(2, "%-%-key%-file: %.: Is a directory", run { "fetch", "1", "--key-file", "." })
    refuses(2, "plain http.* use https, or %-%-allow%-http\n",
      run { "fetch", "1", "--url", "http://x.example" })
    refuses(2, "has no key", run({ "fetch", "1", "--key-file", "-" }, { input = "\n" }))
  end)

  it("says that it needs argparse, where there is none", function()
    local result = command.run({ "fetch", "1" }, {
      around = "LUA_INIT='package.preload.argparse = function() error \"none\" end' %s",
    })
    refuses(2, "needs argparse: luarocks %-%-lua%-version 5.4 install argparse\n", result)
  end)

  it("says in one line that a module cannot be loaded", function()
    local result = command.run({ "fetch", "1" }, {
      around = "LUA_INIT='package.preload[\"mjtask.core\"] = function() error \"no core\" end' %s",
    })
    refuses(1, "no core", result)
  end)

  it("says what is to be done in a checkout in which nothing is built", function()
    local folder <const>, remove = child.directory()
    finally(remove)
    assert(os.execute(("LD_PRELOAD= cp -R bin lua %s"):format(folder)))
    local result = command.run({ "--version" }, {
      program = folder .. "/bin/mjtask", around = "LUA_CPATH=/x/?.so LUA_CPATH_5_4=/x/?.so %s",
    })
    refuses(1, "module 'mjtask%.core' not found%. In a checkout: run make\n$", result)
  end)

  it("is nothing that the library loads", function()
    local output = child.run [[
      local mjtask = require "mjtask"
      local mj <close> = mjtask.new { url = "http://127.0.0.1:1", auth = "none" }
      for name in pairs(package.loaded) do
        if (name .. "."):find "%.cli%." or name == "argparse" then print(name) end
      end
    ]]
    assert.equal("", output)
  end)

  -- ---- exit codes -------------------------------------------------------------------------------

  it("has a code for each kind of error, and none for another", function()
    local known, given = {}, {}
    for kind in pairs(errors.kinds) do known[#known + 1] = kind end
    for kind in pairs(exits.of_kind) do given[#given + 1] = kind end
    table.sort(known)
    table.sort(given)
    assert.same(known, given)
    local meant = {}
    for _, row in ipairs(exits.meanings) do meant[row[1]] = true end
    for kind, code in pairs(exits.of_kind) do assert(meant[code], kind) end
  end)

  it("ends with the code that its error has", function()
    p:task("1", { life = "failure", pace = 0 })
    p:task("2", { life = "stuck" })
    local look = { "--interval", "0.1", "--retries", "0", "-q" }
    local function ends(code, pattern, words, options)
      refuses(code, pattern, run(table.move(look, 1, #look, #words + 1, words), options))
    end
    ends(1, "failed: the task failed: Banned prompt detected", { "wait", "1" })
    ends(3, "timeout: not done within the time limit of 0%.3 s",
      { "wait", "2", "--timeout", "0.3" })
    ends(3, "stalled: nothing has changed", { "wait", "2", "--stall", "0.1" })
    ends(6, "not_found", { "wait", "99" })
    ends(5, "connect: ", { "wait", "1" }, { url = proxy.closed_url() })
    p:set { key = "another-key" }
    ends(4, "auth: the server refuses the key", { "wait", "1" })
    p:set { key = false, fault = { case = "quota" } }
    ends(4, "quota: out of credit", { "wait", "1" })
    p:set { fault = "html_502" }
    ends(5, "http: ", { "wait", "1" })
  end)

  it("ends with the code of the first task that is not well", function()
    p:task("1", { life = "done" })
    p:task("2", { life = "failure", pace = 0 })
    local result = run { "fetch", "1", "98", SKU }
    assert.equal(6, result.code)
    result = run { "wait", "1", "2", "99", "-q", "--interval", "0.1" }
    assert.equal(1, result.code)
    assert.equal(6, run({ "wait", "99", "1", "2", "-q", "--interval", "0.1" }).code)
  end)

  -- ---- commands that look -----------------------------------------------------------------------

  it("fetches tasks in their order, as blocks and as JSON", function()
    p:task("1", { life = "done", fields = { prompt = "a cat\nin two lines", imageUrl = IMAGE } })
    p:task("2", { life = "failure", pace = 0 })
    local result = run { "fetch", "1", SKU, "1" }
    assert.equal(0, result.code)
    assert.equal("", result.err)
    local first, second = result.out:match "^(.-\n)\n(.*)$"
    assert.equal(([[
id        1
status    SUCCESS
progress  100%%
prompt    a cat\x0Ain two lines
image     %s
buttons   U1, U2, U3, U4, 🔄, V1, V2, V3, V4
]]):format(IMAGE), first)
    assert.matches("^id        " .. SKU .. "\n", second)

    result = run { "fetch", "--json", "1", "98", "2" }
    assert.equal(6, result.code)
    local lines = {}
    for line in result.out:gmatch "[^\n]+" do lines[#lines + 1] = decoded(line) end
    assert.equal(3, #lines)
    assert.same({ "1", "success", 100, { IMAGE } },
      { lines[1].id, lines[1].outcome, lines[1].percent, lines[1].images })
    assert.equal("a cat\nin two lines", lines[1].task.prompt)
    assert.same({ "98", "not_found", false },
      { lines[2].id, lines[2].error.kind, lines[2].error.retryable })
    assert.equal("2", lines[3].id)
    assert.matches('"images":%[%]', result.out)
  end)

  it("takes ids from standard input", function()
    p:task("1", { life = "done" })
    local result = run({ "fetch", "-" }, { input = ("%s\tSUCCESS\n\n 1 \n"):format(SKU) })
    assert.matches("^id        " .. SKU .. "\n.*\n\nid        1\n", result.out)
    result = run({ "fetch", "-", "--key-file", "-" }, { input = "k\n1" })
    assert.matches("^id        1\n", result.out)
    assert.equal("k", p:log()[#p:log()].headers["mj-api-secret"])
  end)

  it("lists buttons, and which can be pressed", function()
    p:task("1", { life = "done", fields = { buttons = proxy.list } })
    p:task("2", { life = "done", fields = { buttons = {
      { customId = "MJ::JOB::upsample::1::x", label = "U1", emoji = "" },
      { label = "Web", url = "https://x.example" },
    } } })
    assert.same({ out = "", err = "", code = 0 }, run { "buttons", "1" })
    assert.equal("U1\tpressable\tMJ::JOB::upsample::1::x\nWeb\tnot pressable\t-\n",
      run({ "buttons", "2" }).out)
    local first, second = run({ "buttons", "2", "--json" }).out:match "^([^\n]+)\n([^\n]+)\n$"
    assert.same({ "U1", true, "MJ::JOB::upsample::1::x" },
      { decoded(first).name, decoded(first).pressable, decoded(first).customId })
    assert.is_false(decoded(second).pressable)
    refuses(6, "not_found", run { "buttons", "99" })
  end)

  it("decodes a document from a file and from standard input, without a server", function()
    local path = "spec/fixtures/sku.json"
    local file <close> = assert(io.open(path, "rb"))
    local json = file:read "a"
    local result = command.run { "decode", path }
    assert.equal(0, result.code)
    assert.matches("^id        " .. SKU .. "\nstatus    SUCCESS\n", result.out)
    assert.same(result, command.run({ "decode" }, { input = json }))
    local record = decoded(command.run({ "decode", "--json" }, { input = json }).out)
    assert.same(mjtask.decode(json).buttons, record.task.buttons)
    refuses(1, "decode: .* at byte 1", command.run({ "decode" }, { input = "{" }))
    refuses(2, "mjtask: %.: Is a directory\n", command.run { "decode", "." })
    refuses(2, "No such file", command.run { "decode", "/nowhere" })
    refuses(1, "schema: the document is JSON, but no task\n",
      command.run({ "decode" }, { input = "[]" }))
    result = command.run({ "decode", "--json" }, { input = '{"code":4,"message":"no such task"}' })
    assert.equal(1, result.code)
    assert.is_string(decoded(result.out).error.kind)
  end)

  it("keeps every digit, and the empty list, in JSON", function()
    local json = '{"id":"1","instanceId":1118138338562560102,"least":-9223372036854775808,'
      .. '"buttons":[],"properties":{},"cost":0.1,"prompt":"a/b \\\\/ \\" \\u0000\\ud83d\\udc08"}'
    local result = command.run({ "decode", "--json" }, { input = json })
    assert.equal(([[
{"id":"1","images":[],"task":{"buttons":[],"cost":0.1,"id":"1","instanceId":1118138338562560102,%s]]
      ):format([["least":-9223372036854775808,"prompt":"a/b \\/ \" \u0000🐈","properties":{}}}]])
      .. "\n", result.out)
  end)

  it("watches: a line a change and an end, in the order things happen", function()
    p:task("1", { life = "short" })
    local result = run { "watch", "1", "99", "--interval", "0.1" }
    assert.equal(6, result.code)
    local own = {}
    for line in result.out:gmatch "[^\n]+" do
      if line:find "^1\t" then own[#own + 1] = line:gsub("\thttp.*", "\tURL") end
    end
    assert.same({ "1\tSUBMITTED\t0%", "1\tIN_PROGRESS\t46%", "1\tSUCCESS\tURL" }, own)
    assert.matches("99\tnot_found\t", result.out)
    p:task("1", { life = "short" })
    result = run { "watch", "1", "--json", "--interval", "0.1" }
    local events = {}
    for line in result.out:gmatch "[^\n]+" do events[#events + 1] = decoded(line) end
    assert.equal(3, #events)
    assert.same({ event = "change", id = "1", status = "IN_PROGRESS", percent = 46 }, events[2])
    assert.same({ "end", "1", "success" }, { events[3].event, events[3].id, events[3].outcome })
  end)

  it("watches ids that come later, while it watches the others", function()
    p:task("1", { life = "short", pace = 0.2 })
    p:task("2", { life = "done" })
    local result = run({ "watch", "-", "--interval", "0.1" }, {
      around = "(echo 1; sleep 0.3; echo 2; sleep 0.3; printf 99) | %s",
    })
    assert.equal(6, result.code)
    assert.matches("1\tSUBMITTED\t0%%\n.*2\tSUCCESS\t", result.out)
    assert.matches("1\tSUCCESS\t", result.out)
    assert.matches("99\tnot_found\t", result.out)
  end)

  it("asks for many by lists, where the server has them", function()
    local ids = {}
    for n = 1, 30 do ids[n] = tostring(1000 + n) end
    p:tasks(ids, { life = "done" })
    local result = run({ "wait", "-", "-q" }, { input = table.concat(ids, "\n") })
    assert.equal(0, result.code)
    assert.equal(30, select(2, result.out:gsub("\n", "")))
    assert(#p:log() < 5, #p:log())
  end)

  -- ---- submit, press, download ------------------------------------------------------------------

  describe("that makes files and tasks", function()
    local folder, remove

    before_each(function() folder, remove = child.directory() end)
    after_each(function() remove() end)

    local function read(name)
      local file <close> = assert(io.open(folder .. "/" .. name, "rb"))
      return file:read "a"
    end

    local function body()
      for _, request in ipairs(p:log()) do
        if request.path:find "/mj/submit/" then return decoded(request.body), request.path end
      end
    end

    local function list()
      local pipe <close> = assert(io.popen("ls -A " .. folder))
      return (pipe:read "a":gsub("\n", " "))
    end

    it("submits a prompt, and prints the id", function()
      local result = run { "submit", "imagine", "a", "red cat --ar 16:9" }
      assert.equal(0, result.code, result.err)
      local what, path = body()
      assert.same({ prompt = "a red cat --ar 16:9" }, what)
      assert.equal("/mj/submit/imagine", path)
      assert.matches("^id        " .. result.out, run({ "fetch", "-" }, { input = result.out }).out)
      local receipt = decoded(run({ "submit", "imagine", "x", "--json" }).out)
      assert.same({ receipt.id }, receipt.ids)
      assert.equal(1, receipt.code)
    end)

    it("submits pictures and fields", function()
      local name = folder .. "/x.png"
      local file <close> = assert(io.open(name, "wb"))
      file:write "\x89PNG\r\n\x1A\n"
      file:flush()
      local url = mjtask.data_url "\x89PNG\r\n\x1A\n"
      run { "submit", "blend", "-i", name, "-i", name, "-F", "dimensions=PORTRAIT" }
      assert.same({ base64Array = { url, url }, dimensions = "PORTRAIT" }, body())
      p:reset()
      run { "submit", "describe", "-i", name }
      assert.same({ base64 = url }, body())
      p:reset()
      p:task("1", { life = "done" })
      run { "submit", "change", "-F", "taskId=1", "-F", "action=UPSCALE", "-F", "index:=2" }
      assert.same({ taskId = "1", action = "UPSCALE", index = 2 }, body())
      p:reset()
      p:set { submit = { case = "uploaded" } }
      assert.equal("https://cdn.discordapp.com/a/1.png\nhttps://cdn.discordapp.com/a/2.png\n",
        run({ "submit", "upload-discord-images", "-i", name }).out)
    end)

    it("says why a submit was refused, and sends it once", function()
      p:set { submit = { case = "banned", word = "blood" } }
      refuses(1, 'banned: a banned word: "blood"', run { "submit", "imagine", "blood" })
      p:set { submit = { case = "queue_full" } }
      refuses(5, "busy: ", run { "submit", "imagine", "x" })
      p:set { submit = "done_rst" }
      p:log()
      refuses(1, "unknown_fate: ", run { "submit", "imagine", "x" })
      assert.equal(3, #p:log())
      local record = decoded(run({ "submit", "imagine", "x", "--json" }).out)
      assert.equal("unknown_fate", record.error.kind)
    end)

    it("presses a button, answers its window, and waits", function()
      p:task("1", { life = "upscaled_done" })
      p:set { submit = { life = "short" } }
      local result = run { "press", "1", "Vary (Subtle)" }
      assert.equal(0, result.code, result.err)
      assert.matches("^%d+\n$", result.out)
      refuses(1, "needs_input: [^\n]+ a modal: press with %-%-prompt TEXT %(",
        run { "press", "1", "Custom Zoom" })
      local record = decoded(run({ "press", "1", "Custom Zoom", "--json" }).out)
      assert.matches("press with %-%-prompt TEXT$", record.error.message)
      result = run { "press", "1", "Custom Zoom", "--prompt", "a cat --zoom 2", "--wait",
        "--interval", "0.1", "-q", "-o", folder, "--allow-private" }
      assert.equal(0, result.code, result.err)
      local path = result.out:match "^%d+\tSUCCESS\t([^\n]+)\n$"
      assert.equal("\x89PNG", read(path:match "[^/]+$"):sub(1, 4))
      refuses(1, 'no_button: no button fits "U9"', run { "press", "1", "U9" })
      refuses(2, "%-%-mask needs %-%-prompt", run { "press", "1", "U1", "--mask", "x" })
    end)

    it("says on Ctrl-C that it may have been accepted, once it was sent, and not before", function()
      p:task("1", { life = "done", fault = "stall" })
      local words, options = { "press", "1", "U1" }, { url = p.url }
      local function interrupted(part)
        local c <close> = command.start(words, options)
        assert(program.until_true(function()
          local log = p:log()
          return log[1] and log[#log].path:find(part, 1, true)
        end))
        c:interrupt()
        local result = c:result()
        assert.equal(130, result.code)
        return result.err
      end
      assert.equal("mjtask: interrupted\n", interrupted "/task/1/fetch")
      p:task("1", { life = "done" })
      p:set { submit = "stall" }
      assert.equal("mjtask: interrupted: it may have been accepted all the same\n",
        interrupted "/submit/action")
    end)

    it("has one time limit for a press and the fetch before it", function()
      p:task("1", { life = "done", script = { { delay = 0.3 } } })
      p:set { submit = "stall" }
      local result = run { "press", "1", "U1", "--timeout", "0.6", "--json" }
      local err = decoded(result.out).error
      assert.equal("unknown_fate", err.kind)
      assert(err.elapsed < 0.59, err.elapsed) -- of the press alone
    end)

    it("downloads by id, with the ending of what it is, and replaces nothing", function()
      p:task("1", { life = "done", fields = { imageUrl = "{here}/attachments/x.webp?a=.png" } })
      p:task("2", { life = "done", fields = { imageUrl = "{here}/mj/image/2" } })
      p:task("3", { life = "done", fields = { imageUrls = {
        { url = "{here}/attachments/a.jpg" }, { url = "{here}/attachments/b.gif" } } } })
      local result = run { "download", "1", "2", "3", "-o", folder }
      assert.equal(0, result.code, result.err)
      assert.equal(("F/1.webp\nF/2.png\nF/3_1.jpg\nF/3_2.gif\n"):gsub("F", folder), result.out)
      assert.equal("1.webp 2.png 3_1.jpg 3_2.gif ", list())
      result = run { "download", "1", "-o", folder, "--json" }
      assert.equal(1, result.code)
      assert.equal("io", decoded(result.out).error.kind)
      refuses(1, "1%.webp exists; %-%-force replaces it", run { "download", "1", "-o", folder })
      result = run { "download", "1", "-o", folder, "--force", "--json" }
      assert.same({ id = "1", saved = { folder .. "/1.webp" } }, decoded(result.out))
      assert.equal("1.webp 2.png 3_1.jpg 3_2.gif ", list())
      assert(os.execute("mkdir " .. folder .. "/mjtask"))
      result = run({ "download", "2" }, { directory = folder })
      assert.equal(1, result.code) -- here is where it was saved
      assert.matches("%./2%.png exists", result.err)
    end)

    it("names a picture by what it is, not by what its URL says", function()
      p:task("1", { life = "done", fields = { imageUrl = "{here}/attachments/x.jpg" } })
      p:set { image = { body = "GIF89a\1\0\1\0\x80\0\0\0\0\0\xFF\xFF\xFF\x2C\0\0\0\0\1\0\1\0\0"
        .. "\2\2\x44\1\0\x3B", type = "image/gif" } }
      assert.equal(folder .. "/1.gif\n", run({ "download", "1", "-o", folder }).out)
      assert.equal("1.gif ", list())
    end)

    it("says before it begins that a folder is none", function()
      for _, words in ipairs { { "download", "1" }, { "wait", "1" }, { "press", "1", "U1", "-w" },
          { "submit", "imagine", "x", "-w" } } do
        words[#words + 1], words[#words + 2] = "-o", "/nowhere"
        refuses(1, "/nowhere: No such file", run(words))
      end
      assert.equal(0, #p:log())
      p:task("1", { life = "no_image", pace = 0 })
      refuses(1, "no_image", run { "download", "1", "-o", folder })
    end)
  end)

  -- ---- streams ----------------------------------------------------------------------------------

  it("ends without a word when nobody reads it", function()
    p:tasks({ "1", "2", "3" }, { life = "done" })
    local result = run({ "wait", "1", "2", "3", "-q" }, {
      around = "trap '' PIPE; %s | true; %s | head -n 1; %s | head -n 1 >/dev/null",
    })
    assert.equal("", result.err)
    assert.equal(1, select(2, result.out:gsub("\n", "")))
  end)

  it("says that standard output is closed, or full", function()
    local result = run({ "fetch", SKU }, { around = "%s >&-" })
    refuses(1, "standard output: Bad file descriptor", result)
    result = run({ "fetch", SKU }, { around = "%s >&- 2>&- <&-" })
    assert.same({ code = 1, out = "", err = "" }, result)
    if not io.open("/dev/full", "w") then return pending "not run: there is no /dev/full" end
    refuses(1, "standard output: No space", run({ "fetch", SKU }, { around = "%s >/dev/full" }))
    refuses(1, "standard output: No space", run({ "help" }, { around = "%s >/dev/full" }))
  end)

  it("says of each line that it is lost: an id may have been paid for", function()
    if not io.open("/dev/full", "w") then return pending "not run: there is no /dev/full" end
    p:task("1", { life = "done", fields = { buttons = {
      { customId = "MJ::JOB::upsample::1::x", label = "U1" } } } })
    for words, line in pairs {
      [{ "submit", "imagine", "a cat" }] = "%d+",
      [{ "submit", "imagine", "a cat", "--json" }] = '{"code":1,[^\n]+}',
      [{ "press", "1", "U1" }] = "%d+",
      [{ "wait", "1", "-q" }] = "1 SUCCESS http[^\n]+",
      [{ "watch", "1" }] = "1 SUCCESS http[^\n]+",
      [{ "buttons", "1" }] = "U1 pressable MJ::JOB::upsample::1::x",
    } do
      refuses(1, "standard output: No space left on device; lost is: " .. line .. "\n$",
        run(words, { around = "%s >/dev/full" }))
    end
  end)

  it("writes each line when it is there", function()
    p:task("1", { life = "done" })
    p:task("2", { life = "stuck" })
    local c <close> = command.start({ "wait", "1", "2", "--interval", "0.1" }, { url = p.url })
    assert(program.until_true(function() return c:out():find "^1\tSUCCESS\t[^\n]+\n" end))
    c:interrupt()
    assert.equal(130, c:result().code)
  end)

  -- ---- completions ------------------------------------------------------------------------------

  -- What is asked of the script %s, and what is printed.
  local checks = {
    bash = {
      { "bash -n %s", "" },
      { "bash -c '. %s; complete -p mjtask'",
        "complete -o bashdefault -o default -F _mjtask mjtask\n" },
      { "bash -c '. %s; for word in completion help; do COMP_CWORD=2; "
        .. 'COMP_WORDS=(mjtask $word f); _mjtask; echo "${COMPREPLY[@]}"; done\'',
        "fish\nfetch\n" },
    },
    zsh = {
      { "zsh -n %s", "" },
      { "zsh -fc 'autoload -Uz compinit; compinit -u -d %s.dump; . %s; echo $_comps[mjtask]'",
        "_mjtask\n" },
      -- as a function, it is what the last line calls
      { "zsh -fc 'fpath=(%s.d); mkdir %s.d; cp %s %s.d/_mjtask; "
        .. 'autoload _mjtask; _arguments() { echo called }; _mjtask\'', "called\n" },
    },
    fish = {
      { "fish -n %s", "" },
      { "fish -c '. %s; complete -C \"mjtask completion \"; complete -C \"mjtask help f\"'",
        "bash\nfish\nzsh\nfetch\n" },
    },
  }

  for name, rows in pairs(checks) do
    it("has completions that " .. name .. " takes", function()
      local result = command.run { "completion", name }
      assert.equal(0, result.code, result.err)
      for _, word in ipairs { "simulate", "press", "state" } do
        assert(result.out:find(word, 1, true), word)
      end
      if not process.has(name) then return pending("not run: there is no " .. name) end
      local path = shell.quoted(process.file(result.out))
      for _, row in ipairs(rows) do
        local line = row[1]:gsub("%%s", function() return path end)
        local output, code = program.run("sh -c " .. shell.quoted(line))
        assert.same({ row[2], 0 }, { output, code })
      end
    end)
  end
end)
