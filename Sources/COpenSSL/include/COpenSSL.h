/// TLS through OpenSSL 3, which is loaded when it is asked for and not linked: a board without TLS pays nothing for it. All
/// its memory comes from one arena. A function is one call of the library, or the few that make one step. It owns what the
/// library allocates, each until its free, and does no I/O: records go in and out through `copenssl_io`. Which certificates
/// are wanted, and what follows a failure, is the caller's decision. Only TLS calls it.
#ifndef COPENSSL_H
#define COPENSSL_H

#include <stddef.h>
#include <stdint.h>

// Arena

/// An allocator in one region (two-level segregated fit): bounded time, 16-byte alignment, 8 bytes a block. Any thread may
/// use it; a mutex keeps them apart.
struct copenssl_arena;

struct copenssl_figures {
  int64_t capacity;
  /// Lent bytes with the headers of their blocks, now and at most.
  int64_t used;
  int64_t peak;
  /// Requests that were answered with NULL.
  uint64_t refused;
  /// Requests so far, those refused among them.
  uint64_t requests;
};

/// Lays an arena out in `region`, which is aligned to 16 bytes and outlives it. NULL when the region has no room for one, or
/// has 2 GiB or more.
struct copenssl_arena *copenssl_arena_make(void *region, int64_t byte_count);
/// At least `byte_count` bytes; NULL for none, and when there is no room.
void *copenssl_arena_take(struct copenssl_arena *arena, size_t byte_count);
/// realloc(3): NULL leaves `place` as it is, unless `byte_count` is 0, which gives it back.
void *copenssl_arena_resize(struct copenssl_arena *arena, void *place, size_t byte_count);
/// NULL is allowed. Stops the program when `place` is not lent.
void copenssl_arena_give_back(struct copenssl_arena *arena, void *place);
/// What somebody has of an arena, with the headers of the blocks, and may have.
struct copenssl_account {
  int64_t used;
  int64_t most;
  /// A request was answered with NULL because of `most`. The arena's figures do not count it.
  int32_t is_exceeded;
};

/// From now on what the calling thread takes is charged to `account`, and what it gives back is credited; NULL: to nobody.
void copenssl_arena_charge(struct copenssl_account *account);
struct copenssl_figures copenssl_arena_figures(struct copenssl_arena *arena);
/// For tests: the peak is what is lent now.
void copenssl_arena_forget_peak(struct copenssl_arena *arena);
/// For tests: the request `number` from now on, counted from 1, is refused, once; 0: none is.
void copenssl_arena_refuse(struct copenssl_arena *arena, uint64_t number);

// Library

enum {
  COPENSSL_LOADED = 0,
  /// No libssl.so.3: `detail` is the dynamic linker's sentence.
  COPENSSL_ABSENT = 1,
  /// The library lacks the function that `detail` names.
  COPENSSL_LACKS = 2,
  /// Somebody in this process has used OpenSSL before, so its memory is not the arena's.
  COPENSSL_TAKEN = 3,
  /// A binary with the C library linked in, which cannot load another.
  COPENSSL_STATIC = 4,
  /// The arena is too small to begin, or the library refuses to start: `detail` is its reason or NULL.
  COPENSSL_BROKEN = 5,
};

/// dlopen, the memory functions, OPENSSL_init_ssl: once in a process; a second call answers with COPENSSL_TAKEN. Reads
/// the system's openssl.cnf. `region` is the arena's for as long as the process lives; `detail` lives as long.
int32_t copenssl_load(void *region, int64_t byte_count, const char **detail);
/// The version of the library, "3.0.19".
const char *copenssl_version(void);
/// The library's arena; NULL while it is not loaded.
struct copenssl_arena *copenssl_arena(void);
/// Gives back what the library keeps for the calling thread: error queue, random numbers.
void copenssl_thread_stop(void);
/// Whether the processor has instructions for AES (on aarch64; 1 elsewhere).
int32_t copenssl_has_aes(void);

// Contexts

struct copenssl_context;

/// A file's bytes; `count` 0: there is none.
struct copenssl_file {
  const void *bytes;
  int64_t count;
};

enum { COPENSSL_TLS_1_2 = 0x0303, COPENSSL_TLS_1_3 = 0x0304 };
enum { COPENSSL_PEER_NONE = 0, COPENSSL_PEER_OPTIONAL = 1, COPENSSL_PEER_REQUIRED = 2 };

struct copenssl_settings {
  /// PEM: the own certificate, then those up to the authority's.
  struct copenssl_file certificates;
  struct copenssl_file key;
  /// PEM: who signs the peers' certificates.
  struct copenssl_file authorities;
  /// PEM: what the authorities have revoked. Only the peer's own certificate is looked for.
  struct copenssl_file revocations;
  int32_t is_client;
  int32_t minimum_version;
  /// 0: the newest that the library has.
  int32_t maximum_version;
  /// Whether the peer shows a certificate. One that is shown and not signed by an authority is refused in any case but NONE.
  int32_t peer_certificate;
  int32_t chacha_first;
};

enum {
  COPENSSL_FILE_NONE = 0,
  COPENSSL_FILE_CERTIFICATES = 1,
  COPENSSL_FILE_KEY = 2,
  COPENSSL_FILE_AUTHORITIES = 3,
  COPENSSL_FILE_REVOCATIONS = 4,
};
enum {
  COPENSSL_FINE = 0,
  COPENSSL_NO_MEMORY = 1,
  /// The PEM or what it holds is broken.
  COPENSSL_UNREADABLE = 2,
  /// The file holds nothing of its kind.
  COPENSSL_EMPTY = 3,
  /// The key wants a passphrase.
  COPENSSL_ENCRYPTED = 4,
  /// The key is not that of the first certificate.
  COPENSSL_MISMATCH = 5,
  /// The library does not take it, such as a key that is too short.
  COPENSSL_REFUSED = 6,
};
enum {
  COPENSSL_CERTIFICATE_EXPIRED = 1,
  COPENSSL_CERTIFICATE_EARLY = 2,
  COPENSSL_AUTHORITY_EXPIRED = 4,
  COPENSSL_AUTHORITY_EARLY = 8,
  COPENSSL_REVOCATIONS_EXPIRED = 16,
};

struct copenssl_verdict {
  int32_t problem;
  int32_t file;
  /// By the wall clock.
  uint32_t warnings;
  /// The library's words for the problem, in static memory, or NULL.
  const char *reason;
};

/// A context from bytes in memory, or NULL and why. Connections keep theirs when it is freed.
struct copenssl_context *copenssl_context_new(const struct copenssl_settings *settings, struct copenssl_verdict *verdict);
void copenssl_context_free(struct copenssl_context *context);

// Connections: one thread at a time

struct copenssl_connection;

/// What a call reads and where it writes. `taken` and `produced` are the call's answer.
struct copenssl_io {
  const void *input;
  int32_t input_count;
  int32_t taken;
  void *output;
  int32_t output_capacity;
  int32_t produced;
};

enum {
  /// More records are needed; what was given is used up.
  COPENSSL_WANTS_INPUT = -1,
  /// The output is full. What it did not take is kept inside and goes first.
  COPENSSL_WANTS_ROOM = -2,
  /// The peer has said close_notify.
  COPENSSL_ENDED = -3,
  /// For good; an alert for the peer may have been produced. Only free may follow, and the questions why.
  COPENSSL_FAILED = -4,
};
enum {
  COPENSSL_CAUSE_PROTOCOL = 0,
  COPENSSL_CAUSE_MEMORY = 1,
  /// The peer's certificate, or that it has shown none.
  COPENSSL_CAUSE_CERTIFICATE = 2,
  /// The peer has ended it with an alert.
  COPENSSL_CAUSE_ALERT = 3,
};

/// Bytes of the arena that a connection may have: while it shakes hands, and when it is open. A handshake that takes more
/// fails, with COPENSSL_CAUSE_MEMORY.
struct copenssl_bounds {
  int64_t shaking;
  int64_t open;
};

/// NULL when there is no memory.
struct copenssl_connection *copenssl_connection_new(struct copenssl_context *context, struct copenssl_bounds bounds);
/// NULL is allowed.
void copenssl_connection_free(struct copenssl_connection *connection);
/// 0 when the handshake is done, or one of the above. Of the certificates that a client has sent a server keeps its own.
int32_t copenssl_handshake(struct copenssl_connection *connection, struct copenssl_io *io);
/// Bytes of plaintext, 1 or more, or one of the above.
int32_t copenssl_read(struct copenssl_connection *connection, struct copenssl_io *io, void *bytes, int32_t capacity);
/// Plaintext of the last record that was not read: its buffer of 16.6 KiB is kept for so long.
int32_t copenssl_pending(const struct copenssl_connection *connection);
/// Bytes of plaintext that were taken, 1 or more, or one of the above. After WANTS_ROOM the same bytes are given again.
int32_t copenssl_write(struct copenssl_connection *connection, struct copenssl_io *io, const void *bytes, int32_t count);
/// Says close_notify: 0, or one of the above. Only after the handshake.
int32_t copenssl_shutdown(struct copenssl_connection *connection, struct copenssl_io *io);
/// For tests: new keys in TLS 1.3, and a request for the peer's. 0, or one of the above.
int32_t copenssl_update_keys(struct copenssl_connection *connection, struct copenssl_io *io);
/// Why the connection has failed: a COPENSSL_CAUSE, and words in static memory.
int32_t copenssl_cause(const struct copenssl_connection *connection);
const char *copenssl_reason(const struct copenssl_connection *connection);
/// COPENSSL_TLS_1_2 or COPENSSL_TLS_1_3, once the handshake is done.
int32_t copenssl_protocol(const struct copenssl_connection *connection);
/// The most plaintext of a record that the peer takes: 512 to 16,384.
int32_t copenssl_fragment_max(const struct copenssl_connection *connection);

// The peer's name

enum { COPENSSL_COMMON_NAME = 0, COPENSSL_DNS_NAME = 1 };
enum {
  /// The peer has shown no certificate, or one that was not verified.
  COPENSSL_NAME_NO_CERTIFICATE = -1,
  /// The certificate has no such name, or an empty one.
  COPENSSL_NAME_NONE = -2,
  /// Two common names, or two extensions.
  COPENSSL_NAME_SEVERAL = -3,
  /// Over `capacity`.
  COPENSSL_NAME_TOO_LONG = -4,
  /// A NUL or another control character, or `#`, `+` or `/`.
  COPENSSL_NAME_FORBIDDEN = -5,
  /// Not UTF-8, or a type of string that is neither UTF-8 nor ASCII.
  COPENSSL_NAME_ENCODING = -6,
  COPENSSL_NAME_NO_MEMORY = -7,
};

/// The only common name of the peer's subject, or the first dNSName of its subjectAltName: bytes written, 1 or more, or one
/// of the above.
int32_t copenssl_peer_name(const struct copenssl_connection *connection, int32_t kind, char *name, int32_t capacity);
/// The check behind it: 0, or one of the above.
int32_t copenssl_judge_name(const void *bytes, int64_t count);

// Certificates that are made: for commands, not for the daemon. Keys and certificates are the caller's until they are freed.

struct copenssl_key;
struct copenssl_certificate;

/// A new key of ECDSA with P-256; NULL when there is no memory or no random number.
struct copenssl_key *copenssl_key_make(void);
/// The private key of a PEM file; NULL, and in `verdict` the problem and the reason, when there is none.
struct copenssl_key *copenssl_key_read(struct copenssl_file file, struct copenssl_verdict *verdict);
/// NULL is allowed.
void copenssl_key_free(struct copenssl_key *key);
/// PKCS #8 without a passphrase, in PEM: bytes written, or -1 when `capacity` or the memory does not do.
int32_t copenssl_key_write(const struct copenssl_key *key, void *pem, int32_t capacity);

/// The first certificate of a PEM file; NULL, and in `verdict` the problem and the reason, when there is none.
struct copenssl_certificate *copenssl_certificate_read(struct copenssl_file file, struct copenssl_verdict *verdict);
/// NULL is allowed.
void copenssl_certificate_free(struct copenssl_certificate *certificate);
/// PEM: bytes written, or -1 when `capacity` or the memory does not do.
int32_t copenssl_certificate_write(const struct copenssl_certificate *certificate, void *pem, int32_t capacity);

enum { COPENSSL_AUTHORITY = 0, COPENSSL_SERVER = 1, COPENSSL_CLIENT = 2 };

/// One name of a subjectAltName: ASCII, or the 4 or 16 bytes of an address, at `start` of the memory for all names.
struct copenssl_name {
  int32_t start;
  int32_t count;
  int32_t is_address;
};

/// What a certificate is to say.
struct copenssl_order {
  int32_t use;
  int32_t name_count;
  /// The names that a client may use for a server; a client's own DNS name.
  const struct copenssl_name *names;
  const void *name_bytes;
  /// UTF-8, 64 characters at most.
  const void *common_name;
  int32_t common_name_count;
  /// Seconds since 1970, the first and the last in which it is valid.
  int64_t from;
  int64_t until;
};

/// A certificate for the holder of `key`, signed with `issuer_key`, which is that of `issuer`; an authority's own has NULL for
/// `issuer` and `key` for both keys. The serial number has 159 random bits. NULL, and the reason, when it cannot be made.
struct copenssl_certificate *copenssl_certificate_make(const struct copenssl_order *order, const struct copenssl_key *key,
                                                       const struct copenssl_certificate *issuer,
                                                       const struct copenssl_key *issuer_key, const char **reason);
/// 1 when `key` is the key of `certificate`, else 0.
int32_t copenssl_certificate_fits(const struct copenssl_certificate *certificate, const struct copenssl_key *key);
/// Whether who trusts `authority` takes `certificate` for `use` at `at` (seconds since 1970): NULL, or why not. `is_strict`:
/// by all rules of RFC 5280 that the library checks.
const char *copenssl_certificate_verify(struct copenssl_certificate *certificate,
                                        struct copenssl_certificate *authority, int32_t use, int64_t at,
                                        int32_t is_strict);
/// The last second in which it is valid, since 1970; -1 when it says none.
int64_t copenssl_certificate_until(const struct copenssl_certificate *certificate);
/// The DNS name or address number `index`, counted from 0, of its subjectAltName: bytes written, or -1 when there is no such
/// number or `capacity` does not do.
int32_t copenssl_certificate_name(const struct copenssl_certificate *certificate, int32_t index, void *bytes,
                                  int32_t capacity, int32_t *is_address);
/// 1 when a client that looks for this name takes it from the subjectAltName, else 0.
int32_t copenssl_certificate_has_name(const struct copenssl_certificate *certificate, const void *bytes, int32_t count,
                                      int32_t is_address);

#endif
