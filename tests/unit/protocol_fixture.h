/* protocol_fixture.h: what the tests of the protocol code share: settings, commands with fields, text that grows, and
 * scenarios whose n-th allocation fails.
 *
 * Owner:   the test.
 * Thread:  the test's.
 * Limits:  TEXT_SIZE bytes of text.
 */
#ifndef PENEUS_TESTS_PROTOCOL_FIXTURE_H
#define PENEUS_TESTS_PROTOCOL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "server/buffer.h"
#include "server/command.h"
#include "server/http1_writer.h"
#include "server/settings.h"

enum { TEXT_SIZE = 64 * 1024 };

/* A transcript of what the code under test has said. */
struct text {
    size_t length;
    char bytes[TEXT_SIZE];
};

static inline void text_add(struct text *text, const void *bytes, size_t length)
{
    assert_true(text->length + length < TEXT_SIZE);
    if (length > 0)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = 0;
}

static inline void text_format(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->bytes + text->length, TEXT_SIZE - text->length, format, arguments);
    va_end(arguments);
    assert_true(length >= 0 && text->length + (size_t)length < TEXT_SIZE);
    text->length += (size_t)length;
}

/* What an out buffer holds, as a string. */
static inline const char *buffer_text(const struct buffer *buffer)
{
    static struct text text;
    text.length = 0;
    text_add(&text, buffer->bytes != NULL ? buffer_bytes(buffer) : (unsigned char *)"", buffer_length(buffer));
    return text.bytes;
}

/* fields is "name: value\n" again and again. */
static inline struct command *respond_command(enum command_kind kind, uint16_t status, const char *fields, const char *body,
                                              bool more)
{
    struct command_field array[16];
    char bytes[4096];
    uint32_t count = 0;
    size_t length = 0;
    while (*fields != 0) {
        const char *colon = strstr(fields, ": ");
        const char *end = strchr(fields, '\n');
        assert_non_null(colon);
        assert_non_null(end);
        array[count] = (struct command_field){ (uint32_t)(colon - fields), (uint32_t)(end - colon - 2) };
        memcpy(bytes + length, fields, array[count].name_length);
        memcpy(bytes + length + array[count].name_length, colon + 2, array[count].value_length);
        length += array[count].name_length + array[count].value_length;
        count++;
        fields = end + 1;
    }
    size_t head = count * sizeof *array + length;
    struct command *command = command_create(kind, 1, head + strlen(body));
    assert_non_null(command);
    command->response.status = status;
    command->response.more = more;
    command->response.field_count = count;
    command->response.head_length = (uint32_t)head;
    memcpy(command->bytes, array, count * sizeof *array);
    memcpy(command->bytes + count * sizeof *array, bytes, length);
    memcpy(command->bytes + head, body, strlen(body));
    return command;
}

static const struct http1_identity test_identity = { "Sun, 06 Nov 1994 08:49:37 GMT", "peneus" };

/* Runs scenario again and again, with its first, second, third … allocation failing, until none fails. It returns whether it
 * noticed a failure, and it must notice every one. */
static inline void fail_every_allocation(bool (*scenario)(void))
{
    unsigned long n = 1;
    for (;; n++) {
        mem_fail_at(n);
        bool noticed = scenario();
        bool failed = mem_try_count() >= n;
        mem_fail_at(0);
        assert_int_equal(noticed, failed);
        if (!failed)
            break;
        assert_true(n < 1000);
    }
    assert_true(n > 1);
}

#endif
