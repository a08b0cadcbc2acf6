-- Which of all misbehaviours a request meets, where a plan leaves it to chance: `{ any = SEED }`.
-- Knows faults and cases by their names, and how much they cost; what they do is not its business.
--
-- Only what ends of itself, or when the client gives up. Silence holds a client for as long as it
-- waits: it is rare. A Retry-After would hold all its requests: here it asks for no time. What is
-- endless has an end, so that nobody's memory is measured here.

local faults = require "support.faults"
local generator = require "support.generator"

local chance = {}

local FALLBACK = "server_fault" -- for a case that the dialect does not have: each has this one

local function page(status, body, type)
  return { status = status, body = body, type = type or "application/json" }
end

-- { weight, plan } by name; a plan that is a function is made for the request.
local rows = {
  slow = { 2, { delay = 0.05 } },
  dribble = { 2, { fault = "drip", bytes = 300, every = 0.01 } },
  chunk_big = { 0.4, { fault = "chunk_big", mib = 1 } },
  no_length = { 0.4, { fault = "no_length", mib = 1 } },
  big = { 0.4, { fault = "big", mib = 1 } },
  gzip_bomb = { 0.4, { fault = "gzip_bomb", mib = 2 } },
  gzip_twice_bomb = { 0.2, { fault = "gzip_twice_bomb", mib = 2 } },
  http_401 = { 0.3, page(401, "") },
  http_403 = { 0.3, page(403, "<html>no</html>", "text/html") },
  http_404 = { 0.5, page(404, '{"error":"Not Found"}') },
  http_408 = { 0.5, page(408, "") },
  http_429 = { 0.2, page(429, "") },
  http_500 = { 1, page(500, "{") },
  http_503 = { 1, page(503, "down", "text/plain") },
  no_task = { 0.5, page(200, "[]") },
  a_word = { 0.5, page(200, '"SUCCESS"') },
  another_task = { 0.5, page(200, '{"id":"1735030480009999","status":"SUCCESS"}') },
  refusal = { 0.3, page(200, '{"code":4,"description":"参数错误"}') },
  quoted_key = { 0.5, function(request)
    local headers = request.headers
    local key = headers.authorization or headers["mj-api-secret"] or ""
    return page(401, ('{"error":{"message":"invalid token %s%s"}}'):format(key, request.body))
  end },
}

-- What gets there whole, however it is sent, is most of it: else nothing would ever go on.
local groups = {
  [4] = "bytewise chunked until_close close okclose bom folded bare_lf no_colon",
  [2] = [[gzip okrst deadsecond rstsecond extra_answer stray_answer rst done_rst rst_head rst_body
    empty short short_chunk no_last_chunk]],
  [1] = [[html html_502 html_504 empty_body plain_null truncated trailing nul twice
    until_close_short length_too_small length_and_chunked two_lengths negative_length huge_length
    no_number_length]],
  [0.4] = [[gzip_twice gzip_bad gzip_not gzip_truncated gzip_bad_sum unknown_coding big_header
    many_headers many_100 nul_header http09 garbage bad_status redirect_301 redirect_302
    redirect_303 redirect_307 redirect_308 redirect_loop redirect_nowhere]],
  [0.3] = "unauthorized forbidden channel quota overload no_channel server_fault no_route",
  [0.2] = [[stall stall_head stall_body stallsecond drip retry_after_zero retry_after_negative
    retry_after_past retry_after_old_date retry_after_garbage]],
}

local names = {} -- in an order, so that a seed means the same everywhere
chance.names, chance.plans = names, {} -- for specs: what may be met, and the plans that are data
for weight, words in pairs(groups) do
  for name in words:gmatch "%S+" do
    rows[name] = { weight, faults[name] and { fault = name } or { case = name } }
  end
end
for name, row in pairs(rows) do
  names[#names + 1] = name
  chance.plans[name] = type(row[2]) == "table" and row[2] or nil
end
table.sort(names)

local total = 0
for _, name in ipairs(names) do total = total + rows[name][1] end

local draws = setmetatable({}, { __mode = "k" }) -- by plan
local met = {}

local function next_name(draw)
  local left = draw() * total
  for _, name in ipairs(names) do
    left = left - rows[name][1]
    if left < 0 then return name end
  end
  return names[#names]
end

--- The plan for a request, in place of the one that leaves it to chance.
---@param plan { any: integer } which keeps its place in the sequence of that seed
---@param cases table those of the dialect
---@param request table
---@return table plan
function chance.pick(plan, cases, request)
  draws[plan] = draws[plan] or generator(plan.any)
  local name = next_name(draws[plan])
  met[name] = (met[name] or 0) + 1
  local picked = rows[name][2]
  if type(picked) == "function" then return picked(request) end
  if picked.case and not cases[picked.case] then return { case = FALLBACK } end
  return picked
end

--- How often each was met since the reset, by name.
---@return table<string, integer>
function chance.met()
  return met
end

function chance.reset()
  met = {}
end

return chance
