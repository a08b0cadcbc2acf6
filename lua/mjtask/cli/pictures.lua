-- Pictures as files: what they are called, and that none is replaced. Knows file names and the
-- library's download; must not know what is done with the task otherwise.

local core = require "mjtask.core"
local errors = require "mjtask.errors"
local mjtask = require "mjtask"

local pictures = {}

local KINDS = { "png", "jpg", "webp", "gif", "avif", "mp4", "webm" }
local HEAD = 16 -- bytes that tell a kind

local signs = {
  png = "^\x89PNG\r\n\x1A\n", jpg = "^\xFF\xD8\xFF", webp = "^RIFF....WEBP", gif = "^GIF8[79]a",
  avif = "^....ftypavi[fs]", mp4 = "^....ftyp", webm = "^\x1A\x45\xDF\xA3",
}

-- The kind that a URL's path names, png if it names none.
local function kind_of_url(url)
  local word = (url:match "^[^?#]*%.(%w+)[?#]" or url:match "^[^?#]*%.(%w+)$" or ""):lower()
  if word == "jpeg" then word = "jpg" end
  return signs[word] and word or "png"
end

-- The kind that a file's first bytes tell; nil if they do not. Servers name URLs as they like, and
-- some make another kind of a picture on its way.
local function kind_of_file(path)
  local file <close> = io.open(path, "rb")
  local head = file and file:read(HEAD) or ""
  for _, kind in ipairs(KINDS) do
    if head:find(signs[kind]) then return kind end
  end
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- A picture of that name, of whichever kind, that is there already.
local function taken(stem)
  for _, kind in ipairs(KINDS) do
    local path = ("%s.%s"):format(stem, kind)
    if exists(path) then return path end
  end
end

-- The file gets the ending of what it is, unless that name is another's.
local function rename(path, stem, force)
  local kind = kind_of_file(path)
  local better = kind and ("%s.%s"):format(stem, kind)
  if not better or better == path or exists(better) and not force then return path end
  return os.rename(path, better) and better or path
end

--- What is wrong with a folder that is to take pictures, by making a file there that has no name
--- yet; nil: nothing. To be known before anything is waited for, or paid.
---@param folder string
---@return string?
function pictures.check(folder)
  local name = (".mjtask-%x"):format(math.random(0)) -- that nothing there has
  local file <close>, fault = core.file(folder .. "/" .. name, true)
  return not file and ("%s: %s"):format(folder, fault) or nil
end

local function stem_of(folder, id, count, at)
  return ("%s/%s%s"):format(folder, id, count > 1 and "_" .. at or "")
end

--- Saves a task's pictures in a folder, by the task's id: ID.png; of several ID_1.png, ID_2.png …
--- Calls `done(paths)`, or `done(paths, err)` with those that were saved before. `given`: force;
--- known, paths of this task's that an earlier run has saved, and are not in the way; note(path),
--- told of each that is saved now; progress(bytes, total).
---@param mj mjtask.Client
---@param task mjtask.Task
---@param id string
---@param folder string
---@param given { force?: boolean, known?: string[], note?: fun(path: string),
---  progress?: fun(bytes: integer, total?: integer) }
---@param done fun(paths: string[], err?: mjtask.Error)
function pictures.save(mj, task, id, folder, given, done)
  local urls, paths, known = mjtask.images(task), {}, {}
  for _, path in ipairs(given.known or {}) do known[path] = true end
  if #urls == 0 then
    return done(paths, errors.new("no_image", "the task has no picture", { id = id, task = task }))
  end
  local function save(at)
    local url = urls[at]
    if not url then return done(paths) end
    local stem = stem_of(folder, id, #urls, at)
    local there = not given.force and taken(stem)
    if there and known[there] then
      paths[#paths + 1] = there
      return save(at + 1)
    elseif there then
      return done(paths, errors.new("io", ("%s exists; --force replaces it"):format(there),
        { id = id }))
    end
    local path = ("%s.%s"):format(stem, kind_of_url(url))
    mj:download(url, path, { overwrite = given.force, progress = given.progress },
      function(saved, err)
        if not saved then
          err.id = err.id or id
          return done(paths, err)
        end
        paths[#paths + 1] = rename(saved, stem, given.force)
        if given.note then given.note(paths[#paths]) end
        return save(at + 1)
      end)
  end
  save(1)
end

return pictures
