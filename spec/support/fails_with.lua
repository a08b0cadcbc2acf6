-- The end of a call that failed: `nil, err` and nothing else, of this kind. Gives the error.

local assert = require "luassert"
local errors = require "mjtask.errors"

return function(kind, value, err, ...)
  assert.equal(0, select("#", ...))
  assert.is_nil(value, "it succeeded")
  assert.is_true(errors.is(err), "no error came: " .. tostring(err))
  assert.equal(kind, err.kind, tostring(err))
  assert.is_nil(tostring(err):find("\n", 1, true), "more than one line")
  assert.is_nil(err.unsent, "a field that is ours came out")
  return err
end
