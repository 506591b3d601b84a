#define _GNU_SOURCE
#include "Library.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

struct copenssl_functions openssl;
BIO_METHOD *copenssl_bio_method;
static struct copenssl_arena *arena;

static void *take(size_t byte_count, const char *file, int line) {
  (void)file, (void)line;
  return copenssl_arena_take(arena, byte_count);
}

static void *resize(void *place, size_t byte_count, const char *file, int line) {
  (void)file, (void)line;
  return copenssl_arena_resize(arena, place, byte_count);
}

static void give_back(void *place, const char *file, int line) {
  (void)file, (void)line;
  copenssl_arena_give_back(arena, place);
}

#ifdef COPENSSL_STATIC_BINARY

static int32_t find_functions(const char **detail) {
  (void)detail;
  return COPENSSL_STATIC;
}

#else

static const char names[] =
#define X(name) #name "\0"
    COPENSSL_FUNCTIONS(X);
#undef X

static int32_t find_functions(const char **detail) {
  void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);  // whose handle finds libcrypto's functions too
  if (!library) {
    *detail = dlerror();
    return COPENSSL_ABSENT;
  }
  char *slot = (char *)&openssl;
  for (const char *name = names; *name; name += strlen(name) + 1, slot += sizeof(void *)) {
    void *function = dlsym(library, name);
    if (!function) {
      *detail = name;
      return COPENSSL_LACKS;
    }
    memcpy(slot, &function, sizeof function);
  }
  return COPENSSL_LOADED;
}

#endif

int32_t copenssl_load(void *region, int64_t byte_count, const char **detail) {
  *detail = NULL;
  if (arena) return COPENSSL_TAKEN;
  int32_t found = find_functions(detail);
  if (found != COPENSSL_LOADED) return found;
  struct copenssl_arena *made = copenssl_arena_make(region, byte_count);
  if (!made) return COPENSSL_BROKEN;
  if (!openssl.CRYPTO_set_mem_functions(take, resize, give_back)) return COPENSSL_TAKEN;
  arena = made;
  tzset();  // gmtime_r(3) would allocate at its first call
  // The arena need not outlive exit(3).
  if (!openssl.OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL)) {
    *detail = copenssl_first_reason();
    return COPENSSL_BROKEN;
  }
  copenssl_bio_method = copenssl_make_bio_method();
  return copenssl_bio_method ? COPENSSL_LOADED : COPENSSL_BROKEN;
}

const char *copenssl_version(void) { return openssl.OpenSSL_version(OPENSSL_VERSION_STRING); }

struct copenssl_arena *copenssl_arena(void) { return arena; }

void copenssl_thread_stop(void) { openssl.OPENSSL_thread_stop(); }

int32_t copenssl_has_aes(void) {
#ifdef __aarch64__
  return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
  return 1;
#endif
}

const char *copenssl_first_reason(void) {
  const char *reason = openssl.ERR_reason_error_string(openssl.ERR_peek_error());
  return reason ? reason : "no reason given";
}

int copenssl_lacked_memory(void) {
  return ERR_GET_REASON(openssl.ERR_peek_error()) == ERR_R_MALLOC_FAILURE ||
         ERR_GET_REASON(openssl.ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
}
