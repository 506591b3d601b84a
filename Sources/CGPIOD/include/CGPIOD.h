/// GPIO lines through libgpiod, the same for 1.6 and 2.x: which one is chosen by its header at compile time.
/// Levels and edges are logical: with active_low, 1 and rising mean that the pin went low. It owns the handles of
/// libgpiod, each until its close, release or free; what allocates says so. What is requested, and when it is tried again,
/// is the caller's decision. Only LinuxIO calls it.
#ifndef CGPIOD_H
#define CGPIOD_H

#include <stdint.h>

/// Bytes of a name, label or consumer with its NUL, as in the kernel (GPIO_MAX_NAME_SIZE).
#define CGPIOD_NAME_BYTES 32

struct cgpiod_chip;
struct cgpiod_request;
struct cgpiod_buffer;

struct cgpiod_chip_info {
  char name[CGPIOD_NAME_BYTES];
  char label[CGPIOD_NAME_BYTES];
  uint32_t line_count;
};

struct cgpiod_line_info {
  char name[CGPIOD_NAME_BYTES];
  char consumer[CGPIOD_NAME_BYTES];
  uint8_t used;
  uint8_t output;
  uint8_t active_low;
};

enum { CGPIOD_INPUT = 0, CGPIOD_OUTPUT = 1 };
enum { CGPIOD_EDGES_NONE = 0, CGPIOD_EDGES_BOTH = 1, CGPIOD_EDGES_RISING = 2, CGPIOD_EDGES_FALLING = 3 };
enum { CGPIOD_BIAS_AS_IS = 0, CGPIOD_BIAS_DISABLED = 1, CGPIOD_BIAS_PULL_UP = 2, CGPIOD_BIAS_PULL_DOWN = 3 };
enum { CGPIOD_PUSH_PULL = 0, CGPIOD_OPEN_DRAIN = 1, CGPIOD_OPEN_SOURCE = 2 };
/// What an output has from its request on; KEEP: the level that the line has already, driven or not.
enum { CGPIOD_INACTIVE = 0, CGPIOD_ACTIVE = 1, CGPIOD_KEEP = 2 };

struct cgpiod_settings {
  uint8_t direction;
  uint8_t edges;
  uint8_t bias;
  uint8_t drive;
  uint8_t active_low;
  /// An output's level in the same ioctl that makes it one: no glitch between. To keep it the line is requested as it is,
  /// read and made an output with that level, without being released in between.
  uint8_t initial;
  /// Edge events that the kernel keeps for the line: 2.x; 0 is 16. 1.6 always keeps 16.
  uint16_t event_count;
  /// Kernel debounce: 2.x only, 1.6 answers -EOPNOTSUPP.
  uint32_t debounce_us;
};

struct cgpiod_edge {
  /// CLOCK_MONOTONIC: 2.x asks for it, 1.6 gets it from kernels from 5.7 on.
  int64_t timestamp_ns;
  /// The kernel's count of this line's edges, from 1; 0 with 1.6, which has none.
  uint32_t sequence;
  uint8_t rising;
};

enum { CGPIOD_KERNEL_DEBOUNCE = 1, CGPIOD_SEQUENCE_NUMBERS = 2, CGPIOD_EVENT_CLOCK = 4 };
/// Which of the above the linked libgpiod has.
uint32_t cgpiod_capabilities(void);

/// gpiod_chip_open: allocates until cgpiod_chip_close. 0 or -errno.
int32_t cgpiod_chip_open(const char *path, struct cgpiod_chip **chip);
void cgpiod_chip_close(struct cgpiod_chip *chip);
/// 0 or -errno.
int32_t cgpiod_chip_info(struct cgpiod_chip *chip, struct cgpiod_chip_info *info);
/// 0 or -errno. 1.6 keeps about 100 bytes a line that was asked about until the chip is closed.
int32_t cgpiod_line_info(struct cgpiod_chip *chip, uint32_t offset, struct cgpiod_line_info *info);

/// Requests one line of the chip at `path`. Allocates until cgpiod_release; gives everything back on failure. 0 or
/// -errno; with -EBUSY `holder` (CGPIOD_NAME_BYTES) names the line's consumer, else it is empty.
int32_t cgpiod_request(const char *path, uint32_t offset, const struct cgpiod_settings *settings, const char *consumer,
                       struct cgpiod_request **request, char *holder);
/// Releases the line and frees the request.
void cgpiod_release(struct cgpiod_request *request);
/// The descriptor that is readable when edges wait, nonblocking; -ENOTSUP for a line without edge detection in 1.6.
int32_t cgpiod_fd(struct cgpiod_request *request);
/// 1 active, 0 inactive, or -errno. One ioctl, no allocation.
int32_t cgpiod_get(struct cgpiod_request *request);
/// 0 or -errno. One ioctl, no allocation.
int32_t cgpiod_set(struct cgpiod_request *request, int32_t active);

/// Room that reading edges needs: 2.x allocates it here, once; in 1.6 `buffer` is NULL. 0 or -errno.
int32_t cgpiod_buffer_new(int32_t capacity, struct cgpiod_buffer **buffer);
void cgpiod_buffer_free(struct cgpiod_buffer *buffer);
/// The edges that wait, at most `capacity` (at most 16 in 1.6), or -errno: -EAGAIN when none does. One read(2), no
/// allocation.
int32_t cgpiod_read_edges(struct cgpiod_request *request, struct cgpiod_buffer *buffer, struct cgpiod_edge *edges,
                          int32_t capacity);

#endif
