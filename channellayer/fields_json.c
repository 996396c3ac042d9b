/* The JSON half of fields.h. Source: RFC 8259. Numbers and words inside a value that is stepped over are not judged. */
#include "channellayer/fields_state.h"

#include <string.h>

static bool is_space(unsigned char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/* The next byte that is no white space; 0: there is none. */
static unsigned char peek(struct fields *fields)
{
    while (fields->next < fields->end && is_space(*fields->next))
        fields->next++;
    return fields->next < fields->end ? *fields->next : 0;
}

static bool take(struct fields *fields, unsigned char byte)
{
    if (peek(fields) != byte)
        return false;
    fields->next++;
    return true;
}

/* A string, at its opening quote: what is between the quotes. */
static int read_string(struct fields *fields, struct span *text, bool *escaped)
{
    const unsigned char *begin = fields->next + 1;
    *escaped = false;
    for (const unsigned char *at = begin; at < fields->end; at++) {
        if (*at == '"') {
            *text = (struct span){ begin, (size_t)(at - begin) };
            fields->next = at + 1;
            return 0;
        }
        if (*at < 0x20)
            return -1;
        if (*at == '\\') {
            *escaped = true;
            at++;
        }
    }
    return -1;
}

/* A list or map, at its bracket: steps over it. */
static int skip_nested(struct fields *fields)
{
    size_t depth = 0;
    struct span text;
    bool escaped;
    while (fields->next < fields->end) {
        unsigned char byte = *fields->next;
        if (byte == '"') {
            if (read_string(fields, &text, &escaped) != 0)
                return -1;
            continue;
        }
        fields->next++;
        if (byte == '[' || byte == '{')
            depth++;
        else if ((byte == ']' || byte == '}') && --depth == 0)
            return 0;
    }
    return -1;
}

static bool ends_word(unsigned char byte)
{
    return byte == ',' || byte == '}' || byte == ']' || is_space(byte);
}

static void read_integer(struct span word, struct field *field)
{
    bool negative = word.bytes[0] == '-';
    uint64_t value = 0;
    field->kind = FIELD_OTHER;
    if (word.length == (size_t)negative || word.length > 19)
        return;
    for (size_t i = negative; i < word.length; i++) {
        if (word.bytes[i] < '0' || word.bytes[i] > '9')
            return;
        value = value * 10 + (uint64_t)(word.bytes[i] - '0');
    }
    if (value > INT64_MAX)
        return;
    field->kind = FIELD_INTEGER;
    field->integer = negative ? -(int64_t)value : (int64_t)value;
}

static bool word_is(struct span word, const char *name)
{
    return word.length == strlen(name) && memcmp(word.bytes, name, word.length) == 0;
}

/* null, true, false, or a number. */
static int read_word(struct fields *fields, struct field *field)
{
    const unsigned char *begin = fields->next;
    while (fields->next < fields->end && !ends_word(*fields->next))
        fields->next++;
    struct span word = { begin, (size_t)(fields->next - begin) };
    if (word.length == 0)
        return -1;
    if (word_is(word, "null"))
        field->kind = FIELD_NULL;
    else if (word_is(word, "true"))
        field->kind = FIELD_TRUE;
    else if (word_is(word, "false"))
        field->kind = FIELD_FALSE;
    else
        read_integer(word, field);
    return 0;
}

static int read_value(struct fields *fields, struct field *field)
{
    unsigned char first = peek(fields);
    const unsigned char *begin = fields->next;
    int result;
    if (first == '"') {
        field->kind = FIELD_TEXT;
        result = read_string(fields, &field->text, &field->escaped);
    } else if (first == '[' || first == '{') {
        field->kind = FIELD_OTHER;
        result = skip_nested(fields);
    } else {
        result = read_word(fields, field);
    }
    field->whole_value = (struct span){ begin, (size_t)(fields->next - begin) };
    return result;
}

int fields_begin_json(struct fields *fields)
{
    return take(fields, '{') ? 0 : -1;
}

static int finish(struct fields *fields)
{
    return take(fields, '}') && peek(fields) == 0 && fields->next == fields->end ? 0 : -1;
}

int fields_next_json(struct fields *fields, struct field *field)
{
    if (peek(fields) == '}')
        return finish(fields);
    if (fields->begun && !take(fields, ','))
        return -1;
    fields->begun = true;
    bool escaped;
    if (peek(fields) != '"')
        return -1;
    const unsigned char *begin = fields->next;
    *field = (struct field){ 0 };
    if (read_string(fields, &field->key, &escaped) != 0 || !take(fields, ':') || read_value(fields, field) != 0)
        return -1;
    field->whole = (struct span){ begin, (size_t)(fields->next - begin) };
    return 1;
}

/* 16: no digit. */
static uint32_t digit_of(unsigned char byte)
{
    unsigned char lower = byte | 0x20;
    if (byte >= '0' && byte <= '9')
        return byte - (uint32_t)'0';
    return lower >= 'a' && lower <= 'f' ? lower - (uint32_t)'a' + 10 : 16;
}

static int hex4(const unsigned char *bytes, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t digit = digit_of(bytes[i]);
        if (digit == 16)
            return -1;
        *value = *value << 4 | digit;
    }
    return 0;
}

static size_t write_utf8(unsigned char *out, uint32_t point)
{
    if (point < 0x80) {
        out[0] = (unsigned char)point;
        return 1;
    }
    size_t length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = length - 1; i > 0; i--, point >>= 6)
        out[i] = (unsigned char)(0x80 | (point & 0x3f));
    out[0] = (unsigned char)(leads[length] | point);
    return length;
}

/* At the four digits of \u: the code point, of both halves where it is a pair, and how many bytes that took; 0: wrong. */
static size_t read_point(const unsigned char *bytes, size_t length, uint32_t *point)
{
    uint32_t low;
    if (length < 4 || hex4(bytes, point) != 0 || (*point >= 0xdc00 && *point <= 0xdfff))
        return 0;
    if (*point < 0xd800 || *point > 0xdbff)
        return 4;
    if (length < 10 || bytes[4] != '\\' || bytes[5] != 'u' || hex4(bytes + 6, &low) != 0 || low < 0xdc00 || low > 0xdfff)
        return 0;
    *point = 0x10000 + ((*point - 0xd800) << 10) + (low - 0xdc00);
    return 10;
}

long field_unescape(const struct field *field, unsigned char *out)
{
    static const char codes[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const unsigned char *at = field->text.bytes;
    const unsigned char *end = at + field->text.length;
    unsigned char *begin = out;
    while (at < end) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        at++; /* read_string() saw that a byte follows */
        if (*at == 'u') {
            uint32_t point;
            size_t taken = read_point(at + 1, (size_t)(end - at - 1), &point);
            if (taken == 0)
                return -1;
            at += 1 + taken;
            out += write_utf8(out, point);
            continue;
        }
        const char *code = *at != 0 ? strchr(codes, *at) : NULL;
        if (code == NULL)
            return -1;
        *out++ = (unsigned char)values[code - codes];
        at++;
    }
    return out - begin;
}
