/* Declares the header lines of every API request, and the key in them. */
#ifndef MJTASK_HEADERS_H
#define MJTASK_HEADERS_H

#include <stddef.h>
#include <curl/curl.h>

#pragma GCC visibility push(hidden)

#define HEADERS_VALUE_MAX 4096 /* bytes of a key, a name or a value */
#define HEADERS_SECRET_LEAST 8 /* bytes; a shorter value is no secret */

/* Lines that carry the key, see headers_authorize. */
#define HEADERS_BEARER 1u /* Authorization: Bearer KEY */
#define HEADERS_RAW 2u /* Authorization: KEY */
#define HEADERS_SECRET 4u /* mj-api-secret: KEY */

/* A zeroed one is valid and empty. */
typedef struct Headers {
  struct curl_slist *lines; /* owned */
  const char *key; /* in one of the lines; NULL: none */
} Headers;

/* These return NULL, or a static text that says what is wrong, to be put behind
   a name; it never quotes. The key is added first. */
const char *headers_authorize (Headers *headers, unsigned lines,
                               const char *key, size_t size);
const char *headers_add (Headers *headers, const char *name, size_t name_size,
                         const char *value, size_t value_size);

/* Adds what is missing of the lines that we send anyway. */
const char *headers_complete (Headers *headers);

/* Overwrites with asterisks whatever is secret in `text`: the key, or the part
   of it before an ellipsis, and the values of the other lines but Accept. */
void headers_redact (const Headers *headers, char *text, size_t size);

/* Wipes and frees. Idempotent. */
void headers_release (Headers *headers);

#pragma GCC visibility pop

#endif
