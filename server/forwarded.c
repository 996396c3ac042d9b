#include "server/forwarded.h"

#include <string.h>
#include <strings.h>

#include "server/node.h"
#include "server/trust.h"

/* The elements of a header's lists, the last one first; empty ones are passed over. */
struct walk {
    const unsigned char *bytes;
    const struct field *fields;
    uint32_t left;   /* fields not looked at yet */
    const char *name;
    bool quotes;     /* commas in quoted strings do not separate */
    struct text line; /* what is left of the present one */
};

static struct walk walk_of(const unsigned char *bytes, const struct field *fields, uint32_t count, const char *name, bool quotes)
{
    return (struct walk){ .bytes = bytes, .fields = fields, .left = name != NULL ? count : 0, .name = name, .quotes = quotes };
}

static struct text trimmed(struct text text)
{
    while (text.length > 0 && (*text.at == ' ' || *text.at == '\t')) {
        text.at++;
        text.length--;
    }
    while (text.length > 0 && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t'))
        text.length--;
    return text;
}

static bool is_escaped(struct text line, size_t place)
{
    size_t slashes = 0;
    while (slashes < place && line.at[place - 1 - slashes] == '\\')
        slashes++;
    return slashes % 2 == 1;
}

/* Where the last element of line begins. From the right: what a client has written, such as a quote that never ends, cannot swallow
 * what the proxy has put behind it. */
static size_t last_element(struct text line, bool quotes)
{
    bool quoted = false;
    for (size_t i = line.length; i > 0; i--) {
        char c = line.at[i - 1];
        if (quotes && c == '"' && !is_escaped(line, i - 1))
            quoted = !quoted;
        else if (c == ',' && !quoted)
            return i;
    }
    return 0;
}

/* The line before the present one. False: there is none. */
static bool previous_line(struct walk *walk)
{
    size_t length = walk->left > 0 ? strlen(walk->name) : 0;
    while (walk->left > 0) {
        const struct field *field = &walk->fields[--walk->left];
        if (field->name.length != length || memcmp(walk->bytes + field->name.offset, walk->name, length) != 0)
            continue;
        walk->line = (struct text){ (const char *)walk->bytes + field->value.offset, field->value.length };
        return true;
    }
    return false;
}

static bool previous(struct walk *walk, struct text *element)
{
    do {
        while (walk->line.length == 0)
            if (!previous_line(walk))
                return false;
        size_t begin = last_element(walk->line, walk->quotes);
        *element = trimmed((struct text){ walk->line.at + begin, walk->line.length - begin });
        walk->line.length = begin > 0 ? begin - 1 : 0;
    } while (element->length == 0);
    return true;
}

static bool read_scheme(struct text text, enum forwarded_scheme *scheme)
{
    static const struct {
        const char *name;
        enum forwarded_scheme scheme;
    } names[] = { { "http", FORWARDED_HTTP }, { "https", FORWARDED_HTTPS }, { "ws", FORWARDED_HTTP }, { "wss", FORWARDED_HTTPS } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (text.length == strlen(names[i].name) && strncasecmp(text.at, names[i].name, text.length) == 0) {
            *scheme = names[i].scheme;
            return true;
        }
    }
    return false;
}

static void set_host(struct forwarded *forwarded, struct text text)
{
    if (node_is_host(text)) {
        forwarded->host = (const unsigned char *)text.at;
        forwarded->host_length = text.length;
    } else {
        forwarded->malformed++;
    }
}

/* The value that belongs to the hop (from 1, the nearest) whose address counts: where the header has one for each of them, that; else
 * the last, which is the nearest proxy's. False: there is none. */
static bool value_of_hop(struct walk walk, unsigned hop, unsigned hops, struct text *value)
{
    struct walk counting = walk;
    struct text ignored;
    unsigned count = 0;
    while (previous(&counting, &ignored))
        count++;
    for (unsigned left = count == hops && hop > 0 ? hop : 1; left > 0; left--)
        if (!previous(&walk, value))
            return false;
    return true;
}

static void read_addresses(struct walk walk, const struct trust *trust, struct forwarded *forwarded, unsigned *hop)
{
    struct text element;
    struct address address;
    uint16_t port;
    for (*hop = 0; previous(&walk, &element); ) {
        enum node node = node_read(element, &address, &port);
        forwarded->malformed += node == NODE_BAD;
        if (node != NODE_ADDRESS)
            return;
        ++*hop;
        forwarded->has_client = true;
        forwarded->client = address;
        forwarded->port = port;
        if (!trust_has(trust, &address))
            return;
    }
}

static void read_x_forwarded(const struct forwarded_rules *rules, const struct trust *trust, const unsigned char *bytes,
                             const struct field *fields, uint32_t count, struct forwarded *forwarded)
{
    struct walk addresses = walk_of(bytes, fields, count, rules->address, false);
    struct text value;
    unsigned hop = 0, hops = 0;
    read_addresses(addresses, trust, forwarded, &hop);
    while (previous(&addresses, &value))
        hops++;
    if (value_of_hop(walk_of(bytes, fields, count, rules->proto, false), hop, hops, &value))
        forwarded->malformed += !read_scheme(value, &forwarded->scheme);
    if (value_of_hop(walk_of(bytes, fields, count, rules->host, false), hop, hops, &value))
        set_host(forwarded, value);
    /* A port counts only with an address, else the two might not belong together. */
    if (forwarded->has_client && forwarded->port == 0 &&
        value_of_hop(walk_of(bytes, fields, count, rules->port, false), hop, hops, &value)) {
        if (!node_port(value, &forwarded->port)) {
            forwarded->port = 0;
            forwarded->malformed++;
        }
    }
}

/* One element of Forwarded: its parameters that count. */
struct element {
    struct text node, proto, host; /* at NULL: it has none */
};

static bool is_token(char c)
{
    return c > ' ' && c < 127 && memchr("\"(),/:;<=>?@[\\]{}", c, 17) == NULL;
}

/* A token, or what is in a quoted string, which may have no escapes; moves *at behind it. */
static bool read_value(const char **at, const char *end, struct text *value)
{
    if (*at < end && **at == '"') {
        const char *close = memchr(*at + 1, '"', (size_t)(end - *at) - 1);
        if (close == NULL)
            return false;
        *value = (struct text){ *at + 1, (size_t)(close - *at) - 1 };
        *at = close + 1;
        return memchr(value->at, '\\', value->length) == NULL;
    }
    value->at = *at;
    while (*at < end && is_token(**at))
        ++*at;
    value->length = (size_t)(*at - value->at);
    return value->length > 0;
}

static struct text *parameter(struct element *element, const char *name, size_t length)
{
    if (length == 3 && strncasecmp(name, "for", 3) == 0)
        return &element->node;
    if (length == 5 && strncasecmp(name, "proto", 5) == 0)
        return &element->proto;
    return length == 4 && strncasecmp(name, "host", 4) == 0 ? &element->host : NULL;
}

/* RFC 7239, 4: pairs between semicolons; no parameter twice. */
static bool read_element(struct text text, struct element *element)
{
    const char *at = text.at, *end = text.at + text.length;
    *element = (struct element){ { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
    while (at < end) {
        const char *name = at;
        struct text value;
        while (at < end && is_token(*at))
            at++;
        struct text *wanted = parameter(element, name, (size_t)(at - name));
        if (at == name || at == end || *at++ != '=' || !read_value(&at, end, &value))
            return false;
        if (wanted != NULL && wanted->at != NULL)
            return false;
        if (wanted != NULL)
            *wanted = value;
        if (at < end && (*at++ != ';' || at == end))
            return false;
    }
    return true;
}

/* What one proxy says, true where all to the right of it are trusted. False: who it was spoken to from is not said. */
static bool take_element(const struct element *element, struct forwarded *forwarded)
{
    struct address address;
    uint16_t port;
    forwarded->scheme = FORWARDED_SAME;
    forwarded->host = NULL;
    if (element->proto.at != NULL)
        forwarded->malformed += !read_scheme(element->proto, &forwarded->scheme);
    if (element->host.at != NULL)
        set_host(forwarded, element->host);
    if (element->node.at == NULL)
        return false;
    enum node node = node_read(element->node, &address, &port);
    forwarded->malformed += node == NODE_BAD;
    if (node != NODE_ADDRESS)
        return false;
    forwarded->has_client = true;
    forwarded->client = address;
    forwarded->port = port;
    return true;
}

static void read_standard(struct walk walk, const struct trust *trust, struct forwarded *forwarded)
{
    struct element element;
    struct text text;
    while (previous(&walk, &text)) {
        if (!read_element(text, &element)) {
            forwarded->malformed++;
            return;
        }
        if (!take_element(&element, forwarded) || !trust_has(trust, &forwarded->client))
            return;
    }
}

void forwarded_read(const struct forwarded_rules *rules, const struct trust *trust, const unsigned char *bytes,
                    const struct field *fields, uint32_t count, struct forwarded *forwarded)
{
    *forwarded = (struct forwarded){ .scheme = FORWARDED_SAME };
    if (rules->standard != NULL)
        read_standard(walk_of(bytes, fields, count, rules->standard, true), trust, forwarded);
    else
        read_x_forwarded(rules, trust, bytes, fields, count, forwarded);
}
