#define _GNU_SOURCE
#include "Library.h"

#include <limits.h>
#include <string.h>

// Options that every context has. The bits of 1 << 32 and 1 << 33 leave out compressed certificates, for which zlib would call
// malloc: OpenSSL 3.2 and newer know them, Debian 12's header lacks the names.
static const uint64_t options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | (uint64_t)3 << 32;
// RELEASE_BUFFERS: an idle connection has none. NO_AUTO_CHAIN: authorities are for the peer's certificate only.
static const long mode = SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                         SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN;
enum { CERTIFICATES_BYTES_MAX = 16384, CHAIN_DEPTH_MAX = 8 };

static const char aes_first[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
static const char aes_first_1_3[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char chacha_first[] = "ECDHE+CHACHA20:ECDHE+AESGCM";
static const char chacha_first_1_3[] = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";

/// 0, so that `return wrong(...)` is a failure.
static int wrong(struct copenssl_verdict *verdict, int32_t file, int32_t problem) {
  verdict->file = file;
  verdict->problem = copenssl_lacked_memory() ? COPENSSL_NO_MEMORY : problem;
  verdict->reason = openssl.ERR_peek_error() ? copenssl_first_reason() : NULL;
  return 0;
}

static BIO *reader(struct copenssl_file file) {
  openssl.ERR_clear_error();
  return file.count <= INT_MAX ? openssl.BIO_new_mem_buf(file.bytes, (int)file.count) : NULL;
}

/// True when a PEM reader has failed because the file has no further entry.
static int is_end(void) {
  unsigned long error = openssl.ERR_peek_last_error();
  return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/// The outcome of a file that has ended after `count` entries.
static int at_end(int count, int32_t file, struct copenssl_verdict *verdict) {
  if (!is_end()) return wrong(verdict, file, COPENSSL_UNREADABLE);
  openssl.ERR_clear_error();
  return count > 0 ? 1 : wrong(verdict, file, COPENSSL_EMPTY);
}

int copenssl_no_passphrase(char *buffer, int size, int is_writing, void *was_asked) {
  (void)buffer, (void)size, (void)is_writing;
  *(int *)was_asked = 1;
  return -1;
}

static void note_times(const X509 *certificate, uint32_t expired, uint32_t early, struct copenssl_verdict *verdict) {
  if (openssl.X509_cmp_current_time(openssl.X509_get0_notAfter(certificate)) < 0) verdict->warnings |= expired;
  if (openssl.X509_cmp_current_time(openssl.X509_get0_notBefore(certificate)) > 0) verdict->warnings |= early;
}

/// The first certificate, kept by the context; the others are its chain.
static X509 *use_certificates(SSL_CTX *context, struct copenssl_file file, struct copenssl_verdict *verdict) {
  BIO *bio = reader(file);
  if (!bio) {
    wrong(verdict, COPENSSL_FILE_CERTIFICATES, COPENSSL_NO_MEMORY);
    return NULL;
  }
  int count = 0, is_fine = 1;
  X509 *first = NULL, *certificate;
  while (is_fine && (certificate = openssl.PEM_read_bio_X509(bio, NULL, copenssl_no_passphrase, &(int){0}))) {
    note_times(certificate, COPENSSL_CERTIFICATE_EXPIRED, COPENSSL_CERTIFICATE_EARLY, verdict);
    int is_used = count == 0 ? openssl.SSL_CTX_use_certificate(context, certificate) == 1
                             : openssl.SSL_CTX_ctrl(context, SSL_CTRL_CHAIN_CERT, 1, certificate) == 1;
    if (!is_used) is_fine = wrong(verdict, COPENSSL_FILE_CERTIFICATES, COPENSSL_REFUSED);
    if (count++ == 0) first = certificate;
    openssl.X509_free(certificate);  // the context has counted itself
  }
  if (is_fine) is_fine = at_end(count, COPENSSL_FILE_CERTIFICATES, verdict);
  openssl.BIO_free(bio);
  return is_fine ? first : NULL;
}

int copenssl_has_key(struct copenssl_file file) {
  static const char ending[] = "PRIVATE KEY-----";
  return file.count > 0 && memmem(file.bytes, (size_t)file.count, ending, sizeof ending - 1) != NULL;
}

static int use_key(SSL_CTX *context, X509 *certificate, struct copenssl_file file, struct copenssl_verdict *verdict) {
  openssl.ERR_clear_error();
  if (!copenssl_has_key(file)) return wrong(verdict, COPENSSL_FILE_KEY, COPENSSL_EMPTY);
  BIO *bio = reader(file);
  if (!bio) return wrong(verdict, COPENSSL_FILE_KEY, COPENSSL_NO_MEMORY);
  int was_asked = 0;
  EVP_PKEY *key = openssl.PEM_read_bio_PrivateKey(bio, NULL, copenssl_no_passphrase, &was_asked);
  openssl.BIO_free(bio);
  if (!key) {
    if (was_asked) return wrong(verdict, COPENSSL_FILE_KEY, COPENSSL_ENCRYPTED);
    return wrong(verdict, COPENSSL_FILE_KEY, COPENSSL_UNREADABLE);
  }
  int is_fine = 1;
  if (!openssl.X509_check_private_key(certificate, key)) {
    is_fine = wrong(verdict, COPENSSL_FILE_KEY, COPENSSL_MISMATCH);
  } else if (openssl.SSL_CTX_use_PrivateKey(context, key) != 1) {
    is_fine = wrong(verdict, COPENSSL_FILE_KEY, COPENSSL_REFUSED);
  }
  openssl.EVP_PKEY_free(key);
  return is_fine;
}

static int use_authorities(SSL_CTX *context, struct copenssl_file file, struct copenssl_verdict *verdict) {
  BIO *bio = reader(file);
  if (!bio) return wrong(verdict, COPENSSL_FILE_AUTHORITIES, COPENSSL_NO_MEMORY);
  X509_STORE *store = openssl.SSL_CTX_get_cert_store(context);
  int count = 0, is_fine = 1;
  X509 *certificate;
  while (is_fine && (certificate = openssl.PEM_read_bio_X509(bio, NULL, copenssl_no_passphrase, &(int){0}))) {
    count++;
    note_times(certificate, COPENSSL_AUTHORITY_EXPIRED, COPENSSL_AUTHORITY_EARLY, verdict);
    // The names of a server's authorities are told to clients, which choose their certificate by them.
    // What the extensions say is noted now: the first client to need it might find the arena full, and it is noted once.
    if (openssl.X509_check_purpose(certificate, -1, 0) != 1 ||
        openssl.X509_STORE_add_cert(store, certificate) != 1 ||
        openssl.SSL_CTX_add_client_CA(context, certificate) != 1)
      is_fine = wrong(verdict, COPENSSL_FILE_AUTHORITIES, COPENSSL_REFUSED);
    openssl.X509_free(certificate);
  }
  if (is_fine) is_fine = at_end(count, COPENSSL_FILE_AUTHORITIES, verdict);
  openssl.BIO_free(bio);
  return is_fine;
}

static int use_revocations(SSL_CTX *context, struct copenssl_file file, struct copenssl_verdict *verdict) {
  BIO *bio = reader(file);
  if (!bio) return wrong(verdict, COPENSSL_FILE_REVOCATIONS, COPENSSL_NO_MEMORY);
  X509_STORE *store = openssl.SSL_CTX_get_cert_store(context);
  int count = 0, is_fine = 1;
  X509_CRL *list;
  while (is_fine && (list = openssl.PEM_read_bio_X509_CRL(bio, NULL, copenssl_no_passphrase, &(int){0}))) {
    count++;
    const ASN1_TIME *next = openssl.X509_CRL_get0_nextUpdate(list);
    if (next && openssl.X509_cmp_current_time(next) < 0) verdict->warnings |= COPENSSL_REVOCATIONS_EXPIRED;
    if (openssl.X509_STORE_add_crl(store, list) != 1)
      is_fine = wrong(verdict, COPENSSL_FILE_REVOCATIONS, COPENSSL_REFUSED);
    openssl.X509_CRL_free(list);
  }
  if (is_fine) is_fine = at_end(count, COPENSSL_FILE_REVOCATIONS, verdict);
  if (is_fine && openssl.X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) != 1)
    is_fine = wrong(verdict, COPENSSL_FILE_REVOCATIONS, COPENSSL_REFUSED);
  openssl.BIO_free(bio);
  return is_fine;
}

static int apply(SSL_CTX *context, const struct copenssl_settings *from, struct copenssl_verdict *verdict) {
  static const int verify[] = {SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT};
  openssl.SSL_CTX_set_options(context, options);
  openssl.SSL_CTX_ctrl(context, SSL_CTRL_MODE, mode, NULL);
  openssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, NULL);
  openssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_CERT_LIST, CERTIFICATES_BYTES_MAX, NULL);
  openssl.SSL_CTX_set_verify(context, verify[from->peer_certificate], NULL);
  openssl.SSL_CTX_set_verify_depth(context, CHAIN_DEPTH_MAX);
  const char *old = from->chacha_first ? chacha_first : aes_first;
  const char *new = from->chacha_first ? chacha_first_1_3 : aes_first_1_3;
  openssl.ERR_clear_error();
  if (openssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, from->minimum_version, NULL) != 1 ||
      openssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, from->maximum_version, NULL) != 1 ||
      openssl.SSL_CTX_set_num_tickets(context, 0) != 1 || openssl.SSL_CTX_set_cipher_list(context, old) != 1 ||
      openssl.SSL_CTX_set_ciphersuites(context, new) != 1)
    return wrong(verdict, COPENSSL_FILE_NONE, COPENSSL_REFUSED);
  if (from->certificates.count > 0) {
    X509 *first = use_certificates(context, from->certificates, verdict);
    if (!first || !use_key(context, first, from->key, verdict)) return 0;
  }
  if (from->authorities.count > 0 && !use_authorities(context, from->authorities, verdict)) return 0;
  return from->revocations.count == 0 || use_revocations(context, from->revocations, verdict);
}

struct copenssl_context *copenssl_context_new(const struct copenssl_settings *settings,
                                              struct copenssl_verdict *verdict) {
  *verdict = (struct copenssl_verdict){0};
  uint64_t refused = copenssl_arena_figures(copenssl_arena()).refused;
  openssl.ERR_clear_error();
  const SSL_METHOD *method = settings->is_client ? openssl.TLS_client_method() : openssl.TLS_server_method();
  SSL_CTX *context = openssl.SSL_CTX_new(method);
  if (!context) {
    wrong(verdict, COPENSSL_FILE_NONE, COPENSSL_NO_MEMORY);
  } else if (!apply(context, settings, verdict)) {
    openssl.SSL_CTX_free(context);
    context = NULL;
  }
  // Without memory the library may call a file wrong, or make a context that lacks a part and refuses every client.
  if (copenssl_arena_figures(copenssl_arena()).refused != refused) {
    verdict->problem = COPENSSL_NO_MEMORY;
    openssl.SSL_CTX_free(context);
    context = NULL;
  }
  openssl.ERR_clear_error();
  return (struct copenssl_context *)context;
}

void copenssl_context_free(struct copenssl_context *context) { openssl.SSL_CTX_free((SSL_CTX *)context); }
