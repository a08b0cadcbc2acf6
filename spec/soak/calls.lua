-- A call at random: which method with which arguments, how long it may take, and what its value
-- must be. Knows methods and the proxy's tasks; must not know how the call is made.

local mjtask = require "mjtask"
local pictures = require "support.pictures"

local calls = {}

local FIRST, TASKS, UNKNOWN = 17350304800000000, 80, 10 -- ids; the last ones nobody knows
local SEED = "636646138" -- what the proxy says of any picture

local LIVES = {
  "done", "done", "done", "short", "short", "success", "failure", "cancel", "modal", "stuck",
  "stuck_submitted", "churning", "unswept", "null_status", "no_status", "foreign", "completed",
  "foreign_failed", "upscaled", "backwards", "no_image", "sku", "window",
}
local QUERIES = {
  "U1", "V2", "🔄", "Vary (Strong)", "nothing like it", { kind = "upsample", index = 3 },
  { kind = "reroll" },
}
local SUBMITS = {
  { "imagine", { prompt = "a cat" } }, { "imagine", {} },
  { "shorten", { prompt = "a very long cat" } },
  { "describe", { base64 = mjtask.data_url(pictures.png(4)) } },
  { "change", { taskId = "1735030480754475", action = "UPSCALE", index = 1 } },
  { "modal", { taskId = tostring(FIRST + 1), prompt = "" } },
}
local KINDS = { "png", "jpg", "gif", "webp" }
local KEPT = "what was there before"

local function id_of(number)
  return ("%d"):format(FIRST + number)
end

function calls.id(dice)
  return id_of(dice:whole(1, TASKS))
end

--- Other lives for some of the tasks of a proxy.
function calls.stir(dice, p)
  local ids = {}
  for n = 1, dice:whole(1, 12) do ids[n] = id_of(dice:whole(1, TASKS - UNKNOWN)) end
  local pace = dice:hits(0.3) and dice:between(0.02, 0.3) or nil
  p:tasks(ids, { life = dice:pick(LIVES), pace = pace })
end

function calls.stir_all(dice, p)
  for n = 1, TASKS - UNKNOWN do p:task(id_of(n), { life = dice:pick(LIVES) }) end
end

--- Options that a call may have; what it says nothing of is the client's.
function calls.options(dice, timeout)
  local options = {}
  if dice:hits(0.5) then options.timeout = dice:between(0.3, 1.5) end
  if dice:hits(0.3) then options.request_timeout = dice:between(0.1, 0.4) end
  if dice:hits(0.3) then options.retries = dice:whole(0, 2) end
  if dice:hits(0.1) then options.max_body = dice:whole(200, 2000000) end
  return options, options.timeout or timeout
end

local function own_id(id)
  return function(task)
    if tostring(rawget(task, "id")) ~= id then return "another id" end
  end
end

local makers = {}

function makers.fetch(dice)
  local id = calls.id(dice)
  return { id }, own_id(id)
end

function makers.wait(dice, options)
  local id = calls.id(dice)
  options.stall = dice:hits(0.1) and 0.3 or nil
  options.progress = dice:hits(0.3) and function() end or nil
  return { dice:hits(0.5) and id or { id = id } }, function(task)
    if mjtask.outcome(task) ~= "success" then return "no success" end
    return own_id(id)(task)
  end
end

function makers.fetch_many(dice)
  local ids = {}
  for n = 1, dice:whole(0, 30) do ids[n] = calls.id(dice) end
  return { ids }, function(tasks, failed, check_error)
    for _, id in ipairs(ids) do
      if (tasks[id] == nil) == (failed[id] == nil) then return "neither task nor error, or both" end
      if failed[id] then
        check_error(failed[id])
      elseif own_id(id)(tasks[id]) then
        return "another id"
      end
    end
  end
end

local function receipt(value)
  if type(value) ~= "table" or type(value.ids) ~= "table" then return "no receipt" end
end

function makers.press(dice, options)
  local ids = { calls.id(dice), "1735030480754475" }
  options.modal = dice:hits(0.3) and { prompt = "a hat" } or nil
  return { dice:pick(ids), dice:pick(QUERIES) }, receipt
end

function makers.submit(dice)
  return table.pack(table.unpack(dice:pick(SUBMITS))), receipt
end

function makers.seed(dice)
  return { calls.id(dice) }, function(seed)
    if seed ~= SEED then return "another seed" end
  end
end

function makers.cancel(dice)
  return { calls.id(dice) }, function(value)
    if value ~= true then return "not true" end
  end
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local bytes = file:read "a"
  file:close()
  return bytes
end

local serial = 0
local abandoned = {} -- paths, as keys

-- A way to a picture, which is a URL or a task; and the picture. `slot.origins` are base URLs where
-- there are some.
local function picture_of(dice, slot)
  local kind = dice:pick(KINDS)
  local hops = dice:hits(0.2) and ("/hop/%d"):format(dice:whole(1, 6)) or ""
  local url = ("%s%s/attachments/ghost.%s"):format(dice:pick(slot.origins), hops, kind)
  local what = dice:hits(0.2) and { imageUrl = url, status = "SUCCESS" } or url
  return what, (pictures.of("." .. kind))
end

-- Some answers are more than the picture, and are one.
local function is_whole(bytes, picture)
  return bytes:sub(1, #picture) == picture
end

function makers.download(dice, options, slot)
  serial = serial + 1
  local path = ("%s/%d"):format(slot.folder, serial)
  local what, picture = picture_of(dice, slot)
  local before = dice:hits(0.2) and KEPT or nil
  if before then
    local file <close> = assert(io.open(path, "wb"))
    file:write(before)
    options.overwrite = dice:hits(0.7)
  end
  options.progress = dice:hits(0.3) and function() end or nil
  return { what, path }, function(value)
    if value ~= path then return "another path" end
    if not is_whole(read(path) or "", picture) then return "no whole picture" end
  end, function(value)
    local there = read(path)
    os.remove(path)
    if value == nil and there ~= before then return "a file of what was not downloaded" end
  end, function()
    abandoned[path] = true
  end
end

--- Removes the pictures of those that nobody waits for any more: they may have come or not.
function calls.clean()
  for path in pairs(abandoned) do os.remove(path) end
  abandoned = {}
end

local WEIGHTS = {
  { "fetch", 30 }, { "wait", 20 }, { "fetch_many", 5 }, { "press", 8 }, { "submit", 8 },
  { "seed", 5 }, { "cancel", 3 }, { "download", 12 },
}

local function spelt(about, options)
  local words = { tostring(about) }
  if type(about) == "table" then words[1] = about.id or about.imageUrl or #about .. " ids" end
  for name, value in pairs(options) do words[#words + 1] = name .. "=" .. tostring(value) end
  return table.concat(words, ", ")
end

--- { method, arguments (options last), what (as text), limit, waits, check(value, err, check_error)
--- and ended(value), which return what is wrong, and abandon(): nobody waits for it any more }
function calls.random(dice, slot)
  local method = dice:weighed(WEIGHTS)
  local options, limit = calls.options(dice, slot.timeout)
  local arguments, check, ended, abandon = makers[method](dice, options, slot)
  arguments[#arguments + 1] = options
  return {
    method = method, arguments = arguments, limit = limit, waits = method == "wait",
    what = ("%s(%s)"):format(method, spelt(arguments[1], options)),
    check = check, ended = ended or function() end, abandon = abandon or function() end,
  }
end

return calls
