#include "CYAML.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct cyaml_parser {
  yaml_parser_t parser;
  yaml_event_t event;
  int32_t has_event;
  int32_t documents;
  struct cyaml_event last;  // what ended the stream, to be repeated
  int32_t ended;
};

struct cyaml_parser *cyaml_open(const void *bytes, int64_t count) {
  struct cyaml_parser *parser = calloc(1, sizeof *parser);
  if (!parser) return NULL;
  if (!yaml_parser_initialize(&parser->parser)) {
    free(parser);
    return NULL;
  }
  yaml_parser_set_input_string(&parser->parser, bytes, (size_t)count);
  return parser;
}

static void forget_event(struct cyaml_parser *parser) {
  if (parser->has_event) yaml_event_delete(&parser->event);
  parser->has_event = 0;
}

static int32_t end(struct cyaml_parser *parser, int32_t type, const char *problem, yaml_mark_t mark,
                   struct cyaml_event *event) {
  parser->ended = 1;
  parser->last = (struct cyaml_event){
      .type = type,
      .text = (const uint8_t *)problem,
      .count = problem ? (int64_t)strlen(problem) : 0,
      .line = (int32_t)mark.line + 1,
      .column = (int32_t)mark.column + 1,
  };
  *event = parser->last;
  return type;
}

/// An error's place: the parser's and scanner's errors have a mark, the reader's only a byte offset.
static yaml_mark_t problem_mark(const yaml_parser_t *parser) {
  return parser->error == YAML_READER_ERROR ? parser->mark : parser->problem_mark;
}

int32_t cyaml_next(struct cyaml_parser *parser, struct cyaml_event *event) {
  if (parser->ended) {
    *event = parser->last;
    return event->type;
  }
  for (;;) {
    forget_event(parser);
    if (!yaml_parser_parse(&parser->parser, &parser->event)) {
      const char *problem = parser->parser.problem ? parser->parser.problem : "out of memory";
      return end(parser, CYAML_ERROR, problem, problem_mark(&parser->parser), event);
    }
    parser->has_event = 1;
    const yaml_event_t *from = &parser->event;
    *event = (struct cyaml_event){0};
    event->line = (int32_t)from->start_mark.line + 1;
    event->column = (int32_t)from->start_mark.column + 1;
    switch (from->type) {
    case YAML_STREAM_END_EVENT:
      return end(parser, CYAML_STREAM_END, NULL, from->start_mark, event);
    case YAML_DOCUMENT_START_EVENT:
      if (++parser->documents > 1) return end(parser, CYAML_ERROR, "a second document", from->start_mark, event);
      continue;
    case YAML_SCALAR_EVENT:
      event->type = CYAML_SCALAR;
      event->quoted = from->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
      event->anchored = from->data.scalar.anchor != NULL;
      event->tagged = from->data.scalar.tag != NULL;
      event->text = from->data.scalar.value;
      event->count = (int64_t)from->data.scalar.length;
      return event->type;
    case YAML_ALIAS_EVENT:
      event->type = CYAML_ALIAS;
      event->text = from->data.alias.anchor;
      event->count = (int64_t)strlen((const char *)from->data.alias.anchor);
      return event->type;
    case YAML_MAPPING_START_EVENT:
      event->type = CYAML_MAPPING_START;
      event->anchored = from->data.mapping_start.anchor != NULL;
      event->tagged = from->data.mapping_start.tag != NULL;
      return event->type;
    case YAML_MAPPING_END_EVENT:
      return event->type = CYAML_MAPPING_END;
    case YAML_SEQUENCE_START_EVENT:
      event->type = CYAML_SEQUENCE_START;
      event->anchored = from->data.sequence_start.anchor != NULL;
      event->tagged = from->data.sequence_start.tag != NULL;
      return event->type;
    case YAML_SEQUENCE_END_EVENT:
      return event->type = CYAML_SEQUENCE_END;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
      continue;
    }
  }
}

void cyaml_close(struct cyaml_parser *parser) {
  if (!parser) return;
  forget_event(parser);
  yaml_parser_delete(&parser->parser);
  free(parser);
}
