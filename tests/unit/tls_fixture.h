/* tls_fixture.h: keys and certificates in files, made by each test program for itself, and a client of OpenSSL without a socket.
 *
 * Owner:   the test; files_make() … files_remove().
 * Thread:  the test's.
 * Limits:  PIPE bytes wait on the way to each side.
 */
#ifndef PENEUS_TESTS_TLS_FIXTURE_H
#define PENEUS_TESTS_TLS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "server/tls.h"
#include "server/tls_context.h"
#include "server/tls_info.h"

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
    char certificate_file[128];
    char key_file[128];
};

struct files {
    char directory[64];
    struct identity authority, server, other, client, stranger; /* stranger: signed by nobody whom we trust */
    char locked[128];  /* server's key, with the password "open" */
    char rubbish[128]; /* neither key nor certificate */
};

static inline void path_in(const struct files *files, char *path, const char *name)
{
    snprintf(path, 128, "%s/%s", files->directory, name);
}

static inline void add_extension(X509 *certificate, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* A certificate for name, signed by authority, or by itself where that is NULL. */
static inline void identity_make(const struct files *files, struct identity *made, const char *file, const char *name,
                                 const char *alternative, const struct identity *authority)
{
    static long serial;
    char leaf[32];
    made->key = EVP_EC_gen("P-256");
    X509 *certificate = made->certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, made->key);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"Tests", -1, -1, 0);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, authority != NULL ? X509_get_subject_name(authority->certificate) : subject);
    if (authority == NULL)
        add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    if (alternative != NULL)
        add_extension(certificate, NID_subject_alt_name, alternative);
    assert_true(X509_sign(certificate, authority != NULL ? authority->key : made->key, EVP_sha256()) > 0);
    snprintf(leaf, sizeof leaf, "%s.pem", file);
    path_in(files, made->certificate_file, leaf);
    snprintf(leaf, sizeof leaf, "%s.key", file);
    path_in(files, made->key_file, leaf);
    FILE *out = fopen(made->certificate_file, "w");
    assert_int_equal(PEM_write_X509(out, certificate), 1);
    fclose(out);
    out = fopen(made->key_file, "w");
    assert_int_equal(PEM_write_PrivateKey(out, made->key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(out);
}

static inline void files_make(struct files *files)
{
    memset(files, 0, sizeof *files);
    snprintf(files->directory, sizeof files->directory, "/tmp/peneus-tls-XXXXXX");
    assert_non_null(mkdtemp(files->directory));
    identity_make(files, &files->authority, "authority", "Authority", NULL, NULL);
    identity_make(files, &files->server, "server", "localhost", "DNS:localhost,IP:127.0.0.1", &files->authority);
    identity_make(files, &files->other, "other", "other.test", "DNS:other.test,DNS:*.wild.test", &files->authority);
    identity_make(files, &files->client, "client", "J\xc3\xbcrgen", NULL, &files->authority);
    identity_make(files, &files->stranger, "stranger", "Stranger", NULL, NULL);
    path_in(files, files->locked, "locked.key");
    FILE *out = fopen(files->locked, "w");
    assert_int_equal(PEM_write_PrivateKey(out, files->server.key, EVP_aes_128_cbc(), NULL, 0, NULL, (void *)"open"), 1);
    fclose(out);
    path_in(files, files->rubbish, "rubbish.pem");
    out = fopen(files->rubbish, "w");
    fputs("rubbish\n", out);
    fclose(out);
}

static inline void files_remove(struct files *files)
{
    struct identity *identities[] = { &files->authority, &files->server, &files->other, &files->client, &files->stranger };
    for (size_t i = 0; i < sizeof identities / sizeof identities[0]; i++) {
        unlink(identities[i]->certificate_file);
        unlink(identities[i]->key_file);
        EVP_PKEY_free(identities[i]->key);
        X509_free(identities[i]->certificate);
    }
    unlink(files->locked);
    unlink(files->rubbish);
    rmdir(files->directory);
}

/* A context with server's certificate, otherwise as spec says. */
static inline struct tls_context *context_make(const struct files *files, struct tls_spec spec)
{
    struct tls_identity_spec own = { .certificate = files->server.certificate_file, .key = files->server.key_file };
    struct tls_context *context = NULL;
    char error[512] = "";
    if (spec.identities == NULL) {
        spec.identities = &own;
        spec.identity_count = 1;
    }
    if (tls_context_create(&context, &spec, error, sizeof error) != TLS_OK)
        fail_msg("%s", error);
    return context;
}

/* A client that trusts authority. */
static inline SSL_CTX *client_context(const struct files *files, const struct identity *shown)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    assert_int_equal(SSL_CTX_load_verify_file(context, files->authority.certificate_file), 1);
    if (shown != NULL) {
        SSL_CTX_use_certificate(context, shown->certificate);
        SSL_CTX_use_PrivateKey(context, shown->key);
    }
    return context;
}

/* Both sides, and what is on its way between them. */
struct pair {
    struct tls *server;
    SSL *client;
    BIO *to_client, *from_client;
    enum tls_result result; /* of the server's last tls_read() */
    size_t got;
    unsigned char plain[256 * 1024]; /* what the server has read */
    bool client_failed;
};

static inline struct pair *pair_make(struct tls_context *context, SSL_CTX *client)
{
    struct pair *pair = calloc(1, sizeof *pair);
    pair->server = tls_create(context);
    pair->client = SSL_new(client);
    pair->to_client = BIO_new(BIO_s_mem());
    pair->from_client = BIO_new(BIO_s_mem());
    SSL_set_bio(pair->client, pair->to_client, pair->from_client);
    SSL_set_connect_state(pair->client);
    return pair;
}

static inline void pair_free(struct pair *pair)
{
    tls_destroy(pair->server);
    SSL_free(pair->client);
    free(pair);
}

static inline void to_server(struct pair *pair, const unsigned char *bytes, size_t length)
{
    if (tls_state(pair->server) == TLS_FAILED)
        return;
    tls_feed(pair->server, bytes, length);
    do {
        size_t got;
        pair->result = tls_read(pair->server, pair->plain + pair->got, sizeof pair->plain - pair->got, &got);
        pair->got += got;
    } while (pair->result == TLS_MORE && pair->got < sizeof pair->plain);
}

/* Carries what waits, step bytes at a time; whether anything did. */
static inline bool carry(struct pair *pair, size_t step)
{
    unsigned char bytes[16384];
    bool moved = false;
    int length;
    while ((length = BIO_read(pair->from_client, bytes, (int)(step < sizeof bytes ? step : sizeof bytes))) > 0) {
        to_server(pair, bytes, (size_t)length);
        moved = true;
    }
    struct buffer *output = tls_output(pair->server);
    if (buffer_length(output) > 0) {
        BIO_write(pair->to_client, buffer_bytes(output), (int)buffer_length(output));
        buffer_consume(output, buffer_length(output));
        buffer_deinit(output);
        moved = true;
    }
    return moved;
}

/* Until both are done, or one fails. */
static inline void shake(struct pair *pair, size_t step)
{
    bool moved = true;
    while (moved) {
        int result = SSL_do_handshake(pair->client);
        if (result != 1 && SSL_get_error(pair->client, result) != SSL_ERROR_WANT_READ)
            pair->client_failed = true;
        moved = carry(pair, step);
    }
    unsigned char none[1];
    if (SSL_is_init_finished(pair->client) && SSL_peek(pair->client, none, 0) < 0 && SSL_get_error(pair->client, -1) == SSL_ERROR_SSL)
        pair->client_failed = true;
    ERR_clear_error();
}

#endif
