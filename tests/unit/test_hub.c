/* The hub, and the bus of a process on it, over real sockets. The hub's peers here are plain sockets that use none of base/alloc.h,
 * so that each of the hub's own allocations can fail. Run under ThreadSanitizer. */
#include "channellayer/bus/hub_server.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "channellayer/bus/hub.h"
#include "channellayer/bus/hub_frame.h"
#include "channellayer/bus/thread.h"
#include "tests/unit/layer_fixture.h"
#include "tests/unit/range.h"
#include "tests/unit/resident.h"

enum { PATIENCE_MS = 60000, MOST_ALLOCATIONS = 60, NOBODY = 65534, PIECE = 64 * 1024, MEBIBYTE = 1024 * 1024 };

struct bench {
    char directory[32];
    char path[48];
    struct hub *hub;
    struct bus_thread *thread; /* kept, so that it outlives each hub's */
    struct owners *owners;
};

static void ignore(void *argument)
{
    (void)argument;
}

static void ignore_overflow(void *context, uint64_t tag)
{
    (void)context;
    (void)tag;
}

static void nap(void)
{
    struct timespec time = { .tv_nsec = 2000000 };
    nanosleep(&time, NULL);
}

#define UNTIL(condition)                              \
    do {                                              \
        uint64_t deadline = clock_ms() + PATIENCE_MS; \
        while (!(condition)) {                        \
            assert_true(clock_ms() < deadline);       \
            nap();                                    \
        }                                             \
    } while (0)

static void open_hub(struct bench *bench)
{
    char error[256];
    bench->hub = hub_create(bench->path, error, sizeof error);
    assert_non_null(bench->hub);
}

static int begin(void **state)
{
    struct bench *bench = mem_zalloc(sizeof *bench);
    strcpy(bench->directory, "/tmp/peneus-hub-XXXXXX");
    assert_non_null(mkdtemp(bench->directory));
    snprintf(bench->path, sizeof bench->path, "%s/hub", bench->directory);
    bench->thread = bus_thread_retain();
    bench->owners = owners_create(ignore_overflow, NULL);
    open_hub(bench);
    *state = bench;
    return 0;
}

static struct hub_stats stats_now(struct bench *bench)
{
    struct hub_stats stats;
    hub_stats(bench->hub, &stats);
    return stats;
}

static int end(void **state)
{
    struct bench *bench = *state;
    char lock[64];
    mem_fail_at(0);
    if (bench->hub != NULL)
        hub_close(bench->hub);
    nap(); /* the hub frees itself on its thread */
    bus_thread_release(bench->thread);
    owners_destroy(bench->owners);
    snprintf(lock, sizeof lock, "%s.lock", bench->path);
    unlink(lock);
    unlink(bench->path);
    assert_int_equal(rmdir(bench->directory), 0);
    mem_free(bench);
    return 0;
}

/* Peers */

struct heard {
    enum hub_kind kind;
    uint64_t number;
    size_t name_length, length; /* of the payload */
    char name[256];
    char text[256];             /* the payload's beginning */
};

static int dial(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

/* EINTR comes without a signal: libuv 1.50 has an io_uring in each loop, and where a loop closes on the bus thread, the kernel
 * interrupts a call with a timeout on the thread that made the loop. */
static bool send_all(int fd, const void *bytes, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t now = send(fd, (const char *)bytes + sent, length - sent, MSG_NOSIGNAL);
        if (now < 0 && errno != EINTR)
            return false;
        sent += now > 0 ? (size_t)now : 0;
    }
    return true;
}

static bool say_bytes(int fd, enum hub_kind kind, uint64_t number, const char *name, const void *payload, size_t length)
{
    unsigned char head[HUB_HEAD_SIZE + HUB_NAME_LIMIT];
    const struct hub_frame frame = { kind, number, name_of(name), { payload, length } };
    assert_int_equal(hub_frame_write_head(&frame, head), 0);
    return send_all(fd, head, HUB_HEAD_SIZE + frame.name.length) && send_all(fd, payload, length);
}

static bool say(int fd, enum hub_kind kind, uint64_t number, const char *name, const char *text)
{
    return say_bytes(fd, kind, number, name, text, strlen(text));
}

static bool take_all(int fd, void *bytes, size_t length)
{
    for (size_t taken = 0; taken < length;) {
        ssize_t now = recv(fd, (char *)bytes + taken, length - taken, MSG_WAITALL);
        if (now == 0 || (now < 0 && errno != EINTR))
            return false;
        taken += now > 0 ? (size_t)now : 0;
    }
    return true;
}

/* The next frame; false: the hub has closed the connection. */
static bool hear(int fd, struct heard *heard)
{
    static char rest[PIECE];
    unsigned char head[HUB_HEAD_SIZE];
    uint32_t size = 0;
    memset(heard, 0, sizeof *heard);
    if (!take_all(fd, head, sizeof head))
        return false;
    for (int i = 3; i >= 0; i--)
        size = size << 8 | head[i];
    for (int i = 7; i >= 0; i--)
        heard->number = heard->number << 8 | head[6 + i];
    heard->kind = (enum hub_kind)head[4];
    heard->name_length = head[5];
    heard->length = size - (HUB_HEAD_SIZE - 4) - heard->name_length;
    size_t shown = heard->length < sizeof heard->text ? heard->length : sizeof heard->text - 1;
    if (!take_all(fd, heard->name, heard->name_length) || !take_all(fd, heard->text, shown))
        return false;
    for (size_t left = heard->length - shown, now; left > 0; left -= now) {
        now = left < sizeof rest ? left : sizeof rest;
        if (!take_all(fd, rest, now))
            return false;
    }
    return true;
}

static int enter(struct bench *bench, const char *client)
{
    struct heard heard;
    int fd = dial(bench->path);
    assert_true(say(fd, HUB_HELLO, HUB_VERSION, client, ""));
    assert_true(hear(fd, &heard));
    assert_int_equal(heard.kind, HUB_HELLO);
    assert_int_equal(heard.number, HUB_VERSION);
    return fd;
}

static void expect(int fd, enum hub_kind kind, const char *name, const char *text)
{
    struct heard heard;
    assert_true(hear(fd, &heard));
    assert_int_equal(heard.kind, kind);
    assert_string_equal(heard.name, name);
    assert_string_equal(heard.text, text);
}

/* The hub has done what fd asked for, and has had nothing else to say to it until then. */
static void settle_quietly(int fd)
{
    static uint64_t number;
    struct heard heard;
    assert_true(say(fd, HUB_SETTLE, ++number, "", ""));
    assert_true(hear(fd, &heard));
    assert_int_equal(heard.kind, HUB_SETTLED);
    assert_true(heard.number == number);
}

static void expect_end(int fd)
{
    struct heard heard;
    assert_false(hear(fd, &heard));
    close(fd);
}

/* Routing */

static void test_a_group_message_goes_where_somebody_listens(void **state)
{
    struct bench *bench = *state;
    int a = enter(bench, "aa"), b = enter(bench, "bb"), c = enter(bench, "cc");
    say(a, HUB_JOIN, 0, "g", "");
    say(b, HUB_JOIN, 0, "g", "");
    say(b, HUB_JOIN, 0, "g", ""); /* twice is once */
    settle_quietly(a);
    settle_quietly(b);
    say(c, HUB_PUBLISH, 0, "g", "1");
    say(c, HUB_PUBLISH, 0, "h", "nobody's");
    say(c, HUB_PUBLISH, 0, "g", "2");
    settle_quietly(c);
    expect(a, HUB_PUBLISH, "g", "1");
    expect(a, HUB_PUBLISH, "g", "2");
    expect(b, HUB_PUBLISH, "g", "1");
    expect(b, HUB_PUBLISH, "g", "2");
    say(a, HUB_PUBLISH, 0, "g", "own");
    settle_quietly(a); /* it does not come back */
    expect(b, HUB_PUBLISH, "g", "own");
    say(b, HUB_LEAVE, 0, "g", "");
    say(b, HUB_LEAVE, 0, "never", "");
    settle_quietly(b);
    say(c, HUB_PUBLISH, 0, "g", "3");
    settle_quietly(c);
    settle_quietly(b);
    expect(a, HUB_PUBLISH, "g", "3");
    assert_int_equal(stats_now(bench).published, 5);
    assert_int_equal(stats_now(bench).forwarded, 6);
    assert_int_equal(stats_now(bench).groups, 1);
    close(a);
    UNTIL(stats_now(bench).groups == 0 && stats_now(bench).members == 2); /* what it announced has gone with it */
    say(c, HUB_PUBLISH, 0, "g", "4");
    settle_quietly(c);
    assert_int_equal(stats_now(bench).forwarded, 6);
    close(b);
    close(c);
}

static void test_a_client_gets_what_is_sent_to_its_channels(void **state)
{
    struct bench *bench = *state;
    int a = enter(bench, "aa"), b = enter(bench, "bb");
    say(b, HUB_SEND, 7, "asgi.specific.aa!x", "1");
    say(b, HUB_SEND, 7, "asgi.specific.bb!x", "2");
    say(b, HUB_SEND, 7, "asgi.specific.cc!x", "nobody's");
    say(b, HUB_SEND, 7, "aa!", "3");
    expect(b, HUB_SEND, "asgi.specific.bb!x", "2");
    settle_quietly(b);
    expect(a, HUB_SEND, "asgi.specific.aa!x", "1");
    expect(a, HUB_SEND, "aa!", "3");
    assert_int_equal(stats_now(bench).dropped, 1);
    close(a);
    UNTIL(stats_now(bench).members == 1);
    say(b, HUB_SEND, 7, "asgi.specific.aa!x", "gone");
    settle_quietly(b);
    assert_int_equal(stats_now(bench).dropped, 2);
    close(b);
}

static void test_a_named_channel(void **state)
{
    struct bench *bench = *state;
    int a = enter(bench, "aa"), b = enter(bench, "bb"), c = enter(bench, "cc");
    for (int i = 0; i < 3; i++)
        say(c, HUB_SEND, 2, "jobs", i == 0 ? "1" : i == 1 ? "2" : "too many");
    settle_quietly(c);
    assert_int_equal(stats_now(bench).dropped, 1);
    say(a, HUB_RECEIVE, 0, "jobs", "");
    expect(a, HUB_SEND, "jobs", "1"); /* what waited */
    expect(a, HUB_SEND, "jobs", "2");
    say(b, HUB_RECEIVE, 0, "jobs", "");
    settle_quietly(b);
    for (int i = 0; i < 4; i++)
        say(c, HUB_SEND, 2, "jobs", i < 2 ? "first" : "second");
    settle_quietly(c);
    expect(a, HUB_SEND, "jobs", "first"); /* in turn */
    expect(a, HUB_SEND, "jobs", "second");
    expect(b, HUB_SEND, "jobs", "first");
    expect(b, HUB_SEND, "jobs", "second");
    close(a);
    UNTIL(stats_now(bench).members == 2);
    say(c, HUB_SEND, 2, "jobs", "5");
    say(c, HUB_SEND, 2, "jobs", "6");
    expect(b, HUB_SEND, "jobs", "5");
    expect(b, HUB_SEND, "jobs", "6");
    say(b, HUB_UNRECEIVE, 0, "jobs", "");
    settle_quietly(b);
    say(c, HUB_SEND, 2, "jobs", "7");
    settle_quietly(c);
    settle_quietly(b);
    say(b, HUB_RECEIVE, 0, "jobs", "");
    expect(b, HUB_SEND, "jobs", "7");
    close(b);
    close(c);
}

static void test_who_is_in_a_group(void **state)
{
    struct bench *bench = *state;
    struct heard heard;
    int a = enter(bench, "aa"), b = enter(bench, "bb"), c = enter(bench, "cc");
    say(c, HUB_QUERY, 8, "g", "");
    expect(c, HUB_ANSWER, "", ""); /* nobody */
    say(a, HUB_JOIN, 0, "g", "");
    say(b, HUB_JOIN, 0, "g", "");
    say(c, HUB_JOIN, 0, "g", ""); /* whoever asks is not asked */
    settle_quietly(a);
    settle_quietly(b);
    say(c, HUB_QUERY, 9, "g", "");
    assert_true(hear(a, &heard));
    assert_int_equal(heard.kind, HUB_QUERY);
    assert_string_equal(heard.name, "g");
    say(a, HUB_ANSWER, heard.number, "", "\x01x");
    assert_true(hear(b, &heard));
    say(b, HUB_ANSWER, heard.number, "", "\x02yz");
    assert_true(hear(c, &heard));
    assert_int_equal(heard.kind, HUB_ANSWER);
    assert_int_equal(heard.number, 9);
    assert_int_equal(heard.length, 5);
    say(c, HUB_QUERY, 10, "g", ""); /* b does not answer: what has come is the answer, and it says so */
    assert_true(hear(a, &heard));
    say(a, HUB_ANSWER, heard.number, "", "\x01x");
    say(a, HUB_ANSWER, heard.number, "", "\x01x"); /* twice: that is not b's */
    expect(c, HUB_ANSWER, "?", "\x01x");
    say(a, HUB_ANSWER, heard.number, "", "late");
    say(a, HUB_ANSWER, UINT64_MAX, "", "to nothing");
    settle_quietly(a);
    say(c, HUB_QUERY, 11, "g", "");
    assert_true(hear(a, &heard));
    close(c); /* the asker goes */
    UNTIL(stats_now(bench).members == 2);
    say(a, HUB_ANSWER, heard.number, "", "\x01x");
    settle_quietly(a);
    assert_true(hear(b, &heard)); /* what it has left unanswered before */
    assert_true(hear(b, &heard));
    say(b, HUB_ANSWER, heard.number, "", "\x01y");
    settle_quietly(b);
    int d = enter(bench, "dd");
    say(d, HUB_QUERY, 12, "g", "");
    assert_true(hear(a, &heard));
    say(a, HUB_ANSWER, heard.number, "", "\x01x");
    close(b); /* who goes is not waited for, and not missing */
    expect(d, HUB_ANSWER, "", "\x01x");
    close(a);
    close(d);
}

/* Who goes finishes what it was asked. Where that ends an asker too, questions to that one are finished as well. */
static void test_an_asker_that_goes_while_its_question_is_finished(void **state)
{
    struct bench *bench = *state;
    struct heard heard;
    int a = enter(bench, "aa"), b = enter(bench, "bb"), c = enter(bench, "cc");
    say(a, HUB_JOIN, 0, "of-a", "");
    say(b, HUB_JOIN, 0, "of-b", "");
    settle_quietly(a);
    settle_quietly(b);
    say(b, HUB_QUERY, 1, "of-a", "");
    assert_true(hear(a, &heard));
    assert_int_equal(heard.kind, HUB_QUERY);
    say(c, HUB_QUERY, 2, "of-b", "");
    assert_true(hear(b, &heard));
    assert_int_equal(heard.kind, HUB_QUERY);
    mem_fail_at(1); /* b's answer */
    close(a);
    expect_end(b);
    mem_fail_at(0);
    expect(c, HUB_ANSWER, "", "");
    settle_quietly(c);
    close(c);
}

/* Bounds */

static void test_a_slow_process_loses_the_oldest_and_is_told(void **state)
{
    enum { SMALL = 400, LARGE = 4 * MEBIBYTE };
    struct bench *bench = *state;
    static char bytes[LARGE];
    char text[PIECE];
    struct heard heard;
    unsigned got = 0, last = 0;
    bool gap = false, large = false;
    int slow = enter(bench, "aa"), b = enter(bench, "bb"), quick = enter(bench, "cc");
    say(slow, HUB_JOIN, 0, "g", "");
    say(quick, HUB_JOIN, 0, "h", "");
    settle_quietly(slow);
    settle_quietly(quick);
    memset(text, ' ', sizeof text);
    for (unsigned i = 1; i <= SMALL; i++) {
        snprintf(text, 20, "%u", i);
        assert_true(say_bytes(b, HUB_PUBLISH, 0, "g", text, sizeof text));
    }
    assert_true(say_bytes(b, HUB_PUBLISH, 0, "g", bytes, LARGE)); /* takes the place of many */
    assert_true(say(b, HUB_PUBLISH, 0, "h", "quick"));
    settle_quietly(b);
    expect(quick, HUB_PUBLISH, "h", "quick");
    size_t dropped = stats_now(bench).dropped;
    assert_uint_in_range(dropped, (SMALL * PIECE + LARGE - HUB_OUT_LIMIT) / PIECE - 64, SMALL);
    while (!gap || !large) {
        assert_true(hear(slow, &heard));
        gap = gap || heard.kind == HUB_GAP;
        if (heard.kind == HUB_GAP)
            continue;
        large = heard.length == LARGE;
        got++;
        if (!large) {
            assert_true((unsigned)atoi(heard.text) > last); /* in order */
            last = (unsigned)atoi(heard.text);
        }
    }
    assert_int_equal(last, SMALL); /* the newest are kept */
    assert_int_equal(got + dropped, SMALL + 1);
    settle_quietly(slow);
    close(slow);
    close(b);
    close(quick);
}

/* Whether a message found the hub new or not: it arrives, or is counted and followed by a gap. */
static void test_what_a_new_hub_has_no_room_for(void **state)
{
    enum { COUNT = 320 };
    struct bench *bench = *state;
    static char bytes[PIECE];
    struct heard heard = { 0 };
    unsigned got = 0;
    int slow = enter(bench, "aa"), b = enter(bench, "bb");
    say(slow, HUB_JOIN, 0, "g", "");
    UNTIL(stats_now(bench).groups == 1);
    for (int i = 0; i < COUNT; i++)
        assert_true(say_bytes(b, HUB_PUBLISH, 0, "g", bytes, sizeof bytes));
    assert_true(say(b, HUB_SETTLE, 1, "", ""));
    do {
        assert_true(hear(b, &heard));
    } while (heard.kind != HUB_SETTLED);
    size_t dropped = stats_now(bench).dropped;
    assert_uint_in_range(dropped, 1, COUNT - HUB_OUT_LIMIT / PIECE + 64);
    while (heard.kind != HUB_GAP) {
        assert_true(hear(slow, &heard));
        got += heard.kind == HUB_PUBLISH;
    }
    assert_int_equal(got + dropped, COUNT);
    close(slow);
    close(b);
}

/* Answers cannot be dropped, so who asks and never reads has to go. */
static void test_who_never_reads_answers_is_shown_out(void **state)
{
    enum { BATCH = 4096, MOST = 4 * HUB_OUT_LIMIT / HUB_HEAD_SIZE };
    static unsigned char batch[BATCH * HUB_HEAD_SIZE];
    struct bench *bench = *state;
    int fd = enter(bench, "aa"), other = enter(bench, "bb");
    settle_quietly(fd); /* the hub is no longer new */
    for (size_t i = 0; i < BATCH; i++)
        hub_frame_write_head(&(struct hub_frame){ .kind = HUB_SETTLE, .number = i, .name = { "", 0 } }, batch + i * HUB_HEAD_SIZE);
    size_t said = 0;
    while (said < MOST && send_all(fd, batch, sizeof batch))
        said += BATCH;
    assert_uint_in_range(said, HUB_OUT_LIMIT / 256, MOST - 1);
    UNTIL(stats_now(bench).members == 1);
    settle_quietly(other);
    close(fd);
    close(other);
}

static void test_what_waits_for_nobody_is_bounded_in_all(void **state)
{
    enum { LARGE = 15 * MEBIBYTE, FIT = HUB_WAITING_BYTES / LARGE };
    static char bytes[LARGE];
    char name[20];
    struct bench *bench = *state;
    struct heard heard;
    int a = enter(bench, "aa"), b = enter(bench, "bb");
    settle_quietly(a);
    for (int i = 0; i <= FIT; i++) {
        snprintf(name, sizeof name, "jobs-%d", i);
        assert_true(say_bytes(a, HUB_SEND, 10, name, bytes, LARGE));
    }
    settle_quietly(a);
    assert_int_equal(stats_now(bench).dropped, 1);
    say(b, HUB_RECEIVE, 0, "jobs-0", "");
    assert_true(hear(b, &heard));
    assert_int_equal(heard.length, LARGE);
    assert_true(say_bytes(a, HUB_SEND, 10, "again", bytes, LARGE)); /* there is room again */
    settle_quietly(a);
    assert_int_equal(stats_now(bench).dropped, 1);
    close(a);
    close(b);
}

/* Who is refused */

static void test_who_breaks_the_rules_is_shown_out(void **state)
{
    struct bench *bench = *state;
    int other = enter(bench, "bb");
    const enum hub_kind not_to_the_hub[] = { HUB_HELLO, HUB_SETTLED, HUB_GAP };
    int fd = dial(bench->path);
    say(fd, HUB_JOIN, 0, "g", ""); /* before it has said hello */
    expect_end(fd);
    fd = dial(bench->path);
    say(fd, HUB_HELLO, HUB_VERSION + 1, "aa", "");
    expect_end(fd);
    for (size_t i = 0; i < 3; i++) {
        fd = enter(bench, "aa");
        say(fd, HUB_JOIN, 0, "g", "");
        say(fd, not_to_the_hub[i], HUB_VERSION, "", "");
        expect_end(fd);
    }
    UNTIL(stats_now(bench).members == 1 && stats_now(bench).groups == 0);
    assert_int_equal(stats_now(bench).refused, 5);
    settle_quietly(other);
    close(other);
}

/* In a child that forks from a process with threads: system calls alone. */
static void become_nobody(void)
{
    if (syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) != 0 || syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) != 0)
        _exit(9);
}

static int exit_code_of(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(address.sun_path, path);
    return address;
}

static void test_another_user_is_refused(void **state)
{
    struct bench *bench = *state;
    struct stat status;
    assert_int_equal(stat(bench->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    if (geteuid() != 0)
        return; /* only root can become another user */
    chmod(bench->directory, 0755);
    chmod(bench->path, 0666); /* so that only the credentials refuse */
    struct sockaddr_un address = address_of(bench->path);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        become_nobody();
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
            _exit(8);
        _exit(recv(fd, &byte, 1, 0) == 0 ? 0 : 1);
    }
    assert_int_equal(exit_code_of(child), 0);
    UNTIL(stats_now(bench).refused == 1 && stats_now(bench).members == 0);
}

/* Layers */

static struct layer *make_layer(struct bench *bench, const char *client)
{
    struct layer *layer;
    const struct hub_settings settings = {
        .path = bench->path, .client = client, .buffer_limit = 1000000, .buffer_time_ms = PATIENCE_MS, .settle_time_ms = 500,
    };
    const struct layer_config config = {
        .expiry_ms = 60000, .group_expiry_ms = 600000, .mailbox_bytes = 1000000, .bus_create = bus_hub_create, .bus_settings = &settings,
    };
    assert_int_equal(layer_create(&layer, &config, bench->owners), LAYER_OK);
    return layer;
}

static bool settle(struct layer *layer, struct sink *sink)
{
    struct sink_item item;
    int result = layer_settle(layer, &(struct settling){ .wait_ms = 10000 }, sink, 1);
    if (result != LAYER_EMPTY)
        return result == LAYER_OK;
    UNTIL(sink_take(sink, &item) == 1);
    if (item.layer != NULL)
        layer_release(item.layer);
    return item.status == LAYER_OK;
}

static int publish(struct layer *layer, const char *group, const char *text)
{
    struct message *message = message_of(text);
    int result = layer_group_send(layer, name_of(group), message);
    message_release(message);
    return result;
}

static unsigned received(struct layer *layer, struct sink *sink, const char *channel)
{
    struct message *message = NULL;
    struct sink_item item;
    unsigned count = 0;
    while (layer_receive(layer, name_of(channel), 100, sink, 7, &message) == LAYER_OK) {
        message_release(message);
        count++;
    }
    layer_cancel(layer, name_of(channel), sink, 7);
    while (sink_take(sink, &item) == 1) {
        if (item.layer != NULL)
            layer_release(item.layer);
    }
    return count;
}

static struct bus_stats bus_of(struct layer *layer)
{
    struct bus_stats stats;
    layer_bus_stats(layer, &stats);
    return stats;
}

static void test_the_hub_goes_and_comes_back(void **state)
{
    struct bench *bench = *state;
    struct sink *sink = sink_create(ignore, NULL);
    struct layer *a = make_layer(bench, "aa"), *b = make_layer(bench, "bb");
    assert_int_equal(layer_channel_create(a, name_of("asgi.specific.aa!x"), 100, 0, false), LAYER_OK);
    assert_int_equal(layer_group_add(a, name_of("g"), name_of("asgi.specific.aa!x"), 100, OVERFLOW_DROP_OLDEST), LAYER_OK);
    assert_true(settle(a, sink));
    assert_true(settle(b, sink));
    hub_close(bench->hub);
    UNTIL(bus_of(a).links_up == 0 && bus_of(b).links_up == 0);
    assert_int_equal(publish(b, "g", "waits"), LAYER_OK);
    open_hub(bench);
    assert_true(settle(b, sink));
    UNTIL(received(a, sink, "asgi.specific.aa!x") == 1);
    assert_int_equal(bus_of(a).gaps, 1);
    assert_int_equal(bus_of(a).reconnects, 1);
    assert_int_equal(bus_of(b).unsent, 0);
    layer_release(a);
    UNTIL(stats_now(bench).groups == 0 && stats_now(bench).members == 1);
    layer_release(b);
    UNTIL(stats_now(bench).members == 0);
    sink_close(sink);
    sink_release(sink);
}

/* Something that listens at path. */
static int listen_at(const char *path)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 5) != 0)
        return -1;
    return fd;
}

static void test_a_hub_that_answers_nothing_fails_what_is_asked(void **state)
{
    struct bench *bench = *state;
    struct sink *sink = sink_create(ignore, NULL);
    struct heard heard;
    hub_close(bench->hub);
    bench->hub = NULL;
    int listener = listen_at(bench->path);
    assert_true(listener >= 0);
    struct layer *layer = make_layer(bench, "aa");
    int fd = accept(listener, NULL, NULL);
    assert_true(hear(fd, &heard));
    assert_int_equal(heard.kind, HUB_HELLO);
    assert_string_equal(heard.name, "aa");
    assert_true(say(fd, HUB_HELLO, HUB_VERSION, "", ""));
    assert_false(settle(layer, sink));
    assert_int_equal(layer_query(layer, name_of("g"), sink, 3), LAYER_EMPTY);
    struct sink_item item;
    UNTIL(sink_take(sink, &item) == 1);
    if (item.layer != NULL)
        layer_release(item.layer);
    assert_int_equal(item.status, LAYER_UNSENT);
    layer_release(layer);
    while (hear(fd, &heard)) /* the settle, the query, perhaps whether it lives */
        continue;
    close(fd);
    close(listener);
    sink_close(sink);
    sink_release(sink);
}

/* A hub of the test's: it greets, and then it neither reads nor writes. */
static int stuck_hub(struct bench *bench, int *listener, struct layer **layer)
{
    struct heard heard;
    hub_close(bench->hub);
    bench->hub = NULL;
    *listener = listen_at(bench->path);
    assert_true(*listener >= 0);
    *layer = make_layer(bench, "aa");
    int fd = accept(*listener, NULL, NULL);
    assert_true(hear(fd, &heard));
    assert_true(say(fd, HUB_HELLO, HUB_VERSION, "", ""));
    UNTIL(bus_of(*layer).links_up == 1);
    return fd;
}

static void test_a_hub_that_is_silent_is_given_up(void **state)
{
    struct bench *bench = *state;
    struct heard heard;
    struct layer *layer;
    int listener, fd = stuck_hub(bench, &listener, &layer);
    UNTIL(bus_of(layer).links_up == 0);
    assert_non_null(strstr(bus_of(layer).trouble, "does not answer"));
    int again = accept(listener, NULL, NULL);
    assert_true(hear(again, &heard));
    assert_int_equal(heard.kind, HUB_HELLO); /* not greeted, it is given up too */
    close(fd);
    close(accept(listener, NULL, NULL));
    close(again);
    close(listener);
    unlink(bench->path);
    open_hub(bench);
    UNTIL(bus_of(layer).links_up == 1);
    assert_string_equal(bus_of(layer).trouble, "");
    layer_release(layer);
    UNTIL(stats_now(bench).members == 0);
}

static void test_a_hub_that_is_quiet_is_not_given_up(void **state)
{
    struct bench *bench = *state;
    struct layer *layer = make_layer(bench, "aa");
    UNTIL(bus_of(layer).links_up == 1);
    for (uint64_t end = clock_ms() + 6000; clock_ms() < end;)
        nap();
    assert_int_equal(bus_of(layer).links_up, 1);
    assert_int_equal(bus_of(layer).reconnects, 0);
    layer_release(layer);
    UNTIL(stats_now(bench).members == 0);
}

/* Who comes and goes while the hub is stuck leaves nothing behind; who stays is announced to the next one. */
static void test_joins_to_a_stuck_hub_are_bounded(void **state)
{
    enum { TURNS = 200, EACH = 1000 };
    struct bench *bench = *state;
    struct sink *sink = sink_create(ignore, NULL);
    struct layer *layer;
    struct name channel = name_of("asgi.specific.aa!x");
    int listener, fd = stuck_hub(bench, &listener, &layer);
    assert_int_equal(layer_channel_create(layer, channel, 100, 0, false), LAYER_OK);
    long before = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < EACH; i++) {
            char group[40];
            snprintf(group, sizeof group, "group-%d-%d", turn, i);
            assert_int_equal(layer_group_add(layer, name_of(group), channel, 100, OVERFLOW_DROP_OLDEST), LAYER_OK);
            layer_group_discard(layer, name_of(group), channel);
        }
        nap(); /* the bus thread takes what it was asked for */
        if (turn == 20)
            before = resident_kib();
    }
    assert_uint_in_range(resident_kib() - before + 4096, 0, 8192);
    assert_int_equal(layer_group_add(layer, name_of("stays"), channel, 100, OVERFLOW_DROP_OLDEST), LAYER_OK);
    close(fd);
    close(listener);
    unlink(bench->path);
    open_hub(bench);
    UNTIL(settle(layer, sink));
    assert_int_equal(stats_now(bench).groups, 1);
    layer_release(layer);
    UNTIL(stats_now(bench).members == 0);
    sink_close(sink);
    sink_release(sink);
}

/* Whoever is at the path first would be told everything. */
static void test_the_hub_of_another_user_is_told_nothing(void **state)
{
    struct bench *bench = *state;
    if (geteuid() != 0)
        return; /* only root can become another user */
    hub_close(bench->hub);
    bench->hub = NULL;
    chmod(bench->directory, 0777);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        become_nobody();
        int listener = listen_at(bench->path);
        int fd = listener >= 0 ? accept(listener, NULL, NULL) : -1;
        _exit(fd < 0 ? 8 : recv(fd, &byte, 1, 0) > 0 ? 1 : 0);
    }
    struct layer *layer = make_layer(bench, "aa");
    assert_int_equal(exit_code_of(child), 0);
    assert_int_equal(bus_of(layer).links_up, 0);
    layer_release(layer);
}

static void test_a_child_does_not_end_its_parents_hub(void **state)
{
    struct bench *bench = *state;
    int a = enter(bench, "aa");
    pid_t child = fork();
    if (child == 0) {
        hub_close(bench->hub); /* as Python does at its end */
        _exit(0);
    }
    assert_int_equal(exit_code_of(child), 0);
    settle_quietly(a);
    close(enter(bench, "bb"));
    char error[256];
    assert_null(hub_create(bench->path, error, sizeof error)); /* the lock is held */
    close(a);
}

/* Each allocation of the hub fails once: a message may be lost, a peer may be shown out, nobody else is disturbed. */
static void exercise(struct bench *bench)
{
    struct heard heard;
    int a = dial(bench->path), b = dial(bench->path);
    bool well = say(a, HUB_HELLO, HUB_VERSION, "aa", "") && hear(a, &heard) && say(b, HUB_HELLO, HUB_VERSION, "bb", "") && hear(b, &heard);
    well = well && say(a, HUB_JOIN, 0, "g", "") && say(a, HUB_JOIN, 0, "h", "") && say(a, HUB_SETTLE, 1, "", "") && hear(a, &heard);
    well = well && say(b, HUB_SEND, 3, "jobs", "1") && say(b, HUB_PUBLISH, 0, "g", "2") && say(b, HUB_SEND, 3, "a.aa!x", "3");
    well = well && say(b, HUB_SETTLE, 2, "", "") && hear(b, &heard);
    well = well && say(a, HUB_RECEIVE, 0, "jobs", "") && say(b, HUB_QUERY, 4, "g", "");
    well = well && say(a, HUB_SETTLE, 5, "", "");
    while (well && (well = hear(a, &heard)) && (heard.kind != HUB_SETTLED || heard.number != 5)) {
        if (heard.kind == HUB_QUERY)
            well = say(a, HUB_ANSWER, heard.number, "", "\x01x");
    }
    well = well && say(b, HUB_SETTLE, 6, "", "");
    while (well && hear(b, &heard) && (heard.kind != HUB_SETTLED || heard.number != 6)) {
    }
    close(a);
    close(b);
    UNTIL(stats_now(bench).members == 1);
}

static void test_each_allocation_fails_once(void **state)
{
    struct bench *bench = *state;
    int witness = enter(bench, "ww");
    say(witness, HUB_JOIN, 0, "w", "");
    settle_quietly(witness);
    bool failed = true; /* less than n were made: every one has failed once */
    for (unsigned long n = 1; failed; n++) {
        assert_uint_in_range(n, 1, MOST_ALLOCATIONS);
        mem_fail_at(n);
        exercise(bench);
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        assert_true(failed || n > 20);
        int fd = enter(bench, "ok");
        assert_true(say(fd, HUB_PUBLISH, 0, "w", "still here"));
        settle_quietly(fd);
        expect(witness, HUB_PUBLISH, "w", "still here");
        close(fd);
        UNTIL(stats_now(bench).members == 1);
    }
    close(witness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_group_message_goes_where_somebody_listens, begin, end),
        cmocka_unit_test_setup_teardown(test_a_client_gets_what_is_sent_to_its_channels, begin, end),
        cmocka_unit_test_setup_teardown(test_a_named_channel, begin, end),
        cmocka_unit_test_setup_teardown(test_who_is_in_a_group, begin, end),
        cmocka_unit_test_setup_teardown(test_an_asker_that_goes_while_its_question_is_finished, begin, end),
        cmocka_unit_test_setup_teardown(test_a_slow_process_loses_the_oldest_and_is_told, begin, end),
        cmocka_unit_test_setup_teardown(test_what_a_new_hub_has_no_room_for, begin, end),
        cmocka_unit_test_setup_teardown(test_who_never_reads_answers_is_shown_out, begin, end),
        cmocka_unit_test_setup_teardown(test_what_waits_for_nobody_is_bounded_in_all, begin, end),
        cmocka_unit_test_setup_teardown(test_who_breaks_the_rules_is_shown_out, begin, end),
        cmocka_unit_test_setup_teardown(test_another_user_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(test_the_hub_goes_and_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(test_a_hub_that_answers_nothing_fails_what_is_asked, begin, end),
        cmocka_unit_test_setup_teardown(test_a_hub_that_is_silent_is_given_up, begin, end),
        cmocka_unit_test_setup_teardown(test_a_hub_that_is_quiet_is_not_given_up, begin, end),
        cmocka_unit_test_setup_teardown(test_joins_to_a_stuck_hub_are_bounded, begin, end),
        cmocka_unit_test_setup_teardown(test_the_hub_of_another_user_is_told_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_a_child_does_not_end_its_parents_hub, begin, end),
        cmocka_unit_test_setup_teardown(test_each_allocation_fails_once, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
