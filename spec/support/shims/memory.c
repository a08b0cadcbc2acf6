/* Counts the bytes that a process holds: loaded before the C library, and by
   the script that asks (package.loadlib, "luaopen_memory"):

     memory.mark()    from here on the most is sought
     memory.most()    the most that was held since, beyond what there was then
     memory.held()    what is held now, beyond that
     memory.trim()    gives the system back what the C library only keeps

   What the C library rounds up to is counted, its own book-keeping is not, nor
   that a block which grows may be there twice for a moment: a large one is not,
   its pages are moved. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stddef.h>
#include <lauxlib.h>
#include <lua.h>

void *__libc_malloc (size_t size);
void *__libc_calloc (size_t count, size_t size);
void *__libc_realloc (void *block, size_t size);
void __libc_free (void *block);

static long held, most, base;

static void count (long bytes) {
  long now = __atomic_add_fetch(&held, bytes, __ATOMIC_RELAXED);
  long seen = __atomic_load_n(&most, __ATOMIC_RELAXED);
  while (now > seen &&
         !__atomic_compare_exchange_n(&most, &seen, now, 0, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED))
    ;
}

static void *counted (void *block) {
  if (block != NULL) count((long)malloc_usable_size(block));
  return block;
}

void *malloc (size_t size) {
  return counted(__libc_malloc(size));
}

void *calloc (size_t number, size_t size) {
  return counted(__libc_calloc(number, size));
}

void free (void *block) {
  if (block != NULL) count(-(long)malloc_usable_size(block));
  __libc_free(block);
}

void *realloc (void *block, size_t size) {
  long before = block != NULL ? (long)malloc_usable_size(block) : 0;
  void *moved = __libc_realloc(block, size);
  if (moved == NULL && size > 0) return NULL;
  count((moved != NULL ? (long)malloc_usable_size(moved) : 0) - before);
  return moved;
}

static int mark (lua_State *L) {
  (void)L;
  base = most = held;
  return 0;
}

static int get_most (lua_State *L) {
  lua_pushinteger(L, most - base);
  return 1;
}

static int get_held (lua_State *L) {
  lua_pushinteger(L, held - base);
  return 1;
}

static int trim (lua_State *L) {
  (void)L;
  malloc_trim(0);
  return 0;
}

int luaopen_memory (lua_State *L) {
  static const luaL_Reg functions[] = {{"mark", mark},
                                       {"most", get_most},
                                       {"held", get_held},
                                       {"trim", trim},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
