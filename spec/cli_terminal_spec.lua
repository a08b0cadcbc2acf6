-- What the command line shows on a terminal, and what it must never show there: screen.lua's lines,
-- the picture on real ones, text that plays tricks, the key.

local child = require "support.child"
local command = require "support.command"
local core = require "mjtask.core"
local proxy = require "support.proxy"
local screen = require "mjtask.cli.screen"
local shell = require "support.shell"
local terminal = require "support.terminal"

local ID, OTHER, THIRD = "1735030480754475", "1724963337114767", "1735030480000003"

describe("the lines of tasks under way", function()
  local function row(id, status, percent, seconds)
    return { id = id, status = status, percent = percent, seconds = seconds }
  end

  local ROWS = {
    row(ID, "IN_PROGRESS", 46, 31), row("1", "waiting", nil, 0), row(OTHER, "SUCCESS", 100, 3725),
  }

  it("have a bar where there is room", function()
    assert.same({
      "1735030480754475  IN_PROGRESS   [############................]   46%    0:31",
      "1                 waiting       [............................]     -    0:00",
      "1724963337114767  SUCCESS       [############################]  100% 1:02:05",
    }, screen.lines(ROWS, 76, 9, false))
  end)

  it("lose length of the bar, the beginning of ids, the bar, the status, the ids", function()
    assert.same({
      "1735030480754475  IN_PROGRESS  [##...]   46% 0:31",
      "1                 waiting      [.....]     - 0:00",
    }, screen.lines({ ROWS[1], ROWS[2] }, 49, 9, false))
    assert.same({
      "…754475  IN_PROGRESS  [#...]   46% 0:31",
      "1        waiting      [....]     - 0:00",
    }, screen.lines({ ROWS[1], ROWS[2] }, 39, 9, false))
    assert.same({
      "…754475  IN_PROGRESS   46%    0:31", "1        waiting         -    0:00",
      "…114767  SUCCESS      100% 1:02:05",
    }, screen.lines(ROWS, 34, 9, false))
    assert.same({ "…54475   46% 0:31" }, screen.lines({ ROWS[1] }, 17, 9, false))
    assert.same({ " 46% 0:31" }, screen.lines({ ROWS[1] }, 10, 9, false))
    assert.same({ " 46% " }, screen.lines({ ROWS[1] }, 5, 9, false))
  end)

  it("are never wider or more than they may be", function()
    local rows = table.move(ROWS, 1, #ROWS, 1, {})
    rows[4] = row(("9"):rep(128), "提交成功\27[2J\u{202E}", 33.3, 1e6)
    rows[5] = row("x", ("W"):rep(500), 0, 59.9)
    for columns = 1, 120 do
      for most = 1, 6 do
        local lines = screen.lines(rows, columns, most, false)
        assert.equal(math.min(most, #rows), #lines)
        for _, line in ipairs(lines) do
          assert(utf8.len(line) <= columns, line)
          assert(not line:find "%c", line)
        end
        if most < #rows and columns > 10 then
          assert.equal(("and %d more"):format(#rows - most + 1), lines[#lines])
        end
      end
    end
    assert.same({}, screen.lines({}, 80, 10, false))
  end)

  it("are coloured only where that is wanted", function()
    local plain = screen.lines(ROWS, 79, 9, false)
    local coloured = screen.lines(ROWS, 79, 9, true)
    assert.is_nil(table.concat(plain):find "\27")
    assert.is_truthy(table.concat(coloured):find "\27%[32m#+\27%[0m")
    for at, line in ipairs(coloured) do
      assert.equal(plain[at], (line:gsub("\27%[%d+m", "")))
    end
  end)

  it("tell the time as a clock does", function()
    for seconds, text in pairs {
      [0] = "0:00", [9.99] = "0:09", [60] = "1:00", [3599] = "59:59", [3600] = "1:00:00",
      [360000] = "100:00:00",
    } do assert.equal(text, screen.clock(seconds)) end
  end)
end)

describe("on a terminal", function()
  local p

  setup(function() p = proxy.start() end)
  teardown(function() p:stop() end)

  local function define()
    p:task(ID, { life = "success" }) -- by looks, so that none of its states is missed
    p:task(OTHER, { life = "success" })
    p:task(THIRD, { life = "failure" })
  end

  before_each(function()
    p:reset()
    define()
  end)

  -- All pictures that the terminal showed, each as its lines; nil and why, if there is none.
  local function pictures(words, columns, rows, env)
    local bytes, code = command.on_terminal(words, columns, rows, { url = p.url, env = env })
    if not bytes then return nil, code end
    local own, shown = terminal.new(columns, rows), {}
    local from = 1
    repeat
      local to = bytes:find("\27%[%d+A", from + 1) or #bytes + 1
      own:feed(bytes:sub(from, to - 1))
      shown[#shown + 1] = own:picture()
      from = to
    until from > #bytes
    return shown, code, bytes
  end

  local WORDS = { "wait", ID, OTHER, THIRD, "--interval", "0.1", "--timeout", "15" }

  for columns, line in pairs {
    [80] = "^" .. ID .. "  IN_PROGRESS   %[#+%.+%]   %d%d%% 0:0%d$",
    [40] = "^…754475  IN_PROGRESS  %[[#.][#.][#.][#.]%]   %d%d%% 0:0%d$",
    [20] = "^…%d*54475   %d%d%% 0:0%d$",
  } do
    it("each task has a line of its own, redrawn in place, in columns: " .. columns, function()
      local shown, code = pictures(WORDS, columns, 30)
      if not shown then return pending(code) end
      assert.equal(1, code)
      local seen, whole = false, false
      for _, picture in ipairs(shown) do
        for _, text in ipairs(picture) do seen = seen or text:find(line) ~= nil end
        whole = whole or #picture == 3
      end
      assert(seen and whole)
      local last = table.concat(shown[#shown])
      assert.is_truthy(last:find("mjtask: failed:", 1, true))
      assert.equal(2, select(2, last:gsub("SUCCESS", "")))
      assert.is_nil(last:find "IN_PROGRESS") -- nothing is left of the picture
    end)
  end

  it("more tasks than lines are counted", function()
    local words = { "wait", "--interval", "0.1", "--timeout", "15" }
    for n = 1, 12 do
      words[#words + 1] = p:task(tostring(n), { life = "success" })
    end
    local shown, code = pictures(words, 80, 8)
    if not shown then return pending(code) end
    assert.equal(0, code)
    local seen = false
    for _, picture in ipairs(shown) do
      assert(#picture <= 8)
      seen = seen or picture[7] == "and 6 more"
    end
    assert(seen)
  end)

  it("has colours, unless NO_COLOR is set", function()
    local _, code, bytes = pictures(WORDS, 80, 30)
    if not bytes then return pending(code) end
    assert.is_truthy(bytes:find("\27[32m", 1, true))
    define()
    _, _, bytes = pictures(WORDS, 80, 30, { NO_COLOR = "1" })
    assert.is_nil(bytes:find("\27[32m", 1, true))
    assert.is_truthy(bytes:find("\27[", 1, true))
    define()
    _, _, bytes = pictures(WORDS, 80, 30, { NO_COLOR = "" })
    assert.is_truthy(bytes:find("\27[32m", 1, true))
  end)

  it("has plain lines where the terminal can do no more, or standard error is elsewhere", function()
    local _, code, bytes = pictures(WORDS, 80, 60, { TERM = "dumb" })
    if not bytes then return pending(code) end
    assert.is_nil(bytes:find "\27")
    assert.matches(ID .. " IN_PROGRESS %d+%%\r\n", bytes)
    local result = command.run(WORDS, { url = p.url })
    assert.is_nil((result.out .. result.err):find "\27")
  end)

  it("ends on Ctrl-C from its keyboard", function()
    p:task(ID, { life = "stuck" })
    -- Typed once it has asked: before that it would have nothing to say of the task.
    local asked = ([[
      local http, socket = require "socket.http", require "socket"
      local deadline = socket.gettime() + 10
      repeat socket.sleep(0.02)
      until http.request(%q, ""):find("/fetch", 1, true) or socket.gettime() > deadline
    ]]):format(p.plain_url .. "/control/log")
    local bytes, code = command.on_terminal({ "wait", ID, "--interval", "0.1", "--timeout", "15" },
      80, 10, { url = p.url, keys = ("%s -e %s; printf '\\003'; sleep 0.3"):format(
        shell.quoted(shell.interpreter()), shell.quoted(asked)) })
    if not bytes then return pending(code) end
    assert.equal(130, code)
    assert.is_truthy(bytes:find("interrupted; still open: " .. ID, 1, true), bytes)
  end)

  it("the core knows its width, and that other streams have none", function()
    assert.is_nil(core.columns(64)) -- that nobody has open
    local result = command.run { "help" }
    for line in result.out:gmatch "[^\n]+" do assert(utf8.len(line) <= 80, line) end
    local bytes, code = command.on_terminal({ "help" }, 50, 20)
    if not bytes then return pending(code) end
    for line in bytes:gmatch "[^\r\n]+" do
      assert(utf8.len(line) <= 50 or line:find "MJTASK_PROVIDER", line)
    end
  end)

  -- ---- text that plays tricks #L11 --------------------------------------------------------------

  local TRICKS = "a\27[2Jb\27]52;c;ZXZpbA==\7c\u{9B}31md\u{202E}e\r\nf\127g\u{200B}h\u{E0041}i"

  -- Nothing that a terminal would act on, and no character that only looks like another.
  local function is_harmless(text, also)
    for _, code in utf8.codes(text) do
      assert(code == 10 or also[code] or code >= 0x20 and code < 0x7F or code > 0xA0, code)
      assert(code ~= 0x202E and code ~= 0x200B and code ~= 0xE0041)
    end
  end

  local COMMANDS = {
    { "fetch", "9" }, { "wait", "9", "8", "-q" }, { "wait", "8", "9" }, { "watch", "9", "8" },
    { "buttons", "9" }, { "press", "9", "no such label" }, { "press", "9", TRICKS .. "!" },
    { "wait", "9", "--press", "no such label" }, { "fetch", "9", "--json" },
    { "wait", "9", "8", "--json" }, { "watch", "9", "8", "--json" }, { "buttons", "9", "--json" },
    { "press", "9", "x", "--json" }, { "download", "9", "-o", "/nowhere\27[31m" },
    { "fetch", "a\27[31m" }, { "wait", "--\27[31m" }, { "\27[31m" }, { "submit", "imagine", "x" },
    { "submit", "imagine", "x", "--json" },
  }

  local function set_tricks()
    p:set { submit = { status = 200, body = '{"code":24,"description":"\\u001b[2J\\u202e",'
      .. '"properties":{"bannedWord":"\\u001b]0;x\\u0007"}}' } }
    p:task("9", { life = "done", fields = {
      prompt = TRICKS, imageUrl = "https://x.example/" .. TRICKS, promptEn = TRICKS,
      buttons = { { label = TRICKS, customId = "MJ::" .. TRICKS, emoji = TRICKS } },
      [TRICKS] = TRICKS,
    } })
    p:task("8", { life = { { status = TRICKS, progress = TRICKS },
      { status = "FAILURE", failReason = TRICKS } } })
  end

  it("no text of a server's or of the arguments' acts on it", function()
    for _, words in ipairs(COMMANDS) do
      set_tricks()
      if words[1] == "wait" or words[1] == "watch" then
        words[#words + 1], words[#words + 2] = "--interval", "0.1"
      end
      local result = command.run(words, { url = p.url })
      is_harmless(result.out, { [9] = true })
      is_harmless(result.err, {})
      assert(#result.out + #result.err > 0)
    end
  end)

  it("nor on the picture of a task", function()
    set_tricks()
    local shown, code = pictures({ "wait", "8", "9", "--interval", "0.1" }, 80, 30)
    if not shown then return pending(code) end
    assert.equal(1, code) -- and every byte was one that a picture needs
  end)

  it("JSON has all of it all the same", function()
    set_tricks()
    local record = core.decode(command.run({ "fetch", "9", "--json" }, { url = p.url }).out)
    assert.equal(TRICKS, record.task.prompt)
    assert.equal(TRICKS, record.task[TRICKS])
  end)

  -- ---- the key #L10 -----------------------------------------------------------------------------

  it("the key is in no output, whatever a server says", function()
    local KEY = "SECRET-k3y.w0rd-0t1u2v3w4x"
    local folder <const>, remove = child.directory()
    p:set { key = KEY, script = {} }
    p:task("1", { life = "done", fields = { prompt = "x" } })
    local say = { status = 401, body = '{"message":"bad key ' .. KEY .. '"}' }
    local texts = {}
    for _, words in ipairs {
      { "fetch", "1" }, { "wait", "1", "--state", folder .. "/state", "--trace" },
      { "fetch", "1", "--trace" }, { "submit", "imagine", "x", "--json" },
      { "wait", "1", "--proxy", p.relay_url },
    } do
      for _, plan in ipairs { "pass", say } do
        p:set { script = { plan } }
        local result = command.run(words, { url = p.url, key = KEY })
        texts[#texts + 1] = result.out .. result.err
      end
    end
    local refused = command.run({ "fetch", "1", "--key=" .. KEY }, { url = p.url })
    assert.equal(2, refused.code)
    texts[#texts + 1] = refused.err
    local file <close> = assert(io.open(folder .. "/state"))
    texts[#texts + 1] = file:read "a"
    remove()
    for _, text in ipairs(texts) do
      assert(text ~= "")
      assert.is_nil(text:find("k3y", 1, true), text)
    end
  end)

  it("the key comes from a file, from standard input or from the environment", function()
    p:set { key = "the-key", auth = "raw" }
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write "  the-key \nmore\n"
    file:flush()
    local without = { env = { MJTASK_URL = p.url } }
    assert.equal(0, command.run({ "fetch", ID, "--key-file", path }, without).code)
    without.input = "the-key"
    assert.equal(0, command.run({ "fetch", ID, "--key-file", "-" }, without).code)
    assert.equal(2, command.run({ "fetch", ID }, without).code)
    without.env.MJTASK_KEY = "the-key"
    assert.equal(0, command.run({ "fetch", ID }, without).code)
    os.remove(path)
  end)
end)
