/* Which IP addresses are private: knows the kernel's address structures, and
   must know neither curl nor Lua. */
#include "address.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <arpa/inet.h>
#include <netinet/in.h>

/* IANA's special-purpose registry; of what is there all but 192.88.99/24. */
static const struct {
  uint32_t net; /* as written, host order */
  int bits;
} private4[] = {
  {0x00000000, 8},  {0x0A000000, 8},  {0x64400000, 10}, {0x7F000000, 8},
  {0xA9FE0000, 16}, {0xAC100000, 12}, {0xC0000000, 24}, {0xC0000200, 24},
  {0xC0A80000, 16}, {0xC6120000, 15}, {0xC6336400, 24}, {0xCB007100, 24},
  {0xE0000000, 4},  {0xF0000000, 4},
};

static int is_private4 (uint32_t ip) {
  size_t i;
  for (i = 0; i < sizeof private4 / sizeof private4[0]; i++) {
    if ((ip ^ private4[i].net) >> (32 - private4[i].bits) == 0) return 1;
  }
  return 0;
}

static uint32_t read4 (const unsigned char *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
         (uint32_t)bytes[2] << 8 | bytes[3];
}

static int is_private6 (const unsigned char *ip) {
  static const unsigned char zero[12] = {0};
  static const unsigned char mapped[12] = {[10] = 0xFF, [11] = 0xFF};
  static const unsigned char nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
  if (memcmp(ip, mapped, 12) == 0 || memcmp(ip, nat64, 12) == 0)
    return is_private4(read4(ip + 12));
  if (memcmp(ip, zero, 12) == 0) return 1; /* ::, ::1, and the old ::1.2.3.4 */
  if (ip[0] == 0x20 && ip[1] == 0x02)
    return is_private4(read4(ip + 2)); /* 6to4 */
  if (memcmp(ip, "\x20\x01\x0D\xB8", 4) == 0) return 1; /* documentation */
  if (memcmp(ip, "\x20\x01\x00\x00", 4) == 0) return 1; /* Teredo */
  return (ip[0] & 0xE0) != 0x20; /* only 2000::/3 is public unicast */
}

int address_is_private (const struct sockaddr *address, socklen_t size) {
  if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
    struct sockaddr_in in;
    memcpy(&in, address, sizeof in);
    return is_private4(ntohl(in.sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof in6);
    return is_private6(in6.sin6_addr.s6_addr);
  }
  return 1; /* no address of the Internet's */
}

/* "[…]": an IPv6 address, perhaps with a zone. What cannot be read is none of
   the Internet's. */
static int is_private_literal6 (const char *host) {
  unsigned char ip[16];
  char text[INET6_ADDRSTRLEN];
  size_t length = strcspn(host + 1, "]%");
  if (length >= sizeof text) return 1;
  memcpy(text, host + 1, length);
  text[length] = '\0';
  return inet_pton(AF_INET6, text, ip) != 1 || is_private6(ip);
}

/* Does it end in a number? No name of the Internet does; but 2130706433 and
   0x7f.1 are addresses to many a resolver, behind a proxy too. */
static int ends_in_number (const char *host, size_t size) {
  size_t start = size;
  while (start > 0 && host[start - 1] != '.')
    start--;
  return start < size && host[start] >= '0' && host[start] <= '9' &&
         (strspn(host + start, "0123456789") >= size - start ||
          strncasecmp(host + start, "0x", 2) == 0);
}

int address_is_private_host (const char *host) {
  static const char name[] = "localhost";
  size_t size = strlen(host), tail = sizeof name - 1;
  unsigned char ip[4];
  if (host[0] == '[') return is_private_literal6(host);
  if (inet_pton(AF_INET, host, ip) == 1) return is_private4(read4(ip));
  if (size > 0 && host[size - 1] == '.') size--; /* "localhost." */
  if (ends_in_number(host, size)) return 1;
  if (size < tail || strncasecmp(host + size - tail, name, tail) != 0) return 0;
  return size == tail || host[size - tail - 1] == '.';
}
