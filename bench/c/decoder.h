/* Declares how a C program decodes an answer as a Lua script would: by
   lua-cjson, in a Lua state of its own. */
#ifndef BENCH_DECODER_H
#define BENCH_DECODER_H

#include <stddef.h>

typedef struct lua_State Decoder;

/* Ends the program if Lua or lua-cjson is missing. */
Decoder *decoder_open (void);

/* Decodes a task and gives the number of its buttons; of a list, its tasks'. */
long decoder_count (Decoder *decoder, const char *text, size_t size);

void decoder_close (Decoder *decoder);

#endif
