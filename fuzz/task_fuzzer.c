/* Runs fuzz/task.lua on documents that are much like a server's: no field of
   theirs, whatever is in its place, may raise an error, show the key or take
   more than its share of memory. Knows Lua, and how to lead libFuzzer to the
   lines of Lua that it cannot see.

   An input: a JSON document. Runs in the folder of the checkout. */
#include "shared.h"

#include "lualib.h"

#include "json_mutator.h"

#define STEP_LIMIT                                                             \
  20000000 /* instructions of Lua; more is as good as for ever */

/* What a document of `size` bytes may take while it is read in a dozen ways. */
#define MOST(size) (((size_t)32 << 20) + 4000 * (size))

#define EMPTY ((size_t)2 << 20) /* bytes in a state that was cleared up */

int luaopen_mjtask_core (lua_State *L);

size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max,
                                unsigned seed);
size_t LLVMFuzzerCustomCrossOver (const uint8_t *a, size_t a_size,
                                  const uint8_t *b, size_t b_size, uint8_t *out,
                                  size_t max, unsigned seed);

/* libFuzzer counts what is in this section as it counts branches. */
#define COUNTERS 4096
__attribute__((
  section("__libfuzzer_extra_counters"))) static uint8_t lines_seen[COUNTERS];

static Memory memory = {0, 0, SIZE_MAX};
static char null_of_tests;

/* One counter for each way from line to line, or nearly: to ask for the name of
   the file, too, would take longer than all the rest. */
static void on_line (lua_State *L, lua_Debug *ar) {
  static unsigned last;
  const unsigned here = (unsigned)ar->currentline * 2654435761u >> 8;
  if (ar->event == LUA_HOOKCOUNT) luaL_error(L, "it takes for ever");
  lines_seen[(here ^ last) % COUNTERS]++;
  last = here >> 1;
}

static lua_State *open_state (void) {
  static const char path[] = "lua/?.lua;lua/?/init.lua";
  lua_State *L = lua_newstate(fuzz_alloc, &memory);
  CHECK(L != NULL);
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  lua_pushstring(L, path);
  lua_setfield(L, -2, "path");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, luaopen_mjtask_core);
  lua_setfield(L, -2, "mjtask.core");
  lua_settop(L, 0);
  if (luaL_loadfile(L, "fuzz/task.lua") == LUA_OK) {
    lua_pushlightuserdata(L, &null_of_tests);
    lua_pcall(L, 1, 1, 0);
  }
  if (!lua_isfunction(L, 1)) {
    fprintf(stderr, "%s\n", lua_tostring(L, 1));
    exit(1);
  }
  return L;
}

static int traceback (lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size) {
  static lua_State *L; /* stack: the function of task.lua */
  size_t before;
  if (L == NULL) L = open_state();
  fuzz_clear_up(L, &memory, EMPTY);
  before = memory.used;
  memory.limit = before + MOST(size);
  lua_sethook(L, on_line, LUA_MASKLINE | LUA_MASKCOUNT, STEP_LIMIT);
  lua_pushcfunction(L, traceback);
  lua_pushvalue(L, 1);
  lua_pushlstring(L, (const char *)data, size);
  if (lua_pcall(L, 1, 0, 2) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
  }
  memory.limit = SIZE_MAX;
  lua_settop(L, 1);
  return 0;
}

size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max,
                                unsigned seed) {
  size_t changed = 0;
  if (seed % 4 != 0) changed = mutate_json(data, size, max, seed / 4);
  return changed > 0 ? changed : LLVMFuzzerMutate(data, size, max);
}

size_t LLVMFuzzerCustomCrossOver (const uint8_t *a, size_t a_size,
                                  const uint8_t *b, size_t b_size, uint8_t *out,
                                  size_t max, unsigned seed) {
  return cross_json(a, a_size, b, b_size, out, max, seed);
}
