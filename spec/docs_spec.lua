-- The documents do what they say: each example runs and prints what stands below it, pieces are
-- those of examples/, commands are there, and each link leads somewhere.

local child = require "support.child"
local documents = require "support.documents"
local proxy = require "support.proxy"
local shell = require "support.shell"

local read = documents.read

local function lines_of(command)
  local pipe <close> = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  return lines
end

local HERE = lines_of("pwd")[1]
local PAGES = lines_of "ls docs/*.md"
local ALL = lines_of "ls *.md; find docs spec bench examples .github -name '*.md' | sort"

-- ---- examples -----------------------------------------------------------------------------------

-- The tasks that examples ask for.
local TASKS = {
  ["1735030480754475"] = { life = "sku" }, -- ten looks
  ["1724963337114767"] = { life = "pawmaas" }, -- ten looks
  ["1735030480754476"] = { life = "failure" },
  ["1735030480754477"] = { life = "upscaled_done" }, -- the buttons of an upscaled picture
  ["1735030480754478"] = { life = "stuck" },
  ["1735030480754480"] = { life = "short" }, -- three looks
}

-- What stands before each: the provider's rows lead to our server, and time is a clock's that
-- jumps, with chance always half; but real, and fast, where a host's loop counts it.
local PRELUDE = [[
local providers = require "mjtask.providers"
for _, row in pairs(providers) do row.url = os.getenv "SERVER" end
]]
local JUMPING = [[
local client, time = require "mjtask.client", require "support.clock".new()
local new = client.new
function client.new(given) return new(given, time) end
]]
local REAL = [[
for _, row in pairs(providers) do row.interval = 0.1 end
]]
local CLIENT = [[
local mjtask = require "mjtask"
local mj <close> = mjtask.new()
]]

-- Pieces may be indented in the example that they are from.
local function trimmed(text) return (("\n" .. text):gsub("\n[ \t]+", "\n")) end

local EXAMPLES = trimmed(table.concat(lines_of
  "cat examples/*.lua examples/*/*.lua examples/*/*.c examples/*/*.conf", "\n") .. "\n")

local function is_piece(block)
  return EXAMPLES:find(trimmed(block.text), 1, true) ~= nil
end

-- ---- commands -----------------------------------------------------------------------------------

local TARGETS = {}
for names in ("\n" .. read "Makefile"):gmatch "\n([%l-][%l -]*):" do
  for name in names:gmatch "%S+" do TARGETS[name] = true end
end

-- Every target that a line of a shell, or a piece of code in a text, asks make for.
local function check_targets(code)
  for words in ("\n" .. code):gmatch "[\n&] *make ([^\n#;|&)]+)" do
    words = words:gsub("%b''", ""):gsub('%b""', "")
    for word in words:gmatch "%S+" do
      local is_target = word:find "^%l" and not word:find "[=/.]"
      assert(not is_target or TARGETS[word], "make " .. word .. ": no such target")
    end
  end
end

local function check_paths(text)
  for path in text:gmatch "%f[%w]%l+/[%w_./-]+%.%l+" do
    if not path:find "^build/" then assert(io.open(path), path):close() end
  end
end

-- ---- the pages ----------------------------------------------------------------------------------

describe("the documents", function()
  local p, folder, remove

  setup(function()
    p = proxy.start()
    folder, remove = child.directory()
  end)
  teardown(function()
    p:stop()
    remove()
  end)

  before_each(function()
    p:reset()
    p:set { key = "the-key", auth = "raw", dialect = "net", submit = { life = "short" } }
    for id, task in pairs(TASKS) do p:task(id, task) end
  end)

  local function run(block)
    if block.server then p:set(assert(load("return " .. block.server, "=server", "t", {}))()) end
    local script = block.text
    if not script:find('require "mjtask"', 1, true) then script = CLIENT .. script end
    local is_real = script:find("pollfd", 1, true) or script:find("mjtask.loop", 1, true)
    return child.run(PRELUDE .. (is_real and REAL or JUMPING) .. script, {
      SERVER = p.url, MJTASK_PROVIDER = "sku", MJTASK_KEY = "the-key",
      LUA_PATH = HERE .. "/spec/?.lua;" .. package.path,
    }, "cd " .. shell.quoted(folder) .. " && timeout 20 %s")
  end

  local count, printing, pieces = 0, 0, 0
  for _, page in ipairs(PAGES) do
    for _, block in ipairs(documents.blocks(read(page))) do
      local name = ("%s, line %d, "):format(page, block.line)
      if block.language == "lua" and not is_piece(block) then
        count, printing = count + 1, printing + (block.output and 1 or 0)
        it(name .. "runs, and prints what stands below", function()
          local printed, status = run(block)
          assert.equal(0, status, printed)
          if block.output then assert.equal(block.output, printed) end
        end)
      elseif block.language == "lua" or block.language == "c" or block.language == "conf" then
        pieces = pieces + 1
        it(name .. "is a piece of an example", function() assert(is_piece(block), block.text) end)
      elseif block.language ~= "sh" then -- whose commands are looked at below
        it(name .. "is a drawing", function() assert.equal("text", block.language) end)
      end
    end
  end

  it("have examples at all", function()
    assert(count >= 14 and printing >= 12 and pieces >= 8,
      ("%d run, %d print, %d are pieces"):format(count, printing, pieces))
  end)

  it("name commands that there are", function()
    local found = 0
    for _, path in ipairs(ALL) do
      local text = read(path)
      for code in pairs(documents.words(text)) do check_targets(code) end
      for _, block in ipairs(documents.blocks(text)) do
        if block.language == "sh" then
          check_targets(block.text)
          local ok = os.execute("printf %s " .. shell.quoted(block.text) .. " | sh -n")
          assert(ok, ("%s:%d"):format(path, block.line))
          if path == "CONTRIBUTING.md" then check_paths(block.text) end
          found = found + 1
        end
      end
    end
    assert(found >= 4 and TARGETS.valgrind and TARGETS["bench-deps"])
    assert.has_error(function() check_targets "make all tset" end)
    assert.has_error(function() check_paths 'make test ARGS="spec/no_spec.lua"' end)
  end)
end)

-- ---- links --------------------------------------------------------------------------------------

-- Why a link of `path` leads nowhere; nil: it does.
local function broken(path, target)
  if target:find "^%a[%w+.-]*:" then return nil end -- the world's
  local file, anchor = target:match "^([^#]*)#?(.*)$"
  local folder = path:match "^(.*/)" or ""
  file = file == "" and path or folder .. file
  repeat
    local shorter, count = file:gsub("[^/]+/%.%./", "", 1)
    file = shorter
  until count == 0
  local is_there = os.execute("test -e " .. shell.quoted(file))
  if not is_there then return "there is no " .. file end
  if anchor ~= "" and not documents.anchors(read(file))[anchor] then
    return ("%s has no heading #%s"):format(file, anchor)
  end
end

describe("the links", function()
  for _, path in ipairs(ALL) do
    it("of " .. path .. " lead somewhere", function()
      for _, target in ipairs(documents.links(read(path))) do
        local fault = broken(path, target)
        assert(not fault, fault)
      end
    end)
  end

  it("would be found if they did not", function()
    assert.is_nil(broken("docs/waiting.md", "../README.md#options"))
    assert.is_nil(broken("docs/waiting.md", "errors.md"))
    assert.is_string(broken("docs/waiting.md", "README.md"))
    assert.is_string(broken("docs/waiting.md", "../README.md#no-such-heading"))
    assert.same({ "a.md", "b.md#c" }, documents.links "[a](a.md) `[x](y)` ![b](b.md#c)\n")
  end)

  it("reach every page from the README", function()
    local reached = {}
    for _, target in ipairs(documents.links(read "README.md")) do reached[target] = true end
    for _, page in ipairs(PAGES) do assert(reached[page], page) end
  end)
end)
