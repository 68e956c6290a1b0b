/* A server that acknowledges before it has synced: every sync returns at once and happens 10 ms later,
 * in a thread of its own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#define LATE_US 10000

static void *sync_it(void *copy) {
  int file = (int)(intptr_t)copy;
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  usleep(LATE_US);
  if (real) real(file);
  close(file);
  return NULL;
}

static int later(int file) {
  pthread_t thread;
  int copy = dup(file);
  if (copy < 0) return 0;
  if (pthread_create(&thread, NULL, sync_it, (void *)(intptr_t)copy) != 0) { close(copy); return 0; }
  pthread_detach(thread);
  return 0;
}

int fsync(int file) { return later(file); }
int fdatasync(int file) { return later(file); }
