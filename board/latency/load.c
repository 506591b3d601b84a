/* The load of the latency measurements: one MQTT 3.1.1 client that is publisher and subscriber, one sample at a time.
 *
 *   load lines  PORT SET STATE SAMPLES GAP           PUBLISH to the line, PUBLISH to the state message
 *   load edges  PORT PULL STATE SAMPLES GAP          edge to the state message
 *   load acks   PORT SET STATE SAMPLES GAP           PUBLISH at QoS 1 to PUBACK, PUBLISH to the state message
 *
 * SET and STATE are topics, PULL is gpio-sim's file of that name. Each sample is the other level than the one before, and
 * begins GAP to 2 GAP microseconds after the last one was over. A row of output is a sample: microseconds, one or two
 * figures. The time of a line is the kernel's own, of its tracepoint gpio:gpio_value, which the guest's init has switched
 * on, levels set only, with the clock `mono`. Time begins before send(2) of the PUBLISH or write(2) of the level, and a
 * message is there when read(2) has returned its last byte. A sample that does not come ends the program with status 1. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TRACE_PIPE "/sys/kernel/tracing/trace_pipe"

enum { CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBACK = 0x90 };
/* A sample that takes longer is lost. */
static const int lost_milliseconds = 120000;
/* What is received and not yet looked at; packets here are far smaller. */
static uint8_t buffer[4096];
static size_t filled;
static int server;

static void fail(const char *what) {
  fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
  exit(1);
}

/* CLOCK_MONOTONIC in microseconds. */
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void send_all(const void *bytes, size_t count) {
  if (send(server, bytes, count, 0) != (ssize_t)count) fail("send");
}

/* One packet: type and flags, then a body of at most 127 bytes of up to three parts. */
static size_t packet(uint8_t *out, uint8_t head, const void *body, size_t count) {
  if (count > 127) fail("a topic is too long");
  out[0] = head;
  out[1] = (uint8_t)count;
  memcpy(out + 2, body, count);
  return count + 2;
}

/* Packet ids are 1 throughout: never two are on their way. */
static size_t publish_packet(uint8_t *out, const char *topic, const char *payload, int qos) {
  uint8_t body[160];
  size_t length = strlen(topic), count = 0;
  if (length > 100) fail("a topic is too long");
  body[count++] = 0;
  body[count++] = (uint8_t)length;
  memcpy(body + count, topic, length);
  count += length;
  if (qos > 0) {
    body[count++] = 0;
    body[count++] = 1;
  }
  memcpy(body + count, payload, strlen(payload));
  return packet(out, (uint8_t)(PUBLISH | qos << 1), body, count + strlen(payload));
}

/* The bytes of the first whole packet in the buffer, or 0. */
static size_t whole_packet(void) {
  size_t length = 0, at = 1;
  for (int shift = 0; at < filled && at < 5; shift += 7) {
    length |= (size_t)(buffer[at] & 127) << shift;
    if (!(buffer[at++] & 128)) return at + length <= filled ? at + length : 0;
  }
  return 0;
}

static void drop_packet(size_t count) {
  memmove(buffer, buffer + count, filled - count);
  filled -= count;
}

/* Read once; false at the deadline. */
static bool receive(double deadline) {
  struct pollfd wait = {.fd = server, .events = POLLIN};
  double left = (deadline - now()) / 1000;
  if (left <= 0 || poll(&wait, 1, (int)left + 1) <= 0) return false;
  ssize_t count = read(server, buffer + filled, sizeof buffer - filled);
  if (count <= 0) fail("the server closed the connection");
  filled += (size_t)count;
  return true;
}

/* A PUBLISH that is not retained, on `topic`, saying `payload`? QoS 0 is what was subscribed. */
static bool says(size_t count, const char *topic, const char *payload) {
  size_t at = 2, length = strlen(topic);
  if (buffer[0] != PUBLISH || (buffer[1] & 128) || count < at + 2) return false;
  if (((size_t)buffer[at] << 8 | buffer[at + 1]) != length) return false;
  at += 2;
  return count == at + length + strlen(payload) && memcmp(buffer + at, topic, length) == 0 &&
         memcmp(buffer + at + length, payload, strlen(payload)) == 0;
}

/* Wait for a packet of that type and drop what comes before. */
static void wait_for_type(uint8_t type) {
  double deadline = now() + lost_milliseconds * 1e3;
  for (;;) {
    size_t count = whole_packet();
    if (count == 0) {
      if (!receive(deadline)) fail("no answer to the handshake");
      continue;
    }
    bool found = (buffer[0] & 0xF0) == type;
    drop_packet(count);
    if (found) return;
  }
}

static void join(int port, const char *topic) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(server, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  uint8_t out[256], body[160] = {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 4, 'l', 'o', 'a', 'd'};
  send_all(out, packet(out, 0x10, body, 16));
  wait_for_type(CONNACK);
  size_t length = strlen(topic);
  if (length > 100) fail("a topic is too long");
  uint8_t head[] = {0, 1, 0, (uint8_t)length};
  memcpy(body, head, 4);
  memcpy(body + 4, topic, length);
  body[4 + length] = 0;
  send_all(out, packet(out, 0x82, body, 5 + length));
  wait_for_type(SUBACK);
}

/* When the kernel set a line to `level`, from what the trace has now; below 0: it says nothing of it. */
static double line_time(int trace, int level) {
  static char text[65536];
  ssize_t count = read(trace, text, sizeof text - 1);
  if (count <= 0) return -1;
  text[count] = 0;
  /* `        python3-71  [000] .....   123.456789: gpio_value: 497 set 1` */
  char *event = strstr(text, ": gpio_value: ");
  if (event == NULL) return -1;
  char *line = event;
  while (line > text && line[-1] != ' ' && line[-1] != '\n') line--;
  int said = -1;
  if (sscanf(event, ": gpio_value: %*d set %d", &said) != 1 || said != level) fail("the trace says another level");
  return strtod(line, NULL) * 1e6;
}

/* A sample of modes lines and acks. */
static void command(const char *set, const char *state, bool on, int qos, int trace) {
  uint8_t out[256];
  const char *payload = on ? "ON" : "OFF";
  size_t count = publish_packet(out, set, payload, qos);
  double acked = -1, said = -1, lined = -1;
  static char before[65536];
  while (trace >= 0 && read(trace, before, sizeof before) > 0) {}
  double start = now(), deadline = start + lost_milliseconds * 1e3;
  send_all(out, count);
  while (said < 0 || (qos > 0 && acked < 0)) {
    if (!receive(deadline)) fail("a sample is lost");
    double stamp = now();
    while ((count = whole_packet()) > 0) {
      if (buffer[0] == PUBACK) acked = stamp;
      if (says(count, state, payload)) said = stamp;
      drop_packet(count);
    }
  }
  while (trace >= 0 && (lined = line_time(trace, on)) < 0)
    if (now() > deadline) fail("the trace does not say that the line was set");
  printf("%.3f %.3f\n", (trace >= 0 ? lined : acked) - start, said - start);
}

static void edge(int pull, const char *state, bool on) {
  const char *level = on ? "pull-up" : "pull-down", *payload = on ? "ON" : "OFF";
  double said = -1, start = now(), deadline = start + lost_milliseconds * 1e3;
  if (pwrite(pull, level, strlen(level), 0) < 0) fail("pull");
  while (said < 0) {
    if (!receive(deadline)) fail("a sample is lost");
    double stamp = now();
    for (size_t count; (count = whole_packet()) > 0; drop_packet(count))
      if (says(count, state, payload)) said = stamp;
  }
  printf("%.3f\n", said - start);
}

int main(int count, char **words) {
  if (count != 7) fail("usage: load lines|edges|acks PORT SET|PULL STATE SAMPLES GAP");
  const char *mode = words[1], *target = words[3], *state = words[4];
  int samples = atoi(words[5]), gap = atoi(words[6]), trace = -1, pull = -1;
  bool edges = strcmp(mode, "edges") == 0;
  if (strcmp(mode, "lines") == 0 && (trace = open(TRACE_PIPE, O_RDONLY | O_NONBLOCK)) < 0) fail(TRACE_PIPE);
  if (edges && (pull = open(target, O_WRONLY)) < 0) fail(target);
  join(atoi(words[2]), state);
  srand((unsigned)time(NULL));
  for (int sample = 0; sample < samples; sample++) {
    usleep((useconds_t)(gap + rand() % gap));
    if (edges)
      edge(pull, state, sample % 2 == 0);
    else
      command(target, state, sample % 2 == 0, strcmp(mode, "acks") == 0, trace);
  }
  return 0;
}
