/* Checks that URLs lead where they seem to: a base keeps its host, nothing joined
   to it leaves it, an image is at home only if it is, and libcurl's parser agrees
   with all of it. Knows url.c, address.c and libcurl's parser.

   An input: a digit that says what it is about, then a base URL; a base URL and a
   path; an id; a base URL and an image's; a proxy. Lines part two of them. */
#define _GNU_SOURCE /* for inet_aton under -std=c99 */
#include "shared.h"

#include <strings.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <curl/curl.h>

#include "../src/address.h"
#include "../src/url.h"

typedef struct Parts { /* a URL as libcurl's parser sees it */
  char *scheme, *host, *port, *path, *user, *password, *query, *fragment;
} Parts;

static char *get (CURLU *url, CURLUPart part, unsigned flags) {
  char *text = NULL;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return NULL;
  return text;
}

/* With the default port written out. */
static int parse (const char *text, unsigned flags, Parts *parts) {
  CURLU *url = curl_url();
  CURLUcode code;
  memset(parts, 0, sizeof *parts);
  CHECK(url != NULL);
  code = curl_url_set(url, CURLUPART_URL, text, flags);
  if (code == CURLUE_OK) {
    parts->scheme = get(url, CURLUPART_SCHEME, 0);
    parts->host = get(url, CURLUPART_HOST, 0);
    parts->port = get(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    parts->path = get(url, CURLUPART_PATH, 0);
    parts->user = get(url, CURLUPART_USER, 0);
    parts->password = get(url, CURLUPART_PASSWORD, 0);
    parts->query = get(url, CURLUPART_QUERY, 0);
    parts->fragment = get(url, CURLUPART_FRAGMENT, 0);
    CHECK(parts->scheme != NULL && parts->host != NULL && parts->path != NULL);
  }
  curl_url_cleanup(url);
  return code == CURLUE_OK;
}

static void free_parts (Parts *parts) {
  curl_free(parts->scheme);
  curl_free(parts->host);
  curl_free(parts->port);
  curl_free(parts->path);
  curl_free(parts->user);
  curl_free(parts->password);
  curl_free(parts->query);
  curl_free(parts->fragment);
}

static int same_origin (const Parts *a, const Parts *b) {
  return strcmp(a->scheme, b->scheme) == 0 && strcmp(a->port, b->port) == 0 &&
         strcasecmp(a->host, b->host) == 0;
}

/* Only what is visible and ASCII, and no backslash. */
static void check_visible (const char *text, size_t size) {
  size_t i;
  CHECK(strlen(text) == size);
  for (i = 0; i < size; i++)
    CHECK(text[i] > ' ' && text[i] <= '~' && text[i] != '\\');
}

/* Those that nobody has to look up. */
static int is_well_known (const struct in_addr *address) {
  const uint32_t ip = ntohl(address->s_addr), first = ip >> 24;
  return first == 0 || first == 10 || first == 127 || first >= 224 ||
         ip >> 16 == 0xA9FE || ip >> 16 == 0xC0A8;
}

/* What a resolver may make of a host that is numbers is private, too, with a dot
   at its end and without. */
static void check_numbers (const char *host, int is_private) {
  struct sockaddr_in in = {0};
  Text name = fuzz_copy((const uint8_t *)host, strlen(host));
  in.sin_family = AF_INET;
  if (name.size > 0 && name.text[name.size - 1] == '.')
    name.text[name.size - 1] = '\0';
  if (inet_aton(name.text, &in.sin_addr) != 0 &&
      (is_well_known(&in.sin_addr) ||
       address_is_private((struct sockaddr *)&in, sizeof in)))
    CHECK(is_private);
  free(name.text);
}

static void check_address (const char *host, int is_private) {
  struct sockaddr_in6 in6 = {0};
  char text[INET6_ADDRSTRLEN];
  check_numbers(host, is_private);
  if (host[0] != '[' || strlen(host) >= sizeof text) return;
  snprintf(text, sizeof text, "%.*s", (int)strcspn(host + 1, "]%"), host + 1);
  in6.sin6_family = AF_INET6;
  if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
    CHECK(is_private ==
          address_is_private((struct sockaddr *)&in6, sizeof in6));
}

static void check_base (const UrlBase *base, const char *given) {
  Parts parts, plain, before;
  check_visible(base->text, base->size);
  CHECK(base->size <= URL_MAX && base->origin <= base->size);
  CHECK(strpbrk(base->text, "?#@") == NULL);
  CHECK(base->size == base->origin || base->text[base->origin] == '/');
  CHECK(base->text[base->size - 1] != '/');
  CHECK(parse(base->text, CURLU_PATH_AS_IS, &parts));
  CHECK(parse(base->text, 0, &plain)); /* without dots, if there were any */
  CHECK(parse(given, CURLU_PATH_AS_IS, &before));
  CHECK(same_origin(&parts, &before));
  CHECK(strcmp(parts.scheme, base->secure ? "https" : "http") == 0);
  CHECK(parts.user == NULL && parts.password == NULL);
  CHECK(parts.query == NULL && parts.fragment == NULL);
  CHECK(strcmp(parts.path, base->size > base->origin ? base->text + base->origin
                                                     : "/") == 0);
  CHECK(strcmp(parts.path, plain.path) == 0);
  check_address(parts.host, address_is_private_host(parts.host));
  if (base->loopback) CHECK(address_is_private_host(parts.host));
  free_parts(&parts);
  free_parts(&plain);
  free_parts(&before);
}

/* The base in a line, or another if that is none. */
static void read_base (const uint8_t **data, size_t *size, UrlBase *base) {
  static const char otherwise[] = "https://api.example.org:8443/mj-fast";
  const Text line = fuzz_line(data, size);
  if (url_base(line.text, line.size, base) != NULL)
    CHECK(url_base(otherwise, sizeof otherwise - 1, base) == NULL);
  free(line.text);
}

static void run_base (const uint8_t *data, size_t size) {
  UrlBase base;
  const Text text = fuzz_copy(data, size);
  const char *fault = url_base(text.text, size, &base);
  if (fault == NULL)
    check_base(&base, text.text);
  else
    CHECK(fault[0] != '\0');
  free(text.text);
}

static void check_joined (const UrlBase *base, const char *out,
                          const char *path) {
  Parts parts, home;
  check_visible(out, base->size + strlen(path));
  CHECK(strncmp(out, base->text, base->size) == 0);
  CHECK(parse(base->text, CURLU_PATH_AS_IS, &home));
  CHECK(parse(out, 0, &parts)); /* without dot segments, if there were any */
  CHECK(same_origin(&parts, &home));
  CHECK(strcmp(parts.path, out + base->origin) == 0);
  CHECK(parts.user == NULL && parts.password == NULL);
  CHECK(parts.query == NULL && parts.fragment == NULL);
  free_parts(&parts);
  free_parts(&home);
}

static void run_join (const uint8_t *data, size_t size) {
  UrlBase base;
  char out[URL_JOINED];
  Text path;
  read_base(&data, &size, &base);
  path = fuzz_copy(data, size);
  if (url_join(&base, path.text, path.size, out)) {
    CHECK(path.size > 0 && path.text[0] == '/');
    check_joined(&base, out, path.text);
  }
  free(path.text);
}

static int is_unreserved (const char *text, size_t size) {
  static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "abcdefghijklmnopqrstuvwxyz"
                                   "0123456789-._~";
  return strlen(text) == size && strspn(text, characters) == size;
}

static void run_id (const uint8_t *data, size_t size) {
  UrlBase base;
  const Text id = fuzz_copy(data, size);
  const int good = url_is_id(id.text, size);
  CHECK(good == (size >= 1 && size <= 128 && is_unreserved(id.text, size) &&
                 strcmp(id.text, ".") != 0 && strcmp(id.text, "..") != 0));
  if (good) {
    char path[URL_ID_MAX + 32], out[URL_JOINED];
    CHECK(url_base("http://127.0.0.1:1", 18, &base) == NULL);
    snprintf(path, sizeof path, "/mj/task/%s/fetch", id.text);
    CHECK(url_join(&base, path, strlen(path), out));
    check_joined(&base, out, path);
  }
  free(id.text);
}

static void check_image (const UrlBase *base, const UrlImage *image) {
  Parts parts, home;
  UrlImage again;
  const size_t size = strlen(image->text);
  CHECK(size <= URL_IMAGE_MAX);
  check_visible(image->text, size);
  CHECK(parse(image->text, CURLU_PATH_AS_IS, &parts));
  CHECK(parse(base->text, CURLU_PATH_AS_IS, &home));
  CHECK(strcmp(parts.scheme, image->secure ? "https" : "http") == 0);
  CHECK(parts.user == NULL && parts.password == NULL);
  CHECK(image->local == address_is_private_host(parts.host));
  check_address(parts.host, image->local);
  CHECK(!image->at_home || same_origin(&parts, &home));
  CHECK(url_image(base, image->text, size, &again) == NULL);
  CHECK(strcmp(again.text, image->text) == 0);
  CHECK(again.local == image->local && again.at_home == image->at_home);
  free_parts(&parts);
  free_parts(&home);
}

static void run_image (const uint8_t *data, size_t size) {
  UrlBase base;
  UrlImage image;
  const char *fault;
  Text url;
  read_base(&data, &size, &base);
  url = fuzz_copy(data, size);
  fault = url_image(&base, url.text, url.size, &image);
  if (fault == NULL)
    check_image(&base, &image);
  else
    CHECK(fault[0] != '\0');
  free(url.text);
}

static void run_proxy (const uint8_t *data, size_t size) {
  const Text proxy = fuzz_copy(data, size);
  Parts parts;
  if (url_proxy(proxy.text) == NULL) {
    CHECK(parse(proxy.text, CURLU_DEFAULT_SCHEME | CURLU_NON_SUPPORT_SCHEME,
                &parts));
    free_parts(&parts);
  }
  free(proxy.text);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  switch (data[0] % 5) { /* '0' counts as 3 */
    case ('0' % 5): run_base(data + 1, size - 1); break;
    case ('1' % 5): run_join(data + 1, size - 1); break;
    case ('2' % 5): run_id(data + 1, size - 1); break;
    case ('3' % 5): run_image(data + 1, size - 1); break;
    default: run_proxy(data + 1, size - 1); break;
  }
  return 0;
}
