#include "Library.h"

#include <string.h>

/// The bytes of the next character of strict UTF-8 (RFC 3629), and its number; 0: it is none.
static int64_t character(const uint8_t *bytes, int64_t count, uint32_t *number) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  uint8_t first = bytes[0];
  int64_t length = first < 0x80 ? 1 : first < 0xC0 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF8 ? 4 : 0;
  if (length == 0 || length > count) return 0;
  *number = length == 1 ? first : first & (0x7Fu >> length);
  for (int64_t index = 1; index < length; index++) {
    if ((bytes[index] & 0xC0) != 0x80) return 0;
    *number = *number << 6 | (bytes[index] & 0x3F);
  }
  return *number < least[length] || *number > 0x10FFFF || (*number >= 0xD800 && *number <= 0xDFFF) ? 0 : length;
}

int32_t copenssl_judge_name(const void *bytes, int64_t count) {
  if (count <= 0) return COPENSSL_NAME_NONE;
  for (int64_t index = 0; index < count;) {
    uint32_t number;
    int64_t length = character((const uint8_t *)bytes + index, count - index, &number);
    if (length == 0) return COPENSSL_NAME_ENCODING;
    if (number < 0x20 || (number >= 0x7F && number < 0xA0) || number == '#' || number == '+' || number == '/')
      return COPENSSL_NAME_FORBIDDEN;
    index += length;
  }
  return 0;
}

static int32_t copy(const ASN1_STRING *string, char *name, int32_t capacity) {
  int type = openssl.ASN1_STRING_type(string), count = openssl.ASN1_STRING_length(string);
  const unsigned char *bytes = openssl.ASN1_STRING_get0_data(string);
  if (type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING && type != V_ASN1_IA5STRING)
    return COPENSSL_NAME_ENCODING;
  if (count > capacity) return COPENSSL_NAME_TOO_LONG;
  int32_t wrong = copenssl_judge_name(bytes, count);
  if (wrong != 0) return wrong;
  for (int index = 0; type != V_ASN1_UTF8STRING && index < count; index++)
    if (bytes[index] >= 0x80) return COPENSSL_NAME_ENCODING;  // both are ASCII
  memcpy(name, bytes, (size_t)count);
  return count;
}

static int32_t common_name(const X509 *certificate, char *name, int32_t capacity) {
  X509_NAME *subject = openssl.X509_get_subject_name(certificate);
  int place = openssl.X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (place < 0) return COPENSSL_NAME_NONE;
  if (openssl.X509_NAME_get_index_by_NID(subject, NID_commonName, place) >= 0) return COPENSSL_NAME_SEVERAL;
  return copy(openssl.X509_NAME_ENTRY_get_data(openssl.X509_NAME_get_entry(subject, place)), name, capacity);
}

static int32_t dns_name(const X509 *certificate, char *name, int32_t capacity) {
  int critical = 0;
  GENERAL_NAMES *names = openssl.X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);
  if (!names) {
    if (critical == -1) return COPENSSL_NAME_NONE;
    if (critical == -2) return COPENSSL_NAME_SEVERAL;
    return copenssl_lacked_memory() ? COPENSSL_NAME_NO_MEMORY : COPENSSL_NAME_ENCODING;
  }
  int32_t answer = COPENSSL_NAME_NONE;
  int count = openssl.OPENSSL_sk_num((const OPENSSL_STACK *)names);
  for (int index = 0; index < count && answer == COPENSSL_NAME_NONE; index++) {
    const GENERAL_NAME *general = openssl.OPENSSL_sk_value((const OPENSSL_STACK *)names, index);
    if (general->type != GEN_DNS) continue;
    answer = copy(general->d.dNSName, name, capacity);
    break;
  }
  openssl.GENERAL_NAMES_free(names);
  return answer;
}

int32_t copenssl_peer_name(const struct copenssl_connection *connection, int32_t kind, char *name, int32_t capacity) {
  openssl.ERR_clear_error();
  const X509 *certificate = copenssl_verified_certificate(connection);
  if (!certificate) return COPENSSL_NAME_NO_CERTIFICATE;
  return kind == COPENSSL_DNS_NAME ? dns_name(certificate, name, capacity) : common_name(certificate, name, capacity);
}
