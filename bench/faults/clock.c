/* A preloaded library by which a process's clock is wrong, by seconds that may change as it runs.

   The file CLOCK_ERROR_FILE holds them as an int64. Monotonic clocks stay right, as they do when a
   machine's clock is set. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t right = 0;
static volatile int64_t *error = &right;

__attribute__((constructor)) static void find_file(void) {
  const char *path = getenv("CLOCK_ERROR_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof *error, PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) error = mapped;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*original)(clockid_t, struct timespec *) = NULL;
  if (!original) original = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = original(clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *error;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *to) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME_COARSE, &exact);
  if (to) *to = exact.tv_sec;
  return exact.tv_sec;
}

/* The kernel's clock is right: a moment until which somebody waits has to be one of that clock. */
int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
  static int (*original)(sem_t *, const struct timespec *) = NULL;
  if (!original) original = dlsym(RTLD_NEXT, "sem_timedwait");
  struct timespec moment = {until->tv_sec - *error, until->tv_nsec};
  return original(semaphore, &moment);
}
