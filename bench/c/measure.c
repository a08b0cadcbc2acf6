/* Runs a command and says what it cost: after the command's own output a line
   "measured WALL USER SYSTEM" in seconds, of it and all that it waited for.
   Ends with its status. Must not know what the command does.

     measure SECONDS COMMAND...

   The command is killed after so many seconds. timeout(1) would do it in a
   process group of its own, where no Ctrl-C arrives. */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

static pid_t child; /* set before there is a handler that reads it */

static void kill_child (int number) {
  (void)number;
  kill(child, SIGKILL);
}

static void limit (unsigned seconds) {
  struct sigaction action = {0};
  action.sa_handler = kill_child;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, NULL);
  alarm(seconds);
}

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
  if (argc < 3) return 2;
  child = fork();
  if (child == 0) {
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    _exit(127);
  }
  if (child > 0) limit((unsigned)strtoul(argv[1], NULL, 10));
  if (child < 0 || waitpid(child, &status, 0) < 0) {
    perror("measure");
    return 2;
  }
  wall = now() - before;
  getrusage(RUSAGE_CHILDREN, &usage);
  if (WIFSIGNALED(status)) printf("ended by signal %d\n", WTERMSIG(status));
  printf("measured %.6f %.6f %.6f\n", wall, seconds(usage.ru_utime),
         seconds(usage.ru_stime));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
