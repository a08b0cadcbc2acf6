/* What the limit programs have in common; knows the environment and standard
   output, must not know what is fetched. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die (const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

const char *setting (const char *name) {
  const char *value = getenv(name);
  if (!value) die(name, "not set");
  return value;
}

long number (const char *name, long otherwise) {
  const char *value = getenv(name);
  return value ? strtol(value, NULL, 10) : otherwise;
}

void body_append (Body *body, const char *bytes, size_t size) {
  if (body->room - body->size < size) {
    const size_t room = 2 * (body->size + size);
    char *larger = realloc(body->bytes, room);
    if (!larger) die("body", "no memory");
    body->bytes = larger;
    body->room = room;
  }
  memcpy(body->bytes + body->size, bytes, size);
  body->size += size;
}

void report (long fetches, long work) {
  printf("done %ld %ld\n", fetches, work);
}
