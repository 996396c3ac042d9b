/* What comes in on a TLS connection. The first byte says where the input stands: instead of the handshake; behind a ClientHello;
 * or, encrypted, as what an honest client says, with records changed on the way. The second is the size of the pieces. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "server/tls.h"
#include "server/tls_context.h"
#include "server/tls_info.h"
#include "tests/fuzz/fuzz.h"

enum { MODES = 3, ROUNDS = 8, MOST = 1 << 16 };

static struct tls_context *context;
static SSL_CTX *client_context;

/* A key, and the certificate that it signs itself, in one file that is removed again. */
static void prepare(void)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    char file[] = "/tmp/peneus-fuzz-XXXXXX", error[200];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    FILE *out = fdopen(mkstemp(file), "w");
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    PEM_write_X509(out, certificate);
    PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    fclose(out);
    struct tls_identity_spec identity = { .certificate = file };
    struct tls_spec spec = { .identities = &identity, .identity_count = 1, .ca_file = file, .verify = TLS_VERIFY_OPTIONAL, .alpn = alpn,
                             .alpn_length = sizeof alpn - 1 };
    fuzz_require(tls_context_create(&context, &spec, error, sizeof error) == TLS_OK);
    unlink(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
    client_context = SSL_CTX_new(TLS_client_method());
}

/* Everything that can be read: what a connection does with what has come. False: nothing more will. */
static bool read_all(struct tls *tls, size_t *plain)
{
    unsigned char room[4096];
    size_t got;
    for (;;) {
        enum tls_result result = tls_read(tls, room, sizeof room, &got);
        fuzz_require(got <= sizeof room);
        fuzz_require(got == 0 || tls_state(tls) != TLS_HANDSHAKE);
        *plain += got;
        fuzz_require((result == TLS_BROKEN || result == TLS_PLAIN_HTTP) == (tls_state(tls) == TLS_FAILED));
        fuzz_require(result != TLS_BROKEN || tls_reason(tls) != NULL);
        fuzz_require(result != TLS_PLAIN_HTTP || buffer_length(tls_output(tls)) == 0);
        fuzz_require(buffer_length(tls_output(tls)) <= TLS_CHATTER_LIMIT + 2 * TLS_RECORD);
        if (result != TLS_MORE)
            return result == TLS_WAIT;
    }
}

static bool feed(struct tls *tls, const unsigned char *bytes, size_t length, size_t step, size_t *plain)
{
    for (size_t at = 0; at < length; at += step) {
        tls_feed(tls, bytes + at, step < length - at ? step : length - at);
        if (!read_all(tls, plain))
            return false;
    }
    return true;
}

static void take_output(struct tls *tls, SSL *client)
{
    struct buffer *output = tls_output(tls);
    BIO_write(SSL_get_rbio(client), buffer_bytes(output), (int)buffer_length(output));
    buffer_consume(output, buffer_length(output));
}

static SSL *client_create(void)
{
    SSL *client = SSL_new(client_context);
    SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(client);
    SSL_do_handshake(client);
    return client;
}

/* What client has to say. */
static size_t said(SSL *client, unsigned char *bytes)
{
    int length = BIO_read(SSL_get_wbio(client), bytes, MOST);
    return length > 0 ? (size_t)length : 0;
}

static bool shake_hands(struct tls *tls, SSL *client, unsigned char *room, size_t step)
{
    size_t plain = 0;
    for (unsigned i = 0; i < ROUNDS && !SSL_is_init_finished(client); i++) {
        if (!feed(tls, room, said(client, room), step, &plain))
            return false;
        take_output(tls, client);
        SSL_do_handshake(client);
    }
    return feed(tls, room, said(client, room), step, &plain) && tls_state(tls) == TLS_OPEN;
}

/* bytes arrive as they were sent, or, where the record was changed at `place`, not at all. */
static void speak(struct tls *tls, const uint8_t *bytes, size_t length, size_t step)
{
    static unsigned char room[MOST];
    SSL *client = client_create();
    fuzz_require(shake_hands(tls, client, room, step));
    fuzz_require(tls_info(tls) != NULL);
    size_t text = length / 2, plain = 0, record;
    if (text > 0)
        SSL_write(client, bytes, (int)(text < TLS_RECORD ? text : TLS_RECORD));
    record = said(client, room);
    bool changed = false;
    for (size_t at = text; at + 1 < length && record > 0; at += 2) {
        size_t place = bytes[at] * record / 256;
        room[place] ^= bytes[at + 1];
        changed = changed || bytes[at + 1] != 0;
    }
    bool open = feed(tls, room, record, step, &plain);
    if (!changed)
        fuzz_require(open && plain == (text < TLS_RECORD ? text : TLS_RECORD));
    if (open && tls_state(tls) == TLS_OPEN) {
        fuzz_require(tls_write(tls, "hello", 5) == 0);
        tls_close(tls);
        fuzz_require(tls_state(tls) == TLS_CLOSED);
    }
    SSL_free(client);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static unsigned char room[MOST];
    if (length < 2)
        return 0;
    if (context == NULL)
        prepare();
    struct tls *tls = tls_create(context);
    size_t step = 1 + bytes[1] * 8u, plain = 0;
    unsigned mode = bytes[0] % MODES;
    bytes += 2;
    length -= 2;
    if (mode == 2) {
        speak(tls, bytes, length, step);
    } else {
        bool open = true;
        if (mode == 1) {
            SSL *client = client_create();
            open = feed(tls, room, said(client, room), step, &plain);
            SSL_free(client);
        }
        if (open)
            feed(tls, bytes, length, step, &plain);
        fuzz_require(plain == 0 && tls_state(tls) != TLS_OPEN);
    }
    tls_destroy(tls);
    ERR_clear_error();
    return 0;
}
