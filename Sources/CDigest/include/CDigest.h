/// Digests over libmd. None of these functions allocates, keeps anything or fails, and any thread may call them.
#ifndef CDIGEST_H
#define CDIGEST_H

#include <stddef.h>
#include <stdint.h>

/// SHA-1 (FIPS 180-4) of `count` bytes.
void cdigest_sha1(const void *bytes, int32_t count, uint8_t out[20]);

// Passwords

enum { CDIGEST_SHA512_BYTES = 64 };
/// PBKDF2 (RFC 8018, 5.2) with HMAC-SHA-512: its first block, which is 64 bytes. `iterations` is 1 or more.
void cdigest_pbkdf2_sha512(
    const void *password, size_t password_count, const void *salt, size_t salt_count, uint32_t iterations,
    uint8_t output[CDIGEST_SHA512_BYTES]);
/// SHA-512 of the password and then the salt: the scheme `$6$` of mosquitto, which is not that of crypt(3).
void cdigest_sha512_salted(
    const void *password, size_t password_count, const void *salt, size_t salt_count,
    uint8_t output[CDIGEST_SHA512_BYTES]);
/// 1 when the `count` bytes are equal, else 0. How long it takes does not depend on the bytes.
int32_t cdigest_equal(const void *left, const void *right, size_t count);

#endif
