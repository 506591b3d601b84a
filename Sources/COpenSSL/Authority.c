#define _GNU_SOURCE
#include "Library.h"

#include <limits.h>
#include <string.h>
#include <time.h>

enum { SERIAL_BITS = 159 };  // 20 bytes and a positive number, the most that RFC 5280 allows (section 4.1.2.2)

static BIO *reader(struct copenssl_file file) {
  openssl.ERR_clear_error();
  return file.count <= INT_MAX ? openssl.BIO_new_mem_buf(file.bytes, (int)file.count) : NULL;
}

static void judge(struct copenssl_verdict *verdict, int32_t file, int32_t problem) {
  *verdict = (struct copenssl_verdict){0};
  verdict->file = file;
  verdict->problem = copenssl_lacked_memory() ? COPENSSL_NO_MEMORY : problem;
  verdict->reason = openssl.ERR_peek_error() ? copenssl_first_reason() : NULL;
}

/// What a memory BIO holds, which is freed; -1 when it is more than `capacity`.
static int32_t taken(BIO *bio, int is_written, void *to, int32_t capacity) {
  int32_t count = is_written ? openssl.BIO_read(bio, to, capacity) : -1;
  char further;
  if (count > 0 && openssl.BIO_read(bio, &further, 1) > 0) count = -1;
  openssl.BIO_free(bio);
  return count > 0 ? count : -1;
}

// Keys

struct copenssl_key *copenssl_key_make(void) {
  openssl.ERR_clear_error();
  return (struct copenssl_key *)openssl.EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

struct copenssl_key *copenssl_key_read(struct copenssl_file file, struct copenssl_verdict *verdict) {
  openssl.ERR_clear_error();
  int was_asked = 0;
  BIO *bio = copenssl_has_key(file) ? reader(file) : NULL;
  EVP_PKEY *key = bio ? openssl.PEM_read_bio_PrivateKey(bio, NULL, copenssl_no_passphrase, &was_asked) : NULL;
  if (!key) {
    judge(verdict, COPENSSL_FILE_KEY,
          !copenssl_has_key(file) ? COPENSSL_EMPTY
          : !bio                  ? COPENSSL_NO_MEMORY
          : was_asked             ? COPENSSL_ENCRYPTED
                                  : COPENSSL_UNREADABLE);
  }
  openssl.BIO_free(bio);
  return (struct copenssl_key *)key;
}

void copenssl_key_free(struct copenssl_key *key) { openssl.EVP_PKEY_free((EVP_PKEY *)key); }

int32_t copenssl_key_write(const struct copenssl_key *key, void *pem, int32_t capacity) {
  BIO *bio = openssl.BIO_new(openssl.BIO_s_mem());
  if (!bio) return -1;
  return taken(bio, openssl.PEM_write_bio_PKCS8PrivateKey(bio, (const EVP_PKEY *)key, NULL, NULL, 0, NULL, NULL) == 1, pem,
               capacity);
}

// Certificates

struct copenssl_certificate *copenssl_certificate_read(struct copenssl_file file, struct copenssl_verdict *verdict) {
  BIO *bio = reader(file);
  X509 *certificate = bio ? openssl.PEM_read_bio_X509(bio, NULL, copenssl_no_passphrase, &(int){0}) : NULL;
  if (!certificate) {
    unsigned long error = openssl.ERR_peek_last_error();
    int is_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
    judge(verdict, COPENSSL_FILE_CERTIFICATES, !bio ? COPENSSL_NO_MEMORY : is_end ? COPENSSL_EMPTY : COPENSSL_UNREADABLE);
  }
  openssl.BIO_free(bio);
  return (struct copenssl_certificate *)certificate;
}

void copenssl_certificate_free(struct copenssl_certificate *certificate) { openssl.X509_free((X509 *)certificate); }

int32_t copenssl_certificate_write(const struct copenssl_certificate *certificate, void *pem, int32_t capacity) {
  BIO *bio = openssl.BIO_new(openssl.BIO_s_mem());
  return bio ? taken(bio, openssl.PEM_write_bio_X509(bio, (X509 *)(uintptr_t)certificate) == 1, pem, capacity) : -1;
}

static int set_serial(X509 *certificate) {
  BIGNUM *number = openssl.BN_new();
  int is_done = number && openssl.BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
                openssl.BN_to_ASN1_INTEGER(number, openssl.X509_get_serialNumber(certificate)) != NULL;
  openssl.BN_free(number);
  return is_done;
}

static int set_times(X509 *certificate, int64_t from, int64_t until) {
  time_t first = (time_t)from, last = (time_t)until;
  return openssl.X509_time_adj_ex(openssl.X509_getm_notBefore(certificate), 0, 0, &first) &&
         openssl.X509_time_adj_ex(openssl.X509_getm_notAfter(certificate), 0, 0, &last);
}

static int add_extension(X509 *certificate, X509 *issuer, int kind, const char *value) {
  X509V3_CTX context;
  openssl.X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
  X509V3_set_ctx_nodb(&context);
  X509_EXTENSION *extension = openssl.X509V3_EXT_nconf_nid(NULL, &context, kind, value);
  int is_done = extension && openssl.X509_add_ext(certificate, extension, -1) == 1;
  openssl.X509_EXTENSION_free(extension);
  return is_done;
}

/// Adds one name to `names`; what was made for it is freed when it fails.
static int add_name(GENERAL_NAMES *names, const void *bytes, const struct copenssl_name *name) {
  ASN1_STRING *string = openssl.ASN1_STRING_type_new(name->is_address ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
  GENERAL_NAME *general = string ? openssl.GENERAL_NAME_new() : NULL;
  if (!general || openssl.ASN1_STRING_set(string, (const char *)bytes + name->start, name->count) != 1) {
    openssl.ASN1_STRING_free(string);
    openssl.GENERAL_NAME_free(general);
    return 0;
  }
  openssl.GENERAL_NAME_set0_value(general, name->is_address ? GEN_IPADD : GEN_DNS, string);
  if (openssl.OPENSSL_sk_push((OPENSSL_STACK *)names, general) > 0) return 1;
  openssl.GENERAL_NAME_free(general);
  return 0;
}

static int add_names(X509 *certificate, const struct copenssl_order *order) {
  if (order->name_count == 0) return 1;
  GENERAL_NAMES *names = (GENERAL_NAMES *)openssl.OPENSSL_sk_new_null();
  int is_done = names != NULL;
  for (int32_t index = 0; is_done && index < order->name_count; index++)
    is_done = add_name(names, order->name_bytes, &order->names[index]);
  is_done = is_done && openssl.X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
  openssl.GENERAL_NAMES_free(names);
  return is_done;
}

/// What each use has, by RFC 5280 section 4.2.1. The authority signs no other authorities.
static int add_extensions(X509 *certificate, X509 *issuer, const struct copenssl_order *order) {
  if (order->use == COPENSSL_AUTHORITY) {
    return add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") &&
           add_extension(certificate, certificate, NID_subject_key_identifier, "hash");
  }
  return add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
         add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") &&
         add_extension(certificate, issuer, NID_ext_key_usage,
                       order->use == COPENSSL_SERVER ? "serverAuth" : "clientAuth") &&
         add_extension(certificate, issuer, NID_subject_key_identifier, "hash") &&
         add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always") &&
         add_names(certificate, order);
}

static int fill(X509 *certificate, const struct copenssl_order *order, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key) {
  X509_NAME *subject = openssl.X509_get_subject_name(certificate);
  return openssl.X509_set_version(certificate, 2) == 1 && set_serial(certificate) &&
         set_times(certificate, order->from, order->until) &&
         openssl.X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, order->common_name,
                                            order->common_name_count, -1, 0) == 1 &&
         openssl.X509_set_issuer_name(certificate, issuer ? openssl.X509_get_subject_name(issuer) : subject) == 1 &&
         openssl.X509_set_pubkey(certificate, key) == 1 && add_extensions(certificate, issuer, order) &&
         openssl.X509_sign(certificate, issuer_key, openssl.EVP_sha256()) > 0;
}

struct copenssl_certificate *copenssl_certificate_make(const struct copenssl_order *order, const struct copenssl_key *key,
                                                       const struct copenssl_certificate *issuer,
                                                       const struct copenssl_key *issuer_key, const char **reason) {
  openssl.ERR_clear_error();
  X509 *certificate = openssl.X509_new();
  // The library takes no constant keys; it only counts their owners.
  if (certificate && fill(certificate, order, (EVP_PKEY *)(uintptr_t)key, (X509 *)(uintptr_t)issuer,
                          (EVP_PKEY *)(uintptr_t)issuer_key))
    return (struct copenssl_certificate *)certificate;
  *reason = copenssl_first_reason();
  openssl.X509_free(certificate);
  return NULL;
}

int32_t copenssl_certificate_fits(const struct copenssl_certificate *certificate, const struct copenssl_key *key) {
  openssl.ERR_clear_error();
  return openssl.X509_check_private_key((const X509 *)certificate, (const EVP_PKEY *)key) == 1;
}

const char *copenssl_certificate_verify(struct copenssl_certificate *certificate,
                                        struct copenssl_certificate *authority, int32_t use, int64_t at,
                                        int32_t is_strict) {
  openssl.ERR_clear_error();
  X509 *checked = (X509 *)certificate;
  if (use == COPENSSL_AUTHORITY && openssl.X509_check_ca(checked) != 1) return "it is not the certificate of an authority";
  X509_STORE *store = openssl.X509_STORE_new();
  X509_STORE_CTX *context = store ? openssl.X509_STORE_CTX_new() : NULL;
  const char *problem = "out of memory";
  if (context && openssl.X509_STORE_add_cert(store, (X509 *)authority) == 1 &&
      openssl.X509_STORE_CTX_init(context, store, checked, NULL) == 1) {
    if (use != COPENSSL_AUTHORITY)
      openssl.X509_STORE_CTX_set_purpose(context, use == COPENSSL_SERVER ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
    openssl.X509_STORE_CTX_set_time(context, 0, (time_t)at);
    if (is_strict) openssl.X509_STORE_CTX_set_flags(context, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    problem = openssl.X509_verify_cert(context) == 1
                  ? NULL
                  : openssl.X509_verify_cert_error_string(openssl.X509_STORE_CTX_get_error(context));
  }
  openssl.X509_STORE_CTX_free(context);
  openssl.X509_STORE_free(store);
  return problem;
}

int64_t copenssl_certificate_until(const struct copenssl_certificate *certificate) {
  struct tm time;
  if (openssl.ASN1_TIME_to_tm(openssl.X509_get0_notAfter((const X509 *)certificate), &time) != 1) return -1;
  return timegm(&time);
}

int32_t copenssl_certificate_name(const struct copenssl_certificate *certificate, int32_t index, void *bytes,
                                  int32_t capacity, int32_t *is_address) {
  GENERAL_NAMES *names = openssl.X509_get_ext_d2i((const X509 *)certificate, NID_subject_alt_name, NULL, NULL);
  int32_t answer = -1;
  int count = names ? openssl.OPENSSL_sk_num((const OPENSSL_STACK *)names) : 0;
  for (int place = 0; place < count; place++) {
    const GENERAL_NAME *general = openssl.OPENSSL_sk_value((const OPENSSL_STACK *)names, place);
    if ((general->type != GEN_DNS && general->type != GEN_IPADD) || index-- > 0) continue;
    *is_address = general->type == GEN_IPADD;
    const ASN1_STRING *string = *is_address ? general->d.iPAddress : general->d.dNSName;
    int length = openssl.ASN1_STRING_length(string);
    if (length > capacity) break;
    memcpy(bytes, openssl.ASN1_STRING_get0_data(string), (size_t)length);
    answer = length;
    break;
  }
  openssl.GENERAL_NAMES_free(names);
  return answer;
}

int32_t copenssl_certificate_has_name(const struct copenssl_certificate *certificate, const void *bytes, int32_t count,
                                      int32_t is_address) {
  X509 *checked = (X509 *)(uintptr_t)certificate;
  unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
  return is_address ? openssl.X509_check_ip(checked, bytes, (size_t)count, flags) == 1
                    : openssl.X509_check_host(checked, bytes, (size_t)count, flags, NULL) == 1;
}
