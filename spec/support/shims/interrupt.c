/* Ctrl-C while the core is at work, so that no sleep is cut short by it: at the
   process's first connection, if INTERRUPT is set. Loaded before the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

int connect (int fd, const struct sockaddr *address, socklen_t size) {
  static int done;
  int (*next)(int, const struct sockaddr *, socklen_t) =
    (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT,
                                                            "connect");
  if (!done && getenv("INTERRUPT") != NULL) raise(SIGINT);
  done = 1;
  return next(fd, address, size);
}
