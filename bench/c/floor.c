/* The floor of every decoder: a value's tables, built by straight calls of the
   Lua API from what was found out before. Nothing is parsed. Knows the Lua API
   only. In Lua: floor = require "floor"; p = floor.compile(value);
   floor.push(p), with a mode: "sized" (the default), "unsized" (no table is
   told how large it gets), "keys" (keys are taken from a table, not made). */
#include <stdlib.h>

#include <lua.h>
#include <lauxlib.h>

#define TYPE "bench.floor"
#define SOURCE 1 /* user values: whose strings the program points into, */
#define KEYS 2 /* and the keys, by number */

typedef enum Kind {
  PUSH_TABLE,
  PUSH_STRING,
  PUSH_INTEGER,
  PUSH_NUMBER,
  PUSH_BOOLEAN,
  PUSH_KEY,
  SET_FIELD,
  SET_ELEMENT
} Kind;

typedef struct Operation {
  Kind kind;
  int array, hash; /* of a table: how many are coming; of a key: its number */
  lua_Integer integer; /* the integer, the boolean, an element's place */
  lua_Number number;
  const char *text;
  size_t size; /* bytes of text */
} Operation;

typedef struct Program {
  size_t count, room;
  int keys;
  Operation *operations; /* owned; given back by __gc */
} Program;

static void __attribute__((noreturn)) no_memory(lua_State *L) {
  luaL_error(L, "not enough memory");
  abort(); /* luaL_error does not say that it never returns */
}

/* Makes room for one more, zeroed but for its kind. */
static Operation *add (lua_State *L, Program *p, Kind kind) {
  static const Operation none = {PUSH_TABLE, 0, 0, 0, 0, NULL, 0};
  if (p->count == p->room) {
    void *data;
    const lua_Alloc alloc = lua_getallocf(L, &data);
    const size_t room = 2 * p->room + 64, size = sizeof *p->operations;
    Operation *larger = alloc(data, p->operations, p->room * size, room * size);
    if (!larger) no_memory(L);
    p->operations = larger;
    p->room = room;
  }
  p->operations[p->count] = none;
  p->operations[p->count].kind = kind;
  return &p->operations[p->count++];
}

/* The number of the key on top, in the table of keys at index 3: its place
   there, and its place by name. */
static int key_number (lua_State *L, Program *p) {
  int number;
  lua_pushvalue(L, -1);
  lua_rawget(L, 3);
  number = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (number != 0) return number;
  lua_pushvalue(L, -1);
  lua_pushinteger(L, ++p->keys);
  lua_rawset(L, 3);
  lua_pushvalue(L, -1);
  lua_rawseti(L, 3, p->keys);
  return p->keys;
}

static void compile (lua_State *L, Program *p);

static void compile_array (lua_State *L, Program *p, lua_Integer length) {
  lua_Integer i;
  add(L, p, PUSH_TABLE)->array = (int)length;
  for (i = 1; i <= length; i++) {
    lua_rawgeti(L, -1, i);
    compile(L, p);
    lua_pop(L, 1);
    add(L, p, SET_ELEMENT)->integer = i;
  }
}

static void compile_object (lua_State *L, Program *p) {
  const size_t at = p->count;
  int fields = 0;
  add(L, p, PUSH_TABLE);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    Operation *key = add(L, p, PUSH_KEY);
    lua_pushvalue(L, -2);
    key->text = luaL_checklstring(L, -1, &key->size);
    key->hash = key_number(L, p);
    lua_pop(L, 1);
    compile(L, p);
    add(L, p, SET_FIELD);
    fields++;
  }
  p->operations[at].hash = fields;
}

/* What pushes the value on top; objects have string keys only. */
static void compile (lua_State *L, Program *p) {
  Operation *operation;
  luaL_checkstack(L, 8, "too deep");
  switch (lua_type(L, -1)) {
    case LUA_TTABLE: {
      const lua_Integer length = (lua_Integer)lua_rawlen(L, -1);
      if (length > 0)
        compile_array(L, p, length);
      else
        compile_object(L, p);
      return;
    }
    case LUA_TSTRING:
      operation = add(L, p, PUSH_STRING);
      operation->text = lua_tolstring(L, -1, &operation->size);
      return;
    case LUA_TNUMBER:
      if (lua_isinteger(L, -1))
        add(L, p, PUSH_INTEGER)->integer = lua_tointeger(L, -1);
      else
        add(L, p, PUSH_NUMBER)->number = lua_tonumber(L, -1);
      return;
    case LUA_TBOOLEAN:
      add(L, p, PUSH_BOOLEAN)->integer = lua_toboolean(L, -1);
      return;
    default: luaL_error(L, "JSON has no %s", luaL_typename(L, -1));
  }
}

static int floor_compile (lua_State *L) {
  Program *p;
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  p = lua_newuserdatauv(L, sizeof *p, 2);
  p->count = p->room = 0;
  p->keys = 0;
  p->operations = NULL;
  luaL_setmetatable(L, TYPE);
  lua_newtable(L);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 2, SOURCE);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 2, KEYS);
  lua_pushvalue(L, 1);
  compile(L, p);
  lua_settop(L, 2);
  return 1;
}

static void push (lua_State *L, const Operation *o, int sized, int keys) {
  switch (o->kind) {
    case PUSH_TABLE:
      lua_createtable(L, sized ? o->array : 0, sized ? o->hash : 0);
      break;
    case PUSH_KEY:
      if (keys)
        lua_rawgeti(L, keys, o->hash);
      else
        lua_pushlstring(L, o->text, o->size);
      break;
    case PUSH_STRING: lua_pushlstring(L, o->text, o->size); break;
    case PUSH_INTEGER: lua_pushinteger(L, o->integer); break;
    case PUSH_NUMBER: lua_pushnumber(L, o->number); break;
    case PUSH_BOOLEAN: lua_pushboolean(L, (int)o->integer); break;
    case SET_FIELD: lua_rawset(L, -3); break;
    case SET_ELEMENT: lua_rawseti(L, -2, o->integer); break;
    default: break;
  }
}

static int floor_push (lua_State *L) {
  static const char *const modes[] = {"sized", "unsized", "keys", NULL};
  const Program *p = luaL_checkudata(L, 1, TYPE);
  const int mode = luaL_checkoption(L, 2, "sized", modes);
  const Operation *o = p->operations, *end = o + p->count;
  int keys = 0;
  luaL_checkstack(L, 256, "too deep");
  if (mode == 2) {
    lua_getiuservalue(L, 1, KEYS);
    keys = lua_gettop(L);
  }
  for (; o < end; o++)
    push(L, o, mode != 1, keys);
  return 1;
}

static int floor_free (lua_State *L) {
  Program *p = luaL_checkudata(L, 1, TYPE);
  void *data;
  const lua_Alloc alloc = lua_getallocf(L, &data);
  if (p->operations)
    alloc(data, p->operations, p->room * sizeof *p->operations, 0);
  p->operations = NULL;
  p->count = p->room = 0;
  return 0;
}

__attribute__((visibility("default"))) int luaopen_floor (lua_State *L);

int luaopen_floor (lua_State *L) {
  static const luaL_Reg functions[] = {
    {"compile", floor_compile}, {"push", floor_push}, {NULL, NULL}};
  luaL_newmetatable(L, TYPE);
  lua_pushcfunction(L, floor_free);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
