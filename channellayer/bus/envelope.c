#include "channellayer/bus/envelope.h"

#include "channellayer/encode.h"
#include "channellayer/fields.h"

static const char key[] = "__asgi_channel__";
static const struct name key_name = { key, sizeof key - 1 };

static bool is_space(unsigned char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static void add_names(struct bytes *out, bool json, const struct name *names, size_t count, bool list)
{
    if (list && json)
        bytes_add_byte(out, '[');
    else if (list)
        encode_list_head(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        if (json && i > 0)
            bytes_add_byte(out, ',');
        encode_text(out, json, names[i]);
    }
    if (list && json)
        bytes_add_byte(out, ']');
}

/* Up to its closing brace. */
static int add_json_fields(struct bytes *out, const unsigned char *message, size_t length)
{
    while (length > 0 && is_space(message[length - 1]))
        length--;
    if (length < 2 || message[length - 1] != '}')
        return ENVELOPE_MALFORMED;
    length--;
    bytes_add(out, message, length);
    while (length > 0 && is_space(message[length - 1]))
        length--;
    if (message[length - 1] != '{')
        bytes_add_byte(out, ',');
    return ENVELOPE_OK;
}

/* With room for one more in its head. */
static int add_msgpack_fields(struct bytes *out, const unsigned char *message, size_t length)
{
    struct fields fields;
    if (fields_begin(&fields, false, message, length) != 0 || fields.left == UINT32_MAX)
        return ENVELOPE_MALFORMED;
    encode_map_head(out, fields.left + 1);
    bytes_add(out, fields.next, (size_t)(fields.end - fields.next));
    return ENVELOPE_OK;
}

int envelope_add(struct bytes *out, bool json, const void *message, size_t length, const struct name *names, size_t count, bool list)
{
    int result = json ? add_json_fields(out, message, length) : add_msgpack_fields(out, message, length);
    if (result != ENVELOPE_OK)
        return result;
    encode_text(out, json, key_name);
    if (json)
        bytes_add_byte(out, ':');
    add_names(out, json, names, count, list);
    if (json)
        bytes_add_byte(out, '}');
    return out->failed ? ENVELOPE_NO_MEMORY : ENVELOPE_OK;
}

/* The names in one value. json: next is behind the bracket. */
struct walk {
    bool json;
    bool begun;
    const unsigned char *next;
    const unsigned char *end;
    uint64_t left;
    char scratch[ENVELOPE_NAME];
};

static size_t big_endian(const unsigned char *bytes, size_t count)
{
    size_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

static int begin_list(struct walk *walk, const struct field *field, bool json)
{
    const struct span *value = &field->whole_value;
    unsigned char first = value->bytes[0];
    *walk = (struct walk){ .json = json, .next = value->bytes + 1, .end = value->bytes + value->length };
    if (json)
        return first == '[' ? 0 : -1;
    size_t size = first == 0xdc ? 2 : first == 0xdd ? 4 : 0;
    if (size == 0 && (first & 0xf0) != 0x90)
        return -1;
    walk->left = size == 0 ? first & 0x0fu : big_endian(walk->next, size);
    walk->next += size;
    return 0;
}

/* The value was stepped over before, so no head in it is cut off. */
static int next_msgpack(struct walk *walk, struct name *name)
{
    if (walk->left == 0)
        return 0;
    walk->left--;
    unsigned char first = *walk->next++;
    size_t size = first == 0xd9 ? 1 : first == 0xda ? 2 : first == 0xdb ? 4 : 0;
    if (size == 0 && (first & 0xe0) != 0xa0)
        return -1;
    size_t length = size == 0 ? first & 0x1fu : big_endian(walk->next, size);
    *name = (struct name){ (const char *)walk->next + size, length };
    walk->next += size + length;
    return 1;
}

/* text: between quotes, perhaps with escapes. */
static int plain_text(struct walk *walk, const struct field *text, struct name *name)
{
    *name = (struct name){ (const char *)text->text.bytes, text->text.length };
    if (!text->escaped)
        return 1;
    if (text->text.length > sizeof walk->scratch)
        return -1;
    long length = field_unescape(text, (unsigned char *)walk->scratch);
    *name = (struct name){ walk->scratch, (size_t)length };
    return length < 0 ? -1 : 1;
}

static int next_json(struct walk *walk, struct name *name)
{
    struct field text = { 0 };
    while (is_space(*walk->next))
        walk->next++;
    if (*walk->next == ']')
        return 0;
    if (walk->begun && *walk->next++ != ',')
        return -1;
    walk->begun = true;
    while (is_space(*walk->next))
        walk->next++;
    if (*walk->next++ != '"')
        return -1;
    text.text.bytes = walk->next;
    for (; *walk->next != '"'; walk->next++) {
        if (*walk->next == '\\') {
            text.escaped = true;
            walk->next++;
        }
    }
    text.text.length = (size_t)(walk->next++ - text.text.bytes);
    return plain_text(walk, &text, name);
}

/* Calls each, unless NULL, for every name: ENVELOPE_OK, _LIST; ENVELOPE_MALFORMED: a value of another kind, or a name that is too long. */
static int each_name(const struct field *field, bool json, void (*each)(void *, struct name), void *context)
{
    struct walk walk;
    struct name name;
    int more;
    if (field->kind == FIELD_TEXT) {
        if (plain_text(&walk, field, &name) < 0 || name.length > ENVELOPE_NAME)
            return ENVELOPE_MALFORMED;
        if (each != NULL)
            each(context, name);
        return ENVELOPE_OK;
    }
    if (field->kind != FIELD_OTHER || begin_list(&walk, field, json) != 0)
        return ENVELOPE_MALFORMED;
    while ((more = json ? next_json(&walk, &name) : next_msgpack(&walk, &name)) == 1) {
        if (name.length > ENVELOPE_NAME)
            return ENVELOPE_MALFORMED;
        if (each != NULL)
            each(context, name);
    }
    return more == 0 ? ENVELOPE_LIST : ENVELOPE_MALFORMED;
}

/* Appends a field to out as it stood; the head of a MessagePack map is written when it is known how many there are. */
static void keep(struct bytes *out, bool json, const struct field *field, size_t kept)
{
    if (json)
        bytes_add_byte(out, kept == 0 ? '{' : ',');
    bytes_add(out, field->whole.bytes, field->whole.length);
}

/* Copies all fields but ours, which comes back in *found: where there are two, the last one counts. ENVELOPE_OK, _NONE, _MALFORMED. */
static int split(struct bytes *out, bool json, const void *message, size_t length, struct field *found)
{
    struct fields fields;
    struct field field;
    size_t kept = 0, taken = 0;
    int more;
    if (fields_begin(&fields, json, message, length) != 0)
        return ENVELOPE_MALFORMED;
    uint32_t all = fields.left;
    struct fields again = fields;
    while ((more = fields_next(&fields, &field)) == 1) {
        if (field_is(&field, key)) {
            *found = field;
            taken++;
        }
    }
    if (more != 0)
        return ENVELOPE_MALFORMED;
    if (taken == 0) {
        bytes_add(out, message, length);
        return ENVELOPE_NONE;
    }
    if (!json)
        encode_map_head(out, all - (uint32_t)taken);
    while (fields_next(&again, &field) == 1) {
        if (!field_is(&field, key))
            keep(out, json, &field, kept++);
    }
    if (json)
        bytes_add(out, kept == 0 ? "{}" : "}", kept == 0 ? 2 : 1);
    return ENVELOPE_OK;
}

int envelope_take(struct bytes *out, bool json, const void *message, size_t length,
                  void (*each)(void *context, struct name name), void *context)
{
    struct field found;
    int result = split(out, json, message, length, &found);
    if (result == ENVELOPE_OK)
        result = each_name(&found, json, NULL, NULL);
    if (out->failed)
        return ENVELOPE_NO_MEMORY;
    return result == ENVELOPE_OK || result == ENVELOPE_LIST ? each_name(&found, json, each, context) : result;
}
