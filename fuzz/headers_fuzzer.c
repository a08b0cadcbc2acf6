/* Checks that header lines are what was given and nothing more, and that no text
   shows a secret once it is redacted. Knows headers.c.

   An input: a byte whose lowest bits are the lines that carry the key; then, in
   lines, a key, a name and its value; the rest is the text to redact. */
#define _GNU_SOURCE /* for memmem */
#include "shared.h"

#include "../src/headers.h"

#define LEAST_PREFIX 4 /* bytes of a key before an ellipsis that show it */

static int has (const Text *text, const char *part, size_t size) {
  return size > 0 && memmem(text->text, text->size, part, size) != NULL;
}

/* A line that cannot become two, or none: "name: value", visible. */
static void check_line (const char *line) {
  const char *colon = strchr(line, ':');
  const char *p;
  CHECK(colon != NULL && colon > line);
  CHECK(colon[1] == ' ' && colon[2] != ' ' && colon[2] != '\0');
  for (p = line; *p != '\0'; p++)
    CHECK(*p >= ' ' && *p <= '~' && (*p != ' ' || p > colon));
}

static size_t check_lines (const Headers *headers) {
  const struct curl_slist *line;
  size_t count = 0;
  for (line = headers->lines; line != NULL; line = line->next, count++)
    check_line(line->data);
  return count;
}

static const char *last_line (const Headers *headers) {
  const struct curl_slist *line = headers->lines;
  while (line->next != NULL)
    line = line->next;
  return line->data;
}

static void add_key (Headers *headers, unsigned lines, const Text *key) {
  const size_t bits = (lines & 1) + (lines >> 1 & 1) + (lines >> 2 & 1);
  const char *fault = headers_authorize(headers, lines, key->text, key->size);
  if (fault != NULL) {
    CHECK(headers->lines == NULL && headers->key == NULL);
    return;
  }
  CHECK(check_lines(headers) == bits);
  CHECK(strlen(headers->key) == key->size);
  CHECK(strcmp(headers->key, key->text) == 0);
}

static void add_line (Headers *headers, const Text *name, const Text *value) {
  const size_t before = check_lines(headers);
  const char *fault =
    headers_add(headers, name->text, name->size, value->text, value->size);
  const char *line;
  CHECK(check_lines(headers) == before + (fault == NULL));
  if (fault != NULL) return;
  line = last_line(headers);
  CHECK(strlen(line) == name->size + 2 + value->size);
  CHECK(memcmp(line, name->text, name->size) == 0);
  CHECK(strcmp(line + name->size + 2, value->text) == 0);
}

static void complete (Headers *headers) {
  const struct curl_slist *line;
  int count = 0;
  CHECK(headers_complete(headers) == NULL);
  CHECK(headers_complete(headers) == NULL); /* there is one now */
  for (line = headers->lines; line != NULL; line = line->next)
    count += curl_strnequal(line->data, "Accept:", 7);
  CHECK(count == 1);
}

/* Nothing of the key stands before an ellipsis. */
static void check_cut (const Text *text, const char *key) {
  static const char ellipsis[] = "\xE2\x80\xA6";
  const char *end = text->text + text->size, *at = text->text;
  while ((at = memmem(at, (size_t)(end - at), ellipsis, 3)) != NULL) {
    size_t length = strlen(key);
    for (; length >= LEAST_PREFIX; length--)
      CHECK((size_t)(at - text->text) < length ||
            memcmp(at - length, key, length) != 0);
    at++;
  }
}

static int is_secret (const struct curl_slist *line) {
  return strlen(strchr(line->data, ':') + 2) >= HEADERS_SECRET_LEAST &&
         !curl_strnequal(line->data, "Accept:", 7);
}

/* Secrets of asterisks are what they are blotted out with. */
static void check_secrets (const Headers *headers, const Text *text) {
  const struct curl_slist *line;
  for (line = headers->lines; line != NULL; line = line->next) {
    const char *value = strchr(line->data, ':') + 2;
    if (is_secret(line) && strchr(value, '*') == NULL)
      CHECK(!has(text, value, strlen(value)));
  }
  if (headers->key == NULL || strchr(headers->key, '*') != NULL) return;
  CHECK(!has(text, headers->key, strlen(headers->key)));
  check_cut(text, headers->key);
}

/* Does a text hold a secret, or what may be the beginning of the key? */
static int is_indiscreet (const Headers *headers, const Text *text) {
  const struct curl_slist *line;
  for (line = headers->lines; line != NULL; line = line->next) {
    const char *value = strchr(line->data, ':') + 2;
    if (is_secret(line) && has(text, value, strlen(value))) return 1;
  }
  return headers->key != NULL &&
         has(text, headers->key, strnlen(headers->key, LEAST_PREFIX));
}

static void redact (const Headers *headers, const Text *text) {
  const Text before = fuzz_copy((const uint8_t *)text->text, text->size);
  int changed = 0;
  size_t i;
  headers_redact(headers, text->text, text->size);
  for (i = 0; i < text->size; i++) {
    changed |= text->text[i] != before.text[i];
    CHECK(text->text[i] == before.text[i] || text->text[i] == '*');
  }
  check_secrets(headers, text);
  CHECK(!changed || is_indiscreet(headers, &before));
  free(before.text);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size) {
  Headers headers = {0};
  Text key, name, value, text;
  const unsigned lines = size > 0 ? data[0] & 7u : 0;
  if (size == 0) return 0;
  data++, size--;
  key = fuzz_line(&data, &size);
  name = fuzz_line(&data, &size);
  value = fuzz_line(&data, &size);
  text = fuzz_copy(data, size);
  if (lines != 0) add_key(&headers, lines, &key);
  add_line(&headers, &name, &value);
  complete(&headers);
  redact(&headers, &text);
  headers_release(&headers);
  CHECK(headers.lines == NULL && headers.key == NULL);
  headers_release(&headers);
  free(key.text);
  free(name.text);
  free(value.text);
  free(text.text);
  return 0;
}
