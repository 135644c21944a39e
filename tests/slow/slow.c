// Preloaded into a program, delays what the disk and the network do, at random, as a busy machine with a slow disk does.
// Only executables whose name begins with `weir`, or that have a `-` and 16 hex digits behind it as cargo's tests have, are slowed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int slowed;
static _Atomic uint64_t turn;

static int is_of_cargo(const char *name) {
    size_t length = strlen(name);
    return length > 17 && name[length - 17] == '-' && strspn(name + length - 16, "0123456789abcdef") == 16;
}

__attribute__((constructor)) static void decide(void) {
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    const char *name = strrchr(path, '/') + 1;
    slowed = strncmp(name, "weir", 4) == 0 || is_of_cargo(name);
    const char *seed = getenv("WEIR_SLOW_SEED");
    turn = seed ? strtoull(seed, 0, 10) : (uint64_t)time(0) ^ (uint64_t)getpid();
}

/// Waits up to `most` microseconds, once in `every` calls.
static void wait_once_in(unsigned every, unsigned most) {
    if (!slowed) return;
    uint64_t x = atomic_fetch_add(&turn, 0x9E3779B97F4A7C15u);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    if (x % every == 0) {
        uint64_t nanoseconds = (x >> 20) % (most * 1000ull);
        struct timespec wait = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
        nanosleep(&wait, 0);
    }
}

#define SLOWED(type, name, every, most, parameters, arguments)                                         \
    type name parameters {                                                                             \
        static type(*real) parameters;                                                                 \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                 \
        wait_once_in(every, most);                                                                     \
        return real arguments;                                                                         \
    }

SLOWED(int, fsync, 1, 60000, (int fd), (fd))
SLOWED(int, fdatasync, 1, 60000, (int fd), (fd))
SLOWED(int, rename, 2, 20000, (const char *from, const char *to), (from, to))
SLOWED(int, renameat, 2, 20000, (int at, const char *from, int to_at, const char *to), (at, from, to_at, to))
SLOWED(int, unlink, 2, 20000, (const char *path), (path))
SLOWED(int, unlinkat, 2, 20000, (int at, const char *path, int flags), (at, path, flags))
SLOWED(ssize_t, write, 50, 20000, (int fd, const void *bytes, size_t length), (fd, bytes, length))
SLOWED(ssize_t, pwrite64, 20, 20000, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at))
SLOWED(ssize_t, send, 30, 30000, (int fd, const void *bytes, size_t length, int flags), (fd, bytes, length, flags))
SLOWED(ssize_t, recv, 30, 30000, (int fd, void *bytes, size_t length, int flags), (fd, bytes, length, flags))
