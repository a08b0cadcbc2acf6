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

--- What stands between blank lines, without the blocks of code.
---@param text string
---@return string[]
function documents.paragraphs(text)
  local paragraphs = {}
  for paragraph in (without_code(text) .. "\n\n"):gmatch "(.-)\n\n+" do
    paragraph = paragraph:match "^\n*(.*)$"
    if paragraph ~= "" then paragraphs[#paragraphs + 1] = paragraph end
  end
  return paragraphs
end

--- The rows of a paragraph that is a table, the heading row first, as lists of trimmed cells; nil
--- if it is none.
---@param paragraph string
---@return string[][]?
function documents.table(paragraph)
  local heading, body = (paragraph .. "\n"):match "^(|[^\n]*\n)|[-:|]+|\n(.*)$"
  if not heading then return nil end
  local rows = {}
  for line in (heading .. body):gmatch "|([^\n]*)|\n" do
    local row = {}
    for cell in line:gsub("\\|", "\1"):gmatch "[^|]+" do
      row[#row + 1] = cell:gsub("\1", "|"):match "^%s*(.-)%s*$"
    end
    rows[#rows + 1] = row
  end
  return rows
end

--- The rows of the table below this heading row, as lists of trimmed cells.
---@param text string
---@param first string the heading row's first cells: "| kind | when |"
function documents.rows(text, first)
  for _, paragraph in ipairs(documents.paragraphs(text)) do
    if paragraph:sub(1, #first) == first then
      local rows = assert(documents.table(paragraph), first)
      table.remove(rows, 1)
      return rows
    end
  end
  error(first)
end

--- The pieces of code within the text, as keys; a line break in one is a space.
function documents.words(text)
  local words = {}
  for _, paragraph in ipairs(documents.paragraphs(text)) do
    for word in paragraph:gmatch "`([^`]+)`" do words[word:gsub("\n", " ")] = true end
  end
  return words
end

-- As the usual sites make it: lower case, words joined by hyphens.
local function anchor_of(heading)
  local text = heading:gsub("%[([^%]]*)%]%b()", "%1"):lower()
  return (text:gsub("[^%w _\x80-\xFF-]", ""):gsub(" ", "-"))
end

--- The headings and what stands below each, up to the next: { level, heading, text }. What stands
--- above the first is in none.
---@param text string
---@return table[]
function documents.sections(text)
  local sections, is_code = {}, false
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    if line:find "^```" then is_code = not is_code end
    local marks, heading = line:match "^(#+) (.+)$"
    if marks and not is_code then
      sections[#sections + 1] = { level = #marks, heading = heading, lines = {} }
    elseif #sections > 0 then
      table.insert(sections[#sections].lines, line)
    end
  end
  for _, section in ipairs(sections) do section.text = table.concat(section.lines, "\n") end
  return sections
end

--- The anchors of the headings, each with its heading's number.
function documents.anchors(text)
  local anchors = {}
  for number, section in ipairs(documents.sections(text)) do
    anchors[anchor_of(section.heading)] = number
  end
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
