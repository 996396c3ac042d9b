/* A link against a server that says what the test wants: greetings, answers in order, what nobody asked for, lost
 * connections; and each allocation failing once. */
#include "channellayer/bus/redis_link.h"

#include <hiredis/hiredis.h>
#include <time.h>

#include "base/clock.h"
#include "tests/unit/fake_redis.h"
#include "tests/unit/resident.h"

enum { PATIENCE_MS = 20000, NOTE_SIZE = 4096 };

struct bench {
    uv_loop_t loop;
    struct fake_redis fake;
    struct redis_address address;
    struct redis_host host;
    struct redis_link *link;
    unsigned ups, downs, failures;
    bool closed;
    char reason[256];
    char note[NOTE_SIZE]; /* replies and pushes, one a line */
    const char *greeting; /* the fake's answer to HELLO */
    const char *pong;     /* to PING */
    const char *error;    /* to FAIL */
};

static void note(struct bench *bench, const char *what, const struct redisReply *reply)
{
    size_t used = strlen(bench->note);
    used += (size_t)snprintf(bench->note + used, NOTE_SIZE - used, "%s", what);
    if (reply == NULL) {
        used += (size_t)snprintf(bench->note + used, NOTE_SIZE - used, " lost");
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        used += (size_t)snprintf(bench->note + used, NOTE_SIZE - used, " %lld", reply->integer);
    } else if (reply->str != NULL) {
        used += (size_t)snprintf(bench->note + used, NOTE_SIZE - used, " %s", reply->str);
    }
    for (size_t i = 0; reply != NULL && i < reply->elements; i++) {
        if (reply->element[i]->str != NULL)
            used += (size_t)snprintf(bench->note + used, NOTE_SIZE - used, " %s", reply->element[i]->str);
    }
    snprintf(bench->note + used, NOTE_SIZE - used, "\n");
}

static void on_up(void *context)
{
    ((struct bench *)context)->ups++;
}

static void on_down(void *context, const char *reason)
{
    struct bench *bench = context;
    bench->downs++;
    snprintf(bench->reason, sizeof bench->reason, "%s", reason);
}

static void on_failed(void *context, const char *reason)
{
    struct bench *bench = context;
    bench->failures++;
    snprintf(bench->reason, sizeof bench->reason, "%s", reason);
}

static void on_error(void *context, const char *command, const char *error)
{
    struct bench *bench = context;
    size_t used = strlen(bench->note);
    snprintf(bench->note + used, NOTE_SIZE - used, "error of %s: %s\n", command, error);
}

static void on_push(void *context, const struct redisReply *push)
{
    note(context, "push", push);
}

static void on_closed(void *context)
{
    ((struct bench *)context)->closed = true;
}

static void on_reply(void *context, void *argument, const struct redisReply *reply)
{
    note(context, argument, reply);
}

static const struct redis_link_events events = { on_up, on_down, on_failed, on_error, on_push, on_closed };

static const char *answer(struct fake_redis *fake, size_t count, char **words)
{
    struct bench *bench = fake->listener.loop->data;
    (void)count;
    if (strcmp(words[0], "HELLO") == 0)
        return bench->greeting;
    if (strcmp(words[0], "PING") == 0)
        return bench->pong;
    if (strcmp(words[0], "FAIL") == 0)
        return bench->error;
    if (strcmp(words[0], "ECHO") == 0)
        return strcmp(words[1], "one") == 0 ? "$3\r\none\r\n" : "$3\r\ntwo\r\n";
    if (strcmp(words[0], "ROLE") == 0)
        return "*1\r\n$5\r\nslave\r\n";
    if (strcmp(words[0], "NOTHING") == 0)
        return NULL;
    if (strcmp(words[0], "STALL") == 0)
        nanosleep(&(struct timespec){ .tv_sec = 4 }, NULL);
    return "+OK\r\n";
}

static int begin(void **state)
{
    struct bench *bench = mem_zalloc(sizeof *bench);
    uv_loop_init(&bench->loop);
    bench->loop.data = bench;
    bench->fake.answer = answer;
    bench->greeting = "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n";
    bench->pong = "+PONG\r\n";
    fake_begin(&bench->fake, &bench->loop);
    bench->address = (struct redis_address){ .host = "127.0.0.1", .port = bench->fake.port };
    bench->host = (struct redis_host){ .kind = REDIS_SINGLE, .label = "fake", .addresses = &bench->address, .address_count = 1 };
    *state = bench;
    return 0;
}

static void wake(uv_timer_t *timer)
{
    (void)timer;
}

/* Turns the loop until condition holds. */
#define UNTIL(bench, condition)                                                          \
    do {                                                                                 \
        uint64_t deadline = clock_ms() + PATIENCE_MS;                                    \
        while (!(condition)) {                                                           \
            assert_true(clock_ms() < deadline);                                          \
            turn(bench);                                                                 \
        }                                                                                \
    } while (0)

static void turn(struct bench *bench)
{
    uv_timer_t limit;
    uv_timer_init(&bench->loop, &limit);
    uv_timer_start(&limit, wake, 20, 0);
    uv_run(&bench->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&limit, NULL);
    uv_run(&bench->loop, UV_RUN_NOWAIT);
}

static int end(void **state)
{
    struct bench *bench = *state;
    mem_fail_at(0);
    if (bench->link != NULL) {
        redis_link_destroy(bench->link);
        UNTIL(bench, bench->closed);
    }
    fake_end(&bench->fake);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    mem_free(bench);
    return 0;
}

static void dial(struct bench *bench)
{
    bench->link = redis_link_create(&bench->loop, &bench->host, 0, &events, bench);
    assert_non_null(bench->link);
}

static void dial_and_wait(struct bench *bench)
{
    dial(bench);
    UNTIL(bench, bench->ups == 1);
}

static int command(struct bench *bench, const char *text, const char *what)
{
    struct name words[FAKE_WORDS];
    size_t count = 0;
    for (const char *at = text; *at != '\0'; count++) {
        size_t length = strcspn(at, " ");
        words[count] = (struct name){ at, length };
        at += length + (at[length] == ' ');
    }
    return redis_link_send(bench->link, count, words, (struct redis_reader){ on_reply, (void *)what, false });
}

static void test_greeting_with_resp3(void **state)
{
    struct bench *bench = *state;
    bench->host.username = "me";
    bench->host.password = "secret";
    bench->host.db = 7;
    dial_and_wait(bench);
    assert_string_equal(bench->fake.log, "HELLO 3 AUTH me secret SETNAME peneus\nSELECT 7\nPING\n");
    assert_int_equal(redis_link_protocol(bench->link), 3);
}

static void test_greeting_of_a_server_without_hello(void **state)
{
    struct bench *bench = *state;
    bench->greeting = "-ERR unknown command `HELLO`, with args beginning with: `3`\r\n";
    bench->host.password = "secret";
    dial_and_wait(bench);
    assert_string_equal(bench->fake.log, "HELLO 3 AUTH default secret SETNAME peneus\nAUTH secret\nPING\n");
    assert_int_equal(redis_link_protocol(bench->link), 2);
}

static void test_greeting_with_resp2(void **state)
{
    struct bench *bench = *state;
    bench->host.protocol = 2;
    bench->host.username = "me";
    bench->host.password = "secret";
    dial_and_wait(bench);
    assert_string_equal(bench->fake.log, "AUTH me secret\nPING\n");
}

static void test_refused_greeting_is_a_failed_attempt(void **state)
{
    struct bench *bench = *state;
    bench->greeting = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    dial(bench);
    UNTIL(bench, bench->failures == 2);
    assert_string_equal(bench->reason, "WRONGPASS invalid username-password pair or user is disabled.");
    assert_int_equal(bench->ups, 0);
    assert_int_equal(command(bench, "ECHO one", "echo"), REDIS_LINK_DOWN);
    bench->greeting = "%0\r\n";
    UNTIL(bench, bench->ups == 1);
}

static void test_answers_come_in_order(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(command(bench, "ECHO one", "first"), REDIS_LINK_OK);
        assert_int_equal(command(bench, "ECHO two", "second"), REDIS_LINK_OK);
    }
    UNTIL(bench, strlen(bench->note) >= 63);
    assert_string_equal(bench->note, "first one\nsecond two\nfirst one\nsecond two\nfirst one\nsecond two\n");
}

/* Messages come between answers, and the error of a SUBSCRIBE is no other command's answer. */
static void subscribe(struct bench *bench, const char *const *said)
{
    dial_and_wait(bench);
    bench->fake.silent = true;
    command(bench, "SUBSCRIBE a b", "subscribe");
    command(bench, "SUBSCRIBE c d", "refused");
    command(bench, "UNSUBSCRIBE a", "unsubscribe");
    command(bench, "PING", "ping");
    UNTIL(bench, strstr(bench->fake.log, "UNSUBSCRIBE a\nPING") != NULL);
    while (*said != NULL)
        fake_say(&bench->fake, *said++);
    UNTIL(bench, strstr(bench->note, "ping") != NULL);
    assert_string_equal(bench->note, "subscribe subscribe a\npush message a hi\nsubscribe subscribe b\n"
                                     "error of SUBSCRIBE: NOPERM no\nrefused NOPERM no\n"
                                     "unsubscribe unsubscribe a\nping pong \n");
}

static void test_subscriptions_with_resp3(void **state)
{
    static const char *const said[] = {
        ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
        ">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n", "-NOPERM no\r\n", ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n",
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n", NULL,
    };
    subscribe(*state, said);
}

static void test_subscriptions_with_resp2(void **state)
{
    static const char *const said[] = {
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n", "-NOPERM no\r\n", "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n",
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n", NULL,
    };
    struct bench *bench = *state;
    bench->host.protocol = 2;
    subscribe(bench, said);
}

/* A slot that moves says "sunsubscribe" of topics that nobody gave up, also while another is being given up. */
static void test_topics_of_a_slot_that_moves(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    bench->fake.silent = true;
    command(bench, "SUNSUBSCRIBE mine", "left");
    UNTIL(bench, strstr(bench->fake.log, "mine") != NULL);
    fake_say(&bench->fake, ">3\r\n$12\r\nsunsubscribe\r\n$6\r\nothers\r\n:3\r\n");
    fake_say(&bench->fake, ">3\r\n$12\r\nsunsubscribe\r\n$4\r\nmine\r\n:3\r\n");
    fake_say(&bench->fake, ">3\r\n$12\r\nsunsubscribe\r\n$4\r\nmine\r\n:3\r\n");
    UNTIL(bench, strlen(bench->note) >= 60);
    assert_string_equal(bench->note, "push sunsubscribe others\nleft sunsubscribe mine\npush sunsubscribe mine\n");
}

/* With RESP2, on a connection that has subscribed to nothing, an array is an answer whatever stands in it. */
static void test_array_that_looks_like_a_message(void **state)
{
    struct bench *bench = *state;
    bench->host.protocol = 2;
    dial_and_wait(bench);
    bench->fake.silent = true;
    command(bench, "ZRANGE k 0 -1", "range");
    UNTIL(bench, strstr(bench->fake.log, "ZRANGE") != NULL);
    fake_say(&bench->fake, "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
    UNTIL(bench, bench->note[0] != '\0');
    assert_string_equal(bench->note, "range message a hi\n");
}

static void test_lost_connection_answers_everything_and_is_made_again(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    bench->fake.silent = true;
    command(bench, "NOTHING", "first");
    command(bench, "SUBSCRIBE a b", "second");
    UNTIL(bench, strstr(bench->fake.log, "SUBSCRIBE") != NULL);
    bench->fake.silent = false;
    fake_drop(&bench->fake);
    UNTIL(bench, bench->downs == 1);
    assert_string_equal(bench->note, "first lost\nsecond lost\n");
    assert_string_equal(bench->reason, "Server closed the connection");
    UNTIL(bench, bench->ups == 2);
    assert_int_equal(command(bench, "ECHO one", "echo"), REDIS_LINK_OK);
    UNTIL(bench, strstr(bench->note, "echo one") != NULL);
}

static void lost_by(struct bench *bench, const char *said, const char *reason)
{
    dial_and_wait(bench);
    fake_say(&bench->fake, said);
    UNTIL(bench, bench->downs == 1);
    assert_non_null(strstr(bench->reason, reason));
    UNTIL(bench, bench->ups == 2);
}

static void test_garbage(void **state)
{
    lost_by(*state, "HTTP/1.1 400 Bad Request\r\n", "Protocol error");
}

static void test_answer_to_nothing(void **state)
{
    lost_by(*state, ":1\r\n", "nobody asked");
}

static void test_error_that_ends_the_connection(void **state)
{
    lost_by(*state, "-ERR max number of clients reached\r\n", "max number of clients");
}

static const char *const replica = "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$4\r\nrole\r\n$7\r\nreplica\r\n";

static void test_replica_is_a_failed_attempt(void **state)
{
    struct bench *bench = *state;
    bench->greeting = replica;
    dial(bench);
    UNTIL(bench, bench->failures == 2);
    assert_string_equal(bench->reason, "the server is a replica, not the master");
    bench->greeting = "%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
    UNTIL(bench, bench->ups == 1);
}

static void test_replica_will_do(void **state)
{
    struct bench *bench = *state;
    bench->greeting = replica;
    bench->host.any_role = true;
    dial_and_wait(bench);
    assert_int_equal(bench->failures, 0);
}

static void test_server_that_loads_is_a_failed_attempt(void **state)
{
    struct bench *bench = *state;
    bench->pong = "-LOADING Redis is loading the dataset in memory\r\n";
    dial(bench);
    UNTIL(bench, bench->failures == 2);
    assert_string_equal(bench->reason, "LOADING Redis is loading the dataset in memory");
    bench->pong = "-NOPERM this user has no permissions to run the 'ping' command\r\n"; /* that is no reason */
    UNTIL(bench, bench->ups == 1);
}

/* The error of a server that is not to be used: those before and behind get their answers, and another connection is made. */
static void left_after(struct bench *bench, const char *error)
{
    unsigned ups = bench->ups, downs = bench->downs;
    bench->error = error;
    bench->note[0] = '\0';
    command(bench, "FAIL", "fail");
    command(bench, "ECHO one", "echo");
    command(bench, "FAIL", "fail");
    UNTIL(bench, bench->downs == downs + 1);
    assert_true(strncmp(error + 1, bench->reason, strlen(bench->reason)) == 0);
    const char *said = strstr(bench->note, "echo one");
    assert_non_null(said);
    assert_non_null(strstr(said, "fail"));
    UNTIL(bench, bench->ups == ups + 1);
}

static void test_server_that_is_not_to_be_used(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    left_after(bench, "-READONLY You can't write against a read only replica.\r\n");
    left_after(bench, "-ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write\r\n");
    left_after(bench, "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n");
    left_after(bench, "-LOADING Redis is loading the dataset in memory\r\n");
}

/* One of the answers behind the error never comes. */
static void test_last_answers_are_not_waited_for_long(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    bench->error = "-READONLY You can't write against a read only replica.\r\n";
    command(bench, "FAIL", "fail");
    command(bench, "NOTHING", "nothing");
    UNTIL(bench, bench->note[0] != '\0');
    assert_false(redis_link_is_up(bench->link));
    assert_true(redis_link_is_connected(bench->link));
    assert_int_equal(command(bench, "ECHO one", "echo"), REDIS_LINK_DOWN);
    UNTIL(bench, bench->downs == 1);
    assert_non_null(strstr(bench->note, "nothing lost"));
    assert_true(strncmp(bench->reason, "READONLY", 8) == 0);
    UNTIL(bench, bench->ups == 2);
}

/* Any other error is one command's. */
static void test_error_that_leaves_the_link_up(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    bench->error = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    command(bench, "FAIL", "fail");
    command(bench, "ECHO one", "echo");
    UNTIL(bench, strstr(bench->note, "echo") != NULL);
    assert_string_equal(bench->note, "error of FAIL: OOM command not allowed when used memory > 'maxmemory'.\n"
                                     "fail OOM command not allowed when used memory > 'maxmemory'.\necho one\n");
    struct name words[] = { { "FAIL", 4 } };
    bench->note[0] = '\0';
    redis_link_send(bench->link, 1, words, (struct redis_reader){ on_reply, "quiet", .quiet = true });
    UNTIL(bench, bench->note[0] != '\0');
    assert_string_equal(bench->note, "quiet OOM command not allowed when used memory > 'maxmemory'.\n");
    assert_int_equal(bench->downs, 0);
}

/* A reply that announces more than it brings, before and after the greeting: no memory goes to what does not come. */
static void refused_at_once(struct bench *bench, const char *said, const char *reason)
{
    long before = resident_kib();
    bench->greeting = said;
    dial(bench);
    UNTIL(bench, bench->failures == 2);
    assert_non_null(strstr(bench->reason, reason));
    assert_uint_in_range(resident_kib() - before + 20000, 0, 40000);
}

static void test_array_bomb_before_the_greeting(void **state)
{
    refused_at_once(*state, "*100000000\r\n", "length out of range");
}

static void test_map_bomb_before_the_greeting(void **state)
{
    refused_at_once(*state, "%50000000\r\n", "length out of range");
}

static char endless[200 * 1024];

static void test_endless_line_before_the_greeting(void **state)
{
    memset(endless, 'x', sizeof endless - 1);
    endless[0] = '+';
    refused_at_once(*state, endless, "longer than any");
}

static void test_endless_string_before_the_greeting(void **state)
{
    memset(endless, 'x', sizeof endless - 1);
    memcpy(endless, "$2000000000\r\n", 13);
    refused_at_once(*state, endless, "longer than any");
}

static void test_array_bomb_of_a_server_that_has_greeted(void **state)
{
    lost_by(*state, "*1048577\r\n", "length out of range");
}

static void test_endless_line_of_a_server_that_has_greeted(void **state)
{
    memset(endless, 'x', sizeof endless - 1);
    endless[0] = '-';
    lost_by(*state, endless, "longer than any");
}

/* As many elements as a large group has members: their place is there when they come. */
static void test_large_array_that_does_not_come(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    bench->error = "*1000000\r\n+a\r\n";
    long before = resident_kib();
    for (int i = 0; i < 5; i++)
        command(bench, "FAIL", "fail");
    UNTIL(bench, bench->downs == 1); /* the answer never becomes whole */
    assert_uint_in_range(resident_kib() - before + 20000, 0, 26000);
}

/* Pushes of any shape: none of them is read beyond its end. */
static void test_strange_pushes(void **state)
{
    struct bench *bench = *state;
    static const char *const said[] = { ">0\r\n", ">1\r\n:1\r\n", ">2\r\n*0\r\n$-1\r\n", ">3\r\n_\r\n_\r\n_\r\n",
                                        ">1\r\n$7\r\nmessage\r\n", ">2\r\n$12\r\nsunsubscribe\r\n:1\r\n" };
    dial_and_wait(bench);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        fake_say(&bench->fake, said[i]);
    command(bench, "ECHO one", "echo");
    UNTIL(bench, strstr(bench->note, "echo one") != NULL);
    assert_int_equal(bench->downs, 0);
}

static void test_server_that_is_silent_is_lost(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    bench->fake.silent = true;
    UNTIL(bench, bench->downs == 1); /* it was asked by itself: PING */
    assert_non_null(strstr(bench->fake.log, "PING"));
    assert_string_equal(bench->reason, "the server does not answer");
    bench->fake.silent = false;
    UNTIL(bench, bench->ups == 2);
}

static void test_server_that_is_idle_is_not_lost(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    uint64_t until = clock_ms() + 4500;
    while (clock_ms() < until)
        turn(bench);
    assert_int_equal(bench->downs, 0);
}

/* It was this process that stood still: the answer is there, only not read. */
static void test_own_standstill_is_not_the_servers(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    command(bench, "STALL", "stall");
    UNTIL(bench, bench->note[0] != '\0');
    assert_string_equal(bench->note, "stall OK\n");
    assert_int_equal(bench->downs, 0);
}

static void test_greeting_that_takes_too_long(void **state)
{
    struct bench *bench = *state;
    bench->fake.silent = true;
    bench->host.connect_timeout_ms = 100;
    dial(bench);
    UNTIL(bench, bench->failures == 2);
    assert_string_equal(bench->reason, "the server does not answer");
}

static void test_renewed(void **state)
{
    struct bench *bench = *state;
    dial_and_wait(bench);
    redis_link_renew(bench->link, "I say so");
    assert_int_equal(bench->downs, 1);
    assert_string_equal(bench->reason, "I say so");
    UNTIL(bench, bench->ups == 2);
    assert_int_equal(bench->fake.connections, 2);
}

static void test_unresolvable_name(void **state)
{
    struct bench *bench = *state;
    bench->address.host = "no such name.invalid";
    dial(bench);
    UNTIL(bench, bench->failures == 1);
    assert_int_equal(bench->fake.connections, 0);
}

static void test_second_address(void **state)
{
    struct bench *bench = *state;
    struct redis_address both[2] = { { .path = "/nowhere/redis.sock" }, bench->address };
    bench->host.addresses = both;
    bench->host.address_count = 2;
    dial_and_wait(bench);
    assert_int_equal(bench->failures, 1);
    assert_string_equal(bench->reason, "No such file or directory");
}

static void end_in_callback(void *context, void *argument, const struct redisReply *reply)
{
    struct bench *bench = context;
    note(bench, argument, reply);
    redis_link_destroy(bench->link);
}

static void test_destroyed_by_the_answer_to_a_command(void **state)
{
    struct bench *bench = *state;
    struct name words[] = { { "ECHO", 4 }, { "one", 3 } };
    dial_and_wait(bench);
    redis_link_send(bench->link, 2, words, (struct redis_reader){ end_in_callback, "echo", false });
    command(bench, "ECHO two", "other");
    UNTIL(bench, bench->closed);
    assert_string_equal(bench->note, "echo one\nother lost\n");
    bench->link = NULL;
}

static void test_command_without_memory_leaves_the_link_up(void **state)
{
    struct bench *bench = *state;
    char large[3000];
    memset(large, 'x', sizeof large);
    struct name words[] = { { "ECHO", 4 }, { "one", 3 }, { large, sizeof large } };
    dial_and_wait(bench);
    for (unsigned long n = 1; n <= 3; n++) { /* the note of it, its bytes, the buffer they go to */
        mem_fail_at(n);
        int result = redis_link_send(bench->link, 3, words, (struct redis_reader){ on_reply, "large", false });
        mem_fail_at(0);
        assert_int_equal(result, REDIS_LINK_NO_MEMORY);
        bench->note[0] = '\0';
        assert_int_equal(command(bench, "ECHO two", "echo"), REDIS_LINK_OK);
        UNTIL(bench, bench->note[0] != '\0');
        assert_string_equal(bench->note, "echo two\n");
    }
    assert_int_equal(bench->downs, 0);
}

/* Whatever allocation fails: an attempt, a command or the connection, and it recovers. */
static void test_each_allocation_fails_once(void **state)
{
    struct bench *bench = *state;
    char large[3000];
    memset(large, 'x', sizeof large);
    struct name words[] = { { "ECHO", 4 }, { "one", 3 }, { large, sizeof large } };
    for (unsigned long n = 1;; n++) {
        mem_fail_at(n);
        struct redis_link *link = redis_link_create(&bench->loop, &bench->host, 0, &events, bench);
        unsigned ups = bench->ups;
        bench->note[0] = '\0';
        bench->link = link;
        UNTIL(bench, link == NULL || bench->ups > ups);
        while (link != NULL && strstr(bench->note, "echo one") == NULL) {
            redis_link_send(link, 3, words, (struct redis_reader){ on_reply, "echo", false });
            UNTIL(bench, redis_link_is_up(link));
            turn(bench);
        }
        bool done = n > mem_try_count();
        bench->closed = link == NULL;
        if (link != NULL)
            redis_link_destroy(link);
        UNTIL(bench, bench->closed);
        if (done)
            break;
    }
    bench->link = NULL;
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_greeting_with_resp3, begin, end),
        cmocka_unit_test_setup_teardown(test_greeting_of_a_server_without_hello, begin, end),
        cmocka_unit_test_setup_teardown(test_greeting_with_resp2, begin, end),
        cmocka_unit_test_setup_teardown(test_refused_greeting_is_a_failed_attempt, begin, end),
        cmocka_unit_test_setup_teardown(test_answers_come_in_order, begin, end),
        cmocka_unit_test_setup_teardown(test_subscriptions_with_resp3, begin, end),
        cmocka_unit_test_setup_teardown(test_subscriptions_with_resp2, begin, end),
        cmocka_unit_test_setup_teardown(test_topics_of_a_slot_that_moves, begin, end),
        cmocka_unit_test_setup_teardown(test_array_that_looks_like_a_message, begin, end),
        cmocka_unit_test_setup_teardown(test_lost_connection_answers_everything_and_is_made_again, begin, end),
        cmocka_unit_test_setup_teardown(test_garbage, begin, end),
        cmocka_unit_test_setup_teardown(test_answer_to_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_error_that_ends_the_connection, begin, end),
        cmocka_unit_test_setup_teardown(test_replica_is_a_failed_attempt, begin, end),
        cmocka_unit_test_setup_teardown(test_replica_will_do, begin, end),
        cmocka_unit_test_setup_teardown(test_server_that_loads_is_a_failed_attempt, begin, end),
        cmocka_unit_test_setup_teardown(test_server_that_is_not_to_be_used, begin, end),
        cmocka_unit_test_setup_teardown(test_last_answers_are_not_waited_for_long, begin, end),
        cmocka_unit_test_setup_teardown(test_error_that_leaves_the_link_up, begin, end),
        cmocka_unit_test_setup_teardown(test_array_bomb_before_the_greeting, begin, end),
        cmocka_unit_test_setup_teardown(test_map_bomb_before_the_greeting, begin, end),
        cmocka_unit_test_setup_teardown(test_endless_line_before_the_greeting, begin, end),
        cmocka_unit_test_setup_teardown(test_endless_string_before_the_greeting, begin, end),
        cmocka_unit_test_setup_teardown(test_array_bomb_of_a_server_that_has_greeted, begin, end),
        cmocka_unit_test_setup_teardown(test_endless_line_of_a_server_that_has_greeted, begin, end),
        cmocka_unit_test_setup_teardown(test_large_array_that_does_not_come, begin, end),
        cmocka_unit_test_setup_teardown(test_strange_pushes, begin, end),
        cmocka_unit_test_setup_teardown(test_server_that_is_silent_is_lost, begin, end),
        cmocka_unit_test_setup_teardown(test_server_that_is_idle_is_not_lost, begin, end),
        cmocka_unit_test_setup_teardown(test_own_standstill_is_not_the_servers, begin, end),
        cmocka_unit_test_setup_teardown(test_greeting_that_takes_too_long, begin, end),
        cmocka_unit_test_setup_teardown(test_renewed, begin, end),
        cmocka_unit_test_setup_teardown(test_unresolvable_name, begin, end),
        cmocka_unit_test_setup_teardown(test_second_address, begin, end),
        cmocka_unit_test_setup_teardown(test_destroyed_by_the_answer_to_a_command, begin, end),
        cmocka_unit_test_setup_teardown(test_command_without_memory_leaves_the_link_up, begin, end),
        cmocka_unit_test_setup_teardown(test_each_allocation_fails_once, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
