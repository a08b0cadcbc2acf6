-- The heap of what is due first, and the line of what came first: against plain ones, and while
-- finalizers use them at bad moments.

local heap = require "mjtask.heap"
local line_of = require "mjtask.line"
local process = require "support.process"

-- The numbers of a generator of its own, 1 to `most`.
local function generator(seed)
  local state = seed
  return function(most)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % most + 1
  end
end

-- Is it one? Used here and in a process of its own.
local CHECK = [[
  local function check(h)
    local count = 0
    for item, place in pairs(h.place) do
      count = count + 1
      assert(h.items[place] == item, "a place is wrong")
      assert(place == 1 or h.due[place // 2] <= h.due[place], "it is no heap")
    end
    assert(count == h.count and count == #h.items and count == #h.due, "the count is wrong")
  end
  return check
]]

local check = load(CHECK)()

describe("a heap", function()
  it("gives what is due first, whatever was put in, moved and taken out", function()
    local random = generator(20261121)
    local h, model = heap.new(), {}
    for round = 1, 3000 do
      local item, due = random(60), random(20)
      if random(3) == 1 then
        h:remove(item)
        model[item] = nil
      else
        h:set(item, due)
        model[item] = due
      end
      local least = math.huge
      for name, time in pairs(model) do
        least = math.min(least, time)
        assert.equal(time, h:when(name))
      end
      local first, time = h:first()
      assert.equal(next(model) and least or nil, time)
      assert.equal(time, first and model[first])
      if round % 50 == 0 then check(h) end
    end
  end)

  it("takes times without end in both directions, and the same again", function()
    local h = heap.new()
    h:set("last", math.huge)
    h:set("middle", 0)
    h:set("first", -math.huge)
    h:set("first", -math.huge)
    local order = {}
    while h:first() do
      order[#order + 1] = h:first()
      h:remove((h:first()))
      h:remove "nobody"
      check(h)
    end
    assert.same({ "first", "middle", "last" }, order)
  end)

  -- In a process of its own, where the collector runs at every chance: whenever a call has to make
  -- the stack grow, too. A new coroutine has room for some forty values.
  it("stays one when a finalizer uses it at any moment of its use", function()
    local output, status = process.run("local function checker() " .. CHECK .. " end" .. [[
      local check, heap, h = checker(), require "mjtask.heap", nil
      local on, count, number = true, 0, 0
      local function some(most)
        number = (number * 7 + 3) % 1009
        return number % most + 1
      end
      local function haunt()
        setmetatable({}, { __gc = function()
          if not on then return end
          haunt()
          count = count + 1
          check(h)
          local first = h:first()
          if first then h:remove(first) end
          h:set(some(60), some(100))
          h:set(some(60), some(100))
        end })
      end
      local function descend(level, f)
        if level > 0 then descend(level - 1, f) else f() end
        return nil
      end
      h = heap.new()
      for n = 1, 40 do h:set(n, some(100)) end
      haunt()
      collectgarbage("generational", 256)
      for round = 1, 2000 do
        local thread = coroutine.create(descend)
        assert(coroutine.resume(thread, round % 12, function()
          if round % 3 == 0 then h:remove(round % 60) else h:set(round % 60, round % 100) end
        end))
        check(h)
      end
      on = false
      assert(count > 1000, count)
      print "through"
    ]], { wrap = "timeout 60" })
    assert.equal("through\n", output)
    assert.equal(0, status)
  end)
end)

describe("a line", function()
  local function item(n) return { n = n, line = false, before = false, after = false } end

  it("gives what came first, and takes out what suits", function()
    local line, six = line_of.new(), nil
    assert.is_false(line:pop())
    for n = 1, 6 do
      six = item(n)
      line:push(six)
    end
    assert.equal(6, line.count)
    assert.equal(4, line:take(function(value, least) return value.n > least end, 3).n)
    assert.equal(1, line:first().n)
    assert.equal(1, line:pop().n)
    assert.is_false(line:take(function(value) return value.n > 9 end))
    line:remove(six)
    line:remove(six)
    line:push(six)
    local rest = {}
    while not line:is_empty() do rest[#rest + 1] = line:pop().n end
    assert.same({ 2, 3, 5, 6 }, rest)
    assert.equal(0, line.count)
  end)

  it("loses nothing when what suits is asked while others push and pop", function()
    for round = 1, 20 do
      local line, popped = line_of.new(), {}
      for n = 1, 20 do line:push(item(n)) end
      local asked = 0
      local taken = line:take(function(value)
        asked = asked + 1
        if asked == round then
          for _ = 1, 5 do popped[#popped + 1] = line:pop().n end
          line:push(item(100))
          line:take(function(other) return other.n == 18 end)
        end
        return value.n == 15
      end)
      assert.equal(15, taken.n)
      while not line:is_empty() do popped[#popped + 1] = line:pop().n end
      assert.equal(19, #popped)
      table.sort(popped)
      for at = 2, #popped do assert.not_equal(popped[at - 1], popped[at]) end
    end
  end)

  -- As with the heap above.
  it("gives each once when a finalizer uses it at any moment of its use", function()
    local output, status = process.run([[
      local line, on, count, given, serial = require "mjtask.line".new(), true, 0, {}, 0
      local function push()
        serial = serial + 1
        line:push { n = serial, line = false, before = false, after = false }
      end
      local function note(item)
        if not item then return end
        if given[item.n] then error("given twice: " .. item.n) end
        given[item.n] = true
      end
      local function all() return true end
      local function haunt()
        setmetatable({}, { __gc = function()
          if not on then return end
          haunt()
          count = count + 1
          note(line:pop())
          note(line:take(all))
        end })
      end
      local function descend(level, f)
        if level > 0 then descend(level - 1, f) else f() end
        return nil
      end
      haunt()
      collectgarbage("generational", 256)
      warn "@on"
      for round = 1, 3000 do
        for _ = 1, 6 do -- not until there are six: finalizers may be faster
          if line.count < 6 then push() end
        end
        local thread = coroutine.create(descend)
        assert(coroutine.resume(thread, round % 12, function()
          local item
          if round % 2 == 0 then item = line:pop() else item = line:take(all) end
          note(item)
        end))
      end
      on = false
      for _ = 1, line.count do note(line:pop()) end
      assert(line.count == 0 and line:is_empty() and #given == serial, "one is lost")
      assert(count > 1000, count)
      print "through"
    ]], { wrap = "timeout 60" })
    assert.equal("through\n", output)
    assert.equal(0, status)
  end)
end)
