// What the load generator wants from Linux: one call a function, -errno returned.
#ifndef CBENCH_H
#define CBENCH_H

#include <stdint.h>

/// Monotonic nanoseconds.
uint64_t cbench_now(void);

/// As many descriptors as the hard limit allows, for this process and those it starts.
void cbench_raise_descriptors(void);
/// This process, and those it starts from now on, on one core.
int32_t cbench_pin(int32_t cpu);

/// Starts a program on `cpu`, its output in `log`; it dies with its parent. Process id, or -errno.
int32_t cbench_spawn(char *const *arguments, int32_t cpu, const char *log);
/// Sends SIGTERM, after 5 s SIGKILL, and takes the exit status.
void cbench_stop(int32_t pid);
/// 1 if it has ended; its status is taken.
int32_t cbench_has_ended(int32_t pid);
/// Nanoseconds of processor time that all threads of `pid` have taken, user and kernel. 0: not known.
uint64_t cbench_cpu(int32_t pid);

/// What lies between a socket and MQTT.
enum { CBENCH_TCP, CBENCH_WEBSOCKET, CBENCH_TLS };
/// Connections have this carrier from now on. 0, or -errno.
int32_t cbench_carry(int32_t carrier);
/// Upgrades a blocking connection, or shakes hands on it. 0, or -errno.
int32_t cbench_carrier_begin(int32_t fd);
/// Frees what the carrier holds for a connection.
void cbench_carrier_end(int32_t fd);

/// Connects to 127.0.0.1, through the carrier; then non-blocking and without Nagle's delay. Descriptor, or -errno.
int32_t cbench_connect(int32_t port);
/// The same without waiting for the other side, and without a carrier.
int32_t cbench_connect_begin(int32_t port);
/// Closes without leaving a port in TIME_WAIT.
void cbench_close(int32_t fd);
/// Bytes of MQTT, 0 at the end, or -errno. What is less than `count` is all there is.
int64_t cbench_read(int32_t fd, void *bytes, int64_t count);
/// Bytes of MQTT taken, or -errno. What was not taken is offered again, first.
int64_t cbench_write(int32_t fd, const void *bytes, int64_t count);

int32_t cbench_epoll(void);
/// Edge-triggered, both directions.
int32_t cbench_add(int32_t epoll, int32_t fd, int32_t index);
/// Indices of what is ready, at most 1024; their number.
int32_t cbench_wait(int32_t epoll, int32_t *indices, int32_t milliseconds);

/// A whole small file, as of /proc. Bytes read, or -errno.
int64_t cbench_file(const char *path, void *bytes, int64_t count);

#endif
