#define _GNU_SOURCE
#include "CDigest.h"

#include <sha512.h>
#include <string.h>

_Static_assert(CDIGEST_SHA512_BYTES == SHA512_DIGEST_LENGTH, "the digest's size");

// libmd does not touch what a pointer points to when the count is 0, and NULL is no pointer to nothing in C.
static void feed(SHA512_CTX *context, const void *bytes, size_t count) {
  if (count > 0) SHA512Update(context, bytes, count);
}

/// HMAC (RFC 2104) whose key has been fed: each message begins with a copy of the two.
struct keyed {
  SHA512_CTX inner, outer;
};

static void set_key(struct keyed *hmac, const void *key, size_t count) {
  uint8_t block[SHA512_BLOCK_LENGTH] = {0};
  if (count > sizeof block) {
    SHA512_CTX context;
    SHA512Init(&context);
    feed(&context, key, count);
    SHA512Final(block, &context);
    explicit_bzero(&context, sizeof context);
  } else if (count > 0) {
    memcpy(block, key, count);
  }
  for (size_t index = 0; index < sizeof block; index += 1) block[index] ^= 0x36;
  SHA512Init(&hmac->inner);
  feed(&hmac->inner, block, sizeof block);
  for (size_t index = 0; index < sizeof block; index += 1) block[index] ^= 0x36 ^ 0x5c;
  SHA512Init(&hmac->outer);
  feed(&hmac->outer, block, sizeof block);
  explicit_bzero(block, sizeof block);
}

/// `work` begins as a copy of the inner context, with the message fed.
static void finish(const struct keyed *hmac, SHA512_CTX *work, uint8_t digest[SHA512_DIGEST_LENGTH]) {
  SHA512Final(digest, work);
  *work = hmac->outer;
  feed(work, digest, SHA512_DIGEST_LENGTH);
  SHA512Final(digest, work);
}

void cdigest_pbkdf2_sha512(
    const void *password, size_t password_count, const void *salt, size_t salt_count, uint32_t iterations,
    uint8_t output[CDIGEST_SHA512_BYTES]) {
  static const uint8_t first_block[4] = {0, 0, 0, 1};
  struct keyed hmac;
  set_key(&hmac, password, password_count);
  SHA512_CTX work = hmac.inner;
  uint8_t digest[SHA512_DIGEST_LENGTH];
  feed(&work, salt, salt_count);
  feed(&work, first_block, sizeof first_block);
  finish(&hmac, &work, digest);
  memcpy(output, digest, sizeof digest);
  for (uint32_t round = 1; round < iterations; round += 1) {
    work = hmac.inner;
    feed(&work, digest, sizeof digest);
    finish(&hmac, &work, digest);
    for (size_t index = 0; index < sizeof digest; index += 1) output[index] ^= digest[index];
  }
  explicit_bzero(&hmac, sizeof hmac);
  explicit_bzero(&work, sizeof work);
  explicit_bzero(digest, sizeof digest);
}

void cdigest_sha512_salted(
    const void *password, size_t password_count, const void *salt, size_t salt_count,
    uint8_t output[CDIGEST_SHA512_BYTES]) {
  SHA512_CTX context;
  SHA512Init(&context);
  feed(&context, password, password_count);
  feed(&context, salt, salt_count);
  SHA512Final(output, &context);
  explicit_bzero(&context, sizeof context);
}

int32_t cdigest_equal(const void *left, const void *right, size_t count) {
  const volatile uint8_t *one = left, *other = right;
  uint8_t difference = 0;
  for (size_t index = 0; index < count; index += 1) difference |= one[index] ^ other[index];
  return difference == 0;
}
