/* Cuts the power of mounted ext4 file systems, all at the same moment.
 *
 * Opens the folders, prints `ready`, waits for a byte, shuts the file systems down without a flush of
 * their journals, and prints `cut`. Nobody sends the byte when the test has died: then nothing is cut.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define MOST 16
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#define NO_LOG_FLUSH 2

int main(int count, char **folders) {
  int open_folders[MOST];
  if (count > MOST) return 2;
  for (int i = 1; i < count; i++) {
    open_folders[i] = open(folders[i], O_RDONLY | O_DIRECTORY);
    if (open_folders[i] < 0) { perror(folders[i]); return 1; }
  }
  puts("ready");
  fflush(stdout);
  if (getchar() == EOF) return 3;
  for (int i = 1; i < count; i++) {
    uint32_t how = NO_LOG_FLUSH;
    if (ioctl(open_folders[i], EXT4_IOC_SHUTDOWN, &how) != 0) { perror(folders[i]); return 1; }
  }
  puts("cut");
  return 0;
}
