/* Many transfers behind one descriptor: libcurl's multi, driven by its sockets
   and its timer. Knows curl, and must not know Lua. */
#define _DEFAULT_SOURCE /* for POSIX under -std=c99 */
#include "engine.h"
#include "address.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/socket.h>

#define GRACE 0.02 /* s that libcurl has to end a transfer by itself */
#define EVENTS 64 /* taken from the kernel in one go */
#define ROUNDS 4 /* of libcurl's timers before the sockets have their turn */
/* Of one HTTP/2 connection: at its own 100 libcurl opens another connection for
   each further request. Until the server has said how many it takes libcurl
   assumes 100 whatever this says: hence the schedule's COLD. */
#define STREAMS 1000L

/* ---- the process ---------------------------------------------------------- */

static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER; /* to the next two */
static int watches_forks, has_libcurl;
static unsigned forks; /* written in a child before it has a second thread */

static void before_fork (void) {
  pthread_mutex_lock(&door);
}

static void in_parent (void) {
  pthread_mutex_unlock(&door);
}

static void in_child (void) {
  forks++;
  pthread_mutex_unlock(&door);
}

/* Not by pthread_once: what failed for lack of memory is tried again. */
const char *engine_global (void) {
  int done;
  pthread_mutex_lock(&door);
  if (!watches_forks)
    watches_forks = pthread_atfork(before_fork, in_parent, in_child) == 0;
  if (watches_forks && !has_libcurl)
    has_libcurl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  done = has_libcurl;
  pthread_mutex_unlock(&door);
  return done ? NULL : "libcurl cannot be initialized: is memory left?";
}

int engine_is_forked (const Engine *engine) {
  return engine->forks != forks;
}

/* ---- what libcurl calls: these only take notes ------------------------------ */

#if MJTASK_EPOLL

static int on_timer (CURLM *multi, long ms, void *arg) {
  Channel *channel = arg;
  (void)multi;
  channel->due = ms < 0 ? HUGE_VAL : pollset_now() + (double)ms * 1e-3;
  return 0;
}

/* No memory to watch a socket: that is the end of whose it is. To tell libcurl
   would be the end of all that are under way. */
static void give_up (Engine *engine, CURL *easy) {
  Transfer *transfer = NULL;
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
  if (transfer == NULL) return;
  transfer->refused = REFUSED_MEMORY;
  transfer->limit = engine->limit = 0; /* long ago */
}

static int on_socket (CURL *easy, curl_socket_t fd, int what, void *arg,
                      void *unused) {
  Channel *channel = arg;
  Engine *engine = channel->engine;
  unsigned events = 0;
  (void)unused;
  if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) events |= POLLSET_READ;
  if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) events |= POLLSET_WRITE;
  if (pollset_want(&engine->pollset, (int)fd, (int)(channel - engine->channels),
                   events) != 0)
    give_up(engine, easy);
  return 0;
}

#endif

/* TLS reads its certificates through a descriptor of its own: where this is the
   last one, that would fail as if the file were bad. */
static int is_last (int fd) {
  const int next = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (next < 0) return 1;
  close(next);
  return 0;
}

/* Here the name has been resolved, whoever resolved it and to what. */
static curl_socket_t open_socket (void *arg, curlsocktype purpose,
                                  struct curl_sockaddr *address) {
  Transfer *transfer = arg;
  int fd;
  (void)purpose;
  if (transfer->guarded &&
      address_is_private(&address->addr, address->addrlen)) {
    transfer->refused = REFUSED_ADDRESS;
    return CURL_SOCKET_BAD;
  }
#ifdef SOCK_CLOEXEC
  fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
              address->protocol);
#else
  fd = socket(address->family, address->socktype, address->protocol);
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
  if (fd < 0) return CURL_SOCKET_BAD;
  if ((transfer->images || transfer->engine->base.secure) && is_last(fd)) {
    close(fd);
    return CURL_SOCKET_BAD;
  }
#if MJTASK_EPOLL
  if (pollset_keep(&transfer->engine->pollset, fd) != 0) {
    transfer->refused = REFUSED_MEMORY;
    close(fd);
    return CURL_SOCKET_BAD;
  }
#endif
  return fd;
}

static int close_socket (void *arg, curl_socket_t fd) {
#if MJTASK_EPOLL
  Engine *engine = arg;
  pollset_forget(&engine->pollset, (int)fd);
#else
  (void)arg;
#endif
  return close((int)fd);
}

/* ---- open, authorize, close -------------------------------------------------- */

static CURLMcode apply_multi (Channel *channel) {
  CURLM *multi = channel->multi;
  CURLMcode code = CURLM_OK;
#define SET(option, value)                                                     \
  (code = code != CURLM_OK ? code : curl_multi_setopt(multi, option, value))
  SET(CURLMOPT_MAX_CONCURRENT_STREAMS, STREAMS);
  SET(CURLMOPT_MAXCONNECTS, channel->engine->window);
#if MJTASK_EPOLL
  SET(CURLMOPT_TIMERFUNCTION, on_timer);
  SET(CURLMOPT_TIMERDATA, channel);
  SET(CURLMOPT_SOCKETFUNCTION, on_socket);
  SET(CURLMOPT_SOCKETDATA, channel);
#endif
#undef SET
  return code;
}

/* Does libcurl read its certificates from one file? */
static int has_bundle (const Profile *profile) {
  if (profile->cafile != NULL) return 1;
#if LIBCURL_VERSION_NUM >= 0x075400
  return curl_version_info(CURLVERSION_NOW)->cainfo != NULL;
#else
  return 0;
#endif
}

static const char *open_channel (Engine *engine, ChannelName name) {
  Channel *channel = &engine->channels[name];
  Profile *profile = &channel->profile;
  channel->engine = engine;
  channel->multi = curl_multi_init();
  profile->share = curl_share_init();
  if (channel->multi == NULL || profile->share == NULL) return "out of memory";
  profile->images = name == CHANNEL_IMAGES;
  profile->secure = engine->base.secure;
  profile->has_bundle = has_bundle(profile); /* asked once: it takes a while */
  profile->open_socket = open_socket;
  profile->close_socket = close_socket;
  profile->sockets = engine;
  if (curl_share_setopt(profile->share, CURLSHOPT_SHARE,
                        CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
    return "out of memory";
  return apply_multi(channel) == CURLM_OK ? NULL
                                          : "libcurl refuses its options";
}

/* In a forked child only what is ours goes: curl would say goodbye to servers
   that the parent still talks to. */
static void close_channel (Channel *channel, int forked) {
  if (!forked) {
    if (channel->multi != NULL) curl_multi_cleanup(channel->multi);
    if (channel->profile.share != NULL)
      curl_share_cleanup(channel->profile.share);
  }
  memset(channel, 0, sizeof *channel);
}

/* Nobody who downloads nothing pays for it. Open or not, never in between: what
   has no callbacks would never move. */
static const char *open_images (Engine *engine) {
  const Profile *api = &engine->channels[CHANNEL_API].profile;
  Channel *channel = &engine->channels[CHANNEL_IMAGES];
  const char *fault;
  if (channel->multi != NULL) return NULL;
  channel->due = HUGE_VAL;
  channel->profile.user_agent = api->user_agent;
  channel->profile.proxy = api->proxy;
  channel->profile.cafile = api->cafile;
  fault = open_channel(engine, CHANNEL_IMAGES);
  if (fault != NULL) close_channel(channel, 0);
  return fault;
}

const char *engine_open (Engine *engine) {
  const char *fault = engine_global();
  int i;
  engine->forks = forks;
  engine->wake = engine->limit = HUGE_VAL;
  for (i = 0; i < CHANNELS; i++)
    engine->channels[i].due = HUGE_VAL;
  if (fault == NULL) fault = open_channel(engine, CHANNEL_API);
  if (fault != NULL) return fault;
#if MJTASK_EPOLL
  if (pollset_open(&engine->pollset) != 0) return "no descriptor is left";
#endif
  return NULL;
}

int engine_is_open (const Engine *engine) {
  return engine->channels[CHANNEL_API].multi != NULL;
}

/* ---- the two lists -------------------------------------------------------------- */

static void link_flying (Engine *engine, Transfer *transfer) {
  transfer->engine = engine;
  transfer->prev = NULL;
  transfer->next = engine->flying;
  if (engine->flying != NULL) engine->flying->prev = transfer;
  engine->flying = transfer;
}

static void link_ended (Engine *engine, Transfer *transfer) {
  transfer->engine = engine;
  transfer->next = NULL;
  transfer->prev = engine->last;
  if (engine->last != NULL)
    engine->last->next = transfer;
  else
    engine->ended = transfer;
  engine->last = transfer;
}

static void unlink_transfer (Transfer *transfer) {
  Engine *engine = transfer->engine;
  if (engine == NULL) return;
  if (transfer->prev != NULL)
    transfer->prev->next = transfer->next;
  else if (engine->flying == transfer)
    engine->flying = transfer->next;
  else
    engine->ended = transfer->next;
  if (transfer->next != NULL)
    transfer->next->prev = transfer->prev;
  else if (engine->last == transfer)
    engine->last = transfer->prev;
  transfer->prev = transfer->next = NULL;
  transfer->engine = NULL;
}

/* ---- transfers ------------------------------------------------------------------ */

static Channel *channel_of (const Transfer *transfer) {
  return &transfer->engine
            ->channels[transfer->images ? CHANNEL_IMAGES : CHANNEL_API];
}

static CURL *borrow (Engine *engine) {
  if (engine->spare_count == 0) return curl_easy_init();
  return engine->spares[--engine->spare_count];
}

static void give_back (Engine *engine, CURL *easy) {
  if (easy == NULL) return;
  if (engine->spare_count < ENGINE_SPARES)
    engine->spares[engine->spare_count++] = easy;
  else
    curl_easy_cleanup(easy);
}

static void end (Engine *engine, Transfer *transfer, CURLcode code) {
  unlink_transfer(transfer);
  give_back(engine, transfer_finish(transfer, code));
  link_ended(engine, transfer);
}

/* Hands it to libcurl. On failure nothing is lent. */
static CURLcode launch (Engine *engine, Transfer *transfer,
                        const Request *request) {
  Channel *channel =
    &engine->channels[request->file != NULL ? CHANNEL_IMAGES : CHANNEL_API];
  CURL *easy;
  CURLcode code;
  if (request->file != NULL && open_images(engine) != NULL)
    return CURLE_OUT_OF_MEMORY;
  easy = borrow(engine);
  if (easy == NULL) return CURLE_OUT_OF_MEMORY;
  if (request->file == NULL) {
    struct curl_slist *json = channel->profile.json;
    channel->profile.headers = engine->headers.lines;
    json[0].data = (char *)"Content-Type: application/json";
    json[0].next = &json[1];
    /* Before a body of 1 MiB libcurl would ask, wait up to a second, and send
       the request again, should that be answered with 417. */
    json[1].data = (char *)"Expect:";
    json[1].next = engine->headers.lines;
  }
  code = transfer_prepare(transfer, easy, &channel->profile, request);
  if (code == CURLE_OK &&
      curl_multi_add_handle(channel->multi, easy) != CURLM_OK) {
    transfer_abandon(transfer);
    code = CURLE_OUT_OF_MEMORY;
  }
  if (code != CURLE_OK)
    give_back(engine, easy);
  else
    channel->flying++;
  return code;
}

void engine_start (Engine *engine, Transfer *transfer, const Request *request) {
  CURLcode code;
  transfer->limit = pollset_now() + (double)request->timeout * 1e-3 + GRACE;
  if (transfer->limit < engine->limit) engine->limit = transfer->limit;
  link_flying(engine, transfer);
  code = launch(engine, transfer, request);
  if (code == CURLE_OK)
    transfer->state = TRANSFER_FLYING;
  else
    end(engine, transfer, code);
}

void engine_cancel (Transfer *transfer) {
  Engine *engine = transfer->engine;
  if (engine == NULL) return;
  if (engine_is_forked(engine)) transfer->easy = NULL; /* the parent's */
  if (transfer->easy != NULL) {
    Channel *channel = channel_of(transfer);
    curl_multi_remove_handle(channel->multi, transfer->easy);
    channel->flying--;
    give_back(engine, transfer_abandon(transfer));
  }
  unlink_transfer(transfer);
  transfer->state = TRANSFER_IDLE;
}

Transfer *engine_next (Engine *engine) {
  return engine->ended;
}

void engine_take (Transfer *transfer) {
  unlink_transfer(transfer);
  transfer->state = TRANSFER_TAKEN;
}

static void collect (Engine *engine, Channel *channel) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(channel->multi, &left)) != NULL) {
    Transfer *transfer = NULL;
    CURL *easy = message->easy_handle;
    CURLcode code = message->data.result; /* gone with the handle's removal */
    if (message->msg != CURLMSG_DONE) continue;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
    curl_multi_remove_handle(channel->multi, easy);
    channel->flying--;
    end(engine, transfer, code);
  }
}

/* libcurl lets a transfer that waits for another's connection (PIPEWAIT) wait
   beyond its time. The time of those that ended is found out only here, once. */
static void enforce_limits (Engine *engine) {
  const double now = pollset_now();
  Transfer *transfer = engine->flying, *next;
  if (transfer != NULL && now < engine->limit) return;
  engine->limit = HUGE_VAL;
  for (; transfer != NULL; transfer = next) {
    next = transfer->next;
    if (transfer->limit > now)
      engine->limit = fmin(engine->limit, transfer->limit);
    else {
      Channel *channel = channel_of(transfer);
      curl_multi_remove_handle(channel->multi, transfer->easy);
      channel->flying--;
      end(engine, transfer, CURLE_OPERATION_TIMEDOUT);
    }
  }
}

void engine_close (Engine *engine) {
  const int forked = engine_is_forked(engine);
  int i;
  while (engine->ended != NULL)
    engine_cancel(engine->ended);
  while (engine->flying != NULL)
    engine_cancel(engine->flying);
  while (!forked && engine->spare_count > 0)
    curl_easy_cleanup(engine->spares[--engine->spare_count]);
  engine->spare_count = 0;
  for (i = 0; i < CHANNELS; i++)
    close_channel(&engine->channels[i], forked);
  headers_release(&engine->headers);
#if MJTASK_EPOLL
  pollset_release(&engine->pollset);
#endif
}

/* ---- driving ---------------------------------------------------------------- */

static double next_due (const Engine *engine) {
  double due = fmin(engine->wake, engine->limit);
  int i;
  for (i = 0; i < CHANNELS; i++) {
    if (engine->channels[i].multi != NULL)
      due = fmin(due, engine->channels[i].due);
  }
  return due;
}

void engine_wake_at (Engine *engine, double when) {
  engine->wake = when;
#if MJTASK_EPOLL
  pollset_arm(&engine->pollset,
              engine->ended != NULL ? pollset_now() : next_due(engine));
#endif
}

/* Seconds until the first reason to wake, at most `seconds` (negative: any). */
static double time_left (const Engine *engine, double seconds) {
  double due = next_due(engine);
  double left = due < HUGE_VAL ? fmax(due - pollset_now(), 0) : HUGE_VAL;
  if (engine->ended != NULL) return 0;
  if (seconds >= 0 && seconds < left) left = seconds;
  return left < HUGE_VAL ? left : -1;
}

#if MJTASK_EPOLL

static void run_timers (Channel *channel) {
  int running, round;
  for (round = 0; round < ROUNDS && channel->due <= pollset_now(); round++) {
    channel->due = HUGE_VAL; /* libcurl only speaks when it wants another */
    curl_multi_socket_action(channel->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  }
}

static int run_sockets (Engine *engine, double seconds) {
  PollEvent events[EVENTS];
  int i, running;
  int n = pollset_wait(&engine->pollset, seconds, events, EVENTS);
  /* Never CURL_CSELECT_ERR: told of that alone, libcurl before 8.10 gives up a
     request that it would send again, because its kept connection had died. */
  for (i = 0; i < n; i++) {
    int mask = ((events[i].events & POLLSET_READ) ? CURL_CSELECT_IN : 0) |
               ((events[i].events & POLLSET_WRITE) ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(engine->channels[events[i].tag].multi,
                             events[i].fd, mask, &running);
  }
  return n < 0 && errno == EINTR;
}

/* What is due, then what has ended; and the kernel is told what is wanted. */
static void settle (Engine *engine) {
  int i;
  for (i = 0; i < CHANNELS; i++) {
    if (engine->channels[i].multi == NULL) continue;
    run_timers(&engine->channels[i]);
    collect(engine, &engine->channels[i]);
  }
  enforce_limits(engine);
  pollset_sync(&engine->pollset);
}

int engine_step (Engine *engine, double seconds, int (*is_hurried)(void *arg),
                 void *arg) {
  int hurried, interrupted;
  settle(engine);
  engine_wake_at(engine, engine->wake); /* one that has fired ends no wait */
  hurried = is_hurried(arg);
  interrupted = run_sockets(engine, hurried ? 0 : time_left(engine, seconds));
  settle(engine);
  return hurried || interrupted;
}

int engine_fd (Engine *engine) {
  int fd = pollset_fd(&engine->pollset);
  engine_wake_at(engine, engine->wake);
  return fd;
}

#else

#define BOTH 0.02 /* s of a wait on one channel while the other works, too */

/* Moves what can be moved; gives the channel to wait on. */
static Channel *settle (Engine *engine) {
  Channel *busiest = &engine->channels[CHANNEL_API];
  int i, running;
  for (i = 0; i < CHANNELS; i++) {
    Channel *channel = &engine->channels[i];
    if (channel->multi == NULL) continue;
    curl_multi_perform(channel->multi, &running);
    collect(engine, channel);
    if (channel->flying > busiest->flying) busiest = channel;
  }
  enforce_limits(engine);
  return busiest;
}

/* curl_multi_poll does not tell a signal from time that is over. */
int engine_step (Engine *engine, double seconds, int (*is_hurried)(void *arg),
                 void *arg) {
  int ready = 0;
  Channel *channel = settle(engine);
  double left = time_left(engine, seconds);
  if (left < 0 || left > 3600) left = 3600; /* in ms it must fit into an int */
  if (engine->channels[CHANNEL_API].flying > 0 &&
      engine->channels[CHANNEL_IMAGES].flying > 0)
    left = fmin(left, BOTH);
  if (left > 0 && !is_hurried(arg))
    curl_multi_poll(channel->multi, NULL, 0, (int)ceil(left * 1000), &ready);
  settle(engine);
  return ready == 0;
}

int engine_fd (Engine *engine) {
  (void)engine;
  return -1;
}

#endif
