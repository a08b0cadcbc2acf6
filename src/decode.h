/* Declares the JSON decoder: bytes in, Lua values out, in one pass. */
#ifndef MJTASK_DECODE_H
#define MJTASK_DECODE_H

#include <stddef.h>

#include "lua.h"

/* Here and in each header, for who builds without our Makefile, as LuaRocks
   does: a function of that name in the host would be called in place of ours. */
#pragma GCC visibility push(hidden)

#define DECODE_MAX_DEPTH 64 /* default: arrays and objects inside each other */
#define DECODE_MAX_SIZE ((size_t)8 << 20) /* default: bytes of a document */

/* Levels that no option can exceed: each costs some 100 bytes of C stack. */
#define DECODE_DEPTH_CEILING 1000

typedef struct DecodeOptions {
  size_t max_size; /* bytes */
  int max_depth; /* levels; more than DECODE_DEPTH_CEILING counts as that */
  int strict; /* bad UTF-8 and lone surrogates are errors, not U+FFFD */
  int null_index; /* absolute stack index of what stands for null; 0: nulls are
                     left out */
} DecodeOptions;

typedef struct DecodeError {
  const char *message; /* static text */
  size_t offset; /* bytes before the fault, at most the document's size */
} DecodeError;

/* Pushes the value of the one complete document in `text` and returns 1; or
   leaves the stack as it was, fills `error` and returns 0. Raises only Lua's
   memory error (a Lua stack that cannot grow is one too). `text` needs no NUL
   at its end and must stay where it is: any allocation here may run a
   finalizer. A document that is just null pushes nil, or what stands for it. */
int decode (lua_State *L, const char *text, size_t size,
            const DecodeOptions *options, DecodeError *error);

#pragma GCC visibility pop

#endif
