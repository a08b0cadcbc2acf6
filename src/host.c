/* What scripts need of the core beside HTTP: decoding, files, a clock, safe
   calls, terminals.
   Knows Lua, and must not know curl. */
#define _DEFAULT_SOURCE /* for POSIX and TIOCGWINSZ under -std=c99 */
#include "host.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "lua.h"
#include "lauxlib.h"

#include "decode.h"
#include "file.h"
#include "pollset.h"
#include "url.h"

#define FILE_TYPE "mjtask.file"
#define SHELTER_SLOTS 700 /* of a stack: what schedule.lua's STEPPING takes */
#define USUAL_COLUMNS 80 /* of a terminal that does not say */
#define USUAL_ROWS 24

/* ---- arguments ------------------------------------------------------------- */

int bad_field (lua_State *L, const char *name, const char *fault) {
  return luaL_error(L, "%s %s", name, fault);
}

const char *field_string (lua_State *L, int index, const char *name,
                          size_t *size) {
  int type = lua_getfield(L, index, name);
  if (type == LUA_TNIL) return NULL;
  if (type != LUA_TSTRING) bad_field(L, name, "must be a string");
  return lua_tolstring(L, -1, size);
}

const char *field_cstring (lua_State *L, int index, const char *name) {
  size_t size;
  const char *text = field_string(L, index, name, &size);
  if (text != NULL && strlen(text) != size)
    bad_field(L, name, "has a NUL character");
  return text;
}

int field_boolean (lua_State *L, int index, const char *name) {
  int value;
  lua_getfield(L, index, name);
  value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

lua_Number field_number (lua_State *L, int index, const char *name,
                         lua_Number otherwise, lua_Number least) {
  lua_Number value = otherwise;
  if (lua_getfield(L, index, name) != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TNUMBER) bad_field(L, name, "must be a number");
    value = lua_tonumber(L, -1);
    if (!(value >= least && value <= 1e15))
      bad_field(L, name, "is out of range");
  }
  lua_pop(L, 1);
  return value;
}

void set_boolean (lua_State *L, int index, const char *name, int value) {
  index = lua_absindex(L, index);
  lua_pushboolean(L, value);
  lua_setfield(L, index, name);
}

/* ---- decode ------------------------------------------------------------------ */

/* decode (json [, { max_size, max_depth, strict, null }])
   --> value, or nil, message, offset in bytes */
static int host_decode (lua_State *L) {
  DecodeOptions options = {DECODE_MAX_SIZE, DECODE_MAX_DEPTH, 0, 0};
  DecodeError error;
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    options.max_size =
      (size_t)field_number(L, 2, "max_size", (lua_Number)DECODE_MAX_SIZE, 0);
    options.max_depth =
      (int)fmin(field_number(L, 2, "max_depth", DECODE_MAX_DEPTH, 0), 1e9);
    options.strict = field_boolean(L, 2, "strict");
    if (lua_getfield(L, 2, "null") != LUA_TNIL) options.null_index = 3;
  }
  if (decode(L, text, size, &options, &error)) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error.message);
  lua_pushinteger(L, (lua_Integer)error.offset);
  return 3;
}

static int on_error (lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (message == NULL) return 1; /* somebody's own error value */
  /* On its way already; or no room to make one, and each try fails anew? */
  if (strstr(message, "\nstack traceback:") != NULL ||
      strstr(message, "stack overflow") != NULL)
    return 1;
  if (strncmp(message, "attempt to yield", 16) == 0)
    message = lua_pushfstring(L, "a callback must not yield (%s)", message);
  luaL_traceback(L, L, message, 1);
  return 1;
}

/* call (schedule, { f, …, n = }) --> true, results; or false, error with its
   traceback. There is no continuation, so f cannot yield. Before, the delivery is
   `made` and the schedule's `current` one no more; meanwhile that is `nested`:
   in C, since Ctrl-C may come between any two steps of Lua */
static int host_call (lua_State *L) {
  int n, i, nested, ok;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_getfield(L, 1, "nested");
  lua_getfield(L, 2, "n");
  nested = lua_toboolean(L, 3);
  n = (int)luaL_checkinteger(L, 4);
  luaL_checkstack(L, n + 4, NULL);
  lua_pushcfunction(L, on_error);
  for (i = 1; i <= n; i++)
    lua_rawgeti(L, 2, i);
  for (i = 2; i <= n; i++) { /* what is told belongs to who is told */
    lua_pushnil(L);
    lua_rawseti(L, 2, i);
  }
  set_boolean(L, 2, "made", 1);
  set_boolean(L, 1, "current", 0);
  set_boolean(L, 1, "nested", 1);
  ok = lua_pcall(L, n - 1, LUA_MULTRET, 5) == LUA_OK;
  set_boolean(L, 1, "nested", nested);
  lua_pushboolean(L, ok);
  lua_replace(L, 5);
  return lua_gettop(L) - 4;
}

/* now () --> seconds of a clock that never jumps */
static int host_now (lua_State *L) {
  lua_pushnumber(L, pollset_now());
  return 1;
}

int is_interrupted (lua_State *main) {
  const int all = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT;
  return lua_gethook(main) != NULL && lua_gethookmask(main) == all &&
         lua_gethookcount(main) == 1;
}

/* In the registry: the thread that works for the main one. */
static const char worker_key;

lua_State *main_of (lua_State *L) {
  lua_State *main;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  main = lua_tothread(L, -1);
  lua_pop(L, 1);
  return main;
}

/* f, … --> true, results; or false, error: that keeps the thread, and what of
   its stack is not in use */
static int call_protected (lua_State *L) {
  int ok = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0) == LUA_OK;
  lua_pushboolean(L, ok);
  lua_insert(L, 1);
  return lua_gettop(L);
}

/* shelter (f, …) --> what f gives. On the main thread f is run by another one.
   The interpreter raises Ctrl-C at whatever instruction its main thread is, by a
   hook that only that thread has: here it cannot leave anything half done, and
   comes when this returns. User code does not belong in here. */
static int host_shelter (lua_State *L) {
  lua_State *worker;
  int count = lua_gettop(L), results = 0, status;
  luaL_checkany(L, 1);
  if (main_of(L) != L) {
    lua_call(L, count - 1, LUA_MULTRET);
    return lua_gettop(L);
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &worker_key);
  worker = lua_tothread(L, -1);
  lua_pop(L, 1);
  /* What it has once had it keeps, as if that were in use: else each error that
     is caught would take it. */
  if (!lua_checkstack(worker, SHELTER_SLOTS + count)) {
    lua_pushliteral(L, "not enough memory"); /* Lua's own, without a place */
    return lua_error(L);
  }
  lua_pushcfunction(worker, call_protected);
  lua_xmove(L, worker, count);
  status = lua_resume(worker, L, count, &results);
  if (status != LUA_OK)
    results = 1; /* the error: there was no memory to begin */
  luaL_checkstack(L, results, NULL);
  lua_xmove(worker, L, results);
  if (status == LUA_OK && lua_toboolean(L, -results)) return results - 1;
  if (status != LUA_OK) {
    lua_resetthread(worker); /* which leaves the error there */
    lua_settop(worker, 0);
  }
  return lua_error(L);
}

/* interrupted () --> has Ctrl-C armed the interpreter's hook? */
static int host_interrupted (lua_State *L) {
  lua_pushboolean(L, is_interrupted(main_of(L)));
  return 1;
}

/* id (value) --> the id as a string; or nil, what is wrong with it */
static int host_id (lua_State *L) {
  size_t size;
  const char *id;
  int type = lua_type(L, 1);
  lua_settop(L, 1);
  if (type == LUA_TNUMBER && !lua_isinteger(L, 1)) {
    lua_pushnil(L);
    lua_pushliteral(L, "is a float: was it decoded elsewhere? "
                       "Give the id as a string");
    return 2;
  }
  if (type != LUA_TSTRING && type != LUA_TNUMBER) {
    lua_pushnil(L);
    lua_pushfstring(L, "must be a string or an integer, not a %s",
                    luaL_typename(L, 1));
    return 2;
  }
  id = lua_tolstring(L, 1, &size);
  if (url_is_id(id, size) && !(type == LUA_TNUMBER && id[0] == '-')) return 1;
  lua_pushnil(L);
  lua_pushliteral(L, "must be 1 to 128 letters, digits, or - . _ ~, and not "
                     ". or ..");
  return 2;
}

/* ---- files ------------------------------------------------------------------ */

/* file (path [, overwrite]) --> file, or nil, what is wrong. It is temporary
   until commit, and gone if there is none */
static int host_file (lua_State *L) {
  size_t size;
  const char *path = luaL_checklstring(L, 1, &size);
  int overwrite = lua_toboolean(L, 2), failure;
  File *file;
  luaL_argcheck(L, strlen(path) == size, 1, "has a NUL character");
  lua_settop(L, 1);
  file = lua_newuserdatauv(L, sizeof *file, 0);
  memset(file, 0, sizeof *file);
  luaL_setmetatable(L, FILE_TYPE);
  failure = file_open(file, path, overwrite);
  if (failure == 0) return 1;
  lua_pushnil(L);
  lua_pushstring(L, strerror(failure));
  return 2;
}

int push_failure (lua_State *L, const char *kind, const char *message) {
  lua_pushnil(L);
  lua_pushstring(L, kind);
  lua_pushstring(L, message);
  return 3;
}

File *check_file (lua_State *L, int index) {
  File *file = luaL_checkudata(L, index, FILE_TYPE);
  luaL_argcheck(L, file->descriptor != 0, index, "the file is closed");
  return file;
}

/* commit ([overwrite]) --> true; or nil, kind, message: nothing is left then */
static int file_commit_it (lua_State *L) {
  File *file = check_file(L, 1);
  const char *fault = file_check(file);
  int failure = 0;
  if (fault == NULL) failure = file_commit(file, lua_toboolean(L, 2));
  file_release(file);
  if (fault != NULL) return push_failure(L, "not_image", fault);
  if (failure != 0) return push_failure(L, "io", strerror(failure));
  lua_pushboolean(L, 1);
  return 1;
}

/* restart () --> true, or nil, message: for another try */
static int file_restart_it (lua_State *L) {
  int failure = file_restart(check_file(L, 1));
  if (failure != 0) return push_failure(L, "io", strerror(failure));
  lua_pushboolean(L, 1);
  return 1;
}

static int file_gc (lua_State *L) {
  file_release(luaL_checkudata(L, 1, FILE_TYPE));
  return 0;
}

/* ---- terminals and streams ------------------------------------------------- */

/* columns (fd) --> columns and rows of the terminal; nil: it is none */
static int host_columns (lua_State *L) {
  struct winsize size;
  int fd = (int)luaL_checkinteger(L, 1);
  memset(&size, 0, sizeof size);
  if (!isatty(fd)) {
    lua_pushnil(L);
    return 1;
  }
  if (ioctl(fd, TIOCGWINSZ, &size) != 0) memset(&size, 0, sizeof size);
  lua_pushinteger(L, size.ws_col > 0 ? size.ws_col : USUAL_COLUMNS);
  lua_pushinteger(L, size.ws_row > 0 ? size.ws_row : USUAL_ROWS);
  return 2;
}

/* readable (fd) --> would a read return at once, be it with nothing? What is in
   a stream's own buffer does not count */
static int host_readable (lua_State *L) {
  struct pollfd asked;
  asked.fd = (int)luaL_checkinteger(L, 1);
  asked.events = POLLIN;
  asked.revents = 0;
  lua_pushboolean(L, poll(&asked, 1, 0) > 0);
  return 1;
}

/* lock (file, path) --> true: this process has it, until it closes any file of
   that name or ends; false: another one has it, or has just put another file
   there; nil, message. The file must be open for writing */
static int host_lock (lua_State *L) {
  struct flock lock;
  struct stat own, there;
  luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  const char *path = luaL_checkstring(L, 2);
  int fd, taken;
  luaL_argcheck(L, stream->closef != NULL, 1, "the file is closed");
  fd = fileno(stream->f);
  memset(&lock, 0, sizeof lock);
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  taken = fcntl(fd, F_SETLK, &lock) != 0;
  if (taken && errno != EACCES && errno != EAGAIN)
    return luaL_fileresult(L, 0, path);
  lua_pushboolean(L, !taken && fstat(fd, &own) == 0 &&
                       stat(path, &there) == 0 && own.st_dev == there.st_dev &&
                       own.st_ino == there.st_ino);
  return 1;
}

/* ---- registration ---------------------------------------------------------- */

static const luaL_Reg file_methods[] = {
  {"close", file_gc},
  {"commit", file_commit_it},
  {"restart", file_restart_it},
  {NULL, NULL},
};

static const luaL_Reg file_meta[] = {
  {"__close", file_gc},
  {"__gc", file_gc},
  {NULL, NULL},
};

static const luaL_Reg host_functions[] = {
  {"call", host_call},
  {"columns", host_columns},
  {"decode", host_decode},
  {"file", host_file},
  {"id", host_id},
  {"interrupted", host_interrupted},
  {"lock", host_lock},
  {"now", host_now},
  {"readable", host_readable},
  {"shelter", host_shelter},
  {NULL, NULL},
};

void make_type (lua_State *L, const char *name, const luaL_Reg *meta,
                const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0); /* getmetatable tells nothing: no __gc by hand */
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

void host_open (lua_State *L) {
  make_type(L, FILE_TYPE, file_meta, file_methods);
  luaL_setfuncs(L, host_functions, 0);
  lua_newthread(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &worker_key);
}
