#include "CDigest.h"

#include <sha1.h>
#include <stddef.h>

void cdigest_sha1(const void *bytes, int32_t count, uint8_t out[20]) {
  SHA1_CTX context;
  SHA1Init(&context);
  SHA1Update(&context, bytes, (size_t)count);
  SHA1Final(out, &context);
}
