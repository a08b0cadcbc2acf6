-- A webhook for lighttpd's mod_magnet: reads the task that a proxy posts to its notifyHook, answers
-- what it says, and leaves the line "id outcome" in a spool for a script that waits for the task
-- (../webhook.lua). Knows no client and no key; a hook is a hint only, since anyone can send one.
--
-- lighttpd is one thread. While this runs nobody else is served, so nothing in here may wait: no
-- fetch, no press, no lock, no sleep; the spool is a plain file, not a pipe. lighttpd collects the
-- body by itself, and runs this anew once it has it.
--
-- Where the spool is: MJTASK_SPOOL; without it there is none. Where the module is, if Lua does not
-- find it by itself: LUA_PATH and LUA_CPATH. All three in lighttpd's environment.

local mjtask = require "mjtask"

local BODY = 65536 -- bytes; a task has a few thousand
local SPOOL = 1 << 20 -- bytes after which the spool is begun anew: a flood must not fill the disk

local r = lighty.r

-- The body, or nil while it is not there. Before lighttpd 1.4.72 `get` gives the head as well, if
-- both came in one packet; the body is its end.
local function body()
  if not r.req_body.collect then return nil end
  local size = r.req_body.len
  return size > 0 and (r.req_body.get or ""):sub(-size) or ""
end

-- A task's id, if it is one that could stand in a URL: it is a word, and short.
local function id_of(task)
  local id = rawget(task, "id")
  if math.type(id) == "integer" then id = ("%d"):format(id) end
  if type(id) == "string" and #id <= 128 then return id:match("^[A-Za-z0-9%-._~]+$") end
end

-- Appends a line to the spool. Short enough to be written in one piece, whoever else writes.
local function note(line)
  local path = os.getenv "MJTASK_SPOOL"
  if not path then return true end
  local file, fault = io.open(path, "a")
  if file and file:seek("end") > SPOOL then
    file:close()
    file, fault = io.open(path, "w")
  end
  local ok
  if file then
    ok, fault = file:write(line, "\n")
    ok = file:close() and ok
  end
  if not ok then print("the spool: " .. tostring(fault)) end
  return ok
end

-- Every word of an answer is ours, none the sender's: his may hold anything.
local function answer(status, json)
  r.resp_header["Content-Type"] = "application/json"
  r.resp_body.set { json, "\n" }
  return status
end

local function take(text)
  local task = mjtask.decode(text, { max_body = BODY })
  local id = task and id_of(task)
  if not id then return answer(400, '{"error":"no task"}') end
  local outcome, percent = task:outcome(), task:percent()
  if not note(id .. " " .. (outcome or "running")) then
    return answer(503, '{"error":"no spool"}')
  end
  return answer(200, ('{"outcome":%s,"percent":%s}'):format(
    outcome and '"' .. outcome .. '"' or "null", percent and ("%d"):format(percent // 1) or "null"))
end

if r.req_attr["request.method"] ~= "POST" then
  r.resp_header["Allow"] = "POST"
  return answer(405, '{"error":"POST a task"}')
end
if r.req_body.len > BODY then return answer(413, '{"error":"too large"}') end
local text = body()
if not text then return 0 end
return take(text)
