#include "channellayer/relay_event.h"

#include <string.h>

#include "base/alloc.h"
#include "channellayer/fields.h"
#include "channellayer/message.h"

enum { NORMAL_CLOSURE = 1000 };

/* The fields that matter; kind FIELD_NULL where one is not there. */
struct parts {
    struct field type, text, bytes, code, reason, key;
};

/* Of a key that stands twice the last counts, as in Python. */
static int collect(struct parts *parts, const struct message *message, bool json)
{
    struct fields fields;
    struct field field;
    int more;
    if (fields_begin(&fields, json, message->bytes, message->length) != 0)
        return -1;
    while ((more = fields_next(&fields, &field)) == 1) {
        if (field_is(&field, "type"))
            parts->type = field;
        else if (field_is(&field, "text"))
            parts->text = field;
        else if (field_is(&field, "bytes"))
            parts->bytes = field;
        else if (field_is(&field, "code"))
            parts->code = field;
        else if (field_is(&field, "reason"))
            parts->reason = field;
        else if (field_is(&field, "key"))
            parts->key = field;
    }
    return more;
}

static bool type_is(const struct field *type, const char *name)
{
    return type->kind == FIELD_TEXT && type->text.length == strlen(name) && memcmp(type->text.bytes, name, strlen(name)) == 0;
}

/* 1, 0, -1 as relay_event_read(). */
static int take_text(struct relay_event *event, const struct field *field)
{
    event->bytes = field->text.bytes;
    event->length = field->text.length;
    if (!field->escaped)
        return 1;
    event->owned = mem_try_alloc(field->text.length);
    if (event->owned == NULL)
        return -1;
    long length = field_unescape(field, event->owned);
    if (length < 0) {
        relay_event_deinit(event);
        return 0;
    }
    event->bytes = event->owned;
    event->length = (size_t)length;
    return 1;
}

static int read_send(struct relay_event *event, const struct parts *parts)
{
    if (parts->text.kind == FIELD_TEXT && parts->bytes.kind == FIELD_NULL) {
        event->kind = RELAY_TEXT;
        return take_text(event, &parts->text);
    }
    if (parts->bytes.kind != FIELD_BYTES || parts->text.kind != FIELD_NULL)
        return 0;
    event->kind = RELAY_BYTES;
    event->bytes = parts->bytes.text.bytes;
    event->length = parts->bytes.text.length;
    return 1;
}

static int read_close(struct relay_event *event, const struct parts *parts)
{
    event->kind = RELAY_CLOSE;
    event->code = NORMAL_CLOSURE;
    if (parts->code.kind == FIELD_INTEGER) {
        if (parts->code.integer < 1000 || parts->code.integer > 4999)
            return 0;
        event->code = (uint16_t)parts->code.integer;
    } else if (parts->code.kind != FIELD_NULL) {
        return 0;
    }
    if (parts->reason.kind == FIELD_NULL)
        return 1;
    return parts->reason.kind == FIELD_TEXT ? take_text(event, &parts->reason) : 0;
}

int relay_event_read(struct relay_event *event, const struct message *message, bool json, struct span *key)
{
    struct parts parts = { 0 };
    *event = (struct relay_event){ 0 };
    *key = (struct span){ NULL, 0 };
    if (collect(&parts, message, json) != 0)
        return 0;
    if (parts.key.kind != FIELD_NULL)
        *key = parts.key.whole_value;
    if (type_is(&parts.type, "websocket.send"))
        return read_send(event, &parts);
    return type_is(&parts.type, "websocket.close") ? read_close(event, &parts) : 0;
}

void relay_event_deinit(struct relay_event *event)
{
    mem_free(event->owned);
    event->owned = NULL;
}
