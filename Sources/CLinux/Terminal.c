#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static int32_t or_errno(int result) { return result < 0 ? -errno : result; }

static const struct {
  int32_t baud;
  speed_t speed;
} speeds[] = {
    {1200, B1200},       {2400, B2400},       {4800, B4800},       {9600, B9600},       {19200, B19200},
    {38400, B38400},     {57600, B57600},     {115200, B115200},   {230400, B230400},   {460800, B460800},
    {500000, B500000},   {576000, B576000},   {921600, B921600},   {1000000, B1000000}, {1152000, B1152000},
    {1500000, B1500000}, {2000000, B2000000}, {2500000, B2500000}, {3000000, B3000000}, {3500000, B3500000},
    {4000000, B4000000},
};

int32_t clinux_terminal_open(const char *path) {
  return or_errno(open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

int32_t clinux_terminal_set(int32_t fd, int32_t baud, int32_t parity, int32_t request_to_send) {
  speed_t speed = 0;
  for (size_t index = 0; index < sizeof speeds / sizeof *speeds; index += 1)
    if (speeds[index].baud == baud) speed = speeds[index].speed;
  if (speed == 0) return -EINVAL;

  struct termios line;
  if (tcgetattr(fd, &line) < 0) return -errno;
  cfmakeraw(&line);
  line.c_iflag &= (tcflag_t)~(IGNPAR | IXOFF | IXANY);
  line.c_iflag |= INPCK | PARMRK;
  line.c_cflag &= (tcflag_t)~(CSTOPB | PARODD | CMSPAR | CRTSCTS | HUPCL);
  line.c_cflag |= CLOCAL | CREAD;
  if (parity != CLINUX_PARITY_NONE) line.c_cflag |= PARENB;
  if (parity == CLINUX_PARITY_ODD) line.c_cflag |= PARODD;
  if (request_to_send) line.c_cflag |= CRTSCTS;
  line.c_cc[VMIN] = 1;
  line.c_cc[VTIME] = 0;
  if (cfsetspeed(&line, speed) < 0 || tcsetattr(fd, TCSANOW, &line) < 0) return -errno;

  // tcsetattr succeeds when any of it was done.
  if (tcgetattr(fd, &line) < 0) return -errno;
  return cfgetospeed(&line) == speed ? 0 : -EOPNOTSUPP;
}

int32_t clinux_terminal_exclude(int32_t fd) { return or_errno(ioctl(fd, TIOCEXCL)); }

int32_t clinux_terminal_discard(int32_t fd) { return or_errno(tcflush(fd, TCIOFLUSH)); }

int32_t clinux_is_terminal(int32_t fd) { return isatty(fd); }

int32_t clinux_terminal_echo(int32_t fd, int32_t shows) {
  struct termios line;
  if (tcgetattr(fd, &line) < 0) return -errno;
  if (shows) line.c_lflag |= ECHO;
  else line.c_lflag &= (tcflag_t)~ECHO;
  return or_errno(tcsetattr(fd, shows ? TCSADRAIN : TCSAFLUSH, &line));
}
