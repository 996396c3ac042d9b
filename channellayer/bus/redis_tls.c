#include "channellayer/bus/redis_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "channellayer/bus/redis_config.h"

static int key_password(char *buffer, int size, int writing, void *password)
{
    (void)writing;
    size_t length = password == NULL ? 0 : strlen(password);
    if (size < 0 || length > (size_t)size)
        return -1;
    if (length > 0)
        memcpy(buffer, password, length);
    return (int)length;
}

/* Certificates in PEM, one after another. */
static bool trust_text(SSL_CTX *context, const char *text)
{
    BIO *source = BIO_new_mem_buf(text, -1);
    if (source == NULL)
        return false;
    int found = 0;
    X509 *certificate;
    while ((certificate = PEM_read_bio_X509(source, NULL, NULL, NULL)) != NULL) {
        found += X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate);
        X509_free(certificate);
    }
    BIO_free(source);
    ERR_clear_error(); /* the end of the text is one */
    return found > 0;
}

static const char *set_trust(SSL_CTX *context, const struct redis_tls *tls)
{
    SSL_CTX_set_verify(context, tls->verify == REDIS_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if ((tls->ca_file != NULL || tls->ca_path != NULL) && SSL_CTX_load_verify_locations(context, tls->ca_file, tls->ca_path) != 1)
        return "the CA certificates cannot be read";
    if (tls->ca_data != NULL && !trust_text(context, tls->ca_data))
        return "the CA certificates are not in PEM";
    if (tls->ca_file == NULL && tls->ca_path == NULL && tls->ca_data == NULL && SSL_CTX_set_default_verify_paths(context) != 1)
        return "the system's CA certificates cannot be read";
    return NULL;
}

static const char *set_identity(SSL_CTX *context, const struct redis_tls *tls)
{
    if (tls->cert_file == NULL)
        return NULL;
    const char *key = tls->key_file != NULL ? tls->key_file : tls->cert_file;
    SSL_CTX_set_default_passwd_cb(context, key_password);
    SSL_CTX_set_default_passwd_cb_userdata(context, (void *)tls->key_password);
    if (SSL_CTX_use_certificate_chain_file(context, tls->cert_file) != 1)
        return "the client's certificate cannot be read";
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return "the client's private key cannot be read, or is not the certificate's";
    return NULL;
}

static const char *set_host(SSL *ssl, const struct redis_tls *tls, const char *host)
{
    if (host == NULL)
        return NULL;
    X509_VERIFY_PARAM *expected = SSL_get0_param(ssl);
    ASN1_OCTET_STRING *number = a2i_IPADDRESS(host);
    bool named = number == NULL;
    ASN1_OCTET_STRING_free(number);
    ERR_clear_error();
    if (named && SSL_set_tlsext_host_name(ssl, host) != 1)
        return "the server's name cannot be asked for";
    if (tls->verify == REDIS_VERIFY_NONE || !tls->check_hostname)
        return NULL;
    X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int set = named ? X509_VERIFY_PARAM_set1_host(expected, host, strlen(host)) : X509_VERIFY_PARAM_set1_ip_asc(expected, host);
    return set == 1 ? NULL : "the server's name cannot be checked";
}

struct ssl_st *redis_tls_open(const struct redis_tls *tls, const char *host, char *reason, size_t size)
{
    ERR_clear_error();
    const char *wrong = "there is no memory";
    SSL *ssl = NULL;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        goto fail;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    if ((wrong = set_trust(context, tls)) != NULL || (wrong = set_identity(context, tls)) != NULL)
        goto fail;
    wrong = "there is no memory";
    ssl = SSL_new(context);
    if (ssl == NULL || (wrong = set_host(ssl, tls, host)) != NULL)
        goto fail;
    SSL_CTX_free(context); /* the session counts it */
    return ssl;
fail:
    snprintf(reason, size, "TLS: %s", wrong);
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
    return NULL;
}

void redis_tls_reason(const struct ssl_st *ssl, char *reason, size_t size)
{
    long verdict = SSL_get_verify_result(ssl);
    unsigned long error = ERR_peek_last_error();
    const char *text = error == 0 ? NULL : ERR_reason_error_string(error);
    if (verdict != X509_V_OK)
        text = X509_verify_cert_error_string(verdict);
    snprintf(reason, size, "TLS: %s", text != NULL ? text : "the server closed the connection");
    ERR_clear_error();
}
