/* Lets calls for regular files and folders fail: loaded before the C library,
   and ruled by a script (package.loadlib, "luaopen_disk"):

     disk.fail(name, nth, errno)   the nth such call from here on fails so; an
                                   errno of 0: a write takes half of the bytes
     disk.failed()                 did that happen?

   Names: write, fsync, close, ftruncate, lseek, rename, renameat2, link, and
   "fsync folder". A close that fails has closed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <lauxlib.h>
#include <lua.h>

static struct {
  char name[32];
  int left, error, done;
} plan;

static int is_due (const char *name) {
  if (strcmp(name, plan.name) != 0 || --plan.left != 0) return 0;
  plan.done = 1;
  return 1;
}

static int is_a (int fd, mode_t kind) {
  struct stat there;
  int saved = errno;
  int result = fstat(fd, &there) == 0 && (there.st_mode & S_IFMT) == kind;
  errno = saved;
  return result;
}

/* The function that is called where ours lets a call through. */
#define NEXT(type, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, __func__))

#define FAIL_IF(condition)                                                     \
  if (condition) {                                                             \
    errno = plan.error;                                                        \
    return -1;                                                                 \
  }

ssize_t write (int fd, const void *bytes, size_t size) {
  ssize_t (*next)(int, const void *, size_t) =
    NEXT(ssize_t, int, const void *, size_t);
  if (is_a(fd, S_IFREG) && is_due("write")) {
    if (plan.error == 0) return next(fd, bytes, (size + 1) / 2);
    errno = plan.error;
    return -1;
  }
  return next(fd, bytes, size);
}

int fsync (int fd) {
  FAIL_IF(is_a(fd, S_IFREG) && is_due("fsync"))
  FAIL_IF(is_a(fd, S_IFDIR) && is_due("fsync folder"))
  return NEXT(int, int)(fd);
}

int close (int fd) {
  int due = is_a(fd, S_IFREG) && is_due("close");
  int result = NEXT(int, int)(fd);
  FAIL_IF(due)
  return result;
}

int ftruncate (int fd, off_t size) {
  FAIL_IF(is_due("ftruncate"))
  return NEXT(int, int, off_t)(fd, size);
}

off_t lseek (int fd, off_t offset, int whence) {
  FAIL_IF(is_a(fd, S_IFREG) && is_due("lseek"))
  return NEXT(off_t, int, off_t, int)(fd, offset, whence);
}

int rename (const char *from, const char *to) {
  FAIL_IF(is_due("rename"))
  return NEXT(int, const char *, const char *)(from, to);
}

int renameat2 (int here, const char *from, int there, const char *to,
               unsigned flags) {
  FAIL_IF(is_due("renameat2"))
  return NEXT(int, int, const char *, int, const char *, unsigned)(
    here, from, there, to, flags);
}

int link (const char *from, const char *to) {
  FAIL_IF(is_due("link"))
  return NEXT(int, const char *, const char *)(from, to);
}

static int fail (lua_State *L) {
  snprintf(plan.name, sizeof plan.name, "%s", luaL_checkstring(L, 1));
  plan.left = (int)luaL_checkinteger(L, 2);
  plan.error = (int)luaL_checkinteger(L, 3);
  plan.done = 0;
  return 0;
}

static int failed (lua_State *L) {
  lua_pushboolean(L, plan.done);
  return 1;
}

int luaopen_disk (lua_State *L) {
  static const luaL_Reg functions[] = {
    {"fail", fail}, {"failed", failed}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
