/* Refuses memory at a given request: Lua's, or the core's own. Knows how both
   ask for it, and must not know what for.

   The core's requests are the calls that it makes itself; the linker leads them
   here (--wrap), those of libcurl and Lua not. A call of libcurl that needs
   memory counts as one request, whatever it does inside. */
#include "refusal.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <curl/curl.h>

static struct {
  RefusalSource source;
  RefusalMode mode;
  long left; /* requests until the refusal; -1: it was */
  long refused;
  size_t most; /* bytes, of MODE_LIMIT; 0: not known yet */
  const void *block; /* the request that was refused, if it may come again */
  size_t size;
} plan;

void refusal_arm (RefusalSource source, RefusalMode mode, long skipped) {
  memset(&plan, 0, sizeof plan);
  plan.mode = mode;
  plan.left = skipped;
  plan.source = source;
}

long refusal_disarm (void) {
  plan.source = SOURCE_NONE;
  return plan.refused;
}

static int is_beyond (size_t used, size_t growth) {
  if (plan.most == 0) plan.most = used + (size_t)plan.left;
  if (used + growth <= plan.most) return 0;
  plan.refused++;
  return 1;
}

static int is_refused (RefusalSource source, const void *block, size_t size) {
  if (plan.source != source || plan.mode == MODE_LIMIT) return 0;
  if (plan.left > 0) {
    plan.left--;
    return 0;
  }
  if (plan.left < 0) { /* is it the same again? */
    if (plan.mode != MODE_POINT || block != plan.block || size != plan.size)
      return 0;
    plan.size = 0;
    plan.refused++;
    return 1;
  }
  plan.refused++;
  if (plan.mode == MODE_ON) return 1;
  plan.left = -1;
  plan.block = block;
  plan.size = source == SOURCE_LUA ? size : 0;
  return 1;
}

static int no_memory (void) {
  return is_refused(SOURCE_C, NULL, 0);
}

/* ---- the C library ------------------------------------------------------------- */

/* What the linker makes of a wrapped name: the call comes to the first, and the
   second is the function itself. */
#define WRAPPED(type, name, arguments)                                         \
  type __real_##name arguments;                                                \
  type __wrap_##name arguments;                                                \
  type __wrap_##name arguments

WRAPPED(void *, malloc, (size_t size)) {
  return no_memory() ? NULL : __real_malloc(size);
}

WRAPPED(void *, calloc, (size_t count, size_t size)) {
  return no_memory() ? NULL : __real_calloc(count, size);
}

WRAPPED(void *, realloc, (void *block, size_t size)) {
  return no_memory() ? NULL : __real_realloc(block, size);
}

WRAPPED(char *, strdup, (const char *text)) {
  return no_memory() ? NULL : __real_strdup(text);
}

WRAPPED(int, pthread_atfork,
        (void (*prepare)(void), void (*parent)(void), void (*child)(void))) {
  return no_memory() ? 12 /* ENOMEM */
                     : __real_pthread_atfork(prepare, parent, child);
}

void *refusal_allocate (void *bytes, void *block, size_t old, size_t size) {
  size_t *const used = bytes;
  void *grown;
  if (block == NULL) old = 0; /* it was the kind of object */
  if (size == 0) {
    *used -= old;
    free(block);
    return NULL;
  }
  if (size > old && is_refused(SOURCE_LUA, block, size)) return NULL;
  if (size > old && plan.source == SOURCE_LUA && plan.mode == MODE_LIMIT &&
      is_beyond(*used, size - old))
    return NULL;
  grown = __real_realloc(block, size);
  if (grown != NULL) *used += size - old;
  return grown;
}

/* ---- libcurl --------------------------------------------------------------------- */

WRAPPED(CURLcode, curl_global_init, (long flags)) {
  return no_memory() ? CURLE_OUT_OF_MEMORY : __real_curl_global_init(flags);
}

WRAPPED(CURL *, curl_easy_init, (void)) {
  return no_memory() ? NULL : __real_curl_easy_init();
}

WRAPPED(CURLM *, curl_multi_init, (void)) {
  return no_memory() ? NULL : __real_curl_multi_init();
}

WRAPPED(CURLMcode, curl_multi_add_handle, (CURLM * multi, CURL *easy)) {
  return no_memory() ? CURLM_OUT_OF_MEMORY
                     : __real_curl_multi_add_handle(multi, easy);
}

WRAPPED(CURLSH *, curl_share_init, (void)) {
  return no_memory() ? NULL : __real_curl_share_init();
}

WRAPPED(struct curl_slist *, curl_slist_append,
        (struct curl_slist * list, const char *line)) {
  return no_memory() ? NULL : __real_curl_slist_append(list, line);
}

WRAPPED(CURLU *, curl_url, (void)) {
  return no_memory() ? NULL : __real_curl_url();
}

WRAPPED(CURLUcode, curl_url_set,
        (CURLU * url, CURLUPart part, const char *text, unsigned flags)) {
  return no_memory() ? CURLUE_OUT_OF_MEMORY
                     : __real_curl_url_set(url, part, text, flags);
}

WRAPPED(CURLUcode, curl_url_get,
        (const CURLU *url, CURLUPart part, char **text, unsigned flags)) {
  return no_memory() ? CURLUE_OUT_OF_MEMORY
                     : __real_curl_url_get(url, part, text, flags);
}

/* The share keeps room for sessions. */
WRAPPED(CURLSHcode, curl_share_setopt,
        (CURLSH * share, CURLSHoption option, ...)) {
  va_list rest;
  int what;
  va_start(rest, option);
  what = va_arg(rest, int);
  va_end(rest);
  return no_memory() ? CURLSHE_NOMEM
                     : __real_curl_share_setopt(share, option, what);
}

/* Strings are copied; for all else no memory is needed. */
static int is_string (CURLoption option) {
  static const CURLoption strings[] = {
    CURLOPT_URL,
    CURLOPT_PROXY,
    CURLOPT_NOPROXY,
    CURLOPT_CAINFO,
    CURLOPT_CAPATH,
    CURLOPT_USERAGENT,
#if LIBCURL_VERSION_NUM >= 0x075500
    CURLOPT_PROTOCOLS_STR,
#endif
    CURLOPT_ACCEPT_ENCODING,
  };
  size_t i;
  for (i = 0; i < sizeof strings / sizeof strings[0]; i++) {
    if (strings[i] == option) return 1;
  }
  return 0;
}

CURLcode __real_curl_easy_setopt (CURL *easy, CURLoption option, ...);

/* The number of an option tells the type of what comes with it. */
static CURLcode set_option (CURL *easy, CURLoption option, va_list *rest) {
  void *value;
  if (option >= CURLOPTTYPE_OFF_T)
    return __real_curl_easy_setopt(easy, option, va_arg(*rest, curl_off_t));
  if (option < CURLOPTTYPE_OBJECTPOINT)
    return __real_curl_easy_setopt(easy, option, va_arg(*rest, long));
  value = va_arg(*rest, void *);
  if (value != NULL && is_string(option) && no_memory())
    return CURLE_OUT_OF_MEMORY;
  return __real_curl_easy_setopt(easy, option, value);
}

WRAPPED(CURLcode, curl_easy_setopt, (CURL * easy, CURLoption option, ...)) {
  CURLcode code;
  va_list rest;
  va_start(rest, option);
  code = set_option(easy, option, &rest);
  va_end(rest);
  return code;
}
