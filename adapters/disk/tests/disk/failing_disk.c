/* A library to preload: a disk that fails at the system call, in a process that knows nothing of it.
 *
 * FAIL_SYNC="NTH END": the NTH sync of a file or folder whose path ends with END fails, once. The kernel
 * tells of such a failure once, and calls the next sync of the file a success.
 * FAIL_WRITE="NTH END": from the NTH write on there is no room for that file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* How many calls there are to come, with this one, until the one that is asked for: 1 is now. */
static long calls_left(const char *asked, int fd, atomic_long *seen) {
    char link[64], path[4096], *end;
    long nth;
    ssize_t len;
    if (asked == NULL) {
        return 2;
    }
    nth = strtol(asked, &end, 10);
    end += 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof path - 1);
    if (len < (ssize_t)strlen(end) || strncmp(path + len - strlen(end), end, strlen(end)) != 0) {
        return 2;
    }
    return nth - atomic_fetch_add(seen, 1);
}

static int sync_with(const char *name, int fd) {
    static atomic_long seen;
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (calls_left(getenv("FAIL_SYNC"), fd, &seen) == 1) {
        errno = EIO;
        return -1;
    }
    return sync(fd);
}

int fdatasync(int fd) { return sync_with("fdatasync", fd); }
int fsync(int fd) { return sync_with("fsync", fd); }

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    static atomic_long seen;
    ssize_t (*write)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (calls_left(getenv("FAIL_WRITE"), fd, &seen) <= 1) {
        errno = ENOSPC;
        return -1;
    }
    return write(fd, bytes, len, at);
}
