/* fernet.c and base64url.c, against tokens that Python's cryptography made at second 1700000000 with the SHA-256 of "first key"
 * and of "zweiter Schlüssel" (UTF-8), IV 00 01 … 0f. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "channellayer/bus/base64url.h"
#include "channellayer/bus/fernet.h"

enum { MADE = 1700000000 };

static const unsigned char keys[2][FERNET_KEY_SIZE] = {
    { 0xdd, 0x38, 0xfe, 0x87, 0xfa, 0x52, 0x11, 0x92, 0x89, 0xf4, 0xa0, 0x2e, 0x40, 0x1d, 0xb8, 0x07,
      0x60, 0x0d, 0xbf, 0xe8, 0x7d, 0x72, 0x0b, 0x35, 0xe6, 0xd0, 0xaf, 0xf7, 0x34, 0x3a, 0x85, 0xab },
    { 0x2b, 0xab, 0xb1, 0x4c, 0xf4, 0x60, 0xb6, 0x48, 0x77, 0x51, 0x0f, 0x9b, 0x67, 0x93, 0xd1, 0xbd,
      0xe5, 0x91, 0xc9, 0x43, 0x69, 0xd3, 0x01, 0x2b, 0x84, 0xad, 0x57, 0xc8, 0x60, 0x5d, 0x5d, 0xec },
};

static const struct {
    size_t key;
    const char *data;
    size_t length;
    const char *token;
} vectors[] = {
    { 0, "", 0,
      "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD95Qa7veEYycgb68SylByWmRmQ5OmUaBTiOn_RZ1RznqgLqKKciyCkMWNcAlLzA9lQ==" },
    { 0, "\x65\x78\x61\x63\x74\x6c\x79\x20\x31\x36\x20\x62\x79\x74\x65\x73", 16,
      "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD76EdTb_W2NI7cS5Vn_glmWhGWhkpRetFAoGas1ARXoA80CB522j3bODLOpmf4VtDLbZ"
      "wcoK6j_ypkkyHiGHAFA=" },
    { 0, "\x81\xa4\x74\x79\x70\x65\xa6\x61\x2e\x74\x79\x70\x65", 13,
      "gAAAAABlU_EAAAECAwQFBgcICQoLDA0ODxsuWZqMXeUFlUNQBl2c40-9UATeNCxBHbC0AT0begkBi12VmG7BNagGRW8-vZCLGQ==" },
    { 0, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c", 45,
      "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD--DakXOgUpXKdw-fJl9r11MfYRDBfhuEcLalNZcj0MnkqSrdLRyYrDSviHdfY65jbz_"
      "3nbM3aXHKcB21Qg3PrII51XZKpq0bhUYmTvHKzQ8" },
    { 1, "", 0,
      "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD4Jx2aLCFUekObCwgNPLAUMEimupSUSCrz4z44n_xiY0qoIskGGo0jpjh-YlK7zh7A==" },
    { 1, "\x65\x78\x61\x63\x74\x6c\x79\x20\x31\x36\x20\x62\x79\x74\x65\x73", 16,
      "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD06WnbasPuH6EbiHLAm2mNXETl2xNrAHlY2ikZTw3jxxOM_aI5ynXySeUfEnstOjYY4P"
      "AecObuCrsQHJNuEcST8=" },
    { 1, "\x81\xa4\x74\x79\x70\x65\xa6\x61\x2e\x74\x79\x70\x65", 13,
      "gAAAAABlU_EAAAECAwQFBgcICQoLDA0ODwPwOvoDLV4KKYeNZRcpzYUIFVNlRj3TgeVuDBj6mu5hcE75IUTTH1Ms3ndVNmz3Jw==" },
    { 1, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c", 45,
      "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD5sKbWCKgljIrQ-Dbl-Rq7BY7V4-39I_naTZ0JCKd64TUqN20cQZgG7-fxPuKcGIJKJX"
      "55qfe38qZUkqUFQlPmWr6KMyFYpE7jx_Ekqew0fm" },
};

enum { VECTORS = sizeof vectors / sizeof vectors[0] };

static struct fernet *make(size_t first, size_t count)
{
    struct fernet *fernet = fernet_create(keys[first], count);
    assert_non_null(fernet);
    return fernet;
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < VECTORS; i++) {
        struct fernet *fernet = make(vectors[i].key, 1);
        struct bytes out = { 0 };
        bytes_add(&out, "before", 6);
        assert_int_equal(fernet_decrypt(fernet, &out, vectors[i].token, strlen(vectors[i].token), 0, MADE), FERNET_OK);
        assert_int_equal(out.length, 6 + vectors[i].length);
        assert_memory_equal(out.data + 6, vectors[i].data, vectors[i].length);
        bytes_deinit(&out);
        fernet_destroy(fernet);
    }
}

static void test_several_keys(void **state)
{
    (void)state;
    struct fernet *both = make(0, 2), *first = make(0, 1), *second = make(1, 1);
    struct bytes out = { 0 }, plain = { 0 };
    for (size_t i = 0; i < VECTORS; i++)
        assert_int_equal(fernet_decrypt(both, &plain, vectors[i].token, strlen(vectors[i].token), 0, MADE), FERNET_OK);
    bytes_cut(&plain, 0);
    assert_int_equal(fernet_encrypt(both, &out, "hello", 5, MADE), FERNET_OK);
    assert_int_equal(fernet_decrypt(second, &plain, out.data, out.length, 0, MADE), FERNET_INVALID);
    assert_int_equal(plain.length, 0);
    assert_int_equal(fernet_decrypt(first, &plain, out.data, out.length, 0, MADE), FERNET_OK);
    assert_int_equal(plain.length, 5);
    assert_memory_equal(plain.data, "hello", 5);
    bytes_deinit(&out);
    bytes_deinit(&plain);
    fernet_destroy(both);
    fernet_destroy(first);
    fernet_destroy(second);
    assert_null(fernet_create(keys[0], 0));
    assert_null(fernet_create(keys[0], FERNET_KEYS + 1));
}

static void test_round_trips(void **state)
{
    (void)state;
    unsigned char data[200];
    struct fernet *fernet = make(0, 1);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7);
    for (size_t length = 0; length <= sizeof data; length++) {
        struct bytes token = { 0 }, again = { 0 }, plain = { 0 };
        assert_int_equal(fernet_encrypt(fernet, &token, data, length, MADE), FERNET_OK);
        assert_int_equal(fernet_encrypt(fernet, &again, data, length, MADE), FERNET_OK);
        assert_memory_not_equal(token.data, again.data, token.length); /* another IV */
        assert_int_equal(fernet_decrypt(fernet, &plain, token.data, token.length, 10, MADE + 10), FERNET_OK);
        assert_int_equal(plain.length, length);
        if (length > 0)
            assert_memory_equal(plain.data, data, length);
        bytes_deinit(&token);
        bytes_deinit(&again);
        bytes_deinit(&plain);
    }
    fernet_destroy(fernet);
}

static void test_age(void **state)
{
    (void)state;
    static const struct {
        uint64_t ttl, now;
        int result;
    } cases[] = {
        { 0, MADE + UINT64_C(1000000000), FERNET_OK }, { 0, 1, FERNET_OK },
        { 70, MADE + 70, FERNET_OK },        { 70, MADE + 71, FERNET_INVALID },
        { 70, MADE - 60, FERNET_OK },        { 70, MADE - 61, FERNET_INVALID },
    };
    struct fernet *fernet = make(0, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes out = { 0 };
        const char *token = vectors[1].token;
        assert_int_equal(fernet_decrypt(fernet, &out, token, strlen(token), cases[i].ttl, cases[i].now), cases[i].result);
        bytes_deinit(&out);
    }
    fernet_destroy(fernet);
}

/* Each character, and each bit of what it stands for, is needed. */
static void test_tampering(void **state)
{
    (void)state;
    struct fernet *fernet = make(0, 2);
    char token[256];
    for (size_t i = 0; i < strlen(vectors[1].token); i++) {
        static const char others[] = "A9-_=+\n\x80";
        for (size_t k = 0; k < sizeof others; k++) {
            struct bytes out = { 0 };
            strcpy(token, vectors[1].token);
            size_t length = strlen(token);
            if (token[i] == others[k])
                continue;
            token[i] = others[k];
            assert_int_equal(fernet_decrypt(fernet, &out, token, length, 0, MADE), FERNET_INVALID);
            assert_int_equal(out.length, 0);
            bytes_deinit(&out);
        }
    }
    fernet_destroy(fernet);
}

static void test_truncation(void **state)
{
    (void)state;
    struct fernet *fernet = make(0, 1);
    size_t whole = strlen(vectors[3].token);
    for (size_t length = 0; length < whole; length++) {
        struct bytes out = { 0 };
        char *copy = malloc(length + 1); /* a read behind its end is seen */
        memcpy(copy, vectors[3].token, length);
        assert_int_equal(fernet_decrypt(fernet, &out, copy, length, 0, MADE), FERNET_INVALID);
        bytes_deinit(&out);
        free(copy);
    }
    fernet_destroy(fernet);
}

static void test_no_memory(void **state)
{
    (void)state;
    mem_fail_at(1);
    assert_null(fernet_create(keys[0], 1));
    mem_fail_at(0);
    struct fernet *fernet = make(0, 1);
    for (unsigned long n = 1; n <= 2; n++) {
        struct bytes out = { 0 };
        mem_fail_at(n);
        assert_int_equal(fernet_encrypt(fernet, &out, "hello", 5, MADE), FERNET_NO_MEMORY);
        mem_fail_at(n);
        assert_int_equal(out.length, 0);
        bytes_deinit(&out);
        assert_int_equal(fernet_decrypt(fernet, &out, vectors[1].token, strlen(vectors[1].token), 0, MADE), FERNET_NO_MEMORY);
        mem_fail_at(0);
        assert_int_equal(out.length, 0);
        bytes_deinit(&out);
    }
    fernet_destroy(fernet);
}

static void decodes(const char *text, const char *expected)
{
    unsigned char out[64];
    long length = base64url_decode(out, (const unsigned char *)text, strlen(text));
    if (expected == NULL) {
        assert_int_equal(length, -1);
        return;
    }
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(out, expected, strlen(expected));
    unsigned char again[64];
    base64url_encode(again, out, (size_t)length);
    assert_int_equal(base64url_length((size_t)length), strlen(text));
    assert_memory_equal(again, text, strlen(text));
}

static void test_base64url(void **state)
{
    (void)state;
    decodes("", "");
    decodes("Zg==", "f");
    decodes("Zm8=", "fo");
    decodes("Zm9v", "foo");
    decodes("Zm9vYmFy", "foobar");
    decodes("-_-_", "\xfb\xff\xbf");
    decodes("Zm9", NULL);
    decodes("Zh==", NULL); /* bits that no byte has */
    decodes("Zm9=", NULL);
    decodes("Z===", NULL);
    decodes("====", NULL);
    decodes("Zg==Zg==", NULL);
    decodes("+/+/", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),    cmocka_unit_test(test_several_keys), cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_age),        cmocka_unit_test(test_tampering),    cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_no_memory),  cmocka_unit_test(test_base64url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
