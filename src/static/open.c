/* Opens the whole of mjtask where none of its Lua files is on disk: they are in
   here. Knows Lua and the names of modules; what the modules do it need not. */
#include <string.h>

#include "lua.h"
#include "lauxlib.h"

#include "sources.h"

#define MODULE "mjtask"

#if defined(__GNUC__)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif

int luaopen_mjtask_core (lua_State *L);
EXPORT int luaopen_mjtask (lua_State *L);

/* What require calls for one of ours: runs the file with the arguments that
   require gives, its name and where it was found. */
static int load (lua_State *L) {
  const Source *source = lua_touserdata(L, lua_upvalueindex(1));
  const int arguments = lua_gettop(L);
  if (luaL_loadbufferx(L, (const char *)source->text, source->size,
                       source->chunk, "t") != LUA_OK)
    return lua_error(L);
  lua_insert(L, 1);
  lua_call(L, arguments, 1);
  return 1;
}

static void push_loader (lua_State *L, const Source *source) {
  /* Lua never writes there; it has only no const. */
  lua_pushlightuserdata(L, (void *)source);
  lua_pushcclosure(L, load, 1);
}

/* stack: …, table, function; the function becomes the table's field, unless the
   host has put something there itself. */
static void offer (lua_State *L, const char *module) {
  if (lua_getfield(L, -2, module) == LUA_TNIL) {
    lua_pushvalue(L, -2);
    lua_setfield(L, -4, module);
  }
  lua_pop(L, 2);
}

/* Pushes package.preload and package.loaded. They are the registry's: a host may
   have taken the table `package` away from its scripts, or emptied its paths. */
static void push_tables (lua_State *L) {
  if (lua_getglobal(L, "require") == LUA_TNIL ||
      lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE) != LUA_TTABLE)
    luaL_error(L, "mjtask needs require: open the library \"package\" first "
                  "(luaL_openlibs does, or luaopen_package)");
  lua_remove(L, -2);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

/* --> what require "mjtask" gives, the same table each time. From then on
   require finds our other modules, too, before it looks for files. */
int luaopen_mjtask (lua_State *L) {
  const Source *source, *entry = NULL;
  luaL_checkversion(L);
  lua_settop(L, 0);
  push_tables(L); /* stack: preload, loaded */
  if (lua_getfield(L, 2, MODULE) == LUA_TTABLE) return 1;
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  lua_pushcfunction(L, luaopen_mjtask_core);
  offer(L, MODULE ".core");
  for (source = sources; source->module != NULL; source++) {
    if (strcmp(source->module, MODULE) == 0) {
      entry = source;
      continue; /* in package.preload the host may have put ourselves */
    }
    push_loader(L, source);
    offer(L, source->module);
  }
  if (entry == NULL) return luaL_error(L, "the archive has no " MODULE);
  push_loader(L, entry);
  lua_pushliteral(L, MODULE);
  lua_pushstring(L, entry->chunk);
  lua_call(L, 2, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, 2, MODULE); /* for a host that calls us without requiref */
  return 1;
}
