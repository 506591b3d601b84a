#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

_Static_assert(CLINUX_NO_ARGUMENT == no_argument && CLINUX_REQUIRED_ARGUMENT == required_argument, "getopt");
_Static_assert(CLINUX_OPTIONAL_ARGUMENT == optional_argument, "getopt");

static int argument_count;
static char **arguments;

// glibc passes a constructor what it passes to main.
__attribute__((constructor)) static void keep_arguments(int argc, char **argv) {
  argument_count = argc;
  arguments = argv;
}

int32_t clinux_argument_count(void) { return argument_count; }

const char *clinux_argument(int32_t index) {
  return index >= 0 && index < argument_count ? arguments[index] : NULL;
}

const char *clinux_environment(const char *name) { return getenv(name); }
int32_t clinux_pid(void) { return getpid(); }
uint32_t clinux_uid(void) { return getuid(); }

int32_t clinux_random(void *bytes, size_t count) {
  for (size_t start = 0; start < count;) {
    ssize_t drawn = getrandom((char *)bytes + start, count - start, 0);
    if (drawn >= 0) start += (size_t)drawn;
    else if (errno != EINTR) return -errno;
  }
  return 0;
}

void clinux_forget(void *bytes, size_t count) { explicit_bzero(bytes, count); }

void clinux_forget_argument(int32_t index) {
  if (index >= 0 && index < argument_count) explicit_bzero(arguments[index], strlen(arguments[index]));
}

int32_t clinux_refuse_core_dump(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0; }

int32_t clinux_hostname(char *text, size_t capacity) {
  if (capacity == 0 || gethostname(text, capacity) < 0) return capacity == 0 ? -EINVAL : -errno;
  text[capacity - 1] = 0;
  return 0;
}

int64_t clinux_raise_descriptor_limit(int64_t wanted) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  if (limit.rlim_cur < (rlim_t)wanted) {
    limit.rlim_cur = limit.rlim_max < (rlim_t)wanted ? limit.rlim_max : (rlim_t)wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  }
  return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

_Noreturn void clinux_exit(int32_t status) { exit(status); }

// Threads

struct start {
  void (*entry)(void *);
  void *context;
  char name[16];
};

static void *run(void *argument) {
  struct start start = *(struct start *)argument;
  free(argument);
  pthread_setname_np(pthread_self(), start.name);
  start.entry(start.context);
  return NULL;
}

int32_t clinux_thread_start(void (*entry)(void *), void *context, size_t stack_bytes, const char *name) {
  struct start *start = calloc(1, sizeof *start);
  if (!start) return -ENOMEM;
  start->entry = entry;
  start->context = context;
  strncpy(start->name, name, sizeof start->name - 1);
  size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  int error = pthread_attr_setstacksize(&attributes, stack_bytes < least ? least : stack_bytes);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // the thread inherits it
  pthread_t thread;
  if (error == 0) error = pthread_create(&thread, &attributes, run, start);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (error != 0) free(start);
  return -error;
}

// Options

static int options_first = -1;

int32_t clinux_next_option(int32_t first, const char *letters, const struct clinux_option *options, int32_t count) {
  struct option table[64] = {{0}};
  char short_options[64] = "+:";
  if (first < 0 || first >= argument_count || count < 0 || count > 63) return CLINUX_OPTION_END;
  for (int32_t index = 0; index < count; index++) {
    table[index].name = options[index].name;
    table[index].has_arg = options[index].has_argument;
    table[index].val = options[index].value;
  }
  strncat(short_options, letters, sizeof short_options - 3);
  if (options_first != first) {
    options_first = first;
    optind = 0;  // glibc: begin again
  }
  opterr = 0;
  return getopt_long(argument_count - first, arguments + first, short_options, table, NULL);
}

const char *clinux_option_argument(void) { return optarg; }
int32_t clinux_option_index(void) { return options_first + optind; }
