/* permessage-deflate: what is offered and answered (RFC 7692, section 7.1), its own examples (7.2.3), messages there and back with
 * every agreement, bombs, shared messages, what is held in memory, and failing allocations. */
#include "protocol_fixture.h"

#include "server/deflate.h"
#include "server/websocket.h"

static struct server_settings settings;
static struct deflate_pool pool;

static int set_up(void **state)
{
    (void)state;
    settings = (struct server_settings){
        .websocket_deflate = 1,
        .websocket_deflate_takeover = 1,
        .websocket_deflate_window_bits = 15,
        .websocket_deflate_memory_level = 5,
        .websocket_max_message_size = 100000,
    };
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    deflate_pool_deinit(&pool);
    return 0;
}

/* The answer to a header's value; "": none; "malformed". */
static const char *answer(const char *offer)
{
    static char text[DEFLATE_ANSWER_SIZE];
    struct deflate_terms terms = { .agreed = false };
    size_t length = strlen(offer);
    char *copy = malloc(length + 1); /* its end is the end of the memory */
    assert_non_null(copy);
    memcpy(copy, offer, length);
    int result = deflate_offer((unsigned char *)copy, length, &settings, &terms);
    free(copy);
    text[0] = 0;
    if (terms.agreed && result == 0)
        deflate_answer(&terms, text);
    return result == 0 ? text : "malformed";
}

#define PMD "permessage-deflate"
#define NONE "; server_no_context_takeover; client_no_context_takeover"

static void test_offers(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "" },
        { " , ,", "" },
        { "x-webkit-deflate-frame", "" },
        { PMD, PMD },
        { "Permessage-Deflate", PMD },
        { PMD "; client_max_window_bits", PMD "; client_max_window_bits=15" },
        { PMD ";client_max_window_bits=9", PMD "; client_max_window_bits=9" },
        { PMD "; client_max_window_bits = \"10\"", PMD "; client_max_window_bits=10" },
        { PMD "; client_max_window_bits=\"1\\0\"", PMD "; client_max_window_bits=10" },
        { PMD "; client_max_window_bits=8", PMD "; client_max_window_bits=8" },
        { PMD "; server_max_window_bits=15", PMD "; server_max_window_bits=15" },
        { PMD "; server_max_window_bits=9", PMD "; server_max_window_bits=9" },
        { PMD "; server_no_context_takeover", PMD "; server_no_context_takeover" },
        { PMD "; client_no_context_takeover", PMD "; client_no_context_takeover" },
        { PMD "; server_max_window_bits=8", "" },
        { PMD "; server_max_window_bits=8, " PMD, PMD },
        { PMD "; unknown, foo; bar=1, " PMD "; server_no_context_takeover", PMD "; server_no_context_takeover" },
        { PMD "; client_no_context_takeover, " PMD, PMD "; client_no_context_takeover" },
        { PMD "; unknown", "" },
        { PMD "; unknown=1", "" },
        { PMD "; server_no_context_takeover=1", "" },
        { PMD "; client_no_context_takeover=1", "" },
        { PMD "; server_max_window_bits", "" },
        { PMD "; server_max_window_bits=7", "" },
        { PMD "; server_max_window_bits=16", "" },
        { PMD "; server_max_window_bits=010", "" },
        { PMD "; server_max_window_bits=1", "" },
        { PMD "; server_max_window_bits=100000", "" },
        { PMD "; server_max_window_bits=+9", "" },
        { PMD "; client_max_window_bits=16", "" },
        { PMD "; client_max_window_bits=x", "" },
        { PMD "; client_max_window_bits; client_max_window_bits", "" },
        { PMD "; server_no_context_takeover; server_no_context_takeover", "" },
        { PMD ";", "malformed" },
        { PMD "; =9", "malformed" },
        { PMD "; client_max_window_bits=", "malformed" },
        { PMD "; client_max_window_bits=\"", "malformed" },
        { PMD "; client_max_window_bits=\"\"", "malformed" },
        { PMD "; client_max_window_bits=\"9", "malformed" },
        { PMD "; client_max_window_bits=\"9\\", "malformed" },
        { PMD " x", "malformed" },
        { "(" PMD ")", "malformed" },
        { PMD ", ;", "malformed" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(answer(cases[i][0]), cases[i][1]) != 0)
            fail_msg("%s: '%s' instead of '%s'", cases[i][0], answer(cases[i][0]), cases[i][1]);
}

static void test_answers_as_settings_want(void **state)
{
    (void)state;
    settings.websocket_deflate_takeover = 0;
    settings.websocket_deflate_window_bits = 12;
    assert_string_equal(answer(PMD), PMD NONE "; server_max_window_bits=12");
    assert_string_equal(answer(PMD "; client_max_window_bits"), PMD NONE "; server_max_window_bits=12; client_max_window_bits=12");
    assert_string_equal(answer(PMD "; server_max_window_bits=10; client_max_window_bits=11"),
                        PMD NONE "; server_max_window_bits=10; client_max_window_bits=11");
    assert_string_equal(answer(PMD "; server_max_window_bits=15; client_max_window_bits=15"),
                        PMD NONE "; server_max_window_bits=12; client_max_window_bits=12");
    settings.websocket_deflate = 0;
    assert_string_equal(answer(PMD), "");
    assert_string_equal(answer(PMD ";"), "malformed");
}

static struct deflate *make(bool server_takeover, bool client_takeover, unsigned char bits)
{
    struct deflate_terms terms = { .agreed = true, .server_takeover = server_takeover, .client_takeover = client_takeover,
                                   .server_bits = bits, .client_bits = bits };
    struct deflate *deflate = deflate_create(&terms, &settings, &pool);
    assert_non_null(deflate);
    return deflate;
}

static struct text inflated;

static uint16_t take(void *context, const unsigned char *bytes, size_t length)
{
    size_t most = *(size_t *)context;
    if (inflated.length + length > most)
        return 1009;
    text_add(&inflated, bytes, length);
    return 0;
}

/* A whole piece, as the budget lets it. */
static uint16_t inflate_piece(struct deflate *deflate, const unsigned char *bytes, size_t length, bool last, size_t slice, size_t *most)
{
    size_t at = 0, taken;
    uint16_t code;
    do {
        size_t budget = slice, before = inflated.length;
        code = deflate_inflate(deflate, bytes + at, length - at, last, &budget, &taken, take, most);
        at += taken;
        assert_true(at <= length);
        assert_true(budget <= slice && inflated.length - before <= (slice < SIZE_MAX / 2 ? slice + DEFLATE_PIECE : SIZE_MAX));
    } while (code == DEFLATE_AGAIN);
    return code;
}

/* Inflates in pieces of step bytes; the code. */
static uint16_t inflate_message(struct deflate *deflate, const void *bytes, size_t length, size_t step)
{
    size_t most = TEXT_SIZE - 1, at = 0;
    uint16_t code = 0;
    inflated.length = 0;
    inflated.bytes[0] = 0;
    do {
        size_t piece = length - at < step ? length - at : step;
        unsigned char *copy = malloc(piece + 1);
        assert_non_null(copy);
        if (piece > 0)
            memcpy(copy, (const unsigned char *)bytes + at, piece);
        at += piece;
        code = inflate_piece(deflate, copy, piece, at == length, step % 3 == 1 ? 100 : SIZE_MAX, &most);
        free(copy);
    } while (code == 0 && at < length);
    return code;
}

static void test_examples_of_the_rfc(void **state)
{
    (void)state;
    static const struct {
        size_t length;
        const char *bytes, *text;
    } cases[] = {
        { 7, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello" },
        { 5, "\xf2\x00\x11\x00\x00", "Hello" },                             /* the window of the one before */
        { 11, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello" },    /* not compressed */
        { 8, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello" },                 /* BFINAL */
        { 5, "\xf2\x00\x11\x00\x00", "Hello" },                             /* the window outlives BFINAL */
        { 13, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello" }, /* two blocks */
        { 1, "\x00", "" },
        { 2, "\x02\x00", "" },
    };
    for (size_t step = 1; step < 14; step++) {
        struct deflate *deflate = make(true, true, 15);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            assert_int_equal(inflate_message(deflate, cases[i].bytes, cases[i].length, step), 0);
            assert_string_equal(inflated.bytes, cases[i].text);
        }
        deflate_destroy(deflate);
    }
}

static void test_data_that_is_wrong(void **state)
{
    (void)state;
    static const struct {
        size_t length;
        const char *bytes;
    } cases[] = {
        { 5, "\xff\xff\xff\xff\xff" },
        { 1, "\x07" },                          /* block type 3 */
        { 5, "\xf2\x00\x11\x00\x00" },          /* refers to before the beginning */
        { 4, "\xf2\x48\xcd\xc9" },              /* ends within a block */
        { 7, "\xf3\x48\xcd\xc9\xc9\x07\x00" },  /* BFINAL, and the tail is no block behind it */
        { 0, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct deflate *deflate = make(false, false, 15);
        uint16_t code = inflate_message(deflate, cases[i].bytes, cases[i].length, 100);
        if (cases[i].length == 0)
            assert_int_equal(code, 0); /* the tail alone is an empty block */
        else if (code != 1007)
            fail_msg("case %zu: %d", i, code);
        deflate_destroy(deflate);
    }
}

/* A message that refers to the one before, where nobody may know it: neither on the same connection nor on another. */
static void test_nobody_sees_what_another_sent(void **state)
{
    (void)state;
    for (int other = 0; other < 2; other++) {
        struct deflate *first = make(false, false, 15), *second = make(false, false, 15);
        assert_int_equal(inflate_message(first, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7, 100), 0);
        assert_string_equal(inflated.bytes, "Hello");
        assert_non_null(pool.inflater); /* the second borrows it */
        assert_int_equal(inflate_message(other ? second : first, "\xf2\x00\x11\x00\x00", 5, 100), 1007);
        deflate_destroy(first);
        deflate_destroy(second);
    }
}

/* Text that compresses, different for each n. */
static size_t fill(char *bytes, size_t size, unsigned n)
{
    size_t length = 0;
    while (length + 40 < size)
        length += (size_t)snprintf(bytes + length, size - length, "{\"row\": %zu, \"of\": %u}, ", length % 97, n);
    return length;
}

static void test_there_and_back(void **state)
{
    (void)state;
    static char text[20000];
    for (unsigned terms = 0; terms < 4; terms++)
        for (unsigned char bits = 9; bits <= 15; bits++) {
            struct deflate *sender = make(terms & 1, true, bits);
            struct deflate *receiver = make(true, terms & 1, bits);
            for (unsigned n = 0; n < 20; n++) {
                size_t compressed_length, length = fill(text, 100 + n * 1000, n);
                unsigned char *compressed = deflate_message(sender, (unsigned char *)text, length, &compressed_length);
                assert_non_null(compressed);
                assert_true(compressed_length < length);
                assert_int_equal(inflate_message(receiver, compressed, compressed_length, terms & 2 ? 7 : SIZE_MAX), 0);
                assert_int_equal(inflated.length, length);
                assert_memory_equal(inflated.bytes, text, length);
                mem_free(compressed);
                if (terms & 1)
                    assert_true(deflate_held(sender) > 0);
                else
                    assert_int_equal(deflate_held(sender) + deflate_held(receiver), 0);
                if (n % 7 == 6)
                    deflate_rest(sender);
            }
            deflate_destroy(sender);
            deflate_destroy(receiver);
        }
}

/* Messages in slices, whole ones and shared ones in turn; some are given up in the middle, and some are not worth it. */
static void test_slices(void **state)
{
    (void)state;
    static char text[20000], noise[20000];
    unsigned seed = 5;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)rand_r(&seed);
    for (unsigned takeover = 0; takeover < 2; takeover++)
        for (size_t slice = 1; slice <= 32768; slice *= 8) {
            struct deflate *sender = make(takeover, true, 15), *receiver = make(true, true, 15);
            for (unsigned n = 0; n < 12; n++) {
                size_t length = fill(text, 500 + n * 1000, n), compressed_length = 0;
                const char *source = n % 4 == 3 ? noise : text;
                enum deflating_result result = DEFLATING_MORE;
                struct deflating *deflating = deflating_create(sender, (const unsigned char *)source, length);
                assert_non_null(deflating);
                if (!takeover)
                    assert_null(pool.deflater); /* nobody else uses it meanwhile */
                deflate_rest(sender);
                deflate_rest(sender); /* it is not idle */
                for (size_t steps = 0; result == DEFLATING_MORE && (n % 4 != 2 || steps * slice < length / 2); steps++)
                    result = deflating_step(deflating, slice);
                assert_int_equal(result, n % 4 == 3 ? DEFLATING_FAILED : n % 4 == 2 && slice < length ? DEFLATING_MORE : DEFLATING_DONE);
                if (result == DEFLATING_DONE) {
                    const unsigned char *compressed = deflating_bytes(deflating, &compressed_length);
                    assert_true(compressed_length < length);
                    assert_int_equal(inflate_message(receiver, compressed, compressed_length, SIZE_MAX), 0);
                    assert_int_equal(inflated.length, length);
                    assert_memory_equal(inflated.bytes, source, length);
                }
                deflating_destroy(deflating);
                unsigned char *whole = deflate_message(sender, (const unsigned char *)text, length, &compressed_length);
                assert_non_null(whole);
                assert_int_equal(inflate_message(receiver, whole, compressed_length, SIZE_MAX), 0);
                assert_memory_equal(inflated.bytes, text, length);
                mem_free(whole);
            }
            deflate_destroy(sender);
            deflate_destroy(receiver);
        }
    struct deflate *deflate = make(true, true, 15);
    assert_null(deflating_create(deflate, (const unsigned char *)"", 0));
    deflating_destroy(NULL);
    deflate_destroy(deflate);
}

static void test_takeover_makes_it_smaller(void **state)
{
    (void)state;
    char text[400];
    size_t length = fill(text, sizeof text, 1), first, second, alone;
    struct deflate *with = make(true, true, 12), *without = make(false, false, 12);
    mem_free(deflate_message(with, (unsigned char *)text, length, &first));
    mem_free(deflate_message(with, (unsigned char *)text, length, &second));
    mem_free(deflate_message(without, (unsigned char *)text, length, &alone));
    mem_free(deflate_message(without, (unsigned char *)text, length, &alone));
    assert_true(second < first);
    assert_int_equal(alone, first);
    assert_true(deflate_held(with) < 48 * 1024);
    deflate_rest(with);
    assert_true(deflate_held(with) > 0); /* it was in use */
    deflate_rest(with);
    assert_int_equal(deflate_held(with), 0);
    deflate_destroy(with);
    deflate_destroy(without);
}

static void test_what_gains_nothing(void **state)
{
    (void)state;
    unsigned char noise[1000];
    char text[1000];
    size_t n, length = fill(text, sizeof text, 3);
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)((seed = seed * 1664525u + 1013904223u) >> 24);
    struct deflate *sender = make(true, true, 12), *receiver = make(true, true, 12);
    unsigned char *compressed = deflate_message(sender, (unsigned char *)text, length, &n);
    assert_int_equal(inflate_message(receiver, compressed, n, 100), 0);
    mem_free(compressed);
    assert_null(deflate_message(sender, noise, sizeof noise, &n)); /* the peer never sees it: no later message may refer to it */
    compressed = deflate_message(sender, (unsigned char *)text, length, &n);
    assert_int_equal(inflate_message(receiver, compressed, n, 100), 0);
    assert_memory_equal(inflated.bytes, text, length);
    mem_free(compressed);
    assert_null(deflate_message(sender, noise, 0, &n));
    assert_null(deflate_message(sender, noise, 4, &n));
    settings.websocket_deflate_threshold = length + 1;
    assert_null(deflate_message(sender, (unsigned char *)text, length, &n));
    assert_null(deflate_shared(&pool, &settings, (unsigned char *)text, length, &n));
    deflate_destroy(sender);
    deflate_destroy(receiver);
}

static void test_shared_messages_between_own_ones(void **state)
{
    (void)state;
    static char text[6000];
    settings.websocket_deflate_window_bits = 11;
    struct deflate *sender = make(true, true, 12), *receiver = make(true, true, 12), *narrow = make(true, true, 10);
    assert_true(deflate_reads_shared(sender, &settings));
    assert_false(deflate_reads_shared(narrow, &settings));
    for (unsigned n = 0; n < 30; n++) {
        size_t length = fill(text, sizeof text - n, n / 3), compressed_length;
        bool shared = n % 3 == 1;
        unsigned char *compressed = shared ? deflate_shared(&pool, &settings, (unsigned char *)text, length, &compressed_length)
                                           : deflate_message(sender, (unsigned char *)text, length, &compressed_length);
        if (shared)
            deflate_forget(sender);
        assert_non_null(compressed);
        if (n % 9 != 4) { /* that one is dropped on the way */
            assert_int_equal(inflate_message(receiver, compressed, compressed_length, 1000), 0);
            assert_memory_equal(inflated.bytes, text, length);
        }
        mem_free(compressed);
    }
    deflate_destroy(sender);
    deflate_destroy(receiver);
    deflate_destroy(narrow);
}

/* A session that has agreed to compression, and what it was told. */
struct told {
    size_t length;
    unsigned messages;
};

static bool on_message(void *context, bool text, const unsigned char *bytes, size_t length)
{
    struct told *told = context;
    (void)text;
    (void)bytes;
    told->messages++;
    told->length = length;
    return true;
}

static void on_ping(void *context, const unsigned char *bytes, size_t length)
{
    (void)context;
    (void)bytes;
    (void)length;
}

static const struct websocket_callbacks callbacks = { on_message, on_ping };

/* Feeds masked frames (the mask is zero) in pieces; the code it failed with, or 0. */
static uint16_t feed(const void *frames, size_t length, size_t step, struct told *told)
{
    struct websocket session;
    uint16_t code = 0;
    *told = (struct told){ 0 };
    websocket_init(&session, &settings, make(false, false, 15), &callbacks, told);
    for (size_t at = 0; at < length && code == 0; at += step) {
        size_t used, left = length - at < step ? length - at : step;
        const unsigned char *piece = (const unsigned char *)frames + at;
        enum websocket_result result;
        do {
            size_t before = session.message_length;
            result = websocket_feed(&session, piece, left, &used);
            assert_true(session.message_length <= before + WEBSOCKET_SLICE + DEFLATE_PIECE);
            piece += used;
            left -= used;
        } while (result == WEBSOCKET_BUSY);
        if (result == WEBSOCKET_FAILED)
            code = session.code;
    }
    websocket_deinit(&session);
    return code;
}

static void test_reserved_bits(void **state)
{
    (void)state;
#define HELLO "\xf2\x48\xcd\xc9\xc9\x07\x00"
#define MASK "\0\0\0\0"
    static const struct {
        uint16_t code;
        unsigned messages;
        size_t length;
        const char *bytes;
    } cases[] = {
        { 0, 1, 13, "\xc1\x87" MASK HELLO },
        { 0, 2, 24, "\xc1\x87" MASK HELLO "\x81\x85" MASK "Hello" },
        { 0, 1, 25, "\x41\x83" MASK "\xf2\x48\xcd" "\x89\x80" MASK "\x80\x84" MASK "\xc9\xc9\x07\x00" },
        { 1002, 0, 19, "\x41\x83" MASK "\xf2\x48\xcd" "\xc0\x84" MASK "\xc9\xc9\x07\x00" },
        { 1002, 0, 11, "\xc9\x85" MASK "Hello" },
        { 1002, 0, 6, "\xc8\x80" MASK },
        { 1002, 0, 13, "\xa1\x87" MASK HELLO },
        { 1002, 0, 13, "\xd1\x87" MASK HELLO },
        { 1002, 0, 13, "\xe1\x87" MASK HELLO },
        { 1002, 0, 13, "\xc3\x87" MASK HELLO },
        { 1007, 0, 13, "\xc1\x87" MASK "\xff\xff\xff\xff\xff\xff\xff" },
        { 1007, 0, 14, "\xc1\x88" MASK "\x00\x01\x00\xfe\xff\xff\x00" "\x00" }, /* inflates to a byte that is no UTF-8 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step <= 30; step++) {
            struct told told;
            uint16_t code = feed(cases[i].bytes, cases[i].length, step, &told);
            if (code != cases[i].code || told.messages != cases[i].messages)
                fail_msg("case %zu, step %zu: %d, %u messages", i, step, code, told.messages);
        }
}

/* A frame of length bytes that all are the same, compressed. */
static size_t make_bomb(unsigned char *frame, size_t length, unsigned char byte)
{
    unsigned char *plain = malloc(length);
    size_t compressed_length;
    assert_non_null(plain);
    memset(plain, byte, length);
    unsigned char *compressed = deflate_shared(&pool, &settings, plain, length, &compressed_length);
    free(plain);
    assert_non_null(compressed);
    assert_true(compressed_length <= UINT16_MAX && compressed_length >= 126);
    frame[0] = 0xc1;
    frame[1] = 0xfe;
    frame[2] = (unsigned char)(compressed_length >> 8);
    frame[3] = (unsigned char)compressed_length;
    memset(frame + 4, 0, 4);
    memcpy(frame + 8, compressed, compressed_length);
    mem_free(compressed);
    return compressed_length + 8;
}

static void test_bombs(void **state)
{
    (void)state;
    static unsigned char frame[70000];
    struct told told;
    static const size_t steps[] = { 1, 13, 1000, sizeof frame };
    settings.websocket_max_message_size = 200000;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(feed(frame, make_bomb(frame, 200000, 'a'), steps[i], &told), 0);
        assert_int_equal(told.length, 200000);
        assert_int_equal(feed(frame, make_bomb(frame, 200001, 'a'), steps[i], &told), 1009);
        assert_int_equal(told.messages, 0);
        assert_int_equal(feed(frame, make_bomb(frame, 60000000, 'a'), steps[i], &told), 1009);
        assert_int_equal(feed(frame, make_bomb(frame, 200001, 0xff), steps[i], &told), 1007);
        settings.websocket_max_message_size = 0;
        assert_int_equal(feed(frame, make_bomb(frame, 300000, 'a'), steps[i], &told), 0);
        assert_int_equal(told.length, 300000);
        settings.websocket_max_message_size = 200000;
        settings.websocket_max_frame_size = 100;
        assert_int_equal(feed(frame, make_bomb(frame, 200000, 'a'), steps[i], &told), 1009);
        settings.websocket_max_frame_size = 0;
    }
}

/* Both directions, with memory failing: what cannot be compressed is sent as it is, what cannot be inflated closes. */
static bool with_failing_memory(void)
{
    struct deflate_terms terms = { .agreed = true, .server_takeover = true, .server_bits = 12, .client_bits = 12 };
    struct deflate_pool own = { 0 };
    char text[500];
    size_t n, most = TEXT_SIZE - 1, length = fill(text, sizeof text, 1);
    struct deflate *deflate = deflate_create(&terms, &settings, &own);
    bool noticed = deflate == NULL;
    if (deflate != NULL) {
        unsigned char *compressed = deflate_message(deflate, (unsigned char *)text, length, &n);
        noticed |= compressed == NULL;
        mem_free(compressed);
        struct deflating *deflating = deflating_create(deflate, (unsigned char *)text, length);
        noticed |= deflating == NULL;
        if (deflating != NULL) {
            assert_int_equal(deflating_step(deflating, length / 2), DEFLATING_MORE);
            assert_int_equal(deflating_step(deflating, length), DEFLATING_DONE);
        }
        deflating_destroy(deflating);
        compressed = deflate_shared(&own, &settings, (unsigned char *)text, length, &n);
        noticed |= compressed == NULL;
        if (compressed != NULL) {
            inflated.length = 0;
            uint16_t code = inflate_piece(deflate, compressed, n / 2, false, SIZE_MAX, &most);
            if (code == 0)
                code = inflate_piece(deflate, compressed + n / 2, n - n / 2, true, SIZE_MAX, &most);
            noticed |= code == 1011;
            assert_true(code == 0 || code == 1011);
            assert_true(code != 0 || memcmp(inflated.bytes, text, length) == 0);
        }
        mem_free(compressed);
    }
    deflate_destroy(deflate);
    deflate_pool_deinit(&own);
    return noticed;
}

static void test_failing_memory(void **state)
{
    (void)state;
    fail_every_allocation(with_failing_memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_offers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answers_as_settings_want, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_examples_of_the_rfc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_data_that_is_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_sees_what_another_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_there_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_takeover_makes_it_smaller, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_gains_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared_messages_between_own_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reserved_bits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bombs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
