/* A libcurl handle with the settings of a client that means to be fast; knows
   nothing of how it is driven. */
#include "request.h"

#include <stdlib.h>

static struct curl_slist *headers; /* of every handle */

static size_t keep (char *bytes, size_t one, size_t size, void *body) {
  body_append(body, bytes, one * size);
  return size;
}

CURL *request_open (Body *body) {
  CURL *easy = curl_easy_init();
  const char *text = getenv("BODY"), *cafile = getenv("CAFILE");
  if (!easy) die("curl", "no memory");
  if (!headers) {
    headers = curl_slist_append(headers, "Authorization: key");
    if (text)
      headers = curl_slist_append(headers, "Content-Type: application/json");
  }
  curl_easy_setopt(easy, CURLOPT_URL, setting("URL"));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, body);
  if (text) curl_easy_setopt(easy, CURLOPT_POSTFIELDS, text);
  if (cafile) curl_easy_setopt(easy, CURLOPT_CAINFO, cafile);
  return easy;
}

void request_check (CURL *easy, CURLcode code) {
  long status = 0;
  if (code != CURLE_OK) die("fetch", curl_easy_strerror(code));
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) die("fetch", "not answered with 200");
}

void request_close (CURL *easy, int last) {
  curl_easy_cleanup(easy);
  if (!last) return;
  curl_slist_free_all(headers);
  headers = NULL;
}
