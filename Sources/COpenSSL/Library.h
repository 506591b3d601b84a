// The functions of OpenSSL that are called, each by the header's own type: a wrong call does not compile.
#pragma once
#include "COpenSSL.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define COPENSSL_FUNCTIONS(X)                                                                                        \
  X(CRYPTO_set_mem_functions) X(CRYPTO_zalloc) X(CRYPTO_free) X(OPENSSL_init_ssl) X(OPENSSL_thread_stop)             \
  X(OpenSSL_version) X(OPENSSL_sk_num) X(OPENSSL_sk_value)                                                           \
  X(ERR_clear_error) X(ERR_peek_error) X(ERR_peek_last_error) X(ERR_reason_error_string)                             \
  X(BIO_meth_new) X(BIO_meth_set_read) X(BIO_meth_set_write) X(BIO_meth_set_ctrl) X(BIO_meth_set_create)             \
  X(BIO_new) X(BIO_new_mem_buf) X(BIO_free) X(BIO_set_init) X(BIO_set_data) X(BIO_get_data) X(BIO_set_flags)         \
  X(BIO_clear_flags)                                                                                                 \
  X(PEM_read_bio_X509) X(PEM_read_bio_X509_CRL) X(PEM_read_bio_PrivateKey)                                           \
  X(X509_free) X(X509_CRL_free) X(EVP_PKEY_free) X(X509_check_private_key) X(X509_get0_notBefore)                    \
  X(X509_get0_notAfter) X(X509_CRL_get0_nextUpdate) X(X509_cmp_current_time) X(X509_verify_cert_error_string)        \
  X(X509_check_purpose)                                                                                              \
  X(X509_get_subject_name) X(X509_NAME_get_index_by_NID) X(X509_NAME_get_entry) X(X509_NAME_ENTRY_get_data)          \
  X(X509_get_ext_d2i) X(GENERAL_NAMES_free) X(ASN1_STRING_get0_data) X(ASN1_STRING_length) X(ASN1_STRING_type)       \
  X(X509_STORE_add_cert) X(X509_STORE_add_crl) X(X509_STORE_set_flags)                                               \
  X(TLS_server_method) X(TLS_client_method) X(SSL_CTX_new) X(SSL_CTX_free) X(SSL_CTX_ctrl) X(SSL_CTX_set_options)    \
  X(SSL_CTX_set_num_tickets) X(SSL_CTX_set_cipher_list) X(SSL_CTX_set_ciphersuites) X(SSL_CTX_set_verify)            \
  X(SSL_CTX_set_verify_depth) X(SSL_CTX_get_cert_store) X(SSL_CTX_add_client_CA) X(SSL_CTX_use_certificate)          \
  X(SSL_CTX_use_PrivateKey)                                                                                          \
  X(SSL_new) X(SSL_free) X(SSL_set_bio) X(SSL_set_accept_state) X(SSL_set_connect_state) X(SSL_is_server)            \
  X(SSL_do_handshake) X(SSL_read) X(SSL_write) X(SSL_shutdown) X(SSL_get_error) X(SSL_get_verify_result)             \
  X(SSL_get0_peer_certificate) X(SSL_version) X(SSL_get_session) X(SSL_SESSION_get_max_fragment_length)              \
  X(SSL_get_peer_cert_chain) X(SSL_get0_verified_chain) X(OPENSSL_sk_pop)                                             \
  X(SSL_pending) X(SSL_key_update) X(SSL_get_verify_mode) X(SSL_get_state)                                           \
  X(EVP_PKEY_Q_keygen) X(EVP_sha256) X(BN_new) X(BN_free) X(BN_rand) X(BN_to_ASN1_INTEGER)                           \
  X(BIO_s_mem) X(BIO_read) X(PEM_write_bio_X509) X(PEM_write_bio_PKCS8PrivateKey)                                    \
  X(X509_new) X(X509_set_version) X(X509_get_serialNumber) X(X509_getm_notBefore) X(X509_getm_notAfter)              \
  X(X509_time_adj_ex) X(X509_NAME_add_entry_by_NID) X(X509_set_issuer_name) X(X509_set_pubkey) X(X509_sign)          \
  X(X509V3_set_ctx) X(X509V3_EXT_nconf_nid) X(X509_add_ext) X(X509_EXTENSION_free) X(X509_add1_ext_i2d)              \
  X(OPENSSL_sk_new_null) X(OPENSSL_sk_push) X(GENERAL_NAME_new) X(GENERAL_NAME_free) X(GENERAL_NAME_set0_value)      \
  X(ASN1_STRING_type_new) X(ASN1_STRING_set) X(ASN1_STRING_free) X(ASN1_TIME_to_tm)                                  \
  X(X509_check_ca) X(X509_check_host) X(X509_check_ip) X(X509_STORE_new) X(X509_STORE_free) X(X509_STORE_CTX_new)    \
  X(X509_STORE_CTX_free) X(X509_STORE_CTX_init) X(X509_STORE_CTX_set_purpose) X(X509_STORE_CTX_set_time)             \
  X(X509_STORE_CTX_set_flags) X(X509_STORE_CTX_get_error) X(X509_verify_cert)

/// Filled by copenssl_load; all NULL before it.
extern __attribute__((visibility("hidden"))) struct copenssl_functions {
#define X(name) __typeof__(&name) name;
  COPENSSL_FUNCTIONS(X)
#undef X
} openssl;

/// How a connection's BIO works; made by copenssl_load.
extern BIO_METHOD *copenssl_bio_method;
BIO_METHOD *copenssl_make_bio_method(void);

/// The peer's certificate once it is verified and the handshake is done; NULL when there is none.
const X509 *copenssl_verified_certificate(const struct copenssl_connection *connection);

/// The words of the first error in the calling thread's queue, in static memory; never NULL.
const char *copenssl_first_reason(void);
/// Whether the first or the last error in the queue is that there was no memory.
int copenssl_lacked_memory(void);

/// For PEM readers, instead of a question on the terminal: notes in the int behind `was_asked` that the file is encrypted.
int copenssl_no_passphrase(char *buffer, int size, int is_writing, void *was_asked);
/// Whether a file has the first line of a private key of any kind. The library's error for a file without one says no more
/// than that it is unsupported.
int copenssl_has_key(struct copenssl_file file);
