-- The Chinese README says what the README says, as far as one who knows no Chinese can tell: in
-- each section the same blocks of code, paragraphs and rows, and in these the same code, numbers
-- and links. Must not know what they say. That the links lead somewhere is docs_spec's.

local documents = require "support.documents"

local function listed(set)
  local list = {}
  for value in pairs(set) do list[#list + 1] = value end
  table.sort(list)
  return table.concat(list, ", ")
end

local function page_of(path, other)
  local text = documents.read(path)
  return { sections = documents.sections(text), anchors = documents.anchors(text), other = other }
end

local english = page_of("README.md", "README.zh-CN.md")
local chinese = page_of("README.zh-CN.md", "README.md")

-- What is the same in any language, in a line. A link within the page counts by the number of the
-- heading that it leads to.
local function facts_of(text, page)
  local links, numbers = {}, {}
  for _, target in ipairs(documents.links(text)) do
    local heading = page.anchors[target:match "^#(.*)$"]
    links[heading and "#" .. heading or target == page.other and "the other" or target] = true
  end
  local prose = text:gsub("`[^`]*`", "`"):gsub("%]%b()", "]")
  for digits in prose:gmatch "%d[%d.,]*" do numbers[digits:gsub("[.,]+$", "")] = true end
  return ("code: %s; numbers: %s; links: %s")
    :format(listed(documents.words(text)), listed(numbers), listed(links))
end

local function shape_of(section, page)
  local shape = { blocks = documents.blocks(section.text), paragraphs = {} }
  for _, block in ipairs(shape.blocks) do block.line, block.lines = nil, nil end
  for at, paragraph in ipairs(documents.paragraphs(section.text)) do
    local rows = documents.table(paragraph)
    for number, row in ipairs(rows or {}) do
      for column, cell in ipairs(row) do row[column] = facts_of(cell, page) end
      rows[number] = table.concat(row, " | ")
    end
    shape.paragraphs[at] = rows or facts_of(paragraph, page)
  end
  return shape
end

local function levels(page)
  local list = {}
  for at, section in ipairs(page.sections) do list[at] = section.level end
  return list
end

describe("README.zh-CN.md", function()
  it("has as many headings as README.md, at the same levels", function()
    assert.same(levels(english), levels(chinese))
    assert(#english.sections > 15)
  end)

  for number, section in ipairs(english.sections) do
    it(("has in section %d what stands below %q"):format(number, section.heading), function()
      local own = assert(chinese.sections[number], "there is no such section")
      assert.same(shape_of(section, english), shape_of(own, chinese))
    end)
  end

  it("would be found to miss any line", function()
    local count = 0
    for _, section in ipairs(chinese.sections) do
      local shape = shape_of(section, chinese)
      for from, line, to in section.text:gmatch "()([^\n]+)()" do
        local cut = section.text:sub(1, from - 1) .. section.text:sub(to + 1)
        local ok, rest = pcall(shape_of, { text = cut }, chinese)
        if ok then assert.not_same(shape, rest, line) end -- else a block does not end
        count = count + 1
      end
    end
    assert(count > 100, count)
  end)

  it("would be found to have another piece of code, number or link", function()
    local counts = {}
    for _, section in ipairs(chinese.sections) do
      local shape = shape_of(section, chinese)
      for pattern, other in pairs {
        ["`[^`\n]+`"] = "`another`", ["%d+"] = "%09", ["%]%([^)]+%)"] = "](another.md)",
        ["%]%(#[^)]+%)"] = "](#选项)",
      } do
        local changed, count = section.text:gsub(pattern, other, 1)
        if count == 1 then
          assert.not_same(shape, shape_of({ text = changed }, chinese), section.heading)
          counts[pattern] = (counts[pattern] or 0) + 1
        end
      end
    end
    for pattern, least in pairs { ["`[^`\n]+`"] = 12, ["%d+"] = 12, ["%]%(#[^)]+%)"] = 1 } do
      assert(counts[pattern] >= least, pattern)
    end
  end)
end)
