#include "CFuzz.h"

#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*target)(const uint8_t *, unsigned long));

__attribute__((weak)) int __sanitizer_install_malloc_and_free_hooks(
    void (*allocated)(const volatile void *, size_t), void (*freed)(const volatile void *));

static _Thread_local int is_sealed;

static void allocated(const volatile void *place, size_t count) {
  if (!is_sealed) return;
  is_sealed = 0;
  static const char text[] = "fuzz: memory was allocated where none may be\n";
  (void)!write(2, text, sizeof text - 1);
  abort();
}

static void freed(const volatile void *place) {}

int32_t cfuzz_run(int32_t argc, char **argv, int (*target)(const uint8_t *, unsigned long)) {
  if (__sanitizer_install_malloc_and_free_hooks) __sanitizer_install_malloc_and_free_hooks(allocated, freed);
  return LLVMFuzzerRunDriver(&argc, &argv, target);
}

void cfuzz_seal_memory(void) { is_sealed = 1; }
void cfuzz_unseal_memory(void) { is_sealed = 0; }
int32_t cfuzz_can_seal(void) { return __sanitizer_install_malloc_and_free_hooks != 0; }
