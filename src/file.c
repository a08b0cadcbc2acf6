/* A download's file: temporary, checked, renamed. Knows the kernel, and must
   know neither curl nor Lua. */
#define _GNU_SOURCE /* for renameat2, O_NOFOLLOW and O_CLOEXEC under -std=c99 */
#include "file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>

#define TRIES 100 /* for a name that nobody has */
#define NAME_ROOM 32 /* bytes of a temporary name */

/* The length of a path's folder, its last slash included; 0: the current one. */
static size_t folder_of (const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

/* Not the target's name with something added: that may be too long by then. */
static int create (File *file) {
  size_t folder = folder_of(file->path);
  struct timespec now;
  int i, failure = EEXIST;
  file->temporary = malloc(folder + NAME_ROOM);
  if (file->temporary == NULL) return ENOMEM;
  memcpy(file->temporary, file->path, folder);
  for (i = 0; i < TRIES && failure == EEXIST; i++) {
    int fd;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(file->temporary + folder, NAME_ROOM, ".mjtask-%08lx.part",
             ((unsigned long)now.tv_nsec ^ (unsigned long)getpid() << 16) &
               0xFFFFFFFFul);
    fd = open(file->temporary,
              O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd >= 0) {
      file->descriptor = fd + 1;
      file->owner = getpid();
      return 0;
    }
    failure = errno;
  }
  free(file->temporary);
  file->temporary = NULL;
  return failure;
}

int file_open (File *file, const char *path, int overwrite) {
  struct stat there;
  size_t size = strlen(path);
  if (size == 0 || path[size - 1] == '/') return file->failure = EISDIR;
  if (lstat(path, &there) == 0) {
    if (S_ISDIR(there.st_mode)) return file->failure = EISDIR;
    if (!overwrite || !(S_ISREG(there.st_mode) || S_ISLNK(there.st_mode)))
      return file->failure = EEXIST;
  }
  file->path = malloc(size + 1);
  if (file->path == NULL) return file->failure = ENOMEM;
  memcpy(file->path, path, size + 1);
  return file->failure = create(file);
}

/* A forked child must not touch what the parent writes. */
static int check_owner (File *file) {
  if (file->failure == 0 && file->owner != getpid()) file->failure = EPERM;
  return file->failure;
}

int file_restart (File *file) {
  int fd = file->descriptor - 1;
  file->size = 0;
  check_owner(file);
  if (file->failure == 0 &&
      (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0))
    file->failure = errno;
  return file->failure;
}

static void keep_edges (File *file, const unsigned char *bytes, size_t size) {
  if (file->size < FILE_EDGE) {
    size_t room = FILE_EDGE - (size_t)file->size;
    memcpy(file->head + file->size, bytes, size < room ? size : room);
  }
  if (size >= FILE_EDGE)
    memcpy(file->tail, bytes + size - FILE_EDGE, FILE_EDGE);
  else {
    memmove(file->tail, file->tail + size, FILE_EDGE - size);
    memcpy(file->tail + FILE_EDGE - size, bytes, size);
  }
}

int file_write (File *file, const void *bytes, size_t size) {
  const unsigned char *next = bytes;
  size_t left = size;
  while (left > 0 && file->failure == 0) {
    ssize_t written = write(file->descriptor - 1, next, left);
    if (written < 0 && errno != EINTR) file->failure = errno;
    if (written > 0) {
      next += written;
      left -= (size_t)written;
    }
  }
  if (file->failure == 0) {
    keep_edges(file, bytes, size);
    file->size += size;
  }
  return file->failure;
}

static int has (const unsigned char *bytes, const char *sign, size_t size) {
  return memcmp(bytes, sign, size) == 0;
}

static int ends_jpeg (const File *file) {
  size_t i; /* some cameras pad */
  for (i = 0; i + 1 < FILE_EDGE; i++) {
    if (file->tail[i] == 0xFF && file->tail[i + 1] == 0xD9) return 1;
  }
  return 0;
}

/* A RIFF file says how long it is: a little-endian number behind its sign. */
static int ends_riff (const File *file) {
  const unsigned char *n = file->head + 4;
  return file->size >= 8 + ((uint64_t)n[0] | (uint64_t)n[1] << 8 |
                            (uint64_t)n[2] << 16 | (uint64_t)n[3] << 24);
}

const char *file_check (const File *file) {
  static const char cut[] = "the picture is cut short";
  const unsigned char *head = file->head, *tail = file->tail;
  if (file->size == 0) return "the file is empty";
  if (file->size < FILE_EDGE) return "the file is no picture";
  if (has(head, "\x89PNG\r\n\x1A\n", 8))
    return has(tail + 4, "\0\0\0\0IEND\xAE\x42\x60\x82", 12) ? NULL : cut;
  if (has(head, "\xFF\xD8\xFF", 3)) return ends_jpeg(file) ? NULL : cut;
  if (has(head, "GIF87a", 6) || has(head, "GIF89a", 6))
    return tail[FILE_EDGE - 1] == 0x3B ? NULL : cut;
  if (has(head, "RIFF", 4) && has(head + 8, "WEBP", 4))
    return ends_riff(file) ? NULL : cut;
  /* AVIF, MP4, QuickTime; WebM: no end that could be told from a cut */
  if (has(head + 4, "ftyp", 4) || has(head, "\x1A\x45\xDF\xA3", 4))
    return file->framed ? NULL
                        : "the end of the film cannot be told from a cut";
  return "the file is no picture";
}

/* Renames, but never onto something. */
static int rename_new (const char *from, const char *to) {
#if defined(__linux__) && defined(RENAME_NOREPLACE)
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return -1; /* else not on this disk */
#endif
  if (link(from, to) != 0) return -1;
  unlink(from);
  return 0;
}

/* The new name itself must survive a crash, too. */
static void sync_folder (const char *path) {
  size_t size = folder_of(path);
  char *folder = malloc(size + 2);
  int fd;
  if (folder == NULL) return;
  memcpy(folder, path, size);
  memcpy(folder + size, ".", 2);
  fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  if (fd < 0) return;
  fsync(fd); /* some file systems cannot: then it is theirs to keep */
  close(fd);
}

int file_commit (File *file, int overwrite) {
  int fd = file->descriptor - 1;
  if (check_owner(file) == 0 && fsync(fd) != 0) file->failure = errno;
  file->descriptor = 0;
  if (close(fd) != 0 && file->failure == 0) file->failure = errno;
  if (file->failure == 0 &&
      (overwrite ? rename(file->temporary, file->path)
                 : rename_new(file->temporary, file->path)) != 0)
    file->failure = errno;
  if (file->failure == 0) {
    free(file->temporary);
    file->temporary = NULL;
    sync_folder(file->path);
  }
  return file->failure;
}

void file_release (File *file) {
  if (file->descriptor != 0) close(file->descriptor - 1);
  if (file->temporary != NULL && file->owner == getpid())
    unlink(file->temporary);
  free(file->temporary);
  free(file->path);
  memset(file, 0, sizeof *file);
}
