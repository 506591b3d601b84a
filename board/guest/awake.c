/* Keeps the processor from having nothing to do, while everything else goes before it: the emulator counts this guest's
 * time in instructions, and only an idle processor's time is that of the machine it is emulated on.
 *
 * usage: awake &      ends with the signal that ends it */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>

int main(void) {
  struct sched_param none = {0};
  if (sched_setscheduler(0, SCHED_IDLE, &none) != 0) return perror("awake"), 1;
  for (volatile unsigned round = 0;; round++) {}
}
