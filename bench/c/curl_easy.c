/* One fetch after another by libcurl's easy interface; with DECODE=1 each is
   decoded by lua-cjson: the plain C client that all others are compared with. */
#include <stdlib.h>

#include "client.h"
#include "decoder.h"
#include "request.h"

int main (void) {
  Body body = {0};
  Decoder *decoder = number("DECODE", 0) ? decoder_open() : NULL;
  const long count = number("COUNT", 1);
  long i, work = 0;
  CURL *easy;
  curl_global_init(CURL_GLOBAL_DEFAULT);
  easy = request_open(&body);
  for (i = 0; i < count; i++) {
    body.size = 0;
    request_check(easy, curl_easy_perform(easy));
    work +=
      decoder ? decoder_count(decoder, body.bytes, body.size) : (long)body.size;
  }
  request_close(easy, 1);
  if (decoder) decoder_close(decoder);
  free(body.bytes);
  curl_global_cleanup();
  report(count, work);
  return 0;
}
