/* What proxies say: PROXY headers (first byte even), and X-Forwarded-* or Forwarded (odd), one line of input for each header. */
#include <string.h>

#include "server/forwarded.h"
#include "server/proxy_protocol.h"
#include "server/trust.h"
#include "tests/fuzz/fuzz.h"

/* Read as it comes, a header is whole at the same byte, and bad or good as when it comes at once. */
static void header(const uint8_t *bytes, size_t length)
{
    struct proxy_header whole, part;
    size_t taken = 0, taken_part = 0;
    enum proxy_result result = proxy_read(bytes, length, &whole, &taken), before = PROXY_MORE;
    size_t step = length / 64 + 1;
    for (size_t end = 0; end < length && before == PROXY_MORE; end += step)
        before = proxy_read(bytes, end, &part, &taken_part);
    if (result == PROXY_DONE) {
        fuzz_require(taken > 7 && taken <= length && taken <= PROXY_LIMIT);
        fuzz_require(before != PROXY_BAD && (before == PROXY_MORE || taken_part == taken));
        fuzz_require(proxy_read(bytes, taken - 1, &part, &taken_part) == PROXY_MORE);
        fuzz_require(proxy_read(bytes, taken, &part, &taken_part) == PROXY_DONE && taken_part == taken);
        fuzz_require(whole.has_addresses == part.has_addresses && whole.secure == part.secure);
    } else {
        fuzz_require(before != PROXY_DONE && (result != PROXY_MORE || (before == PROXY_MORE && length < PROXY_LIMIT)));
    }
}

enum { FIELDS = 8 };

static void check(const struct forwarded *forwarded, const uint8_t *bytes, size_t length)
{
    if (forwarded->host == NULL)
        return;
    fuzz_require(forwarded->host >= bytes && forwarded->host + forwarded->host_length <= bytes + length);
    for (size_t i = 0; i < forwarded->host_length; i++)
        fuzz_require(forwarded->host[i] > ' ' && forwarded->host[i] < 127 && strchr(",/@\"\\", forwarded->host[i]) == NULL);
}

/* A client can put what it likes in front of what a proxy appends, and does not change it. */
static void appended(const struct forwarded_rules *rules, const struct trust *trust, const char *name, const uint8_t *bytes, size_t length,
                     const char *own)
{
    unsigned char line[2048];
    size_t name_length = strlen(name), own_length = strlen(own);
    struct forwarded forwarded;
    if (name_length + length + own_length > sizeof line)
        return;
    memcpy(line, name, name_length);
    memcpy(line + name_length, bytes, length);
    memcpy(line + name_length + length, own, own_length);
    struct field field = { { 0, (uint32_t)name_length }, { (uint32_t)name_length, (uint32_t)(length + own_length) } };
    forwarded_read(rules, trust, line, &field, 1, &forwarded);
    struct address client;
    fuzz_require(address_parse(&client, "192.0.2.77", 10) == 0);
    fuzz_require(forwarded.has_client && memcmp(&forwarded.client, &client, sizeof client) == 0 && forwarded.malformed == 0);
}

static void fields(const uint8_t *bytes, size_t length)
{
    static const struct forwarded_rules x_forwarded = {
        .address = "x-forwarded-for", .port = "x-forwarded-port", .proto = "x-forwarded-proto", .host = "x-forwarded-host",
    };
    static const struct forwarded_rules standard = { .standard = "forwarded" };
    struct field list[FIELDS];
    uint32_t count = 0;
    size_t at = 0;
    struct trust trust;
    struct forwarded forwarded;
    fuzz_require(trust_init(&trust, "10.0.0.0/8,2001:db8::/32") == TRUST_OK);
    while (at < length && count < FIELDS) {
        const uint8_t *end = memchr(bytes + at, '\n', length - at);
        size_t line = end != NULL ? (size_t)(end - bytes) - at : length - at;
        const uint8_t *colon = memchr(bytes + at, ':', line);
        size_t name = colon != NULL ? (size_t)(colon - bytes) - at : line;
        size_t value = colon != NULL ? name + 1 : line;
        list[count++] = (struct field){ { (uint32_t)at, (uint32_t)name }, { (uint32_t)(at + value), (uint32_t)(line - value) } };
        at += line + 1;
    }
    forwarded_read(&x_forwarded, &trust, bytes, list, count, &forwarded);
    check(&forwarded, bytes, length);
    forwarded_read(&standard, &trust, bytes, list, count, &forwarded);
    check(&forwarded, bytes, length);
    appended(&x_forwarded, &trust, "x-forwarded-for", bytes, length, ", 192.0.2.77");
    appended(&standard, &trust, "forwarded", bytes, length, ", for=192.0.2.77;proto=https");
    trust_deinit(&trust);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length > 0)
        (bytes[0] & 1 ? fields : header)(bytes + 1, length - 1);
    return 0;
}
