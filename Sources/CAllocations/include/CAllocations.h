/// Counts calls of malloc and its like, by thread, and passes each of them on to the C library. It keeps the counts and
/// nothing else, and does no I/O.
#pragma once
#include <stdbool.h>
#include <stdint.h>

/// Whether this build counts. Linking this module puts the counting in front of the C library's allocator, for everything
/// in the process, so it is for executables only. A build with AddressSanitizer or ThreadSanitizer, whose own allocator
/// must not be replaced, leaves the allocator as it is and does not count.
bool callocations_is_counting(void);

/// Calls of malloc and its like by the calling thread, since it began; 0 where nothing is counted.
uint64_t callocations_count(void);
