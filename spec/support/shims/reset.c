/* A connection's end as epoll may see it in its midst, on another processor:
   the error is there, and nobody calls it readable yet. Every one is told so.
   Says at the process's end how many. Loaded before the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <sys/epoll.h>

static int errors;

int epoll_wait (int fd, struct epoll_event *events, int room, int ms) {
  int (*next)(int, struct epoll_event *, int, int) =
    (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT,
                                                        "epoll_wait");
  int i, n = next(fd, events, room, ms);
  for (i = 0; i < n; i++) {
    if (!(events[i].events & EPOLLERR)) continue;
    events[i].events = EPOLLERR;
    errors++;
  }
  return n;
}

__attribute__((destructor)) static void tell (void) {
  printf("%d errors\n", errors);
}
