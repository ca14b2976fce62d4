/* The little of the Linux system call interface that init needs: numbers, flags, and the call itself. */
#ifndef VCH_INIT_SYSTEM_H
#define VCH_INIT_SYSTEM_H

enum {
  AT_FDCWD = -100,
  O_RDONLY = 0,
  O_RDWR = 2,
  O_CLOEXEC = 02000000,
  F_DUPFD = 0,
  EEXIST = 17,
  EBUSY = 16,
  ENODEV = 19,
  CLOCK_BOOTTIME = 7,
  AF_NETLINK = 16,
  SOCK_DGRAM = 2,
  SOCK_CLOEXEC = 02000000,
  SOCK_NONBLOCK = 04000,
  NETLINK_KOBJECT_UEVENT = 15,
  POLLIN = 1,
  SIGCHLD = 17,
  MS_RDONLY = 1,
  MS_NOSUID = 2,
  MS_NODEV = 4,
  MS_NOEXEC = 8,
  MS_NOATIME = 1024,
  MS_MOVE = 8192,
};

#define REBOOT_MAGIC1 0xfee1deadL
#define REBOOT_MAGIC2 672274793L
#define REBOOT_POWER_OFF 0x4321fedcL

struct timespec {
  long seconds;
  long nanoseconds;
};

struct netlink_address {
  unsigned short family;
  unsigned short padding;
  unsigned int port;
  unsigned int groups;
};

struct poll_entry {
  int fd;
  short events;
  short revents;
};

#if defined(__x86_64__)

enum {
  SYS_read = 0,
  SYS_write = 1,
  SYS_close = 3,
  SYS_pread64 = 17,
  SYS_socket = 41,
  SYS_bind = 49,
  SYS_clone = 56,
  SYS_execve = 59,
  SYS_exit = 60,
  SYS_fcntl = 72,
  SYS_chdir = 80,
  SYS_chroot = 161,
  SYS_sync = 162,
  SYS_mount = 165,
  SYS_reboot = 169,
  SYS_clock_gettime = 228,
  SYS_openat = 257,
  SYS_unlinkat = 263,
  SYS_ppoll = 271,
  SYS_finit_module = 313,
};

static inline long sys5(long number, long a, long b, long c, long d, long e) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}

/* Counts from power-on at a steady rate. */
static inline unsigned long processor_ticks(void) {
  unsigned int low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (unsigned long)high << 32 | low;
}

__asm__(".globl _start\n_start:\n  xor %ebp, %ebp\n  and $-16, %rsp\n  call start\n");

#elif defined(__aarch64__)

enum {
  SYS_fcntl = 25,
  SYS_unlinkat = 35,
  SYS_mount = 40,
  SYS_chdir = 49,
  SYS_chroot = 51,
  SYS_openat = 56,
  SYS_close = 57,
  SYS_read = 63,
  SYS_write = 64,
  SYS_pread64 = 67,
  SYS_ppoll = 73,
  SYS_sync = 81,
  SYS_exit = 93,
  SYS_clock_gettime = 113,
  SYS_reboot = 142,
  SYS_socket = 198,
  SYS_bind = 200,
  SYS_clone = 220,
  SYS_execve = 221,
  SYS_finit_module = 273,
};

static inline long sys5(long number, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}

/* Its counter may not start with the VM: says nothing. */
static inline unsigned long processor_ticks(void) { return 0; }

__asm__(".globl _start\n_start:\n  mov x29, xzr\n  mov x30, xzr\n  bl start\n");

#else
#error "init is written for x86-64 and arm64"
#endif

static inline long sys1(long number, long a) { return sys5(number, a, 0, 0, 0, 0); }
static inline long sys2(long number, long a, long b) { return sys5(number, a, b, 0, 0, 0); }
static inline long sys3(long number, long a, long b, long c) { return sys5(number, a, b, c, 0, 0); }
static inline long sys4(long number, long a, long b, long c, long d) { return sys5(number, a, b, c, d, 0); }

/* Both architectures have clone; only one has fork. */
static inline long fork_process(void) { return sys5(SYS_clone, SIGCHLD, 0, 0, 0, 0); }

static inline unsigned long length_of(const char *text) {
  unsigned long length = 0;
  while (text[length]) length++;
  return length;
}

/* Appends text as far as it fits. */
static inline void append(char *buffer, unsigned long size, const char *text) {
  unsigned long at = length_of(buffer);
  while (*text && at + 1 < size) buffer[at++] = *text++;
  buffer[at] = 0;
}

/* The number's digits; the buffer holds at least 21 characters. */
static inline void decimal(char *buffer, unsigned long value) {
  char reversed[20];
  int count = 0;
  do reversed[count++] = (char)('0' + value % 10);
  while (value /= 10);
  while (count > 0) *buffer++ = reversed[--count];
  *buffer = 0;
}

/* The compiler may call this to copy initial values of local arrays. */
void *memcpy(void *to, const void *from, unsigned long length) {
  char *target = to;
  const char *source = from;
  while (length--) *target++ = *source++;
  return to;
}

void *memset(void *to, int value, unsigned long length) {
  char *target = to;
  while (length--) *target++ = (char)value;
  return to;
}

#endif
