/* The data partition's entry in the card's partition table: the second one, over all that is free behind the first.
 *
 * usage: datapart look DISK    says what there is, on standard output:
 *                                there   an entry, whatever is in it
 *                                free    none; the kernel now has the partition that would be there, the table has not
 *                                none WHY
 *        datapart keep DISK    writes the entry: one sector, at once
 *
 * The table is written after the file system is made, so that a power cut in between leaves free space, as before. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
  SECTOR = 512,
  TABLE = 446, /* four entries of 16 bytes: 0 flag, 4 type, 8 first sector, 12 sectors */
  ENTRY = 16,
  FAT32 = 0x0c,
  LINUX = 0x83,
  ALIGNMENT = 4 << 20 >> 9, /* sectors: erase blocks of cards */
  SECTORS_MIN = 64 << 20 >> 9,
};

static uint32_t get32(const uint8_t *from) {
  return from[0] | from[1] << 8 | from[2] << 16 | (uint32_t)from[3] << 24;
}

static void put32(uint8_t *to, uint32_t value) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> 8 * i);
}

static int none(const char *why) { return printf("none %s\n", why), 0; }

int main(int argc, char **argv) {
  if (argc != 3 || (strcmp(argv[1], "look") && strcmp(argv[1], "keep"))) return 64;
  int looking = argv[1][0] == 'l';
  uint8_t sector[SECTOR];
  uint64_t bytes = 0;
  int disk = open(argv[2], (looking ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if (disk < 0 || pread(disk, sector, SECTOR, 0) != SECTOR || ioctl(disk, BLKGETSIZE64, &bytes)) return perror(argv[2]), 70;

  uint8_t *first = sector + TABLE, *second = first + ENTRY;
  if (sector[510] != 0x55 || sector[511] != 0xaa || first[4] != FAT32) return none("this is not the image's partition table");
  if (second[4] != 0) return puts("there"), 0;
  for (int i = 0; i < 3 * ENTRY; i++)
    if (second[i] != 0) return none("the partition table has more entries than the image's");
  uint64_t end = bytes / SECTOR, start = (uint64_t)get32(first + 8) + get32(first + 12);
  start = (start + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  if (end > UINT32_MAX) end = UINT32_MAX;
  if (end < start + SECTORS_MIN) return none("less than 64 MiB are free on the card");

  if (looking) {
    struct blkpg_partition part = {.start = (long long)start * SECTOR, .length = (long long)(end - start) * SECTOR, .pno = 2};
    struct blkpg_ioctl_arg request = {.op = BLKPG_ADD_PARTITION, .datalen = sizeof part, .data = &part};
    if (ioctl(disk, BLKPG, &request) && errno != EBUSY) return perror("BLKPG_ADD_PARTITION"), 70;
    return puts("free"), 0;
  }
  memset(second, 0, ENTRY);
  memset(second + 1, 0xff, 3); /* no cylinders, heads and sectors */
  memset(second + 5, 0xff, 3);
  second[4] = LINUX;
  put32(second + 8, (uint32_t)start);
  put32(second + 12, (uint32_t)(end - start));
  if (pwrite(disk, sector, SECTOR, 0) != SECTOR || fsync(disk)) return perror(argv[2]), 70;
  return 0;
}
