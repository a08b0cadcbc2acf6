/* Declares which addresses are nobody's business. */
#ifndef MJTASK_ADDRESS_H
#define MJTASK_ADDRESS_H

#include <sys/socket.h>

#pragma GCC visibility push(hidden)

/* Is it anything but a public unicast address: loopback, a private network,
   link-local, multicast, reserved, or IPv6 around one of these? */
int address_is_private (const struct sockaddr *address, socklen_t size);

/* The same of a URL's host, if it is a literal address, in whatever spelling,
   or a name of this machine ("localhost", "x.localhost"); 0 for other names. */
int address_is_private_host (const char *host);

#pragma GCC visibility pop

#endif
