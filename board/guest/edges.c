/* Makes edges on a simulated line as fast as the kernel takes them.
 *
 * usage: edges PULL-FILE COUNT [MICROSECONDS]
 *
 * Writes pull-up and pull-down in turns, COUNT in all, beginning with pull-up; with MICROSECONDS between two, in which
 * whoever else wants it has the processor and which are never idle (awake.c). Prints the microseconds that it took. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

int main(int argc, char **argv) {
  static const char *const pulls[] = {"pull-up", "pull-down"};
  if (argc < 3) return 2;
  int file = open(argv[1], O_WRONLY);
  if (file < 0) return perror(argv[1]), 1;
  long count = atol(argv[2]), pause = argc > 3 ? atol(argv[3]) : 0;
  struct sched_param none = {0};
  if (pause > 0 && sched_setscheduler(0, SCHED_IDLE, &none) != 0) return perror("edges"), 1;
  long long start = now_us();
  for (long edge = 0; edge < count; edge++) {
    const char *pull = pulls[edge & 1];
    if (pwrite(file, pull, strlen(pull), 0) < 0) return perror("write"), 1;
    for (long long edge_us = now_us(); pause > 0 && now_us() - edge_us < pause;) {}
  }
  printf("%lld\n", now_us() - start);
  return 0;
}
