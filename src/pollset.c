/* One epoll descriptor that stands for many sockets and a timer: knows the
   kernel, and must know neither curl nor Lua. */
#define _GNU_SOURCE /* for epoll_create1 and timerfd under -std=c99 */
#include "pollset.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double pollset_now (void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#if MJTASK_EPOLL

#include <sys/epoll.h>
#include <sys/timerfd.h>

#define LEAST_SLOTS 32
#define BATCH 64 /* events taken in one wait; more come with the next */

struct PollSlot {
  int tag;
  int next; /* the next changed slot, as fd + 1 */
  unsigned char want; /* POLLSET_* asked for */
  unsigned char have; /* POLLSET_* the kernel's set holds; 0: not in it */
  unsigned char kept; /* pollset_forget will tell of its end */
  unsigned char listed; /* in the list of changed slots */
};

int pollset_open (Pollset *set) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return errno;
  set->epoll = fd + 1;
  return 0;
}

/* The slot of a descriptor, or NULL: no memory. Moves the others. */
static PollSlot *slot_of (Pollset *set, int fd) {
  if (fd >= set->count) {
    int count = set->count < LEAST_SLOTS ? LEAST_SLOTS : set->count;
    PollSlot *slots;
    while (count <= fd) {
      if (count > INT_MAX / 2) return NULL;
      count *= 2;
    }
    slots = realloc(set->slots, (size_t)count * sizeof *slots);
    if (slots == NULL) return NULL;
    memset(slots + set->count, 0, (size_t)(count - set->count) * sizeof *slots);
    set->slots = slots;
    set->count = count;
  }
  return &set->slots[fd];
}

static void drop (Pollset *set, int fd) {
  epoll_ctl(set->epoll - 1, EPOLL_CTL_DEL, fd, NULL); /* gone already? fine */
  set->slots[fd].have = 0;
}

int pollset_want (Pollset *set, int fd, int tag, unsigned events) {
  PollSlot *slot = slot_of(set, fd);
  if (slot == NULL) return -1;
  slot->want = (unsigned char)events;
  slot->tag = tag;
  /* Nobody will tell when this one closes, and its number may come back as
     another socket's: a later removal would be one too late. */
  if (events == 0 && !slot->kept && slot->have != 0) drop(set, fd);
  if (!slot->listed) {
    slot->listed = 1;
    slot->next = set->changed;
    set->changed = fd + 1;
  }
  return 0;
}

int pollset_keep (Pollset *set, int fd) {
  PollSlot *slot = slot_of(set, fd);
  if (slot == NULL) return -1;
  slot->kept = 1;
  return 0;
}

void pollset_forget (Pollset *set, int fd) {
  PollSlot *slot;
  if (fd >= set->count) return;
  slot = &set->slots[fd];
  /* Not left to close(): a copy of the socket in a forked child would keep the
     entry alive, and it would report for ever. */
  if (slot->have != 0) drop(set, fd);
  slot->want = 0;
  slot->kept = 0;
}

static int sync_slot (Pollset *set, int fd) {
  PollSlot *slot = &set->slots[fd];
  struct epoll_event event;
  if (slot->want == slot->have) return 0;
  if (slot->want == 0) { /* idle: a quiet reader may stay, see pollset_keep */
    if (slot->have != POLLSET_READ) drop(set, fd);
    return 0;
  }
  memset(&event, 0, sizeof event);
  event.data.fd = fd;
  if (slot->want & POLLSET_READ) event.events |= EPOLLIN;
  if (slot->want & POLLSET_WRITE) event.events |= EPOLLOUT;
  if (epoll_ctl(set->epoll - 1, slot->have != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
                fd, &event) != 0)
    return errno;
  slot->have = slot->want;
  return 0;
}

int pollset_sync (Pollset *set) {
  int failure = 0, failed = 0; /* the list of what is to be tried again */
  while (set->changed != 0) {
    int fd = set->changed - 1;
    int code = sync_slot(set, fd);
    set->changed = set->slots[fd].next;
    set->slots[fd].listed = code != 0;
    if (code == 0) continue;
    failure = code;
    set->slots[fd].next = failed;
    failed = fd + 1;
  }
  set->changed = failed;
  return failure;
}

/* Whole milliseconds, rounded up: a wait that ends too soon only spins. */
static int milliseconds (double seconds) {
  double ms = ceil(seconds * 1000);
  if (seconds < 0 || !(ms < (double)INT_MAX)) return seconds < 0 ? -1 : INT_MAX;
  return (int)ms;
}

int pollset_wait (Pollset *set, double seconds, PollEvent *events, int room) {
  struct epoll_event ready[BATCH];
  int i, written = 0;
  int n = epoll_wait(set->epoll - 1, ready, room < BATCH ? room : BATCH,
                     milliseconds(seconds));
  for (i = 0; i < n; i++) {
    int fd = ready[i].data.fd;
    unsigned want;
    if (fd == set->timer - 1) continue; /* it has done its work: we are awake */
    want = set->slots[fd].want;
    if (want == 0) { /* an idle connection that stirred */
      drop(set, fd);
      continue;
    }
    events[written].fd = fd;
    events[written].tag = set->slots[fd].tag;
    events[written].events =
      ((ready[i].events & EPOLLIN) ? POLLSET_READ : 0) |
      ((ready[i].events & EPOLLOUT) ? POLLSET_WRITE : 0) |
      ((ready[i].events & (EPOLLERR | EPOLLHUP)) ? want : 0);
    written++;
  }
  return n < 0 ? -1 : written;
}

int pollset_fd (Pollset *set) {
  if (set->epoll == 0) return -1;
  if (set->timer == 0) {
    struct epoll_event event;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0) return -1;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(set->epoll - 1, EPOLL_CTL_ADD, fd, &event) != 0) {
      close(fd);
      return -1;
    }
    set->timer = fd + 1;
    set->armed = 0;
  }
  return set->epoll - 1;
}

void pollset_arm (Pollset *set, double due) {
  struct itimerspec spec;
  if (set->timer == 0) return;
  if (!(due < (double)INT_MAX))
    due = 0; /* never */
  else if (!(due > 1e-9))
    due = 1e-9; /* before the clock began: at once */
  /* The same time again? Then only a timer that has fired needs a call: to set
     it anew is what makes it unreadable. */
  if (due == set->armed && (due == 0 || due > pollset_now())) return;
  memset(&spec, 0, sizeof spec);
  if (due != 0) {
    spec.it_value.tv_sec = (time_t)due;
    spec.it_value.tv_nsec = (long)((due - floor(due)) * 1e9);
    if (spec.it_value.tv_sec == 0 && spec.it_value.tv_nsec == 0)
      spec.it_value.tv_nsec = 1; /* zero would disarm it */
  }
  if (timerfd_settime(set->timer - 1, TFD_TIMER_ABSTIME, &spec, NULL) == 0)
    set->armed = due;
}

void pollset_release (Pollset *set) {
  if (set->timer != 0) close(set->timer - 1);
  if (set->epoll != 0) close(set->epoll - 1);
  free(set->slots);
  memset(set, 0, sizeof *set);
}

#endif
