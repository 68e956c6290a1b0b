/* A disk that lies: every call that should put data on it says so and does nothing. */
#include <stddef.h>
#include <sys/types.h>

int fsync(int file) { (void)file; return 0; }
int fdatasync(int file) { (void)file; return 0; }
int msync(void *start, size_t length, int flags) { (void)start; (void)length; (void)flags; return 0; }
int syncfs(int file) { (void)file; return 0; }
int sync_file_range(int file, off_t start, off_t length, unsigned flags) {
  (void)file; (void)start; (void)length; (void)flags;
  return 0;
}
