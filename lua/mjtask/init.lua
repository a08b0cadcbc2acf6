-- What require "mjtask" returns. The tasks of Midjourney proxies: fetched, waited for, read.

local answer = require "mjtask.answer"
local body = require "mjtask.body"
local buttons = require "mjtask.buttons"
local client = require "mjtask.client"
local core = require "mjtask.core"
local errors = require "mjtask.errors"
local options = require "mjtask.options"
local tasks = require "mjtask.task"

local mjtask = {
  _VERSION = "scm",
  providers = require "mjtask.providers",
  button = buttons.find,
  buttons = buttons.all,
  outcome = tasks.outcome,
  percent = tasks.percent,
  images = tasks.images,
  expires = tasks.expires,
  data_url = body.data_url,
}

--- Makes a client. Raises on bad configuration: an unknown option, a malformed URL, no key.
---@param given? table
---@return mjtask.Client
function mjtask.new(given)
  return client.new(given)
end

--- Reads a task that came some other way: a webhook's body, a file. Same decoder, limits and shape
--- as fetch.
---@param json string
---@param given? { strict?: boolean, null?: any, max_body?: integer }
---@return mjtask.Task? task
---@return mjtask.Error? err `decode`, `too_large`, `schema`, or what an error document says
function mjtask.decode(json, given)
  if type(json) ~= "string" then
    error(("json: a string expected, got %s"):format(type(json)), 2)
  end
  given = options.check_decode(given, 2)
  local limit = given.max_body or options.MAX_BODY
  if #json > limit then
    return nil, errors.new("too_large", ("the document is larger than %d bytes"):format(limit))
  end
  local value, fault, offset = core.decode(json, {
    strict = given.strict, null = given.null, max_size = limit,
  })
  if value == nil and fault then
    local where = ("%s at byte %d"):format(fault, offset)
    return nil, errors.new("decode", where, { retryable = false }) -- the text will not change
  end
  return answer.document(value)
end

return mjtask
