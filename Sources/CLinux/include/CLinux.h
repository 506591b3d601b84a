/// The kernel's and the C library's calls that Tapline makes, one a function, with the types of <stdint.h>.
/// Every function that can fail returns -errno. None allocates unless its comment says so. Descriptors and
/// memory belong to the caller; the process's arguments are all that is kept here.
#ifndef CLINUX_H
#define CLINUX_H

#include <stddef.h>
#include <stdint.h>

// Errors

/// A sentence for `error` (an errno value), in static memory and not translated; never NULL.
const char *clinux_error_text(int32_t error);

enum {
  CLINUX_EPERM = 1,
  CLINUX_ENOENT = 2,
  CLINUX_EINTR = 4,
  CLINUX_EIO = 5,
  CLINUX_ENXIO = 6,
  CLINUX_EAGAIN = 11,
  CLINUX_ENOMEM = 12,
  CLINUX_EACCES = 13,
  CLINUX_EBUSY = 16,
  CLINUX_ENODEV = 19,
  CLINUX_ENOTDIR = 20,
  CLINUX_EISDIR = 21,
  CLINUX_EINVAL = 22,
  CLINUX_EFBIG = 27,
  CLINUX_EROFS = 30,
  CLINUX_EPIPE = 32,
  CLINUX_ENAMETOOLONG = 36,
  CLINUX_ENOSYS = 38,
  CLINUX_ENONET = 64,
  CLINUX_EPROTO = 71,
  CLINUX_ENOPROTOOPT = 92,
  CLINUX_EOPNOTSUPP = 95,
  CLINUX_EADDRINUSE = 98,
  CLINUX_EADDRNOTAVAIL = 99,
  CLINUX_ENETDOWN = 100,
  CLINUX_ENETUNREACH = 101,
  CLINUX_ECONNABORTED = 103,
  CLINUX_ECONNRESET = 104,
  CLINUX_ETIMEDOUT = 110,
  CLINUX_ECONNREFUSED = 111,
  CLINUX_EHOSTDOWN = 112,
  CLINUX_EHOSTUNREACH = 113,
};

// Descriptors and files

/// open(2) for reading, close-on-exec. A FIFO without a writer blocks. The descriptor, or -errno.
int32_t clinux_open_read(const char *path);
/// open(2) for writing an existing file, close-on-exec. The descriptor, or -errno.
int32_t clinux_open_write(const char *path);
/// open(2) of a new file for writing, close-on-exec, with these permission bits; EEXIST where there is something of that
/// name, a symbolic link too. The descriptor, or -errno.
int32_t clinux_create(const char *path, uint32_t mode);
/// fsync(2), of a directory too. 0 or -errno.
int32_t clinux_sync(int32_t fd);
/// rename(2): replaces what `to` was, at once. 0 or -errno.
int32_t clinux_rename(const char *from, const char *to);
/// open(2) for writing an existing file anew, close-on-exec. The descriptor, or -errno.
int32_t clinux_open_rewrite(const char *path);
/// open(2) of a directory for clinux_directory_read. The descriptor, or -errno.
int32_t clinux_open_directory(const char *path);
/// getdents64(2): struct linux_dirent64 records into `buffer`. Bytes, 0 at the end, or -errno.
int64_t clinux_directory_read(int32_t fd, void *buffer, size_t count);
/// close(2); an interrupted close has closed. 0 or -errno.
int32_t clinux_close(int32_t fd);
/// read(2). Bytes read, 0 at the end, or -errno.
int64_t clinux_read(int32_t fd, void *bytes, size_t count);
/// recv(2) of a socket that leaves the bytes where they are. Bytes there, 0 at the end, or -errno.
int64_t clinux_peek(int32_t fd, void *bytes, size_t count);
/// recv(2) with MSG_TRUNC: takes bytes off a socket. TCP leaves `bytes` as it is (tcp(7)); other sockets copy them there. Bytes
/// taken, 0 at the end, or -errno.
int64_t clinux_discard(int32_t fd, void *bytes, size_t count);
/// write(2). Bytes written, or -errno.
int64_t clinux_write(int32_t fd, const void *bytes, size_t count);
/// write(2) of what fits a page, if poll(2) says that it need not wait, whatever the descriptor's flags, which others may
/// share. Bytes written, or -errno, -EAGAIN where it would wait.
int64_t clinux_write_now(int32_t fd, const void *bytes, size_t count);
/// fstat(2): which file it is. 0 or -errno.
int32_t clinux_file_id(int32_t fd, uint64_t *device, uint64_t *inode);
/// Opens /dev/null as each of the descriptors 0 to 2 that is closed. To be called before the process opens any other. 0 or
/// -errno.
int32_t clinux_fill_standard_descriptors(void);
/// open(2) for reading, nonblocking, close-on-exec: a FIFO or a device does not hold it up. The descriptor, or -errno.
int32_t clinux_open_read_now(const char *path);
enum { CLINUX_REGULAR = 0, CLINUX_DIRECTORY = 1, CLINUX_OTHER = 2 };
/// A part of what fstat(2) says of a file: its kind, its permission bits, its owner and its group.
struct clinux_file_status {
  int32_t kind;
  uint32_t permissions;
  uint32_t owner;
  uint32_t group;
};
/// fstat(2). 0 or -errno.
int32_t clinux_file_status(int32_t fd, struct clinux_file_status *status);
/// fchown(2). 0 or -errno.
int32_t clinux_set_owner(int32_t fd, uint32_t owner, uint32_t group);
/// fchmod(2), whatever the process's umask. 0 or -errno.
int32_t clinux_set_permissions(int32_t fd, uint32_t permissions);
/// chmod(2), whatever the process's umask. 0 or -errno.
int32_t clinux_set_file_permissions(const char *path, uint32_t permissions);
/// fcntl(2) F_SETFL with O_NONBLOCK added. 0 or -errno.
int32_t clinux_set_nonblocking(int32_t fd);
/// unlink(2). 0 or -errno.
int32_t clinux_unlink(const char *path);
/// readlink(2). Bytes of the target, without a NUL, or -errno.
int64_t clinux_readlink(const char *path, void *target, size_t capacity);
/// realpath(3): the absolute path without links, NUL-terminated. Allocates. 0 or -errno.
int32_t clinux_real_path(const char *path, char *text, size_t capacity);
/// lstat(2): which file `path` is, without following a link. 1 when it is a socket, 0 when it is something else, or -errno.
int32_t clinux_socket_file(const char *path, uint64_t *device, uint64_t *inode);

/// One part of a gathered write; has the layout of struct iovec.
struct clinux_part {
  const void *base;
  uintptr_t count;
};
/// writev(2), at most 1024 parts. Bytes written, or -errno.
int64_t clinux_writev(int32_t fd, const struct clinux_part *parts, int32_t count);

// Clocks

enum { CLINUX_CLOCK_REALTIME = 0, CLINUX_CLOCK_MONOTONIC = 1, CLINUX_CLOCK_BOOTTIME = 7 };
/// clock_gettime(2) in nanoseconds.
int64_t clinux_clock(int32_t clock);
/// nanosleep(2); a signal may end it early.
void clinux_sleep(int64_t nanoseconds);

// Polling

enum { CLINUX_EPOLL_ADD = 1, CLINUX_EPOLL_REMOVE = 2 };
enum {
  CLINUX_EPOLL_IN = 0x001,
  CLINUX_EPOLL_PRI = 0x002,
  CLINUX_EPOLL_OUT = 0x004,
  CLINUX_EPOLL_ERR = 0x008,
  CLINUX_EPOLL_HUP = 0x010,
  CLINUX_EPOLL_RDHUP = 0x2000,
};
#define CLINUX_EPOLL_EDGE 0x80000000u
/// ppoll(2) of one descriptor; `timeout` in nanoseconds, 0 or more. 1 when it is readable, 0 at the end, or -errno.
int32_t clinux_wait_readable(int32_t fd, int64_t timeout);
/// epoll_create1(2), close-on-exec. The descriptor, or -errno.
int32_t clinux_epoll_create(void);
/// epoll_ctl(2). 0 or -errno.
int32_t clinux_epoll_control(int32_t epoll, int32_t operation, int32_t fd, uint32_t events, uint64_t token);
/// Bytes of one struct epoll_event, whose layout differs between architectures.
size_t clinux_epoll_event_size(void);
/// epoll_pwait2(2), or epoll_wait(2) rounded up to a millisecond on kernels before 5.11. `timeout` in nanoseconds,
/// negative for none. Events, or -errno.
int32_t clinux_epoll_wait(int32_t epoll, void *events, int32_t capacity, int64_t timeout);
/// The event mask and token at `index` of what clinux_epoll_wait filled.
uint32_t clinux_epoll_event(const void *events, int32_t index, uint64_t *token);
/// eventfd(2), close-on-exec. The descriptor, or -errno.
int32_t clinux_eventfd(int32_t nonblocking);

// Sockets

enum { CLINUX_UNIX = 1, CLINUX_IPV4 = 2, CLINUX_IPV6 = 10 };
/// An address of one of the three families. `ip` holds 4 or 16 bytes, most significant first. A unix `path` that
/// begins with NUL is abstract; `path_count` counts its bytes.
struct clinux_address {
  int32_t family;
  uint32_t scope;
  uint16_t port;
  uint16_t path_count;
  uint8_t ip[16];
  uint8_t path[108];
};
/// inet_pton(3) for the address's family. 1, or 0 when `text` is no such address, or -errno.
int32_t clinux_parse_ip(const char *text, struct clinux_address *address);
/// inet_ntop(3) into `text`, NUL-terminated. 0 or -errno.
int32_t clinux_format_ip(const struct clinux_address *address, char *text, size_t capacity);
/// getifaddrs(3): the addresses of the interfaces that are up, IPv4 and IPv6, at most `capacity`. Allocates. Their count, or
/// -errno.
int32_t clinux_own_addresses(struct clinux_address *addresses, int32_t capacity);
/// socket(2): a stream socket, nonblocking, close-on-exec. The descriptor, or -errno.
int32_t clinux_stream_socket(int32_t family);
/// socket(2): a unix datagram socket, nonblocking, close-on-exec. The descriptor, or -errno.
int32_t clinux_datagram_socket(void);
/// socketpair(2): a pair of connected unix stream sockets, nonblocking, close-on-exec. 0 or -errno.
int32_t clinux_socket_pair(int32_t *first, int32_t *second);

enum {
  CLINUX_REUSE_ADDRESS = 0,
  CLINUX_NO_DELAY = 1,
  CLINUX_V6_ONLY = 2,
  CLINUX_KEEP_ALIVE = 3,
  CLINUX_SEND_BUFFER = 4,
  CLINUX_KEEP_IDLE = 5,      // seconds
  CLINUX_KEEP_INTERVAL = 6,  // seconds
  CLINUX_KEEP_COUNT = 7,
  CLINUX_USER_TIMEOUT = 8,  // milliseconds
  CLINUX_SEGMENT_BYTES = 9,
};
/// setsockopt(2) of one of the options above. 0 or -errno.
int32_t clinux_set_option(int32_t fd, int32_t option, int32_t value);
/// bind(2). 0 or -errno.
int32_t clinux_bind(int32_t fd, const struct clinux_address *address);
/// listen(2). 0 or -errno.
int32_t clinux_listen(int32_t fd, int32_t backlog);
/// connect(2). 0 or -errno.
int32_t clinux_connect(int32_t fd, const struct clinux_address *address);
/// accept4(2), nonblocking, close-on-exec. The descriptor, or -errno.
int32_t clinux_accept(int32_t fd, struct clinux_address *peer);
/// getsockname(2). 0 or -errno.
int32_t clinux_local_address(int32_t fd, struct clinux_address *address);
/// getpeername(2). 0 or -errno.
int32_t clinux_peer_address(int32_t fd, struct clinux_address *address);
/// getsockopt(2) SO_TYPE: 1 when it is a stream socket, 0 when it is another one, or -errno.
int32_t clinux_is_stream(int32_t fd);
/// getsockopt(2) SO_ACCEPTCONN: 1 when the socket listens, 0 when it does not, or -errno.
int32_t clinux_is_listening(int32_t fd);
/// getsockopt(2) SO_PEERCRED: who connected a unix socket. 0 or -errno.
int32_t clinux_peer_credentials(int32_t fd, uint32_t *uid, uint32_t *gid, int32_t *pid);
/// shutdown(2) of both directions or, with `write_only`, of writing. 0 or -errno.
int32_t clinux_shutdown(int32_t fd, int32_t write_only);

// Terminals

enum { CLINUX_PARITY_NONE = 0, CLINUX_PARITY_EVEN = 1, CLINUX_PARITY_ODD = 2 };
/// open(2) of a terminal for reading and writing, nonblocking, close-on-exec, not as the controlling one. The descriptor,
/// or -errno.
int32_t clinux_terminal_open(const char *path);
/// tcsetattr(3): raw, 8 bits, one stop bit, without modem control; bytes that come in wrong are marked (INPCK, PARMRK).
/// `request_to_send`: RTS and CTS say who may send. 0, or -errno: -EINVAL for a baud without a constant, -EOPNOTSUPP where
/// the device does not take it.
int32_t clinux_terminal_set(int32_t fd, int32_t baud, int32_t parity, int32_t request_to_send);
/// ioctl(2) TIOCEXCL: others cannot open it from here on. 0 or -errno.
int32_t clinux_terminal_exclude(int32_t fd);
/// tcflush(3): forgets what has come in and was not read, and what was written and is not sent. 0 or -errno.
int32_t clinux_terminal_discard(int32_t fd);

/// isatty(3): 1 when it is a terminal, else 0.
int32_t clinux_is_terminal(int32_t fd);
/// tcsetattr(3): whether the terminal shows what is typed. Hiding forgets what was typed before. 0 or -errno.
int32_t clinux_terminal_echo(int32_t fd, int32_t shows);

// Signals

enum { CLINUX_SIGHUP = 1, CLINUX_SIGINT = 2, CLINUX_SIGUSR1 = 10, CLINUX_SIGPIPE = 13, CLINUX_SIGTERM = 15 };
/// pthread_sigmask(3) SIG_BLOCK. Bit n-1 of `mask` is signal n. 0 or -errno.
int32_t clinux_signals_block(uint64_t mask);
/// signal(2) with SIG_IGN. 0 or -errno.
int32_t clinux_signal_ignore(int32_t signal);
/// signalfd(2), nonblocking, close-on-exec. The descriptor, or -errno.
int32_t clinux_signalfd(uint64_t mask);
/// The next signal's number from a signalfd, or -errno.
int32_t clinux_signal_read(int32_t fd);
/// pthread_kill(3) to the calling thread: for tests of a signalfd. 0 or -errno.
int32_t clinux_signal_self(int32_t signal);

// Memory

/// mmap(2): private anonymous zeroed memory, readable and writable. 0 or -errno.
int32_t clinux_map(size_t count, void **memory);
/// munmap(2). 0 or -errno.
int32_t clinux_unmap(void *memory, size_t count);
/// madvise(2) MADV_DONTDUMP of whole pages: they are in no core dump. 0 or -errno.
int32_t clinux_keep_out_of_dumps(void *memory, size_t count);
/// Touches this much of the calling thread's stack, below what it uses.
void clinux_touch_stack(size_t count);
/// Gives the kernel back what was freed, and the process's share of code that only the start has used.
void clinux_trim_memory(void);
/// Bytes of a page.
size_t clinux_page_size(void);

// Threads

/// pthread_create(3), detached, with at least `stack_bytes` of stack, all signals blocked and `name` (15 bytes at
/// most). Allocates: for start-up only. 0 or -errno.
int32_t clinux_thread_start(void (*entry)(void *context), void *context, size_t stack_bytes, const char *name);

// The process

/// Arguments as the kernel passed them, kept by a constructor: Embedded Swift has no CommandLine.
int32_t clinux_argument_count(void);
/// The argument at `index`, or NULL.
const char *clinux_argument(int32_t index);
/// getenv(3), or NULL.
const char *clinux_environment(const char *name);
/// getpid(2).
int32_t clinux_pid(void);
/// getuid(2).
uint32_t clinux_uid(void);
/// setrlimit(2) RLIMIT_NOFILE: raises the soft limit up to `wanted` as far as the hard one allows. The limit then, or
/// -errno.
int64_t clinux_raise_descriptor_limit(int64_t wanted);
/// getrandom(2), `count` bytes, from the generator that is seeded: waits for that in the first second after power-on. 0 or
/// -errno.
int32_t clinux_random(void *bytes, size_t count);
/// explicit_bzero(3).
void clinux_forget(void *bytes, size_t count);
/// Overwrites the argument at `index`, if there is one, so that ps(1) no longer shows it.
void clinux_forget_argument(int32_t index);
/// prctl(2) PR_SET_DUMPABLE: no core dump of this process, and no look into its memory by others. 0 or -errno.
int32_t clinux_refuse_core_dump(void);
/// gethostname(2), NUL-terminated. 0 or -errno.
int32_t clinux_hostname(char *text, size_t capacity);
/// exit(3).
_Noreturn void clinux_exit(int32_t status);

enum { CLINUX_NO_ARGUMENT = 0, CLINUX_REQUIRED_ARGUMENT = 1, CLINUX_OPTIONAL_ARGUMENT = 2 };
enum { CLINUX_OPTION_UNKNOWN = '?', CLINUX_OPTION_MISSING = ':', CLINUX_OPTION_END = -1 };
/// A long option. `value` is what clinux_next_option returns for it: a short option's letter, or any value of 256 or
/// more.
struct clinux_option {
  const char *name;
  int32_t has_argument;
  int32_t value;
};
/// getopt_long(3) over the arguments from `first` on, which takes the place of argv[0] (so a subcommand's options begin
/// at the subcommand). `letters` as in getopt(3), without the leading colon; at most 63 options. The option's value,
/// CLINUX_OPTION_UNKNOWN, CLINUX_OPTION_MISSING (its argument is missing) or CLINUX_OPTION_END; prints nothing. Stops
/// at the first argument that is no option. Call with the same `first` until the end.
int32_t clinux_next_option(int32_t first, const char *letters, const struct clinux_option *options, int32_t count);
/// The argument of the option just returned, or NULL.
const char *clinux_option_argument(void);
/// The index, among all arguments, of the next one to be read: after the end, the first that is no option.
int32_t clinux_option_index(void);

#endif
