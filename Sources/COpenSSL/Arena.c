#include "COpenSSL.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// Blocks lie end to end, each with a header of 8 bytes, so that what follows the header is aligned to 16:
//
//   ┌────────────┬──────────────────┬─────────────────────────┐ before: bytes of the block before, 0 for the first
//   │ before u32 │ size u32, bit 0: │ lent bytes, or the two  │ size: bytes with the header, a multiple of 16
//   │            │ it is lent       │ links of a list of free │
//   └────────────┴──────────────────┴─────────────────────────┘
//
// Free blocks are in lists by size: a list for each power of two, sixteen in each. Bits say which lists have any, so the
// search is two looks. No two free blocks are neighbours. A block of size 0 that is lent ends the region.
enum { UNIT = 16, HEADER = 8, SUBLISTS = 16, LISTS = 28 };

struct block {
  uint32_t before;
  uint32_t size;
  uint32_t next;  // links, offsets from the arena; 0: none
  uint32_t previous;
};

struct copenssl_arena {
  pthread_mutex_t mutex;
  struct copenssl_figures figures;
  uint64_t refused_request;
  uint32_t end;
  uint32_t lists;
  uint16_t sublists[LISTS];
  uint32_t heads[LISTS][SUBLISTS];
};

/// Who pays for what the thread takes.
static _Thread_local struct copenssl_account *account;

static struct block *at(struct copenssl_arena *arena, uint32_t offset) {
  return (struct block *)((char *)arena + offset);
}

static uint32_t offset_of(struct copenssl_arena *arena, struct block *block) {
  return (uint32_t)((char *)block - (char *)arena);
}

static int is_lent(const struct block *block) { return block->size & 1; }

static uint32_t bytes_of(const struct block *block) { return block->size & ~1u; }

static struct block *after(struct block *block) { return (struct block *)((char *)block + bytes_of(block)); }

static uint32_t highest(uint32_t value) { return 31 - (uint32_t)__builtin_clz(value); }

static void list_of(uint32_t size, uint32_t *list, uint32_t *sublist) {
  uint32_t units = size / UNIT;
  if (units < SUBLISTS) {
    *list = 0;
    *sublist = units;
  } else {
    uint32_t high = highest(units);
    *list = high - 3;
    *sublist = (units >> (high - 4)) - SUBLISTS;
  }
}

static void insert(struct copenssl_arena *arena, struct block *block) {
  uint32_t list, sublist;
  list_of(block->size, &list, &sublist);
  uint32_t head = arena->heads[list][sublist];
  block->next = head;
  block->previous = 0;
  if (head) at(arena, head)->previous = offset_of(arena, block);
  arena->heads[list][sublist] = offset_of(arena, block);
  arena->sublists[list] |= (uint16_t)(1u << sublist);
  arena->lists |= 1u << list;
}

static void take_out(struct copenssl_arena *arena, struct block *block) {
  uint32_t list, sublist;
  list_of(block->size, &list, &sublist);
  if (block->next) at(arena, block->next)->previous = block->previous;
  if (block->previous) {
    at(arena, block->previous)->next = block->next;
    return;
  }
  arena->heads[list][sublist] = block->next;
  if (block->next) return;
  arena->sublists[list] &= (uint16_t) ~(1u << sublist);
  if (!arena->sublists[list]) arena->lists &= ~(1u << list);
}

/// A free block of at least `size` bytes, out of its list; NULL when there is none in the lists of larger ones, nor at the
/// head of the list of its own size.
static struct block *find(struct copenssl_arena *arena, uint32_t size) {
  uint32_t units = size / UNIT, list, sublist;
  uint32_t rounded = units < SUBLISTS ? size : size + ((1u << (highest(units) - 4)) - 1) * UNIT;
  list_of(rounded, &list, &sublist);
  uint32_t found = list < LISTS ? arena->sublists[list] & (~0u << sublist) : 0;
  if (!found && list + 1 < LISTS) {
    uint32_t larger = arena->lists & (~0u << (list + 1));
    if (larger) {
      list = (uint32_t)__builtin_ctz(larger);
      found = arena->sublists[list];
    }
  }
  uint32_t head = 0;
  if (found) {
    head = arena->heads[list][__builtin_ctz(found)];
  } else {
    list_of(size, &list, &sublist);
    if (list < LISTS) head = arena->heads[list][sublist];
    if (head && at(arena, head)->size < size) head = 0;
  }
  if (!head) return NULL;
  take_out(arena, at(arena, head));
  return at(arena, head);
}

/// Joins a block that is in no list with its free neighbours, and puts it into its list.
static void free_up(struct copenssl_arena *arena, struct block *block) {
  struct block *next = after(block);
  if (!is_lent(next)) {
    take_out(arena, next);
    block->size += next->size;
  }
  if (block->before) {
    struct block *before = (struct block *)((char *)block - block->before);
    if (!is_lent(before)) {
      take_out(arena, before);
      before->size += block->size;
      block = before;
    }
  }
  after(block)->before = block->size;
  insert(arena, block);
}

/// Cuts off what a lent block has beyond `size`.
static void cut(struct copenssl_arena *arena, struct block *block, uint32_t size) {
  uint32_t rest = bytes_of(block) - size;
  if (rest == 0) return;
  block->size = size | 1;
  struct block *left = after(block);
  left->before = size;
  left->size = rest;
  free_up(arena, left);
}

struct copenssl_arena *copenssl_arena_make(void *region, int64_t byte_count) {
  struct copenssl_arena *arena = region;
  uint32_t first = (uint32_t)((sizeof *arena + UNIT - 1) / UNIT * UNIT + HEADER);
  if ((uintptr_t)region % UNIT || byte_count >= INT32_MAX || byte_count < first + 2 * UNIT) return NULL;
  uint32_t size = ((uint32_t)byte_count - first - HEADER) / UNIT * UNIT;
  memset(arena, 0, sizeof *arena);
  pthread_mutex_init(&arena->mutex, NULL);
  arena->figures.capacity = size;
  arena->end = first + size;
  at(arena, first)->before = 0;
  at(arena, first)->size = size;
  at(arena, arena->end)->before = size;
  at(arena, arena->end)->size = 1;
  insert(arena, at(arena, first));
  return arena;
}

/// The header of lent bytes. What is not lent by this arena is our own mistake.
static struct block *header(struct copenssl_arena *arena, void *place) {
  uintptr_t offset = (uintptr_t)place - (uintptr_t)arena;
  if (offset < sizeof *arena + HEADER || offset >= arena->end || offset % UNIT) abort();
  struct block *block = (struct block *)((char *)place - HEADER);
  if (!is_lent(block)) abort();
  return block;
}

/// Bytes of a block that lends `byte_count`; 0: no block is that large.
static uint32_t size_for(struct copenssl_arena *arena, size_t byte_count) {
  if (byte_count > (size_t)arena->figures.capacity) return 0;
  return (uint32_t)((byte_count + HEADER + UNIT - 1) / UNIT * UNIT);
}

static void count_lent(struct copenssl_arena *arena, int64_t change) {
  arena->figures.used += change;
  if (arena->figures.used > arena->figures.peak) arena->figures.peak = arena->figures.used;
  if (account) account->used += change;
}

/// Whether whoever pays may have `byte_count` bytes more, in place of the `before` bytes of a block.
static int may_have(struct copenssl_arena *arena, size_t byte_count, uint32_t before) {
  if (!account || account->used - before + size_for(arena, byte_count) <= account->most) return 1;
  account->is_exceeded = 1;
  return 0;
}

static int is_refused(struct copenssl_arena *arena) {
  return ++arena->figures.requests == arena->refused_request;
}

static void *take(struct copenssl_arena *arena, size_t byte_count) {
  uint32_t size = size_for(arena, byte_count);
  struct block *block = size ? find(arena, size) : NULL;
  if (!block) return NULL;
  block->size |= 1;
  cut(arena, block, size);
  count_lent(arena, bytes_of(block));
  return (char *)block + HEADER;
}

static void give_back(struct copenssl_arena *arena, void *place) {
  struct block *block = header(arena, place);
  block->size = bytes_of(block);
  count_lent(arena, -(int64_t)block->size);
  free_up(arena, block);
}

/// Makes a lent block larger where it lies. 0: its neighbour is lent or too small.
static int grow(struct copenssl_arena *arena, struct block *block, uint32_t size) {
  uint32_t before = bytes_of(block);
  struct block *next = after(block);
  if (is_lent(next) || before + next->size < size) return 0;
  take_out(arena, next);
  block->size += next->size;
  after(block)->before = bytes_of(block);
  cut(arena, block, size);
  count_lent(arena, (int64_t)bytes_of(block) - before);
  return 1;
}

static void *resize(struct copenssl_arena *arena, void *place, size_t byte_count) {
  struct block *block = header(arena, place);
  uint32_t size = size_for(arena, byte_count), before = bytes_of(block);
  if (!size) return NULL;
  if (size <= before) {
    cut(arena, block, size);
    count_lent(arena, (int64_t)size - before);
    return place;
  }
  if (grow(arena, block, size)) return place;
  void *moved = take(arena, byte_count);
  if (!moved) return NULL;
  memcpy(moved, place, before - HEADER);
  give_back(arena, place);
  return moved;
}

void *copenssl_arena_take(struct copenssl_arena *arena, size_t byte_count) {
  if (byte_count == 0) return NULL;
  if (!may_have(arena, byte_count, 0)) return NULL;
  pthread_mutex_lock(&arena->mutex);
  void *place = is_refused(arena) ? NULL : take(arena, byte_count);
  if (!place) arena->figures.refused++;
  pthread_mutex_unlock(&arena->mutex);
  return place;
}

void *copenssl_arena_resize(struct copenssl_arena *arena, void *place, size_t byte_count) {
  if (!place) return copenssl_arena_take(arena, byte_count);
  if (byte_count == 0) {
    copenssl_arena_give_back(arena, place);
    return NULL;
  }
  if (!may_have(arena, byte_count, bytes_of(header(arena, place)))) return NULL;
  pthread_mutex_lock(&arena->mutex);
  void *moved = is_refused(arena) ? NULL : resize(arena, place, byte_count);
  if (!moved) arena->figures.refused++;
  pthread_mutex_unlock(&arena->mutex);
  return moved;
}

void copenssl_arena_give_back(struct copenssl_arena *arena, void *place) {
  if (!place) return;
  pthread_mutex_lock(&arena->mutex);
  give_back(arena, place);
  pthread_mutex_unlock(&arena->mutex);
}

void copenssl_arena_charge(struct copenssl_account *to) { account = to; }

struct copenssl_figures copenssl_arena_figures(struct copenssl_arena *arena) {
  pthread_mutex_lock(&arena->mutex);
  struct copenssl_figures figures = arena->figures;
  pthread_mutex_unlock(&arena->mutex);
  return figures;
}

void copenssl_arena_forget_peak(struct copenssl_arena *arena) {
  pthread_mutex_lock(&arena->mutex);
  arena->figures.peak = arena->figures.used;
  pthread_mutex_unlock(&arena->mutex);
}

void copenssl_arena_refuse(struct copenssl_arena *arena, uint64_t number) {
  pthread_mutex_lock(&arena->mutex);
  arena->refused_request = number ? arena->figures.requests + number : 0;
  pthread_mutex_unlock(&arena->mutex);
}
