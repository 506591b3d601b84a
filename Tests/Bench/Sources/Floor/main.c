// The floor: what a broker costs when it does nothing that makes it a broker.
//
// usage: Floor PORT [drop|repeat|swap]
//
// With a second word it does that to one message in ten batches, so that the load can be seen to notice.
//
// One epoll loop, one read for each socket that is readable, and for each receiver one write of the very bytes that were
// read: no matching (a publisher's receivers are looked up once, at its first PUBLISH), no queues, no sessions, nothing
// kept of a message. QoS 1 and 2 are answered by rote, from the packet identifier alone. It is right for the load
// generator only, whose publishers publish to one topic each and write whole packets.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { connections_max = 4096, receivers_max = 128, read_bytes = 1 << 18, held_bytes = 1 << 18 };

struct connection {
  int fd;                  // 0: free
  char filter[64];         // the first it subscribed to; empty: a publisher
  char topic[64];          // what its receivers were looked up for
  int receiver_count;
  int receivers[receivers_max];
  int is_raw;              // publishes with QoS 0 and nothing else: its bytes are not looked at any more
  uint8_t *held;           // a packet that has begun, between two reads
  size_t held_count;
};

static struct connection *connections[connections_max];
static int used;
static uint8_t input[held_bytes + read_bytes];
static uint8_t answers[1 << 16];
static size_t answer_count;
static const char *fault;  // NULL: none
static unsigned batches;

static void write_all(int fd, const uint8_t *bytes, size_t count) {
  while (count > 0) {
    ssize_t put = send(fd, bytes, count, MSG_NOSIGNAL);
    if (put < 0 && errno == EAGAIN) {
      struct pollfd wait = {.fd = fd, .events = POLLOUT};
      poll(&wait, 1, 1000);
    } else if (put < 0) {
      return;  // gone: its own read will say so
    } else {
      bytes += put;
      count -= (size_t)put;
    }
  }
}

static void answer(uint8_t type, const uint8_t *packet_id) {
  if (answer_count + 4 > sizeof answers) abort();
  memcpy(answers + answer_count, (uint8_t[]){type, 2, packet_id[0], packet_id[1]}, 4);
  answer_count += 4;
}

// `#` and `+` as MQTT has them.
static int matches(const char *filter, const char *topic) {
  for (; *filter; filter++, topic++) {
    if (*filter == '#') return 1;
    if (*filter == '+') {
      while (*topic && *topic != '/') topic++;
      topic--;
    } else if (*filter != *topic) {
      return 0;
    }
  }
  return *topic == 0;
}

static void find_receivers(struct connection *publisher, const uint8_t *topic, size_t count) {
  if (count >= sizeof publisher->topic) count = sizeof publisher->topic - 1;
  memcpy(publisher->topic, topic, count);
  for (int index = 0; index < used && publisher->receiver_count < receivers_max; index++) {
    struct connection *other = connections[index];
    if (!other || !other->fd || !other->filter[0] || !matches(other->filter, publisher->topic)) continue;
    publisher->receivers[publisher->receiver_count++] = other->fd;
  }
}

static void forward_wrongly(int fd, const uint8_t *bytes, size_t count) {
  size_t length = 2 + (size_t)bytes[1];  // of a short packet, and of the next one as well
  if (count < 2 * length || bytes[1] > 127) {
    write_all(fd, bytes, count);
    return;
  }
  if (fault[0] == 'd') bytes += length, count -= length;
  if (fault[0] == 'r') write_all(fd, bytes, length);
  if (fault[0] == 's') {
    write_all(fd, bytes + length, length);
    write_all(fd, bytes, length);
    bytes += 2 * length, count -= 2 * length;
  }
  write_all(fd, bytes, count);
}

static void forward(const struct connection *publisher, const uint8_t *bytes, size_t count) {
  if (fault && ++batches % 10 == 0) {
    for (int index = 0; index < publisher->receiver_count; index++) {
      forward_wrongly(publisher->receivers[index], bytes, count);
    }
    return;
  }
  for (int index = 0; index < publisher->receiver_count; index++) write_all(publisher->receivers[index], bytes, count);
}

static void subscribe(struct connection *connection, const uint8_t *body, size_t count) {
  uint8_t reply[260] = {0x90, 2, body[0], body[1]};
  size_t at = 2, filters = 0;
  while (at + 2 < count) {
    size_t length = (size_t)body[at] << 8 | body[at + 1];
    if (!connection->filter[0] && length < sizeof connection->filter) memcpy(connection->filter, body + at + 2, length);
    at += 2 + length;
    if (at >= count || filters == 120) return;
    reply[4 + filters++] = body[at++] & 3;
  }
  reply[1] = (uint8_t)(2 + filters);
  write_all(connection->fd, reply, 4 + filters);
}

// Bytes taken; what is left is a packet that has only begun.
static size_t take(struct connection *connection, const uint8_t *bytes, size_t count) {
  size_t at = 0, run = 0;  // from `run` to `at` are PUBLISH packets that are forwarded in one go
  answer_count = 0;
  while (count - at >= 2) {
    size_t length = 0, header = 1;
    do {
      if (at + header == count) goto done;
      length |= (size_t)(bytes[at + header] & 127) << 7 * (header - 1);
    } while (bytes[at + header++] & 128);
    if (count - at < header + length) goto done;
    const uint8_t *body = bytes + at + header;
    int type = bytes[at] >> 4, qos = bytes[at] >> 1 & 3;
    if (type == 3) {
      size_t topic = (size_t)body[0] << 8 | body[1];
      if (!connection->topic[0]) find_receivers(connection, body + 2, topic);
      if (qos == 0) {
        connection->is_raw = 1;
        forward(connection, bytes + run, count - run);
        return count;
      }
      answer(qos == 1 ? 0x40 : 0x50, body + 2 + topic);
      at += header + length;
      continue;
    }
    if (at > run) forward(connection, bytes + run, at - run);
    switch (type) {
      case 1: write_all(connection->fd, (uint8_t[]){0x20, 2, 0, 0}, 4); break;
      case 5: answer(0x62, body); break;
      case 6: answer(0x70, body); break;
      case 8: subscribe(connection, body, length); break;
      case 12: write_all(connection->fd, (uint8_t[]){0xD0, 0}, 2); break;
      case 14: shutdown(connection->fd, SHUT_RDWR); break;
      default: break;
    }
    at += header + length;
    run = at;
  }
done:
  if (at > run) forward(connection, bytes + run, at - run);
  if (answer_count > 0) write_all(connection->fd, answers, answer_count);
  return at;
}

static void accept_one(int listener, int epoll) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1, index = 0;
  if (fd < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  while (index < used && connections[index]->fd) index++;
  if (index == connections_max) abort();
  if (index == used) connections[used++] = calloc(1, sizeof(struct connection));
  connections[index]->fd = fd;
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void read_one(struct connection *connection) {
  size_t held = connection->held_count;
  if (held > 0) memcpy(input, connection->held, held);
  ssize_t got = recv(connection->fd, input + held, read_bytes, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    close(connection->fd);
    free(connection->held);
    memset(connection, 0, sizeof *connection);
    return;
  }
  size_t count = held + (size_t)got;
  if (connection->is_raw) {
    forward(connection, input, count);
    return;
  }
  size_t taken = take(connection, input, count);
  connection->held_count = count - taken;
  if (connection->held_count == 0) return;
  if (connection->held_count > held_bytes) abort();
  if (!connection->held) connection->held = malloc(held_bytes);
  memcpy(connection->held, input + taken, connection->held_count);
}

int main(int argc, char **argv) {
  if (argc != 2 && argc != 3) {
    fprintf(stderr, "usage: Floor PORT [drop|repeat|swap]\n");
    return 64;
  }
  fault = argv[2];
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0) {
    perror("Floor");
    return 69;
  }
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX}, events[256];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  while (1) {
    int count = epoll_wait(epoll, events, 256, -1);
    for (int index = 0; index < count; index++) {
      if (events[index].data.u32 == UINT32_MAX) accept_one(listener, epoll);
      else if (connections[events[index].data.u32]->fd) read_one(connections[events[index].data.u32]);
    }
  }
}
