/* TE: which requests take trailers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/http1_parser.h"
#include "server/trailers.h"

/* A request with these fields, name and value by turns. */
static bool taken(const char *const *texts, size_t count)
{
    unsigned char bytes[512];
    struct field fields[8];
    uint32_t at = 0;
    struct http1_head head = { .bytes = bytes, .fields = fields, .field_count = (uint32_t)count / 2 };
    for (size_t i = 0; i < count; i++) {
        struct piece *piece = i % 2 == 0 ? &fields[i / 2].name : &fields[i / 2].value;
        *piece = (struct piece){ at, (uint32_t)strlen(texts[i]) };
        memcpy(bytes + at, texts[i], piece->length);
        at += piece->length;
    }
    return trailers_are_taken(&head);
}

#define TAKEN(...) taken((const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void test_who_takes_them(void **state)
{
    assert_true(TAKEN("te", "trailers"));
    assert_true(TAKEN("host", "x", "te", "Trailers"));
    assert_true(TAKEN("te", "gzip;q=0.5,trailers"));
    assert_true(TAKEN("te", ", \ttrailers \t,"));
    assert_true(TAKEN("te", "gzip", "te", "trailers"));
}

static void test_who_does_not(void **state)
{
    assert_false(TAKEN("host", "trailers"));
    assert_false(TAKEN("te", ""));
    assert_false(TAKEN("te", "trailer"));
    assert_false(TAKEN("te", "trailerss"));
    assert_false(TAKEN("te", "x trailers"));
    assert_false(TAKEN("te", "gzip;trailers"));
    assert_false(TAKEN("tx", "trailers"));
    assert_false(TAKEN("t", "etrailers"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_takes_them),
        cmocka_unit_test(test_who_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
