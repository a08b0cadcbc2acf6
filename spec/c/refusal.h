/* Declares the memory that is refused. */
#ifndef OOM_REFUSAL_H
#define OOM_REFUSAL_H

#include <stddef.h>

typedef enum RefusalSource {
  SOURCE_NONE,
  SOURCE_LUA, /* what Lua asks its allocator for */
  SOURCE_C /* what the core asks the C library and libcurl for */
} RefusalSource;

typedef enum RefusalMode {
  MODE_ONCE, /* one request: Lua collects all garbage and tries again */
  MODE_POINT, /* one request, and the same again */
  MODE_ON, /* that request and all after it */
  MODE_LIMIT /* Lua's only: all that would take more than so many bytes */
} RefusalMode;

/* From now on the request behind the next `skipped` ones is refused; or what
   takes more than `skipped` bytes beyond those in use. */
void refusal_arm (RefusalSource source, RefusalMode mode, long skipped);

/* No more. How many requests were refused. */
long refusal_disarm (void);

/* A lua_Alloc that obeys; `bytes` (a size_t) counts what is in use. */
void *refusal_allocate (void *bytes, void *block, size_t old, size_t size);

#endif
