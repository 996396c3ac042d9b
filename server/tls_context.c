#include "server/tls_context.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

struct tls_identity {
    SSL_CTX *ssl;
    char *pem; /* its leaf, NUL-terminated */
};

struct tls_context {
    atomic_uint references;
    struct tls_tickets *tickets;
    unsigned char *alpn;
    size_t alpn_length;
    size_t count;
    struct tls_identity identities[];
};

/* What is being read, for sentences. */
struct reading {
    char *error;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static enum tls_problem complain(const struct reading *reading, enum tls_problem problem,
                                                                       const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reading->error, reading->size, format, arguments);
    va_end(arguments);
    ERR_clear_error();
    return problem;
}

/* OpenSSL's reason, or the system's. */
static const char *reason(void)
{
    unsigned long error = ERR_peek_last_error();
    if (error != 0 && ERR_SYSTEM_ERROR(error))
        return strerror(ERR_GET_REASON(error));
    const char *text = error != 0 ? ERR_reason_error_string(error) : NULL;
    return text != NULL ? text : "OpenSSL does not say why";
}

static BIO *open_file(const char *path)
{
    ERR_clear_error();
    return BIO_new_file(path, "r");
}

/* Why path could not be opened: the first error, as later ones only repeat it. */
static const char *open_reason(void)
{
    unsigned long error = ERR_peek_error();
    return ERR_SYSTEM_ERROR(error) ? strerror(ERR_GET_REASON(error)) : reason();
}

/* A password that is asked for; it must never be asked of the terminal. */
struct password {
    const char *text;
    bool asked;
};

static int give_password(char *buffer, int size, int writing, void *argument)
{
    struct password *password = argument;
    (void)writing;
    password->asked = true;
    size_t length = password->text != NULL ? strlen(password->text) : 0;
    if (password->text == NULL || length > (size_t)size)
        return -1;
    memcpy(buffer, password->text, length);
    return (int)length;
}

/* Reads the certificates of path: the first as the leaf, where leaf says so, the others as its chain. */
static enum tls_problem read_certificates(SSL_CTX *ssl, const char *path, bool leaf, const struct reading *reading)
{
    enum tls_problem bad = leaf ? TLS_BAD_CERTIFICATE : TLS_BAD_CHAIN;
    struct password none = { 0 };
    BIO *file = open_file(path);
    if (file == NULL)
        return complain(reading, bad, "the file %s cannot be read: %s", path, open_reason());
    enum tls_problem result = TLS_OK;
    int found = 0;
    X509 *certificate;
    while (result == TLS_OK && (certificate = PEM_read_bio_X509_AUX(file, NULL, give_password, &none)) != NULL) {
        if (leaf && found == 0) {
            if (SSL_CTX_use_certificate(ssl, certificate) != 1)
                result = complain(reading, bad, "the certificate in %s cannot be used: %s", path, reason());
            X509_free(certificate);
        } else if (SSL_CTX_add0_chain_cert(ssl, certificate) != 1) {
            X509_free(certificate);
            result = complain(reading, bad, "the certificate chain in %s cannot be used: %s", path, reason());
        }
        found++;
    }
    BIO_free(file);
    if (result != TLS_OK)
        return result;
    unsigned long error = ERR_peek_last_error();
    if (found == 0)
        return complain(reading, bad, "the file %s has no certificate in PEM", path);
    if (ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
        return complain(reading, bad, "the file %s is damaged: %s", path, reason());
    ERR_clear_error();
    return TLS_OK;
}

static enum tls_problem read_key(SSL_CTX *ssl, const struct tls_identity_spec *spec, const struct reading *reading)
{
    const char *path = spec->key != NULL ? spec->key : spec->certificate;
    struct password password = { spec->password, false };
    BIO *file = open_file(path);
    if (file == NULL)
        return complain(reading, TLS_BAD_KEY, "the file %s cannot be read: %s", path, open_reason());
    EVP_PKEY *key = PEM_read_bio_PrivateKey(file, NULL, give_password, &password);
    BIO_free(file);
    if (key == NULL && password.asked)
        return complain(reading, TLS_BAD_PASSWORD, "the key in %s is encrypted, and %s", path,
                        spec->password == NULL ? "no password is given" : "the password does not open it");
    if (key == NULL)
        return complain(reading, TLS_BAD_KEY, "the file %s has no private key in PEM", path);
    int used = SSL_CTX_use_PrivateKey(ssl, key);
    EVP_PKEY_free(key);
    if (used != 1 || SSL_CTX_check_private_key(ssl) != 1)
        return complain(reading, TLS_BAD_KEY, "the key in %s is not that of the certificate in %s", path, spec->certificate);
    return TLS_OK;
}

static enum tls_problem read_clients(SSL_CTX *ssl, const struct tls_spec *spec, const struct reading *reading)
{
    static const int modes[] = {
        [TLS_VERIFY_NONE] = SSL_VERIFY_NONE,
        [TLS_VERIFY_OPTIONAL] = SSL_VERIFY_PEER,
        [TLS_VERIFY_REQUIRED] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };
    SSL_CTX_set_verify(ssl, modes[spec->verify], NULL);
    if (spec->verify != TLS_VERIFY_NONE) {
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ssl, 0);
    }
    if (spec->ca_file == NULL && spec->ca_directory == NULL) {
        if (spec->verify != TLS_VERIFY_NONE)
            return complain(reading, TLS_BAD_CA, "client certificates are asked for, but nobody is named whose they have to be");
        return TLS_OK;
    }
    ERR_clear_error();
    if (spec->ca_file != NULL) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(spec->ca_file); /* clients are told whom we trust */
        if (names == NULL || SSL_CTX_load_verify_file(ssl, spec->ca_file) != 1) {
            sk_X509_NAME_pop_free(names, X509_NAME_free);
            return complain(reading, TLS_BAD_CA, "the certificates in %s cannot be read: %s", spec->ca_file, open_reason());
        }
        SSL_CTX_set_client_CA_list(ssl, names);
    }
    if (spec->ca_directory != NULL) {
        BIO *entry = BIO_new_file(spec->ca_directory, "r"); /* it is opened only when somebody comes: is it there? */
        BIO_free(entry);
        if (entry == NULL || SSL_CTX_load_verify_dir(ssl, spec->ca_directory) != 1)
            return complain(reading, TLS_BAD_CA, "the directory %s cannot be read: %s", spec->ca_directory, open_reason());
    }
    return TLS_OK;
}

/* Those of list that begin, or do not begin, with TLS_. NULL when there is no memory. */
static char *pick(const char *list, bool modern)
{
    char *picked = mem_try_alloc(strlen(list) + 2);
    size_t length = 0;
    if (picked == NULL)
        return NULL;
    while (*list != '\0') {
        size_t part = strcspn(list, ":, ");
        if (part > 0 && (strncmp(list, "TLS_", 4) == 0) == modern) {
            memcpy(picked + length, list, part);
            length += part;
            picked[length++] = ':';
        }
        list += part;
        list += *list != '\0';
    }
    picked[length > 0 ? length - 1 : 0] = '\0';
    return picked;
}

static enum tls_problem set_ciphers(SSL_CTX *ssl, const char *list, const struct reading *reading)
{
    if (list == NULL)
        return TLS_OK;
    char *old = pick(list, false);
    char *modern = pick(list, true);
    enum tls_problem result = TLS_OK;
    ERR_clear_error();
    if (old == NULL || modern == NULL)
        result = TLS_NO_MEMORY;
    else if ((old[0] == '\0' && modern[0] == '\0') || (old[0] != '\0' && SSL_CTX_set_cipher_list(ssl, old) != 1) ||
             (modern[0] != '\0' && SSL_CTX_set_ciphersuites(ssl, modern) != 1))
        result = complain(reading, TLS_BAD_CIPHERS, "OpenSSL knows no cipher that '%s' means", list);
    mem_free(old);
    mem_free(modern);
    return result;
}

static enum tls_problem set_dh(SSL_CTX *ssl, const char *path, const struct reading *reading)
{
    if (path == NULL) {
        SSL_CTX_set_dh_auto(ssl, 1);
        return TLS_OK;
    }
    BIO *file = open_file(path);
    if (file == NULL)
        return complain(reading, TLS_BAD_DH, "the file %s cannot be read: %s", path, open_reason());
    EVP_PKEY *parameters = PEM_read_bio_Parameters(file, NULL);
    BIO_free(file);
    if (parameters == NULL || SSL_CTX_set0_tmp_dh_pkey(ssl, parameters) != 1) {
        EVP_PKEY_free(parameters);
        return complain(reading, TLS_BAD_DH, "the file %s has no DH parameters that can be used", path);
    }
    return TLS_OK;
}

/* RFC 7301, 3.2: who has nothing in common with us is told so. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                           unsigned in_length, void *argument)
{
    const struct tls_context *context = argument;
    unsigned char *chosen;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_length, context->alpn, (unsigned)context->alpn_length, in, in_length) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* The first certificate that is for the name; the first of all where none is. */
static int choose_identity(SSL *ssl, int *alert, void *argument)
{
    const struct tls_context *context = argument;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    for (size_t i = 0; name != NULL && i < context->count; i++) {
        X509 *leaf = SSL_CTX_get0_certificate(context->identities[i].ssl);
        if (X509_check_host(leaf, name, 0, 0, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, context->identities[i].ssl);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

static char *to_pem(X509 *certificate)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *bytes, *text = NULL;
    if (memory != NULL && PEM_write_bio_X509(memory, certificate) == 1) {
        long length = BIO_get_mem_data(memory, &bytes);
        text = mem_try_alloc((size_t)length + 1);
        if (text != NULL) {
            memcpy(text, bytes, (size_t)length);
            text[length] = '\0';
        }
    }
    BIO_free(memory);
    return text;
}

static enum tls_problem set_up(struct tls_context *context, struct tls_identity *identity, const struct tls_spec *spec,
                               const struct tls_identity_spec *files, const struct reading *reading)
{
    SSL_CTX *ssl = identity->ssl = SSL_CTX_new(TLS_server_method());
    enum tls_problem result;
    if (ssl == NULL)
        return TLS_NO_MEMORY;
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"peneus", 6);
    if (tls_tickets_use(context->tickets, ssl) != 0)
        return TLS_NO_MEMORY;
    if (SSL_CTX_set_min_proto_version(ssl, spec->minimum_version != 0 ? spec->minimum_version : TLS1_2_VERSION) != 1)
        return complain(reading, TLS_BAD_VERSION, "OpenSSL does not know this version of TLS");
    if ((result = read_certificates(ssl, files->certificate, true, reading)) != TLS_OK ||
        (files->chain != NULL && (result = read_certificates(ssl, files->chain, false, reading)) != TLS_OK) ||
        (result = read_key(ssl, files, reading)) != TLS_OK || (result = read_clients(ssl, spec, reading)) != TLS_OK ||
        (result = set_ciphers(ssl, spec->ciphers, reading)) != TLS_OK ||
        (result = set_dh(ssl, spec->dh_parameters, reading)) != TLS_OK)
        return result;
    if (spec->alpn_length > 0)
        SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, context);
    SSL_CTX_set_tlsext_servername_callback(ssl, choose_identity);
    SSL_CTX_set_tlsext_servername_arg(ssl, context);
    identity->pem = to_pem(SSL_CTX_get0_certificate(ssl));
    return identity->pem != NULL ? TLS_OK : TLS_NO_MEMORY;
}

enum tls_problem tls_context_create(struct tls_context **result, const struct tls_spec *spec, char *error, size_t size)
{
    struct reading reading = { error, size };
    struct tls_context *context = mem_try_alloc(sizeof *context + spec->identity_count * sizeof context->identities[0]);
    if (context == NULL)
        return complain(&reading, TLS_NO_MEMORY, "there is no memory left");
    memset(context, 0, sizeof *context + spec->identity_count * sizeof context->identities[0]);
    atomic_init(&context->references, 1);
    context->count = spec->identity_count;
    context->tickets = tls_tickets_create(spec->ticket_keys);
    enum tls_problem problem = context->tickets != NULL ? TLS_OK : TLS_NO_MEMORY;
    if (problem == TLS_OK && spec->alpn_length > 0) {
        context->alpn = mem_try_alloc(spec->alpn_length);
        if (context->alpn == NULL)
            problem = TLS_NO_MEMORY;
        else
            memcpy(context->alpn, spec->alpn, context->alpn_length = spec->alpn_length);
    }
    for (size_t i = 0; problem == TLS_OK && i < context->count; i++)
        problem = set_up(context, &context->identities[i], spec, &spec->identities[i], &reading);
    if (problem == TLS_OK) {
        *result = context;
        return TLS_OK;
    }
    tls_context_release(context);
    return problem == TLS_NO_MEMORY ? complain(&reading, TLS_NO_MEMORY, "there is no memory left") : problem;
}

struct tls_context *tls_context_retain(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_release(struct tls_context *context)
{
    if (context == NULL || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < context->count; i++) {
        SSL_CTX_free(context->identities[i].ssl);
        mem_free(context->identities[i].pem);
    }
    tls_tickets_destroy(context->tickets);
    mem_free(context->alpn);
    mem_free(context);
}

SSL *tls_context_open(struct tls_context *context)
{
    return SSL_new(context->identities[0].ssl);
}

struct tls_tickets *tls_context_tickets(const struct tls_context *context)
{
    return context->tickets;
}

const char *tls_context_certificate(const struct tls_context *context, const SSL *ssl)
{
    const SSL_CTX *used = SSL_get_SSL_CTX(ssl);
    for (size_t i = 0; i < context->count; i++)
        if (context->identities[i].ssl == used)
            return context->identities[i].pem;
    return context->identities[0].pem;
}
