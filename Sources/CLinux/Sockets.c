#define _GNU_SOURCE
#include "CLinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(CLINUX_UNIX == AF_UNIX && CLINUX_IPV4 == AF_INET && CLINUX_IPV6 == AF_INET6, "families");
_Static_assert(sizeof ((struct clinux_address *)0)->path == sizeof ((struct sockaddr_un *)0)->sun_path, "path");

union socket_address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_un local;
};

static int32_t or_errno(int result) { return result < 0 ? -errno : result; }

/// The kernel's form of `from`, and its length.
static socklen_t encode(const struct clinux_address *from, union socket_address *to) {
  memset(to, 0, sizeof *to);
  to->any.sa_family = (sa_family_t)from->family;
  switch (from->family) {
  case AF_INET:
    to->v4.sin_port = htons(from->port);
    memcpy(&to->v4.sin_addr, from->ip, 4);
    return sizeof to->v4;
  case AF_INET6:
    to->v6.sin6_port = htons(from->port);
    to->v6.sin6_scope_id = from->scope;
    memcpy(&to->v6.sin6_addr, from->ip, 16);
    return sizeof to->v6;
  default: {
    size_t count = from->path_count < sizeof from->path ? from->path_count : sizeof from->path;
    memcpy(to->local.sun_path, from->path, count);
    // An abstract name ends with its length, a path with a NUL.
    size_t end = count > 0 && from->path[0] != 0 && count < sizeof from->path ? count + 1 : count;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + end);
  }
  }
}

static void decode(const union socket_address *from, socklen_t length, struct clinux_address *to) {
  memset(to, 0, sizeof *to);
  to->family = from->any.sa_family;
  switch (from->any.sa_family) {
  case AF_INET:
    to->port = ntohs(from->v4.sin_port);
    memcpy(to->ip, &from->v4.sin_addr, 4);
    break;
  case AF_INET6:
    to->port = ntohs(from->v6.sin6_port);
    to->scope = from->v6.sin6_scope_id;
    memcpy(to->ip, &from->v6.sin6_addr, 16);
    break;
  case AF_UNIX: {
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t count = length > start ? length - start : 0;
    if (count > sizeof to->path) count = sizeof to->path;
    memcpy(to->path, from->local.sun_path, count);
    to->path_count = (uint16_t)(count > 0 && to->path[0] != 0 ? strnlen((const char *)to->path, count) : count);
    break;
  }
  }
}

int32_t clinux_parse_ip(const char *text, struct clinux_address *address) {
  return or_errno(inet_pton(address->family, text, address->ip));
}

int32_t clinux_format_ip(const struct clinux_address *address, char *text, size_t capacity) {
  return inet_ntop(address->family, address->ip, text, (socklen_t)capacity) ? 0 : -errno;
}

int32_t clinux_own_addresses(struct clinux_address *addresses, int32_t capacity) {
  struct ifaddrs *first;
  if (getifaddrs(&first) < 0) return -errno;
  int32_t count = 0;
  for (const struct ifaddrs *one = first; one && count < capacity; one = one->ifa_next) {
    if (!one->ifa_addr || !(one->ifa_flags & IFF_UP)) continue;
    int family = one->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    union socket_address address;
    socklen_t length = family == AF_INET ? sizeof address.v4 : sizeof address.v6;
    memcpy(&address, one->ifa_addr, length);
    decode(&address, length, &addresses[count++]);
  }
  freeifaddrs(first);
  return count;
}

int32_t clinux_stream_socket(int32_t family) {
  return or_errno(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

int32_t clinux_datagram_socket(void) { return or_errno(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

int32_t clinux_socket_pair(int32_t *first, int32_t *second) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  *first = pair[0];
  *second = pair[1];
  return 0;
}

int32_t clinux_set_option(int32_t fd, int32_t option, int32_t value) {
  static const struct {
    int level, name;
  } names[] = {
      [CLINUX_REUSE_ADDRESS] = {SOL_SOCKET, SO_REUSEADDR}, [CLINUX_NO_DELAY] = {IPPROTO_TCP, TCP_NODELAY},
      [CLINUX_V6_ONLY] = {IPPROTO_IPV6, IPV6_V6ONLY},      [CLINUX_KEEP_ALIVE] = {SOL_SOCKET, SO_KEEPALIVE},
      [CLINUX_SEND_BUFFER] = {SOL_SOCKET, SO_SNDBUF},      [CLINUX_KEEP_IDLE] = {IPPROTO_TCP, TCP_KEEPIDLE},
      [CLINUX_KEEP_INTERVAL] = {IPPROTO_TCP, TCP_KEEPINTVL}, [CLINUX_KEEP_COUNT] = {IPPROTO_TCP, TCP_KEEPCNT},
      [CLINUX_USER_TIMEOUT] = {IPPROTO_TCP, TCP_USER_TIMEOUT}, [CLINUX_SEGMENT_BYTES] = {IPPROTO_TCP, TCP_MAXSEG},
  };
  if (option < 0 || option >= (int32_t)(sizeof names / sizeof *names)) return -EINVAL;
  return or_errno(setsockopt(fd, names[option].level, names[option].name, &value, sizeof value));
}

int32_t clinux_bind(int32_t fd, const struct clinux_address *address) {
  union socket_address to;
  socklen_t length = encode(address, &to);
  return or_errno(bind(fd, &to.any, length));
}

int32_t clinux_listen(int32_t fd, int32_t backlog) { return or_errno(listen(fd, backlog)); }

int32_t clinux_connect(int32_t fd, const struct clinux_address *address) {
  union socket_address to;
  socklen_t length = encode(address, &to);
  return or_errno(connect(fd, &to.any, length));
}

int32_t clinux_accept(int32_t fd, struct clinux_address *peer) {
  union socket_address from = {0};
  socklen_t length = sizeof from;
  int accepted = accept4(fd, &from.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted < 0) return -errno;
  decode(&from, length, peer);
  return accepted;
}

int32_t clinux_local_address(int32_t fd, struct clinux_address *address) {
  union socket_address from = {0};
  socklen_t length = sizeof from;
  if (getsockname(fd, &from.any, &length) < 0) return -errno;
  decode(&from, length, address);
  return 0;
}

int32_t clinux_peer_address(int32_t fd, struct clinux_address *address) {
  union socket_address from = {0};
  socklen_t length = sizeof from;
  if (getpeername(fd, &from.any, &length) < 0) return -errno;
  decode(&from, length, address);
  return 0;
}

int32_t clinux_is_stream(int32_t fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ? -errno : type == SOCK_STREAM;
}

int32_t clinux_is_listening(int32_t fd) {
  int listens = 0;
  socklen_t length = sizeof listens;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0 ? -errno : listens;
}

int32_t clinux_peer_credentials(int32_t fd, uint32_t *uid, uint32_t *gid, int32_t *pid) {
  struct ucred credentials = {0};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
  *uid = credentials.uid;
  *gid = credentials.gid;
  *pid = credentials.pid;
  return 0;
}

int32_t clinux_shutdown(int32_t fd, int32_t write_only) {
  return or_errno(shutdown(fd, write_only ? SHUT_WR : SHUT_RDWR));
}

int64_t clinux_peek(int32_t fd, void *bytes, size_t count) {
  ssize_t peeked = recv(fd, bytes, count, MSG_PEEK);
  return peeked < 0 ? -errno : peeked;
}

int64_t clinux_discard(int32_t fd, void *bytes, size_t count) {
  ssize_t taken = recv(fd, bytes, count, MSG_TRUNC);
  return taken < 0 ? -errno : taken;
}
