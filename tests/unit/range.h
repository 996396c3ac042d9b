/* range.h: assert_uint_in_range for a cmocka before 2, which has it by an older name (deprecated since).
 *
 * Limits:  after cmocka.h.
 */
#ifndef PENEUS_TESTS_UNIT_RANGE_H
#define PENEUS_TESTS_UNIT_RANGE_H

#ifndef assert_uint_in_range
#define assert_uint_in_range(value, minimum, maximum) assert_in_range(value, minimum, maximum)
#endif

#endif
