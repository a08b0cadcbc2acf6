-- The tables of the documents are those of the sources: kinds, fields, providers, families, words,
-- rooms and the arrows between them.

local auth = require "support.auth"
local declared = require "support.declared"
local dialects = require "support.dialects"
local documents = require "support.documents"
local errors = require "mjtask.errors"
local mjtask = require "mjtask"
local tasks = require "mjtask.task"

local read = documents.read
local types = declared.read "library/mjtask.lua"

local function keys(map)
  local set = {}
  for key in pairs(map) do set[key] = true end
  return set
end

-- The pieces of code in the first cells of a table's rows.
local function named(page, first)
  local found = {}
  for _, row in ipairs(documents.rows(read(page), first)) do
    for name in pairs(documents.words(row[1])) do
      assert.is_nil(found[name], name)
      found[name] = true
    end
  end
  return found
end

describe("docs/errors.md", function()
  it("has each kind, and says whether it is retryable", function()
    local found = {}
    for _, row in ipairs(documents.rows(read "docs/errors.md", "| kind | retryable |")) do
      local word = assert(row[2]:match "^%l+", row[1])
      found[row[1]:match "^`([%l_]+)`$"] = ({ yes = true, no = false })[word]
      assert(#row[3] > 0, row[1])
    end
    assert.same(errors.kinds, found)
  end)

  it("has each field", function()
    assert.same(keys(types.classes["mjtask.Error"].fields), named("docs/errors.md", "| field |"))
  end)
end)

describe("docs/waiting.md", function()
  it("has each event of a trace, and its fields", function()
    local rows = documents.rows(read "docs/waiting.md", "| `event.event` | with |")
    local events, fields = {}, { id = true, event = true } -- said below
    for _, row in ipairs(rows) do
      events[row[1]:match '^`"(%l+)"`$'] = true
      for name in pairs(documents.words(row[2])) do fields[name] = true end
    end
    fields.wait = nil -- the method
    local trace = types.classes["mjtask.TraceEvent"].fields
    assert.same(declared.words(trace.event.type), events)
    assert.same(keys(trace), fields)
  end)
end)

describe("docs/loops.md", function()
  it("has each function of an adapter's table", function()
    local found = {}
    for name in pairs(named("docs/loops.md", "| function | does |")) do
      found[name:match "^%l+"] = true
    end
    assert.same(keys(types.classes["mjtask.Loop"].fields), found)
  end)
end)

describe("docs/providers.md", function()
  local page = read "docs/providers.md"

  it("has each provider as it is", function()
    local found = {}
    for _, row in ipairs(documents.rows(page, "| `provider` | `url` |")) do
      local words = {}
      for at = 1, 3 do words[at] = row[at]:match "^`(.*)`$" end
      found[words[1]] = { url = words[2], auth = words[3], interval = tonumber(row[4]) }
    end
    assert.same(mjtask.providers, found)
  end)

  it("has each way to send the key", function()
    local there = declared.words(types.aliases["mjtask.Auth"])
    assert.same(there, named("docs/providers.md", "| `auth` |"))
  end)

  local FAMILIES = {
    ["midjourney-proxy (Java)"] = "java", ["midjourney-proxy-plus"] = "plus",
    ["trueai's (.NET)"] = "net", ["new-api (Go)"] = "go", ["the TypeScript port"] = "ts",
    ["webman-php"] = "php",
  }
  local SENT = {
    Bearer = { authorization = "Bearer the_key" }, raw = { authorization = "the_key" },
    ["mj-api-secret"] = { ["mj-api-secret"] = "the_key" },
    auto = { authorization = "the_key", ["mj-api-secret"] = "the_key" },
  }
  local YES = { yes = true, no = false }

  it("has each family as our local proxy plays it", function()
    local found = {}
    for _, row in ipairs(documents.rows(page, "| family | key |")) do
      local name = assert(FAMILIES[row[1]], row[1])
      local dialect, has = dialects[name], {}
      for _, field in ipairs(dialect.order) do has[field] = true end
      found[name] = true
      for scheme, headers in pairs(SENT) do
        local is_listed = (", " .. row[2] .. ","):find(", " .. scheme .. ",", 1, true) ~= nil
        if scheme == "auto" then is_listed = name ~= "plus" end -- as the page says
        assert.equal(is_listed, auth[name](headers, "the_key") or false, row[1] .. ": " .. scheme)
      end
      assert.equal(YES[row[3]], has.buttons or false, row[1])
      for at, route in pairs { [4] = "list-by-condition", [5] = "cancel", [6] = "image-seed" } do
        assert.equal(YES[row[at]], dialect.routes[route] or false, row[1] .. ": " .. route)
      end
      assert.equal(row[7]:match "^%d+", tostring(dialect.cases.unknown[1]), row[1])
    end
    assert.same(keys(dialects), found)
  end)

  it("has each word for a status, and what it means", function()
    local found = {}
    for _, row in ipairs(documents.rows(page, "| `task:outcome()` |")) do
      local outcome = row[1]:match '^`"(.*)"`$' or false
      for word in pairs(documents.words(row[2])) do
        if word:find "^[%u_]+$" then found[word] = outcome end
      end
    end
    assert.same(tasks.statuses, found)
  end)
end)

-- ---- rooms --------------------------------------------------------------------------------------

describe("docs/architecture.md", function()
  local page = read "docs/architecture.md"

  local function names(pattern)
    local found = {}
    local pipe <close> = assert(io.popen("ls " .. pattern))
    for path in pipe:lines() do found[#found + 1] = path end
    return found
  end

  -- file -> what it needs, as the table below this heading row has it
  local function arrows_of(first)
    local found = {}
    for _, row in ipairs(documents.rows(page, first)) do
      local needs = {}
      for name in (row[3] or ""):gmatch "[%w_]+" do needs[name] = true end
      for name in pairs(documents.words(row[1])) do found[name] = needs end
    end
    return found
  end

  it("has each Lua file, and which others it requires", function()
    local there = {}
    for _, path in ipairs(names "lua/mjtask/*.lua lua/mjtask/loop/*.lua") do
      local needs = {}
      for name in read(path):gmatch 'require "mjtask%.([%w_.]+)"' do needs[name] = true end
      there[path:match "^lua/mjtask/(.*)%.lua$"] = needs
    end
    assert.same(there, arrows_of "| Lua file |")
  end)

  it("has each folder; and no room knows the command line", function()
    for _, path in ipairs(names "-d lua/mjtask/*/") do
      local folder = path:match "^lua/mjtask/(.*/)$"
      assert(page:find("`[^`]*" .. folder), folder)
    end
    for _, path in ipairs(names "lua/mjtask/*.lua lua/mjtask/loop/*.lua") do
      assert.is_nil(read(path):match 'require "mjtask%.cli[."]', path)
    end
  end)

  it("has each C file, and which others it includes", function()
    local there = {}
    for _, path in ipairs(names "src/*.c") do
      local own, needs = path:match "^src/(.*)%.c$", {}
      local header = io.open(("src/%s.h"):format(own))
      local text = read(path) .. (header and header:read "a" or "")
      if header then header:close() end
      for name in text:gmatch '#include "([%w_]+)%.h"' do
        needs[name] = name ~= own and name ~= "lua" and name ~= "lauxlib" and true or nil
      end
      there[own .. ".c"] = needs
    end
    assert.same(there, arrows_of "| C file |")
  end)

  it("draws no arrow that points up, or in a circle", function()
    local drawing = documents.blocks(page)[1].text
    local layer_of, layer = {}, 0
    for line in drawing:gmatch "[^\n]+" do
      layer = layer + 1
      local list = line:match "^%l[%a ,]*  +([%l., ]+)$"
      for name in (list or ""):gmatch "[%w_.]+" do layer_of[name] = layer end
    end
    local needs = arrows_of "| Lua file |"
    for name, arrows in pairs(arrows_of "| C file |") do
      needs[name] = {}
      for other in pairs(arrows) do needs[name][other .. ".c"] = true end
    end
    local open, visits = {}, 0
    local function visit(name)
      assert(not open[name], "a circle: " .. name)
      open[name] = true
      for other in pairs(needs[name] or {}) do
        assert(other == "core" or layer_of[name] <= layer_of[other], name .. " -> " .. other)
        visit(other)
      end
      open[name], visits = nil, visits + 1
    end
    for name in pairs(needs) do
      if not name:find "^loop/" then assert(layer_of[name], name) end
      visit(name)
    end
    assert(visits > 50)
  end)
end)

-- ---- names --------------------------------------------------------------------------------------

describe("the documents", function()
  it("name no method or function that is not there", function()
    local mj <close> = mjtask.new { url = "http://127.0.0.1:9", auth = "none" }
    local methods = getmetatable(mj).__index
    local pipe <close> = assert(io.popen "ls *.md docs/*.md")
    local count = 0
    for path in pipe:lines() do
      local text = read(path)
      for name in text:gmatch "%f[%w_]mj:([%l_]+)%f[^%l_]" do
        assert(methods[name], ("%s: mj:%s"):format(path, name))
        count = count + 1
      end
      for name in text:gmatch "%f[%w_/.]mjtask%.([%l_]+)[({]" do
        assert(mjtask[name] or name == "client", ("%s: mjtask.%s"):format(path, name))
        count = count + 1
      end
    end
    assert(count > 50, count)
  end)
end)

describe("README.md", function()
  -- The rows of the README, and those of the results: of one after another, of 16 at a time.
  local ROWS = {
    ["libcurl and lua-cjson in C, nothing checked"] = {
      "libcurl and lua-cjson, C", "libcurl multi and lua-cjson, C",
    },
    mjtask = { "mjtask, fetch", "mjtask, callbacks" },
    ["luasocket and lua-cjson, kept by a trick"] = { "luasocket, kept by a trick" },
    ["lua-http and lua-cjson"] = { "lua-http, kept", "lua-http, kept" },
    ["Node's http"] = { "Node http, keepAlive agent", "Node http, keepAlive agent" },
    ["Node's fetch"] = { "Node fetch", "Node fetch" },
    ["Python's aiohttp"] = { "Python aiohttp", "Python aiohttp" },
    ["Python's requests"] = { "Python requests, a Session" },
    ["curl by `io.popen`"] = { "curl by io.popen" },
  }

  -- What the results have in a column of the first table of a section, by row.
  local function column_of(title, column)
    local cells = {}
    local section = assert(read "bench/RESULTS.md":match("\n## " .. title .. "\n(.-)\n## "), title)
    for _, row in ipairs(documents.rows(section, "|")) do
      cells[row[1]:gsub("%*", "")] = row[column]
    end
    return cells
  end

  it("has the costs that bench/RESULTS.md has", function()
    local found = 0
    local one = column_of("One fetch after another", 2)
    local many = column_of("16 fetches at a time", 2)
    for _, row in ipairs(documents.rows(read "README.md", "| | one after another |")) do
      local names = assert(ROWS[row[1]:gsub("%*", "")], row[1])
      assert.equal(assert(one[names[1]], names[1]), row[2])
      assert.equal(names[2] and assert(many[names[2]], names[2]) or "–", row[3])
      found = found + 1
    end
    assert.equal(9, found)
  end)

  it("has the other figures that bench/RESULTS.md has", function()
    local text = read "README.md":match "\n## What it costs\n.-\n(One after another .-)\n\n"
    local function says(words, cell)
      assert(text:gsub("\n", " "):find(words:format(assert(cell, words)), 1, true), words)
    end
    says("a task costs %s µs", column_of("A list of 100 tasks, each task", 2)["mjtask, fetch_many"])
    says("this task takes %s times",
      column_of("Decoding the seed %(4356 bytes%)", 4)["mjtask's decoder"])
    says("a small one %s.",
      column_of("Decoding a small task under way %(334 bytes%)", 4)["mjtask's decoder"])
    says("take %s bytes each", column_of("From one task to very many", 7)["100,000"])
    says("each, %s of them", column_of("From one task to very many", 6)["100,000"])
    local delays, requests = column_of("Time to the answer", 3), column_of("Time to the answer", 5)
    for words, row in pairs {
      ["after %s s by `wait`, for %s requests"] = "mjtask, wait",
      ["after %s s by `watch`, for %s;"] = "mjtask, watch",
      ["after %s s by a webhook's hint, for %s;"] = "mjtask, watch and a webhook's hint",
      ["every 2 s after %s s, for %s;"] = "a fetch every 2 s",
      ["every 5 s after %s s, for %s "] = "a fetch every 5 s",
    } do
      says(words:format(delays[row], "%s"), requests[row])
    end
  end)
end)
