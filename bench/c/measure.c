/* Runs a command and says what it cost: after the command's own output a line
   "measured WALL USER SYSTEM" in seconds, of it and all that it waited for.
   Ends with its status. Must not know what the command does. */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

static double seconds (struct timeval time) {
  return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double now (void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main (int argc, char **argv) {
  const double before = now();
  struct rusage usage;
  double wall;
  int status;
  pid_t child;
  if (argc < 2) return 2;
  child = fork();
  if (child == 0) {
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    _exit(127);
  }
  if (child < 0 || waitpid(child, &status, 0) < 0) {
    perror("measure");
    return 2;
  }
  wall = now() - before;
  getrusage(RUSAGE_CHILDREN, &usage);
  printf("measured %.6f %.6f %.6f\n", wall, seconds(usage.ru_utime),
         seconds(usage.ru_stime));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
