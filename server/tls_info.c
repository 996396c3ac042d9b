#include "server/tls_info.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "server/tls_context.h"

/* What is in memory, as a string behind which another NUL stands; NULL: no memory. */
static char *take_text(BIO *memory)
{
    char *bytes;
    long length = BIO_get_mem_data(memory, &bytes);
    char *text = mem_try_alloc((size_t)length + 2);
    if (text == NULL)
        return NULL;
    memcpy(text, bytes, (size_t)length);
    memset(text + length, 0, 2);
    return text;
}

static char *name_text(const X509 *certificate)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (memory != NULL &&
        X509_NAME_print_ex(memory, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        text = take_text(memory);
    BIO_free(memory);
    return text;
}

static char *chain_text(X509 *leaf, STACK_OF(X509) *chain)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *text = NULL;
    bool written = memory != NULL && PEM_write_bio_X509(memory, leaf) == 1; /* which the chain of a client does not have */
    for (int i = 0; written && i < sk_X509_num(chain); i++)
        written = BIO_write(memory, "", 1) == 1 && PEM_write_bio_X509(memory, sk_X509_value(chain, i)) == 1;
    if (written)
        text = take_text(memory);
    BIO_free(memory);
    return text;
}

struct tls_info *tls_info_create(struct tls_context *context, const SSL *ssl)
{
    struct tls_info *info = mem_zalloc(sizeof *info);
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    atomic_init(&info->references, 1);
    info->context = tls_context_retain(context);
    info->server_certificate = tls_context_certificate(context, ssl);
    info->version = (uint16_t)SSL_version(ssl);
    info->cipher = cipher != NULL ? SSL_CIPHER_get_protocol_id(cipher) : 0;
    if (leaf == NULL)
        return info;
    info->client_name = name_text(leaf);
    info->client_chain = chain_text(leaf, SSL_get_peer_cert_chain(ssl));
    if (info->client_name != NULL && info->client_chain != NULL)
        return info;
    tls_info_release(info);
    return NULL;
}

struct tls_info *tls_info_retain(struct tls_info *info)
{
    if (info != NULL)
        atomic_fetch_add_explicit(&info->references, 1, memory_order_relaxed);
    return info;
}

void tls_info_release(struct tls_info *info)
{
    if (info == NULL || atomic_fetch_sub_explicit(&info->references, 1, memory_order_acq_rel) > 1)
        return;
    tls_context_release(info->context);
    mem_free(info->client_name);
    mem_free(info->client_chain);
    mem_free(info);
}
