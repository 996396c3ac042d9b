/* Addresses, and how many connections each has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "server/census.h"

static struct address parsed(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(&address, text, strlen(text)), 0);
    return address;
}

static void test_addresses(void **state)
{
    static const char *const good[][2] = {
        { "192.0.2.1", "192.0.2.1" },      { "::ffff:192.0.2.1", "192.0.2.1" }, { "2001:DB8:0:0::1", "2001:db8::1" },
        { "::", "::" },                    { "255.255.255.255", "255.255.255.255" },
    };
    static const char *const bad[] = {
        "", "1", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4/8", "::g", "1::2::3", "[::1]", "fe80::1%eth0",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", "localhost",
    };
    struct address address;
    char text[ADDRESS_TEXT_SIZE];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        address = parsed(good[i][0]);
        address_text(&address, text);
        assert_string_equal(text, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(address_parse(&address, bad[i], strlen(bad[i])), -1);
    assert_int_equal(address_parse(&address, "1.2.3.4\0", 8), -1);
}

static void test_networks(void **state)
{
    struct address one = parsed("10.1.2.3"), six = parsed("2001:db8:1:2:3::4");
    struct address near = parsed("10.1.2.0"), far = parsed("10.1.3.3"), other = parsed("2001:db8:1:3::");
    assert_true(address_matches(&one, &near, ADDRESS_V4_PREFIX + 24));
    assert_false(address_matches(&one, &near, ADDRESS_V4_PREFIX + 32));
    assert_false(address_matches(&one, &far, ADDRESS_V4_PREFIX + 24));
    assert_true(address_matches(&one, &far, ADDRESS_V4_PREFIX + 23));
    assert_true(address_matches(&six, &other, 63));
    assert_false(address_matches(&six, &other, 64));
    assert_true(address_matches(&six, &one, 0));
    assert_true(address_matches(&six, &six, 128));
}

/* Each count is of one address, or of one IPv6 network; what has left is forgotten. */
static void test_counts(void **state)
{
    enum { MANY = 1000 };
    static struct census_entry *entries[MANY][3];
    struct census census;
    char text[64];
    census_init(&census);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < MANY; i++) {
            snprintf(text, sizeof text, i % 2 ? "10.0.%d.%d" : "2001:db8:%x:%x::%d", i / 256, i % 256, round);
            struct address address = parsed(text);
            entries[i][round] = census_enter(&census, &address);
            assert_non_null(entries[i][round]);
            assert_int_equal(entries[i][round]->count, round + 1);
            assert_ptr_equal(entries[i][round], entries[i][0]);
        }
    assert_int_equal(census.entries, MANY);
    for (int i = 0; i < MANY; i++)
        for (int round = 0; round < 3; round++)
            census_leave(&census, entries[i][round]);
    assert_int_equal(census.entries, 0);
    struct address again = parsed("10.0.0.1");
    struct census_entry *entry = census_enter(&census, &again);
    assert_int_equal(entry->count, 1);
    census_leave(&census, entry);
    census_deinit(&census);
}

/* Whichever allocation fails, nobody who was counted is lost. */
static void test_no_memory(void **state)
{
    for (unsigned long n = 1; n <= 4; n++) {
        struct census census;
        char text[32];
        struct census_entry *entries[100];
        census_init(&census);
        unsigned refused = 0;
        for (int i = 0; i < 100; i++) {
            snprintf(text, sizeof text, "10.0.0.%d", i);
            struct address address = parsed(text);
            mem_fail_at(i >= 60 && i < 70 ? 1 + (unsigned long)(i & 1) : i == 0 ? n : 0);
            entries[i] = census_enter(&census, &address);
            mem_fail_at(0);
            refused += entries[i] == NULL;
        }
        assert_true(refused >= 1 && refused <= 12);
        assert_int_equal(census.entries, 100 - refused);
        for (int i = 0; i < 100; i++)
            if (entries[i] != NULL)
                census_leave(&census, entries[i]);
        assert_int_equal(census.entries, 0);
        census_deinit(&census);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
