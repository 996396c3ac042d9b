/* channellayer/table.h and name.h: finding things by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "channellayer/name.h"
#include "channellayer/table.h"

enum { MANY = 1000 };

static size_t walk_count(const struct table *table)
{
    size_t count = 0, bucket = 0;
    for (struct table_node *node = NULL; (node = table_walk(table, &bucket, node)) != NULL;)
        count++;
    return count;
}

static void test_grows_and_shrinks(void **state)
{
    (void)state;
    static struct table_node nodes[MANY];
    struct table table;
    table_init(&table);
    assert_null(table_first(&table, 1));
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(table_insert(&table, &nodes[i], i * 7919), 0);
    assert_int_equal(walk_count(&table), MANY);
    size_t largest = table.bucket_count;
    assert_true(largest >= MANY);
    for (uint64_t i = 0; i < MANY; i++)
        assert_ptr_equal(table_first(&table, i * 7919), &nodes[i]);
    for (uint64_t i = 0; i < MANY; i++) {
        table_remove(&table, &nodes[i]);
        assert_null(table_first(&table, i * 7919));
    }
    assert_int_equal(table.count, 0);
    assert_true(table.bucket_count < largest / 8);
    table_deinit(&table);
}

static void test_equal_hashes(void **state)
{
    (void)state;
    struct table_node a, b, c;
    struct table table;
    table_init(&table);
    table_insert(&table, &a, 5);
    table_insert(&table, &b, 5 + 16); /* the same bucket, another hash */
    table_insert(&table, &c, 5);
    struct table_node *first = table_first(&table, 5);
    struct table_node *second = table_next_same(first);
    assert_true((first == &a && second == &c) || (first == &c && second == &a));
    assert_null(table_next_same(second));
    table_remove(&table, &a);
    assert_ptr_equal(table_first(&table, 5), &c);
    table_deinit(&table);
}

static void test_growth_without_memory(void **state)
{
    (void)state;
    static struct table_node nodes[MANY];
    struct table table;
    table_init(&table);
    mem_fail_at(1);
    assert_int_equal(table_insert(&table, &nodes[0], 0), -1);
    mem_fail_at(0);
    for (uint64_t i = 0; i < MANY; i++) {
        mem_fail_at(i > 0); /* never a larger table */
        assert_int_equal(table_insert(&table, &nodes[i], i), 0);
        mem_fail_at(0);
    }
    assert_int_equal(table.bucket_count, 16);
    for (uint64_t i = 0; i < MANY; i++)
        assert_ptr_equal(table_first(&table, i), &nodes[i]);
    table_deinit(&table);
}

static struct name text_name(const char *text)
{
    return (struct name){ text, strlen(text) };
}

static void test_hash_tells_names_apart(void **state)
{
    (void)state;
    enum { BUCKETS = 1024 };
    static unsigned buckets[BUCKETS];
    char text[32], copy[32];
    uint64_t previous = 0;
    unsigned fullest = 0;
    for (int i = 0; i < 4 * BUCKETS; i++) {
        snprintf(text, sizeof text, "specific.%d", i);
        snprintf(copy, sizeof copy, "specific.%d", i);
        uint64_t hash = name_hash(text_name(text));
        assert_true(hash == name_hash(text_name(copy)));
        assert_true(hash != previous);
        previous = hash;
        if (++buckets[hash % BUCKETS] > fullest)
            fullest = buckets[hash % BUCKETS];
    }
    assert_true(fullest < 40); /* 4 expected; 40 does not happen by chance */
    for (size_t length = 0; length < 17; length++) /* whole words, remainders, and a zero byte that counts */
        assert_true(name_hash((struct name){ "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", length }) !=
                    name_hash((struct name){ "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", length + 1 }));
}

static void test_local_names(void **state)
{
    (void)state;
    const struct name none = { "", 0 }, prefix = text_name("asgi");
    assert_true(name_is_local(text_name("specific.ab!cd"), none));
    assert_true(name_is_local(text_name("x!"), prefix));
    assert_false(name_is_local(text_name("chat.room-1_2"), none));
    assert_true(name_is_local(text_name("asgispecific.0123456789abcdef0123456789abcdef"), prefix));
    assert_false(name_is_local(text_name("asgispecific.0123456789abcdef0123456789abcdef"), none));
    assert_false(name_is_local(text_name("specific.0123456789abcdef0123456789abcdef"), prefix));
    assert_false(name_is_local(text_name("asgispecific.0123456789abcdef0123456789abcdeg"), prefix));
    assert_false(name_is_local(text_name("asgispecificx0123456789abcdef0123456789abcdef"), prefix));
    assert_false(name_is_local(text_name("asgi"), prefix));
    assert_true(name_equal(text_name("abc"), (struct name){ "abcd", 3 }));
    assert_false(name_equal(text_name("abc"), text_name("abd")));
    assert_false(name_equal(text_name("abc"), text_name("abcd")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_shrinks),       cmocka_unit_test(test_equal_hashes),
        cmocka_unit_test(test_growth_without_memory),   cmocka_unit_test(test_hash_tells_names_apart),
        cmocka_unit_test(test_local_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
