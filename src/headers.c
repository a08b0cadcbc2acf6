/* The header lines of every API request, and the key in them: knows curl's
   lists, and must not know Lua. */
#include "headers.h"

#include <stdio.h>
#include <string.h>

static void wipe (void *memory, size_t size) {
  volatile char *byte = memory;
  while (size-- > 0)
    *byte++ = 0; /* volatile: a memset may be left out */
}

/* Can it be sent as a header's value, and come back as the same? */
static const char *check_value (const char *value, size_t size) {
  size_t i;
  if (size == 0) return "is empty";
  if (size > HEADERS_VALUE_MAX) return "is longer than 4096 bytes";
  if (value[0] == ' ' || value[size - 1] == ' ')
    return "begins or ends with a blank";
  for (i = 0; i < size; i++) {
    if (value[i] < ' ' || value[i] > '~')
      return "has a control character or one beyond ASCII";
  }
  return NULL;
}

static const char *check_name (const char *name, size_t size) {
  size_t i;
  if (size == 0) return "has an empty name";
  if (size > HEADERS_VALUE_MAX) return "has a name longer than 4096 bytes";
  for (i = 0; i < size; i++) {
    if (name[i] <= ' ' || name[i] > '~' ||
        strchr("()<>@,;:\\\"/[]?={}", name[i]) != NULL)
      return "has a name that HTTP does not allow";
  }
  return NULL;
}

/* Those that frame a message, name its content, or are set otherwise. */
static int is_ours (const char *name, size_t size) {
  static const char *const ours[] = {"Accept-Encoding",
                                     "Connection",
                                     "Content-Length",
                                     "Content-Type",
                                     "Expect",
                                     "Host",
                                     "Proxy-Authorization",
                                     "TE",
                                     "Transfer-Encoding",
                                     "Upgrade"};
  size_t i;
  for (i = 0; i < sizeof ours / sizeof ours[0]; i++) {
    if (strlen(ours[i]) == size && curl_strnequal(name, ours[i], size))
      return 1;
  }
  return 0;
}

static int is_key (const char *name, size_t size) {
  return size == 13 && (curl_strnequal(name, "Authorization", size) ||
                        curl_strnequal(name, "mj-api-secret", size));
}

static const char *append (Headers *headers, const char *name, size_t name_size,
                           const char *prefix, const char *value, size_t size) {
  char line[2 * HEADERS_VALUE_MAX + 16];
  struct curl_slist *lines;
  snprintf(line, sizeof line, "%.*s: %s%.*s", (int)name_size, name, prefix,
           (int)size, value);
  lines = curl_slist_append(headers->lines, line);
  wipe(line, sizeof line);
  if (lines == NULL) return "cannot be kept: out of memory";
  headers->lines = lines;
  return NULL;
}

static int is_accept (const struct curl_slist *line) {
  return curl_strnequal(line->data, "Accept:", 7);
}

const char *headers_complete (Headers *headers) {
  const struct curl_slist *line = headers->lines;
  while (line != NULL && !is_accept(line))
    line = line->next;
  if (line != NULL) return NULL;
  return append(headers, "Accept", 6, "", "application/json", 16);
}

const char *headers_add (Headers *headers, const char *name, size_t name_size,
                         const char *value, size_t value_size) {
  const char *fault = check_name(name, name_size);
  if (fault == NULL && is_ours(name, name_size))
    fault = "has a name that belongs to the client";
  if (fault == NULL && headers->key != NULL && is_key(name, name_size))
    fault = "has a second key: say auth = \"none\"";
  if (fault == NULL) fault = check_value(value, value_size);
  if (fault != NULL) return fault;
  return append(headers, name, name_size, "", value, value_size);
}

const char *headers_authorize (Headers *headers, unsigned lines,
                               const char *key, size_t size) {
  const char *fault = check_value(key, size);
  if (fault == NULL && size >= 7 && curl_strnequal(key, "Bearer ", 7))
    fault = "begins with the word Bearer, which belongs to auth";
  if (fault == NULL && (lines & HEADERS_BEARER))
    fault = append(headers, "Authorization", 13, "Bearer ", key, size);
  if (fault == NULL && (lines & HEADERS_RAW))
    fault = append(headers, "Authorization", 13, "", key, size);
  if (fault == NULL && (lines & HEADERS_SECRET))
    fault = append(headers, "mj-api-secret", 13, "", key, size);
  if (fault == NULL) { /* the newest line ends with it */
    const struct curl_slist *line = headers->lines;
    while (line->next != NULL)
      line = line->next;
    headers->key = line->data + strlen(line->data) - size;
  }
  return fault;
}

static void blot_out (char *text, size_t size, const char *secret) {
  const size_t length = strlen(secret);
  size_t at;
  for (at = 0; length > 0 && at + length <= size; at++) {
    if (memcmp(text + at, secret, length) == 0) memset(text + at, '*', length);
  }
}

/* A message that was cut may end in the key's beginning. */
static void blot_out_cut (char *text, size_t size, const char *secret) {
  static const char ellipsis[] = "\xE2\x80\xA6";
  const size_t least = 4;
  size_t at, length;
  for (at = least; at + 3 <= size; at++) {
    if (memcmp(text + at, ellipsis, 3) != 0) continue;
    length = strlen(secret) < at ? strlen(secret) : at;
    while (length >= least && memcmp(text + at - length, secret, length) != 0)
      length--;
    if (length >= least) memset(text + at - length, '*', length);
  }
}

void headers_redact (const Headers *headers, char *text, size_t size) {
  const struct curl_slist *line;
  for (line = headers->lines; line != NULL; line = line->next) {
    const char *value = strchr(line->data, ':') + 2;
    if (strlen(value) >= HEADERS_SECRET_LEAST && !is_accept(line))
      blot_out(text, size, value);
  }
  if (headers->key == NULL) return;
  blot_out(text, size, headers->key);
  blot_out_cut(text, size, headers->key);
}

void headers_release (Headers *headers) {
  struct curl_slist *line;
  for (line = headers->lines; line != NULL; line = line->next)
    wipe(line->data, strlen(line->data));
  curl_slist_free_all(headers->lines);
  memset(headers, 0, sizeof *headers);
}
