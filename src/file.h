/* Declares a download's file. */
#ifndef MJTASK_FILE_H
#define MJTASK_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)

#define FILE_EDGE 16 /* bytes kept of both ends, to tell what it is */

/* A zeroed File is valid and empty. */
typedef struct File {
  char *path; /* where it will be; owned */
  char
    *temporary; /* where it is meanwhile, beside that; owned; NULL: nowhere */
  int descriptor; /* + 1; 0: closed */
  pid_t owner; /* the process that created it; a forked child only closes */
  int failure; /* errno of the first thing that went wrong, 0: none */
  uint64_t size; /* bytes written */
  int framed; /* the way it came told where it ends */
  unsigned char head[FILE_EDGE]; /* the first bytes */
  unsigned char tail[FILE_EDGE]; /* the last bytes, at the end of it */
} File;

/* Creates the temporary file: new, no link followed, in the target's folder. An
   existing target is EEXIST at once, unless it is a file or a link, and
   `overwrite`. 0, or an errno. */
int file_open (File *file, const char *path, int overwrite);

/* Forgets what was written: another try begins. 0, or an errno. */
int file_restart (File *file);

/* 0, or an errno, which stays in `failure`. */
int file_write (File *file, const void *bytes, size_t size);

/* Is it a whole picture or film, by its first and last bytes? Those without a
   mark at their end have to be framed. NULL, or what is wrong with it. */
const char *file_check (const File *file);

/* Makes it durable and gives it its name, in one step for everybody who looks:
   the whole file or no file. 0, or an errno: nothing is left then. */
int file_commit (File *file, int overwrite);

/* Removes the temporary file, if there still is one, and frees. Idempotent. */
void file_release (File *file);

#pragma GCC visibility pop

#endif
