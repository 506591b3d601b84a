#define _GNU_SOURCE
#include "CBench.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/// The state of one connection, found by its descriptor.
struct carried {
  SSL *tls;
  // The WebSocket frame that is written: what is left of its header and of its payload, and the next byte of the mask.
  uint8_t header[14];
  uint32_t header_start, header_end;
  uint64_t write_left;
  uint32_t mask_at;
  // The WebSocket frame that is read: what has come of its header, and what is left of its payload.
  uint8_t begun[10];
  uint32_t begun_count;
  uint64_t read_left;
};

enum { DESCRIPTORS_MAX = 1 << 16, PIECE = 1 << 16 };

static int32_t carrier = CBENCH_TCP;
static SSL_CTX *context;
static struct carried *carried[DESCRIPTORS_MAX];
static const uint8_t mask[4] = {0x5A, 0xC3, 0x17, 0x88};

int32_t cbench_carry(int32_t kind) {
  carrier = kind;
  if (kind != CBENCH_TLS) return 0;
  context = SSL_CTX_new(TLS_client_method());
  if (!context) return -ENOMEM;
  // One version and one cipher, so that every broker does the same arithmetic.
  if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1)
    return -EINVAL;
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  return 0;
}

/// Asks for a WebSocket and reads the answer, byte by byte, since a frame may follow it.
static int32_t upgrade(int32_t fd) {
  static const char request[] =
      "GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
  if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1) return -EPIPE;
  char answer[2048];
  size_t count = 0;
  while (count < 4 || memcmp(answer + count - 4, "\r\n\r\n", 4) != 0) {
    if (count == sizeof answer || recv(fd, answer + count, 1, 0) != 1) return -EPROTO;
    count++;
  }
  return count > 12 && memcmp(answer, "HTTP/1.1 101", 12) == 0 ? 0 : -EPROTO;
}

static int32_t shake_hands(int32_t fd, struct carried *one) {
  one->tls = SSL_new(context);
  if (!one->tls || SSL_set_fd(one->tls, fd) != 1) return -ENOMEM;
  if (SSL_connect(one->tls) == 1) return 0;
  ERR_clear_error();
  return -EPROTO;
}

int32_t cbench_carrier_begin(int32_t fd) {
  if (carrier == CBENCH_TCP) return 0;
  if (fd >= DESCRIPTORS_MAX) return -EMFILE;
  struct carried *one = calloc(1, sizeof *one);
  if (!one) return -ENOMEM;
  carried[fd] = one;
  const struct timeval patience = {.tv_sec = 10};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  int32_t result = carrier == CBENCH_TLS ? shake_hands(fd, one) : upgrade(fd);
  if (result != 0) cbench_carrier_end(fd);
  return result;
}

void cbench_carrier_end(int32_t fd) {
  if (fd < 0 || fd >= DESCRIPTORS_MAX || !carried[fd]) return;
  SSL_free(carried[fd]->tls);
  free(carried[fd]);
  carried[fd] = NULL;
}

static int64_t tls_read(SSL *tls, uint8_t *bytes, int64_t count) {
  int64_t total = 0;
  while (total < count) {
    size_t got = 0;
    if (SSL_read_ex(tls, bytes + total, (size_t)(count - total), &got) == 1) {
      total += (int64_t)got;
      continue;
    }
    if (total > 0) break;
    return SSL_get_error(tls, 0) == SSL_ERROR_WANT_READ ? -EAGAIN : 0;
  }
  return total;
}

static int64_t tls_write(SSL *tls, const uint8_t *bytes, int64_t count) {
  int64_t total = 0;
  while (total < count) {
    size_t put = 0;
    if (SSL_write_ex(tls, bytes + total, (size_t)(count - total), &put) == 1) {
      total += (int64_t)put;
      continue;
    }
    if (total > 0) break;
    return SSL_get_error(tls, 0) == SSL_ERROR_WANT_WRITE ? -EAGAIN : -EPIPE;
  }
  return total;
}

/// Bytes of a server's frame header whose second byte is known.
static uint32_t header_bytes(const uint8_t *header) {
  uint8_t length = header[1] & 0x7F;
  return length < 126 ? 2 : length == 126 ? 4 : 10;
}

/// Takes the headers out of what was read, and moves the payload together. Bytes of payload, or -1 at the end.
static int64_t strip(struct carried *one, uint8_t *bytes, int64_t count) {
  int64_t from = 0, to = 0;
  while (from < count) {
    if (one->read_left > 0) {
      int64_t part = count - from < (int64_t)one->read_left ? count - from : (int64_t)one->read_left;
      if (from != to) memmove(bytes + to, bytes + from, (size_t)part);
      from += part;
      to += part;
      one->read_left -= (uint64_t)part;
      continue;
    }
    one->begun[one->begun_count++] = bytes[from++];
    if (one->begun_count < 2 || one->begun_count < header_bytes(one->begun)) continue;
    uint32_t head = one->begun_count;
    one->begun_count = 0;
    // Binary frames and their continuations; a close, and what a broker should not send here, is the end.
    if ((one->begun[0] & 0x0F) > 2 || one->begun[1] & 0x80) return to > 0 ? to : -1;
    one->read_left = head == 2 ? one->begun[1] & 0x7F : 0;
    for (uint32_t index = 2; index < head; index++) one->read_left = one->read_left << 8 | one->begun[index];
  }
  return to;
}

static int64_t websocket_read(int32_t fd, struct carried *one, uint8_t *bytes, int64_t count) {
  int64_t total = 0;
  while (total < count) {
    ssize_t got = recv(fd, bytes + total, (size_t)(count - total), 0);
    if (got <= 0) {
      if (total > 0) break;
      return got == 0 ? 0 : -errno;
    }
    int64_t payload = strip(one, bytes + total, got);
    if (payload < 0) return total;
    total += payload;
  }
  return total;
}

static void begin_frame(struct carried *one, uint64_t count) {
  uint8_t *header = one->header;
  uint32_t at = 0;
  header[at++] = 0x82;
  if (count < 126) {
    header[at++] = (uint8_t)(0x80 | count);
  } else {
    uint32_t wide = count < 65536 ? 2 : 8;
    header[at++] = wide == 2 ? 0x80 | 126 : 0x80 | 127;
    for (uint32_t byte = wide; byte > 0; byte--) header[at++] = (uint8_t)(count >> 8 * (byte - 1));
  }
  memcpy(header + at, mask, 4);
  one->header_start = 0;
  one->header_end = at + 4;
  one->write_left = count;
  one->mask_at = 0;
}

/// What it does not take is offered again, and continues the frame.
static int64_t websocket_write(int32_t fd, struct carried *one, const uint8_t *bytes, int64_t count) {
  static uint8_t piece[sizeof one->header + PIECE];
  int64_t total = 0;
  while (total < count) {
    if (one->write_left == 0) begin_frame(one, (uint64_t)(count - total));
    uint64_t part = (uint64_t)(count - total);
    if (part > one->write_left) part = one->write_left;
    if (part > PIECE) part = PIECE;
    uint32_t head = one->header_end - one->header_start;
    memcpy(piece, one->header + one->header_start, head);
    for (uint64_t index = 0; index < part; index++)
      piece[head + index] = bytes[(uint64_t)total + index] ^ mask[(one->mask_at + index) & 3];
    ssize_t sent = send(fd, piece, head + part, MSG_NOSIGNAL);
    if (sent < 0) return total > 0 ? total : -errno;
    uint32_t head_sent = (uint64_t)sent < head ? (uint32_t)sent : head;
    one->header_start += head_sent;
    uint64_t taken = (uint64_t)sent - head_sent;
    one->write_left -= taken;
    one->mask_at = (one->mask_at + (uint32_t)taken) & 3;
    total += (int64_t)taken;
    if ((uint64_t)sent < head + part && taken == 0) return total > 0 ? total : -EAGAIN;
  }
  return total;
}

int64_t cbench_read(int32_t fd, void *bytes, int64_t count) {
  struct carried *one = fd < DESCRIPTORS_MAX ? carried[fd] : NULL;
  if (one) return one->tls ? tls_read(one->tls, bytes, count) : websocket_read(fd, one, bytes, count);
  ssize_t got = recv(fd, bytes, (size_t)count, 0);
  return got >= 0 ? got : -errno;
}

int64_t cbench_write(int32_t fd, const void *bytes, int64_t count) {
  struct carried *one = fd < DESCRIPTORS_MAX ? carried[fd] : NULL;
  if (one) return one->tls ? tls_write(one->tls, bytes, count) : websocket_write(fd, one, bytes, count);
  ssize_t put = send(fd, bytes, (size_t)count, MSG_NOSIGNAL);
  return put >= 0 ? put : -errno;
}
