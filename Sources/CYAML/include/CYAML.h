/// libyaml's event parser over bytes in memory: one event a call, with its position. Allocates; for start-up only. It owns
/// the parser and the texts of its last event, and reads no file. Only TaplineConfiguration calls it.
#ifndef CYAML_H
#define CYAML_H

#include <stdint.h>

struct cyaml_parser;

enum {
  CYAML_STREAM_END = 0,
  CYAML_SCALAR = 1,
  CYAML_MAPPING_START = 2,
  CYAML_MAPPING_END = 3,
  CYAML_SEQUENCE_START = 4,
  CYAML_SEQUENCE_END = 5,
  CYAML_ALIAS = 6,
  CYAML_ERROR = 7,
};

/// One event. Its pointers are valid until the next call of cyaml_next or cyaml_close.
struct cyaml_event {
  int32_t type;
  /// A scalar that was quoted or a block (| or >): text even if it looks like a number. 0 or 1.
  int32_t quoted;
  /// The node carries an anchor (&name) or an explicit tag (!name). 0 or 1.
  int32_t anchored;
  int32_t tagged;
  /// A scalar's or an alias's text in UTF-8, or the problem after CYAML_ERROR; NULL when `count` is 0.
  const uint8_t *text;
  int64_t count;
  /// Where it begins, from 1; a column counts characters.
  int32_t line;
  int32_t column;
};

/// A parser over `count` bytes, which must outlive it; NULL when there is no memory.
struct cyaml_parser *cyaml_open(const void *bytes, int64_t count);
/// The next event, whose type is also returned. After CYAML_ERROR or CYAML_STREAM_END the same comes again. A second
/// document in the stream is an error. Depth is bounded by the caller.
int32_t cyaml_next(struct cyaml_parser *parser, struct cyaml_event *event);
/// Frees the parser and its last event; NULL is allowed.
void cyaml_close(struct cyaml_parser *parser);

#endif
