/* Declares what scripts need of the core beside HTTP, and how the core reads the
   fields of a table. */
#ifndef MJTASK_HOST_H
#define MJTASK_HOST_H

#include <stddef.h>

#include "lua.h"
#include "lauxlib.h"

#include "file.h"

#pragma GCC visibility push(hidden)

/* Adds call, columns, decode, file, id, interrupted, lock, now, readable to the
   table on top. */
void host_open (lua_State *L);

/* Has Ctrl-C armed the interpreter's hook? lua.c puts it on the main state,
   where a coroutine's instructions never meet it. */
int is_interrupted (lua_State *main);
lua_State *main_of (lua_State *L);

/* Registers a type of userdata. */
void make_type (lua_State *L, const char *name, const luaL_Reg *meta,
                const luaL_Reg *methods);

/* Pushes nil, kind, message, and returns 3. */
int push_failure (lua_State *L, const char *kind, const char *message);

/* An open file, or raises. */
File *check_file (lua_State *L, int index);

/* Raises "NAME FAULT". */
int bad_field (lua_State *L, const char *name, const char *fault);

/* A string field of the table at `index`, or NULL: absent. Leaves it on the
   stack: one value in any case. */
const char *field_string (lua_State *L, int index, const char *name,
                          size_t *size);

/* The same without a NUL inside, for C strings of libcurl's. */
const char *field_cstring (lua_State *L, int index, const char *name);

/* These three leave the stack as it was. */
void set_boolean (lua_State *L, int index, const char *name, int value);
int field_boolean (lua_State *L, int index, const char *name);
lua_Number field_number (lua_State *L, int index, const char *name,
                         lua_Number otherwise, lua_Number least);

#pragma GCC visibility pop

#endif
