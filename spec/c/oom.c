/* A host in which memory runs out on demand: runs a Lua script that says when,
   and looks whether anything is broken then. Knows Lua's states and the core's
   door; what is to work without memory is the script's.

     oom SCRIPT ARG...

   The core is linked in, so that its own requests can be told from those of
   libraries. The script gets ARG... as `arg` and `...`, and the table `oom`:

     attempt(source, mode, skipped, f, …)  calls f, and refuses the request for
         memory behind `skipped` others; "lua" or "c", "once", "point", "on" or
         "limit" (then these are bytes): see refusal.h. --> status, how many were refused, results or error;
         the status is "ok", "memory" (Lua's own error) or "error". Before a
         source "cold" may stand, as in "cold lua": f runs on a stack of its own
     state(source, mode, skipped, text, arg)  the same in a state of its own:
         `text` is loaded and called with `arg` there, and gives what is
         attempted and, if it likes, what looks at it then, given status and
         error. With "end" in place of a mode lua_close is attempted, too.
         --> status, how many were refused, error
     files(folder)  their names, in an array; nil: there is no such folder
     leaks()        does the sanitizer see any so far?

   Ends with 1 if the script raises, or a state keeps memory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "refusal.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_do_recoverable_leak_check() 0
#endif

int luaopen_mjtask_core (lua_State *L);

static int open_host (lua_State *L);

/* ---- attempts -------------------------------------------------------------------- */

typedef struct Attempt {
  RefusalSource source;
  RefusalMode mode;
  long skipped;
  int cold, until_end;
} Attempt;

/* The first three arguments. */
static Attempt check_attempt (lua_State *L) {
  static const char *const sources[] = {"lua", "c", "cold lua", "cold c", NULL};
  static const char *const names[] = {"once",  "point", "on",
                                      "limit", "end",   NULL};
  static const RefusalMode modes[] = {MODE_ONCE, MODE_POINT, MODE_ON,
                                      MODE_LIMIT, MODE_ON};
  const int source = luaL_checkoption(L, 1, NULL, sources);
  const int mode = luaL_checkoption(L, 2, NULL, names);
  Attempt attempt;
  attempt.source = source % 2 == 0 ? SOURCE_LUA : SOURCE_C;
  attempt.cold = source >= 2;
  attempt.mode = modes[mode];
  attempt.until_end = mode == 4;
  attempt.skipped = (long)luaL_checkinteger(L, 3);
  return attempt;
}

static const char *name_of (int status) {
  if (status == LUA_OK) return "ok";
  return status == LUA_ERRMEM ? "memory" : "error";
}

static int host_attempt (lua_State *L) {
  const Attempt attempt = check_attempt(L);
  const int arguments = lua_gettop(L) - 4;
  lua_State *runner = L;
  long refused;
  int status, results;
  luaL_argcheck(L, arguments >= 0, 4, "a function expected");
  luaL_checkstack(L, 32, NULL);
  if (attempt.cold) {
    runner = lua_newthread(L);
    lua_insert(L, 4);
    lua_xmove(L, runner, arguments + 1);
  }
  refusal_arm(attempt.source, attempt.mode, attempt.skipped);
  status = lua_pcall(runner, arguments, LUA_MULTRET, 0);
  refused = refusal_disarm();
  results = attempt.cold ? lua_gettop(runner) : lua_gettop(L) - 3;
  lua_pushstring(L, name_of(status));
  lua_pushinteger(L, refused);
  if (attempt.cold)
    lua_xmove(runner, L, results);
  else {
    lua_rotate(L, 4, 2);
  }
  return results + 2;
}

/* ---- states ------------------------------------------------------------------------- */

static int broken; /* states that kept memory */

/* `bytes` counts for the state's whole life. */
static lua_State *new_state (size_t *bytes) {
  lua_State *L = lua_newstate(refusal_allocate, bytes);
  if (L == NULL) return NULL;
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_mjtask_core);
  lua_setfield(L, -2, "mjtask.core");
  lua_pop(L, 1);
  luaL_requiref(L, "oom", open_host, 1);
  lua_pop(L, 1);
  return L;
}

static void close_state (lua_State *L, const size_t *bytes) {
  lua_close(L);
  if (*bytes == 0) return;
  fprintf(stderr, "a state kept %zu bytes\n", *bytes);
  broken++;
}

static int host_state (lua_State *L) {
  const Attempt attempt = check_attempt(L);
  size_t length, bytes = 0;
  const char *text = luaL_checklstring(L, 4, &length);
  const char *argument = luaL_checkstring(L, 5);
  lua_State *own = new_state(&bytes);
  long refused;
  int status;
  if (own == NULL) return luaL_error(L, "no state");
  if (luaL_loadbuffer(own, text, length, "=state") != LUA_OK ||
      (lua_pushstring(own, argument), lua_pcall(own, 1, 2, 0)) != LUA_OK) {
    lua_pushstring(L, lua_tostring(own, -1));
    close_state(own, &bytes);
    return lua_error(L);
  }
  lua_insert(own, 1); /* stack: what looks, what is attempted */
  luaL_checkstack(own, 32, NULL);
  refusal_arm(attempt.source, attempt.mode, attempt.skipped);
  status = lua_pcall(own, 0, 1, 0);
  if (attempt.until_end) {
    lua_settop(own, 0);
    close_state(own, &bytes);
    own = NULL;
  }
  refused = refusal_disarm();
  lua_pushstring(L, name_of(status));
  lua_pushinteger(L, refused);
  if (own == NULL) return 2;
  lua_pushstring(L, luaL_tolstring(own, -1, NULL));
  lua_settop(own, 2); /* stack: what looks, result or error */
  if (!lua_isnil(own, 1)) {
    lua_pushstring(own, name_of(status));
    lua_insert(own, 2);
    if (lua_pcall(own, 2, 0, 0) != LUA_OK) {
      lua_pushstring(L, luaL_tolstring(own, -1, NULL));
      close_state(own, &bytes);
      return lua_error(L);
    }
  }
  close_state(own, &bytes);
  return 3;
}

/* ---- the rest ------------------------------------------------------------------------ */

static int host_files (lua_State *L) {
  const struct dirent *entry;
  lua_Integer count = 0;
  DIR *folder = opendir(luaL_checkstring(L, 1));
  if (folder == NULL) return 0;
  lua_newtable(L);
  while ((entry = readdir(folder)) != NULL) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    lua_pushstring(L, entry->d_name);
    lua_rawseti(L, -2, ++count);
  }
  closedir(folder);
  return 1;
}

static int host_leaks (lua_State *L) {
  lua_pushboolean(L, __lsan_do_recoverable_leak_check());
  return 1;
}

static const luaL_Reg host[] = {
  {"attempt", host_attempt}, {"files", host_files}, {"leaks", host_leaks},
  {"state", host_state},     {NULL, NULL},
};

static int open_host (lua_State *L) {
  luaL_newlib(L, host);
  return 1;
}

static int traceback (lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

int main (int argc, char **argv) {
  size_t bytes = 0;
  int i, failed;
  lua_State *L = argc > 1 ? new_state(&bytes) : NULL;
  if (L == NULL) return 99;
  lua_newtable(L);
  for (i = 1; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - 1);
  }
  lua_setglobal(L, "arg");
  lua_pushcfunction(L, traceback);
  failed = luaL_loadfile(L, argv[1]);
  if (!failed) {
    for (i = 2; i < argc; i++)
      lua_pushstring(L, argv[i]);
    failed = lua_pcall(L, argc - 2, 0, 1);
  }
  if (failed) fprintf(stderr, "%s\n", lua_tostring(L, -1));
  close_state(L, &bytes);
  return failed || broken ? 1 : 0;
}
