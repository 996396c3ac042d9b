#include "server/http1_strict.h"

#include <string.h>
#include <strings.h>

#include "server/grammar.h"

/* RFC 9112, 2.2: a server ought to pass over an empty line or more before a request, of CR LF. A bare LF, or a bare CR, is none. */
uint16_t http1_strict_begin(struct http1_strict *strict, const unsigned char *bytes, size_t length, size_t *skipped)
{
    size_t i = 0;
    for (; i < length && !strict->begun; i++) {
        if (strict->in_line_end) {
            if (bytes[i] != '\n' || ++strict->empty_lines > STRICT_EMPTY_LINES)
                return 400;
            strict->in_line_end = false;
        } else if (bytes[i] == '\r') {
            strict->in_line_end = true;
        } else if (bytes[i] == '\n') {
            return 400;
        } else {
            strict->begun = true;
            break;
        }
    }
    *skipped = i;
    return 0;
}

/* RFC 9110, 9.1: a method is a token; 501 says that we do not know it. */
uint16_t http1_strict_method(struct http1_strict *strict, const unsigned char *bytes, size_t length)
{
    strict->unknown_method = true;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == ' ')
            return strict->method_length > 0 ? 501 : 400;
        if (!grammar_is_token_byte(bytes[i]) || ++strict->method_length > STRICT_METHOD)
            return 400;
    }
    return 0;
}

static bool is(const unsigned char *bytes, size_t length, const char *text)
{
    return length == strlen(text) && strncasecmp((const char *)bytes, text, length) == 0;
}

/* Gives the next element of a comma-separated list, without blanks around it; *at moves on. false at the list's end. */
static bool next_element(const unsigned char **at, const unsigned char *end, const unsigned char **element, size_t *length)
{
    while (*at < end && (**at == ' ' || **at == '\t' || **at == ','))
        ++*at;
    const unsigned char *start = *at;
    while (*at < end && **at != ',')
        ++*at;
    const unsigned char *stop = *at;
    while (stop > start && (stop[-1] == ' ' || stop[-1] == '\t'))
        stop--;
    *element = start;
    *length = (size_t)(stop - start);
    return stop > start;
}

static bool has_element(const unsigned char *value, size_t value_length, const char *text)
{
    const unsigned char *end = value + value_length, *element;
    size_t length;
    while (next_element(&value, end, &element, &length))
        if (is(element, length, text))
            return true;
    return false;
}

/* RFC 9110, 7.2 and RFC 9112, 3.2: one Host, and one that can be a host. */
static uint16_t judge_host(struct http1_strict *strict, const unsigned char *value, size_t length)
{
    if (strict->host || !grammar_is_host(value, length))
        return 400;
    strict->host = true;
    return 0;
}

/* RFC 9110, 10.1.1: 100-continue is the one expectation there is; 417 says that we cannot meet another. */
static uint16_t judge_expect(struct http1_strict *strict, const unsigned char *value, size_t value_length)
{
    const unsigned char *end = value + value_length, *element;
    size_t length;
    while (next_element(&value, end, &element, &length)) {
        if (is(element, length, "100-continue"))
            strict->expect_continue = true;
        else
            strict->expect_other = true;
    }
    return 0;
}

/* RFC 9110, 7.6.1: options are tokens, and never fields that are for everybody. An intermediary that takes the option at its word
 * removes the field, and what it sends on says something else than what it has read. */
static uint16_t judge_connection(struct http1_strict *strict, const unsigned char *value, size_t value_length)
{
    const unsigned char *end = value + value_length, *element;
    size_t length;
    while (next_element(&value, end, &element, &length)) {
        for (size_t i = 0; i < length; i++)
            if (!grammar_is_token_byte(element[i]))
                return 400;
        if (is(element, length, "close"))
            strict->close = true;
        else if (is(element, length, "keep-alive"))
            strict->keep_alive = true;
        else if (is(element, length, "upgrade"))
            strict->upgrade = true;
        else if (is(element, length, "host") || is(element, length, "content-length") || is(element, length, "transfer-encoding"))
            return 400;
    }
    return 0;
}

/* RFC 9112, 6.1 and 6.3: chunked alone is a coding that we have. "gzip, chunked" is one that we do not have; "chunked, gzip" is a body
 * without an end. */
static uint16_t judge_encoding(struct http1_strict *strict, const unsigned char *value, size_t length)
{
    static const char chunked[] = "chunked";
    size_t size = sizeof chunked - 1;
    if (strict->chunked)
        return 400;
    if (is(value, length, chunked)) {
        strict->chunked = true;
        return 0;
    }
    bool last = length >= size && is(value + length - size, size, chunked);
    return has_element(value, length, chunked) && !last ? 400 : 501;
}

/* Content-Length is llhttp's to judge: RFC 9112, 6.3. It takes digits alone, and refuses a second one, a list, an overflow, and one
 * beside chunked, in either order. */
uint16_t http1_strict_field(struct http1_strict *strict, const unsigned char *name, size_t name_length, const unsigned char *value,
                            size_t value_length)
{
    switch (name_length) {
    case 4:
        return is(name, name_length, "host") ? judge_host(strict, value, value_length) : 0;
    case 6:
        return is(name, name_length, "expect") ? judge_expect(strict, value, value_length) : 0;
    case 7:
        if (is(name, name_length, "upgrade") && has_element(value, value_length, "websocket"))
            strict->websocket = true;
        return 0;
    case 10:
        return is(name, name_length, "connection") ? judge_connection(strict, value, value_length) : 0;
    case 17:
        return is(name, name_length, "transfer-encoding") ? judge_encoding(strict, value, value_length) : 0;
    default:
        return 0;
    }
}

/* RFC 9112, 3.2.2: scheme, authority, path. RFC 9110, 4.2.1 and 4.2.4: the authority has a host and no user. */
static uint16_t judge_absolute(unsigned char *bytes, struct piece *target, struct piece *authority)
{
    const unsigned char *text = bytes + target->offset;
    uint32_t start = target->length > 7 && is(text, 7, "http://") ? 7 : target->length > 8 && is(text, 8, "https://") ? 8 : 0;
    uint32_t end = start;
    while (end < target->length && text[end] != '/' && text[end] != '?')
        end++;
    if (start == 0 || end == start || text[start] == ':' || !grammar_is_host(text + start, end - start) ||
        !grammar_is_path_and_query(text + end, target->length - end))
        return 400;
    *authority = (struct piece){ target->offset + start, end - start };
    target->offset += end;
    target->length -= end;
    if (target->length == 0 || bytes[target->offset] == '?') {
        /* Without a path it is "/": the authority makes room, where "//" was. */
        memmove(bytes + authority->offset - 1, bytes + authority->offset, authority->length);
        authority->offset--;
        target->offset--;
        target->length++;
        bytes[target->offset] = '/';
    }
    return 0;
}

/* RFC 9112, 3.2: the four forms; the authority-form is CONNECT's alone, which we do not have. */
uint16_t http1_strict_target(unsigned char *bytes, bool options, struct piece *target, struct piece *authority)
{
    const unsigned char *text = bytes + target->offset;
    *authority = (struct piece){ 0, 0 };
    if (target->length == 0)
        return 400;
    if (text[0] == '/')
        return grammar_is_path_and_query(text, target->length) ? 0 : 400;
    if (text[0] == '*')
        return target->length == 1 && options ? 0 : 400;
    return judge_absolute(bytes, target, authority);
}

uint16_t http1_strict_head(const struct http1_strict *strict, unsigned minor, bool chunked)
{
    /* RFC 9112, 3.2: Host is in every request from HTTP/1.1 on. 6.1: HTTP/1.0 has no Transfer-Encoding, and who sends one there has
     * been changed on the way. */
    if (minor >= 1 ? !strict->host : strict->chunked)
        return 400;
    /* RFC 9112, 6.3: whether there are chunks must be the same to all who read it, of us too. */
    if (strict->chunked != chunked)
        return 400;
    /* RFC 9110, 10.1.1: in HTTP/1.0 there are no expectations. */
    return strict->expect_other && minor >= 1 ? 417 : 0;
}

/* RFC 9112, 9.3. Proxy-Connection, which llhttp heeds, says nothing. */
bool http1_strict_keep_alive(const struct http1_strict *strict, unsigned minor)
{
    return !strict->close && (minor >= 1 || strict->keep_alive);
}
