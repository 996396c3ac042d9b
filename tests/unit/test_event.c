/* Events and commands: made, filled in, freed; what a failing allocation gives. */
#include "protocol_fixture.h"

#include "server/event_create.h"
#include "server/load.h"

static void test_event_copies_its_bytes(void **state)
{
    (void)state;
    char text[] = "hello";
    struct event *event = event_create(EVENT_BODY, 7, text, 5);
    text[0] = 'J';
    assert_int_equal(event->kind, EVENT_BODY);
    assert_int_equal(event->exchange, 7);
    assert_int_equal(event->length, 5);
    assert_memory_equal(event->bytes, "hello", 5);
    event_destroy(event);

    event = event_create(EVENT_MESSAGE, 7, NULL, 3);
    memcpy(event->bytes, "abc", 3); /* room for them */
    event_destroy(event);
    event = event_create(EVENT_DISCONNECT, 7, NULL, 0);
    assert_int_equal(event->length, 0);
    event_destroy(event);
    assert_null(event_create(EVENT_BODY, 7, NULL, SIZE_MAX - 1));
}

static struct request_event *request(void)
{
    static const struct field fields[] = { { { 7, 4 }, { 11, 1 } }, { { 12, 1 }, { 13, 0 } } };
    struct http1_head head = {
        .bytes = (const unsigned char *)"POST/ahosthx",
        .length = 13,
        .method = { 0, 4 },
        .target = { 4, 2 },
        .fields = fields,
        .field_count = 2,
        .minor = 1,
        .has_body = true,
    };
    return request_event_create(&head);
}

static void test_request_event_copies_the_head(void **state)
{
    (void)state;
    struct request_event *event = request();
    assert_int_equal(event->event.kind, EVENT_REQUEST);
    assert_int_equal(event->event.exchange, 0); /* exchange.c fills it in */
    assert_memory_equal(event->event.bytes + event->method.offset, "POST", event->method.length);
    assert_memory_equal(event->event.bytes + event->target.offset, "/a", event->target.length);
    assert_int_equal(event->field_count, 2);
    assert_int_equal(event->fields[0].name.length, 4);
    assert_int_equal(event->fields[1].value.offset, 13);
    assert_true(event->has_body);
    assert_false(event->websocket);
    assert_int_equal(event->http_minor, 1);
    event_destroy(&event->event);
}

static void test_a_request_weighs_on_its_connection_until_it_is_destroyed(void **state)
{
    (void)state;
    struct load *whole = load_create(NULL), *one = load_create(whole), *other = load_create(whole);
    struct request_event *first = request(), *second = request(), *third = request();
    size_t weight = request_event_weight(first);
    assert_int_equal(weight, sizeof *first + 2 * sizeof(struct field) + 13);
    first->load = second->load = one;
    third->load = other;
    load_add_head(one, weight);
    load_add_head(one, weight);
    load_add_head(other, weight);
    assert_int_equal(load_heads(one), 2 * weight);
    assert_int_equal(load_heads(whole), 3 * weight);
    event_destroy(&first->event);
    assert_int_equal(load_heads(one), weight);
    assert_int_equal(load_heads(other), weight);
    assert_int_equal(load_heads(whole), 2 * weight);
    load_release(one); /* its connection has gone: the event and the application do not need it */
    load_begin_application(other);
    load_release(other);
    event_destroy(&third->event);
    assert_int_equal(other->applications, 1);
    load_end_application(other);
    assert_int_equal(load_heads(whole), weight);
    load_release(whole);
    event_destroy(&second->event);
}

static bool make_all(void)
{
    struct event *event = event_create(EVENT_BODY, 1, "x", 1);
    struct request_event *asked = request();
    struct command *command = command_create(COMMAND_BODY, 1, 10);
    bool noticed = event == NULL || asked == NULL || command == NULL;
    mem_free(event);
    mem_free(asked);
    command_destroy(command);
    return noticed;
}

static void test_failing_memory(void **state)
{
    (void)state;
    fail_every_allocation(make_all);
}

static void test_events_without_bytes_do_not_fail(void **state)
{
    (void)state;
    mem_fail_at(1);
    struct event *event = event_create(EVENT_KILL, 1, NULL, 0);
    mem_fail_at(0);
    assert_non_null(event);
    event_destroy(event);
}

static void test_command(void **state)
{
    (void)state;
    struct command *command = command_create(COMMAND_CLOSE, 3, 2);
    assert_int_equal(command->kind, COMMAND_CLOSE);
    assert_int_equal(command->exchange, 3);
    assert_int_equal(command->length, 2);
    memcpy(command->bytes, "ok", 2);
    command_destroy(command);
    assert_null(command_create(COMMAND_BODY, 3, SIZE_MAX - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_copies_its_bytes),
        cmocka_unit_test(test_request_event_copies_the_head),
        cmocka_unit_test(test_a_request_weighs_on_its_connection_until_it_is_destroyed),
        cmocka_unit_test(test_failing_memory),
        cmocka_unit_test(test_events_without_bytes_do_not_fail),
        cmocka_unit_test(test_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
