-- The room of buttons.lua: every captured shape of a button, and every way to ask for one.
-- Decoded with lua-cjson on purpose: its null is a userdata, as in tasks that scripts decode alone.

local buttons = require "mjtask.buttons"
local cjson = require "cjson"

local uuid = "3182402e-79db-44e7-b9d7-0e63b94539d1"

local function seed(name)
  local file = assert(io.open("spec/fixtures/" .. name .. ".json", "rb"))
  local text = file:read "a"
  file:close()
  return cjson.decode(text)
end

local function button(custom_id, label, emoji)
  return { customId = custom_id, label = label, emoji = emoji or "", type = 2, style = 2 }
end

local function task_of(...)
  return { id = "1", status = "SUCCESS", buttons = { ... } }
end

local function job(word, index)
  return ("MJ::JOB::%s::%d::%s::SOLO"):format(word, index or 1, uuid)
end

-- An upscaled picture of v7, as captured in 2026.
local function upscaled()
  return task_of(
    button(job "upsample_v7_2x_subtle", "Upscale (Subtle)", "upscale_1"),
    button(job "upsample_v7_2x_creative", "Upscale (Creative)", "upscale_1"),
    button(job "low_variation", "Vary (Subtle)", "🪄"),
    button(job "high_variation", "Vary (Strong)", "🪄"),
    button(("MJ::Inpaint::1::%s::SOLO"):format(uuid), "Vary (Region)", "🖌\u{FE0F}"),
    button(("MJ::Outpaint::50::1::%s::SOLO"):format(uuid), "Zoom Out 2x", "🔍"),
    button(("MJ::Outpaint::75::1::%s::SOLO"):format(uuid), "Zoom Out 1.5x", "🔍"),
    button(("MJ::CustomZoom::%s"):format(uuid), "Custom Zoom", "🔍"),
    button(job "pan_left", "", "⬅\u{FE0F}"),
    button(job "pan_right", "", "➡\u{FE0F}"),
    button(job "pan_up", "", "⬆\u{FE0F}"),
    button(job "pan_down", "", "⬇\u{FE0F}"),
    button(job "animate_high", "Animate (High motion)", "🎞\u{FE0F}"),
    button(job "animate_low", "Animate (Low motion)", "🎞\u{FE0F}"),
    button(("MJ::BOOKMARK::%s"):format(uuid), "", "❤\u{FE0F}"))
end

local function described()
  local list = {}
  for i = 1, 4 do
    list[i] = button("MJ::Job::PicReader::" .. i, "", i .. "\u{FE0F}\u{20E3}")
  end
  list[5] = button("MJ::Picread::Retry", "", "🔄")
  list[6] = button("MJ::Job::PicReader::all", "Imagine all", "🎉")
  return task_of(table.unpack(list))
end

local function shortened()
  local list = {}
  for i = 1, 5 do
    list[i] = button("MJ::Job::PromptAnalyzer::" .. i, "", i .. "\u{FE0F}\u{20E3}")
  end
  list[6] = button("MJ::Job::PromptAnalyzerExtended", "Show Details")
  return task_of(table.unpack(list))
end

local function video()
  local list = {}
  for i = 1, 4 do
    list[i] = button(("MJ::JOB::video_virtual_upscale::%d::%s"):format(i, uuid), "U" .. i)
  end
  list[5] = button(job "animate_high_extend", "Extend (High motion)", "🎞\u{FE0F}")
  list[6] = button(job "animate_low_extend", "Extend (Low motion)", "🎞\u{FE0F}")
  return task_of(table.unpack(list))
end

local function finds(expected_index, task, query)
  local found, err = buttons.find(task, query)
  assert.is_nil(err)
  assert.equal(task.buttons[expected_index], found)
end

local function refuses(kind, task, query)
  local found, err = buttons.find(task, query)
  assert.is_nil(found)
  assert.equal(kind, err.kind)
  assert.is_nil(err.message:find "%c")
  return err.message
end

describe("buttons.find by a string", function()
  it("finds every button of the two seeds", function()
    for _, name in ipairs { "sku", "pawmaas" } do
      local task = seed(name)
      for i, label in ipairs { "U1", "U2", "U3", "U4", "🔄", "V1", "V2", "V3", "V4" } do
        finds(i, task, label)
        finds(i, task, task.buttons[i].customId)
      end
      finds(1, task, "u1")
      finds(9, task, " v4\n")
    end
  end)

  it("finds those of an upscaled picture", function()
    local task = upscaled()
    finds(1, task, "Upscale (Subtle)")
    finds(2, task, "upscale (creative)")
    finds(5, task, "Vary (Region)")
    finds(5, task, "🖌")
    finds(5, task, "🖌\u{FE0F}")
    finds(7, task, " ZOOM out 1.5X ")
    finds(9, task, "⬅")
    finds(12, task, "⬇\u{FE0F}")
    finds(15, task, "❤")
    refuses("ambiguous", task, "🪄")
    refuses("ambiguous", task, "🎞")
    refuses("ambiguous", task, "upscale_1")
    assert.matches("3 buttons fit \"🔍\": Zoom Out 2x (Outpaint 50), Zoom Out 1.5x (Outpaint 75), "
      .. "Custom Zoom (CustomZoom)", refuses("ambiguous", task, "🔍"), 1, true)
    refuses("no_button", task, "Upscale")
    refuses("no_button", task, "U1")
  end)

  it("finds those of describe, shorten and video", function()
    local task = described()
    finds(2, task, "2\u{FE0F}\u{20E3}")
    finds(2, task, "2\u{20E3}")
    finds(5, task, "🔄")
    finds(6, task, "imagine ALL")
    finds(6, task, "🎉")
    refuses("no_button", task, "2")
    finds(5, shortened(), "5\u{20E3}")
    finds(6, shortened(), "Show Details")
    finds(3, video(), "U3")
    finds(5, video(), "Extend (High motion)")
    refuses("ambiguous", video(), "🎞\u{FE0F}")
    finds(1, task_of(button("MJ::CancelJob::ByJobid::" .. uuid, "Cancel Job")), "cancel job")
  end)

  it("lets the first pass with a hit decide", function()
    local task = task_of(
      button("a", "u1"), button("b", "U1"), button("c", "x", "U1"), button("U1", "y"),
      button("d", "", "e"), button("e", "E"), button("f", "z", "g"), button("g", " G "))
    finds(2, task, "U1") -- label before emoji and customId, its exact case before another
    finds(1, task, "u1")
    finds(5, task, "e") -- emoji before customId
    finds(7, task, "g")
    finds(8, task, "G") -- the folded label last
    refuses("ambiguous", task, "U1 ")
  end)

  it("matches nothing with an empty query", function()
    local task = task_of(
      button("a", "", ""), button("b", " ", "\u{FE0F}"), { customId = "", label = "" })
    for _, query in ipairs { "", " ", "\t\r\n", "\u{FE0F}", " \u{FE0F} " } do
      refuses("no_button", task, query)
      assert.same({}, buttons.all(task, query))
    end
  end)

  it("folds ASCII letters only, and no spaces within", function()
    local task = task_of(button("a", "Ärger"), button("b", "Zoom  Out"))
    finds(1, task, "ÄRGER")
    refuses("no_button", task, "ärger")
    refuses("no_button", task, "zoom out")
  end)

  it("takes the query as plain text", function()
    refuses("no_button", upscaled(), ".*")
    refuses("no_button", upscaled(), "Vary (.-)")
    refuses("no_button", upscaled(), "%")
    finds(1, task_of(button("a", "100% (.-)")), "100% (.-)")
  end)

  it("takes the same customId twice for one button", function()
    local task = task_of(button("same", "Go"), button("same", "Go"))
    finds(1, task, "Go")
    task = task_of(button("same", "Go", "🪄"), button("same", "Gone", "🪄"))
    finds(1, task, "🪄")
    refuses("ambiguous", task_of(button("a", "Go"), button("b", "Go")), "Go")
  end)
end)

describe("buttons.find by kind and index", function()
  it("reads the operation of every captured customId", function()
    local cases = {
      { "MJ::JOB::upsample::1::" .. uuid, "upsample", 1 },
      { job("reroll", 0), "reroll", 0 },
      { job "upsample_v6r1_2x_creative", "upsample_v6r1_2x_creative", 1 },
      { "MJ::Outpaint::50::1::" .. uuid .. "::SOLO", "Outpaint", 50 },
      { "MJ::CustomZoom::" .. uuid, "CustomZoom" },
      { "MJ::CustomZoom::1::" .. uuid, "CustomZoom", 1 },
      { "MJ::Inpaint::1::" .. uuid .. "::SOLO", "Inpaint", 1 },
      { "MJ::Job::PicReader::4", "PicReader", 4 },
      { "MJ::Job::PicReader::all", "PicReader" },
      { "MJ::Picread::Retry", "Picread" },
      { "MJ::Job::PromptAnalyzer::5", "PromptAnalyzer", 5 },
      { "MJ::Job::PromptAnalyzerExtended", "PromptAnalyzerExtended" },
      { "MJ::BOOKMARK::" .. uuid, "BOOKMARK" },
      { "MJ::CancelJob::ByJobid::" .. uuid, "CancelJob" },
      { "MJ::JOB", "JOB" }, { "MJ::", nil }, { "MJ", nil }, { "", nil }, { "::", nil },
      { "mj::JOB::upsample::1", nil }, { "XMJ::JOB::upsample::1", nil }, { "plain", nil },
      { "MJ::JOB::x::99999999999999999999", "x" }, { "MJ::JOB::x::1.5::0x2::-3", "x" },
    }
    for _, case in ipairs(cases) do
      assert.same({ case[2], case[3] }, { buttons.operation(case[1]) }, case[1])
    end
  end)

  it("finds by both, or by the kind alone where it is one", function()
    for _, name in ipairs { "sku", "pawmaas" } do
      local task = seed(name)
      for i = 1, 4 do
        finds(i, task, { kind = "upsample", index = i })
        finds(5 + i, task, { kind = "variation", index = i + 0.0 })
      end
      finds(5, task, { kind = "reroll" })
      finds(5, task, { kind = "reroll", index = 0 })
      local message = refuses("ambiguous", task, { kind = "upsample" })
      assert.matches('4 buttons fit kind "upsample": U1 (upsample 1), U2', message, 1, true)
      message = refuses("no_button", task, { kind = "upsample", index = 5 })
      assert.matches('fits kind "upsample", index 5: the task has U1, U2, U3', message, 1, true)
    end
    local task = upscaled()
    finds(6, task, { kind = "Outpaint", index = 50 })
    finds(8, task, { kind = "CustomZoom" })
    finds(11, task, { kind = "pan_up" })
    finds(3, described(), { kind = "PicReader", index = 3 })
    finds(6, shortened(), { kind = "PromptAnalyzerExtended" })
    finds(2, video(), { kind = "video_virtual_upscale", index = 2 })
  end)

  it("takes the kind exactly", function()
    local task = seed "sku"
    for _, kind in ipairs {
      "", " ", "Upsample", "upsample ", "upsampl", "upsample::1", "MJ", "JOB", ".*",
    } do
      refuses("no_button", task, { kind = kind })
      assert.same({}, buttons.all(task, { kind = kind }))
    end
    refuses("no_button", task_of(button("plain", "x"), { label = "no id" }), { kind = "" })
  end)
end)

describe("odd shapes", function()
  it("are flattened: rows of rows, as webman-php has them", function()
    local task = cjson.decode [[{"buttons":[
      [{"custom_id":"MJ::JOB::upsample::1::u","label":"U1","emoji":null},
       {"custom_id":"MJ::JOB::upsample::2::u","label":"U2"}],
      [{"custom_id":"MJ::JOB::upsample_v5_2x::1::u","emoji":{"name":"upscale_1","id":"940147353"}}],
      {"type":1,"components":[{"custom_id":"MJ::BOOKMARK::u","emoji":{"name":"❤️"}}]}]}]]
    local rows = task.buttons
    assert.same({ rows[1][1], rows[1][2], rows[2][1], rows[3].components[1] }, buttons.all(task))
    assert.equal(rows[1][2], buttons.find(task, "U2"))
    assert.equal(rows[1][2], buttons.find(task, { kind = "upsample", index = 2 }))
    assert.equal(rows[2][1], buttons.find(task, "upscale_1"))
    assert.equal(rows[3].components[1], buttons.find(task, "❤"))
    assert.equal("MJ::BOOKMARK::u", buttons.custom_id(rows[3].components[1]))
    assert.equal(rows[3].components[1],
      buttons.find({ buttons = { components = rows } }, "❤"))
  end)

  it("are skipped where they are no button, and kept where they are half of one", function()
    local task = cjson.decode [[{"status":"SUCCESS","buttons":[
      {"customId":"c","label":"U1"},{"label":"only"},null,"nope",5,true,{},[],[null],
      {"customId":5,"label":7,"emoji":false},{"customId":null,"label":null,"emoji":null}]}]]
    assert.equal(4, #buttons.all(task))
    finds(1, task, "U1")
    finds(1, task, "c")
    assert.matches("it has no customId", refuses("no_button", task, "only"), 1, true)
    assert.matches("the task has U1, only, (nameless), (nameless)",
      refuses("no_button", task, "7"), 1, true)
    assert.is_nil(buttons.custom_id { customId = 5 })
    assert.is_nil(buttons.custom_id { customId = "" })
    assert.equal("x", buttons.custom_id { customId = "", custom_id = "x" })
    assert.equal("a", buttons.custom_id { customId = "a", custom_id = "x" })
  end)

  it("may have holes, as other decoders leave for null", function()
    local one, two = button("a", "One"), button("b", "Two")
    assert.same({ one, two }, buttons.all { buttons = { [2] = one, [5] = two } })
    assert.same({ one, two }, buttons.all { buttons = { [900] = two, [-3] = one } })
    assert.same({ one }, buttons.all { buttons = { one, note = two } })
  end)

  it("may say a single thing only", function()
    local list = { { emoji = "🎉" }, { custom_id = "b" }, { customId = "c" }, { label = "d" } }
    assert.same(list, buttons.all { buttons = list })
  end)

  it("keep their links, which are never pressed", function()
    local link = { type = 2, style = 5, label = "Web", url = "https://www.midjourney.com/jobs/x" }
    local task = task_of(link, button("MJ::BOOKMARK::" .. uuid, "", "❤\u{FE0F}"))
    assert.equal(link, buttons.all(task)[1])
    assert.equal(link, buttons.all(task, "web")[1])
    for _, query in ipairs { "Web", "web" } do
      assert.matches("cannot be pressed", refuses("no_button", task, query), 1, true)
    end
    assert.matches("the task has Web, ❤", refuses("no_button", task, "x"), 1, true)
    -- Where a label is also on a button that can be pressed, that one is meant.
    local both = task_of(link, button("a", "Web"))
    finds(2, both, "Web")
    assert.equal(2, #buttons.all(both, "Web"))
  end)

  it("say so where the task has no buttons", function()
    for _, none in ipairs {
      cjson.null, {}, { {} }, { cjson.null }, "U1", 5, true, false, { U1 = "U1" },
    } do
      local task = { status = "SUCCESS", buttons = none }
      assert.same({}, buttons.all(task))
      assert.matches('no button fits "U1": the task has none$', refuses("no_button", task, "U1"))
      task.status = "IN_PROGRESS"
      assert.matches('none: buttons come with success, and its status is "IN_PROGRESS"',
        refuses("no_button", task, "U1"), 1, true)
    end
    assert.same({}, buttons.all {})
    assert.matches('status is ""', refuses("no_button", {}, "U1"), 1, true)
    assert.matches('status is ""', refuses("no_button", { status = cjson.null }, "U1"), 1, true)
  end)

  it("end: rows that hold themselves, rows of many depths", function()
    local row = { button("a", "A") }
    row[2] = row
    assert.equal(row[1], buttons.find({ buttons = row }, "A"))
    local components = {}
    components.components = components
    assert.same({}, buttons.all { buttons = components })
  end)

  it("never raise, whatever a field holds", function()
    local odd_values = {
      cjson.null, true, false, 7, -0.5, 0 / 0, "", "  ", "nope", "\0\27[31m\xff", ("x"):rep(1e5),
      {}, { "a", 1 }, { { { "deep" } } }, { name = "y", id = "z" }, { name = cjson.null },
      { name = { 1 } }, { components = 5 }, { components = { cjson.null } }, print,
    }
    local queries = {
      "U1", "nope", "", "🔄", "y", { kind = "upsample" }, { kind = "upsample", index = 1 },
    }
    local function check(task)
      for _, query in ipairs(queries) do
        local found, err = buttons.find(task, query)
        if found then
          assert.is_string(buttons.custom_id(found))
          assert.is_nil(err)
        else
          assert.is_true(err.kind == "no_button" or err.kind == "ambiguous")
          assert.is_nil(err.message:find "%c")
          assert.is_true(#err.message < 6000)
        end
        for _, hit in ipairs(buttons.all(task, query)) do
          assert.is_table(hit)
        end
      end
      assert.is_table(buttons.all(task))
    end
    for _, field in ipairs {
      "customId", "custom_id", "emoji", "label", "type", "style", "url", "disabled", "components",
    } do
      for _, value in ipairs(odd_values) do
        local task = seed "sku"
        task.buttons[1][field] = value
        check(task)
        check { buttons = { { [field] = value } } }
        check { buttons = { { { [field] = value } } } }
      end
      local task = seed "pawmaas"
      task.buttons[1][field] = nil
      check(task)
    end
    for _, field in ipairs { "id", "status", "buttons" } do
      for _, value in ipairs(odd_values) do
        local task = seed "sku"
        task[field] = value
        check(task)
      end
    end
  end)
end)

describe("buttons.all", function()
  it("gives them in the task's order", function()
    local task = seed "sku"
    assert.same(task.buttons, buttons.all(task))
    assert.not_equal(task.buttons, buttons.all(task))
    assert.equal(task.buttons[5], buttons.all(task)[5])
  end)

  it("gives all that a query fits, by the first pass with a hit", function()
    local task = upscaled()
    local list = task.buttons
    assert.same({ list[3], list[4] }, buttons.all(task, "🪄"))
    assert.same({ list[6], list[7], list[8] }, buttons.all(task, "🔍"))
    assert.same({ list[6], list[7] }, buttons.all(task, { kind = "Outpaint" }))
    assert.same({ list[7] }, buttons.all(task, { kind = "Outpaint", index = 75 }))
    assert.same({ list[1] }, buttons.all(task, "upscale (subtle)"))
    assert.same({}, buttons.all(task, "U1"))
    local same = task_of(button("same", "Go"), button("same", "Go"))
    assert.equal(2, #buttons.all(same, "Go"))
  end)
end)

describe("messages", function()
  it("list what there is, by label, emoji or kind, and carry the task", function()
    local task = task_of(
      button("a", " Go "), button("b", "", "❤\u{FE0F}"), button("MJ::JOB::pan_up::1::u", ""),
      button("odd", "", { name = "upscale_1" }), button("bare", cjson.null))
    task.id = "42"
    local found, err = buttons.find(task, "Stop")
    assert.is_nil(found)
    assert.equal('no button fits "Stop": the task has Go, ❤\u{FE0F}, pan_up 1, upscale_1, bare',
      err.message)
    assert.equal(task, err.task)
    assert.equal("42", err.id)
  end)

  it("tell those apart that look the same", function()
    local task = task_of(
      button("MJ::JOB::a::1::u", "Go"), button("MJ::JOB::\27[2J::2::u", "Go"),
      button("plain", "Go"), button("MJ::Go::u", "Go"))
    local message = refuses("ambiguous", task, "Go")
    assert.matches('^4 buttons fit "Go": Go %(a 1%), Go %(.*%[2J 2%), Go, Go$', message)
  end)

  it("show no control character and stay short", function()
    local list = {}
    for i = 1, 300 do
      list[i] = button("id" .. i, "\27]0;" .. ("x"):rep(1000) .. i)
    end
    local message = refuses("no_button", task_of(table.unpack(list)), "\27[2J" .. ("q"):rep(1000))
    assert.matches("and 275 more", message, 1, true)
    assert.is_true(#message < 2500)
  end)
end)

describe("misuse", function()
  local task = task_of(button("a", "A"))

  local function raises(expected, f)
    local ok, message = pcall(f)
    assert.is_false(ok)
    assert.matches(expected, message, 1, true)
    assert.equal(debug.getinfo(1, "S").short_src, message:match "^(.-):%d+: ", message)
  end

  it("raises at the caller's line and names the argument", function()
    for _, name in ipairs { "find", "all" } do
      local f = buttons[name]
      for _, value in ipairs { "task", 5, true, cjson.null } do
        raises("task: a table expected", function() local r = f(value, "A") return r end)
      end
      for _, value in ipairs { 5, true, print, cjson.null } do
        raises("query: a string or { kind =, index = } expected", function()
          local r = f(task, value)
          return r
        end)
      end
      for _, case in ipairs {
        { "query.kind: a string expected, got nil", {} },
        { "query.kind: a string expected, got nil", { index = 1 } },
        { "query.kind: a string expected, got number", { kind = 5 } },
        { "query.index: an integer expected, got 1.5", { kind = "upsample", index = 1.5 } },
        { "query.index: an integer expected, got 1", { kind = "upsample", index = "1" } },
        { "query.label: no such field", { kind = "upsample", label = "U1" } },
        { "query.1: no such field", { "U1" } },
      } do
        raises(case[1], function() local r = f(task, case[2]) return r end)
      end
    end
    raises("query: a string or", function() buttons.find(task) end)
    raises("query: a string or", function() buttons.check_query(nil) end)
    raises("task: a table", function() buttons.find(nil, "A") end)
  end)

  it("is checked for others by check_query", function()
    assert.has_no_error(function()
      buttons.check_query "U1"
      buttons.check_query { kind = "upsample" }
      buttons.check_query { kind = "upsample", index = 1 }
    end)
  end)
end)
