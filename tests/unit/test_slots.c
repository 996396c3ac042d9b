/* base/slots.h: ids that find nothing once their object is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/slots.h"

static void test_late_id_finds_nothing(void **state)
{
    (void)state;
    struct slots table;
    int first, second;
    slots_init(&table);
    uint64_t id = slots_add(&table, &first);
    assert_int_not_equal(id, 0);
    assert_ptr_equal(slots_get(&table, id), &first);
    slots_remove(&table, id);
    assert_null(slots_get(&table, id));
    uint64_t other = slots_add(&table, &second);
    assert_int_equal(slots_index(other), slots_index(id)); /* the slot is used again, the id is not */
    assert_int_not_equal(other, id);
    assert_null(slots_get(&table, id));
    slots_remove(&table, id); /* stale */
    assert_ptr_equal(slots_get(&table, other), &second);
    assert_int_equal(table.count, 1);
    slots_deinit(&table);
}

static void test_made_up_ids(void **state)
{
    (void)state;
    struct slots table;
    int object;
    slots_init(&table);
    assert_null(slots_get(&table, 0));
    assert_null(slots_get(&table, UINT64_MAX));
    slots_remove(&table, 12345);
    slots_add(&table, &object);
    assert_null(slots_get(&table, 0));
    assert_null(slots_get(&table, UINT64_MAX));
    assert_null(slots_get(&table, (uint64_t)1 << 32 | 5)); /* a slot never used */
    slots_deinit(&table);
}

static void test_growth_keeps_ids(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static int objects[MANY];
    static uint64_t ids[MANY];
    struct slots table;
    slots_init(&table);
    for (int i = 0; i < MANY; i++)
        ids[i] = slots_add(&table, &objects[i]);
    for (int i = 0; i < MANY; i++) {
        assert_ptr_equal(slots_get(&table, ids[i]), &objects[i]);
        assert_true(slots_index(ids[i]) < table.capacity);
    }
    assert_int_equal(table.count, MANY);
    slots_deinit(&table);
}

static void test_walk_allows_removal(void **state)
{
    (void)state;
    enum { MANY = 40 };
    uint64_t ids[MANY];
    struct slots table;
    slots_init(&table);
    for (int i = 0; i < MANY; i++)
        ids[i] = slots_add(&table, &ids[i]);
    slots_remove(&table, ids[7]);
    uint32_t cursor = 0;
    int seen = 0;
    uint64_t *object;
    while ((object = slots_next(&table, &cursor)) != NULL) {
        assert_ptr_not_equal(object, &ids[7]);
        slots_remove(&table, *object);
        seen++;
    }
    assert_int_equal(seen, MANY - 1);
    assert_int_equal(table.count, 0);
    slots_deinit(&table);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct slots table;
    int object;
    slots_init(&table);
    mem_fail_at(1);
    assert_int_equal(slots_add(&table, &object), 0);
    mem_fail_at(0);
    uint64_t id = 0;
    do {
        id = slots_add(&table, &object);
    } while (table.count < table.capacity);
    mem_fail_at(1);
    assert_int_equal(slots_add(&table, &object), 0);
    mem_fail_at(0);
    assert_ptr_equal(slots_get(&table, id), &object);
    assert_int_not_equal(slots_add(&table, &object), 0);
    slots_deinit(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late_id_finds_nothing), cmocka_unit_test(test_made_up_ids),
        cmocka_unit_test(test_growth_keeps_ids),      cmocka_unit_test(test_walk_allows_removal),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
