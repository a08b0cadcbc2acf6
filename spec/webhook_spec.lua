-- A hook makes a wait look sooner, and does no more: examples/webhook.lua, with a spool that this
-- spec writes, and with lighttpd's.

local child = require "support.child"
local lighttpd = require "support.lighttpd"
local program = require "support.program"
local proxy = require "support.proxy"
local shell = require "support.shell"

local A, B = "1735030480000001", "1735030480000002"
local SECONDS = 10 -- for anything here; without hooks there is a minute between two looks

describe("a script that takes hooks", function()
  local p, folder, remove, spool
  setup(function() p = proxy.start() end)
  teardown(function() if p then p:stop() end end)
  before_each(function()
    p:reset()
    p:task(A, { life = "stuck" })
    p:task(B, { life = "stuck" })
    folder, remove = child.directory()
    spool = folder .. "/hints"
  end)
  after_each(function() remove() end)

  -- The script, waiting for these tasks; says at its end how it ended.
  local function start(file, ...)
    local words = { shell.quoted(shell.interpreter()), "examples/webhook.lua", ... }
    return program.start("sh -c " .. shell.quoted(table.concat(words, " ") .. "; echo ended $?"), {
      env = { MJTASK_SPOOL = file, MJTASK_URL = p.url, MJTASK_AUTH = "none" },
    })
  end

  local function note(text, mode)
    local file <close> = assert(io.open(spool, mode or "a"))
    assert(file:write(text))
  end

  -- Requests that asked for a task, alone or in a list.
  local function looks(id)
    local count = 0
    for _, request in ipairs(p:log()) do
      if (request.path .. request.body):find(id, 1, true) then count = count + 1 end
    end
    return count
  end

  local function await_looks(id, count)
    local seen
    assert.is_true(program.until_true(function()
      seen = looks(id)
      return seen >= count
    end, SECONDS), ("%d looks at %s, not %d"):format(seen, id, count))
  end

  local function await_output(script, text)
    assert.is_true(program.until_true(function()
      return script:output() == text
    end, SECONDS), script:output())
  end

  local function end_well(id, url)
    p:task(id, { life = "done", fields = { imageUrl = url } })
  end

  it("looks at once, and believes only the server", function()
    note(B .. " success\n") -- from before
    local script <close> = start(spool, A, B)
    await_looks(A, 1)
    note(("17350304899999%d success\n"):format(1) .. "\n\n  \0\xFF\27[2J\n../" .. A .. " success\n")
    note((A .. " success\n"):rep(20) .. A:sub(1, 9)) -- forged: it is not; and half of a line
    await_looks(A, 2)
    assert.equal("", script:output())
    end_well(A, "https://cdn.example/a.png")
    note(A:sub(10) .. " running\n") -- stale: it is done
    await_output(script, A .. ": https://cdn.example/a.png\n")
    assert.equal(1, looks(B)) -- nobody said that there is news of it
    assert.equal(3, looks(A)) -- twenty hooks in a row were one
    end_well(B, "https://cdn.example/b.png")
    note(A .. " success\n" .. B .. " success\n")
    await_output(script, A .. ": https://cdn.example/a.png\n" .. B
      .. ": https://cdn.example/b.png\nended 0\n")
  end)

  it("reads a spool that was not there, and one that was begun anew", function()
    local script <close> = start(spool, A)
    await_looks(A, 1)
    note(("x"):rep(1000) .. " success\n" .. A .. " running\n")
    await_looks(A, 2)
    end_well(A, "https://cdn.example/a.png")
    note(A .. " success\n", "w")
    await_output(script, A .. ": https://cdn.example/a.png\nended 0\n")
  end)

  it("goes on without any spool", function()
    p:task(B, { life = "done" })
    local script <close> = start(folder .. "/nothing/hints", B)
    assert.is_true(program.until_true(function()
      return script:output():find "^%d+: http[^\n]+\nended 0\n$"
    end, SECONDS), script:output())
  end)

  local missing = lighttpd.missing()
  if missing then
    it("is told by lighttpd", function() pending("not run: " .. missing) end)
    return
  end

  local function hook(id, status)
    return ('{"id":"%s","status":"%s","imageUrl":"https://evil.example/x.png"}'):format(id, status)
  end

  it("is told by lighttpd: right, forged, stale, repeated, disordered and garbage", function()
    local l <close> = lighttpd.start()
    local script <close> = start(l.file, A, B)
    await_looks(A, 1)
    for _, garbage in ipairs { "", "{", "null", '{"id":"' .. A .. '\\n"}', hook(" ", "SUCCESS") } do
      assert.equal(400, (l:post(garbage)))
    end
    assert.equal(200, (l:post(hook("..", "SUCCESS"))))
    assert.equal(200, (l:post(hook("1735030489999999", "SUCCESS")))) -- nobody's
    assert.equal(200, (l:post(hook(A, "SUCCESS")))) -- forged
    await_looks(A, 2)
    assert.equal("", script:output())
    end_well(A, "https://cdn.example/a.png")
    for _, status in ipairs { "SUCCESS", "SUCCESS", "IN_PROGRESS", "FAILURE", "SUBMITTED" } do
      assert.equal(200, (l:post(hook(A, status)))) -- right, repeated, disordered, forged, stale
    end
    await_output(script, A .. ": https://cdn.example/a.png\n")
    assert.equal(1, looks(B))
    p:task(B, { life = { { status = "FAILURE", failReason = "banned" } } })
    assert.equal(200, (l:post(hook(B, "SUCCESS"))))
    await_output(script, A .. ": https://cdn.example/a.png\n" .. B
      .. ": failed: the task failed: banned (id " .. B .. ", 2 tries)\nended 0\n")
  end)
end)
