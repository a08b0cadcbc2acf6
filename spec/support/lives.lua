-- The lives of tasks, as data: what each state adds to a task. Knows no server's spelling.
--
-- A state is a table of fields, or a string: the body itself, byte for byte. `started` and
-- `finished` are milliseconds after submission. In strings {id}, {look}, {here} and {other}
-- stand for the task's id, the number of the look, and the URLs of the proxy's two ports.

local json = require "support.json"

local lives = {}

local CDN = "{other}/attachments/1300017421079285816/1321038423603023894/{id}"
local SIGNATURE = "?ex=676bc867&is=676a76e7&hm=5f4dcc3b5aa765d61d8327deb882cf99&"

lives.IMAGE = CDN .. ".png" .. SIGNATURE
lives.PREVIEW = CDN .. "_grid_0.webp" .. SIGNATURE

local UUID = "e1a4d7e8-8292-412c-aab0-fce932e90479"

local function button(label, job, emoji)
  return { customId = "MJ::JOB::" .. job, emoji = emoji or "", label = label, type = 2, style = 2 }
end

-- The nine buttons of a picture grid, in their order.
lives.BUTTONS = { [5] = button("", "reroll::0::" .. UUID .. "::SOLO", "🔄") }
for n = 1, 4 do
  lives.BUTTONS[n] = button("U" .. n, "upsample::" .. n .. "::" .. UUID)
  lives.BUTTONS[n + 5] = button("V" .. n, "variation::" .. n .. "::" .. UUID)
end

-- Some of those of an upscaled picture; the last two open a window.
lives.UPSCALED = {
  button("Upscale (Subtle)", "upsample_v7_2x_subtle::1::" .. UUID .. "::SOLO", "upscale_1"),
  button("Upscale (Creative)", "upsample_v7_2x_creative::1::" .. UUID .. "::SOLO", "upscale_1"),
  button("Vary (Subtle)", "low_variation::1::" .. UUID .. "::SOLO", "🪄"),
  button("Vary (Strong)", "high_variation::1::" .. UUID .. "::SOLO", "🪄"),
  button("", "pan_left::1::" .. UUID .. "::SOLO", "⬅\u{FE0F}"),
  button("Vary (Region)", "", "🖌\u{FE0F}"), button("Custom Zoom", "", "🔍"),
}
lives.UPSCALED[6].customId = "MJ::Inpaint::1::" .. UUID .. "::SOLO"
lives.UPSCALED[7].customId = "MJ::CustomZoom::" .. UUID

-- What every task has from the start; the prompt holds what servers escape differently.
lives.BASE = {
  id = "{id}", action = "IMAGINE", prompt = "a <black> cat & a dog 🐈, 水墨", state = "",
  promptEn = "a <black> cat & a dog 🐈, ink", description = "Submit success",
  properties = {
    finalPrompt = "a <black> cat & a dog 🐈, ink", finalZhPrompt = "", flags = 0,
    nonce = "1592587638030860288", messageId = "1321038423821258774", botType = "MID_JOURNEY",
    messageHash = UUID, discordInstanceId = "5686143011994952502", notifyHook = "",
  },
}

local waiting = { status = "NOT_START" }
local submitted = { status = "SUBMITTED", progress = "0%" }

local function drawing(percent)
  return {
    status = "IN_PROGRESS", progress = percent .. "%", started = 1700,
    imageUrl = percent > 0 and lives.PREVIEW or nil,
  }
end

local function finished(more)
  local state = {
    status = "SUCCESS", progress = "100%", started = 1700, finished = 28000,
    imageUrl = lives.IMAGE, buttons = lives.BUTTONS,
  }
  for key, value in pairs(more or {}) do state[key] = value end
  return state
end

-- How a task ends other than well; each dialect has its own progress for that.
local function ended(status, reason)
  return { status = status, failReason = reason, started = 1700, finished = 9000 }
end

local function with_status(state, word)
  local copy = {}
  for key, value in pairs(state) do copy[key] = value end
  copy.status = word
  return copy
end

-- A life that begins as given and ends with a seed's own bytes.
local function up_to(body)
  local states = table.move(lives.success, 1, #lives.success - 1, 1, {})
  states[#states + 1] = body
  return states
end

lives.success = {
  waiting, submitted, drawing(0), drawing(15), drawing(31), drawing(46), drawing(62), drawing(78),
  drawing(93), finished(),
}
lives.short = { submitted, drawing(46), finished() }
lives.done = { finished() }
lives.upscaled = { submitted, finished { buttons = lives.UPSCALED } }
lives.upscaled_done = { lives.upscaled[2] }
lives.failure = { waiting, submitted, drawing(31), ended("FAILURE", "Banned prompt detected") }
lives.cancel = { waiting, submitted, ended("CANCEL", "取消任务") }
lives.modal = {
  submitted, { status = "MODAL", progress = "0%", description = "Waiting for window confirm" },
}
lives.window = { lives.modal[2] } -- what a submit that wants a modal has made
lives.stuck = { drawing(85) }
lives.stuck_submitted = { submitted }
lives.unswept = {
  with_status(submitted, ""), with_status(submitted, ""), drawing(46), finished(),
}
lives.null_status = {
  with_status(submitted, json.null), with_status(submitted, json.null), drawing(46), finished(),
}
lives.no_status = {
  with_status(submitted, json.absent), with_status(submitted, json.absent), finished(),
}
lives.foreign = {
  with_status(waiting, "PENDING"), with_status(submitted, "STARTED"),
  with_status(drawing(46), "RUNNING"), with_status(finished(), "FINISHED"),
}
lives.foreign_failed = {
  with_status(waiting, "PENDING"), with_status(drawing(31), "RUNNING"),
  with_status(ended("", "Internal error"), "FAILED"),
}
lives.completed = {
  with_status(drawing(46), "in-progress"), with_status(finished(), "completed"),
}
lives.backwards = { drawing(0), drawing(46), drawing(31), drawing(62), finished() }
lives.churning = {
  { status = "IN_PROGRESS", progress = "46%", imageUrl = "{here}/mj/image/{id}?rand={look}" },
}
lives.no_image = { drawing(93), finished { imageUrl = "" } }

-- The two real answers of the project: { id =, body = }, once lives.load_seeds has been called.
lives.seeds = { sku = { id = "1735030480754475" }, pawmaas = { id = "1724963337114767" } }

function lives.load_seeds(folder)
  for name, seed in pairs(lives.seeds) do
    local file = assert(io.open(folder .. name .. ".json", "rb"))
    seed.body = file:read("a")
    file:close()
    lives[name] = up_to(seed.body)
  end
end

return lives
