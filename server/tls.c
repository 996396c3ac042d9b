#include "server/tls.h"

#include <assert.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "server/tls_context.h"
#include "server/tls_info.h"

struct tls {
    enum tls_state state;
    bool begun;      /* something has come in */
    const char *reason;
    SSL *ssl;
    struct tls_context *context;
    struct tls_info *info;
    const unsigned char *input;
    size_t input_left;
    struct buffer output;
};

static void set_state(struct tls *tls, enum tls_state state)
{
    assert(state > tls->state);
    tls->state = state;
}

/* The BIO through which OpenSSL sees the input and the output; unlike its own memory BIO it holds nothing while all is idle. */

static int bio_read(BIO *bio, char *bytes, size_t size, size_t *got)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *got = size < tls->input_left ? size : tls->input_left;
    if (*got == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(bytes, tls->input, *got);
    tls->input += *got;
    tls->input_left -= *got;
    return 1;
}

static int bio_write(BIO *bio, const char *bytes, size_t length, size_t *written)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *written = 0;
    if (buffer_append(&tls->output, bytes, length) != 0)
        return 0;
    *written = length;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* that is done; nothing else is known here */
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "peneus connection");
    if (method == NULL)
        return;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
}

static BIO *make_bio(struct tls *tls)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *bio = method != NULL ? BIO_new(method) : NULL;
    if (bio == NULL)
        return NULL;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    return bio;
}

struct tls *tls_create(struct tls_context *context)
{
    struct tls *tls = mem_zalloc(sizeof *tls);
    tls->context = tls_context_retain(context);
    buffer_init(&tls->output);
    tls->ssl = tls_context_open(context);
    BIO *bio = tls->ssl != NULL ? make_bio(tls) : NULL;
    if (bio == NULL) {
        tls_destroy(tls);
        return NULL;
    }
    SSL_set_bio(tls->ssl, bio, bio); /* takes it over */
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void tls_destroy(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    tls_info_release(tls->info);
    tls_context_release(tls->context);
    buffer_deinit(&tls->output);
    mem_free(tls);
}

enum tls_state tls_state(const struct tls *tls)
{
    return tls->state;
}

const char *tls_reason(const struct tls *tls)
{
    return tls->reason;
}

void tls_feed(struct tls *tls, const unsigned char *bytes, size_t length)
{
    assert(tls->input_left == 0 || tls->state == TLS_FAILED);
    tls->input = bytes;
    tls->input_left = length;
}

static enum tls_result fail(struct tls *tls, const char *reason)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());
    tls->reason = reason != NULL ? reason : text != NULL ? text : "unexpected bytes";
    ERR_clear_error();
    tls->input_left = 0;
    set_state(tls, TLS_FAILED);
    return TLS_BROKEN;
}

/* No TLS record begins with a letter, and every HTTP request does. */
static bool is_plain_http(struct tls *tls)
{
    if (tls->begun || tls->input_left == 0)
        return false;
    tls->begun = true;
    unsigned char first = tls->input[0];
    return first >= 'A' && first <= 'Z';
}

static enum tls_result shake_hands(struct tls *tls)
{
    if (is_plain_http(tls)) {
        fail(tls, "a plain HTTP request");
        return TLS_PLAIN_HTTP;
    }
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        tls->info = tls_info_create(tls->context, tls->ssl);
        if (tls->info == NULL)
            return fail(tls, "no memory");
        set_state(tls, TLS_OPEN);
        return TLS_MORE;
    }
    return SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ ? TLS_WAIT : fail(tls, NULL);
}

enum tls_result tls_read(struct tls *tls, unsigned char *plain, size_t size, size_t *got)
{
    *got = 0;
    if (tls->state == TLS_FAILED)
        return TLS_BROKEN;
    if (tls->state == TLS_HANDSHAKE)
        return shake_hands(tls);
    while (*got < size) {
        size_t part;
        ERR_clear_error();
        int result = SSL_read_ex(tls->ssl, plain + *got, size - *got, &part);
        if (result == 1) {
            *got += part;
            continue;
        }
        switch (SSL_get_error(tls->ssl, result)) {
        case SSL_ERROR_WANT_READ:
            return buffer_length(&tls->output) > TLS_CHATTER_LIMIT ? fail(tls, "answers that are not read") : TLS_WAIT;
        case SSL_ERROR_ZERO_RETURN:
            tls->input_left = 0;
            return TLS_ENDED;
        default:
            return fail(tls, NULL);
        }
    }
    return TLS_MORE;
}

int tls_write(struct tls *tls, const void *bytes, size_t length)
{
    size_t written;
    assert(tls->state == TLS_OPEN && length > 0);
    ERR_clear_error();
    if (SSL_write_ex(tls->ssl, bytes, length, &written) == 1) {
        assert(written == length);
        return 0;
    }
    fail(tls, NULL);
    return -1;
}

void tls_close(struct tls *tls)
{
    assert(tls->state == TLS_OPEN);
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
    set_state(tls, TLS_CLOSED);
}

struct buffer *tls_output(struct tls *tls)
{
    return &tls->output;
}

struct tls_info *tls_info(const struct tls *tls)
{
    return tls->info;
}

const char *tls_protocol(const struct tls *tls, size_t *length)
{
    const unsigned char *protocol;
    unsigned size;
    SSL_get0_alpn_selected(tls->ssl, &protocol, &size);
    *length = size;
    return (const char *)protocol;
}
