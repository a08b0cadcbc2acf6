/* Declares one HTTP exchange. */
#ifndef MJTASK_TRANSFER_H
#define MJTASK_TRANSFER_H

#include <stddef.h>
#include <curl/curl.h>

#include "file.h"

#pragma GCC visibility push(hidden)

#define TRANSFER_TYPE_MAX 64 /* bytes kept of a content type */

/* What the exchanges over one set of connections have in common. The engine
   owns all of it and keeps it unchanged while an exchange is under way. */
typedef struct Profile {
  int images; /* downloads: from any host, without a key */
  struct curl_slist *headers; /* of every request; the key is in here */
  struct curl_slist json[2]; /* put in front of them where there is a body */
  const char *user_agent;
  const char *proxy; /* NULL: as the environment says; "": none */
  const char *cafile; /* NULL: the system's */
  int has_bundle; /* certificates come from a file, so no directory is needed */
  CURLSH *share; /* TLS sessions */
  int secure; /* the base URL is https */
  curl_opensocket_callback open_socket; /* is given the Transfer */
  curl_closesocket_callback close_socket;
  void *sockets; /* what the latter is given */
} Profile;

/* What is asked. The strings stay the caller's until the exchange has ended. */
typedef struct Request {
  const char *url;
  const char *body; /* NULL: a GET, else a POST of JSON */
  size_t body_size; /* bytes */
  long timeout; /* ms, of the whole exchange */
  size_t max_body; /* bytes of the answer, decompressed */
  int fresh; /* on a connection that nothing was sent on before */
  int once; /* libcurl itself never sends it again */
  File *file; /* where the body of a 200 goes; NULL: into memory */
  int guarded; /* not from private addresses */
} Request;

typedef enum TransferState {
  TRANSFER_IDLE, /* not started, or cancelled */
  TRANSFER_FLYING, /* in libcurl's hands */
  TRANSFER_ENDED, /* the fields below are valid; waits to be handed out */
  TRANSFER_TAKEN, /* handed out */
  TRANSFER_READ /* and its answer was asked for, which can be had once */
} TransferState;

/* Why a callback of ours ended a transfer. */
typedef enum Refusal {
  REFUSED_NOT,
  REFUSED_SIZE, /* over max_body */
  REFUSED_MEMORY, /* none left for the body */
  REFUSED_DISK, /* see the file's failure */
  REFUSED_AGAIN, /* it was sent already */
  REFUSED_ADDRESS /* a private one */
} Refusal;

typedef struct Transfer {
  struct Transfer *prev, *next; /* in one of the engine's lists */
  struct Engine *engine; /* whose lists; NULL: in none */
  int images; /* which of its two sets of connections */
  CURL *easy; /* lent by the engine while it flies, else NULL */
  double limit; /* when it has to be over, monotonic seconds */
  TransferState state;

  char *body; /* of the answer, or where a redirect leads; owned */
  size_t size, room, cap; /* bytes of body: there, allocated, allowed */
  File *file; /* as in Request */
  double received, expected; /* bytes for the file; expected 0: unknown */
  int framed; /* the head told where the body ends */
  int guarded; /* as in Request */
  int begun; /* one of `once` that libcurl has begun to send */
  Refusal refused;

  CURLcode code; /* how it ended */
  long status; /* HTTP's, 0: no answer */
  long sent; /* bytes of the request that went out */
  long connections; /* made for it, 0: a kept one was used */
  double retry_after; /* seconds, 0: not given */
  char type[TRANSFER_TYPE_MAX]; /* content type, "" if none */
  int moved; /* the body is where a redirect leads */
  char error[CURL_ERROR_SIZE]; /* libcurl's words */
} Transfer;

/* Lends `easy` to the transfer and sets every option anew; on failure the
   handle is not lent. */
CURLcode transfer_prepare (Transfer *transfer, CURL *easy,
                           const Profile *profile, const Request *request);

/* Takes down how it ended, and gives the handle back. */
CURL *transfer_finish (Transfer *transfer, CURLcode code);

/* Gives the handle back without a result. */
CURL *transfer_abandon (Transfer *transfer);

/* The error kind of an ended transfer without a usable HTTP answer; NULL where
   there is one. The kinds are listed in lua/mjtask/errors.lua. */
const char *transfer_kind (const Transfer *transfer);

/* What to say of it, never NULL. */
const char *transfer_message (const Transfer *transfer);

/* Frees the body. Idempotent. */
void transfer_release (Transfer *transfer);

#pragma GCC visibility pop

#endif
