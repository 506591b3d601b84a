#include "Library.h"

#include <string.h>

struct copenssl_connection {
  SSL *ssl;
  struct copenssl_io *io;  // of the call under way
  const char *reason;
  struct copenssl_account account;  // until the handshake is done
  int64_t open_bytes_max;
  int32_t cause;
};

// The BIO between a connection and the memory of the call under way. A memory BIO of the library would grow.

static int bio_read(BIO *bio, char *to, int count) {
  struct copenssl_io *io = ((struct copenssl_connection *)openssl.BIO_get_data(bio))->io;
  openssl.BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
  int fitting = io->input_count - io->taken < count ? io->input_count - io->taken : count;
  if (fitting <= 0) {
    openssl.BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
    return -1;
  }
  memcpy(to, (const char *)io->input + io->taken, (size_t)fitting);
  io->taken += fitting;
  return fitting;
}

static int bio_write(BIO *bio, const char *from, int count) {
  struct copenssl_io *io = ((struct copenssl_connection *)openssl.BIO_get_data(bio))->io;
  openssl.BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
  int fitting = io->output_capacity - io->produced < count ? io->output_capacity - io->produced : count;
  if (fitting <= 0) {
    openssl.BIO_set_flags(bio, BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY);
    return -1;
  }
  memcpy((char *)io->output + io->produced, from, (size_t)fitting);
  io->produced += fitting;
  return fitting;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
  (void)bio, (void)number, (void)pointer;
  return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio) {
  openssl.BIO_set_init(bio, 1);
  return 1;
}

/// Between calls a connection reads nothing and writes nowhere.
static struct copenssl_io nothing;

BIO_METHOD *copenssl_make_bio_method(void) {
  BIO_METHOD *method = openssl.BIO_meth_new(BIO_TYPE_SOURCE_SINK | 100, "call");
  if (!method) return NULL;
  openssl.BIO_meth_set_read(method, bio_read);
  openssl.BIO_meth_set_write(method, bio_write);
  openssl.BIO_meth_set_ctrl(method, bio_ctrl);
  openssl.BIO_meth_set_create(method, bio_create);
  return method;
}

struct copenssl_connection *copenssl_connection_new(struct copenssl_context *context, struct copenssl_bounds bounds) {
  openssl.ERR_clear_error();
  struct copenssl_connection *connection = openssl.CRYPTO_zalloc(sizeof *connection, "", 0);
  if (!connection) return NULL;
  connection->io = &nothing;
  connection->account.most = bounds.shaking;
  connection->open_bytes_max = bounds.open;
  copenssl_arena_charge(&connection->account);
  connection->ssl = openssl.SSL_new((SSL_CTX *)context);
  BIO *bio = connection->ssl ? openssl.BIO_new(copenssl_bio_method) : NULL;
  copenssl_arena_charge(NULL);
  if (!bio) {
    copenssl_connection_free(connection);
    return NULL;
  }
  openssl.BIO_set_data(bio, connection);
  openssl.SSL_set_bio(connection->ssl, bio, bio);
  if (openssl.SSL_is_server(connection->ssl)) openssl.SSL_set_accept_state(connection->ssl);
  else openssl.SSL_set_connect_state(connection->ssl);
  return connection;
}

void copenssl_connection_free(struct copenssl_connection *connection) {
  if (!connection) return;
  openssl.SSL_free(connection->ssl);
  openssl.CRYPTO_free(connection, "", 0);
}

static void begin(struct copenssl_connection *connection, struct copenssl_io *io) {
  io->taken = 0;
  io->produced = 0;
  connection->io = io;
  openssl.ERR_clear_error();
}

/// The number of an error of the TLS part; 0 for others.
static int32_t number_of(unsigned long error) { return ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0; }

static int32_t fail_with(struct copenssl_connection *connection, int32_t cause, const char *reason) {
  connection->cause = cause;
  connection->reason = reason;
  openssl.ERR_clear_error();
  return COPENSSL_FAILED;
}

static const char too_much[] = "the handshake takes more memory than a connection has";

static int32_t fail(struct copenssl_connection *connection) {
  if (connection->account.is_exceeded) return fail_with(connection, COPENSSL_CAUSE_MEMORY, too_much);
  int32_t first = number_of(openssl.ERR_peek_error()), last = number_of(openssl.ERR_peek_last_error());
  long verified = openssl.SSL_get_verify_result(connection->ssl);
  connection->reason = copenssl_first_reason();
  connection->cause = COPENSSL_CAUSE_PROTOCOL;
  if (copenssl_lacked_memory() || verified == X509_V_ERR_OUT_OF_MEM) {
    connection->cause = COPENSSL_CAUSE_MEMORY;
  } else if (first > SSL_AD_REASON_OFFSET) {
    connection->cause = COPENSSL_CAUSE_ALERT;
  } else if (first == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    connection->cause = COPENSSL_CAUSE_CERTIFICATE;
  } else if (first == SSL_R_CERTIFICATE_VERIFY_FAILED || last == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    connection->cause = COPENSSL_CAUSE_CERTIFICATE;
    if (verified != X509_V_OK) connection->reason = openssl.X509_verify_cert_error_string(verified);
  }
  openssl.ERR_clear_error();
  return COPENSSL_FAILED;
}

/// The meaning of a call's result that is no success.
static int32_t meaning(struct copenssl_connection *connection, int result) {
  switch (openssl.SSL_get_error(connection->ssl, result)) {
  case SSL_ERROR_WANT_READ: return COPENSSL_WANTS_INPUT;
  case SSL_ERROR_WANT_WRITE: return COPENSSL_WANTS_ROOM;
  case SSL_ERROR_ZERO_RETURN: return COPENSSL_ENDED;
  default: return fail(connection);
  }
}

static int32_t end(struct copenssl_connection *connection, int result, int is_success) {
  int32_t answer = is_success ? result : meaning(connection, result);
  connection->io = &nothing;
  return answer;
}

static void empty(STACK_OF(X509) *certificates) {
  X509 *certificate;
  while (certificates && (certificate = openssl.OPENSSL_sk_pop((OPENSSL_STACK *)certificates)))
    openssl.X509_free(certificate);
}

/// Frees what a client has sent beside its own certificate, which the session has in another place. The verdict is there, and
/// nobody asks for the chain again.
static void forget_chain(SSL *ssl) {
  if (!openssl.SSL_is_server(ssl)) return;
  empty(openssl.SSL_get_peer_cert_chain(ssl));
  empty(openssl.SSL_get0_verified_chain(ssl));
}

int32_t copenssl_handshake(struct copenssl_connection *connection, struct copenssl_io *io) {
  begin(connection, io);
  copenssl_arena_charge(&connection->account);
  int result = openssl.SSL_do_handshake(connection->ssl);
  if (result == 1) forget_chain(connection->ssl);
  copenssl_arena_charge(NULL);
  int32_t answer = end(connection, result, result == 1);
  if (answer != 1) return answer;
  if (connection->account.used <= connection->open_bytes_max) return 0;
  return fail_with(connection, COPENSSL_CAUSE_MEMORY, too_much);
}

int32_t copenssl_read(struct copenssl_connection *connection, struct copenssl_io *io, void *bytes, int32_t capacity) {
  begin(connection, io);
  int result = openssl.SSL_read(connection->ssl, bytes, capacity);
  return end(connection, result, result > 0);
}

int32_t copenssl_write(struct copenssl_connection *connection, struct copenssl_io *io, const void *bytes,
                       int32_t count) {
  begin(connection, io);
  int result = openssl.SSL_write(connection->ssl, bytes, count);
  return end(connection, result, result > 0);
}

int32_t copenssl_pending(const struct copenssl_connection *connection) { return openssl.SSL_pending(connection->ssl); }

int32_t copenssl_shutdown(struct copenssl_connection *connection, struct copenssl_io *io) {
  begin(connection, io);
  int result = openssl.SSL_shutdown(connection->ssl);
  int32_t answer = end(connection, result, result >= 0);
  return answer > 0 ? 0 : answer;
}

int32_t copenssl_update_keys(struct copenssl_connection *connection, struct copenssl_io *io) {
  if (openssl.SSL_key_update(connection->ssl, SSL_KEY_UPDATE_REQUESTED) != 1) return COPENSSL_FAILED;
  return copenssl_handshake(connection, io);
}

int32_t copenssl_cause(const struct copenssl_connection *connection) { return connection->cause; }

const char *copenssl_reason(const struct copenssl_connection *connection) {
  return connection->reason ? connection->reason : "no reason given";
}

const X509 *copenssl_verified_certificate(const struct copenssl_connection *connection) {
  const SSL *ssl = connection->ssl;
  if (openssl.SSL_get_state(ssl) != TLS_ST_OK || !(openssl.SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) ||
      openssl.SSL_get_verify_result(ssl) != X509_V_OK)
    return NULL;
  return openssl.SSL_get0_peer_certificate(ssl);
}

int32_t copenssl_protocol(const struct copenssl_connection *connection) { return openssl.SSL_version(connection->ssl); }

int32_t copenssl_fragment_max(const struct copenssl_connection *connection) {
  const SSL_SESSION *session = openssl.SSL_get_session(connection->ssl);
  uint8_t code = session ? openssl.SSL_SESSION_get_max_fragment_length(session) : 0;  // RFC 6066, section 4
  return code >= 1 && code <= 4 ? 256 << code : 16384;
}
