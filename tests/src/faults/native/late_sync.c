/* A server that acknowledges before it has synced: every sync returns at once, and what was written is
 * synced up to 20 ms later, by a thread that all syncs of that time share.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#define LATE_US 20000

static int pending;

static void *sync_it(void *copy) {
  int file = (int)(intptr_t)copy;
  usleep(LATE_US);
  __atomic_store_n(&pending, 0, __ATOMIC_SEQ_CST);
  syncfs(file);
  close(file);
  return NULL;
}

static int later(int file) {
  pthread_t thread;
  if (__atomic_exchange_n(&pending, 1, __ATOMIC_SEQ_CST)) return 0;
  int copy = dup(file);
  if (copy >= 0 && pthread_create(&thread, NULL, sync_it, (void *)(intptr_t)copy) == 0) {
    pthread_detach(thread);
    return 0;
  }
  if (copy >= 0) close(copy);
  __atomic_store_n(&pending, 0, __ATOMIC_SEQ_CST);
  return 0;
}

int fsync(int file) { return later(file); }
int fdatasync(int file) { return later(file); }
