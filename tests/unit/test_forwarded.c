/* X-Forwarded-* and Forwarded: who is believed, how far, and what spoofing comes to. And the list of those who are trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "server/forwarded.h"
#include "server/trust.h"

#define FOR "x-forwarded-for"
#define PORT "x-forwarded-port"
#define PROTO "x-forwarded-proto"
#define HOST "x-forwarded-host"
#define STANDARD "forwarded"

static const struct forwarded_rules x_forwarded = { .address = FOR, .port = PORT, .proto = PROTO, .host = HOST };
static const struct forwarded_rules standard = { .standard = STANDARD };

struct row {
    const char *headers[7]; /* name, value, … NULL */
    const char *expected;   /* "address port scheme host malformed" */
};

/* What is read of headers, by proxies that are trusted in 10.0.0.0/8 and 2001:db8::/32. */
static void check(const struct forwarded_rules *rules, const char *list, const struct row *row)
{
    struct field fields[4];
    struct trust trust;
    struct forwarded found;
    uint32_t count = 0;
    size_t length = 0;
    unsigned char *bytes = malloc(1);
    assert_int_equal(trust_init(&trust, list), TRUST_OK);
    for (size_t i = 0; i + 1 < 8 && i < 6 && row->headers[i] != NULL; i += 2) {
        size_t name = strlen(row->headers[i]), value = strlen(row->headers[i + 1]);
        bytes = realloc(bytes, length + name + value + 1);
        memcpy(bytes + length, row->headers[i], name);
        memcpy(bytes + length + name, row->headers[i + 1], value);
        fields[count++] = (struct field){ { (uint32_t)length, (uint32_t)name }, { (uint32_t)(length + name), (uint32_t)value } };
        length += name + value;
    }
    bytes = realloc(bytes, length > 0 ? length : 1); /* so that a byte too many is seen */
    forwarded_read(rules, &trust, bytes, fields, count, &found);
    char address[ADDRESS_TEXT_SIZE] = "-", text[512];
    static const char *const schemes[] = { "-", "http", "https" };
    if (found.has_client)
        address_text(&found.client, address);
    snprintf(text, sizeof text, "%s %u %s %.*s %u", address, found.port, schemes[found.scheme],
             found.host != NULL ? (int)found.host_length : 1, found.host != NULL ? (const char *)found.host : "-", found.malformed);
    if (strcmp(text, row->expected) != 0)
        fail_msg("%s: %s gave %s, not %s", row->headers[0], row->headers[1], text, row->expected);
    free(bytes);
    trust_deinit(&trust);
}

static void check_all(const struct forwarded_rules *rules, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check(rules, "10.0.0.0/8,2001:db8::/32", &rows[i]);
}

static void test_x_forwarded_for(void **state)
{
    static const struct row rows[] = {
        { { "host", "x" }, "- 0 - - 0" },
        { { FOR, "192.0.2.1" }, "192.0.2.1 0 - - 0" },
        { { FOR, "192.0.2.1, 192.0.2.2" }, "192.0.2.2 0 - - 0" }, /* the left one anybody may have written */
        { { FOR, "192.0.2.1, 10.0.0.1" }, "192.0.2.1 0 - - 0" },
        { { FOR, "192.0.2.9, 192.0.2.1,10.0.0.2 ,\t10.0.0.1" }, "192.0.2.1 0 - - 0" },
        { { FOR, "10.0.0.2, 10.0.0.1" }, "10.0.0.2 0 - - 0" }, /* all trusted: the farthest */
        { { FOR, "192.0.2.1", FOR, "10.0.0.1" }, "192.0.2.1 0 - - 0" },
        { { FOR, "10.0.0.1", FOR, "192.0.2.1" }, "192.0.2.1 0 - - 0" },
        { { FOR, "2001:DB8::5" }, "2001:db8::5 0 - - 0" },
        { { FOR, "192.0.2.1, [2001:db8::5]:8080" }, "192.0.2.1 0 - - 0" },
        { { FOR, "[2001:db9::5]:8080" }, "2001:db9::5 8080 - - 0" },
        { { FOR, "192.0.2.1:8080" }, "192.0.2.1 8080 - - 0" },
        { { FOR, "::ffff:192.0.2.1" }, "192.0.2.1 0 - - 0" },
        { { FOR, "192.0.2.1, ::ffff:10.0.0.1" }, "192.0.2.1 0 - - 0" },
        { { FOR, "192.0.2.1, , 10.0.0.1, " }, "192.0.2.1 0 - - 0" },
        { { FOR, "" }, "- 0 - - 0" },
        { { FOR, "unknown" }, "- 0 - - 0" },
        { { FOR, "192.0.2.1, unknown, 10.0.0.1" }, "10.0.0.1 0 - - 0" },
        { { FOR, "nonsense" }, "- 0 - - 1" },
        { { FOR, "192.0.2.1, nonsense, 10.0.0.1" }, "10.0.0.1 0 - - 1" }, /* no further than what is known */
        { { FOR, "nonsense, 192.0.2.1" }, "192.0.2.1 0 - - 0" },
        { { FOR, "192.0.2.1:99999" }, "- 0 - - 1" },
        { { FOR, "192.0.2.1:" }, "- 0 - - 1" },
        { { FOR, "[192.0.2.1]" }, "- 0 - - 1" },
        { { FOR, "[2001:db8::1" }, "- 0 - - 1" },
        { { FOR, "[2001:db8::1]x" }, "- 0 - - 1" },
        { { FOR, "\"192.0.2.1\"" }, "- 0 - - 1" },
        { { STANDARD, "for=192.0.2.1" }, "- 0 - - 0" }, /* the other family */
        { { FOR, "192.0.2.1", STANDARD, "for=192.0.2.2;proto=https" }, "192.0.2.1 0 - - 0" },
    };
    check_all(&x_forwarded, rows, sizeof rows / sizeof *rows);
}

static void test_other_x_forwarded(void **state)
{
    static const struct row rows[] = {
        { { PROTO, "https" }, "- 0 https - 0" },
        { { PROTO, "HTTP" }, "- 0 http - 0" },
        { { PROTO, "wss" }, "- 0 https - 0" },
        { { PROTO, "gopher" }, "- 0 - - 1" },
        { { PROTO, "https, http" }, "- 0 http - 0" }, /* the nearest proxy's */
        { { FOR, "192.0.2.1, 10.0.0.1", PROTO, "https, http" }, "192.0.2.1 0 https - 0" }, /* one for each hop */
        { { FOR, "192.0.2.7, 192.0.2.1", PROTO, "https, http" }, "192.0.2.1 0 http - 0" },
        { { FOR, "192.0.2.1, 10.0.0.1", PROTO, "https" }, "192.0.2.1 0 https - 0" },
        { { FOR, "192.0.2.1", PROTO, "https, http" }, "192.0.2.1 0 http - 0" },
        { { FOR, "192.0.2.1", PORT, "1234" }, "192.0.2.1 1234 - - 0" },
        { { FOR, "192.0.2.1:5", PORT, "1234" }, "192.0.2.1 5 - - 0" },
        { { PORT, "1234" }, "- 0 - - 0" }, /* a port without an address */
        { { FOR, "192.0.2.1", PORT, "70000" }, "192.0.2.1 0 - - 1" },
        { { FOR, "192.0.2.1", PORT, "x" }, "192.0.2.1 0 - - 1" },
        { { HOST, "example.org" }, "- 0 - example.org 0" },
        { { HOST, "evil.test, example.org:8443" }, "- 0 - example.org:8443 0" },
        { { HOST, "[2001:db8::1]:80" }, "- 0 - [2001:db8::1]:80 0" },
        { { HOST, "[2001:db8::1]" }, "- 0 - [2001:db8::1] 0" },
        { { HOST, "exa mple" }, "- 0 - - 1" },
        { { HOST, "a/b" }, "- 0 - - 1" },
        { { HOST, "user@host" }, "- 0 - - 1" },
        { { HOST, "host:" }, "- 0 - - 1" },
        { { HOST, ":80" }, "- 0 - - 1" },
        { { HOST, "[::1" }, "- 0 - - 1" },
        { { HOST, "host:99999" }, "- 0 - - 1" },
    };
    check_all(&x_forwarded, rows, sizeof rows / sizeof *rows);
    static const struct forwarded_rules daphnes = { .address = "x-real-ip" };
    check(&daphnes, "10.0.0.1", &(struct row){ { FOR, "192.0.2.1", "x-real-ip", "192.0.2.2", PROTO, "https" }, "192.0.2.2 0 - - 0" });
    static const struct forwarded_rules none = { .address = NULL };
    check(&none, "*", &(struct row){ { FOR, "192.0.2.1", STANDARD, "for=192.0.2.2" }, "- 0 - - 0" });
    check(&x_forwarded, "*", &(struct row){ { FOR, "192.0.2.1, 192.0.2.2" }, "192.0.2.1 0 - - 0" });
}

static void test_standard(void **state)
{
    static const struct row rows[] = {
        { { STANDARD, "for=192.0.2.1" }, "192.0.2.1 0 - - 0" },
        { { STANDARD, "For=192.0.2.1;PROTO=https;host=example.org;by=_me" }, "192.0.2.1 0 https example.org 0" },
        { { STANDARD, "for=\"[2001:db9::1]:4711\"" }, "2001:db9::1 4711 - - 0" },
        { { STANDARD, "for=\"192.0.2.1:_obf\"" }, "192.0.2.1 0 - - 0" },
        { { STANDARD, "for=192.0.2.1, for=192.0.2.2" }, "192.0.2.2 0 - - 0" },
        { { STANDARD, "for=192.0.2.1;proto=https, for=10.0.0.1;proto=http" }, "192.0.2.1 0 https - 0" },
        { { STANDARD, "for=192.0.2.1", STANDARD, "for=10.0.0.1" }, "192.0.2.1 0 - - 0" },
        { { STANDARD, "for=unknown;proto=https" }, "- 0 https - 0" },
        { { STANDARD, "for=_hidden, for=10.0.0.1" }, "10.0.0.1 0 - - 0" },
        { { STANDARD, "proto=https" }, "- 0 https - 0" },
        { { STANDARD, "for=192.0.2.1, proto=https" }, "- 0 https - 0" }, /* whom it was spoken to from is not said */
        { { STANDARD, "for=\"a,b\", for=192.0.2.1" }, "192.0.2.1 0 - - 0" },
        { { STANDARD, "by=\"x,y\";for=192.0.2.1" }, "192.0.2.1 0 - - 0" },
        /* a quote of the client's cannot swallow what the proxy has appended */
        { { STANDARD, "for=\"x, for=192.0.2.1" }, "192.0.2.1 0 - - 0" },
        { { STANDARD, "for=\"x\\, for=192.0.2.1" }, "192.0.2.1 0 - - 0" },
        { { STANDARD, "for=192.0.2.9;\", for=\"[2001:db9::1]\"" }, "2001:db9::1 0 - - 0" },
        { { STANDARD, "\"for=192.0.2.9, for=10.0.0.1" }, "10.0.0.1 0 - - 1" },
        { { STANDARD, "for=192.0.2.1;for=192.0.2.2" }, "- 0 - - 1" },
        { { STANDARD, "for = 192.0.2.1" }, "- 0 - - 1" },
        { { STANDARD, "for=192.0.2.1;" }, "- 0 - - 1" },
        { { STANDARD, ";for=192.0.2.1" }, "- 0 - - 1" },
        { { STANDARD, "for" }, "- 0 - - 1" },
        { { STANDARD, "for=" }, "- 0 - - 1" },
        { { STANDARD, "for=\"\"" }, "- 0 - - 1" },
        { { STANDARD, "for=[2001:db8::1]" }, "- 0 - - 1" }, /* not quoted */
        { { STANDARD, "for=\"192.0.2\\.1\"" }, "- 0 - - 1" },
        { { STANDARD, "for=\"192.0.2.1" }, "- 0 - - 1" },
        { { STANDARD, "for=192.0.2.1;proto=gopher" }, "192.0.2.1 0 - - 1" },
        { { STANDARD, "for=192.0.2.1;host=\"a/b\"" }, "192.0.2.1 0 - - 1" },
        { { STANDARD, "" }, "- 0 - - 0" },
        { { FOR, "192.0.2.1", PROTO, "https" }, "- 0 - - 0" }, /* the other family */
        { { FOR, "192.0.2.9", STANDARD, "for=192.0.2.1" }, "192.0.2.1 0 - - 0" },
    };
    check_all(&standard, rows, sizeof rows / sizeof *rows);
}

static bool trusts(const struct trust *trust, const char *text)
{
    struct address address;
    assert_int_equal(address_parse(&address, text, strlen(text)), 0);
    return trust_has(trust, &address);
}

static void test_trust(void **state)
{
    static const char *const wrong[] = {
        "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/-1", "10.0.0.0/0008", "::/129", "10.0.0.1,,::1", ",", "UNIX", "**",
        "10.0.0.1 ",
    };
    struct trust trust;
    assert_int_equal(trust_init(&trust, NULL), TRUST_OK);
    assert_false(trusts(&trust, "127.0.0.1") || trust_has_local(&trust));
    trust_deinit(&trust);
    assert_int_equal(trust_init(&trust, "127.0.0.1,10.0.0.0/8,2001:db8::/33,unix,::1"), TRUST_OK);
    assert_true(trusts(&trust, "127.0.0.1") && trusts(&trust, "10.255.0.1") && trusts(&trust, "::1") && trust_has_local(&trust));
    assert_true(trusts(&trust, "::ffff:10.0.0.1") && trusts(&trust, "2001:db8:7fff::"));
    assert_false(trusts(&trust, "127.0.0.2") || trusts(&trust, "11.0.0.0") || trusts(&trust, "2001:db8:8000::") || trusts(&trust, "::2"));
    trust_deinit(&trust);
    assert_int_equal(trust_init(&trust, "*"), TRUST_OK);
    assert_true(trusts(&trust, "192.0.2.1") && trusts(&trust, "::2") && trust_has_local(&trust));
    trust_deinit(&trust);
    assert_int_equal(trust_init(&trust, "0.0.0.0/0"), TRUST_OK);
    assert_true(trusts(&trust, "192.0.2.1"));
    assert_false(trusts(&trust, "::2") || trust_has_local(&trust));
    trust_deinit(&trust);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(trust_init(&trust, wrong[i]), TRUST_WRONG);
        assert_false(trusts(&trust, "10.0.0.1"));
    }
    mem_fail_at(1);
    assert_int_equal(trust_init(&trust, "10.0.0.1"), TRUST_NO_MEMORY);
    mem_fail_at(0);
    trust_deinit(&trust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_x_forwarded_for),
        cmocka_unit_test(test_other_x_forwarded),
        cmocka_unit_test(test_standard),
        cmocka_unit_test(test_trust),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
