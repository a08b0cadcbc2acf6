-- Cancelling a task, and the seed of its picture: each server's answer, and those that cannot.

local client = require "mjtask.client"
local clock = require "support.clock"
local proxy = require "support.proxy"
local failed_with = require "support.fails_with"

local KEY = "sk-0123456789abcdef"
local ID = "1735030480000001"

local p, mj, time

local function fails_with(...)
  local err = failed_with(...)
  assert.equal(ID, err.id)
  return err
end

local function json(body, status, headers)
  return { status = status or 200, body = body, type = "application/json", headers = headers }
end

setup(function() p = proxy.start() end)
teardown(function() p:stop() end)

before_each(function()
  p:reset()
  time = clock.new()
  mj = client.new({ url = p.url, key = KEY }, time)
  p:task(ID, { life = "stuck" })
end)

after_each(function()
  mj:close()
end)

describe("cancel", function()
  it("is true where the server can do it: plus", function()
    p:set { dialect = "plus" }
    assert.is_true(mj:cancel(ID))
    local request = p:log()[1]
    assert.same({ "POST", "/mj/task/" .. ID .. "/cancel" }, { request.method, request.path })
    assert.equal("cancelled", mj:fetch(ID):outcome())
  end)

  it("is true for an empty answer, and the task failed: trueai", function()
    p:set { dialect = "net" }
    assert.is_true(mj:cancel(ID))
    local task = mj:fetch(ID)
    assert.equal("failed", task:outcome())
    assert.equal("取消任务", task.failReason)
  end)

  it("is refused to those who are no administrators: trueai", function()
    p:set { dialect = "net", script = { "cancel_denied" } }
    local err = fails_with("rejected", mj:cancel(ID))
    assert.equal(400, err.status)
    assert.truthy(err.message:find("无权限操作", 1, true))
    assert.is_nil(mj:fetch(ID):outcome())
  end)

  for _, dialect in ipairs { "java", "go", "ts", "php" } do
    it("is unsupported where there is no such route: " .. dialect, function()
      p:set { dialect = dialect }
      local err = fails_with("unsupported", mj:cancel(ID))
      assert.is_false(err.retryable)
      assert.equal(1, #p:log())
    end)
  end

  it("knows the other refusals", function()
    for _, row in ipairs {
      { "net", "no_task", "not_found" }, { "plus", "no_task", "not_found" },
      { "net", "unauthorized", "auth" }, { "net", "forbidden", "auth" },
      { "plus", json '{"code":4,"description":"参数错误"}', "rejected" },
      { "plus", json "{}", "rejected" },
      { "plus", "redirect_302", "redirect" },
    } do
      p:set { dialect = row[1], script = { row[2] } }
      local err = fails_with(row[3], mj:cancel(ID))
      assert.equal(1, err.attempts)
    end
  end)

  it("is tried again where that may help: to cancel twice is to cancel", function()
    p:set { dialect = "plus", script = { "rst", { status = 502 } } }
    assert.is_true(mj:cancel(ID))
    assert.equal(3, #p:log())
    p:set { fault = "rst" }
    local err = fails_with("connect", mj:cancel(ID))
    assert.equal(3, err.attempts)
  end)

  it("takes what has an id, and names what has none", function()
    p:set { dialect = "plus" }
    assert.is_true(mj:cancel(math.tointeger(tonumber(ID))))
    assert.is_true(mj:cancel { id = ID })
    local before = #p:log()
    for _, id in ipairs { "", "..", "a/b", true, {}, 1.5 } do
      assert.error_matches(function() mj:cancel(id) end, "^id ")
    end
    assert.error_matches(function() mj:cancel(ID, { colour = 1 }) end, "colour")
    assert.equal(before, #p:log())
  end)
end)

describe("seed", function()
  for _, dialect in ipairs { "net", "go", "plus" } do
    it("is a string: " .. dialect, function()
      p:set { dialect = dialect }
      assert.equal("636646138", mj:seed(ID))
      local request = p:log()[1]
      assert.same({ "GET", "/mj/task/" .. ID .. "/image-seed" }, { request.method, request.path })
    end)
  end

  it("is waited for while the server looks for it: the port", function()
    p:set { dialect = "ts" }
    assert.equal("636646138", mj:seed(ID))
    assert.equal(3, #p:log())
    assert.same({ 5, 5 }, time.sleeps)
  end)

  it("is asked for again after the interval where the server names no time", function()
    p:set { dialect = "ts", script = {
      json('{"code":22,"description":"pending"}', 202), json('{"code":22}'),
      json('{"code":22,"result":"' .. ID .. '"}', 202, { ["Retry-After"] = "2" }),
      json('{"code":1,"seed":7}'),
    } }
    assert.equal("7", mj:seed(ID, { interval = 3 }))
    assert.same({ 3, 3, 2 }, time.sleeps)
  end)

  it("is waited for no longer than the time limit", function()
    p:set { dialect = "ts", fault = "seed_pending" }
    local err = fails_with("timeout", mj:seed(ID, { timeout = 22 }))
    assert.is_nil(err.pending)
    assert.equal(5, #p:log())
    assert.is_true(time.elapsed() <= 22)
  end)

  it("is a string whatever it is spelt like", function()
    for answer, seed in pairs {
      ['{"code":1,"result":"636646138"}'] = "636646138",
      ['{"code":1,"result":636646138}'] = "636646138",
      ['{"code":1,"result":636646138.0}'] = "636646138",
      ['{"code":1,"result":0}'] = "0",
      ['{"code":1,"seed":"12"}'] = "12",
      ['{"code":1,"result":null,"seed":"12"}'] = "12",
      ['{"code":0,"result":"4294967295"}'] = "4294967295",
    } do
      p:set { script = { json(answer) } }
      assert.equal(seed, mj:seed(ID))
    end
  end)

  for _, dialect in ipairs { "java", "php" } do
    it("is unsupported where there is no such route: " .. dialect, function()
      p:set { dialect = dialect }
      fails_with("unsupported", mj:seed(ID))
      assert.equal(1, #p:log())
    end)
  end

  it("knows the refusals", function()
    for _, row in ipairs {
      { "net", "no_task", "not_found" }, { "net", "no_hash", "rejected" },
      { "go", "no_task", "not_found" }, { "ts", "no_task", "not_found" },
      { "go", "unauthorized", "auth" }, { "go", "quota", "quota" },
      { "go", "redirect_302", "redirect" },
      { "go", json '{"code":1}', "rejected" }, { "go", json '{"code":1,"result":""}', "rejected" },
      { "go", json '{"code":1,"result":[1]}', "rejected" },
    } do
      p:set { dialect = row[1], script = { row[2] } }
      local err = fails_with(row[3], mj:seed(ID))
      assert.equal(1, err.attempts)
      assert.is_nil(err.pending)
    end
    p:set { dialect = "net" }
    local _, err = mj:seed("99")
    assert.equal("not_found", err.kind)
  end)

  it("is tried again where that may help", function()
    p:set { script = { "rst", { status = 503 }, json '{"code":1,"result":"1"}' } }
    assert.equal("1", mj:seed(ID))
  end)

  it("names a wrong argument", function()
    for _, id in ipairs { "", "..", "a/b", true, {}, 1.5 } do
      assert.error_matches(function() mj:seed(id) end, "^id ")
    end
    assert.error_matches(function() mj:seed(ID, { colour = 1 }) end, "colour")
    assert.equal(0, #p:log())
  end)
end)
