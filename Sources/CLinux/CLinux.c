#define _GNU_SOURCE
#include "CLinux.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

_Static_assert(CLINUX_ENOENT == ENOENT && CLINUX_EINTR == EINTR && CLINUX_EIO == EIO && CLINUX_ENXIO == ENXIO, "errno");
_Static_assert(CLINUX_EAGAIN == EAGAIN && CLINUX_ENOMEM == ENOMEM && CLINUX_EACCES == EACCES, "errno");
_Static_assert(CLINUX_EBUSY == EBUSY && CLINUX_ENODEV == ENODEV && CLINUX_EINVAL == EINVAL, "errno");
_Static_assert(CLINUX_EISDIR == EISDIR && CLINUX_ENOTDIR == ENOTDIR && CLINUX_EROFS == EROFS, "errno");
_Static_assert(CLINUX_EFBIG == EFBIG && CLINUX_EPIPE == EPIPE && CLINUX_EPERM == EPERM, "errno");
_Static_assert(CLINUX_ENAMETOOLONG == ENAMETOOLONG && CLINUX_ENOSYS == ENOSYS, "errno");
_Static_assert(CLINUX_EOPNOTSUPP == EOPNOTSUPP && CLINUX_ECONNABORTED == ECONNABORTED, "errno");
_Static_assert(CLINUX_EADDRINUSE == EADDRINUSE && CLINUX_EADDRNOTAVAIL == EADDRNOTAVAIL, "errno");
_Static_assert(CLINUX_ECONNRESET == ECONNRESET, "errno");
_Static_assert(CLINUX_EPROTO == EPROTO && CLINUX_ENOPROTOOPT == ENOPROTOOPT && CLINUX_ENONET == ENONET, "errno");
_Static_assert(CLINUX_ENETDOWN == ENETDOWN && CLINUX_ENETUNREACH == ENETUNREACH, "errno");
_Static_assert(CLINUX_EHOSTDOWN == EHOSTDOWN && CLINUX_EHOSTUNREACH == EHOSTUNREACH, "errno");
_Static_assert(CLINUX_ETIMEDOUT == ETIMEDOUT && CLINUX_ECONNREFUSED == ECONNREFUSED, "errno");
_Static_assert(CLINUX_CLOCK_REALTIME == CLOCK_REALTIME && CLINUX_CLOCK_MONOTONIC == CLOCK_MONOTONIC, "clocks");
_Static_assert(CLINUX_CLOCK_BOOTTIME == CLOCK_BOOTTIME, "clocks");
_Static_assert(CLINUX_EPOLL_ADD == EPOLL_CTL_ADD && CLINUX_EPOLL_REMOVE == EPOLL_CTL_DEL, "epoll");
_Static_assert(CLINUX_EPOLL_EDGE == (uint32_t)EPOLLET, "epoll");
_Static_assert((int)EPOLLIN == CLINUX_EPOLL_IN && (int)EPOLLOUT == CLINUX_EPOLL_OUT, "epoll");
_Static_assert((int)EPOLLPRI == CLINUX_EPOLL_PRI && (int)EPOLLERR == CLINUX_EPOLL_ERR, "epoll");
_Static_assert((int)EPOLLHUP == CLINUX_EPOLL_HUP && (int)EPOLLRDHUP == CLINUX_EPOLL_RDHUP, "epoll");
_Static_assert(sizeof(struct clinux_part) == sizeof(struct iovec), "iovec");
_Static_assert(offsetof(struct clinux_part, count) == offsetof(struct iovec, iov_len), "iovec");
_Static_assert(CLINUX_SIGHUP == SIGHUP && CLINUX_SIGINT == SIGINT && CLINUX_SIGUSR1 == SIGUSR1, "signals");
_Static_assert(CLINUX_SIGPIPE == SIGPIPE && CLINUX_SIGTERM == SIGTERM, "signals");

static int32_t or_errno(int result) { return result < 0 ? -errno : result; }
static int64_t or_errno64(ssize_t result) { return result < 0 ? -errno : result; }

const char *clinux_error_text(int32_t error) {
  const char *text = strerrordesc_np(error);
  return text ? text : "Unknown error";
}

// Descriptors and files

int32_t clinux_open_read(const char *path) { return or_errno(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)); }
int32_t clinux_open_write(const char *path) { return or_errno(open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY)); }
int32_t clinux_create(const char *path, uint32_t mode) {
  return or_errno(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, (mode_t)mode));
}

int32_t clinux_sync(int32_t fd) { return or_errno(fsync(fd)); }
int32_t clinux_rename(const char *from, const char *to) { return or_errno(rename(from, to)); }
int32_t clinux_open_rewrite(const char *path) { return or_errno(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY)); }
int32_t clinux_open_directory(const char *path) { return or_errno(open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY)); }

int64_t clinux_directory_read(int32_t fd, void *buffer, size_t count) {
  return or_errno64(getdents64(fd, buffer, count));
}

int32_t clinux_close(int32_t fd) {
  int result = close(fd);
  return result < 0 && errno != EINTR ? -errno : 0;
}

int64_t clinux_read(int32_t fd, void *bytes, size_t count) { return or_errno64(read(fd, bytes, count)); }
int64_t clinux_write(int32_t fd, const void *bytes, size_t count) { return or_errno64(write(fd, bytes, count)); }

int64_t clinux_write_now(int32_t fd, const void *bytes, size_t count) {
  struct pollfd place = {.fd = fd, .events = POLLOUT};
  int ready = poll(&place, 1, 0);
  return ready > 0 ? or_errno64(write(fd, bytes, count)) : ready == 0 ? -EAGAIN : -errno;
}

int32_t clinux_file_id(int32_t fd, uint64_t *device, uint64_t *inode) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -errno;
  *device = status.st_dev;
  *inode = status.st_ino;
  return 0;
}

int32_t clinux_open_read_now(const char *path) {
  return or_errno(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
}

int32_t clinux_file_status(int32_t fd, struct clinux_file_status *status) {
  struct stat found;
  if (fstat(fd, &found) < 0) return -errno;
  status->kind = S_ISREG(found.st_mode) ? CLINUX_REGULAR : S_ISDIR(found.st_mode) ? CLINUX_DIRECTORY : CLINUX_OTHER;
  status->permissions = found.st_mode & 07777;
  status->owner = found.st_uid;
  status->group = found.st_gid;
  return 0;
}

int32_t clinux_set_owner(int32_t fd, uint32_t owner, uint32_t group) { return or_errno(fchown(fd, owner, group)); }
int32_t clinux_set_permissions(int32_t fd, uint32_t permissions) { return or_errno(fchmod(fd, (mode_t)permissions)); }

int32_t clinux_set_file_permissions(const char *path, uint32_t permissions) {
  return or_errno(chmod(path, (mode_t)permissions));
}

int64_t clinux_writev(int32_t fd, const struct clinux_part *parts, int32_t count) {
  return or_errno64(writev(fd, (const struct iovec *)parts, count));
}

int32_t clinux_fill_standard_descriptors(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest one that is free, which is `fd`: those below are open.
    if (open("/dev/null", O_RDWR | O_NOCTTY) < 0) return -errno;
  }
  return 0;
}

int32_t clinux_set_nonblocking(int32_t fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 ? -errno : or_errno(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

int32_t clinux_unlink(const char *path) { return or_errno(unlink(path)); }

int32_t clinux_real_path(const char *path, char *text, size_t capacity) {
  char *found = realpath(path, NULL);
  if (!found) return -errno;
  size_t count = strlen(found) + 1;
  if (count <= capacity) memcpy(text, found, count);
  free(found);
  return count <= capacity ? 0 : -ENAMETOOLONG;
}

int64_t clinux_readlink(const char *path, void *target, size_t capacity) {
  return or_errno64(readlink(path, target, capacity));
}

int32_t clinux_socket_file(const char *path, uint64_t *device, uint64_t *inode) {
  struct stat status;
  if (lstat(path, &status) < 0) return -errno;
  *device = status.st_dev;
  *inode = status.st_ino;
  return S_ISSOCK(status.st_mode);
}

// Clocks

int64_t clinux_clock(int32_t clock) {
  struct timespec time = {0};
  clock_gettime(clock, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void clinux_sleep(int64_t nanoseconds) {
  struct timespec time = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  nanosleep(&time, NULL);
}

// Polling

int32_t clinux_wait_readable(int32_t fd, int64_t timeout) {
  struct pollfd place = {.fd = fd, .events = POLLIN};
  struct timespec time = {.tv_sec = timeout / 1000000000, .tv_nsec = timeout % 1000000000};
  return or_errno(ppoll(&place, 1, &time, NULL));
}

int32_t clinux_epoll_create(void) { return or_errno(epoll_create1(EPOLL_CLOEXEC)); }

int32_t clinux_epoll_control(int32_t epoll, int32_t operation, int32_t fd, uint32_t events, uint64_t token) {
  struct epoll_event event = {.events = events, .data = {.u64 = token}};
  return or_errno(epoll_ctl(epoll, operation, fd, &event));
}

size_t clinux_epoll_event_size(void) { return sizeof(struct epoll_event); }

int32_t clinux_epoll_wait(int32_t epoll, void *events, int32_t capacity, int64_t timeout) {
  static int old_kernel;
  if (timeout > 0 && !old_kernel) {
    struct timespec time = {.tv_sec = timeout / 1000000000, .tv_nsec = timeout % 1000000000};
    int count = epoll_pwait2(epoll, events, capacity, &time, NULL);
    if (count >= 0 || errno != ENOSYS) return or_errno(count);
    old_kernel = 1;
  }
  int64_t milliseconds = timeout <= 0 ? timeout : timeout / 1000000 + (timeout % 1000000 != 0);
  if (milliseconds < 0) milliseconds = -1;
  if (milliseconds > INT32_MAX) milliseconds = INT32_MAX;
  return or_errno(epoll_wait(epoll, events, capacity, (int)milliseconds));
}

uint32_t clinux_epoll_event(const void *events, int32_t index, uint64_t *token) {
  const struct epoll_event *event = (const struct epoll_event *)events + index;
  *token = event->data.u64;
  return event->events;
}

int32_t clinux_eventfd(int32_t nonblocking) {
  return or_errno(eventfd(0, EFD_CLOEXEC | (nonblocking ? EFD_NONBLOCK : 0)));
}

// Signals

static sigset_t set_of(uint64_t mask) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal = 1; signal <= 64; signal++)
    if (mask >> (signal - 1) & 1) sigaddset(&set, signal);
  return set;
}

int32_t clinux_signals_block(uint64_t mask) {
  sigset_t set = set_of(mask);
  return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int32_t clinux_signal_ignore(int32_t number) { return signal(number, SIG_IGN) == SIG_ERR ? -errno : 0; }

int32_t clinux_signalfd(uint64_t mask) {
  sigset_t set = set_of(mask);
  return or_errno(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

int32_t clinux_signal_read(int32_t fd) {
  struct signalfd_siginfo info;
  ssize_t count = read(fd, &info, sizeof info);
  if (count < 0) return -errno;
  return count == sizeof info ? (int32_t)info.ssi_signo : -EIO;
}

int32_t clinux_signal_self(int32_t signal) { return -pthread_kill(pthread_self(), signal); }

// Memory

int32_t clinux_map(size_t count, void **memory) {
  void *place = mmap(NULL, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) return -errno;
  *memory = place;
  return 0;
}

int32_t clinux_unmap(void *memory, size_t count) { return or_errno(munmap(memory, count)); }

__attribute__((noinline)) void clinux_touch_stack(size_t count) {
  volatile char stack[count];
  for (size_t depth = 1; depth <= count; depth += 4096) stack[count - depth] = 0;  // downwards, as it grows
}

/* Code and constants are the file's: what is used again is mapped again, from the page cache. */
static int let_go_of_code(struct dl_phdr_info *object, size_t size, void *page) {
  (void)size;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_W)) continue;
    uintptr_t start = (object->dlpi_addr + part->p_vaddr) & -*(uintptr_t *)page;
    madvise((void *)start, object->dlpi_addr + part->p_vaddr + part->p_memsz - start, MADV_DONTNEED);
  }
  return 0;
}

int32_t clinux_keep_out_of_dumps(void *memory, size_t count) {
  return madvise(memory, count, MADV_DONTDUMP) < 0 ? -errno : 0;
}

void clinux_trim_memory(void) {
  malloc_trim(0);
  uintptr_t page = clinux_page_size();
  dl_iterate_phdr(let_go_of_code, &page);
}

size_t clinux_page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }
