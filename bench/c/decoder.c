/* lua-cjson in a Lua state; knows no HTTP. */
#include "decoder.h"

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#include "client.h"

#define DECODE 1 /* stack index of cjson.decode */

Decoder *decoder_open (void) {
  lua_State *L = luaL_newstate();
  if (!L) die("Lua", "no memory");
  luaL_openlibs(L);
  if (luaL_dostring(L, "return require 'cjson'.decode") != LUA_OK)
    die("lua-cjson", lua_tostring(L, -1));
  return L;
}

static long count_buttons (lua_State *L) {
  long count = 0;
  if (lua_getfield(L, -1, "buttons") == LUA_TTABLE)
    count = (long)lua_rawlen(L, -1);
  lua_pop(L, 1);
  return count;
}

long decoder_count (Decoder *L, const char *text, size_t size) {
  long count = 0;
  lua_Integer tasks, i;
  lua_pushvalue(L, DECODE);
  lua_pushlstring(L, text, size);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) die("decode", lua_tostring(L, -1));
  tasks = (lua_Integer)lua_rawlen(L, -1);
  if (tasks == 0) count = count_buttons(L);
  for (i = 1; i <= tasks; i++) {
    lua_rawgeti(L, -1, i);
    count += count_buttons(L);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return count;
}

void decoder_close (Decoder *L) {
  lua_close(L);
}
