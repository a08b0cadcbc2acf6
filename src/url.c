/* Base URLs and ids, checked: knows libcurl's URL parser, and must know
   neither Lua nor transfers. */
#include "url.h"

#include <stdio.h>
#include <string.h>
#include <curl/curl.h>

static int is_alnum (char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
         (c >= 'a' && c <= 'z');
}

/* Is it one path segment, and does it stay that whatever a server makes of it?
   Only unreserved characters, and neither "." nor "..". */
static int is_segment (const char *text, size_t size) {
  size_t i;
  if (size == 0 || (text[0] == '.' && size == 1)) return 0;
  if (text[0] == '.' && text[1] == '.' && size == 2) return 0;
  for (i = 0; i < size; i++) {
    if (!is_alnum(text[i]) &&
        (text[i] == '\0' || strchr("-._~", text[i]) == NULL))
      return 0;
  }
  return 1;
}

int url_is_id (const char *id, size_t size) {
  return size <= URL_ID_MAX && is_segment(id, size);
}

int url_join (const UrlBase *base, const char *path, size_t size, char *out) {
  size_t start = 0, end;
  if (size == 0 || base->size + size >= URL_JOINED) return 0;
  for (; start < size; start = end) {
    if (path[start++] != '/') return 0;
    for (end = start; end < size && path[end] != '/';)
      end++;
    if (!is_segment(path + start, end - start)) return 0;
  }
  memcpy(out, base->text, base->size);
  memcpy(out + base->size, path, size);
  out[base->size + size] = '\0';
  return 1;
}

/* 127.x.x.x, [::1], localhost, anything.localhost: libcurl resolves these names
   by itself (7.77), no resolver can send them elsewhere. It has written other
   spellings of an IPv4 address (127.1, 0x7f.1) as four numbers by now. */
static int is_loopback (const char *host) {
  static const char name[] = "localhost";
  size_t size = strlen(host), tail = sizeof name - 1;
  if (strcmp(host, "[::1]") == 0) return 1;
  if (strncmp(host, "127.", 4) == 0)
    return host[strspn(host, "0123456789.")] == '\0';
  if (size < tail || !curl_strequal(host + size - tail, name)) return 0;
  return size == tail || host[size - tail - 1] == '.';
}

/* Takes slashes, one "/mj" and the slashes before it off the end of a path. */
static size_t trimmed (const char *path) {
  size_t size = strlen(path);
  while (size > 0 && path[size - 1] == '/')
    size--;
  if (size >= 3 && strncmp(path + size - 3, "/mj", 3) == 0) size -= 3;
  while (size > 0 && path[size - 1] == '/')
    size--;
  return size;
}

static int has_dot_segment (const char *path) {
  while (*path != '\0') {
    size_t size = strcspn(++path, "/");
    if (size >= 1 && size <= 2 && strspn(path, ".") >= size) return 1;
    path += size;
  }
  return 0;
}

/* What no base URL may hold, found before any parser can be lenient about it.
   In a URL of libcurl's, "http:/host" and "http:\\host" are hosts, too. */
static const char *scan (const char *text, size_t size) {
  size_t i;
  if (size == 0) return "is empty";
  if (size > URL_MAX) return "is longer than 2048 bytes";
  for (i = 0; i < size; i++) {
    if (text[i] <= ' ' || text[i] > '~')
      return "has a blank, a control character or one beyond ASCII";
    if (text[i] == '\\') return "has a backslash";
    if (text[i] == '?') return "has a query";
    if (text[i] == '#') return "has a fragment";
    if (text[i] == '@') return "has a user name or an @";
  }
  return NULL;
}

/* Reads the parts out of `url` into `base`. The strings are libcurl's. */
static const char *rebuild (CURLU *url, UrlBase *base, char **scheme,
                            char **host, char **port, char **path) {
  int written;
  if (curl_url_get(url, CURLUPART_SCHEME, scheme, 0) != CURLUE_OK ||
      curl_url_get(url, CURLUPART_HOST, host, 0) != CURLUE_OK ||
      curl_url_get(url, CURLUPART_PATH, path, 0) != CURLUE_OK)
    return "is not a URL";
  base->secure = strcmp(*scheme, "https") == 0;
  if (!base->secure && strcmp(*scheme, "http") != 0)
    return "is neither http nor https";
  if (has_dot_segment(*path)) return "has a . or .. in its path";
  base->loopback = is_loopback(*host);
  if (curl_url_get(url, CURLUPART_PORT, port, CURLU_NO_DEFAULT_PORT) !=
      CURLUE_OK)
    *port = NULL;
  written = snprintf(base->text, sizeof base->text, "%s://%s%s%s%.*s", *scheme,
                     *host, *port != NULL ? ":" : "",
                     *port != NULL ? *port : "", (int)trimmed(*path), *path);
  if (written < 0 || (size_t)written >= sizeof base->text)
    return "is longer than 2048 bytes";
  base->size = (size_t)written;
  return NULL;
}

const char *url_base (const char *text, size_t size, UrlBase *base) {
  char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL;
  char copy[URL_MAX + 1];
  CURLU *url;
  const char *fault = scan(text, size);
  if (fault != NULL) return fault;
  memcpy(copy, text, size);
  copy[size] = '\0';
  if (strstr(copy, "://") == NULL) return "has no http:// or https://";
  url = curl_url();
  if (url == NULL) return "cannot be checked: out of memory";
  if (curl_url_set(url, CURLUPART_URL, copy,
                   CURLU_DISALLOW_USER | CURLU_PATH_AS_IS) != CURLUE_OK)
    fault = "is not a URL of http or https";
  else
    fault = rebuild(url, base, &scheme, &host, &port, &path);
  curl_free(scheme);
  curl_free(host);
  curl_free(port);
  curl_free(path);
  curl_url_cleanup(url);
  return fault;
}
