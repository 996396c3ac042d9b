#include "server/trailers.h"

#include <string.h>
#include <strings.h>

#include "server/http1_parser.h"

static bool is_space(unsigned char byte)
{
    return byte == ' ' || byte == '\t';
}

/* A list of codings, each perhaps with parameters; "trailers" has none. */
static bool names_trailers(const unsigned char *value, size_t length)
{
    static const char word[] = "trailers";
    const unsigned char *end = value + length;
    while (value < end) {
        const unsigned char *comma = memchr(value, ',', (size_t)(end - value));
        const unsigned char *stop = comma != NULL ? comma : end;
        const unsigned char *next = comma != NULL ? comma + 1 : end;
        while (value < stop && is_space(*value))
            value++;
        while (stop > value && is_space(stop[-1]))
            stop--;
        if ((size_t)(stop - value) == sizeof word - 1 && strncasecmp((const char *)value, word, sizeof word - 1) == 0)
            return true;
        value = next;
    }
    return false;
}

bool trailers_are_taken(const struct http1_head *head)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        const unsigned char *name = head->bytes + field->name.offset;
        if (field->name.length == 2 && name[0] == 't' && name[1] == 'e' &&
            names_trailers(head->bytes + field->value.offset, field->value.length))
            return true;
    }
    return false;
}
