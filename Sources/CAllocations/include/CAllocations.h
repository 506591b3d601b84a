#pragma once
#include <stdint.h>

/// Calls of malloc and its like by the calling thread, since it began. Linking this module puts the counting in front of
/// the C library's allocator, for everything in the process: for executables only, and not beside a sanitizer.
uint64_t callocations_count(void);
