/// libFuzzer's driver, and a watch on the allocator.
#ifndef CFUZZ_H
#define CFUZZ_H

#include <stdint.h>

/// Runs libFuzzer with its own arguments over `target`; the process's exit status.
int32_t cfuzz_run(int32_t argc, char *_Nullable *_Nonnull argv,
                  int (*_Nonnull target)(const uint8_t *_Nullable bytes, unsigned long count));

/// From `cfuzz_seal_memory` to `cfuzz_unseal_memory` an allocation by this thread aborts, where it is made. Needs
/// AddressSanitizer; without it nothing happens, and cfuzz_can_seal says 0.
void cfuzz_seal_memory(void);
void cfuzz_unseal_memory(void);
int32_t cfuzz_can_seal(void);

#endif
