/* layer_fixture.h: a layer, its owners and one sink, for the tests of channellayer/.
 *
 * Owner:   each test program; fixture_begin() and fixture_end() are cmocka's setup and teardown.
 * Thread:  the test's.
 * Limits:  one fixture at a time: its clock is a static.
 */
#ifndef PENEUS_TESTS_UNIT_LAYER_FIXTURE_H
#define PENEUS_TESTS_UNIT_LAYER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "channellayer/layer.h"
#include "channellayer/owner.h"
#include "channellayer/sink.h"

enum {
    FIXTURE_EXPIRY_MS = 60000,
    FIXTURE_GROUP_EXPIRY_MS = 600000,
    FIXTURE_MAILBOX_BYTES = 1000,
    FIXTURE_MESSAGE_LIMIT = 500,
    CAPACITY = 3,
};

struct fixture {
    struct owners *owners;
    struct layer *layer;
    struct sink *sink;
    unsigned wakes;
    unsigned closes;       /* calls of overflow_close */
    uint64_t closed_tag;   /* of the last one */
};

static uint64_t fixture_clock;

static inline uint64_t fixture_now(void)
{
    return fixture_clock;
}

static inline void on_wake(void *argument)
{
    ((struct fixture *)argument)->wakes++;
}

static inline void on_overflow_close(void *context, uint64_t tag)
{
    struct fixture *fixture = context;
    fixture->closes++;
    fixture->closed_tag = tag;
}

static inline struct layer_config fixture_config(void)
{
    return (struct layer_config){
        .expiry_ms = FIXTURE_EXPIRY_MS,
        .group_expiry_ms = FIXTURE_GROUP_EXPIRY_MS,
        .message_limit = FIXTURE_MESSAGE_LIMIT,
        .mailbox_bytes = FIXTURE_MAILBOX_BYTES,
        .now_ms = fixture_now,
    };
}

static inline int fixture_begin(void **state)
{
    struct fixture *fixture = mem_zalloc(sizeof *fixture);
    fixture_clock = 1000000;
    struct layer_config config = fixture_config();
    fixture->owners = owners_create(on_overflow_close, fixture);
    assert_int_equal(layer_create(&fixture->layer, &config, fixture->owners), LAYER_OK);
    fixture->sink = sink_create(on_wake, fixture);
    *state = fixture;
    return 0;
}

static inline int fixture_end(void **state)
{
    struct fixture *fixture = *state;
    sink_close(fixture->sink);
    sink_release(fixture->sink);
    layer_release(fixture->layer);
    owners_destroy(fixture->owners);
    mem_free(fixture);
    return 0;
}

static inline struct name name_of(const char *text)
{
    return (struct name){ text, strlen(text) };
}

static inline struct message *message_of(const char *text)
{
    struct message *message = message_create(text, strlen(text), NULL, 0);
    assert_non_null(message);
    return message;
}

static inline struct message *keyed_message(const char *text, const char *key)
{
    struct message *message = message_create(text, strlen(text), key, strlen(key));
    assert_non_null(message);
    return message;
}

static inline int send_text(struct fixture *fixture, const char *channel, const char *text)
{
    struct message *message = message_of(text);
    int result = layer_send(fixture->layer, name_of(channel), CAPACITY, message);
    message_release(message);
    return result;
}

static inline int group_send_text(struct fixture *fixture, const char *group, const char *text)
{
    struct message *message = message_of(text);
    int result = layer_group_send(fixture->layer, name_of(group), message);
    message_release(message);
    return result;
}

static inline int join_as(struct fixture *fixture, const char *group, const char *channel, enum overflow overflow)
{
    return layer_group_add(fixture->layer, name_of(group), name_of(channel), CAPACITY, overflow);
}

static inline int join(struct fixture *fixture, const char *group, const char *channel)
{
    return join_as(fixture, group, channel, OVERFLOW_DROP_OLDEST);
}

static inline int wait_for(struct fixture *fixture, const char *channel, uint64_t token)
{
    struct message *message = NULL;
    int result = layer_receive(fixture->layer, name_of(channel), CAPACITY, fixture->sink, token, &message);
    if (result == LAYER_OK)
        message_release(message);
    return result;
}

/* The next message of channel is text. */
#define assert_receives(fixture, channel, text) receives(fixture, channel, text, __FILE__, __LINE__)

static inline void receives(struct fixture *fixture, const char *channel, const char *text, const char *file, int line)
{
    struct message *message = NULL;
    int result = layer_receive(fixture->layer, name_of(channel), CAPACITY, fixture->sink, 999, &message);
    _assert_int_equal((unsigned long)(long)result, (unsigned long)LAYER_OK, file, line);
    _assert_int_equal(message->length, strlen(text), file, line);
    _assert_memory_equal(message->bytes, text, strlen(text), file, line);
    message_release(message);
}

/* channel has no message; no waiter is left behind. */
static inline void assert_nothing(struct fixture *fixture, const char *channel)
{
    int result = wait_for(fixture, channel, 998);
    assert_true(result == LAYER_EMPTY || result == LAYER_UNKNOWN);
    layer_cancel(fixture->layer, name_of(channel), fixture->sink, 998);
}

static inline struct layer_stats stats_of(struct fixture *fixture)
{
    struct layer_stats stats;
    layer_stats(fixture->layer, &stats);
    assert_int_equal(stats.orphaned_channels, 0);
    return stats;
}

/* Takes one told waiter: its token; 0 when there is none. *channel: for layer_pass(), or NULL. */
static inline uint64_t told(struct fixture *fixture, uint64_t *channel)
{
    struct sink_item item;
    if (sink_take(fixture->sink, &item) == 0)
        return 0;
    assert_ptr_equal(item.layer, fixture->layer);
    layer_release(item.layer);
    if (channel != NULL)
        *channel = item.channel;
    return item.token;
}

#endif
