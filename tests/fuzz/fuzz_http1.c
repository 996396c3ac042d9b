/* HTTP/1 input: two parsers, one that gets everything at once and one that gets it in pieces, must see the same; and what they
 * let pass must be what RFC 9110 and 9112 call a request, said here once more, without the parser's own functions. */
#include <stdlib.h>
#include <string.h>

#include "server/http1_parser.h"
#include "tests/fuzz/fuzz.h"

struct seen {
    unsigned heads;
    size_t body;
    uint64_t sum; /* of everything that the callbacks were given */
    uint16_t status;
    size_t consumed;
};

static uint64_t add(uint64_t sum, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum = sum * 31 + ((const unsigned char *)bytes)[i];
    return sum;
}

static bool is_token(const unsigned char *bytes, size_t length)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0; i < length; i++)
        if (bytes[i] == 0 || strchr(token, bytes[i]) == NULL)
            return false;
    return length > 0;
}

static bool is_value(const unsigned char *bytes, size_t length)
{
    if (length > 0 && (bytes[0] == ' ' || bytes[0] == '\t' || bytes[length - 1] == ' ' || bytes[length - 1] == '\t'))
        return false;
    for (size_t i = 0; i < length; i++)
        if ((bytes[i] < ' ' && bytes[i] != '\t') || bytes[i] == 0x7f || bytes[i] == 0x85)
            return false;
    return true;
}

static bool is_target(const unsigned char *bytes, size_t length)
{
    bool query = false;
    if (length == 1 && bytes[0] == '*')
        return true;
    for (size_t i = 0; i < length; i++) {
        query |= bytes[i] == '?';
        if (bytes[i] <= ' ' || bytes[i] >= 0x7f || bytes[i] == '#' || (!query && strchr("\"<>\\`{}", bytes[i]) != NULL))
            return false;
    }
    return bytes[0] == '/';
}

static bool is_host(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] <= ' ' || bytes[i] >= 0x7f || strchr("\"#,/<>?@\\^`{|}", bytes[i]) != NULL)
            return false;
    return true;
}

static bool named(const struct http1_head *head, const struct field *field, const char *name)
{
    return field->name.length == strlen(name) && memcmp(head->bytes + field->name.offset, name, field->name.length) == 0;
}

/* One way to read it: one Host that is one, one length or chunks and not both, and digits alone. */
static void require_one_meaning(const struct http1_head *head)
{
    unsigned hosts = 0, lengths = 0, encodings = 0;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        const unsigned char *value = head->bytes + field->value.offset;
        fuzz_require(is_token(head->bytes + field->name.offset, field->name.length));
        fuzz_require(is_value(value, field->value.length));
        hosts += named(head, field, "host");
        if (named(head, field, "host"))
            fuzz_require(is_host(value, field->value.length));
        if (named(head, field, "content-length")) {
            lengths++;
            fuzz_require(field->value.length > 0);
            for (uint32_t j = 0; j < field->value.length; j++)
                fuzz_require(value[j] >= '0' && value[j] <= '9');
        }
        if (named(head, field, "transfer-encoding")) {
            encodings++;
            fuzz_require(field->value.length == 7 && head->has_body && head->minor >= 1);
        }
    }
    fuzz_require(hosts <= 1 && (hosts == 1 || head->minor == 0) && lengths + encodings <= 1);
    fuzz_require(!head->has_body || lengths + encodings == 1);
}

static void on_head(void *context, const struct http1_head *head)
{
    struct seen *seen = context;
    seen->heads++;
    seen->sum = add(seen->sum, head->bytes + head->method.offset, head->method.length);
    seen->sum = add(seen->sum, head->bytes + head->target.offset, head->target.length);
    fuzz_require(is_token(head->bytes + head->method.offset, head->method.length));
    fuzz_require(head->target.length > 0 && is_target(head->bytes + head->target.offset, head->target.length));
    require_one_meaning(head);
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        fuzz_require((size_t)field->name.offset + field->name.length <= head->length);
        fuzz_require((size_t)field->value.offset + field->value.length <= head->length);
        seen->sum = add(seen->sum, head->bytes + field->name.offset, field->name.length);
        seen->sum = add(seen->sum, head->bytes + field->value.offset, field->value.length);
    }
}

static void on_body(void *context, const unsigned char *bytes, size_t length)
{
    struct seen *seen = context;
    fuzz_require(length > 0);
    seen->body += length;
    seen->sum = add(seen->sum, bytes, length);
}

static const struct server_settings settings = {
    .max_target_size = 200, .max_header_size = 1000, .max_header_count = 20, .max_body_size = 5000,
};
static const struct http1_callbacks callbacks = { on_head, on_body };

static void parse(struct seen *seen, const uint8_t *bytes, size_t length, size_t step)
{
    struct http1_parser parser;
    memset(seen, 0, sizeof *seen);
    http1_parser_init(&parser, &settings, &callbacks, seen);
    while (seen->consumed < length) {
        size_t consumed, left = length - seen->consumed;
        enum http1_result result =
            http1_parser_feed(&parser, bytes + seen->consumed, left < step ? left : step, &consumed);
        fuzz_require(consumed <= left);
        seen->consumed += consumed;
        if (result == HTTP1_ERROR) {
            seen->status = parser.status;
            seen->consumed = 0; /* where an error is seen depends on the pieces */
            break;
        }
    }
    http1_parser_deinit(&parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct seen whole, pieces;
    parse(&whole, bytes, length, length > 0 ? length : 1);
    parse(&pieces, bytes, length, length > 0 ? 1 + bytes[length - 1] % 7u : 1);
    /* Which of several faults is seen first may depend on the pieces; whether there is one may not. */
    fuzz_require((whole.status != 0) == (pieces.status != 0));
    if (whole.status == 0)
        fuzz_require(whole.heads == pieces.heads && whole.body == pieces.body && whole.sum == pieces.sum);
    return 0;
}
