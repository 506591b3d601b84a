/// Digests of libmd, which allocates nothing and may be called on any thread.
#ifndef CDIGEST_H
#define CDIGEST_H

#include <stdint.h>

/// SHA-1 (FIPS 180-4) of `count` bytes.
void cdigest_sha1(const void *bytes, int32_t count, uint8_t out[20]);

#endif
