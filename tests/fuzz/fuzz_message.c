/* Encoded channel messages from elsewhere: the walk over their fields, relay events, the envelope of channels_redis.core, Fernet tokens.
 * The first byte says which, and in which format. */
#include <string.h>

#include "channellayer/bus/envelope.h"
#include "channellayer/bus/fernet.h"
#include "channellayer/fields.h"
#include "channellayer/message.h"
#include "channellayer/relay_event.h"
#include "tests/fuzz/fuzz.h"

static void walk(bool json, const uint8_t *bytes, size_t length)
{
    struct fields fields;
    struct field field;
    unsigned char out[4096];
    if (fields_begin(&fields, json, bytes, length) != 0)
        return;
    int more;
    while ((more = fields_next(&fields, &field)) == 1) {
        fuzz_require(field.whole.bytes >= bytes && field.whole.bytes + field.whole.length <= bytes + length);
        fuzz_require(field.whole_value.bytes + field.whole_value.length == field.whole.bytes + field.whole.length);
        if (field.kind == FIELD_TEXT && field.escaped && field.text.length <= sizeof out)
            fuzz_require(field_unescape(&field, out) <= (long)field.text.length);
    }
    fuzz_require(more == 0 || more == -1);
}

static void relay(bool json, const uint8_t *bytes, size_t length)
{
    struct message *message = message_create(bytes, length, NULL, 0);
    struct relay_event event;
    struct span key;
    if (message == NULL)
        return;
    if (relay_event_read(&event, message, json, &key) == 1) {
        fuzz_require(event.kind != RELAY_CLOSE || (event.code >= 1000 && event.code <= 4999));
        relay_event_deinit(&event);
    }
    message_release(message);
}

static void on_name(void *context, struct name name)
{
    fuzz_require(name.length <= ENVELOPE_NAME);
    ++*(size_t *)context;
}

/* What was taken out of an envelope has no names any more. */
static void envelope(bool json, const uint8_t *bytes, size_t length)
{
    struct bytes first = { 0 }, second = { 0 };
    size_t names = 0, more = 0;
    int result = envelope_take(&first, json, bytes, length, on_name, &names);
    fuzz_require(result > 0 || names == 0);
    if (result >= 0) {
        fuzz_require(envelope_take(&second, json, first.data, first.length, on_name, &more) == ENVELOPE_NONE);
        fuzz_require(more == 0 && second.length == first.length);
    }
    bytes_deinit(&first);
    bytes_deinit(&second);
}

static void token(const uint8_t *bytes, size_t length)
{
    static const unsigned char key[FERNET_KEY_SIZE] = "0123456789abcdef0123456789abcde";
    struct fernet *fernet = fernet_create(key, 1);
    struct bytes plain = { 0 }, sealed = { 0 }, again = { 0 };
    (void)fernet_decrypt(fernet, &plain, bytes, length, 0, 1000000);
    fuzz_require(fernet_encrypt(fernet, &sealed, bytes, length, 1000000) == FERNET_OK);
    fuzz_require(fernet_decrypt(fernet, &again, sealed.data, sealed.length, 60, 1000030) == FERNET_OK);
    fuzz_require(again.length == length && (length == 0 || memcmp(again.data, bytes, length) == 0));
    bytes_deinit(&plain);
    bytes_deinit(&sealed);
    bytes_deinit(&again);
    fernet_destroy(fernet);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length == 0)
        return 0;
    bool json = bytes[0] & 1;
    switch (bytes[0] >> 1 & 3) {
    case 0:
        walk(json, bytes + 1, length - 1);
        break;
    case 1:
        relay(json, bytes + 1, length - 1);
        break;
    case 2:
        envelope(json, bytes + 1, length - 1);
        break;
    default:
        token(bytes + 1, length - 1);
    }
    return 0;
}
