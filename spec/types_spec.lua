-- What the library offers, what its types declare, and what the README names: the same, both ways.
-- What is offered is what the running library shows of itself.

local declared = require "support.declared"
local errors = require "mjtask.errors"
local hosts = require "support.hosts"
local mjtask = require "mjtask"
local options = require "mjtask.options"
local proxy = require "support.proxy"
local tasks = require "mjtask.task"

local TYPES = "library/mjtask.lua"
local types = declared.read(TYPES)

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local README = read "README.md"

-- ---- sets of names ------------------------------------------------------------------------------

local function keys(...)
  local set = {}
  for _, one in ipairs { ... } do
    for key in pairs(one) do set[key] = true end
  end
  return set
end

local function set(list)
  local own = {}
  for _, name in ipairs(list) do own[name] = true end
  return own
end

-- Fails by the names that only one side has.
local function same(expected, found, by)
  local wrong = {}
  for name in pairs(expected) do
    if not found[name] then wrong[#wrong + 1] = by .. " lacks " .. name end
  end
  for name in pairs(found) do
    if not expected[name] then wrong[#wrong + 1] = by .. " names what is not there: " .. name end
  end
  table.sort(wrong)
  assert.same({}, wrong)
end

-- Fails by the names that `found` has not.
local function within(expected, found, by)
  for name in pairs(expected) do assert(found[name], ("%s lacks %s"):format(by, name)) end
end

-- The names between the next braces behind `mark` in the README: { a, b } or { a =, b = }.
local function braces(mark)
  local _, at = README:find(mark, 1, true)
  local inside = assert(at and README:match("^[^{]*(%b{})", at + 1), mark):gsub('"[^"]*"', "")
  local names = {}
  for name in inside:gmatch "[%a_][%w_]*" do names[name] = true end
  return names
end

-- Every NAME that the README has as `prefix` .. NAME.
local function named(prefix)
  local names = {}
  for name in README:gmatch("%f[%w_.]" .. prefix .. "([%a_][%w_]*)") do names[name] = true end
  return names
end

-- The methods of a class, as keys.
local function methods_of(name)
  local class = types.classes[name]
  local methods = keys(class.methods)
  for field, what in pairs(class.fields) do
    methods[field] = what.type:find "^fun%(self: " and true
  end
  return methods
end

-- ---- what runs ----------------------------------------------------------------------------------

local p

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)
before_each(function() p:reset() end)

local function new(more)
  local given = { url = p.url, auth = "none", interval = 0.1 }
  for name, value in pairs(more or {}) do given[name] = value end
  return mjtask.new(given)
end

-- The longest form that is declared takes what the function takes: `done` stands in forms only.
local function takes(method, f, name)
  local info = debug.getinfo(f, "u")
  assert(not info.isvararg, name)
  assert.equal(info.nparams, math.max(table.unpack(method.arities)), name .. ": parameters")
end

describe("of the module", function()
  local class = types.module

  it("each function is in the types, and the other way round", function()
    same(keys(mjtask), keys(class.methods, class.fields), TYPES)
    for name, method in pairs(class.methods) do takes(method, mjtask[name], name) end
  end)

  it("each function is in the README, and the other way round", function()
    local found = named "mjtask%."
    found.lua, found.fish, found.loop = nil, nil, nil -- files, and the adapters
    found._VERSION = true -- for rocks, not for readers
    same(keys(mjtask), found, "README.md")
  end)
end)

describe("of a client", function()
  local there

  setup(function()
    local own <close> = new()
    there = getmetatable(own).__index
  end)

  it("each method is in the types, and the other way round", function()
    local class = types.classes["mjtask.Client"]
    same(keys(there), keys(class.methods), TYPES)
    for name, method in pairs(class.methods) do takes(method, there[name], name) end
  end)

  it("each method is in the README, and the other way round", function()
    same(keys(there), named "mj:", "README.md")
  end)
end)

describe("of a task", function()
  it("each method is in the types and the README, and the other way round", function()
    local there = getmetatable(assert(mjtask.decode '{"id":"1"}')).__index
    same(keys(there), methods_of "mjtask.Task", TYPES)
    same(keys(there), named "task:", "README.md")
  end)

  it("and of its buttons the fields of the seeds are in the types", function()
    for _, name in ipairs { "sku", "pawmaas" } do
      local json = read("spec/fixtures/" .. name .. ".json")
      local task = assert(mjtask.decode(json, { null = false }))
      within(keys(task), types.classes["mjtask.Task"].fields, TYPES)
      for _, button in ipairs(task.buttons) do
        within(keys(button), types.classes["mjtask.Button"].fields, TYPES)
      end
    end
  end)

  it("the fields of a query are those that it may have", function()
    local task = assert(mjtask.decode '{"id":"1"}')
    local fields = types.classes["mjtask.ButtonQuery"].fields
    same(fields, braces "A `query` is a string or `", "README.md")
    local ok, problem = pcall(mjtask.buttons, task, { kind = "a", misspelt = 1 })
    assert.is_false(ok)
    local there = {}
    for name in problem:match "there are (.*)$":gmatch "%w+" do there[name] = true end
    there["and"] = nil
    same(there, fields, TYPES)
  end)

  it("the outcomes are in the types and the README", function()
    local there = {}
    for _, outcome in pairs(tasks.statuses) do
      if outcome then there[outcome] = true end
    end
    same(there, declared.words(types.aliases["mjtask.Outcome"]), TYPES)
    for name in pairs(there) do assert(README:find('`"' .. name .. '"`', 1, true), name) end
  end)
end)

describe("of an operation", function()
  it("each method is in the types and the README, and the other way round", function()
    local mj <close> = new()
    local operation = mj:fetch("1", function() end)
    local there = getmetatable(operation).__index
    same(keys(there), methods_of "mjtask.Operation", TYPES)
    same(keys(there), named "operation:", "README.md")
  end)
end)

describe("of a watcher", function()
  it("each method is in the types and the README, and the other way round", function()
    local mj <close> = new()
    local watcher = mj:watch {}
    local there = getmetatable(watcher).__index
    same(keys(there), methods_of "mjtask.Watcher", TYPES)
    same(keys(there), named "watcher:", "README.md")
  end)
end)

describe("of a receipt", function()
  it("each field is in the types and the README, and the other way round", function()
    local mj <close> = new()
    local there = {}
    for _, plan in ipairs { { case = "queued", queue = 7 }, { case = "uploaded" } } do
      p:set { dialect = "net", submit = plan }
      local receipt = assert(mj:submit("imagine", { prompt = "a cat" }))
      there = keys(there, receipt)
      assert.is_nil(getmetatable(receipt).__index)
    end
    same(there, types.classes["mjtask.Receipt"].fields, TYPES)
    same(there, braces "A receipt is `", "README.md")
  end)
end)

describe("of an error", function()
  -- Between rooms only.
  local INTERNAL = set { "unsent", "pending", "stray" }

  it("each field is in the types and the README, and the other way round", function()
    local mj <close> = new { retries = 0 }
    local there = {}
    local function failed(value, err)
      assert.is_nil(value)
      assert.is_nil(getmetatable(err).__index)
      there = keys(there, err)
      return err
    end
    p:set { dialect = "net" }
    failed(mj:fetch "no-such-task")
    p:task("1", { life = "upscaled_done" })
    assert.equal("needs_input", failed(mj:press("1", "Custom Zoom")).kind)
    p:task("2", { life = "failure" })
    failed(mj:wait "2")
    p:set { fault = { status = 429, headers = { ["Retry-After"] = "500" } } }
    failed(mj:fetch "1")
    same(there, types.classes["mjtask.Error"].fields, TYPES)
    same(there, braces "return `nil, err`: a table `", "README.md")
  end)

  it("no other field is in the sources", function()
    local pipe <close> = assert(io.popen "cat lua/mjtask/*.lua")
    local there = {}
    local text = pipe:read "a"
    for name in text:gmatch "%f[%w_]err%.([%a_]+)" do there[name] = true end
    for call in text:gmatch "errors%.new(%b())" do
      for name in call:gsub('"[^"]*"', ""):gmatch "%f[%w_]([%a_]+) = " do there[name] = true end
    end
    assert(there.retry_after and there.receipt and there.unsent)
    within(there, keys(types.classes["mjtask.Error"].fields, INTERNAL), TYPES)
  end)

  it("each kind is in the types and the README, and the other way round", function()
    same(keys(errors.kinds), declared.words(types.aliases["mjtask.Kind"]), TYPES)
    local found = {}
    local rows = assert(README:match "\n| kind | when |\n|[-|]+|\n(.-)\n\n")
    for cell in rows:gmatch "%f[^\n\0]|([^|]*)|" do
      for kind in cell:gmatch "`([%a_]+)`" do found[kind] = true end
    end
    same(keys(errors.kinds), found, "README.md")
  end)
end)

-- ---- options ------------------------------------------------------------------------------------

-- The tables that a function of options.lua has under a name.
local function upvalue(f, wanted)
  for at = 1, math.huge do
    local name, value = debug.getupvalue(f, at)
    if name == wanted then return value end
    assert(name, wanted)
  end
end

describe("of options", function()
  local of_client = upvalue(options.check_new, "of_client")
  local of_both = upvalue(options.check_new, "of_both")
  local of_method = upvalue(options.check_call, "of_method")
  local of_decode = upvalue(options.check_decode, "of_decode")

  -- Per method the class of its options.
  local function class_of(method)
    return types.classes["mjtask.Client"].methods[method].options
  end

  it("those of new are in the types, and the other way round", function()
    assert.equal("mjtask.ClientOptions", types.module.methods.new.options)
    same(keys(of_client, of_both), declared.fields(types, "mjtask.ClientOptions"), TYPES)
    same(of_both, declared.fields(types, "mjtask.CallOptions"), TYPES)
  end)

  it("those of each method are in the types, and the other way round", function()
    local count = 0
    for name, method in pairs(types.classes["mjtask.Client"].methods) do
      local own = of_method[name]
      if method.options then
        same(keys(of_both, own or {}), declared.fields(types, class_of(name)), TYPES)
        count = count + 1
      else
        assert.is_nil(own, name)
      end
    end
    assert.equal(9, count)
    for name in pairs(of_method) do assert(class_of(name), name) end
  end)

  it("those of decode are in the types and the README", function()
    assert.equal("mjtask.DecodeOptions", types.module.methods.decode.options)
    same(of_decode, declared.fields(types, "mjtask.DecodeOptions"), TYPES)
    local cell = assert(README:match "\n(| `mjtask%.decode%(json [^\n]*)"):match "Options: ([^|]*)"
    local found = {}
    for name in cell:gmatch "`([%w_]+)`" do found[name] = true end
    same(of_decode, found, "README.md")
  end)

  it("are in the README, where they may stand, and the other way round", function()
    local there = {} -- option -> where
    for name in pairs(of_client) do there[name .. ": new"] = true end
    for name in pairs(of_both) do there[name .. ": both"] = true end
    for method, own in pairs(of_method) do
      for name in pairs(own) do there[name .. ": " .. method] = true end
    end
    local found = {}
    local rows = assert(README:match "\n| option | default | where | meaning |\n|[-|]+|\n(.-)\n\n")
    for names, where in rows:gmatch "%f[^\n\0]|([^|]*)|[^|]*|([^|]*)|" do
      for name in names:gmatch "`([%w_]+)`" do
        for place in where:gmatch "[%w_]+" do found[name .. ": " .. place] = true end
      end
    end
    same(there, found, "README.md")
  end)

  it("those of a modal are what it may have", function()
    local fields = types.classes["mjtask.Modal"].fields
    local there = {}
    for name in of_method.press.modal { misspelt = "" }:match "there are (.*)$":gmatch "%w+" do
      there[name] = true
    end
    there["and"] = nil
    same(there, fields, TYPES)
    same(there, braces "| `modal` | | `press` | `", "README.md")
  end)

  it("auth takes the words of the types, and no other", function()
    local there = {}
    local ok, problem = pcall(new, { auth = "misspelt", key = "a" })
    assert.is_false(ok)
    for word in problem:gmatch '"([^"]+)"' do there[word] = true end
    same(there, declared.words(types.aliases["mjtask.Auth"]), TYPES)
    for word in pairs(there) do
      assert(README:find('`"' .. word .. '"`', 1, true), word)
      new({ auth = word, key = "a" }):close()
    end
  end)
end)

describe("of a provider's row", function()
  it("each field is in the types and the README, and the other way round", function()
    local there = {}
    assert.is_nil(options.check_row(setmetatable({}, { __index = function(_, name)
      there[name] = true
    end })))
    same(there, types.classes["mjtask.Provider"].fields, TYPES)
    same(there, braces "a script may add a row", "README.md")
    for _, row in pairs(mjtask.providers) do within(keys(row), there, "options.check_row") end
  end)
end)

describe("of a trace", function()
  it("each event and field is in the types, and the other way round", function()
    local there, events = {}, {}
    local mj <close> = new { trace = function(event)
      there, events[event.event] = keys(there, event), true
    end }
    p:task("1", { life = "short", script = {
      { status = 429, headers = { ["Retry-After"] = "0" } },
    } })
    assert(mj:wait "1")
    same(there, types.classes["mjtask.TraceEvent"].fields, TYPES)
    same(events, declared.words(types.classes["mjtask.TraceEvent"].fields.event.type), TYPES)
  end)
end)

-- ---- adapters -----------------------------------------------------------------------------------

describe("of the adapters", function()
  it("each has a type file, and the other way round", function()
    local function names(folder)
      local found = {}
      local pipe <close> = assert(io.popen("ls " .. folder))
      for name in pipe:lines() do found[name:match "^([%w_]+)%.lua$"] = true end
      return found
    end
    same(names "lua/mjtask/loop", names "library/mjtask/loop", "library/mjtask/loop")
    same(names "lua/mjtask/loop", named "mjtask%.loop%.", "README.md")
  end)

  for _, name in ipairs { "luv", "cqueues", "timer" } do
    it("each function of " .. name .. " is in its types and the README", function()
      local host, missing = hosts.new(name)
      if not host then return pending(missing) end
      local path = ("library/mjtask/loop/%s.lua"):format(name)
      local class = declared.read(path).module
      local module = require("mjtask.loop." .. name)
      same(keys(module), keys(class.methods), path)
      for method, own in pairs(class.methods) do
        local info, names = debug.getinfo(module[method], "u"), own.params
        assert.equal(info.isvararg, names[#names] == "...", method)
        assert.equal(info.nparams, #names - (info.isvararg and 1 or 0), method)
        assert(README:find("%f[%w_]" .. method .. "%f[^%w_]"), method)
      end
    end)

    it("what " .. name .. " gives is in the types", function()
      local host, missing = hosts.new(name)
      if not host then return pending(missing) end
      local loop
      local mj <close> = new { loop = function(client)
        loop = host.loop(client)
        return loop
      end }
      assert.is_table(mj)
      within(keys(loop), types.classes["mjtask.Loop"].fields, TYPES)
    end)
  end

  it("what the types want of one is wanted, and no more", function()
    local own, wanted = {}, {}
    for _ = 1, 20 do
      local ok, problem = pcall(new, { loop = function() return own end })
      if ok then
        problem:close()
        break
      end
      local name = assert(problem:match 'gives no function "([%w_]+)"', problem)
      wanted[name], own[name] = true, function() end
    end
    local needed = {}
    for name, field in pairs(types.classes["mjtask.Loop"].fields) do
      if not field.optional then needed[name] = true end
    end
    same(wanted, needed, TYPES)
  end)
end)
