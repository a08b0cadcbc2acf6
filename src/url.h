/* Declares the checks of base URLs and ids. */
#ifndef MJTASK_URL_H
#define MJTASK_URL_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

#define URL_MAX 2048 /* bytes of a base URL */
#define URL_ID_MAX 128 /* bytes of a task's id */
#define URL_IMAGE_MAX 4096 /* bytes of an image's URL, once it is escaped */

typedef struct UrlBase {
  char text[URL_MAX + 1]; /* scheme://host[:port][/path], no slash, no /mj */
  size_t size; /* bytes of text */
  size_t origin; /* bytes of text that are scheme, host and port */
  int secure; /* https */
  int loopback; /* the host is this machine, by its literal name */
} UrlBase;

/* Fills `base` and returns NULL; or a static text that says what is wrong with
   the URL, to be put behind its name; url_no_memory if that is nothing. */
extern const char url_no_memory[];
const char *url_base (const char *text, size_t size, UrlBase *base);

/* Is it 1 to 128 unreserved characters (RFC 3986 section 2.3), and neither "."
   nor ".."? Such an id is one path segment, whatever it says. */
int url_is_id (const char *id, size_t size);

/* Writes base and path, at most URL_JOINED bytes with the final NUL. 1, or 0:
   the path does not begin with a slash, is too long, or has anything but
   unreserved characters between its slashes. */
#define URL_JOINED (URL_MAX + 512)
int url_join (const UrlBase *base, const char *path, size_t size, char *out);

/* Could it be a proxy? What libcurl cannot read it quotes, password and all.
   NULL, or what is wrong. */
const char *url_proxy (const char *text);

typedef struct UrlImage {
  char text[URL_IMAGE_MAX + 1]; /* as given, bytes beyond ASCII escaped */
  int local; /* the host is a private address or a name of this machine */
  int at_home; /* it has the base URL's origin */
  int secure; /* https */
} UrlImage;

/* Reads the URL of an image, which a server chose. NULL, or what is wrong. */
const char *url_image (const UrlBase *base, const char *text, size_t size,
                       UrlImage *image);

#pragma GCC visibility pop

#endif
