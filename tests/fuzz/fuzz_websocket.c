/* WebSocket input, whole and in pieces: the same messages, the same end; a text is UTF-8; nothing is larger than allowed. */
#include <string.h>

#include "server/utf8.h"
#include "server/websocket.h"
#include "tests/fuzz/fuzz.h"

struct seen {
    unsigned messages, pings;
    uint64_t sum;
    enum websocket_result result;
    uint16_t code;
};

static const struct server_settings settings = { .websocket_max_message_size = 2000, .websocket_max_frame_size = 1500 };

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
    return seen->messages % 3 != 0; /* every third pauses */
}

static void on_ping(void *context, const unsigned char *bytes, size_t length)
{
    struct seen *seen = context;
    fuzz_require(length <= WEBSOCKET_CONTROL_SIZE);
    seen->pings++;
    seen->sum = add(seen->sum, bytes, length);
}

static const struct websocket_callbacks callbacks = { on_message, on_ping };

static void feed(struct seen *seen, const uint8_t *bytes, size_t length, size_t step)
{
    struct websocket session;
    size_t at = 0;
    memset(seen, 0, sizeof *seen);
    websocket_init(&session, &settings, NULL, &callbacks, seen);
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

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct seen whole, pieces;
    feed(&whole, bytes, length, length > 0 ? length : 1);
    feed(&pieces, bytes, length, length > 0 ? 1 + bytes[length - 1] % 5u : 1);
    fuzz_require(whole.messages == pieces.messages && whole.pings == pieces.pings && whole.sum == pieces.sum);
    fuzz_require(whole.result == pieces.result && whole.code == pieces.code);
    return 0;
}
