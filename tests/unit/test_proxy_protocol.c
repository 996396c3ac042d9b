/* PROXY headers: both versions, every truncation, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/proxy_protocol.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

struct sample {
    unsigned char bytes[PROXY_LIMIT + 64];
    size_t length;
};

static void add(struct sample *sample, const void *bytes, size_t length)
{
    memcpy(sample->bytes + sample->length, bytes, length);
    sample->length += length;
}

static void add_tlv(struct sample *sample, unsigned type, const void *bytes, size_t length)
{
    unsigned char head[3] = { (unsigned char)type, (unsigned char)(length >> 8), (unsigned char)length };
    add(sample, head, sizeof head);
    add(sample, bytes, length);
}

static void set_length(struct sample *sample)
{
    size_t length = sample->length - 16;
    sample->bytes[14] = (unsigned char)(length >> 8);
    sample->bytes[15] = (unsigned char)length;
}

/* Command and family as the protocol's bytes 13 and 14 have them; with the addresses of that family. */
static struct sample begin_v2(unsigned char command, unsigned char family)
{
    static const unsigned char v4[] = { 192, 0, 2, 1, 192, 0, 2, 2, 0x04, 0xd2, 0x01, 0xbb };
    static const unsigned char v6[36] = { [0] = 0x20, [1] = 0x01, [15] = 1, [16] = 0x20, [17] = 0x01, [31] = 2, [33] = 80, [35] = 90 };
    static const unsigned char local[216] = "/run/client";
    struct sample sample = { .length = 0 };
    add(&sample, SIGNATURE, 12);
    add(&sample, (unsigned char[]){ (unsigned char)(0x20 | command), family, 0, 0 }, 4);
    if (family >> 4 == 1)
        add(&sample, v4, sizeof v4);
    else if (family >> 4 == 2)
        add(&sample, v6, sizeof v6);
    else if (family >> 4 == 3)
        add(&sample, local, sizeof local);
    set_length(&sample);
    return sample;
}

static enum proxy_result read_all(const struct sample *sample, struct proxy_header *header, size_t *taken)
{
    /* Of exactly that size, so that a byte too many is seen. */
    unsigned char *copy = malloc(sample->length + 1);
    memcpy(copy, sample->bytes, sample->length);
    unsigned char *tight = realloc(copy, sample->length > 0 ? sample->length : 1);
    enum proxy_result result = proxy_read(tight, sample->length, header, taken);
    free(tight);
    return result;
}

/* Every truncation wants more; with bytes behind it, it takes its own. */
static void expect_good(const struct sample *sample, struct proxy_header *header)
{
    struct sample part = *sample;
    size_t taken = 0;
    for (part.length = 0; part.length < sample->length; part.length++)
        assert_int_equal(read_all(&part, header, &taken), PROXY_MORE);
    part = *sample;
    add(&part, "GET / HTTP/1.1\r\n", 16);
    assert_int_equal(read_all(&part, header, &taken), PROXY_DONE);
    assert_int_equal(taken, sample->length);
    assert_int_equal(read_all(sample, header, &taken), PROXY_DONE);
    assert_int_equal(taken, sample->length);
}

/* Bad in the end, and never good on the way there. */
static void expect_bad(const struct sample *sample)
{
    struct proxy_header header;
    struct sample part = *sample;
    size_t taken;
    for (part.length = 0; part.length < sample->length; part.length++)
        assert_int_not_equal(read_all(&part, &header, &taken), PROXY_DONE);
    assert_int_equal(read_all(sample, &header, &taken), PROXY_BAD);
}

static void expect_addresses(const struct proxy_header *header, const char *client, unsigned client_port, const char *server,
                             unsigned server_port)
{
    char text[ADDRESS_TEXT_SIZE];
    assert_true(header->has_addresses);
    address_text(&header->client, text);
    assert_string_equal(text, client);
    address_text(&header->server, text);
    assert_string_equal(text, server);
    assert_int_equal(header->client_port, client_port);
    assert_int_equal(header->server_port, server_port);
}

static struct sample line(const char *text)
{
    struct sample sample = { .length = 0 };
    add(&sample, text, strlen(text));
    return sample;
}

static void test_version_1(void **state)
{
    struct proxy_header header;
    struct sample sample = line("PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n");
    expect_good(&sample, &header);
    expect_addresses(&header, "192.0.2.1", 1234, "192.0.2.2", 443);
    assert_false(header.secure);
    sample = line("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n");
    expect_good(&sample, &header);
    expect_addresses(&header, "2001:db8::1", 0, "::1", 65535);
    sample = line("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n");
    expect_good(&sample, &header);
    assert_false(header.has_addresses);
    sample = line("PROXY UNKNOWN\r\n");
    expect_good(&sample, &header);
}

static void test_bad_version_1(void **state)
{
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "PROXY\r\n",
        "PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY \r\n",
        "PROXY TCP\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.02.2 1 2\r\n",
        "PROXY TCP4 ::1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::ffff:192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sample sample = line(bad[i]);
        struct proxy_header header;
        size_t taken;
        if (read_all(&sample, &header, &taken) != PROXY_BAD)
            fail_msg("taken: %s", bad[i]);
    }
    struct sample sample = { .length = 0 };
    add(&sample, "PROXY UNKNOWN ", 14);
    while (sample.length < 107)
        add(&sample, "x", 1);
    expect_bad(&sample);
}

static void test_version_2(void **state)
{
    struct proxy_header header;
    struct sample sample = begin_v2(1, 0x11);
    expect_good(&sample, &header);
    expect_addresses(&header, "192.0.2.1", 1234, "192.0.2.2", 443);
    sample = begin_v2(1, 0x21);
    expect_good(&sample, &header);
    expect_addresses(&header, "2001::1", 80, "2001::2", 90);
    sample = begin_v2(1, 0x31);
    expect_good(&sample, &header);
    assert_false(header.has_addresses);
    sample = begin_v2(0, 0x00); /* LOCAL */
    expect_good(&sample, &header);
    assert_false(header.has_addresses);
    sample = begin_v2(0, 0x11); /* LOCAL with addresses, which mean nothing */
    expect_good(&sample, &header);
    assert_false(header.has_addresses);
    sample = begin_v2(1, 0x00);
    add(&sample, "anything", 8);
    set_length(&sample);
    expect_good(&sample, &header);
    assert_false(header.has_addresses);
}

static void test_tlvs(void **state)
{
    struct proxy_header header;
    struct sample sample = begin_v2(1, 0x11);
    add_tlv(&sample, 0x01, "h2", 2);
    add_tlv(&sample, 0x04, "", 0);
    add_tlv(&sample, 0x20, "\x01\0\0\0\0", 5);
    add_tlv(&sample, 0xee, "custom", 6);
    set_length(&sample);
    expect_good(&sample, &header);
    assert_true(header.secure);
    sample = begin_v2(1, 0x11);
    add_tlv(&sample, 0x20, "\x02\0\0\0\0", 5); /* a certificate, but no TLS on this connection */
    set_length(&sample);
    expect_good(&sample, &header);
    assert_false(header.secure);
    sample = begin_v2(1, 0x11);
    add_tlv(&sample, 0x20, "\x01\0\0\0", 4);
    set_length(&sample);
    expect_bad(&sample);
    for (size_t cut = 1; cut < 9; cut++) { /* the last one's length lies */
        sample = begin_v2(1, 0x21);
        add_tlv(&sample, 0x02, "x.test", 6);
        sample.length -= cut;
        set_length(&sample);
        expect_bad(&sample);
    }
}

/* The checksum of this header was computed by hand from RFC 3720's polynomial, bit by bit. */
static uint32_t checksum(const struct sample *sample)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < 8 * sample->length; i++) {
        uint32_t bit = (sample->bytes[i / 8] >> (i % 8)) & 1;
        crc = ((crc ^ bit) & 1) != 0 ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static void test_checksum(void **state)
{
    struct proxy_header header;
    struct sample digits = line("123456789");
    assert_int_equal(checksum(&digits), 0xe3069283); /* the RFC's check value */
    struct sample sample = begin_v2(1, 0x11);
    add_tlv(&sample, 0x03, "\0\0\0\0", 4);
    add_tlv(&sample, 0x04, "pad", 3);
    set_length(&sample);
    uint32_t crc = checksum(&sample);
    unsigned char *at = sample.bytes + 16 + 12 + 3;
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(crc >> (24 - 8 * i));
    expect_good(&sample, &header);
    expect_addresses(&header, "192.0.2.1", 1234, "192.0.2.2", 443);
    for (size_t i = 16; i < sample.length; i++) { /* whatever is changed behind the fixed part */
        if (i >= 28 && i < 31)
            continue; /* that makes it another TLV */
        struct sample changed = sample;
        changed.bytes[i] ^= 1;
        struct proxy_header ignored;
        size_t taken;
        assert_int_equal(read_all(&changed, &ignored, &taken), PROXY_BAD);
    }
}

static void test_bad_version_2(void **state)
{
    struct sample sample = begin_v2(1, 0x11);
    sample.bytes[12] = 0x11; /* version 1 */
    expect_bad(&sample);
    sample.bytes[12] = 0x22; /* no such command */
    expect_bad(&sample);
    sample = begin_v2(1, 0x12); /* a datagram */
    expect_bad(&sample);
    sample = begin_v2(1, 0x10);
    expect_bad(&sample);
    sample = begin_v2(1, 0x41);
    expect_bad(&sample);
    sample = begin_v2(1, 0x21); /* too short for its addresses */
    sample.length = 16 + 12;
    set_length(&sample);
    expect_bad(&sample);
    sample = begin_v2(1, 0x11);
    sample.bytes[14] = sample.bytes[15] = 0xff; /* too long */
    expect_bad(&sample);
    sample = begin_v2(1, 0x11);
    sample.bytes[5] = 'x';
    expect_bad(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1), cmocka_unit_test(test_bad_version_1), cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_tlvs),      cmocka_unit_test(test_checksum),      cmocka_unit_test(test_bad_version_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
