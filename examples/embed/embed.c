/* A C program that has a Lua of its own, and all of mjtask inside: it waits for
   a task, and prints what there is to know. No Lua file of ours is read.

   In a checkout:

     make static
     cc -o build/embed examples/embed/embed.c build/static/libmjtask.a \
       $(pkg-config --cflags --libs lua5.4 libcurl) -lpthread -ldl -lm

     MJTASK_URL=https://api.pawmaas.com MJTASK_KEY=... build/embed 1735030480754475

   or build/embed ID URL KEY, but then every user of the machine can read the key in
   the list of processes. With lua-cjson linked as well, scripts can submit and
   press: -DWITH_CJSON, and the library (in Debian's lua-cjson-dev:
   $(pkg-config --libs lua5.4-cjson)) or its sources, at the end. */
#include <stdio.h>

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

/* All that there is to declare. In C++: extern "C". */
int luaopen_mjtask (lua_State *L);

#ifdef WITH_CJSON
int luaopen_cjson (lua_State *L);
#endif

static const char script[] =
  "local mjtask = require 'mjtask'\n"
  "local id, url, key = ...\n"
  "if not id then error('usage: embed ID [URL [KEY]]', 0) end\n"
  "\n"
  "local function show(task, percent)\n"
  "  io.stderr:write(('%s %d %%\\n'):format(task.status, percent or 0))\n"
  "end\n"
  "\n"
  /* What is nil here is in MJTASK_URL and MJTASK_KEY. */
  "local mj <close> = mjtask.new { url = url, key = key }\n"
  "local task, err = mj:wait(id, { progress = show })\n"
  "if not task then error(tostring(err), 0) end\n"
  "\n"
  "local button = task:button('U1')\n"
  "print('status', task.status)\n"
  "print('U1', button and button.customId)\n"
  "print('image', task.imageUrl)\n";

/* Runs protected: whatever raises in here, the program goes on in main. */
static int run (lua_State *L) {
  int i;
  const int count = (int)lua_tointeger(L, 1);
  char **words = lua_touserdata(L, 2);
  luaL_openlibs(L);
#ifdef WITH_CJSON
  /* Where require looks before it looks for files. */
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_cjson);
  lua_setfield(L, -2, "cjson");
  lua_pop(L, 1);
#endif
  /* 0: it becomes no global; scripts require it. */
  luaL_requiref(L, "mjtask", luaopen_mjtask, 0);
  lua_pop(L, 1);
  if (luaL_loadbuffer(L, script, sizeof script - 1, "=embed") != LUA_OK)
    return lua_error(L);
  luaL_checkstack(L, count, "too many arguments");
  for (i = 1; i < count; i++)
    lua_pushstring(L, words[i]);
  lua_call(L, i - 1, 0);
  return 0;
}

int main (int argc, char **argv) {
  int status;
  lua_State *L = luaL_newstate();
  if (L == NULL) {
    fprintf(stderr, "embed: out of memory\n");
    return 1;
  }
  lua_pushcfunction(L, run);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  status = lua_pcall(L, 2, 0, 0);
  if (status != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "embed: %s\n", message ? message : "an error, no string");
  }
  lua_close(L); /* ends requests under way, wipes keys; waits for nobody */
  return status == LUA_OK ? 0 : 1;
}
