/* INFLIGHT fetches at a time by libcurl's multi interface; with DECODE=1 each
   is decoded by lua-cjson. */
#include <stdlib.h>

#include "client.h"
#include "decoder.h"
#include "request.h"

#define WAIT 1000 /* ms */
/* Of one HTTP/2 connection: at its own 100 libcurl opens more. */
#define STREAMS 1000L

typedef struct Slot {
  CURL *easy;
  Body body;
} Slot;

static CURLM *multi;
static Decoder *decoder;
static long started, ended, wanted, work;

static void start (CURL *easy, Body *body) {
  body->size = 0;
  curl_multi_add_handle(multi, easy);
  started++;
}

static void take (CURL *easy, CURLcode code) {
  Body *body = NULL;
  request_check(easy, code);
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, &body);
  work += decoder ? decoder_count(decoder, body->bytes, body->size)
                  : (long)body->size;
  ended++;
  curl_multi_remove_handle(multi, easy);
  if (started < wanted) start(easy, body);
}

static void run (void) {
  while (ended < wanted) {
    int running = 0, left = 0, taken = 0;
    CURLMsg *message;
    curl_multi_perform(multi, &running);
    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
      take(message->easy_handle, message->data.result);
      taken = 1;
    }
    if (!taken) curl_multi_poll(multi, NULL, 0, WAIT, NULL);
  }
}

int main (void) {
  const long inflight = number("INFLIGHT", 16);
  Slot *slots = calloc((size_t)inflight, sizeof *slots);
  long i;
  if (!slots) die("main", "no memory");
  decoder = number("DECODE", 0) ? decoder_open() : NULL;
  wanted = number("COUNT", 1);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  multi = curl_multi_init();
  curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, STREAMS);
  for (i = 0; i < inflight; i++) {
    slots[i].easy = request_open(&slots[i].body);
    if (started < wanted) start(slots[i].easy, &slots[i].body);
  }
  run();
  for (i = 0; i < inflight; i++) {
    request_close(slots[i].easy, i == inflight - 1);
    free(slots[i].body.bytes);
  }
  free(slots);
  curl_multi_cleanup(multi);
  if (decoder) decoder_close(decoder);
  curl_global_cleanup();
  report(ended, work);
  return 0;
}
