/* Declares one epoll descriptor that stands for many sockets and a timer. */
#ifndef MJTASK_POLLSET_H
#define MJTASK_POLLSET_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

#if defined(__linux__) && !defined(MJTASK_NO_EPOLL)
#define MJTASK_EPOLL 1
#else
#define MJTASK_EPOLL 0
#endif

#define POLLSET_READ 1u
#define POLLSET_WRITE 2u

typedef struct PollEvent {
  int fd;
  int tag; /* as given to pollset_want */
  unsigned events; /* POLLSET_* */
} PollEvent;

typedef struct PollSlot PollSlot;

typedef struct Pollset {
  PollSlot *slots; /* indexed by descriptor; owned */
  int count; /* slots there are */
  int changed; /* first of the slots whose interest changed, as fd + 1 */
  int epoll; /* descriptor + 1; 0: none */
  int timer; /* descriptor + 1; 0: nobody asked for it */
  double armed; /* what the timer is set to, monotonic seconds; 0: disarmed */
} Pollset;

/* Seconds of a clock that never jumps. */
double pollset_now (void);

/* All functions below exist only where MJTASK_EPOLL is 1. A zeroed Pollset is
   valid and empty: every function may be called on it. */

/* 0, or an errno. */
int pollset_open (Pollset *set);

/* Notes what is wanted of a socket; nothing reaches the kernel before
   pollset_sync. `tag` comes back with its events. 0, or -1: no memory. */
int pollset_want (Pollset *set, int fd, int tag, unsigned events);

/* This socket will be announced to pollset_forget before it closes, so it may
   stay in the kernel's set while idle: a kept connection then costs no call. */
int pollset_keep (Pollset *set, int fd);
void pollset_forget (Pollset *set, int fd);

/* Brings the kernel's set up to date. 0, or an errno. */
int pollset_sync (Pollset *set);

/* Waits at most `seconds` (negative: without end). How many events were
   written, at most `room`; or -1 with errno (EINTR: a signal). An error or
   a hang-up comes as all that was wanted: who reads or writes learns of it. */
int pollset_wait (Pollset *set, double seconds, PollEvent *events, int room);

/* The descriptor for somebody else's loop, -1 where the kernel refuses the
   timer. From the first call on pollset_arm works. */
int pollset_fd (Pollset *set);

/* Makes the descriptor readable at `due` (monotonic seconds, infinite: never).
   Free of charge until pollset_fd was called, or when `due` stands already. */
void pollset_arm (Pollset *set, double due);

/* Closes and frees. Idempotent. After a fork a child may call it too: it only
   closes its own descriptors, the parent's set stays as it is. */
void pollset_release (Pollset *set);

#pragma GCC visibility pop

#endif
