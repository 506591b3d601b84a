#define _GNU_SOURCE
#include "CBench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t nanoseconds(clockid_t clock) {
  struct timespec time;
  return clock_gettime(clock, &time) == 0 ? (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec : 0;
}

uint64_t cbench_now(void) { return nanoseconds(CLOCK_MONOTONIC); }

void cbench_raise_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int32_t cbench_pin(int32_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}

int32_t cbench_spawn(char *const *arguments, int32_t cpu, const char *log) {
  pid_t pid = vfork();
  if (pid < 0) return -errno;
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (cpu >= 0) cbench_pin(cpu);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd >= 0) {
      dup2(fd, 1);
      dup2(fd, 2);
    }
    execvp(arguments[0], arguments);
    _exit(127);
  }
  return pid;
}

int32_t cbench_has_ended(int32_t pid) { return waitpid(pid, NULL, WNOHANG) == pid; }

void cbench_stop(int32_t pid) {
  kill(pid, SIGTERM);
  for (int tenths = 0; tenths < 50; tenths++) {
    if (waitpid(pid, NULL, WNOHANG) != 0) return;
    usleep(tenths == 0 ? 5000 : 100000);
  }
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

uint64_t cbench_cpu(int32_t pid) {
  clockid_t clock;
  return clock_getcpuclockid(pid, &clock) == 0 ? nanoseconds(clock) : 0;
}

static int32_t start_connecting(int32_t port, int type) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type, 0);
  if (fd < 0) return -errno;
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
    int error = errno;
    close(fd);
    return -error;
  }
  if (type == SOCK_NONBLOCK) return fd;
  int32_t begun = cbench_carrier_begin(fd);
  if (begun != 0) {
    close(fd);
    return begun;
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

int32_t cbench_connect(int32_t port) { return start_connecting(port, 0); }
int32_t cbench_connect_begin(int32_t port) { return start_connecting(port, SOCK_NONBLOCK); }

void cbench_close(int32_t fd) {
  cbench_carrier_end(fd);
  struct linger none = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  close(fd);
}

int32_t cbench_epoll(void) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  return fd >= 0 ? fd : -errno;
}

int32_t cbench_add(int32_t epoll, int32_t fd, int32_t index) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = (uint32_t)index};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

int32_t cbench_wait(int32_t epoll, int32_t *indices, int32_t milliseconds) {
  struct epoll_event events[1024];
  int count = epoll_wait(epoll, events, 1024, milliseconds);
  for (int index = 0; index < count; index++) indices[index] = (int32_t)events[index].data.u32;
  return count >= 0 ? count : 0;
}

int64_t cbench_file(const char *path, void *bytes, int64_t count) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t got = read(fd, bytes, (size_t)count);
  close(fd);
  return got;
}
