-- Markdown as specs need it: the blocks of code, what stands below them, tables, headings, links.
-- Knows the little Markdown that our documents use; must not know what they say.

local documents = {}

function documents.read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

--- The blocks of code: { language, text, line, output, server }. A block of no language that
--- follows at once is what the one before it prints; a comment right above, <!-- server: { … } -->,
--- says how the server is to behave.
---@param text string
---@return table[]
function documents.blocks(text)
  local blocks, open, number, last, gap, server = {}, nil, 0, nil, false, nil
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local fence = line:match "^```(.*)$"
    if fence and open then
      open.text = table.concat(open.lines, "\n") .. "\n"
      if open.language == "" and last and not gap then
        last.output = open.text
      else
        blocks[#blocks + 1] = open
      end
      last, open, gap = open, nil, false
    elseif fence then
      open = { language = fence, lines = {}, line = number, server = server }
      server = nil
    elseif open then
      table.insert(open.lines, line)
    elseif line ~= "" then
      gap, server = true, line:match "^<!%-%- server: (.*) %-%->$"
    end
  end
  assert(not open, "a block that does not end")
  return blocks
end

local function without_code(text)
  return (("\n" .. text):gsub("\n```.-\n```", "\n"))
end

--- The rows of the table below this heading row, as lists of trimmed cells.
---@param text string
---@param first string the heading row's first cells: "| kind | when |"
function documents.rows(text, first)
  local _, at = text:find("\n" .. first, 1, true)
  local body = assert(at and text:match("^[^\n]*\n|[-|]+|\n(.-\n)\n", at + 1)
    or at and text:match("^[^\n]*\n|[-|]+|\n(.-\n)$", at + 1), first)
  local rows = {}
  for line in body:gmatch "|([^\n]*)|\n" do
    local row = {}
    for cell in line:gsub("\\|", "\1"):gmatch "[^|]+" do
      row[#row + 1] = cell:gsub("\1", "|"):match "^%s*(.-)%s*$"
    end
    rows[#rows + 1] = row
  end
  return rows
end

--- The pieces of code within lines, as keys.
function documents.words(text)
  local words = {}
  for word in without_code(text):gmatch "`([^`\n]+)`" do words[word] = true end
  return words
end

-- As the usual sites make it: lower case, words joined by hyphens.
local function anchor_of(heading)
  local text = heading:gsub("%[([^%]]*)%]%b()", "%1"):lower()
  return (text:gsub("[^%w _\x80-\xFF-]", ""):gsub(" ", "-"))
end

--- The anchors of the headings, as keys.
function documents.anchors(text)
  local anchors = {}
  for heading in without_code(text):gmatch "\n#+ ([^\n]+)" do anchors[anchor_of(heading)] = true end
  return anchors
end

--- The targets of the links.
---@return string[]
function documents.links(text)
  local targets = {}
  text = without_code(text):gsub("`[^`\n]*`", "`")
  for target in text:gmatch "%]%(([^%s)]+)%)" do targets[#targets + 1] = target end
  return targets
end

return documents
