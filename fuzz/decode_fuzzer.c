/* Checks what decode.h promises of any bytes: one value or a message with its
   place, a clean stack, memory in proportion, a state that stays usable; and
   that the decoder without SSE2 does the same. Knows the decoder and Lua.

   An input: a byte of options (the bits below), then, if memory is tight, one
   with how tight; then the document. */
#include "shared.h"

#include <float.h>
#include <limits.h>

#include "../src/decode.h"

#define STRICT 1
#define KEEP_NULL 2
#define SHALLOW 4
#define TIGHT 8
#define DEEP 0x40
#define SMALL 0x80

#define STEP 256 /* bytes that a unit of tightness is */

/* What a document of `size` bytes may take, and its Lua stack beside it: a table
   is 56 bytes and there are some in three bytes, and three decoders run. */
#define MOST(size) (((size_t)2 << 20) + 400 * (size))

#define EMPTY ((size_t)64 << 10) /* bytes in a state that was cleared up */

/* decode.c once more, compiled with DECODE_PORTABLE. */
int decode_portable (lua_State *L, const char *text, size_t size,
                     const DecodeOptions *options, DecodeError *error);

typedef struct Task {
  const char *text;
  size_t size;
  unsigned mode;
} Task;

static Memory memory = {0, 0, SIZE_MAX};
static char null_of_tests; /* its address stands for null */

static void check_value (lua_State *L, int levels, unsigned mode);

static void check_table (lua_State *L, int levels, unsigned mode) {
  size_t fields = 0;
  const lua_Unsigned length = lua_rawlen(L, -1);
  CHECK(levels > 0);
  CHECK(!lua_getmetatable(L, -1));
  luaL_checkstack(L, 4, NULL);
  lua_pushnil(L);
  for (; lua_next(L, -2) != 0; fields++) {
    check_value(L, levels - 1, mode);
    lua_pop(L, 1);
    if (length > 0) {
      CHECK(lua_isinteger(L, -1));
      CHECK((lua_Unsigned)lua_tointeger(L, -1) - 1 < length);
    }
    else {
      CHECK(lua_type(L, -1) == LUA_TSTRING);
      check_value(L, 0, mode);
    }
  }
  if (length > 0) CHECK(fields == length);
}

/* The value on top is one that JSON can say. */
static void check_value (lua_State *L, int levels, unsigned mode) {
  size_t size;
  const char *text;
  switch (lua_type(L, -1)) {
    case LUA_TSTRING:
      text = lua_tolstring(L, -1, &size);
      CHECK(fuzz_is_utf8(text, size));
      break;
    case LUA_TNUMBER:
      CHECK(lua_tonumber(L, -1) >= -DBL_MAX && lua_tonumber(L, -1) <= DBL_MAX);
      break;
    case LUA_TBOOLEAN: break;
    case LUA_TTABLE: check_table(L, levels, mode); break;
    case LUA_TLIGHTUSERDATA:
      CHECK((mode & KEEP_NULL) && lua_touserdata(L, -1) == &null_of_tests);
      break;
    default: fuzz_found(__FILE__, __LINE__, "JSON has values of this type");
  }
}

static uint64_t bits_of (lua_Number x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* Are both the same, to the bit of a float? */
static int same (lua_State *L, int a, int b) {
  int equal = 1;
  if (lua_type(L, a) != lua_type(L, b)) return 0;
  if (lua_type(L, a) == LUA_TNUMBER) {
    if (lua_isinteger(L, a) != lua_isinteger(L, b)) return 0;
    if (lua_isinteger(L, a)) return lua_tointeger(L, a) == lua_tointeger(L, b);
    return bits_of(lua_tonumber(L, a)) == bits_of(lua_tonumber(L, b));
  }
  if (lua_type(L, a) != LUA_TTABLE) return lua_rawequal(L, a, b);
  luaL_checkstack(L, 6, NULL);
  lua_pushnil(L);
  while (equal && lua_next(L, b) != 0) { /* nothing there that is not here */
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    equal = lua_rawget(L, a) != LUA_TNIL;
    lua_pop(L, equal ? 1 : 2);
  }
  if (!equal) return 0;
  lua_pushnil(L);
  while (equal && lua_next(L, a) != 0) {
    lua_pushvalue(L, -2);
    lua_rawget(L, b);
    equal = same(L, lua_gettop(L) - 1, lua_gettop(L));
    lua_pop(L, equal ? 2 : 3);
  }
  return equal;
}

static DecodeOptions options_of (unsigned mode) {
  DecodeOptions options = {DECODE_MAX_SIZE, DECODE_MAX_DEPTH, 0, 0};
  if (mode & DEEP) options.max_depth = INT_MAX;
  if (mode & SHALLOW) options.max_depth = 3;
  if (mode & SMALL) options.max_size = 16;
  options.strict = (mode & STRICT) != 0;
  options.null_index = mode & KEEP_NULL ? 2 : 0;
  return options;
}

/* Decodes; pushes the value, or leaves the stack alone. */
static int run (lua_State *L, const Task *task, unsigned mode,
                DecodeError *error) {
  const DecodeOptions options = options_of(mode);
  const int top = lua_gettop(L);
  const int ok = decode(L, task->text, task->size, &options, error);
  CHECK(ok == 0 || ok == 1);
  CHECK(lua_gettop(L) == top + ok);
  if (ok) return 1;
  CHECK(error->message != NULL && error->message[0] != '\0');
  CHECK(error->offset <= task->size);
  CHECK((error->offset == task->size) ==
        (strcmp(error->message, "unexpected end of the document") == 0));
  return 0;
}

/* stack: task, null; and on top the value, if `ok` */
static void compare_portable (lua_State *L, const Task *task, int ok,
                              const DecodeError *error) {
  const DecodeOptions options = options_of(task->mode);
  DecodeError other = {NULL, 0};
  const int top = lua_gettop(L);
  CHECK(decode_portable(L, task->text, task->size, &options, &other) == ok);
  if (ok)
    CHECK(same(L, top, top + 1));
  else {
    CHECK(strcmp(error->message, other.message) == 0);
    CHECK(error->offset == other.offset);
  }
  lua_settop(L, top);
}

/* What strict takes the other takes too, and makes the same of it. */
static void compare_strict (lua_State *L, const Task *task, int ok,
                            const DecodeError *error) {
  DecodeError other = {NULL, 0};
  const int top = lua_gettop(L);
  const int also = run(L, task, task->mode ^ STRICT, &other);
  if (task->mode & STRICT ? ok : also) {
    CHECK(ok && also);
    CHECK(same(L, top, top + 1));
  }
  if (!ok && !also && (task->mode & STRICT))
    CHECK(error->offset <= other.offset);
  if (!ok && !also && !(task->mode & STRICT))
    CHECK(other.offset <= error->offset);
  lua_settop(L, top);
}

static int protected_run (lua_State *L) {
  const Task *task = lua_touserdata(L, 1);
  DecodeError error = {NULL, 0};
  int ok;
  lua_pushlightuserdata(L, &null_of_tests);
  ok = run(L, task, task->mode, &error);
  if (task->mode & TIGHT) return 0;
  if (ok && !lua_isnil(L, -1)) /* else the document is just null */
    check_value(L, options_of(task->mode).max_depth, task->mode);
  compare_portable(L, task, ok, &error);
  compare_strict(L, task, ok, &error);
  return 0;
}

static int call (lua_State *L, Task *task) {
  int status;
  lua_pushcfunction(L, protected_run);
  lua_pushlightuserdata(L, task);
  status = lua_pcall(L, 1, 0, 0);
  if (status != LUA_OK) lua_pop(L, 1);
  CHECK(lua_gettop(L) == 0);
  return status;
}

static void run_tight (lua_State *L, Task *task, size_t budget) {
  Task known = {"{\"a\":[1,\"\\n\"]}", 14, 0};
  int status;
  lua_gc(L, LUA_GCCOLLECT);
  memory.limit = memory.used + budget;
  status = call(L, task);
  memory.limit = SIZE_MAX;
  CHECK(status == LUA_OK || status == LUA_ERRMEM);
  CHECK(call(L, &known) == LUA_OK); /* still usable */
}

/* One state for all inputs: what breaks it is found later. */
static lua_State *state (void) {
  static lua_State *L;
  if (L == NULL) L = lua_newstate(fuzz_alloc, &memory);
  CHECK(L != NULL);
  fuzz_clear_up(L, &memory, EMPTY);
  return L;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size) {
  lua_State *L = state();
  Task task = {NULL, 0, 0};
  size_t head = size > 0 && (data[0] & TIGHT) ? 2 : 1, before = memory.used;
  if (size < head) return 0;
  task.mode = data[0];
  task.text = (const char *)data + head; /* what libFuzzer gives ends there */
  task.size = size - head;
  if (task.mode & TIGHT) {
    run_tight(L, &task, (size_t)data[1] * STEP);
    return 0;
  }
  memory.peak = before;
  CHECK(call(L, &task) == LUA_OK);
  CHECK(memory.peak - before <= MOST(task.size));
  return 0;
}
