/* Declares a libcurl handle as all the limit programs use it. */
#ifndef BENCH_REQUEST_H
#define BENCH_REQUEST_H

#include <curl/curl.h>

#include "client.h"

/* A handle for URL (and BODY, which makes it a POST; and CAFILE), whose answer
   is kept in `body`. Everything is set once, the connection is kept. */
CURL *request_open (Body *body);

/* Ends the program unless it was answered with 200. */
void request_check (CURL *easy, CURLcode code);

/* The handle, and what all of them share when it is the last. */
void request_close (CURL *easy, int last);

#endif
