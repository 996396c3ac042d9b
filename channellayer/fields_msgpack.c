/* The MessagePack half of fields.h. Source: the MessagePack specification, "Formats". */
#include "channellayer/fields_state.h"

#include <assert.h>

static uint64_t big_endian(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* One object's head: what kind it is, how many bytes of payload follow, and how many objects it contains. */
struct head {
    enum field_kind kind;
    size_t size;
    uint64_t payload;
    uint64_t children;
    int64_t integer;
};

/* 0xc4 to 0xdf, by first byte: how many bytes of length or value follow. */
static size_t argument_size(unsigned char first)
{
    static const unsigned char sizes[] = {
        1, 2, 4,       /* bin */
        1, 2, 4,       /* ext */
        4, 8,          /* float */
        1, 2, 4, 8,    /* unsigned */
        1, 2, 4, 8,    /* signed */
        0, 0, 0, 0, 0, /* fixext */
        1, 2, 4,       /* str */
        2, 4,          /* array */
        2, 4,          /* map */
    };
    return sizes[first - 0xc4];
}

static int64_t sign_extend(uint64_t value, size_t size)
{
    assert(size >= 1 && size <= 8);
    unsigned shift = 64 - 8 * (unsigned)size;
    return (int64_t)(value << shift) >> shift;
}

static void read_argument(unsigned char first, uint64_t value, size_t size, struct head *head)
{
    if (first <= 0xc6) {
        *head = (struct head){ .kind = FIELD_BYTES, .payload = value };
    } else if (first <= 0xc9) {
        *head = (struct head){ .kind = FIELD_OTHER, .payload = value + 1 };
    } else if (first <= 0xcb) {
        *head = (struct head){ .kind = FIELD_OTHER };
    } else if (first <= 0xcf) {
        *head = (struct head){ .kind = value <= INT64_MAX ? FIELD_INTEGER : FIELD_OTHER, .integer = (int64_t)value };
    } else if (first <= 0xd3) {
        *head = (struct head){ .kind = FIELD_INTEGER, .integer = sign_extend(value, size) };
    } else if (first <= 0xd8) {
        *head = (struct head){ .kind = FIELD_OTHER, .payload = ((uint64_t)1 << (first - 0xd4)) + 1 };
    } else if (first <= 0xdb) {
        *head = (struct head){ .kind = FIELD_TEXT, .payload = value };
    } else {
        *head = (struct head){ .kind = FIELD_OTHER, .children = first <= 0xdd ? value : 2 * value };
    }
    head->size = 1 + size;
}

/* 0, or -1: not an object, or cut off. */
static int read_head(const unsigned char *bytes, size_t length, struct head *head)
{
    if (length == 0)
        return -1;
    unsigned char first = bytes[0];
    if (first <= 0x7f || first >= 0xe0) {
        *head = (struct head){ .kind = FIELD_INTEGER, .size = 1, .integer = (int8_t)first };
    } else if (first <= 0x8f) {
        *head = (struct head){ .kind = FIELD_OTHER, .size = 1, .children = 2 * (uint64_t)(first & 0x0f) };
    } else if (first <= 0x9f) {
        *head = (struct head){ .kind = FIELD_OTHER, .size = 1, .children = first & 0x0f };
    } else if (first <= 0xbf) {
        *head = (struct head){ .kind = FIELD_TEXT, .size = 1, .payload = first & 0x1f };
    } else if (first == 0xc1) {
        return -1;
    } else if (first <= 0xc3) {
        *head = (struct head){ .kind = first == 0xc0 ? FIELD_NULL : first == 0xc2 ? FIELD_FALSE : FIELD_TRUE, .size = 1 };
    } else {
        size_t size = argument_size(first);
        if (length < 1 + size)
            return -1;
        read_argument(first, big_endian(bytes + 1, size), size, head);
    }
    return length - head->size < head->payload ? -1 : 0;
}

/* Reads one whole object into field; its children are stepped over. */
static int read_value(struct fields *fields, struct field *field)
{
    struct head head;
    const unsigned char *begin = fields->next;
    if (read_head(begin, (size_t)(fields->end - begin), &head) != 0)
        return -1;
    field->kind = head.kind;
    field->integer = head.integer;
    field->escaped = false;
    field->text = (struct span){ begin + head.size, (size_t)head.payload };
    fields->next = begin + head.size + head.payload;
    for (uint64_t left = head.children; left > 0; left--) {
        if (read_head(fields->next, (size_t)(fields->end - fields->next), &head) != 0)
            return -1;
        fields->next += head.size + head.payload;
        left += head.children; /* at most 2^33 each, and each costs a byte: no overflow */
    }
    field->whole_value = (struct span){ begin, (size_t)(fields->next - begin) };
    return 0;
}

int fields_begin_msgpack(struct fields *fields)
{
    size_t length = (size_t)(fields->end - fields->next);
    if (length == 0)
        return -1;
    unsigned char first = fields->next[0];
    size_t size = first == 0xde ? 2 : first == 0xdf ? 4 : 0;
    if (first >= 0x80 && first <= 0x8f)
        fields->left = first & 0x0f;
    else if (size > 0 && length > size)
        fields->left = (uint32_t)big_endian(fields->next + 1, size);
    else
        return -1;
    fields->next += 1 + size;
    return 0;
}

int fields_next_msgpack(struct fields *fields, struct field *field)
{
    const unsigned char *begin = fields->next;
    if (fields->left == 0)
        return fields->next == fields->end ? 0 : -1;
    fields->left--;
    if (read_value(fields, field) != 0 || field->kind != FIELD_TEXT)
        return -1;
    struct span key = field->text;
    if (read_value(fields, field) != 0)
        return -1;
    field->key = key;
    field->whole = (struct span){ begin, (size_t)(fields->next - begin) };
    return 1;
}
