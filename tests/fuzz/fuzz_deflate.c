/* permessage-deflate: the bytes as frames from a client that compresses, whole and in pieces; as an offer; and as messages of ours,
 * which come out again as they went in. The first byte chooses what was agreed. */
#include <string.h>

#include "base/alloc.h"
#include "server/deflate.h"
#include "server/utf8.h"
#include "server/websocket.h"
#include "tests/fuzz/fuzz.h"

struct seen {
    unsigned messages;
    uint64_t sum;
    enum websocket_result result;
    uint16_t code;
};

static const struct server_settings settings = {
    .websocket_max_message_size = 20000,
    .websocket_deflate = 1,
    .websocket_deflate_takeover = 1,
    .websocket_deflate_window_bits = 11,
    .websocket_deflate_memory_level = 2,
};
static struct deflate_pool pool;

static uint64_t add(uint64_t sum, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum = sum * 31 + ((const unsigned char *)bytes)[i];
    return sum;
}

static bool on_message(void *context, bool text, const unsigned char *bytes, size_t length)
{
    struct seen *seen = context;
    struct utf8 utf8 = { 0 };
    fuzz_require(length <= settings.websocket_max_message_size);
    fuzz_require(!text || (utf8_feed(&utf8, bytes, length) && utf8_complete(&utf8)));
    seen->messages++;
    seen->sum = add(seen->sum + text, bytes, length);
    return seen->messages % 3 != 0;
}

static void on_ping(void *context, const unsigned char *bytes, size_t length)
{
    struct seen *seen = context;
    seen->sum = add(seen->sum, bytes, length);
}

static const struct websocket_callbacks callbacks = { on_message, on_ping };

static struct deflate *agree(unsigned choice)
{
    struct deflate_terms terms = {
        .agreed = true,
        .client_takeover = (choice & 1) != 0,
        .server_takeover = (choice & 2) != 0,
        .client_bits = (unsigned char)(8 + (choice >> 2) % 8),
        .server_bits = (unsigned char)(9 + (choice >> 5) % 7),
    };
    struct deflate *deflate = deflate_create(&terms, &settings, &pool);
    fuzz_require(deflate != NULL);
    return deflate;
}

static void feed(struct seen *seen, unsigned choice, const uint8_t *bytes, size_t length, size_t step)
{
    struct websocket session;
    size_t at = 0;
    memset(seen, 0, sizeof *seen);
    websocket_init(&session, &settings, agree(choice), &callbacks, seen);
    while (at < length || seen->result == WEBSOCKET_BUSY || seen->result == WEBSOCKET_PAUSED) {
        size_t consumed, left = length - at;
        seen->result = websocket_feed(&session, bytes + at, left < step ? left : step, &consumed);
        fuzz_require(consumed <= left);
        at += consumed;
        if (seen->result == WEBSOCKET_CLOSED || seen->result == WEBSOCKET_FAILED)
            break;
    }
    seen->code = seen->result == WEBSOCKET_CLOSED || seen->result == WEBSOCKET_FAILED ? session.code : 0;
    websocket_deinit(&session);
}

struct output {
    const uint8_t *expected;
    size_t left;
};

static uint16_t compare(void *context, const unsigned char *bytes, size_t length)
{
    struct output *output = context;
    fuzz_require(length <= output->left && memcmp(bytes, output->expected, length) == 0);
    output->expected += length;
    output->left -= length;
    return 0;
}

/* The same as deflate_message(), in slices. */
static unsigned char *deflate_in_slices(struct deflate *sender, const uint8_t *bytes, size_t length, size_t slice, size_t *compressed_length)
{
    struct deflating *deflating = deflating_create(sender, bytes, length);
    enum deflating_result result = DEFLATING_FAILED;
    unsigned char *copy = NULL;
    while (deflating != NULL && (result = deflating_step(deflating, slice)) == DEFLATING_MORE)
        ;
    if (result == DEFLATING_DONE) {
        const unsigned char *compressed = deflating_bytes(deflating, compressed_length);
        copy = mem_alloc(*compressed_length);
        memcpy(copy, compressed, *compressed_length);
    }
    deflating_destroy(deflating);
    return copy;
}

/* Messages of ours to a peer of the same agreement, one of them shared, others in slices. */
static void send(unsigned choice, const uint8_t *bytes, size_t length)
{
    struct deflate *sender = agree(choice);
    struct deflate *receiver = agree(0x1d); /* 15 bits, with takeover: reads all */
    for (unsigned n = 0; n < 5; n++) {
        size_t part = n == 0 ? length / 2 : length, compressed_length;
        bool shared = n == 1 && deflate_reads_shared(sender, &settings);
        unsigned char *compressed = shared ? deflate_shared(&pool, &settings, bytes, part, &compressed_length)
                              : n == 2   ? deflate_message(sender, bytes, part, &compressed_length)
                                         : deflate_in_slices(sender, bytes, part, 1 + (n + choice) % 50, &compressed_length);
        if (shared)
            deflate_forget(sender);
        if (compressed == NULL)
            continue;
        struct output output = { bytes, part };
        fuzz_require(compressed_length < part);
        size_t at = 0, budget, taken;
        uint16_t code;
        do {
            budget = 1 + choice;
            code = deflate_inflate(receiver, compressed + at, compressed_length - at, true, &budget, &taken, compare, &output);
            at += taken;
        } while (code == DEFLATE_AGAIN);
        fuzz_require(code == 0 && at == compressed_length);
        fuzz_require(output.left == 0);
        mem_free(compressed);
    }
    deflate_destroy(sender);
    deflate_destroy(receiver);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct seen whole, pieces;
    struct deflate_terms terms = { .agreed = false };
    char answer[DEFLATE_ANSWER_SIZE];
    unsigned choice = length > 0 ? bytes[0] : 0;
    size_t rest = length > 0 ? length - 1 : 0;
    const uint8_t *input = length > 0 ? bytes + 1 : bytes;
    feed(&whole, choice, input, rest, rest > 0 ? rest : 1);
    feed(&pieces, choice, input, rest, 1 + choice % 5u);
    /* zlib finds out who looks further back than was agreed only where it has not just written those bytes: then how they came decides
     * whether the fault is seen. */
    bool narrow = 8 + (choice >> 2) % 8 < DEFLATE_MOST_BITS;
    if (!narrow || (whole.code != 1007 && pieces.code != 1007)) {
        fuzz_require(whole.messages == pieces.messages && whole.sum == pieces.sum);
        fuzz_require(whole.result == pieces.result && whole.code == pieces.code);
    }
    if (deflate_offer(input, rest, &settings, &terms) == 0 && terms.agreed) {
        deflate_answer(&terms, answer);
        fuzz_require(terms.server_bits >= DEFLATE_LEAST_BITS && terms.server_bits <= settings.websocket_deflate_window_bits);
        fuzz_require(terms.client_bits >= 8 && terms.client_bits <= DEFLATE_MOST_BITS);
    }
    send(choice, input, rest);
    return 0;
}
