/* The least a client can do: sockets that are kept, one send and one receive a
   fetch, nothing decoded. Knows just enough HTTP to see where an answer ends. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

#define ROOM (1 << 16) /* bytes of an answer, head included */
#define LENGTH "Content-Length: "
#define EVENTS 64

typedef struct Connection {
  int fd;
  size_t got, need; /* bytes of the answer: there, in all (0: not known yet) */
  char answer[ROOM + 1];
} Connection;

static char request[1024];
static size_t request_size;
static long started, ended, wanted, bytes;

/* Splits "http://ADDRESS:PORT/PATH", fills the request, gives the address. */
static struct sockaddr_in prepare (const char *url) {
  struct sockaddr_in address = {0};
  char host[64], path[512], *end;
  unsigned long port;
  const char *rest;
  if (strncmp(url, "http://", 7) != 0) die("URL", "no http");
  rest = strchr(url + 7, ':');
  if (!rest || (size_t)(rest - url) - 7 >= sizeof host) die("URL", "no port");
  memcpy(host, url + 7, (size_t)(rest - url) - 7);
  host[(size_t)(rest - url) - 7] = '\0';
  port = strtoul(rest + 1, &end, 10);
  snprintf(path, sizeof path, "%s", end);
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)port);
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) die("URL", host);
  request_size = (size_t)snprintf(
    request, sizeof request,
    "GET %s HTTP/1.1\r\nHost: %s:%lu\r\nAuthorization: key\r\n\r\n", path, host,
    port);
  return address;
}

static void open_connection (Connection *c, const struct sockaddr_in *address) {
  const int on = 1;
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (c->fd < 0 ||
      connect(c->fd, (const struct sockaddr *)address, sizeof *address) != 0)
    die("connect", strerror(errno));
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void start (Connection *c) {
  if (send(c->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
    die("send", strerror(errno));
  c->got = c->need = 0;
  started++;
}

/* Where the head is complete, the whole answer's size is known. */
static void read_head (Connection *c) {
  const char *body, *length;
  c->answer[c->got] = '\0';
  body = strstr(c->answer, "\r\n\r\n");
  if (!body) return;
  if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0) die("status", c->answer);
  length = strstr(c->answer, LENGTH);
  if (!length) die("answer", "no length");
  c->need = (size_t)(body + 4 - c->answer) +
            strtoul(length + sizeof LENGTH - 1, NULL, 10);
  if (c->need > ROOM) die("answer", "too large");
  bytes += (long)(c->need - (size_t)(body + 4 - c->answer));
}

/* One receive; starts the next fetch if that was the end of this one. */
static void advance (Connection *c) {
  const ssize_t size = recv(c->fd, c->answer + c->got, ROOM - c->got, 0);
  if (size <= 0) die("recv", size < 0 ? strerror(errno) : "closed");
  c->got += (size_t)size;
  if (c->need == 0) read_head(c);
  if (c->need == 0 || c->got < c->need) return;
  ended++;
  if (started < wanted) start(c);
}

static void run_many (Connection *connections, long count) {
  struct epoll_event events[EVENTS];
  const int epoll = epoll_create1(0);
  long i;
  for (i = 0; i < count; i++) {
    struct epoll_event event = {0};
    event.events = EPOLLIN;
    event.data.ptr = &connections[i];
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event) != 0)
      die("epoll_ctl", strerror(errno));
  }
  while (ended < wanted) {
    const int ready = epoll_wait(epoll, events, EVENTS, -1);
    for (i = 0; i < ready; i++)
      advance(events[i].data.ptr);
  }
  close(epoll);
}

int main (void) {
  const struct sockaddr_in address = prepare(setting("URL"));
  const long count = number("INFLIGHT", 1);
  Connection *connections = calloc((size_t)count, sizeof *connections);
  long i;
  if (!connections) die("main", "no memory");
  wanted = number("COUNT", 1);
  for (i = 0; i < count; i++) {
    open_connection(&connections[i], &address);
    if (started < wanted) start(&connections[i]);
  }
  if (count > 1) run_many(connections, count);
  while (ended < wanted)
    advance(connections);
  for (i = 0; i < count; i++)
    close(connections[i].fd);
  free(connections);
  report(ended, bytes);
  return 0;
}
