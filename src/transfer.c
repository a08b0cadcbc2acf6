/* One HTTP exchange: its options, the body and its cap, the outcome. Knows
   curl, and must not know Lua. */
#include "transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_ROOM ((size_t)8 << 10) /* bytes of a first body buffer */
#define PAGE_MAX ((size_t)64 << 10) /* bytes of what came in place of a file */
#define IDLE_MAX 60L /* s a connection may rest before it counts as dead */
#define LIFE_MAX 600L /* s a connection is used at all */

#if LIBCURL_VERSION_NUM < 0x074b00
#error "mjtask needs libcurl 7.75 or newer"
#endif

/* ---- what libcurl calls ------------------------------------------------ */

/* Room for `more` bytes, or 0. CURLOPT_MAXFILESIZE would not do: it believes
   Content-Length, and knows neither chunked nor compressed bodies. */
static int make_room (Transfer *transfer, size_t more) {
  size_t room = transfer->room < LEAST_ROOM ? LEAST_ROOM : transfer->room;
  char *body;
  if (more <= transfer->room - transfer->size) return 1;
  while (room - transfer->size < more)
    room = room > transfer->cap / 2 ? transfer->cap : room * 2;
  body = realloc(transfer->body, room);
  if (body == NULL) return 0;
  transfer->body = body;
  transfer->room = room;
  return 1;
}

static int refuse (Transfer *transfer, Refusal why) {
  transfer->refused = why;
  return 0;
}

static int keep (Transfer *transfer, const char *data, size_t count) {
  const size_t cap = transfer->file != NULL && transfer->cap > PAGE_MAX
                       ? PAGE_MAX /* not the picture: a page about an error */
                       : transfer->cap;
  if (count > cap - transfer->size) return refuse(transfer, REFUSED_SIZE);
  if (!make_room(transfer, count)) return refuse(transfer, REFUSED_MEMORY);
  memcpy(transfer->body + transfer->size, data, count);
  transfer->size += count;
  return 1;
}

static int save (Transfer *transfer, const char *data, size_t count) {
  if ((double)count > (double)transfer->cap - transfer->received ||
      transfer->expected > (double)transfer->cap)
    return refuse(transfer, REFUSED_SIZE);
  if (file_write(transfer->file, data, count) != 0)
    return refuse(transfer, REFUSED_DISK);
  transfer->received += (double)count;
  return 1;
}

/* What to do with the body, at its first bytes: only a 200 brings the file. */
static int is_for_file (Transfer *transfer) {
  curl_off_t length = 0;
  if (transfer->file == NULL) return 0;
  if (transfer->status == 0) {
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE,
                      &transfer->status);
    curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T,
                      &length);
    if (length > 0) transfer->expected = (double)length;
  }
  return transfer->status == 200;
}

/* Does the head of a download's answer tell where the body ends? Without a
   length, and not in chunks, the end of the connection could be a cut. */
static size_t on_head (char *line, size_t one, size_t size, void *arg) {
  Transfer *transfer = arg;
  (void)one; /* always 1 */
  if (size >= 5 && memcmp(line, "HTTP/", 5) == 0)
    transfer->framed = size >= 6 && line[5] >= '2';
  if (size > 18 && curl_strnequal(line, "transfer-encoding:", 18))
    transfer->framed = 1;
  if (size > 15 && curl_strnequal(line, "content-length:", 15))
    transfer->framed = 1;
  return size;
}

/* Anything but the count ends the transfer. */
static size_t on_body (char *data, size_t one, size_t count, void *arg) {
  Transfer *transfer = arg;
  (void)one; /* always 1 */
  if (is_for_file(transfer)) return save(transfer, data, count) ? count : 0;
  return keep(transfer, data, count) ? count : 0;
}

#if LIBCURL_VERSION_NUM >= 0x075000
/* Over HTTP/2 later requests may join a connection that was made for this one;
   if it dies then, libcurl takes it for a kept one, and would send this again,
   for which it has made another. */
static int on_request (void *arg, char *to, char *from, int port, int local) {
  Transfer *transfer = arg;
  (void)to, (void)from, (void)port, (void)local;
  if (!transfer->begun++) return CURL_PREREQFUNC_OK;
  refuse(transfer, REFUSED_AGAIN);
  return CURL_PREREQFUNC_ABORT;
}
#endif

/* ---- options ------------------------------------------------------------ */

/* The first failure stays in `code`, and nothing is set after it. */
#define SET(option, value)                                                     \
  (code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

/* Debian's libcurl has both a bundle and a directory of certificates. With the
   directory set libcurl reads the bundle again for every new connection (20 ms)
   instead of keeping it; both hold the same authorities. */
static CURLcode apply_trust (CURL *easy, const Profile *profile) {
  CURLcode code = CURLE_OK;
  SET(CURLOPT_SSL_VERIFYPEER, 1L);
  SET(CURLOPT_SSL_VERIFYHOST, 2L);
  SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  SET(CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  SET(CURLOPT_SHARE, profile->share);
  if (profile->cafile != NULL) SET(CURLOPT_CAINFO, profile->cafile);
  if (profile->has_bundle) SET(CURLOPT_CAPATH, NULL);
  return code;
}

/* The environment's proxy for an image, or "". libcurl would find it by itself,
   but to know whether a socket leads to it, it has to be the only way. */
static const char *image_proxy (const char *url) {
  static const char *const secure[] = {"https_proxy", "HTTPS_PROXY",
                                       "all_proxy", "ALL_PROXY"};
  static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
  const int is_secure = curl_strnequal(url, "https:", 6);
  const char *const *names = is_secure ? secure : plain;
  size_t count = is_secure ? 4 : 3, i;
  const char *never = getenv("no_proxy");
  if (never == NULL) never = getenv("NO_PROXY");
  if (never != NULL && strcmp(never, "*") == 0) return "";
  for (i = 0; i < count; i++) {
    const char *proxy = getenv(names[i]);
    if (proxy != NULL && proxy[0] != '\0') return proxy;
  }
  return "";
}

/* Behind a proxy the address of the socket is the proxy's, which is the user's
   own choice; what the proxy connects to is not ours to see. */
static CURLcode apply_proxy (CURL *easy, Transfer *transfer,
                             const Profile *profile, const Request *request) {
  CURLcode code = CURLE_OK;
  const char *proxy = profile->proxy;
  if (proxy == NULL && request->guarded) proxy = image_proxy(request->url);
  /* The environment's proxy would read the key of a request in clear. */
  if (proxy == NULL && !profile->images && !profile->secure) proxy = "";
  if (proxy != NULL) SET(CURLOPT_PROXY, proxy);
  if (request->guarded) SET(CURLOPT_NOPROXY, "");
  transfer->guarded = request->guarded && (proxy == NULL || proxy[0] == '\0');
  return code;
}

static CURLcode apply_protocols (CURL *easy, const Profile *profile) {
  CURLcode code = CURLE_OK;
  const int both = profile->images;
#if LIBCURL_VERSION_NUM >= 0x075500
  SET(CURLOPT_PROTOCOLS_STR, both              ? "http,https"
                             : profile->secure ? "https"
                                               : "http");
#else
  SET(CURLOPT_PROTOCOLS, (long)(both ? CURLPROTO_HTTP | CURLPROTO_HTTPS
                                : profile->secure ? CURLPROTO_HTTPS
                                                  : CURLPROTO_HTTP));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
  /* A name look-up that hangs must not hang us: its thread is left behind. */
  SET(CURLOPT_QUICK_EXIT, 1L);
#endif
#if LIBCURL_VERSION_NUM >= 0x075700 /* before, it would leave SIGPIPE to us */
  SET(CURLOPT_NOSIGNAL, 1L);
#endif
  SET(CURLOPT_FOLLOWLOCATION, 0L);
  SET(CURLOPT_HTTP09_ALLOWED, 0L);
  SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
  SET(CURLOPT_PATH_AS_IS, 1L);
  if (!profile->images) SET(CURLOPT_ACCEPT_ENCODING, "gzip");
  SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
  SET(CURLOPT_USERAGENT, profile->user_agent);
  return code;
}

static CURLcode apply_connection (CURL *easy, const Profile *profile,
                                  const Request *request) {
  CURLcode code = CURLE_OK;
  SET(CURLOPT_TIMEOUT_MS, request->timeout);
  SET(CURLOPT_CONNECTTIMEOUT_MS, request->timeout);
  SET(CURLOPT_TCP_KEEPALIVE, 1L);
  SET(CURLOPT_MAXAGE_CONN, IDLE_MAX);
#if LIBCURL_VERSION_NUM >= 0x075000
  SET(CURLOPT_MAXLIFETIME_CONN, LIFE_MAX);
#endif
  SET(CURLOPT_FRESH_CONNECT, (long)request->fresh);
  /* An answer that nobody asked for would be the next one's: an API's says whose
     it is, a picture does not. */
  SET(CURLOPT_FORBID_REUSE, (long)profile->images);
  /* Wait to learn whether a connection under way can carry many requests. */
  SET(CURLOPT_PIPEWAIT, (long)(profile->secure && !request->fresh));
  SET(CURLOPT_OPENSOCKETFUNCTION, profile->open_socket);
  SET(CURLOPT_CLOSESOCKETFUNCTION, profile->close_socket);
  SET(CURLOPT_CLOSESOCKETDATA, profile->sockets);
  return code;
}

static CURLcode apply_options (CURL *easy, Transfer *transfer,
                               const Profile *profile, const Request *request) {
  CURLcode code = CURLE_OK;
  SET(CURLOPT_PRIVATE, transfer);
  SET(CURLOPT_ERRORBUFFER, transfer->error);
  SET(CURLOPT_WRITEFUNCTION, on_body);
  SET(CURLOPT_WRITEDATA, transfer);
  if (request->file != NULL) {
    SET(CURLOPT_HEADERFUNCTION, on_head);
    SET(CURLOPT_HEADERDATA, transfer);
  }
  SET(CURLOPT_OPENSOCKETDATA, transfer);
  SET(CURLOPT_URL, request->url);
  if (request->body != NULL) {
    SET(CURLOPT_HTTPHEADER, (struct curl_slist *)profile->json);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
    SET(CURLOPT_POSTFIELDS, request->body);
  }
  else
    SET(CURLOPT_HTTPHEADER, profile->headers);
#if LIBCURL_VERSION_NUM >= 0x075000
  if (request->once) {
    SET(CURLOPT_PREREQFUNCTION, on_request);
    SET(CURLOPT_PREREQDATA, transfer);
  }
#else /* it would not ask on_request: so nobody may join a connection */
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
#endif
  if (code == CURLE_OK) code = apply_protocols(easy, profile);
  if (code == CURLE_OK) code = apply_proxy(easy, transfer, profile, request);
  if (code == CURLE_OK) code = apply_trust(easy, profile);
  if (code == CURLE_OK) code = apply_connection(easy, profile, request);
  return code;
}

/* ---- life ---------------------------------------------------------------- */

CURLcode transfer_prepare (Transfer *transfer, CURL *easy,
                           const Profile *profile, const Request *request) {
  CURLcode code;
  transfer->cap = request->max_body;
  transfer->file = request->file;
  transfer->images = profile->images;
  /* Not only for clean options: before 8.17 a handle counts the dead
     connections that it met, and fails each seventh time. */
  curl_easy_reset(easy);
  code = apply_options(easy, transfer, profile, request);
  if (code == CURLE_OK)
    transfer->easy = easy;
  else
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
  return code;
}

/* Where a redirect leads takes the place of its body, which nobody needs. */
static void note_target (Transfer *transfer, CURL *easy) {
  char *target = NULL;
  if (curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &target) != CURLE_OK ||
      target == NULL)
    return;
  transfer->size = 0;
  transfer->moved = keep(transfer, target, strlen(target));
}

/* One that is cut says so: it may end in a part of the key, which only an
   ellipsis gives away (headers_redact). */
static void note_type (Transfer *transfer, const char *type) {
  static const char ellipsis[] = "\xE2\x80\xA6";
  char *end = transfer->type + sizeof transfer->type - sizeof ellipsis;
  const int length =
    snprintf(transfer->type, sizeof transfer->type, "%s", type);
  if (length >= (int)sizeof transfer->type)
    memcpy(end, ellipsis, sizeof ellipsis);
}

static void note_answer (Transfer *transfer, CURL *easy) {
  char *type = NULL;
  curl_off_t wait = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &transfer->status);
  curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &transfer->sent);
  curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &transfer->connections);
  if (curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK)
    transfer->retry_after = (double)wait;
  if (curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK &&
      type != NULL)
    note_type(transfer, type);
  if (transfer->file != NULL) transfer->file->framed = transfer->framed;
  note_target(transfer, easy);
}

CURL *transfer_finish (Transfer *transfer, CURLcode code) {
  if (transfer->easy != NULL) note_answer(transfer, transfer->easy);
  /* Else a name had another address, too, which was taken. */
  if (transfer->refused == REFUSED_ADDRESS && code != CURLE_COULDNT_CONNECT)
    transfer->refused = REFUSED_NOT;
  transfer->code = code;
  transfer->state = TRANSFER_ENDED;
  return transfer_abandon(transfer);
}

CURL *transfer_abandon (Transfer *transfer) {
  CURL *easy = transfer->easy;
  transfer->easy = NULL;
  if (easy != NULL) curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
  return easy;
}

void transfer_release (Transfer *transfer) {
  char *body = transfer->body;
  transfer->body = NULL;
  transfer->size = transfer->room = 0;
  free(body);
}

/* ---- outcome --------------------------------------------------------------- */

static const struct {
  CURLcode code;
  const char *kind;
} kinds[] = {
  {CURLE_COULDNT_RESOLVE_HOST, "dns"},
  {CURLE_COULDNT_RESOLVE_PROXY, "dns"},
  {CURLE_COULDNT_CONNECT, "connect"},
  {CURLE_PROXY, "connect"},
  {CURLE_GOT_NOTHING, "connect"},
  {CURLE_SEND_ERROR, "connect"},
  {CURLE_RECV_ERROR, "connect"},
  {CURLE_PARTIAL_FILE, "connect"},
  {CURLE_HTTP2, "connect"},
  {CURLE_HTTP2_STREAM, "connect"},
  {CURLE_OPERATION_TIMEDOUT, "timeout"},
  {CURLE_SSL_CONNECT_ERROR, "tls"},
  {CURLE_PEER_FAILED_VERIFICATION, "tls"},
  {CURLE_SSL_CERTPROBLEM, "tls"},
  {CURLE_SSL_CIPHER, "tls"},
  {CURLE_SSL_CACERT_BADFILE, "tls"},
  {CURLE_SSL_CRL_BADFILE, "tls"},
  {CURLE_SSL_ISSUER_ERROR, "tls"},
  {CURLE_SSL_ENGINE_NOTFOUND, "tls"},
  {CURLE_SSL_ENGINE_SETFAILED, "tls"},
  {CURLE_SSL_ENGINE_INITFAILED, "tls"},
  {CURLE_SSL_PINNEDPUBKEYNOTMATCH, "tls"},
  {CURLE_SSL_INVALIDCERTSTATUS, "tls"},
  {CURLE_USE_SSL_FAILED, "tls"},
  {CURLE_FILESIZE_EXCEEDED, "too_large"},
  {CURLE_BAD_CONTENT_ENCODING, "decode"},
};

static const struct {
  const char *kind, *message;
} refusals[] = {
  [REFUSED_SIZE] = {"too_large", "the answer is larger than max_body"},
  [REFUSED_MEMORY] = {"http", "out of memory"},
  [REFUSED_DISK] = {"io", "cannot write the file"},
  [REFUSED_AGAIN] = {"connect", "libcurl would have sent it again"},
  [REFUSED_ADDRESS] = {"connect",
                       "the address is private: allow_private = true "
                       "would allow it"},
};

/* Did the peer break off in the midst of the handshake? libcurl has one code for
   that and for what the two cannot agree on, which no further try would mend. */
static int broke_off (const Transfer *transfer) {
  static const char *const signs[] = {"Recv failure",
                                      "Send failure",
                                      "SSL_ERROR_SYSCALL",
                                      "unexpected eof",
                                      "non-properly terminated",
                                      "pull function",
                                      "push function"};
  size_t i;
  if (transfer->code != CURLE_SSL_CONNECT_ERROR) return 0;
  for (i = 0; i < sizeof signs / sizeof signs[0]; i++) {
    if (strstr(transfer->error, signs[i]) != NULL) return 1;
  }
  return 0;
}

const char *transfer_kind (const Transfer *transfer) {
  size_t i;
  if (transfer->code == CURLE_OK) return NULL;
  if (transfer->refused != REFUSED_NOT) return refusals[transfer->refused].kind;
  if (broke_off(transfer)) return "connect";
  for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (kinds[i].code == transfer->code) return kinds[i].kind;
  }
  return "http"; /* not an answer that HTTP knows */
}

const char *transfer_message (const Transfer *transfer) {
  if (transfer->refused == REFUSED_DISK)
    return strerror(transfer->file->failure);
  if (transfer->refused != REFUSED_NOT)
    return refusals[transfer->refused].message;
  if (transfer->code == CURLE_OUT_OF_MEMORY) /* as libcurl calls both */
    return "the answer's headers are too large, or there is no memory left";
  if (curl_strnequal(transfer->error, "Unsupported proxy", 17))
    return "the proxy is no URL of one"; /* which would be quoted */
  if (transfer->error[0] != '\0') return transfer->error;
  return curl_easy_strerror(transfer->code);
}
