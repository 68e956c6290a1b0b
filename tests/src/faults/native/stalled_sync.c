/* A disk that stands still: while the file that STALLED_SYNC names exists, no sync of this process ends.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_US 1000

static int sync_it(const char *name, int file) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  const char *stall = getenv("STALLED_SYNC");
  while (stall && access(stall, F_OK) == 0) usleep(LOOK_US);
  return real ? real(file) : -1;
}

int fsync(int file) { return sync_it("fsync", file); }
int fdatasync(int file) { return sync_it("fdatasync", file); }
