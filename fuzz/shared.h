/* What the fuzzers share: a check that ends the run, an allocator with a limit,
   and lines of an input. Knows Lua, and nothing of what is fuzzed. */
#ifndef MJTASK_FUZZ_SHARED_H
#define MJTASK_FUZZ_SHARED_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua.h"
#include "lauxlib.h"

/* libFuzzer's: calls us with each input, and writes the last one to a file when
   the process dies. */
int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Ends the process if `condition` does not hold: that is a finding. */
#define CHECK(condition)                                                       \
  ((condition) ? (void)0 : fuzz_found(__FILE__, __LINE__, #condition))

static inline void fuzz_found (const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
  abort();
}

/* Memory of a Lua state. */
typedef struct Memory {
  size_t used; /* bytes */
  size_t peak; /* most of them since it was set */
  size_t limit; /* what would exceed it is refused */
} Memory;

/* A lua_Alloc whose `ud` is a Memory. To shrink never fails: Lua counts on it. */
static inline void *fuzz_alloc (void *ud, void *block, size_t old,
                                size_t size) {
  Memory *heap = ud;
  void *moved;
  if (block == NULL) old = 0; /* else it is a type */
  if (size == 0) {
    free(block);
    heap->used -= old;
    return NULL;
  }
  if (size > old && size - old > heap->limit - heap->used) return NULL;
  moved = realloc(block, size);
  CHECK(moved != NULL);
  heap->used += size - old;
  if (heap->used > heap->peak) heap->peak = heap->used;
  return moved;
}

/* Every thousandth time collects all that a state can spare: hardly anything is
   left then, since nothing of an input may stay. */
static inline void fuzz_clear_up (lua_State *L, const Memory *heap,
                                  size_t most) {
  static unsigned turn;
  if (++turn % 1000 != 0) return;
  lua_gc(L, LUA_GCCOLLECT);
  CHECK(heap->used <= most);
}

/* A part of an input, copied so that to read beyond either end is an error. */
typedef struct Text {
  char *text; /* NUL after `size` bytes */
  size_t size;
} Text;

static inline Text fuzz_copy (const uint8_t *data, size_t size) {
  Text copy = {malloc(size + 1), size};
  CHECK(copy.text != NULL);
  if (size > 0) memcpy(copy.text, data, size);
  copy.text[size] = '\0';
  return copy;
}

/* Takes the first line off the input; the last takes all there is. */
static inline Text fuzz_line (const uint8_t **data, size_t *size) {
  const uint8_t *end = *size > 0 ? memchr(*data, '\n', *size) : NULL;
  const size_t length = end != NULL ? (size_t)(end - *data) : *size;
  const size_t taken = length + (end != NULL);
  const Text line = fuzz_copy(*data, length);
  *data += taken;
  *size -= taken;
  return line;
}

/* Is it well-formed UTF-8, without surrogates? Slowly, and not as decode.c does
   it: by the number that each character stands for. */
static inline int fuzz_is_utf8 (const char *text, size_t size) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  const uint8_t *p = (const uint8_t *)text, *end = p + size;
  while (p < end) {
    const int length = *p < 0x80    ? 1
                       : *p >= 0xF0 ? 4
                       : *p >= 0xE0 ? 3
                       : *p >= 0xC0 ? 2
                                    : 0;
    uint32_t code = length > 1 ? *p & (0x7Fu >> length) : *p;
    int i;
    if (length == 0 || *p >= 0xF8 || end - p < length) return 0;
    for (i = 1; i < length; i++) {
      if ((p[i] & 0xC0) != 0x80) return 0;
      code = code << 6 | (p[i] & 0x3Fu);
    }
    if (code < least[length] || code > 0x10FFFF) return 0;
    if (code >= 0xD800 && code <= 0xDFFF) return 0;
    p += length;
  }
  return 1;
}

#endif
