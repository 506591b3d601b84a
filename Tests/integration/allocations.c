// Counts the calls that take memory (behind the binary's own counting, CAllocations.c, which calls glibc's functions by
// these names), on the main thread and on the others, from the moment in which the process
// writes its "tapline: ready" line, and keeps where the first ones came from. Preloaded; results are in the file that
// TAPLINE_ALLOCATIONS names, for as long as the process runs: see `struct report`, which test_allocations.py reads.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { MALLOC, CALLOC, REALLOC, MEMALIGN, MMAP, BRK, KINDS };
enum { OFFENDERS = 16, FRAMES = 30, MAPPINGS = 32 };

struct offender {
  uint64_t kind, byte_count, depth;
  uint64_t frames[FRAMES];
};

struct report {
  uint64_t is_ready;
  uint64_t loop[KINDS];    // calls of the main thread since ready
  uint64_t others[KINDS];  // of all other threads
  uint64_t before;         // of the main thread before ready: that the counting works
  uint64_t mappings[MAPPINGS];  // sizes of what the program itself mapped anonymously, before ready
  uint64_t offender_count;
  struct offender offenders[OFFENDERS];  // of the main thread, each stack once
};

static struct report *report;
// Set while the interposer itself runs: what backtrace() takes is not counted.
static __thread int is_inside __attribute__((tls_model("initial-exec")));
static __thread int is_main __attribute__((tls_model("initial-exec")));  // 0: not asked yet, 1: yes, 2: no

// glibc's own; a dlsym that finds its symbol takes no memory.
#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

static void record(enum kind kind, size_t byte_count) {
  struct offender entry = {.kind = kind, .byte_count = byte_count};
  void *frames[FRAMES];
  int depth = backtrace(frames, FRAMES);
  for (int index = 2; index < depth; index++) entry.frames[entry.depth++] = (uintptr_t)frames[index];
  for (uint64_t index = 0; index < report->offender_count; index++)
    if (report->offenders[index].depth == entry.depth &&
        memcmp(report->offenders[index].frames, entry.frames, sizeof entry.frames) == 0)
      return;
  if (report->offender_count < OFFENDERS) report->offenders[report->offender_count++] = entry;
}

static void count(enum kind kind, size_t byte_count) {
  if (!report || is_inside) return;
  is_inside = 1;
  int error = errno;
  if (!is_main) is_main = syscall(SYS_gettid) == getpid() ? 1 : 2;
  if (is_main == 2) {
    if (report->is_ready) __atomic_add_fetch(&report->others[kind], 1, __ATOMIC_RELAXED);
  } else if (!report->is_ready) {
    report->before++;
  } else {
    report->loop[kind]++;
    record(kind, byte_count);
  }
  errno = error;
  is_inside = 0;
}

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("TAPLINE_ALLOCATIONS");
  if (!path) return;
  void *frame[1];
  backtrace(frame, 1);  // loads what it needs now
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *place = (void *)syscall(SYS_mmap, 0, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (place != MAP_FAILED) report = place;
}

ssize_t write(int file, const void *bytes, size_t byte_count) {
  static const char line[] = "tapline: ready";
  if (report && !report->is_ready && memmem(bytes, byte_count, line, sizeof line - 1)) report->is_ready = 1;
  return syscall(SYS_write, file, bytes, byte_count);
}

void *__libc_malloc(size_t byte_count) {
  static void *(*next)(size_t);
  if (!next) next = NEXT(void *(*)(size_t), "__libc_malloc");
  count(MALLOC, byte_count);
  return next(byte_count);
}

void *__libc_calloc(size_t entries, size_t byte_count) {
  static void *(*next)(size_t, size_t);
  if (!next) next = NEXT(void *(*)(size_t, size_t), "__libc_calloc");
  count(CALLOC, entries * byte_count);
  return next(entries, byte_count);
}

void *__libc_realloc(void *place, size_t byte_count) {
  static void *(*next)(void *, size_t);
  if (!next) next = NEXT(void *(*)(void *, size_t), "__libc_realloc");
  count(REALLOC, byte_count);
  return next(place, byte_count);
}

void *__libc_memalign(size_t alignment, size_t byte_count) {
  static void *(*next)(size_t, size_t);
  if (!next) next = NEXT(void *(*)(size_t, size_t), "__libc_memalign");
  count(MEMALIGN, byte_count);
  return next(alignment, byte_count);
}

void *mmap(void *place, size_t byte_count, int protection, int flags, int file, off_t offset) {
  count(MMAP, byte_count);
  if (report && !report->is_ready && flags & MAP_ANONYMOUS)
    for (int index = 0; index < MAPPINGS; index++)
      if (!report->mappings[index]) {
        report->mappings[index] = byte_count;
        break;
      }
  return (void *)syscall(SYS_mmap, place, byte_count, protection, flags, file, offset);
}

void *mmap64(void *place, size_t byte_count, int protection, int flags, int file, off_t offset)
    __attribute__((alias("mmap")));

int brk(void *place) {
  count(BRK, 0);
  return ((int (*)(void *))dlsym(RTLD_NEXT, "brk"))(place);
}

void *sbrk(intptr_t byte_count) {
  count(BRK, (size_t)byte_count);
  return ((void *(*)(intptr_t))dlsym(RTLD_NEXT, "sbrk"))(byte_count);
}
