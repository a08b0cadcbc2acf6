-- `mjtask wait`: results, presses, Ctrl-C, and the state file, which must never let a press be paid
-- for twice.

local child = require "support.child"
local command = require "support.command"
local core = require "mjtask.core"
local program = require "support.program"
local proxy = require "support.proxy"

describe("mjtask wait", function()
  local p, folder, remove

  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)

  before_each(function()
    p:reset()
    p:set { submit = { life = "short" } }
    folder, remove = child.directory()
  end)
  after_each(function() remove() end)

  local LOOKS = { "--interval", "0.1", "--timeout", "15" }

  local function with_looks(words)
    words = table.move(words, 1, #words, 2, { "wait" })
    return table.move(LOOKS, 1, #LOOKS, #words + 1, words)
  end

  local function wait(words, options)
    options = options or {}
    options.url = p.url
    return command.run(with_looks(words), options)
  end

  local function start(words)
    return command.start(with_looks(words), { url = p.url })
  end

  local function read(name)
    local file <close> = io.open(folder .. "/" .. name, "rb")
    return file and file:read "a"
  end

  local function write(name, text)
    local file <close> = assert(io.open(folder .. "/" .. name, "wb"))
    file:write(text)
  end

  local function requests(part)
    local count = 0
    for _, request in ipairs(p:log()) do
      if request.path:find(part, 1, true) then count = count + 1 end
    end
    return count
  end

  local function until_asked(part, count)
    assert(program.until_true(function() return requests(part) >= (count or 1) end), part)
  end

  -- The lines, without what a run makes up: the URLs.
  local function results(text)
    local lines = {}
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line:gsub("http%S+", "URL") end
    table.sort(lines)
    return lines
  end

  local function decoded(text)
    local list = {}
    for line in text:gmatch "[^\n]+" do list[#list + 1] = assert(core.decode(line)) end
    return list
  end

  -- ---- results ----------------------------------------------------------------------------------

  it("prints results on standard output, and how tasks fare on standard error", function()
    p:task("1", { life = "short" })
    p:task("2", { life = "failure" })
    local result = wait { "1", "2" }
    assert.equal(1, result.code)
    assert.same({ "1\tSUCCESS\tURL" }, results(result.out))
    for _, line in ipairs { "1 SUBMITTED 0%\n", "1 IN_PROGRESS 46%\n", "2 NOT_START 0%\n",
        "mjtask: failed: the task failed: Banned prompt detected (id 2, 4 tries)\n" } do
      assert(result.err:find(line, 1, true), line .. result.err)
    end
    assert.equal("", wait({ "1", "-q" }).err)
  end)

  it("prints a line of JSON for each result, also for what went wrong", function()
    p:task("1", { life = "done" })
    p:task("2", { life = "failure", pace = 0 })
    p:task("3", { life = "done", fields = { imageUrl = "" } })
    local result = wait { "1", "2", "3", "--json", "-q" }
    assert.equal(1, result.code)
    assert.equal("", result.err)
    local by_id = {}
    for _, record in ipairs(decoded(result.out)) do by_id[record.id] = record end
    assert.same({ "success", "SUCCESS" }, { by_id["1"].outcome, by_id["1"].task.status })
    assert.same({ "failed", false }, { by_id["2"].error.kind, by_id["2"].error.retryable })
    assert.equal("FAILURE", by_id["2"].task.status)
    assert.same({}, by_id["3"].images)
  end)

  it("presses buttons, waits for what they make, and saves that", function()
    p:task("1", { life = "done" })
    p:set { submit = { life = "short", fields = { imageUrl = "{here}/attachments/x.png" } } }
    local result = wait { "1", "--press", "U1", "--press", "🔄", "-o", folder, "--json" }
    assert.equal(0, result.code, result.err)
    local buttons = {}
    for _, record in ipairs(decoded(result.out)) do
      assert.equal("1", record.from)
      assert.same({ ("%s/%s.png"):format(folder, record.id) }, record.saved)
      assert.equal("\x89PNG", read(record.id .. ".png"):sub(1, 4))
      buttons[#buttons + 1] = record.button
    end
    table.sort(buttons)
    assert.same({ "U1", "🔄" }, buttons)
    assert.equal(2, requests "/submit/action")
    assert.is_nil(read "1.png")
  end)

  it("says which button failed, and goes on with the others", function()
    p:task("1", { life = "done" })
    local result = wait { "1", "--press", "U9", "--press", "U1", "-q" }
    assert.equal(1, result.code)
    assert.matches('mjtask: button U9: no_button: no button fits "U9"', result.err)
    assert.matches("^%d+\tSUCCESS\t[^\n]+\n$", result.out)
  end)

  it("answers the window that a press opens", function()
    p:task("1", { life = "upscaled_done" })
    local result = wait { "1", "--press", "Custom Zoom", "-q" }
    assert.equal(1, result.code)
    assert.matches("needs_input: ", result.err)
    result = wait { "1", "--press", "Custom Zoom", "--prompt", "a cat --zoom 2", "-q" }
    assert.equal(0, result.code, result.err)
  end)

  -- ---- Ctrl-C -----------------------------------------------------------------------------------

  it("says on Ctrl-C what is still open", function()
    p:task("1", { life = "done" })
    p:task("2", { life = "stuck" })
    p:task("3", { life = "stuck" })
    local c <close> = start { "1", "2", "3" }
    assert(program.until_true(function() return c:out() ~= "" end))
    c:interrupt()
    local result = c:result()
    assert.equal(130, result.code)
    assert.matches("\nmjtask: interrupted; still open: 2 3\n$", result.err)
    assert.same({ "1\tSUCCESS\tURL" }, results(result.out))
  end)

  it("hears Ctrl-C while a server says nothing", function()
    p:task("1", { fault = "stall" })
    local c <close> = start { "1" }
    until_asked "/task/1/"
    c:interrupt()
    assert.equal(130, c:result().code)
  end)

  it("waits on Ctrl-C for the answer to a press, and notes it", function()
    p:task("1", { life = "done" })
    p:set { submit = { delay = 0.3, life = "stuck" } }
    local c <close> = start { "1", "--press", "U1", "--state", folder .. "/state" }
    until_asked "/submit/"
    c:interrupt()
    local result = c:result()
    assert.equal(130, result.code)
    assert.matches("waiting for the answer to a press", result.err)
    local id = result.err:match "still open: (%d+)\nmjtask: mjtask wait %-%-state"
    assert.is_truthy(id, result.err)
    p:task(id, { life = "done" })
    result = wait { "--state", folder .. "/state", "-q" }
    assert.equal(0, result.code)
    assert.equal(id .. "\tSUCCESS\tURL", results(result.out)[1])
    assert.equal(1, requests "/submit/")
  end)

  it("leaves at once by a second Ctrl-C", function()
    p:task("1", { life = "done" })
    p:set { submit = "stall" }
    local c <close> = start { "1", "--press", "U1", "--state", folder .. "/state" }
    until_asked "/submit/"
    c:interrupt()
    assert(program.until_true(function() return c:err():find "Ctrl%-C again" end))
    c:interrupt()
    assert(c:result().code >= 128)
    assert.matches('"sent":true', read "state")
  end)

  -- ---- the state --------------------------------------------------------------------------------

  describe("with a state", function()
    local STATE

    before_each(function() STATE = folder .. "/state" end)

    it("goes on with what is open, and with nothing else", function()
      p:task("1", { life = "done" })
      p:task("2", { life = "stuck" })
      local result = wait { "1", "2", "--state", STATE, "--stall", "0.2", "-q" }
      assert.equal(3, result.code)
      assert.same({ "1\tSUCCESS\tURL" }, results(result.out))
      p:task("2", { life = "done" })
      result = wait { "--state", STATE, "-q" }
      assert.equal(0, result.code)
      assert.same({ "2\tSUCCESS\tURL" }, results(result.out))
      local last = p:log()[#p:log()]
      assert.equal("GET /mj/task/2/fetch", last.method .. " " .. last.path)
      result = wait { "--state", STATE }
      assert.same({ 0, "", "mjtask: nothing is open in " .. STATE .. "\n" },
        { result.code, result.out, result.err })
    end)

    it("is there already, if no ids are named", function()
      for _, more in ipairs { {}, { "-" } } do
        local result = wait { "--state", STATE, table.unpack(more) }
        assert.same({ 2, "mjtask: no ids, and --state " .. STATE
          .. ": No such file or directory\n" }, { result.code, result.err })
        assert.is_nil(read "state")
      end
    end)

    it("keeps open what it could not print", function()
      if not io.open("/dev/full", "w") then return pending "not run: there is no /dev/full" end
      p:task("1", { life = "done" })
      local result = wait({ "1", "--state", STATE, "-q" }, { around = "%s >/dev/full" })
      assert.equal(1, result.code)
      assert.matches("^mjtask: standard output: No space", result.err)
      assert.same({ "1\tSUCCESS\tURL" }, results(wait({ "--state", STATE, "-q" }).out))
    end)

    it("gives results again for ids that are named again, and presses nothing again", function()
      p:task("1", { life = "done" })
      p:set { submit = { life = "short", fields = { imageUrl = "{here}/attachments/x.png" } } }
      local words = { "1", "--press", "U1", "-o", folder, "--state", STATE, "-q" }
      local first = wait(words)
      assert.equal(0, first.code, first.err)
      assert.same(first, wait(words))
      assert.equal(1, requests "/submit/")
      assert.equal(1, requests "/attachments/")
      table.insert(words, 2, "--press=V1")
      local third = wait(words)
      assert.equal(0, third.code)
      assert.equal(first.out, third.out:match "^[^\n]*\n")
      assert.equal(2, select(2, third.out:gsub("\n", "")))
      assert.equal(2, requests "/submit/")
    end)

    it("remembers presses that are still to be made", function()
      p:task("1", { life = "stuck" })
      wait { "1", "--press", "U1", "--state", STATE, "--stall", "0.1", "-q" }
      assert.equal(0, requests "/submit/")
      p:task("1", { life = "done" })
      local result = wait { "--state", STATE, "--json", "-q" }
      assert.equal(0, result.code, result.err)
      assert.same({ "1", "U1" },
        { decoded(result.out)[1].from, decoded(result.out)[1].button })
      assert.equal(1, requests "/submit/")
    end)

    it("never repeats a press of which nobody knows what became", function()
      p:task("1", { life = "done" })
      p:set { submit = "done_rst" }
      local words = { "1", "--press", "U1", "--state", STATE, "-q" }
      local result = wait(words)
      assert.equal(1, result.code)
      assert.matches("button U1: unknown_fate", result.err)
      p:set { submit = { life = "done" } }
      for _, again in ipairs { words, { "--state", STATE, "-q" } } do
        result = wait(again)
        assert.equal(1, result.code)
        assert.matches("button U1: unknown_fate: an earlier run sent this press", result.err)
      end
      assert.equal(1, requests "/submit/")
    end)

    it("knows of a press when the process was killed during it", function()
      p:task("1", { life = "done" })
      p:set { submit = "stall" }
      local c <close> = start { "1", "--press", "U1", "--state", STATE }
      until_asked "/submit/"
      os.execute("kill -KILL " .. c.pid)
      assert.equal(137, c:result().code)
      p:set { submit = { life = "done" } }
      local result = wait { "1", "--press", "U1", "--state", STATE, "-q" }
      assert.matches("unknown_fate", result.err)
      assert.equal(1, requests "/submit/")
    end)

    it("knows a button by all its names", function()
      p:task("1", { life = "done" })
      p:set { submit = { delay = 0.1, life = "done" } }
      local result = wait { "1", "--press", "U1", "--press", "u1 ", "--state", STATE, "-q" }
      assert.equal(0, result.code, result.err)
      local custom_id = "MJ::JOB::upsample::1::e1a4d7e8-8292-412c-aab0-fce932e90479"
      for _, label in ipairs { "u1", custom_id } do
        assert.equal(0, wait({ "1", "--press", label, "--state", STATE, "-q" }).code)
      end
      assert.equal(1, requests "/submit/")
      assert.equal("", wait({ "--state", STATE, "-q" }).out)
    end)

    it("makes a press again that was refused", function()
      p:task("1", { life = "done" })
      p:set { submit = { case = "queue_full" } }
      local result = wait { "1", "--press", "U1", "--state", STATE, "-q" }
      assert.equal(5, result.code)
      p:set { submit = { life = "done" } }
      result = wait { "--state", STATE, "-q" }
      assert.equal(0, result.code, result.err)
      assert.equal(2, requests "/submit/")
    end)

    it("does not make again a press whose window was not answered well", function()
      p:task("1", { life = "upscaled_done" })
      p:set { script = { "pass", "pass", { case = "queue_full" } } }
      local words = { "1", "--press", "Custom Zoom", "--prompt", "x", "--state", STATE, "-q" }
      local result = wait(words)
      assert.equal(5, result.code)
      result = wait(words)
      assert.equal(1, result.code)
      assert.matches("unknown_fate", result.err)
      assert.equal(1, requests "/submit/action")
    end)

    it("has nothing left to do for what failed for good, but for all else", function()
      p:task("1", { life = "failure", pace = 0 })
      p:task("2", { life = "done" })
      wait { "1", "98", "--state", STATE, "-q" }
      assert.same({}, decoded(wait({ "--state", STATE, "--json" }).out))
      p:task("3", { fault = "html_502" })
      wait { "3", "--state", STATE, "-q", "--retries", "0" }
      p:task("3", { life = "done" })
      assert.equal("3\tSUCCESS\tURL", results(wait({ "--state", STATE, "-q" }).out)[1])
    end)

    it("is one process's at a time", function()
      p:task("1", { life = "stuck" })
      local c <close> = start { "1", "--press", "U1", "--state", STATE }
      until_asked("/task/1/", 3)
      local result = wait { "1", "--press", "U1", "--state", STATE }
      assert.same({ 2, "mjtask: " .. STATE .. ": another mjtask is at work with it\n" },
        { result.code, result.err })
      c:interrupt()
      c:result()
      p:task("1", { life = "done" })
      assert.equal(0, wait({ "--state", STATE }).code)
    end)

    it("presses nothing if it cannot be noted", function()
      p:task("1", { life = "stuck" })
      local c <close> = start { "1", "--press", "U1", "--state", STATE }
      until_asked("/task/1/", 2)
      assert(os.execute("mkdir " .. STATE .. ".new"))
      p:task("1", { life = "done" })
      local result = c:result()
      assert.equal(1, result.code)
      assert.matches("button U1: io: .*state%.new: Is a directory", result.err)
      assert.equal(0, requests "/submit/")
      assert(os.execute("rmdir " .. STATE .. ".new"))
      assert.equal(0, wait({ "--state", STATE }).code)
    end)

    it("leaves nothing beside its file", function()
      p:task("1", { life = "done" })
      wait { "1", "--state", STATE, "-q" }
      local pipe <close> = assert(io.popen("ls -A " .. folder))
      assert.equal("state\n", pipe:read "a")
    end)

    local broken = {
      [""] = "end of the document", ["{"] = "at byte 1", ["[]"] = "something else",
      ['{"mjtask_state":2,"tasks":[]}'] = "another version",
      ['{"mjtask_state":1}'] = "tasks are broken",
      ['{"mjtask_state":1,"tasks":[{"id":"../x","open":true,"presses":[]}]}'] = "tasks are broken",
      ['{"mjtask_state":1,"tasks":[{"id":"1","open":true,"presses":[{"button":1}]}]}'] = "broken",
    }

    for text, reason in pairs(broken) do
      it("leaves a broken file alone: " .. text, function()
        write("state", text)
        p:task("1", { life = "done" })
        local result = wait { "1", "--state", STATE }
        assert.equal(2, result.code)
        assert.matches("^mjtask: [^\n]+ is no state [^\n]+: remove it to begin anew\n$", result.err)
        assert(result.err:find(reason, 1, true), result.err)
        assert.equal(text, read "state")
        assert.equal(0, #p:log())
      end)
    end

    it("says that there can be no such file", function()
      local result = wait { "1", "--state", "/nowhere/state" }
      assert.same({ 2, "mjtask: --state /nowhere/state: No such file or directory\n" },
        { result.code, result.err })
      result = wait { "1", "--state", folder }
      assert.equal(2, result.code)
      assert.matches("^mjtask: [^\n]+\n$", result.err)
    end)
  end)
end)
