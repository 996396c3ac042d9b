#include "channellayer/fields_state.h"

#include <string.h>

int fields_begin(struct fields *fields, bool json, const void *bytes, size_t length)
{
    *fields = (struct fields){ .json = json, .next = bytes, .end = (const unsigned char *)bytes + length };
    return json ? fields_begin_json(fields) : fields_begin_msgpack(fields);
}

int fields_next(struct fields *fields, struct field *field)
{
    return fields->json ? fields_next_json(fields, field) : fields_next_msgpack(fields, field);
}

bool field_is(const struct field *field, const char *name)
{
    return field->key.length == strlen(name) && memcmp(field->key.bytes, name, field->key.length) == 0;
}
