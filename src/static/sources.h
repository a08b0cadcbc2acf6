/* Declares the Lua files that the archive carries; embed.lua writes them. */
#ifndef MJTASK_SOURCES_H
#define MJTASK_SOURCES_H

#include <stddef.h>

typedef struct Source {
  const char *module; /* as require knows it */
  const char *chunk; /* as tracebacks show it */
  const unsigned char *text;
  size_t size;
} Source;

extern const Source sources[]; /* the last one's module is NULL */

#endif
