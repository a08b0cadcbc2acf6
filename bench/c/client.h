/* Declares what the limit programs have in common: their settings come from the
   environment, and each ends by saying how much it has done. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stddef.h>

/* Ends the program with a message. */
void die (const char *what, const char *why) __attribute__((noreturn));

/* A variable of the environment that has to be there. */
const char *setting (const char *name);

/* One that is a number; `otherwise` if it is not there. */
long number (const char *name, long otherwise);

/* An answer as it arrives; the bytes are kept for the next one's use. */
typedef struct Body {
  char *bytes;
  size_t size, room;
} Body;

void body_append (Body *body, const char *bytes, size_t size);

/* Tells the runner, which checks it: so many fetches, so much work in all. */
void report (long fetches, long work);

#endif
