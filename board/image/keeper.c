/* Keeps the daemon running, and the board: what a service manager does elsewhere.
 *
 * usage: keeper CONFIGURATION
 *
 * - starts `tapline run`, as user tapline;
 * - the daemon reports to it as to a service manager (sd_notify(3)); without a sign of life for DAEMON_SECONDS it is
 *   ended with SIGABRT, then with SIGKILL;
 * - when the daemon has ended, however it ended, `tapline safe` is run, then the daemon is started again;
 * - feeds the hardware's watchdog. It stops doing so when the daemon cannot even be killed for STUCK_SECONDS; the
 *   hardware starts the board again then, as it does when the kernel or this program stands still.
 *
 * SIGTERM ends the daemon in good order and then this program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  START_SECONDS = 60,    /* until READY=1 */
  DAEMON_SECONDS = 10,   /* between two WATCHDOG=1 */
  ABORT_SECONDS = 2,     /* from SIGABRT to SIGKILL */
  STUCK_SECONDS = 20,    /* from the first signal until the watchdog is given up */
  STOP_SECONDS = 16,     /* from SIGTERM to SIGKILL; the daemon takes 15 at most */
  SAFE_SECONDS = 10,     /* the longest `tapline safe` */
  WATCHDOG_SECONDS = 15, /* the hardware's; a Raspberry Pi's can do no more */
  RESTART_SECONDS_MAX = 10,
  USER = 100,  /* tapline in /etc/passwd */
  GROUP = 997, /* gpio */
};

#define SOCKET "/run/keeper"
#define READY_FILE "/run/tapline/ready"

static const char *configuration;
static int watchdog = -1;

static long now_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

static void say(const char *what) { dprintf(STDERR_FILENO, "keeper: %s\n", what); }

static void open_watchdog(void) {
  int seconds = WATCHDOG_SECONDS;
  /* QEMU's Raspberry Pi takes the arming of the watchdog for its end; cmdline.txt can forbid it. */
  const char *wanted = getenv("TAPLINE_WATCHDOG");
  if (wanted && !strcmp(wanted, "off")) return;
  if (watchdog >= 0 || (watchdog = open("/dev/watchdog", O_WRONLY | O_CLOEXEC)) < 0) return;
  ioctl(watchdog, WDIOC_SETTIMEOUT, &seconds);
  say("the hardware's watchdog is armed");
}

static void feed_watchdog(void) {
  open_watchdog(); /* its driver may come later than we */
  if (watchdog >= 0) ioctl(watchdog, WDIOC_KEEPALIVE, 0);
}

/* A child that runs `tapline COMMAND -c CONFIGURATION`. */
static pid_t start(const char *command) {
  pid_t child = fork();
  if (child != 0) return child;
  sigset_t none;
  gid_t group = GROUP;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (setgroups(1, &group) || setgid(GROUP) || setuid(USER)) _exit(70);
  execl("/bin/tapline", "tapline", command, "-c", configuration, (char *)NULL);
  _exit(70);
}

/* Whether `child` has ended; its status in *status. */
static int reaped(pid_t child, int *status) {
  int state;
  if (waitpid(child, &state, WNOHANG) != child) return 0;
  *status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  return 1;
}

/* What the daemon can no longer do itself. */
static void make_safe(void) {
  int status;
  pid_t child = start("safe");
  for (int tenths = 0; child > 0 && !reaped(child, &status); tenths++) {
    if (tenths == SAFE_SECONDS * 10) kill(child, SIGKILL);
    if (tenths % 10 == 0) feed_watchdog();
    usleep(100000);
  }
}

static int notify_socket(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET};
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  unlink(SOCKET);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || chown(SOCKET, 0, GROUP) || chmod(SOCKET, 0660))
    return -1;
  return fd;
}

int main(int argc, char **argv) {
  if (argc != 2) return 64;
  configuration = argv[1];
  sigset_t handled;
  sigemptyset(&handled);
  sigaddset(&handled, SIGTERM);
  sigaddset(&handled, SIGCHLD);
  sigprocmask(SIG_BLOCK, &handled, NULL);
  int signals = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
  int socket = notify_socket();
  if (signals < 0 || socket < 0) return perror("keeper"), 70;
  setenv("NOTIFY_SOCKET", SOCKET, 1);
  char microseconds[24];
  snprintf(microseconds, sizeof microseconds, "%d000000", DAEMON_SECONDS);
  setenv("WATCHDOG_USEC", microseconds, 1);

  int stopping = 0, ready = 0, pause = 1;
  long alive = 0, asked = 0; /* last sign of life; since when it is asked to end, 0 if it is not */
  pid_t daemon = -1;
  for (;;) {
    long now = now_seconds();
    if (daemon < 0) {
      if (stopping) return 0;
      unlink(READY_FILE);
      ready = 0, asked = 0, alive = now;
      daemon = start("run");
    }
    long limit = ready ? DAEMON_SECONDS : START_SECONDS;
    if (!asked && now - alive > limit) {
      say("the daemon gives no sign of life and is ended");
      kill(daemon, SIGABRT);
      asked = now;
    } else if (asked && now - asked > (stopping ? STOP_SECONDS : ABORT_SECONDS)) {
      kill(daemon, SIGKILL);
    }
    if (!asked || now - asked < STUCK_SECONDS) feed_watchdog();

    struct pollfd fds[] = {{signals, POLLIN, 0}, {socket, POLLIN, 0}};
    poll(fds, 2, 1000);
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info) {
      if (info.ssi_signo != SIGTERM || stopping) continue;
      stopping = 1;
      asked = now_seconds();
      kill(daemon, SIGTERM);
    }
    char text[256];
    ssize_t count;
    while ((count = read(socket, text, sizeof text - 1)) >= 0) {
      text[count] = 0;
      alive = now_seconds();
      if (!ready && strstr(text, "READY=1")) {
        ready = 1, pause = 1;
        close(open(READY_FILE, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
      }
    }

    int status;
    if (!reaped(daemon, &status)) continue;
    daemon = -1;
    dprintf(STDERR_FILENO, "keeper: the daemon ended with %d\n", status);
    make_safe();
    if (stopping) continue;
    for (int second = 0; second < pause; second++) feed_watchdog(), sleep(1);
    pause = pause * 2 < RESTART_SECONDS_MAX ? pause * 2 : RESTART_SECONDS_MAX;
  }
}
