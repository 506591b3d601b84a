#define _GNU_SOURCE
#include "CGPIOD.h"

#include <errno.h>
#include <fcntl.h>
#include <gpiod.h>
#include <string.h>

static void copy_name(char *to, const char *from) {
  memset(to, 0, CGPIOD_NAME_BYTES);
  if (from) strncpy(to, from, CGPIOD_NAME_BYTES - 1);
}

// A failed call without an errno is the library's mistake; it must not look like success.
static int32_t last_error(void) { return errno > 0 ? -errno : -EIO; }

static int32_t set_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? last_error() : 0;
}

int32_t cgpiod_chip_open(const char *path, struct cgpiod_chip **chip) {
  struct gpiod_chip *opened = gpiod_chip_open(path);
  if (!opened) return last_error();
  *chip = (struct cgpiod_chip *)opened;
  return 0;
}

void cgpiod_chip_close(struct cgpiod_chip *chip) { gpiod_chip_close((struct gpiod_chip *)chip); }

#ifdef GPIOD_LINE_BULK_MAX_LINES
// libgpiod 1.6. A request is its gpiod_line, which the open chip owns.

uint32_t cgpiod_capabilities(void) { return 0; }

int32_t cgpiod_chip_info(struct cgpiod_chip *chip, struct cgpiod_chip_info *info) {
  struct gpiod_chip *from = (struct gpiod_chip *)chip;
  copy_name(info->name, gpiod_chip_name(from));
  copy_name(info->label, gpiod_chip_label(from));
  info->line_count = gpiod_chip_num_lines(from);
  return 0;
}

int32_t cgpiod_line_info(struct cgpiod_chip *chip, uint32_t offset, struct cgpiod_line_info *info) {
  struct gpiod_line *line = gpiod_chip_get_line((struct gpiod_chip *)chip, offset);
  if (!line) return last_error();
  copy_name(info->name, gpiod_line_name(line));
  copy_name(info->consumer, gpiod_line_consumer(line));
  info->used = gpiod_line_is_used(line);
  info->output = gpiod_line_direction(line) == GPIOD_LINE_DIRECTION_OUTPUT;
  info->active_low = gpiod_line_active_state(line) == GPIOD_LINE_ACTIVE_STATE_LOW;
  return 0;
}

static int request_type(const struct cgpiod_settings *settings) {
  if (settings->direction == CGPIOD_OUTPUT) return GPIOD_LINE_REQUEST_DIRECTION_OUTPUT;
  switch (settings->edges) {
  case CGPIOD_EDGES_BOTH: return GPIOD_LINE_REQUEST_EVENT_BOTH_EDGES;
  case CGPIOD_EDGES_RISING: return GPIOD_LINE_REQUEST_EVENT_RISING_EDGE;
  case CGPIOD_EDGES_FALLING: return GPIOD_LINE_REQUEST_EVENT_FALLING_EDGE;
  default: return GPIOD_LINE_REQUEST_DIRECTION_INPUT;
  }
}

static int request_flags(const struct cgpiod_settings *settings) {
  static const int bias[] = {0, GPIOD_LINE_REQUEST_FLAG_BIAS_DISABLE, GPIOD_LINE_REQUEST_FLAG_BIAS_PULL_UP,
                             GPIOD_LINE_REQUEST_FLAG_BIAS_PULL_DOWN};
  static const int drive[] = {0, GPIOD_LINE_REQUEST_FLAG_OPEN_DRAIN, GPIOD_LINE_REQUEST_FLAG_OPEN_SOURCE, 0};
  int flags = bias[settings->bias & 3] | (settings->active_low ? GPIOD_LINE_REQUEST_FLAG_ACTIVE_LOW : 0);
  return settings->direction == CGPIOD_OUTPUT ? flags | drive[settings->drive & 3] : flags;
}

static int keeps_level(const struct cgpiod_settings *settings) {
  return settings->direction == CGPIOD_OUTPUT && settings->initial == CGPIOD_KEEP;
}

/// Makes an output of a line that was requested as it is. 0 or -errno.
static int32_t keep_level(struct gpiod_line *line, const struct cgpiod_settings *settings) {
  int value = gpiod_line_get_value(line);
  if (value < 0) return last_error();
  int type = GPIOD_LINE_REQUEST_DIRECTION_OUTPUT;
  return gpiod_line_set_config(line, type, request_flags(settings), value) < 0 ? last_error() : 0;
}

int32_t cgpiod_request(const char *path, uint32_t offset, const struct cgpiod_settings *settings, const char *consumer,
                       struct cgpiod_request **request, char *holder) {
  copy_name(holder, NULL);
  if (settings->debounce_us > 0) return -EOPNOTSUPP;
  struct gpiod_chip *chip = gpiod_chip_open(path);
  if (!chip) return last_error();
  struct gpiod_line *line = gpiod_chip_get_line(chip, offset);
  struct gpiod_line_request_config config = {
      .consumer = consumer, .request_type = request_type(settings), .flags = request_flags(settings)};
  if (keeps_level(settings)) {  // drive and bias go with a direction only
    config.request_type = GPIOD_LINE_REQUEST_DIRECTION_AS_IS;
    config.flags = settings->active_low ? GPIOD_LINE_REQUEST_FLAG_ACTIVE_LOW : 0;
  }
  int32_t error = 0;
  if (!line || gpiod_line_request(line, &config, settings->initial == CGPIOD_ACTIVE) < 0) error = last_error();
  if (error == -EBUSY && line) copy_name(holder, gpiod_line_consumer(line));
  if (error == 0 && settings->direction == CGPIOD_INPUT && settings->edges != CGPIOD_EDGES_NONE)
    error = set_nonblocking(gpiod_line_event_get_fd(line));
  if (error == 0 && keeps_level(settings)) error = keep_level(line, settings);
  if (error != 0) {
    gpiod_chip_close(chip);
    return error;
  }
  *request = (struct cgpiod_request *)line;
  return 0;
}

void cgpiod_release(struct cgpiod_request *request) {
  gpiod_chip_close(gpiod_line_get_chip((struct gpiod_line *)request));  // releases the line
}

int32_t cgpiod_fd(struct cgpiod_request *request) {
  int fd = gpiod_line_event_get_fd((struct gpiod_line *)request);
  return fd < 0 ? -ENOTSUP : fd;
}

int32_t cgpiod_get(struct cgpiod_request *request) {
  int value = gpiod_line_get_value((struct gpiod_line *)request);
  return value < 0 ? last_error() : value;
}

int32_t cgpiod_set(struct cgpiod_request *request, int32_t active) {
  return gpiod_line_set_value((struct gpiod_line *)request, active != 0) < 0 ? last_error() : 0;
}

int32_t cgpiod_buffer_new(int32_t capacity, struct cgpiod_buffer **buffer) {
  (void)capacity;
  *buffer = NULL;
  return 0;
}

void cgpiod_buffer_free(struct cgpiod_buffer *buffer) { (void)buffer; }

int32_t cgpiod_read_edges(struct cgpiod_request *request, struct cgpiod_buffer *buffer, struct cgpiod_edge *edges,
                          int32_t capacity) {
  (void)buffer;
  struct gpiod_line_event events[16];
  unsigned most = capacity < 16 ? (unsigned)capacity : 16;
  int count = gpiod_line_event_read_multiple((struct gpiod_line *)request, events, most);
  if (count < 0) return last_error();
  for (int index = 0; index < count; index++) {
    edges[index].timestamp_ns = (int64_t)events[index].ts.tv_sec * 1000000000 + events[index].ts.tv_nsec;
    edges[index].sequence = 0;
    edges[index].rising = events[index].event_type == GPIOD_LINE_EVENT_RISING_EDGE;
  }
  return count;
}

#else
// libgpiod 2.x. A request is its gpiod_line_request of one line; the chip is closed again.

uint32_t cgpiod_capabilities(void) { return CGPIOD_KERNEL_DEBOUNCE | CGPIOD_SEQUENCE_NUMBERS | CGPIOD_EVENT_CLOCK; }

int32_t cgpiod_chip_info(struct cgpiod_chip *chip, struct cgpiod_chip_info *info) {
  struct gpiod_chip_info *from = gpiod_chip_get_info((struct gpiod_chip *)chip);
  if (!from) return last_error();
  copy_name(info->name, gpiod_chip_info_get_name(from));
  copy_name(info->label, gpiod_chip_info_get_label(from));
  info->line_count = (uint32_t)gpiod_chip_info_get_num_lines(from);
  gpiod_chip_info_free(from);
  return 0;
}

int32_t cgpiod_line_info(struct cgpiod_chip *chip, uint32_t offset, struct cgpiod_line_info *info) {
  struct gpiod_line_info *from = gpiod_chip_get_line_info((struct gpiod_chip *)chip, offset);
  if (!from) return last_error();
  copy_name(info->name, gpiod_line_info_get_name(from));
  copy_name(info->consumer, gpiod_line_info_get_consumer(from));
  info->used = gpiod_line_info_is_used(from);
  info->output = gpiod_line_info_get_direction(from) == GPIOD_LINE_DIRECTION_OUTPUT;
  info->active_low = gpiod_line_info_is_active_low(from);
  gpiod_line_info_free(from);
  return 0;
}

static int keeps_level(const struct cgpiod_settings *settings) {
  return settings->direction == CGPIOD_OUTPUT && settings->initial == CGPIOD_KEEP;
}

static int apply(const struct cgpiod_settings *from, struct gpiod_line_settings *to) {
  static const enum gpiod_line_edge edges[] = {GPIOD_LINE_EDGE_NONE, GPIOD_LINE_EDGE_BOTH, GPIOD_LINE_EDGE_RISING,
                                               GPIOD_LINE_EDGE_FALLING};
  static const enum gpiod_line_bias bias[] = {GPIOD_LINE_BIAS_AS_IS, GPIOD_LINE_BIAS_DISABLED, GPIOD_LINE_BIAS_PULL_UP,
                                              GPIOD_LINE_BIAS_PULL_DOWN};
  static const enum gpiod_line_drive drive[] = {GPIOD_LINE_DRIVE_PUSH_PULL, GPIOD_LINE_DRIVE_OPEN_DRAIN,
                                                GPIOD_LINE_DRIVE_OPEN_SOURCE, GPIOD_LINE_DRIVE_PUSH_PULL};
  gpiod_line_settings_set_active_low(to, from->active_low);
  if (keeps_level(from)) return gpiod_line_settings_set_direction(to, GPIOD_LINE_DIRECTION_AS_IS);  // see keep_level
  int wrong = gpiod_line_settings_set_bias(to, bias[from->bias & 3]);
  if (from->direction == CGPIOD_OUTPUT) {
    wrong |= gpiod_line_settings_set_direction(to, GPIOD_LINE_DIRECTION_OUTPUT);
    wrong |= gpiod_line_settings_set_drive(to, drive[from->drive & 3]);
    enum gpiod_line_value initial = from->initial == CGPIOD_ACTIVE ? GPIOD_LINE_VALUE_ACTIVE : GPIOD_LINE_VALUE_INACTIVE;
    wrong |= gpiod_line_settings_set_output_value(to, initial);
    return wrong;
  }
  wrong |= gpiod_line_settings_set_direction(to, GPIOD_LINE_DIRECTION_INPUT);
  wrong |= gpiod_line_settings_set_edge_detection(to, edges[from->edges & 3]);
  wrong |= gpiod_line_settings_set_event_clock(to, GPIOD_LINE_CLOCK_MONOTONIC);
  gpiod_line_settings_set_debounce_period_us(to, from->debounce_us);
  return wrong;
}

/// Makes an output of a line that was requested as it is. 0 or -errno.
static int32_t keep_level(struct gpiod_line_request *request, uint32_t offset, const struct cgpiod_settings *settings,
                          struct gpiod_line_settings *line, struct gpiod_line_config *lines) {
  enum gpiod_line_value value;
  if (gpiod_line_request_get_values(request, &value) < 0) return last_error();
  struct cgpiod_settings kept = *settings;
  kept.initial = value == GPIOD_LINE_VALUE_ACTIVE ? CGPIOD_ACTIVE : CGPIOD_INACTIVE;
  gpiod_line_config_reset(lines);
  if (apply(&kept, line) != 0 || gpiod_line_config_add_line_settings(lines, &offset, 1, line) < 0) return last_error();
  return gpiod_line_request_reconfigure_lines(request, lines) < 0 ? last_error() : 0;
}

static void name_holder(struct gpiod_chip *chip, uint32_t offset, char *holder) {
  struct gpiod_line_info *info = gpiod_chip_get_line_info(chip, offset);
  if (!info) return;
  copy_name(holder, gpiod_line_info_get_consumer(info));
  gpiod_line_info_free(info);
}

int32_t cgpiod_request(const char *path, uint32_t offset, const struct cgpiod_settings *settings, const char *consumer,
                       struct cgpiod_request **request, char *holder) {
  copy_name(holder, NULL);
  struct gpiod_chip *chip = gpiod_chip_open(path);
  if (!chip) return last_error();
  struct gpiod_line_settings *line = gpiod_line_settings_new();
  struct gpiod_line_config *lines = gpiod_line_config_new();
  struct gpiod_request_config *config = gpiod_request_config_new();
  struct gpiod_line_request *made = NULL;
  int32_t error = 0;
  if (!line || !lines || !config) {
    error = -ENOMEM;
  } else if (apply(settings, line) != 0 || gpiod_line_config_add_line_settings(lines, &offset, 1, line) < 0) {
    error = last_error();
  } else {
    gpiod_request_config_set_consumer(config, consumer);
    gpiod_request_config_set_event_buffer_size(config, settings->event_count);
    made = gpiod_chip_request_lines(chip, config, lines);
    if (!made) error = last_error();
    if (made && keeps_level(settings)) error = keep_level(made, offset, settings, line, lines);
  }
  if (error == -EBUSY) name_holder(chip, offset, holder);
  gpiod_request_config_free(config);
  gpiod_line_config_free(lines);
  gpiod_line_settings_free(line);
  gpiod_chip_close(chip);
  if (error == 0) error = set_nonblocking(gpiod_line_request_get_fd(made));
  if (error != 0) {
    gpiod_line_request_release(made);
    return error;
  }
  *request = (struct cgpiod_request *)made;
  return 0;
}

void cgpiod_release(struct cgpiod_request *request) {
  gpiod_line_request_release((struct gpiod_line_request *)request);
}

int32_t cgpiod_fd(struct cgpiod_request *request) {
  return gpiod_line_request_get_fd((struct gpiod_line_request *)request);
}

int32_t cgpiod_get(struct cgpiod_request *request) {
  enum gpiod_line_value value;
  if (gpiod_line_request_get_values((struct gpiod_line_request *)request, &value) < 0) return last_error();
  return value == GPIOD_LINE_VALUE_ACTIVE;
}

int32_t cgpiod_set(struct cgpiod_request *request, int32_t active) {
  enum gpiod_line_value value = active ? GPIOD_LINE_VALUE_ACTIVE : GPIOD_LINE_VALUE_INACTIVE;
  return gpiod_line_request_set_values((struct gpiod_line_request *)request, &value) < 0 ? last_error() : 0;
}

int32_t cgpiod_buffer_new(int32_t capacity, struct cgpiod_buffer **buffer) {
  struct gpiod_edge_event_buffer *made = gpiod_edge_event_buffer_new((size_t)capacity);
  if (!made) return -ENOMEM;
  *buffer = (struct cgpiod_buffer *)made;
  return 0;
}

void cgpiod_buffer_free(struct cgpiod_buffer *buffer) {
  gpiod_edge_event_buffer_free((struct gpiod_edge_event_buffer *)buffer);
}

int32_t cgpiod_read_edges(struct cgpiod_request *request, struct cgpiod_buffer *buffer, struct cgpiod_edge *edges,
                          int32_t capacity) {
  struct gpiod_edge_event_buffer *events = (struct gpiod_edge_event_buffer *)buffer;
  int count = gpiod_line_request_read_edge_events((struct gpiod_line_request *)request, events, (size_t)capacity);
  if (count < 0) return last_error();
  for (int index = 0; index < count; index++) {
    struct gpiod_edge_event *event = gpiod_edge_event_buffer_get_event(events, (unsigned long)index);
    edges[index].timestamp_ns = (int64_t)gpiod_edge_event_get_timestamp_ns(event);
    edges[index].sequence = (uint32_t)gpiod_edge_event_get_line_seqno(event);
    edges[index].rising = gpiod_edge_event_get_event_type(event) == GPIOD_EDGE_EVENT_RISING_EDGE;
  }
  return count;
}
#endif
