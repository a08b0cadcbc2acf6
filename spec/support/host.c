/* A host for specs that Lua alone cannot be: it opens and closes states, runs
   them in threads, forks, and storms itself with signals.

     host states N SCRIPT ARG...    N states, one after another
     host threads N SCRIPT ARG...   N states at once, each in a thread of its own

   The script gets ARG... as `...`. It may call fork(), which gives 0 in the
   child; wait(pid), which gives its status (a signal: negative); exit(status),
   at once and without closing the state; nap(seconds); and storm(hertz), from
   which on SIGALRM interrupts so often (0: no more). At the end the host naps
   for 50 ms, says "alive" and ends with the number of scripts that failed.

   Compiled with STATIC, and linked with libmjtask.a, it has luaopen_mjtask for
   scripts to call; with WITH_CJSON, luaopen_cjson. It opens neither itself. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#ifdef STATIC
int luaopen_mjtask (lua_State *L);
#endif
#ifdef WITH_CJSON
int luaopen_cjson (lua_State *L);
#endif

static char **words;
static int count;
static volatile sig_atomic_t alarms;

static void on_alarm (int number) {
  (void)number;
  alarms++;
}

static int host_fork (lua_State *L) {
  fflush(NULL);
  lua_pushinteger(L, fork());
  return 1;
}

static int host_wait (lua_State *L) {
  int status = 0;
  waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0);
  lua_pushinteger(L, WIFSIGNALED(status) ? -WTERMSIG(status)
                                         : WEXITSTATUS(status));
  return 1;
}

static int host_exit (lua_State *L) {
  fflush(NULL);
  _exit((int)luaL_optinteger(L, 1, 0));
}

static void nap (double seconds) {
  struct timespec left;
  left.tv_sec = (time_t)seconds;
  left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
  while (nanosleep(&left, &left) != 0)
    ;
}

static int host_nap (lua_State *L) {
  nap(luaL_checknumber(L, 1));
  return 0;
}

/* storm (hertz) --> how many alarms there have been so far */
static int host_storm (lua_State *L) {
  long hertz = (long)luaL_checkinteger(L, 1);
  struct itimerval every;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_alarm; /* without SA_RESTART: calls end with EINTR */
  sigaction(SIGALRM, &action, NULL);
  memset(&every, 0, sizeof every);
  if (hertz > 0) every.it_interval.tv_usec = 1000000 / hertz;
  every.it_value = every.it_interval;
  setitimer(ITIMER_REAL, &every, NULL);
  lua_pushinteger(L, alarms);
  return 1;
}

static int run (void) {
  int i, failed;
  lua_State *L = luaL_newstate();
  if (L == NULL) return 1;
  luaL_openlibs(L);
  lua_register(L, "fork", host_fork);
  lua_register(L, "wait", host_wait);
  lua_register(L, "exit", host_exit);
  lua_register(L, "nap", host_nap);
  lua_register(L, "storm", host_storm);
#ifdef STATIC
  lua_register(L, "luaopen_mjtask", luaopen_mjtask);
#endif
#ifdef WITH_CJSON
  lua_register(L, "luaopen_cjson", luaopen_cjson);
#endif
  failed = luaL_loadfile(L, words[0]);
  if (!failed) {
    for (i = 1; i < count; i++)
      lua_pushstring(L, words[i]);
    failed = lua_pcall(L, count - 1, 0, 0);
  }
  if (failed) {
    printf("%s\n", luaL_tolstring(L, -1, NULL));
    fflush(stdout);
  }
  lua_close(L);
  return failed != 0;
}

static void *run_thread (void *failed) {
  *(int *)failed = run();
  return NULL;
}

int main (int argc, char **argv) {
  int i, failed = 0, times = argc > 3 ? atoi(argv[2]) : 0;
  if (times < 1 || times > 64) return 99;
  words = argv + 3;
  count = argc - 3;
  if (strcmp(argv[1], "threads") == 0) {
    pthread_t threads[64];
    int results[64];
    for (i = 0; i < times; i++) {
      if (pthread_create(&threads[i], NULL, run_thread, &results[i]) != 0)
        return 98;
    }
    for (i = 0; i < times; i++) {
      pthread_join(threads[i], NULL);
      failed += results[i];
    }
  }
  else {
    for (i = 0; i < times; i++)
      failed += run();
  }
  nap(0.05);
  printf("alive\n");
  return failed;
}
