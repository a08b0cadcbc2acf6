/* Changes JSON documents a value at a time, so that what comes out still is one:
   finds where values begin and end. Knows just enough of the syntax for that, and
   nothing of who reads it. */
#ifndef MJTASK_FUZZ_JSON_MUTATOR_H
#define MJTASK_FUZZ_JSON_MUTATOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SPANS 512 /* values that are looked at in a document */
#define LONG 3000 /* bytes of what is long */
#define NEST 70 /* levels of what is nested deep */

typedef struct Span {
  size_t start, end; /* of the value */
  size_t member; /* where the member or element begins: at its key, if any */
} Span;

typedef struct Spans {
  const uint8_t *data;
  size_t size;
  size_t count;
  Span list[SPANS];
} Spans;

static inline unsigned next_random (unsigned *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

static inline size_t end_of_string (const uint8_t *data, size_t size,
                                    size_t at) {
  for (at++; at < size && data[at] != '"'; at++)
    if (data[at] == '\\') at++;
  return at < size ? at + 1 : size;
}

/* The end of a number or a word. */
static inline size_t end_of_word (const uint8_t *data, size_t size, size_t at) {
  while (at < size && data[at] != '\0' &&
         strchr(",:]}[{\" \t\r\n", data[at]) == NULL)
    at++;
  return at;
}

/* Lists the values of a document, the outer before the inner. Of one that is
   none it lists what looks like values. */
static inline void find_spans (Spans *spans, const uint8_t *data, size_t size) {
  size_t open[NEST], depth = 0, at = 0, member = 0;
  int has_member = 0;
  spans->data = data, spans->size = size, spans->count = 0;
  while (at < size && spans->count < SPANS) {
    size_t end = at;
    const uint8_t c = data[at];
    if (c == '"') {
      size_t colon = end = end_of_string(data, size, at);
      while (colon < size && strchr(" \t\r\n", data[colon]) != NULL &&
             data[colon] != '\0')
        colon++;
      if (colon < size && data[colon] == ':') { /* a key */
        member = at, has_member = 1;
        at = colon + 1;
        continue;
      }
    }
    else if (c != '{' && c != '[')
      end = end_of_word(data, size, at);
    if (end > at || c == '{' || c == '[') {
      Span *span = &spans->list[spans->count];
      span->start = at;
      span->end = end > at ? end : size; /* an open one: until it is closed */
      span->member = has_member ? member : at;
      has_member = 0;
      if (end == at && depth < NEST) open[depth++] = spans->count;
      spans->count++;
    }
    if ((c == '}' || c == ']') && depth > 0)
      spans->list[open[--depth]].end = at + 1;
    at = end > at ? end : at + 1;
  }
}

/* Puts `size` bytes in the place of a part of the data; 0: no room. */
static inline size_t splice (uint8_t *data, size_t old, size_t max,
                             size_t start, size_t end, const void *bytes,
                             size_t size) {
  if (old - (end - start) + size > max) return 0;
  memmove(data + start + size, data + end, old - end);
  if (size > 0) memcpy(data + start, bytes, size);
  return old - (end - start) + size;
}

/* One a line would be pages. */
/* clang-format off */
static const char *const values[] = {
  "null", "true", "false", "0", "1", "-1", "2", "3", "21", "22", "23", "24",
  "30", "200", "404", "500", "1e300", "-0.5", "100", "46", "46.5", "1e15",
  "9223372036854775807", "18446744073709551616", "\"\"", "\" \"", "\"x\"",
  "\"0\"", "\"22\"", "\"100%\"", "\"46.5 %\"", "\"-1%\"", "\"1e3\"",
  "\"SUCCESS\"", "\"FAILURE\"", "\"IN_PROGRESS\"", "\"in progress\"",
  "\"MODAL\"", "\"CANCEL\"", "\"FINISHED\"", "\"U1\"", "\"v2 \"",
  "\"\xF0\x9F\x94\x84\"", "\"\xF0\x9F\x94\x84\xEF\xB8\x8F\"",
  "\"\xEF\xB8\x8F\"", "\"MJ::JOB::upsample::1::x\"", "\"MJ::Job::1\"",
  "\"MJ::\"", "\"MJ\"", "\"MJ::JOB::reroll::99999999999999999999::SOLO\"",
  "\"1735030480754475\"", "1735030480754475", "1735030480754475.0", "\"..\"",
  "\"a/b\"", "\"1,2, 3\"", "[\"1\",2,null]",
  "\"http://127.0.0.1:1/x?ex=ffffffffffffffff\"",
  "\"https://u:p@h/a?ex=0&hm=abc#?ex=1\"", "\"http://\xFF\xC0/\"",
  "\"\\u0000\\n\\u001b[2J\\u202e\\ud83d\"", "\"sk-aB3dE5fG7hI9\"",
  "\"bad key sk-aB3dE5fG7hI9 https://x/sk-aB3dE5fG7hI9?y\"", "\"quota\"",
  "\"task_not_found\"", "\"queue is full\"", "\"%s%d%n\"", "\"insufficient\"",
  "\"do_request_failed\"", "[]", "{}", "[[]]", "[null]", "[{}]", "{\"\":{}}",
  "{\"url\":\"x\"}", "[{\"url\":null},\"a\",\"a\"]", "{\"name\":1}",
  "{\"name\":\"\xE2\x9D\xA4\"}", "{\"components\":[{\"label\":\"U1\"}]}",
  "[[{\"custom_id\":\"a\",\"label\":\"U1\"}],[{\"customId\":\"a\"}]]",
  "{\"components\":{\"components\":{}}}", "{\"message\":\"quota\"}",
  "{\"status\":\"SUCCESS\",\"imageUrl\":1}", "{\"numberOfQueues\":\"3\"}",
  "{\"bannedWord\":\"\\n\"}",
};

static const char *const keys[] = {
  "id", "status", "progress", "imageUrl", "imageUrls", "image_urls",
  "image_url", "videoUrl", "videoUrls", "video_urls", "failReason",
  "description", "message", "msg", "error", "buttons", "components", "customId",
  "custom_id", "label", "emoji", "name", "url", "code", "data", "result",
  "properties", "seed", "numberOfQueues", "bannedWord", "path", "timestamp",
  "outcome", "button", "percent", "images", "expires", "__index", "n", "1",
};
/* clang-format on */

/* Writes something long or deep. */
static inline size_t write_large (uint8_t *out, unsigned *random) {
  static const char *const units[] = {
    "x", "\xE9\xAC\xBC", "\\u202e", "\\n", "%", "x?hm=1", "MJ::", "1", "://a@"};
  size_t size = 0, i;
  const char *unit;
  switch (next_random(random) % 4) {
    case 0:
      memset(out, '[', NEST);
      memset(out + NEST, ']', NEST);
      return 2 * NEST;
    case 1:
      out[size++] = '[';
      for (i = next_random(random) % 600; i > 0; i--)
        memcpy(out + size, i % 2 ? "{}," : "\"\",", 3), size += 3;
      memcpy(out + size, "1]", 2);
      return size + 2;
    default:
      unit = units[next_random(random) % (sizeof units / sizeof units[0])];
      out[size++] = '"';
      for (i = next_random(random) % 500; i > 0; i--)
        memcpy(out + size, unit, strlen(unit)), size += strlen(unit);
      out[size++] = '"';
      return size;
  }
}

static inline size_t replace (const Spans *spans, uint8_t *data, size_t max,
                              const Span *span, unsigned *random) {
  uint8_t large[2 * LONG];
  const Span *other;
  const char *text =
    values[next_random(random) % (sizeof values / sizeof *values)];
  size_t size;
  switch (next_random(random) % 8) {
    case 0: size = write_large(large, random); break;
    case 1: /* another value of the document */
      other = &spans->list[next_random(random) % spans->count];
      size = other->end - other->start;
      if (size > sizeof large) return 0;
      memcpy(large, data + other->start, size);
      break;
    default: size = strlen(text); memcpy(large, text, size);
  }
  return splice(data, spans->size, max, span->start, span->end, large, size);
}

/* Takes a member or element out, with the comma after or before it. */
static inline size_t take_out (const Spans *spans, uint8_t *data, size_t max,
                               const Span *span) {
  size_t start = span->member, end = span->end;
  while (end < spans->size && strchr(" \t\r\n", data[end]) != NULL &&
         data[end] != '\0')
    end++;
  if (end < spans->size && data[end] == ',')
    end++;
  else {
    while (start > 0 && data[start] != ',' && data[start] != '{' &&
           data[start] != '[')
      start--;
    if (data[start] != ',') start = span->member;
  }
  return splice(data, spans->size, max, start, end, NULL, 0);
}

/* Puts a member or an element into an object or an array. */
static inline size_t put_in (const Spans *spans, uint8_t *data, size_t max,
                             const Span *span, unsigned *random) {
  char text[256];
  const char *key = keys[next_random(random) % (sizeof keys / sizeof *keys)];
  const char *value =
    values[next_random(random) % (sizeof values / sizeof *values)];
  const size_t at = span->start + 1;
  const uint8_t c = data[span->start];
  const int is_empty = at < spans->size && (data[at] == '}' || data[at] == ']');
  int size;
  if (c != '{' && c != '[') return 0;
  size = snprintf(text, sizeof text, c == '{' ? "\"%s\":%s%s" : "%.0s%s%s", key,
                  value, is_empty ? "" : ",");
  return splice(data, spans->size, max, at, at, text, (size_t)size);
}

/* Gives a member another key. */
static inline size_t rename_key (const Spans *spans, uint8_t *data, size_t max,
                                 const Span *span, unsigned *random) {
  const char *key = keys[next_random(random) % (sizeof keys / sizeof *keys)];
  if (span->member == span->start) return 0;
  return splice(data, spans->size, max, span->member + 1,
                end_of_string(data, spans->size, span->member) - 1, key,
                strlen(key));
}

/* Puts the whole document into an envelope or a list. */
static inline size_t wrap (const Spans *spans, uint8_t *data, size_t max,
                           unsigned *random) {
  static const char *const heads[] = {
    "[", "{\"code\":0,\"data\":", "{\"code\":\"1\",\"data\":[",
    "{\"data\":", "{\"code\":1,\"result\":"};
  static const char *const tails[] = {"]", "}", "]}", "}",
                                      ",\"properties\":{}}"};
  const size_t which = next_random(random) % 5;
  size_t size = splice(data, spans->size, max, spans->size, spans->size,
                       tails[which], strlen(tails[which]));
  if (size == 0) return 0;
  size = splice(data, size, max, 0, 0, heads[which], strlen(heads[which]));
  return size > 0 ? size : spans->size;
}

/* Changes up to three values. The new size; 0: nothing was done. */
static inline size_t mutate_json (uint8_t *data, size_t size, size_t max,
                                  unsigned random) {
  static Spans spans;
  size_t changed = 0;
  unsigned left = next_random(&random) % 3 + 1;
  for (; left > 0; left--) {
    const Span *span;
    size_t now;
    find_spans(&spans, data, size);
    if (spans.count == 0) break;
    span = &spans.list[next_random(&random) % spans.count];
    switch (next_random(&random) % 16) {
      case 0:
      case 1: now = take_out(&spans, data, max, span); break;
      case 2:
      case 3:
      case 4: now = put_in(&spans, data, max, span, &random); break;
      case 5:
      case 6: now = rename_key(&spans, data, max, span, &random); break;
      case 7: now = wrap(&spans, data, max, &random); break;
      default: now = replace(&spans, data, max, span, &random);
    }
    if (now > 0) size = changed = now;
  }
  return changed;
}

/* Puts a value of `b` in the place of one of `a`. */
static inline size_t cross_json (const uint8_t *a, size_t a_size,
                                 const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t max, unsigned random) {
  static Spans from, into;
  const Span *piece, *place;
  size_t size;
  if (a_size > max) return 0;
  memcpy(out, a, a_size);
  find_spans(&from, b, b_size);
  find_spans(&into, out, a_size);
  if (from.count == 0 || into.count == 0) return a_size;
  piece = &from.list[next_random(&random) % from.count];
  place = &into.list[next_random(&random) % into.count];
  size = splice(out, a_size, max, place->start, place->end, b + piece->start,
                piece->end - piece->start);
  return size > 0 ? size : a_size;
}

#endif
