/* HTTP/1 input: two parsers, one that gets everything at once and one that gets it in pieces, must see the same. */
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

static void on_head(void *context, const struct http1_head *head)
{
    struct seen *seen = context;
    seen->heads++;
    seen->sum = add(seen->sum, head->bytes + head->method.offset, head->method.length);
    seen->sum = add(seen->sum, head->bytes + head->target.offset, head->target.length);
    fuzz_require(head->method.length > 0 && head->target.length > 0);
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        fuzz_require((size_t)field->name.offset + field->name.length <= head->length);
        fuzz_require((size_t)field->value.offset + field->value.length <= head->length);
        fuzz_require(memchr(head->bytes + field->value.offset, '\n', field->value.length) == NULL);
        fuzz_require(memchr(head->bytes + field->value.offset, '\0', field->value.length) == NULL);
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
