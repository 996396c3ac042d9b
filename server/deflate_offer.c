#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/deflate.h"

/* Where reading has come in the header's value. */
struct reader {
    const unsigned char *at;
    const unsigned char *end;
};

struct word {
    const unsigned char *bytes;
    size_t length;
};

enum { VALUE_SIZE = 4 }; /* of a parameter that we know, at most two digits */

static bool is_token_byte(unsigned char byte)
{
    if ((byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z'))
        return true;
    return byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t'))
        reader->at++;
}

/* Space, byte, space: true, and they are behind us; otherwise only the space in front is. */
static bool take_byte(struct reader *reader, unsigned char byte)
{
    skip_space(reader);
    if (reader->at == reader->end || *reader->at != byte)
        return false;
    reader->at++;
    skip_space(reader);
    return true;
}

static bool take_token(struct reader *reader, struct word *token)
{
    token->bytes = reader->at;
    while (reader->at < reader->end && is_token_byte(*reader->at))
        reader->at++;
    token->length = (size_t)(reader->at - token->bytes);
    return token->length > 0;
}

static bool is_word(const struct word *word, const char *text)
{
    return word->length == strlen(text) && strncasecmp((const char *)word->bytes, text, word->length) == 0;
}

/* A token, or a quoted string of a token (RFC 6455, 9.1); of one longer than VALUE_SIZE the rest is lost, which is no number any more. */
static bool take_value(struct reader *reader, char *value, size_t *length)
{
    bool quoted = reader->at < reader->end && *reader->at == '"';
    *length = 0;
    if (quoted)
        reader->at++;
    for (; reader->at < reader->end; reader->at++) {
        if (quoted && *reader->at == '\\' && ++reader->at == reader->end)
            return false;
        if (!is_token_byte(*reader->at))
            break;
        if (*length < VALUE_SIZE)
            value[(*length)++] = (char)*reader->at;
    }
    if (quoted && (reader->at == reader->end || *reader->at++ != '"'))
        return false;
    return *length > 0;
}

/* 8 to 15, without leading zeros; 0 otherwise. */
static unsigned char read_bits(const char *value, size_t length)
{
    if (length == 1 && (value[0] == '8' || value[0] == '9'))
        return (unsigned char)(value[0] - '0');
    if (length == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '5')
        return (unsigned char)(10 + value[1] - '0');
    return 0;
}

struct offer {
    bool good;
    bool server_no_takeover, client_no_takeover, has_server_bits, has_client_bits;
    unsigned char server_bits, client_bits;
};

/* length 0: without a value. */
static bool read_parameter(struct offer *offer, const struct word *name, const char *value, size_t length)
{
    bool *seen;
    if (is_word(name, "server_no_context_takeover"))
        seen = &offer->server_no_takeover;
    else if (is_word(name, "client_no_context_takeover"))
        seen = &offer->client_no_takeover;
    else if (is_word(name, "server_max_window_bits"))
        seen = &offer->has_server_bits;
    else if (is_word(name, "client_max_window_bits"))
        seen = &offer->has_client_bits;
    else
        return false;
    if (*seen)
        return false;
    *seen = true;
    if (seen == &offer->has_server_bits)
        return (offer->server_bits = read_bits(value, length)) != 0;
    if (seen == &offer->has_client_bits)
        return length == 0 || (offer->client_bits = read_bits(value, length)) != 0;
    return length == 0;
}

static unsigned char least(unsigned a, unsigned b)
{
    return (unsigned char)(a < b ? a : b);
}

static void agree(const struct offer *offer, const struct server_settings *settings, struct deflate_terms *terms)
{
    if (!offer->good || offer->server_bits == 8 || terms->agreed || !settings->websocket_deflate)
        return;
    *terms = (struct deflate_terms){
        .agreed = true,
        .server_takeover = settings->websocket_deflate_takeover && !offer->server_no_takeover,
        .client_takeover = settings->websocket_deflate_takeover && !offer->client_no_takeover,
        .tell_server_bits = offer->has_server_bits,
        .tell_client_bits = offer->has_client_bits,
        .server_bits = least(settings->websocket_deflate_window_bits, offer->server_bits != 0 ? offer->server_bits : DEFLATE_MOST_BITS),
        .client_bits = DEFLATE_MOST_BITS,
    };
    if (offer->has_client_bits)
        terms->client_bits = least(settings->websocket_deflate_window_bits, offer->client_bits != 0 ? offer->client_bits : DEFLATE_MOST_BITS);
}

/* One element of the list. */
static int read_extension(struct reader *reader, const struct server_settings *settings, struct deflate_terms *terms)
{
    struct offer offer = { 0 };
    struct word name;
    if (!take_token(reader, &name))
        return -1;
    offer.good = is_word(&name, "permessage-deflate");
    while (take_byte(reader, ';')) {
        char value[VALUE_SIZE];
        size_t length = 0;
        if (!take_token(reader, &name) || (take_byte(reader, '=') && !take_value(reader, value, &length)))
            return -1;
        if (offer.good)
            offer.good = read_parameter(&offer, &name, value, length);
    }
    agree(&offer, settings, terms);
    return 0;
}

int deflate_offer(const unsigned char *value, size_t length, const struct server_settings *settings, struct deflate_terms *terms)
{
    struct reader reader = { value, value + length };
    skip_space(&reader);
    while (reader.at < reader.end) {
        if (take_byte(&reader, ',')) /* an empty element: RFC 9110, 5.6.1.2 */
            continue;
        if (read_extension(&reader, settings, terms) != 0)
            return -1;
        if (reader.at < reader.end && !take_byte(&reader, ','))
            return -1;
    }
    return 0;
}

void deflate_answer(const struct deflate_terms *terms, char answer[DEFLATE_ANSWER_SIZE])
{
    char server_bits[32] = "", client_bits[32] = "";
    if (terms->tell_server_bits || terms->server_bits < DEFLATE_MOST_BITS)
        snprintf(server_bits, sizeof server_bits, "; server_max_window_bits=%d", terms->server_bits);
    if (terms->tell_client_bits)
        snprintf(client_bits, sizeof client_bits, "; client_max_window_bits=%d", terms->client_bits);
    snprintf(answer, DEFLATE_ANSWER_SIZE, "permessage-deflate%s%s%s%s", terms->server_takeover ? "" : "; server_no_context_takeover",
             terms->client_takeover ? "" : "; client_no_context_takeover", server_bits, client_bits);
}
