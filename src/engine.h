/* Declares many transfers behind one descriptor. */
#ifndef MJTASK_ENGINE_H
#define MJTASK_ENGINE_H

#include <stddef.h>
#include <curl/curl.h>

#include "headers.h"
#include "pollset.h"
#include "transfer.h"
#include "url.h"

#pragma GCC visibility push(hidden)

#define ENGINE_SPARES 16 /* resting handles kept for the next transfers */

/* One libcurl multi: connections that share everything, and share nothing with
   those of the other channel. */
typedef struct Channel {
  struct Engine *engine;
  CURLM *multi; /* NULL: not open */
  double due; /* when libcurl wants to be called, monotonic seconds */
  int flying; /* transfers in it */
  Profile profile;
} Channel;

typedef enum ChannelName {
  CHANNEL_API, /* to the base URL, with the key */
  CHANNEL_IMAGES, /* to anywhere, without it; opened by the first download */
  CHANNELS
} ChannelName;

typedef struct Engine {
  Pollset pollset;
  Channel channels[CHANNELS];
  double wake; /* when the caller wants to be woken, monotonic seconds */
  double limit; /* the first of the flying transfers' limits, or sooner */
  UrlBase base;
  Headers headers; /* of the API's requests */
  long window; /* connections that a channel may keep */
  int allow_private; /* downloads from private addresses */
  Transfer *flying; /* in libcurl's hands */
  Transfer *ended, *last; /* to be handed out, oldest first */
  CURL *spares[ENGINE_SPARES];
  int spare_count;
  unsigned forks; /* how often the process had forked when this was opened */
} Engine;

/* Prepares libcurl; once per process is enough, more often does no harm. NULL,
   or what went wrong, which may not do so again. */
const char *engine_global (void);

/* NULL, or a static text that says what failed. First the caller zeroes the
   engine and fills `base`, `window`, `allow_private` and the strings of the
   API's profile, which stay its own; `headers` are added before a start. */
const char *engine_open (Engine *engine);

/* Was engine_open called, and engine_close not yet? */
int engine_is_open (const Engine *engine);

/* Is the caller a forked child? Then nothing here may be used but close. */
int engine_is_forked (const Engine *engine);

/* Starts a transfer, zeroed, whose memory is the caller's: a
   download if the request has a file. It always ends: what cannot start has
   ended already when this returns. */
void engine_start (Engine *engine, Transfer *transfer, const Request *request);

/* Waits at most `seconds` (negative: until something happens) and moves bytes.
   Asks `is_hurried(arg)` last of all, and does not wait if so: what a signal
   did before the wait would only be seen after it. 1: ended early, perhaps by a
   signal. */
int engine_step (Engine *engine, double seconds, int (*is_hurried)(void *arg),
                 void *arg);

/* The transfer that ended first of those not yet taken, or NULL. */
Transfer *engine_next (Engine *engine);
void engine_take (Transfer *transfer);

/* Takes a transfer out of whatever list it is in. Idempotent. */
void engine_cancel (Transfer *transfer);

/* Ends a step's wait at `when` (monotonic seconds, infinite: never), and makes
   the descriptor readable then, or when libcurl has something to do, whichever
   is sooner. It alone arms the descriptor's timer: whose loop watches that has
   to call it after steps and starts, too. */
void engine_wake_at (Engine *engine, double when);

/* The descriptor that is readable when engine_step has work; -1: none here. */
int engine_fd (Engine *engine);

/* Unlinks all transfers, closes, wipes, frees. Idempotent. */
void engine_close (Engine *engine);

#pragma GCC visibility pop

#endif
