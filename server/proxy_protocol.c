#include "server/proxy_protocol.h"

#include <string.h>

enum { V1_LIMIT = 107, V2_FIXED = 16, TLV_FIXED = 3, TLV_CRC32C = 0x03, TLV_SSL = 0x20, SSL_FIXED = 5, SSL_CLIENT = 0x01 };

static const unsigned char v2_signature[12] = { '\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n' };

static unsigned read16(const unsigned char *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

/* The word up to the next space, or to the end; moves *at behind the space. */
static size_t next_word(const char **at, const char *end, const char **word)
{
    *word = *at;
    const char *space = memchr(*at, ' ', (size_t)(end - *at));
    size_t length = (size_t)((space != NULL ? space : end) - *at);
    *at = space != NULL ? space + 1 : end;
    return length;
}

static int read_port(const char *word, size_t length, uint16_t *port)
{
    unsigned value = 0;
    if (length == 0 || length > 5 || (length > 1 && *word == '0'))
        return -1;
    for (size_t i = 0; i < length; i++) {
        if (word[i] < '0' || word[i] > '9')
            return -1;
        value = value * 10 + (unsigned)(word[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= 65535 ? 0 : -1;
}

/* "TCP4 192.0.2.1 192.0.2.2 1234 443": what stands behind "PROXY ". */
static enum proxy_result read_v1_line(const char *at, const char *end, struct proxy_header *header)
{
    const char *word;
    size_t length = next_word(&at, end, &word);
    if (length == 7 && memcmp(word, "UNKNOWN", 7) == 0)
        return PROXY_DONE;
    if (length != 4 || memcmp(word, "TCP", 3) != 0 || (word[3] != '4' && word[3] != '6'))
        return PROXY_BAD;
    bool v4 = word[3] == '4';
    struct address *addresses[2] = { &header->client, &header->server };
    uint16_t *ports[2] = { &header->client_port, &header->server_port };
    for (int i = 0; i < 2; i++) {
        length = next_word(&at, end, &word);
        if ((memchr(word, ':', length) == NULL) != v4 || address_parse(addresses[i], word, length) != 0)
            return PROXY_BAD;
    }
    for (int i = 0; i < 2; i++) {
        length = next_word(&at, end, &word);
        if (read_port(word, length, ports[i]) != 0)
            return PROXY_BAD;
    }
    if (at != end || at[-1] == ' ')
        return PROXY_BAD;
    header->has_addresses = true;
    return PROXY_DONE;
}

static enum proxy_result read_v1(const unsigned char *bytes, size_t length, struct proxy_header *header, size_t *taken)
{
    const char *text = (const char *)bytes;
    size_t looked = length < V1_LIMIT ? length : V1_LIMIT;
    if (memcmp(text, "PROXY ", looked < 6 ? looked : 6) != 0)
        return PROXY_BAD;
    const char *end = memchr(text, '\n', looked);
    if (end == NULL)
        return length < V1_LIMIT ? PROXY_MORE : PROXY_BAD;
    *taken = (size_t)(end - text) + 1;
    if (*taken < 8 || end[-1] != '\r')
        return PROXY_BAD;
    return read_v1_line(text + 6, end - 1, header);
}

/* RFC 3720's, of the header with zeros in place of the checksum, at skip. */
static uint32_t crc32c(const unsigned char *bytes, size_t length, size_t skip)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < length; i++) {
        crc ^= i >= skip && i < skip + 4 ? 0 : bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* What stands behind the addresses, from at on. */
static enum proxy_result read_tlvs(const unsigned char *bytes, size_t length, size_t at, struct proxy_header *header)
{
    bool checked = false;
    while (at < length) {
        if (length - at < TLV_FIXED)
            return PROXY_BAD;
        unsigned type = bytes[at], size = read16(bytes + at + 1);
        at += TLV_FIXED;
        if (size > length - at)
            return PROXY_BAD;
        if (type == TLV_CRC32C) {
            if (size != 4 || checked)
                return PROXY_BAD;
            uint32_t told = (uint32_t)read16(bytes + at) << 16 | read16(bytes + at + 2);
            if (told != crc32c(bytes, length, at))
                return PROXY_BAD;
            checked = true;
        } else if (type == TLV_SSL) {
            if (size < SSL_FIXED)
                return PROXY_BAD;
            header->secure = (bytes[at] & SSL_CLIENT) != 0;
        }
        at += size;
    }
    return PROXY_DONE;
}

/* The addresses of family, of length bytes at most; *used: how many they are. -1: there are too few. */
static int read_addresses(unsigned family, const unsigned char *at, size_t length, struct proxy_header *header, size_t *used)
{
    static const size_t sizes[] = { 0, 12, 36, 216 };
    *used = sizes[family];
    if (length < *used)
        return -1;
    if (family == 1) {
        header->client = address_from_v4(at);
        header->server = address_from_v4(at + 4);
    } else if (family == 2) {
        memcpy(header->client.bytes, at, ADDRESS_SIZE);
        memcpy(header->server.bytes, at + ADDRESS_SIZE, ADDRESS_SIZE);
    } else {
        return 0;
    }
    header->client_port = (uint16_t)read16(at + *used - 4);
    header->server_port = (uint16_t)read16(at + *used - 2);
    header->has_addresses = true;
    return 0;
}

static enum proxy_result read_v2(const unsigned char *bytes, size_t length, struct proxy_header *header, size_t *taken)
{
    size_t head = length < sizeof v2_signature ? length : sizeof v2_signature;
    if (memcmp(bytes, v2_signature, head) != 0 || (length > 12 && (bytes[12] & 0xf0) != 0x20))
        return PROXY_BAD;
    if (length < V2_FIXED)
        return PROXY_MORE;
    unsigned command = bytes[12] & 0x0f, family = bytes[13] >> 4, transport = bytes[13] & 0x0f;
    *taken = V2_FIXED + read16(bytes + 14);
    if (command > 1 || family > 3 || *taken > PROXY_LIMIT)
        return PROXY_BAD;
    if (command == 1 && family != 0 && transport != 1)
        return PROXY_BAD; /* no stream */
    if (length < *taken)
        return PROXY_MORE;
    if (command == 0 || family == 0)
        return PROXY_DONE; /* LOCAL, or unspecified: what follows is skipped */
    size_t used;
    if (read_addresses(family, bytes + V2_FIXED, *taken - V2_FIXED, header, &used) != 0)
        return PROXY_BAD;
    return read_tlvs(bytes, *taken, V2_FIXED + used, header);
}

enum proxy_result proxy_read(const unsigned char *bytes, size_t length, struct proxy_header *header, size_t *taken)
{
    memset(header, 0, sizeof *header);
    if (length == 0)
        return PROXY_MORE;
    return bytes[0] == v2_signature[0] ? read_v2(bytes, length, header, taken) : read_v1(bytes, length, header, taken);
}
