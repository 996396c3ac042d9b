/* fuzz.h: what every fuzz target has.
 *
 * Owner:   nobody.
 * Thread:  the fuzzer's.
 * Limits:  none.
 */
#ifndef PENEUS_TESTS_FUZZ_H
#define PENEUS_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* A property that holds for every input; otherwise the input is a finding. */
#define fuzz_require(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#endif
