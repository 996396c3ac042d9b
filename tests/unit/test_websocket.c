/* WebSocket frames, as RFC 6455 and the Autobahn test suite have them: every input at every split point. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_NEXT */
#endif
#include <dlfcn.h>

#include "protocol_fixture.h"

#include "server/websocket.h"

static const struct server_settings limits = { .websocket_max_frame_size = 70000, .websocket_max_message_size = 100000 };

/* Frames on their way to the server. */
struct frames {
    size_t length;
    unsigned char bytes[256 * 1024];
};

static void frames_add(struct frames *frames, const void *bytes, size_t length)
{
    assert_true(frames->length + length <= sizeof frames->bytes);
    if (length > 0)
        memcpy(frames->bytes + frames->length, bytes, length);
    frames->length += length;
}

/* The header of a frame: first is its first byte, mask 0x80 or 0. */
static void add_header(struct frames *frames, unsigned first, unsigned mask, uint64_t length)
{
    unsigned char header[10] = { (unsigned char)first };
    size_t size = 2;
    if (length < 126) {
        header[1] = (unsigned char)(mask | length);
    } else if (length <= UINT16_MAX) {
        header[1] = (unsigned char)(mask | 126);
        header[2] = (unsigned char)(length >> 8);
        header[3] = (unsigned char)length;
        size = 4;
    } else {
        header[1] = (unsigned char)(mask | 127);
        for (unsigned i = 0; i < 8; i++)
            header[2 + i] = (unsigned char)(length >> (56 - 8 * i));
        size = 10;
    }
    frames_add(frames, header, size);
}

/* A masked frame. FIN is 0x80. */
static void add(struct frames *frames, unsigned first, const void *payload, size_t length)
{
    static const unsigned char mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
    const unsigned char *bytes = payload;
    add_header(frames, first, 0x80, length);
    frames_add(frames, mask, 4);
    for (size_t i = 0; i < length; i++) {
        unsigned char masked = bytes[i] ^ mask[i % 4];
        frames_add(frames, &masked, 1);
    }
}

static void add_string(struct frames *frames, unsigned first, const char *payload)
{
    add(frames, first, payload, strlen(payload));
}

enum { FIN = 0x80, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, CONTINUATION = 0 };

static struct text transcript;
static size_t frames_made; /* wslay contexts */
static bool refuse_frames;

/* Stands before wslay's own, to count the contexts and to fail. */
int wslay_frame_context_init(wslay_frame_context_ptr *context, const struct wslay_frame_callbacks *callbacks, void *user)
{
    int (*real)(wslay_frame_context_ptr *, const struct wslay_frame_callbacks *, void *);
    void *symbol = dlsym(RTLD_NEXT, "wslay_frame_context_init");
    memcpy(&real, &symbol, sizeof real);
    frames_made++;
    return refuse_frames ? -1 : real(context, callbacks, user);
}

/* Long payloads are told by their length and a sum. */
static void tell(const char *kind, const unsigned char *bytes, size_t length)
{
    text_format(&transcript, "%s:", kind);
    if (length <= 125) {
        text_add(&transcript, bytes, length);
    } else {
        uint32_t sum = 0;
        for (size_t i = 0; i < length; i++)
            sum = sum * 31 + bytes[i];
        text_format(&transcript, "%zu/%08x", length, sum);
    }
    text_format(&transcript, "\n");
}

static bool on_message(void *context, bool text, const unsigned char *bytes, size_t length)
{
    tell(text ? "text" : "binary", bytes, length);
    return !*(bool *)context;
}

static void on_ping(void *context, const unsigned char *bytes, size_t length)
{
    (void)context;
    tell("ping", bytes, length);
}

static const struct websocket_callbacks callbacks = { on_message, on_ping };

/* Feeds a piece in a copy of its own, again and again where the session pauses; false when it has ended. */
static bool feed(struct websocket *session, const unsigned char *bytes, size_t length)
{
    unsigned char *copy = malloc(length > 0 ? length : 1);
    size_t taken = 0;
    enum websocket_result result;
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    do {
        size_t used;
        result = websocket_feed(session, copy + taken, length - taken, &used);
        taken += used;
        assert_true(taken <= length);
        if (result == WEBSOCKET_PAUSED)
            assert_null(session->frames);
    } while (result == WEBSOCKET_PAUSED && taken < length);
    free(copy);
    if (result == WEBSOCKET_MORE)
        assert_int_equal(taken, length);
    if (result == WEBSOCKET_CLOSED) {
        size_t reason_length;
        const unsigned char *reason = websocket_reason(session, &reason_length);
        text_format(&transcript, "close %d ", session->code);
        text_add(&transcript, reason, reason_length);
        text_format(&transcript, "\n");
    }
    if (result == WEBSOCKET_FAILED)
        text_format(&transcript, "failed %d\n", session->code);
    return result == WEBSOCKET_MORE || result == WEBSOCKET_PAUSED;
}

/* What comes of the frames in pieces of step bytes after a first one of split bytes. */
static const char *read_frames(const struct frames *frames, size_t split, size_t step, bool pausing)
{
    struct websocket session;
    transcript.length = 0;
    transcript.bytes[0] = 0;
    assert_int_equal(websocket_init(&session, &limits, NULL, &callbacks, &pausing), 0);
    bool open = feed(&session, frames->bytes, split);
    for (size_t at = split; at < frames->length && open; at += step)
        open = feed(&session, frames->bytes + at, at + step < frames->length ? step : frames->length - at);
    websocket_deinit(&session);
    return transcript.bytes;
}

static void expect(const struct frames *frames, const char *expected)
{
    assert_string_equal(read_frames(frames, frames->length, 1, false), expected);
    assert_string_equal(read_frames(frames, frames->length, 1, true), expected);
    assert_string_equal(read_frames(frames, 0, 1, false), expected);
    assert_string_equal(read_frames(frames, 0, 1, true), expected);
    size_t stride = frames->length / 600 + 1;
    for (size_t split = 0; split <= frames->length; split += stride) {
        assert_string_equal(read_frames(frames, split, frames->length, false), expected);
        assert_string_equal(read_frames(frames, split, frames->length, true), expected);
    }
}

static struct frames made;

static struct frames *begin(void)
{
    made.length = 0;
    return &made;
}

static void test_messages(void **state)
{
    (void)state;
    struct frames *frames = begin();
    add_string(frames, FIN | TEXT, "Hello");
    add_string(frames, FIN | TEXT, "");
    add(frames, FIN | BINARY, "\x00\xff\x80", 3);
    add(frames, FIN | BINARY, "", 0);
    add_string(frames, FIN | TEXT, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80");
    const char *said = "text:Hello\ntext:\nbinary:";
    static struct text expected;
    text_add(&expected, said, strlen(said));
    text_add(&expected, "\0", 1);
    said = read_frames(frames, frames->length, 1, false);
    assert_memory_equal(said, expected.bytes, expected.length);
    assert_string_equal(said + expected.length, "\xff\x80\nbinary:\ntext:\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\xed"
                                                "\x9f\xbf\xee\x80\x80\n");
    frames = begin();
    add_string(frames, FIN | TEXT, "Hello");
    add_string(frames, FIN | TEXT, "");
    add_string(frames, FIN | BINARY, "b");
    add(frames, FIN | BINARY, "", 0);
    add_string(frames, FIN | TEXT, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    expect(frames, "text:Hello\ntext:\nbinary:b\nbinary:\ntext:\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n");
}

static void test_lengths_around_the_headers(void **state)
{
    (void)state;
    static const size_t lengths[] = { 124, 125, 126, 127, 4095, 4096, 4097, 65535, 65536, 70000 };
    static unsigned char payload[70000];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        static struct text expected;
        struct frames *frames = begin();
        add(frames, FIN | BINARY, payload, lengths[i]);
        add_string(frames, FIN | TEXT, "next");
        transcript.length = 0;
        tell("binary", payload, lengths[i]);
        expected.length = 0;
        text_add(&expected, transcript.bytes, transcript.length);
        text_format(&expected, "text:next\n");
        assert_string_equal(read_frames(frames, frames->length, 1, false), expected.bytes);
        assert_string_equal(read_frames(frames, 0, 1, false), expected.bytes);
        for (size_t split = 0; split < 20; split++)
            assert_string_equal(read_frames(frames, split, 1000, true), expected.bytes);
    }
}

static void test_fragments_and_control_frames_between(void **state)
{
    (void)state;
    struct frames *frames = begin();
    add_string(frames, TEXT, "Hel");
    add_string(frames, FIN | PING, "are you there?");
    add_string(frames, CONTINUATION, "");
    add_string(frames, CONTINUATION, "lo \xe2");
    add_string(frames, FIN | PONG, "unasked");
    add_string(frames, FIN | PING, "");
    add_string(frames, CONTINUATION, "\x82");
    add_string(frames, FIN | CONTINUATION, "\xac");
    add_string(frames, BINARY, "");
    add_string(frames, FIN | CONTINUATION, "");
    add_string(frames, BINARY, "abc");
    add_string(frames, FIN | CONTINUATION, "");
    add_string(frames, TEXT, "");
    add_string(frames, FIN | CONTINUATION, "def");
    expect(frames, "ping:are you there?\nping:\ntext:Hello \xe2\x82\xac\nbinary:\nbinary:abc\ntext:def\n");
}

static void test_largest_control_frames(void **state)
{
    (void)state;
    char payload[WEBSOCKET_CONTROL_SIZE + 1];
    char expected[400];
    struct frames *frames = begin();
    memset(payload, 'p', sizeof payload - 1);
    payload[sizeof payload - 1] = 0;
    add_string(frames, FIN | PING, payload);
    add_string(frames, FIN | PONG, payload);
    snprintf(expected, sizeof expected, "ping:%s\n", payload);
    expect(frames, expected);
    memcpy(payload, "\x03\xe8", 2);
    add_string(frames, FIN | CLOSE, payload);
    snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "close 1000 %s\n", payload + 2);
    expect(frames, expected);
}

static void test_protocol_errors(void **state)
{
    (void)state;
    static const struct {
        const char *expected;
        unsigned first[3]; /* the first bytes of frames whose payload is "x" */
    } cases[] = {
        { "failed 1002\n", { FIN | 0x40 | TEXT } },
        { "failed 1002\n", { FIN | 0x20 | TEXT } },
        { "failed 1002\n", { FIN | 0x10 | BINARY } },
        { "failed 1002\n", { FIN | 0x40 | PING } },
        { "failed 1002\n", { FIN | 3 } },
        { "failed 1002\n", { FIN | 7 } },
        { "failed 1002\n", { FIN | 11 } },
        { "failed 1002\n", { FIN | 15 } },
        { "failed 1002\n", { FIN | CONTINUATION } },
        { "failed 1002\n", { TEXT, FIN | TEXT } },
        { "failed 1002\n", { TEXT, BINARY } },
        { "failed 1002\n", { TEXT, FIN | 0x40 | CONTINUATION } },
        { "text:xx\nfailed 1002\n", { TEXT, FIN | CONTINUATION, FIN | CONTINUATION } },
        { "failed 1002\n", { PING } },
        { "failed 1002\n", { CLOSE } },
        { "failed 1002\n", { PONG } },
        { "failed 1002\n", { FIN | CLOSE } }, /* one byte is no code */
        { "text:x\nfailed 1002\n", { FIN | TEXT, FIN | 5, FIN | TEXT } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct frames *frames = begin();
        for (size_t j = 0; j < 3 && cases[i].first[j] + (j == 0) > 0; j++)
            add_string(frames, cases[i].first[j], "x");
        expect(frames, cases[i].expected);
    }
}

static void test_headers_that_are_wrong(void **state)
{
    (void)state;
    static const struct {
        size_t length;
        const char *bytes;
    } cases[] = {
        { 7, "\x81\x05Hello" },                                      /* not masked */
        { 2, "\x89\xfe" },                                           /* a ping of 126 bytes */
        { 8, "\x81\xfe\x00\x05\x00\x00\x00\x00" },                   /* a longer form than necessary */
        { 14, "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00" },
        { 14, "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" }, /* 63 bits */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct frames *frames = begin();
        frames_add(frames, cases[i].bytes, cases[i].length);
        expect(frames, "failed 1002\n");
    }
}

static void test_close_frames(void **state)
{
    (void)state;
    struct frames *frames = begin();
    add_string(frames, FIN | TEXT, "bye");
    add(frames, FIN | CLOSE, "", 0);
    add_string(frames, FIN | TEXT, "never read");
    expect(frames, "text:bye\nclose 1005 \n");
    frames = begin();
    add_string(frames, TEXT, "unfinished");
    add(frames, FIN | CLOSE, "\x03\xe9gone \xe2\x82\xac", 10);
    expect(frames, "close 1001 gone \xe2\x82\xac\n");
    frames = begin(); /* half a code, which what is left of the ping must not complete */
    add(frames, FIN | PONG, "\x03\xe8", 2);
    add(frames, FIN | CLOSE, "\x03", 1);
    expect(frames, "failed 1002\n");
    frames = begin();
    add(frames, FIN | CLOSE, "\x03\xe8\xc3", 3);
    expect(frames, "failed 1007\n");
    frames = begin();
    add(frames, FIN | CLOSE, "\x03\xe8\xff", 3);
    expect(frames, "failed 1007\n");
}

static void test_close_codes(void **state)
{
    (void)state;
    for (unsigned code = 0; code <= UINT16_MAX; code++) {
        bool valid = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
                     (code >= 3000 && code < 5000);
        assert_int_equal(websocket_valid_code((uint16_t)code), valid);
        if (code % 97 != 0 && (code < 990 || code > 1020) && code % 1000 > 1 && code % 1000 < 999)
            continue;
        unsigned char payload[2] = { (unsigned char)(code >> 8), (unsigned char)code };
        char expected[32];
        struct frames *frames = begin();
        add(frames, FIN | CLOSE, payload, 2);
        snprintf(expected, sizeof expected, valid ? "close %u \n" : "failed 1002\n", code);
        assert_string_equal(read_frames(frames, frames->length, 1, false), expected);
    }
}

static void test_text_that_is_not_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80", "\xbf", "a\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff", "12345678\xff", "1234567\xc3(", "\xe2\x82", "\xc3",
        "\xf0\x9f\x98", "\xf0\x9f\x98x", "abcdefgh\xe2\x82xyz",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct frames *frames = begin();
        add_string(frames, FIN | TEXT, bad[i]);
        expect(frames, "failed 1007\n");
        frames = begin();
        add_string(frames, FIN | BINARY, bad[i]); /* whose bytes are anybody's */
        add_string(frames, TEXT, "good ");
        add_string(frames, CONTINUATION, bad[i]);
        add_string(frames, FIN | CONTINUATION, "x");
        char expected[64];
        snprintf(expected, sizeof expected, "binary:%s\nfailed 1007\n", bad[i]);
        expect(frames, expected);
    }
}

/* The decoder of utf8.c against a second one, over every sequence of two bytes and many of three and four. */
static bool reference_utf8(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length;) {
        uint32_t code = bytes[i], least = 0;
        size_t more = code < 0x80 ? 0 : code >> 5 == 6 ? 1 : code >> 4 == 14 ? 2 : code >> 3 == 30 ? 3 : 9;
        if (more == 9 || i + more >= length)
            return false;
        if (more > 0) {
            code &= 0x3fu >> more;
            least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
        }
        for (size_t j = 1; j <= more; j++) {
            if (bytes[i + j] >> 6 != 2)
                return false;
            code = code << 6 | (bytes[i + j] & 0x3fu);
        }
        if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
            return false;
        i += more + 1;
    }
    return true;
}

static void test_utf8_against_a_reference(void **state)
{
    (void)state;
    static const unsigned char tails[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff };
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (size_t c = 0; c < sizeof tails; c++)
                for (size_t length = 1; length <= 4; length++) {
                    unsigned char bytes[4] = { (unsigned char)a, (unsigned char)b, tails[c], tails[(c + a + b) % sizeof tails] };
                    struct utf8 utf8 = { 0 };
                    bool valid = utf8_feed(&utf8, bytes, length) && utf8_complete(&utf8);
                    assert_int_equal(valid, reference_utf8(bytes, length));
                }
}

/* The wrong byte ends it, not the end of the frame or the message. */
static void test_utf8_fails_fast(void **state)
{
    (void)state;
    struct frames *frames = begin();
    add_header(frames, FIN | TEXT, 0x80, 100);
    frames_add(frames, "\0\0\0\0abc\xff", 8);
    expect(frames, "failed 1007\n");
}

static void test_sizes_are_refused_by_the_header(void **state)
{
    (void)state;
    struct frames *frames = begin();
    add_header(frames, FIN | BINARY, 0x80, 70001);
    frames_add(frames, "\0\0\0\0x", 5);
    expect(frames, "failed 1009\n");
    frames = begin();
    add_header(frames, FIN | BINARY, 0x80, INT64_MAX);
    frames_add(frames, "\0\0\0\0x", 5);
    expect(frames, "failed 1009\n");
    frames = begin();
    static const unsigned char zeros[50000];
    add(frames, BINARY, zeros, 50000);
    add(frames, CONTINUATION, zeros, 49999);
    size_t both = frames->length;
    add(frames, FIN | CONTINUATION, "\x01", 1);
    assert_string_equal(read_frames(frames, frames->length, 1, false), "binary:100000/00000001\n");
    add(frames, BINARY, zeros, 50000); /* the next message counts for itself */
    add(frames, FIN | CONTINUATION, zeros, 50000);
    assert_string_equal(read_frames(frames, frames->length, 1, false), "binary:100000/00000001\nbinary:100000/00000000\n");
    frames->length = both;
    add_header(frames, FIN | CONTINUATION, 0x80, 2);
    frames_add(frames, "\0\0\0\0x", 5);
    assert_string_equal(read_frames(frames, frames->length, 1, false), "failed 1009\n");
}

static void test_without_limits(void **state)
{
    (void)state;
    const struct server_settings none = { .server_name = NULL };
    static unsigned char zeros[150000];
    struct websocket session;
    bool pausing = false;
    struct frames *frames = begin();
    add(frames, FIN | BINARY, zeros, sizeof zeros);
    transcript.length = 0;
    websocket_init(&session, &none, NULL, &callbacks, &pausing);
    assert_true(feed(&session, frames->bytes, frames->length));
    assert_string_equal(transcript.bytes, "binary:150000/00000000\n");
    websocket_deinit(&session);
}

/* An idle session holds nothing but its struct; one that waits for the rest of a message holds it. */
static void test_what_an_idle_session_holds(void **state)
{
    (void)state;
    struct websocket session;
    bool pausing = false;
    struct frames *frames = begin();
    websocket_init(&session, &limits, NULL, &callbacks, &pausing);
    assert_null(session.frames);
    add_string(frames, FIN | TEXT, "one");
    add_string(frames, TEXT, "two");
    add_string(frames, FIN | PING, "");
    assert_true(feed(&session, frames->bytes, frames->length));
    assert_null(session.frames);
    assert_int_equal(buffer_length(&session.message), 3);
    assert_true(feed(&session, frames->bytes, 1));
    assert_non_null(session.frames);
    websocket_deinit(&session);
    websocket_init(&session, &limits, NULL, &callbacks, &pausing);
    assert_true(feed(&session, frames->bytes, 9));
    assert_null(session.frames);
    assert_null(session.message.bytes);
    websocket_deinit(&session);
    assert_true(sizeof session <= 320);
    frames_made = 0;
    read_frames(frames, frames->length, 1, false);
    assert_int_equal(frames_made, 1); /* for a whole read */
}

static void test_pausing_stops_at_the_message(void **state)
{
    (void)state;
    struct websocket session;
    bool pausing = true;
    size_t used;
    struct frames *frames = begin();
    add_string(frames, FIN | TEXT, "one");
    add_string(frames, FIN | PING, "ping");
    add_string(frames, FIN | TEXT, "two");
    transcript.length = 0;
    websocket_init(&session, &limits, NULL, &callbacks, &pausing);
    assert_int_equal(websocket_feed(&session, frames->bytes, frames->length, &used), WEBSOCKET_PAUSED);
    assert_int_equal(used, 9);
    assert_string_equal(transcript.bytes, "text:one\n");
    assert_int_equal(websocket_feed(&session, frames->bytes + 9, 0, &used), WEBSOCKET_MORE);
    assert_int_equal(websocket_feed(&session, frames->bytes + 9, 12, &used), WEBSOCKET_MORE);
    assert_int_equal(used, 12);
    assert_int_equal(websocket_feed(&session, frames->bytes + 21, frames->length - 21, &used), WEBSOCKET_PAUSED);
    assert_int_equal(used, frames->length - 21);
    assert_string_equal(transcript.bytes, "text:one\nping:ping\ntext:two\n");
    websocket_deinit(&session);
}

static void test_written_frames(void **state)
{
    (void)state;
    unsigned char header[WEBSOCKET_HEADER_SIZE];
    assert_int_equal(websocket_header(header, WEBSOCKET_TEXT, false, 125), 2);
    assert_memory_equal(header, "\x81\x7d", 2);
    assert_int_equal(websocket_header(header, WEBSOCKET_BINARY, false, 126), 4);
    assert_memory_equal(header, "\x82\x7e\x00\x7e", 4);
    assert_int_equal(websocket_header(header, WEBSOCKET_BINARY, false, 65535), 4);
    assert_memory_equal(header, "\x82\x7e\xff\xff", 4);
    assert_int_equal(websocket_header(header, WEBSOCKET_BINARY, false, 65536), 10);
    assert_memory_equal(header, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10);
    struct buffer out;
    buffer_init(&out);
    assert_int_equal(websocket_write(&out, WEBSOCKET_TEXT, (const unsigned char *)"hi", 2), 0);
    assert_int_equal(websocket_write(&out, WEBSOCKET_PING, NULL, 0), 0);
    assert_int_equal(buffer_length(&out), 6);
    assert_memory_equal(buffer_bytes(&out), "\x81\x02hi\x89\x00", 6);
    buffer_deinit(&out);
}

static void test_written_close_frames(void **state)
{
    (void)state;
    struct buffer out;
    unsigned char reason[200];
    buffer_init(&out);
    assert_int_equal(websocket_write_close(&out, 1005, NULL, 0), 0);
    assert_int_equal(websocket_write_close(&out, 1001, NULL, 0), 0);
    assert_int_equal(websocket_write_close(&out, 4000, (const unsigned char *)"why", 3), 0);
    assert_memory_equal(buffer_bytes(&out), "\x88\x00\x88\x02\x03\xe9\x88\x05\x0f\xa0why", 13);
    buffer_consume(&out, buffer_length(&out));
    /* 41 characters of three bytes are 123; with a byte before them the last does not fit. */
    for (size_t i = 0; i < sizeof reason; i++)
        reason[i] = (unsigned char)"\xe2\x82\xac"[i % 3];
    assert_int_equal(websocket_write_close(&out, 1000, reason, 150), 0);
    assert_int_equal(buffer_bytes(&out)[1], 125);
    buffer_consume(&out, buffer_length(&out));
    memmove(reason + 1, reason, sizeof reason - 1);
    reason[0] = 'x';
    assert_int_equal(websocket_write_close(&out, 1000, reason, 151), 0);
    assert_int_equal(buffer_bytes(&out)[1], 2 + 1 + 40 * 3);
    buffer_deinit(&out);
}

static bool read_with_failing_memory(void)
{
    struct frames *frames = begin();
    static unsigned char payload[3000];
    add(frames, BINARY, payload, sizeof payload);
    add(frames, FIN | CONTINUATION, payload, sizeof payload);
    add_string(frames, FIN | TEXT, "x");
    const char *said = read_frames(frames, 100, 500, false);
    bool noticed = strcmp(said, "failed 1011\n") == 0;
    if (!noticed)
        assert_string_equal(said, "binary:6000/00000000\ntext:x\n");
    return noticed;
}

static bool write_with_failing_memory(void)
{
    struct buffer out;
    buffer_init(&out);
    bool noticed = websocket_write(&out, WEBSOCKET_BINARY, (const unsigned char *)"x", 1) != 0;
    noticed |= websocket_write_close(&out, 1000, NULL, 0) != 0;
    buffer_deinit(&out);
    return noticed;
}

static void test_failing_memory(void **state)
{
    (void)state;
    fail_every_allocation(read_with_failing_memory);
    fail_every_allocation(write_with_failing_memory);
    refuse_frames = true;
    struct frames *frames = begin();
    add_string(frames, FIN | TEXT, "x");
    assert_string_equal(read_frames(frames, frames->length, 1, false), "failed 1011\n");
    refuse_frames = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_lengths_around_the_headers),
        cmocka_unit_test(test_fragments_and_control_frames_between),
        cmocka_unit_test(test_largest_control_frames),
        cmocka_unit_test(test_protocol_errors),
        cmocka_unit_test(test_headers_that_are_wrong),
        cmocka_unit_test(test_close_frames),
        cmocka_unit_test(test_close_codes),
        cmocka_unit_test(test_text_that_is_not_utf8),
        cmocka_unit_test(test_utf8_against_a_reference),
        cmocka_unit_test(test_utf8_fails_fast),
        cmocka_unit_test(test_sizes_are_refused_by_the_header),
        cmocka_unit_test(test_without_limits),
        cmocka_unit_test(test_what_an_idle_session_holds),
        cmocka_unit_test(test_pausing_stops_at_the_message),
        cmocka_unit_test(test_written_frames),
        cmocka_unit_test(test_written_close_frames),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
