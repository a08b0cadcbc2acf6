/* Base URLs, image URLs and ids, checked: knows libcurl's URL parser, and must
   know neither Lua nor transfers. */
#include "url.h"
#include "address.h"

#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
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
   spellings of an IPv4 address (127.1, 0x7f.1) as four numbers by now; what
   only looks like one (127.0.0.1.) is a name. */
static int is_loopback (const char *host) {
  static const char name[] = "localhost";
  size_t size = strlen(host), tail = sizeof name - 1;
  unsigned char ip[4];
  if (strcmp(host, "[::1]") == 0) return 1;
  if (inet_pton(AF_INET, host, ip) == 1) return ip[0] == 127;
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

/* ---- parsing -------------------------------------------------------------- */

typedef struct Parts { /* libcurl's strings */
  char *scheme, *host, *path;
  char *port; /* NULL: the scheme's own */
  int secure; /* https */
} Parts;

const char url_no_memory[] = "cannot be checked: out of memory";

static void free_parts (Parts *parts) {
  curl_free(parts->scheme);
  curl_free(parts->host);
  curl_free(parts->path);
  curl_free(parts->port);
}

static const char *get_parts (CURLU *url, Parts *parts) {
  CURLUcode code = curl_url_get(url, CURLUPART_SCHEME, &parts->scheme, 0);
  if (code == CURLUE_OK)
    code = curl_url_get(url, CURLUPART_HOST, &parts->host, 0);
  if (code == CURLUE_OK)
    code = curl_url_get(url, CURLUPART_PATH, &parts->path, 0);
  if (code == CURLUE_OK)
    code =
      curl_url_get(url, CURLUPART_PORT, &parts->port, CURLU_NO_DEFAULT_PORT);
  if (code == CURLUE_OUT_OF_MEMORY) return url_no_memory;
  /* Only that one: a port that was lost would lead to another server. */
  if (code != CURLUE_OK && code != CURLUE_NO_PORT) return "is not a URL";
  parts->secure = strcmp(parts->scheme, "https") == 0;
  return parts->secure || strcmp(parts->scheme, "http") == 0
           ? NULL
           : "is neither http nor https";
}

/* Fills the zeroed `parts`, which are to be freed in any case. libcurl takes
   "http:/host" for a URL, too: hence the look before. */
static const char *parse (const char *text, Parts *parts) {
  CURLU *url;
  CURLUcode code;
  const char *fault;
  if (strncmp(text + strcspn(text, ":"), "://", 3) != 0)
    return "has no http:// or https://";
  url = curl_url();
  if (url == NULL) return url_no_memory;
  code = curl_url_set(url, CURLUPART_URL, text,
                      CURLU_DISALLOW_USER | CURLU_PATH_AS_IS);
  if (code == CURLUE_OK)
    fault = get_parts(url, parts);
  else
    fault = code == CURLUE_OUT_OF_MEMORY ? url_no_memory
                                         : "is not a URL of http or https";
  curl_url_cleanup(url);
  return fault;
}

/* Writes scheme, host and port. How many bytes, or more than there are. */
static size_t write_origin (const Parts *parts, char *out, size_t room) {
  int n = snprintf(out, room, "%s://%s%s%s", parts->scheme, parts->host,
                   parts->port != NULL ? ":" : "",
                   parts->port != NULL ? parts->port : "");
  return n < 0 ? room : (size_t)n;
}

/* ---- base URLs ------------------------------------------------------------ */

/* What no base URL may hold, found before any parser can be lenient about it:
   to libcurl "http:\\host" has a host. */
static const char *scan_base (const char *text, size_t size) {
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

/* Decoded, 10.0%31 is 10.01, which is another address when it is read again;
   %ff is no name; and a zone would be lost. */
static int has_escaped_host (const char *text) {
  const char *host = strchr(text, ':') + 1;
  host += strspn(host, "/");
  return memchr(host, '%', strcspn(host, "/")) != NULL;
}

static const char *fill_base (const Parts *parts, UrlBase *base) {
  const size_t room = sizeof base->text, path = trimmed(parts->path);
  if (has_dot_segment(parts->path)) return "has a . or .. in its path";
  base->secure = parts->secure;
  base->loopback = is_loopback(parts->host);
  base->origin = write_origin(parts, base->text, room);
  if (base->origin + path >= room) return "is longer than 2048 bytes";
  memcpy(base->text + base->origin, parts->path, path);
  base->size = base->origin + path;
  base->text[base->size] = '\0';
  return NULL;
}

const char *url_base (const char *text, size_t size, UrlBase *base) {
  Parts parts = {0};
  char copy[URL_MAX + 1];
  const char *fault = scan_base(text, size);
  if (fault != NULL) return fault;
  memcpy(copy, text, size);
  copy[size] = '\0';
  fault = parse(copy, &parts);
  if (fault == NULL && has_escaped_host(copy))
    fault = "has an escape in its host";
  if (fault == NULL) fault = fill_base(&parts, base);
  free_parts(&parts);
  return fault;
}

const char *url_proxy (const char *text) {
  CURLU *url = curl_url();
  CURLUcode code = CURLUE_OUT_OF_MEMORY;
  if (url != NULL)
    code = curl_url_set(url, CURLUPART_URL, text,
                        CURLU_DEFAULT_SCHEME | CURLU_NON_SUPPORT_SCHEME);
  curl_url_cleanup(url);
  if (code == CURLUE_OUT_OF_MEMORY) return url_no_memory;
  return code == CURLUE_OK ? NULL : "is no URL of a proxy";
}

/* ---- image URLs ------------------------------------------------------------ */

/* Copies it; file names may have letters beyond ASCII, which servers do not
   always escape. A fragment is not sent anyway. */
static const char *escape_image (const char *text, size_t size, char *out) {
  static const char hex[] = "0123456789ABCDEF";
  char *const end = out + URL_IMAGE_MAX;
  size_t i;
  if (size == 0) return "is empty";
  for (i = 0; i < size; i++) {
    const unsigned char c = (unsigned char)text[i];
    if (c <= ' ' || c == 0x7F) return "has a blank or a control character";
    if (c == '\\') return "has a backslash";
    if (end - out < (c < 0x80 ? 1 : 3)) return "is longer than 4096 bytes";
    if (c < 0x80)
      *out++ = text[i];
    else {
      *out++ = '%';
      *out++ = hex[c >> 4];
      *out++ = hex[c & 15];
    }
  }
  *out = '\0';
  return NULL;
}

static int is_ascii (const char *host) {
  for (; *host != '\0'; host++) {
    if (*host <= ' ' || *host > '~' || *host == '%') return 0;
  }
  return 1;
}

static int has_origin (const Parts *parts, const UrlBase *base) {
  char origin[URL_MAX + 1];
  return write_origin(parts, origin, sizeof origin) == base->origin &&
         curl_strnequal(origin, base->text, base->origin);
}

const char *url_image (const UrlBase *base, const char *text, size_t size,
                       UrlImage *image) {
  Parts parts = {0};
  const char *fault = escape_image(text, size, image->text);
  if (fault != NULL) return fault;
  fault = parse(image->text, &parts);
  /* Decoded, and by IDNA made ASCII, it may turn out to be an address. */
  if (fault == NULL && !is_ascii(parts.host))
    fault = "has a host that is not plain ASCII: write it as xn--";
  if (fault == NULL) {
    image->secure = parts.secure;
    image->local = address_is_private_host(parts.host);
    image->at_home = has_origin(&parts, base);
  }
  free_parts(&parts);
  return fault;
}
