#include "CAllocations.h"

#include <errno.h>
#include <stddef.h>

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)

// The sanitizer's own malloc must stay the first one: it marks the memory that it hands out.
bool callocations_is_counting(void) { return false; }

uint64_t callocations_count(void) { return 0; }

#else

// The definitions of an executable come before those of every library (ld.so(8)), so all calls lead here; free() is left
// as it is, since what is counted is still the C library's own memory. "Replacing malloc" in its manual names the set.
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static __thread uint64_t count;

bool callocations_is_counting(void) { return true; }

uint64_t callocations_count(void) { return count; }

void *malloc(size_t byte_count) {
  count++;
  return __libc_malloc(byte_count);
}

void *calloc(size_t entries, size_t byte_count) {
  count++;
  return __libc_calloc(entries, byte_count);
}

void *realloc(void *place, size_t byte_count) {
  count++;
  return __libc_realloc(place, byte_count);
}

void *memalign(size_t alignment, size_t byte_count) {
  count++;
  return __libc_memalign(alignment, byte_count);
}

void *aligned_alloc(size_t alignment, size_t byte_count) { return memalign(alignment, byte_count); }

int posix_memalign(void **place, size_t alignment, size_t byte_count) {
  if (alignment % sizeof(void *) || alignment & (alignment - 1) || !alignment) return EINVAL;
  int error = errno;  // which posix_memalign(3) leaves alone
  void *memory = memalign(alignment, byte_count);
  errno = error;
  if (!memory) return ENOMEM;
  *place = memory;
  return 0;
}

#endif
