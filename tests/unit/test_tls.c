/* One connection's TLS, and its contexts, against a client of OpenSSL in memory. */
#include "tests/unit/tls_fixture.h"

#include "base/alloc.h"
#include "server/tls_store.h"

static struct files files;
static const unsigned char HTTP11[] = "\x08http/1.1";

static struct tls_spec plain_spec(void)
{
    return (struct tls_spec){ .alpn = HTTP11, .alpn_length = sizeof HTTP11 - 1 };
}

static struct pair *connected(struct tls_context *context, SSL_CTX *client)
{
    struct pair *pair = pair_make(context, client);
    shake(pair, 16384);
    return pair;
}

static void assert_open(struct pair *pair)
{
    if (tls_state(pair->server) != TLS_OPEN)
        fail_msg("%s", tls_reason(pair->server));
    assert_int_equal(SSL_is_init_finished(pair->client), 1);
}

static void bytes_go_both_ways(void **state)
{
    static unsigned char sent[100000], got[100000];
    struct tls_context *context = context_make(&files, plain_spec());
    SSL_CTX *client = client_context(&files, NULL);
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (unsigned char)(i * 7);
    const size_t steps[] = { 1, 5, 1000, 16384 };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct pair *pair = pair_make(context, client);
        shake(pair, steps[i]);
        assert_open(pair);
        assert_int_equal(SSL_write(pair->client, sent, sizeof sent), sizeof sent);
        carry(pair, steps[i]);
        assert_int_equal(pair->got, sizeof sent);
        assert_memory_equal(pair->plain, sent, sizeof sent);
        assert_int_equal(pair->result, TLS_WAIT);
        for (size_t at = 0; at < sizeof sent; at += 10000)
            assert_int_equal(tls_write(pair->server, sent + at, 10000), 0);
        carry(pair, 16384);
        size_t length = 0, part;
        while (length < sizeof got && SSL_read_ex(pair->client, got + length, sizeof got - length, &part) == 1)
            length += part;
        assert_int_equal(length, sizeof sent);
        assert_memory_equal(got, sent, sizeof sent);
        assert_null(tls_output(pair->server)->bytes); /* an idle connection holds none */
        pair_free(pair);
    }
    SSL_CTX_free(client);
    tls_context_release(context);
}

static void what_was_agreed_is_known(void **state)
{
    struct tls_context *context = context_make(&files, plain_spec());
    SSL_CTX *client = client_context(&files, NULL);
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t i = 0; i < 2; i++) {
        SSL_CTX_set_max_proto_version(client, versions[i]);
        struct pair *pair = connected(context, client);
        assert_open(pair);
        const struct tls_info *info = tls_info(pair->server);
        assert_int_equal(info->version, versions[i]);
        assert_int_equal(info->cipher, SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(pair->client)));
        assert_null(info->client_name);
        assert_null(info->client_chain);
        assert_non_null(strstr(info->server_certificate, "-----BEGIN CERTIFICATE-----"));
        pair_free(pair);
    }
    SSL_CTX_free(client);
    tls_context_release(context);
}

static void old_versions_are_refused(void **state)
{
    struct tls_spec spec = plain_spec();
    SSL_CTX *client = client_context(&files, NULL);
    SSL_CTX_set_cipher_list(client, "DEFAULT:@SECLEVEL=0");
    SSL_CTX_set_min_proto_version(client, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(client, TLS1_1_VERSION);
    struct tls_context *context = context_make(&files, spec);
    struct pair *pair = connected(context, client);
    assert_int_equal(tls_state(pair->server), TLS_FAILED);
    assert_true(pair->client_failed); /* it got the alert */
    pair_free(pair);
    tls_context_release(context);
    spec.minimum_version = TLS1_3_VERSION;
    context = context_make(&files, spec);
    SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION);
    pair = connected(context, client);
    assert_int_equal(tls_state(pair->server), TLS_FAILED);
    pair_free(pair);
    tls_context_release(context);
    SSL_CTX_free(client);
}

static void ciphers_are_those_that_were_named(void **state)
{
    struct tls_spec spec = plain_spec();
    spec.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384, TLS_CHACHA20_POLY1305_SHA256";
    struct tls_context *context = context_make(&files, spec);
    SSL_CTX *client = client_context(&files, NULL);
    struct pair *pair = connected(context, client);
    assert_open(pair);
    assert_string_equal(SSL_get_cipher(pair->client), "TLS_CHACHA20_POLY1305_SHA256");
    pair_free(pair);
    SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION);
    pair = connected(context, client);
    assert_open(pair);
    assert_string_equal(SSL_get_cipher(pair->client), "ECDHE-ECDSA-AES256-GCM-SHA384");
    pair_free(pair);
    SSL_CTX_free(client);
    tls_context_release(context);
}

static const char *shown_to(struct tls_context *context, SSL_CTX *client, const char *name)
{
    static char text[256];
    struct pair *pair = pair_make(context, client);
    if (name != NULL)
        SSL_set_tlsext_host_name(pair->client, name);
    shake(pair, 16384);
    assert_open(pair);
    X509 *certificate = SSL_get0_peer_certificate(pair->client);
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text, sizeof text);
    pair_free(pair);
    return text;
}

static void names_choose_certificates(void **state)
{
    struct tls_identity_spec both[] = { { files.server.certificate_file, files.server.key_file, NULL, NULL },
                                        { files.other.certificate_file, files.other.key_file, NULL, NULL } };
    struct tls_spec spec = plain_spec();
    spec.identities = both;
    spec.identity_count = 2;
    struct tls_context *context = context_make(&files, spec);
    SSL_CTX *client = client_context(&files, NULL);
    assert_string_equal(shown_to(context, client, "localhost"), "localhost");
    assert_string_equal(shown_to(context, client, "other.test"), "other.test");
    assert_string_equal(shown_to(context, client, "OTHER.test"), "other.test");
    assert_string_equal(shown_to(context, client, "a.wild.test"), "other.test");
    assert_string_equal(shown_to(context, client, "unknown.test"), "localhost");
    assert_string_equal(shown_to(context, client, NULL), "localhost");
    struct pair *pair = pair_make(context, client);
    SSL_set_tlsext_host_name(pair->client, "other.test");
    shake(pair, 16384);
    BIO *memory = BIO_new_mem_buf(tls_info(pair->server)->server_certificate, -1);
    X509 *told = PEM_read_bio_X509(memory, NULL, NULL, NULL);
    assert_int_equal(X509_cmp(told, files.other.certificate), 0);
    X509_free(told);
    BIO_free(memory);
    pair_free(pair);
    SSL_CTX_free(client);
    tls_context_release(context);
}

static void protocols_are_agreed_or_refused(void **state)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1", foreign[] = "\x04spdy";
    struct tls_context *context = context_make(&files, plain_spec());
    SSL_CTX *client = client_context(&files, NULL);
    size_t length;
    struct pair *pair = connected(context, client);
    assert_open(pair);
    tls_protocol(pair->server, &length);
    assert_int_equal(length, 0);
    pair_free(pair);
    SSL_CTX_set_alpn_protos(client, both, sizeof both - 1);
    pair = connected(context, client);
    assert_open(pair);
    const char *protocol = tls_protocol(pair->server, &length);
    assert_int_equal(length, 8);
    assert_memory_equal(protocol, "http/1.1", 8);
    pair_free(pair);
    SSL_CTX_set_alpn_protos(client, foreign, sizeof foreign - 1);
    pair = connected(context, client);
    assert_int_equal(tls_state(pair->server), TLS_FAILED);
    pair_free(pair);
    SSL_CTX_free(client);
    tls_context_release(context);
}

static void clients_show_certificates(void **state)
{
    struct tls_spec spec = plain_spec();
    spec.ca_file = files.authority.certificate_file;
    const enum tls_verify modes[] = { TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };
    for (size_t i = 0; i < 2; i++) {
        spec.verify = modes[i];
        struct tls_context *context = context_make(&files, spec);
        SSL_CTX *nobody = client_context(&files, NULL), *known = client_context(&files, &files.client),
                *stranger = client_context(&files, &files.stranger);
        struct pair *pair = connected(context, nobody);
        assert_int_equal(tls_state(pair->server), modes[i] == TLS_VERIFY_OPTIONAL ? TLS_OPEN : TLS_FAILED);
        pair_free(pair);
        pair = connected(context, stranger);
        assert_int_equal(tls_state(pair->server), TLS_FAILED);
        pair_free(pair);
        pair = connected(context, known);
        assert_open(pair);
        assert_string_equal(tls_info(pair->server)->client_name, "CN=J\xc3\xbcrgen,O=Tests");
        const char *chain = tls_info(pair->server)->client_chain;
        const struct identity *expected[] = { &files.client, &files.authority };
        for (size_t k = 0; k < 2; k++, chain += strlen(chain) + 1) {
            BIO *memory = BIO_new_mem_buf(chain, -1);
            X509 *certificate = PEM_read_bio_X509(memory, NULL, NULL, NULL);
            assert_int_equal(X509_cmp(certificate, expected[k]->certificate), 0);
            X509_free(certificate);
            BIO_free(memory);
        }
        assert_int_equal(*chain, '\0');
        /* Nothing is resumed: a ticket would not hold the chain. */
        SSL_SESSION *session = SSL_get1_session(pair->client);
        SSL_set_shutdown(pair->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        pair_free(pair);
        pair = pair_make(context, known);
        SSL_set_session(pair->client, session);
        shake(pair, 16384);
        assert_open(pair);
        assert_int_equal(SSL_session_reused(pair->client), 0);
        assert_non_null(tls_info(pair->server)->client_chain);
        SSL_SESSION_free(session);
        pair_free(pair);
        SSL_CTX_free(nobody);
        SSL_CTX_free(known);
        SSL_CTX_free(stranger);
        tls_context_release(context);
    }
}

static bool resumes(struct tls_context *first, struct tls_context *second, int version)
{
    SSL_CTX *client = client_context(&files, NULL);
    SSL_CTX_set_max_proto_version(client, version);
    struct pair *pair = connected(first, client);
    char none[1];
    assert_open(pair);
    SSL_read(pair->client, none, 1); /* takes the tickets */
    SSL_SESSION *session = SSL_get1_session(pair->client);
    SSL_set_shutdown(pair->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else OpenSSL thinks it has gone wrong */
    pair_free(pair);
    pair = pair_make(second, client);
    SSL_set_session(pair->client, session);
    shake(pair, 16384);
    assert_open(pair);
    bool resumed = SSL_session_reused(pair->client) == 1;
    SSL_SESSION_free(session);
    pair_free(pair);
    SSL_CTX_free(client);
    return resumed;
}

static void sessions_are_resumed(void **state)
{
    static const unsigned char keys[TLS_TICKET_KEYS] = "the same in several processes";
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    struct tls_context *context = context_make(&files, plain_spec()), *reloaded = context_make(&files, plain_spec());
    struct tls_spec shared = plain_spec();
    shared.ticket_keys = keys;
    struct tls_context *one = context_make(&files, shared), *two = context_make(&files, shared);
    for (size_t i = 0; i < 2; i++) {
        assert_true(resumes(context, context, versions[i]));
        assert_false(resumes(context, reloaded, versions[i]));
        assert_true(resumes(one, two, versions[i]));
    }
    tls_context_release(context);
    tls_context_release(reloaded);
    tls_context_release(one);
    tls_context_release(two);
}

/* The keys of old tickets are forgotten; processes that have begun with the same secret go on having the same keys. */
static void tickets_grow_old(void **state)
{
    static const unsigned char secret[TLS_TICKET_KEYS] = { 0, 0, 0, 1, 0, 0, 0, 0, 'a', 's', 'e', 'c', 'r', 'e', 't' };
    const uint64_t period = (uint64_t)1 << 32;
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t i = 0; i < 2; i++) {
        struct tls_spec spec = plain_spec();
        spec.ticket_keys = secret;
        struct tls_context *one = context_make(&files, spec), *two = context_make(&files, spec);
        assert_true(resumes(one, two, versions[i]));
        tls_tickets_advance(tls_context_tickets(two), period + TICKET_PERIODS_KEPT);
        assert_true(resumes(one, two, versions[i]));  /* sealed two periods ago */
        assert_false(resumes(two, one, versions[i])); /* with a key that is not there yet */
        tls_tickets_advance(tls_context_tickets(two), period + TICKET_PERIODS_KEPT + 1);
        assert_false(resumes(one, two, versions[i]));
        tls_tickets_advance(tls_context_tickets(two), period); /* a clock that was put back */
        assert_false(resumes(one, two, versions[i]));
        tls_tickets_advance(tls_context_tickets(one), period + TICKET_PERIODS_KEPT + 1);
        assert_true(resumes(one, two, versions[i]));
        tls_context_release(one);
        tls_context_release(two);
    }
}

static void nobody_negotiates_again(void **state)
{
    struct tls_context *context = context_make(&files, plain_spec());
    SSL_CTX *client = client_context(&files, NULL);
    SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION);
    struct pair *pair = connected(context, client);
    assert_open(pair);
    SSL_renegotiate(pair->client);
    shake(pair, 16384);
    assert_true(pair->client_failed); /* "no renegotiation" is the answer */
    assert_int_equal(pair->got, 0);
    pair_free(pair);
    SSL_CTX_free(client);
    tls_context_release(context);
}

static void key_updates_cannot_fill_the_memory(void **state)
{
    struct tls_context *context = context_make(&files, plain_spec());
    SSL_CTX *client = client_context(&files, NULL);
    struct pair *pair = connected(context, client);
    unsigned char bytes[16384];
    assert_open(pair);
    for (int i = 0; i < 20000 && tls_state(pair->server) == TLS_OPEN; i++) {
        SSL_key_update(pair->client, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(pair->client);
        int length = BIO_read(pair->from_client, bytes, sizeof bytes);
        assert_true(length > 0);
        to_server(pair, bytes, (size_t)length); /* its answers are not read */
        assert_true(buffer_length(tls_output(pair->server)) < TLS_CHATTER_LIMIT + 1024);
    }
    assert_int_equal(tls_state(pair->server), TLS_FAILED);
    pair_free(pair);
    SSL_CTX_free(client);
    tls_context_release(context);
}

static void goodbyes_are_heard(void **state)
{
    struct tls_context *context = context_make(&files, plain_spec());
    SSL_CTX *client = client_context(&files, NULL);
    struct pair *pair = connected(context, client);
    char byte;
    tls_write(pair->server, "x", 1);
    tls_close(pair->server);
    carry(pair, 16384);
    assert_int_equal(SSL_read(pair->client, &byte, 1), 1);
    assert_int_equal(SSL_read(pair->client, &byte, 1), 0);
    assert_int_equal(SSL_get_shutdown(pair->client), SSL_RECEIVED_SHUTDOWN);
    SSL_write(pair->client, "last", 4); /* is still read */
    SSL_shutdown(pair->client);
    carry(pair, 16384);
    assert_int_equal(pair->got, 4);
    assert_int_equal(pair->result, TLS_ENDED);
    pair_free(pair);
    SSL_CTX_free(client);
    tls_context_release(context);
}

static void other_protocols_are_refused(void **state)
{
    struct tls_context *context = context_make(&files, plain_spec());
    SSL_CTX *client = client_context(&files, NULL);
    const char *requests[] = { "GET / HTTP/1.1\r\n", "P", "PRI * HTTP/2.0\r\n", "OPTIONS" };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct pair *pair = pair_make(context, client);
        to_server(pair, (const unsigned char *)requests[i], strlen(requests[i]));
        assert_int_equal(pair->result, TLS_PLAIN_HTTP);
        assert_int_equal(tls_state(pair->server), TLS_FAILED);
        assert_int_equal(buffer_length(tls_output(pair->server)), 0);
        pair_free(pair);
    }
    unsigned seed = 1;
    int waiting = 0;
    for (int i = 0; i < 300; i++) {
        unsigned char bytes[300];
        size_t length = 50 + (size_t)rand_r(&seed) % 250;
        for (size_t k = 0; k < length; k++)
            bytes[k] = (unsigned char)rand_r(&seed);
        if (i % 2 == 0) {
            bytes[0] = 0x16;
            bytes[1] = 3;
            bytes[2] = 1;
            bytes[3] = 0;
            bytes[4] = (unsigned char)(length - 20);
        } else {
            bytes[0] = (unsigned char)(0x80 | bytes[0]);
        }
        struct pair *pair = pair_make(context, client);
        to_server(pair, bytes, length);
        assert_int_equal(pair->got, 0);
        if (tls_state(pair->server) == TLS_FAILED)
            assert_non_null(tls_reason(pair->server));
        else
            waiting++; /* it may be the beginning of something longer */
        pair_free(pair);
    }
    assert_true(waiting < 30);
    SSL_CTX_free(client);
    tls_context_release(context);
}

/* A bit of an encrypted record is turned over. */
static void forged_records_end_it(void **state)
{
    struct tls_context *context = context_make(&files, plain_spec());
    SSL_CTX *client = client_context(&files, NULL);
    struct pair *pair = connected(context, client);
    unsigned char bytes[1000];
    SSL_write(pair->client, "hello", 5);
    int length = BIO_read(pair->from_client, bytes, sizeof bytes);
    bytes[length - 1] ^= 1;
    to_server(pair, bytes, (size_t)length);
    assert_int_equal(pair->result, TLS_BROKEN);
    assert_int_equal(pair->got, 0);
    assert_true(buffer_length(tls_output(pair->server)) > 0); /* an alert */
    pair_free(pair);
    SSL_CTX_free(client);
    tls_context_release(context);
}

static void assert_problem(struct tls_spec spec, struct tls_identity_spec identity, enum tls_problem problem, const char *file,
                           const char *said)
{
    struct tls_context *context = NULL;
    char error[512] = "";
    spec.identities = &identity;
    spec.identity_count = 1;
    assert_int_equal(tls_context_create(&context, &spec, error, sizeof error), problem);
    assert_null(context);
    if (strstr(error, file) == NULL || strstr(error, said) == NULL)
        fail_msg("'%s' does not say '%s' of '%s'", error, said, file);
}

static void what_is_wrong_is_said(void **state)
{
    const struct tls_spec spec = plain_spec();
    const char *certificate = files.server.certificate_file, *key = files.server.key_file;
    const struct tls_identity_spec good = { certificate, key, NULL, NULL };
    assert_problem(spec, (struct tls_identity_spec){ "/nowhere.pem", key, NULL, NULL }, TLS_BAD_CERTIFICATE, "/nowhere.pem",
                   "No such file");
    assert_problem(spec, (struct tls_identity_spec){ files.rubbish, key, NULL, NULL }, TLS_BAD_CERTIFICATE, files.rubbish,
                   "has no certificate");
    assert_problem(spec, (struct tls_identity_spec){ certificate, "/nowhere.key", NULL, NULL }, TLS_BAD_KEY, "/nowhere.key",
                   "No such file");
    assert_problem(spec, (struct tls_identity_spec){ certificate, files.rubbish, NULL, NULL }, TLS_BAD_KEY, files.rubbish,
                   "no private key");
    assert_problem(spec, (struct tls_identity_spec){ certificate, NULL, NULL, NULL }, TLS_BAD_KEY, certificate, "no private key");
    assert_problem(spec, (struct tls_identity_spec){ certificate, files.other.key_file, NULL, NULL }, TLS_BAD_KEY,
                   files.other.key_file, "is not that of the certificate");
    assert_problem(spec, (struct tls_identity_spec){ certificate, files.locked, NULL, NULL }, TLS_BAD_PASSWORD, files.locked,
                   "no password is given");
    assert_problem(spec, (struct tls_identity_spec){ certificate, files.locked, NULL, "wrong" }, TLS_BAD_PASSWORD, files.locked,
                   "does not open it");
    assert_problem(spec, (struct tls_identity_spec){ certificate, key, "/nowhere.pem", NULL }, TLS_BAD_CHAIN, "/nowhere.pem",
                   "No such file");
    struct tls_spec changed = spec;
    changed.ciphers = "NO-SUCH-CIPHER";
    assert_problem(changed, good, TLS_BAD_CIPHERS, "NO-SUCH-CIPHER", "no cipher");
    changed = spec;
    changed.minimum_version = 0x9999;
    assert_problem(changed, good, TLS_BAD_VERSION, "", "version");
    changed = spec;
    changed.dh_parameters = files.rubbish;
    assert_problem(changed, good, TLS_BAD_DH, files.rubbish, "DH parameters");
    changed = spec;
    changed.verify = TLS_VERIFY_REQUIRED;
    assert_problem(changed, good, TLS_BAD_CA, "", "nobody is named");
    changed.ca_file = "/nowhere.pem";
    assert_problem(changed, good, TLS_BAD_CA, "/nowhere.pem", "No such file");
    changed.ca_file = NULL;
    changed.ca_directory = "/nowhere";
    assert_problem(changed, good, TLS_BAD_CA, "/nowhere", "No such file");
    struct tls_identity_spec opened = { certificate, files.locked, NULL, "open" };
    changed = spec;
    changed.identities = &opened;
    changed.identity_count = 1;
    tls_context_release(context_make(&files, changed));
}

static void reloads_are_for_who_comes_later(void **state)
{
    struct tls_identity_spec other = { files.other.certificate_file, files.other.key_file, NULL, NULL };
    struct tls_spec spec = plain_spec();
    struct tls_store *store = tls_store_create(context_make(&files, spec));
    SSL_CTX *client = client_context(&files, NULL);
    struct tls_context *context = tls_store_context(store);
    struct pair *early = connected(context, client);
    tls_context_release(context);
    spec.identities = &other;
    spec.identity_count = 1;
    tls_store_replace(store, context_make(&files, spec));
    context = tls_store_context(store);
    assert_string_equal(shown_to(context, client, NULL), "other.test");
    tls_context_release(context);
    tls_store_release(tls_store_retain(store));
    tls_store_release(store);
    assert_open(early);
    SSL_write(early->client, "still", 5);
    carry(early, 16384);
    assert_memory_equal(early->plain, "still", 5);
    assert_non_null(strstr(tls_info(early->server)->server_certificate, "BEGIN")); /* its context lives */
    pair_free(early);
    SSL_CTX_free(client);
}

/* The n-th allocation of ours fails, in contexts and in connections. */
static void no_memory_is_survived(void **state)
{
    struct tls_spec spec = plain_spec();
    struct tls_identity_spec own = { files.server.certificate_file, files.server.key_file, NULL, NULL };
    spec.identities = &own;
    spec.identity_count = 1;
    spec.ca_file = files.authority.certificate_file;
    spec.verify = TLS_VERIFY_REQUIRED;
    spec.ciphers = "ECDHE+AESGCM:TLS_AES_128_GCM_SHA256";
    SSL_CTX *client = client_context(&files, &files.client);
    bool failed = true;
    unsigned long n;
    for (n = 1; failed; n++) {
        struct tls_context *context = NULL;
        char error[512] = "";
        mem_fail_at(n);
        enum tls_problem problem = tls_context_create(&context, &spec, error, sizeof error);
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        assert_int_equal(problem, failed ? TLS_NO_MEMORY : TLS_OK);
        if (failed)
            assert_non_null(strstr(error, "memory"));
        tls_context_release(context);
    }
    assert_true(n > 4);
    struct tls_context *context = context_make(&files, spec);
    failed = true;
    for (n = 1; failed; n++) {
        struct pair *pair = pair_make(context, client);
        mem_fail_at(n);
        shake(pair, 16384);
        bool open = tls_state(pair->server) == TLS_OPEN;
        bool written = open && tls_write(pair->server, "hello", 5) == 0;
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        assert_int_equal(written, !failed);
        assert_int_equal(tls_state(pair->server), failed ? TLS_FAILED : TLS_OPEN);
        pair_free(pair);
    }
    assert_true(n > 4);
    tls_context_release(context);
    SSL_CTX_free(client);
}

static int make_files(void **state)
{
    files_make(&files);
    return 0;
}

static int remove_files(void **state)
{
    files_remove(&files);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways),
        cmocka_unit_test(what_was_agreed_is_known),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(ciphers_are_those_that_were_named),
        cmocka_unit_test(names_choose_certificates),
        cmocka_unit_test(protocols_are_agreed_or_refused),
        cmocka_unit_test(clients_show_certificates),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(tickets_grow_old),
        cmocka_unit_test(nobody_negotiates_again),
        cmocka_unit_test(key_updates_cannot_fill_the_memory),
        cmocka_unit_test(goodbyes_are_heard),
        cmocka_unit_test(other_protocols_are_refused),
        cmocka_unit_test(forged_records_end_it),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(reloads_are_for_who_comes_later),
        cmocka_unit_test(no_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
