/* System calls of x86_64 and aarch64 Linux without a C library. Every function returns a negative errno on failure. */
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

#if defined(__x86_64__)
enum {
  SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_rt_sigaction = 13, SYS_rt_sigprocmask = 14,
  SYS_ioctl = 16, SYS_socket = 41, SYS_clone = 56, SYS_execve = 59, SYS_wait4 = 61, SYS_kill = 62, SYS_fchdir = 81, SYS_fchown = 93,
  SYS_setuid = 105, SYS_setgid = 106, SYS_setpgid = 109, SYS_setsid = 112, SYS_setgroups = 116, SYS_capset = 126,
  SYS_rt_sigtimedwait = 128, SYS_pivot_root = 155, SYS_prctl = 157, SYS_mount = 165, SYS_umount2 = 166,
  SYS_sethostname = 170, SYS_exit_group = 231, SYS_openat = 257, SYS_mkdirat = 258, SYS_faccessat = 269,
  SYS_prlimit64 = 302, SYS_setns = 308, SYS_statx = 332, SYS_pidfd_open = 434, SYS_close_range = 436, SYS_chdir = 80,
  SYS_lseek = 8, SYS_umask = 95, SYS_getpid = 39, SYS_openat2 = 437,
};
static inline i64 syscall6(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  register i64 r10 __asm__("r10") = d;
  register i64 r8 __asm__("r8") = e;
  register i64 r9 __asm__("r9") = f;
  i64 result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
__asm__(".global _start\n_start:\n  xor %ebp, %ebp\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call start\n");
#elif defined(__aarch64__)
enum {
  SYS_read = 63, SYS_write = 64, SYS_close = 57, SYS_mmap = 222, SYS_rt_sigaction = 134, SYS_rt_sigprocmask = 135,
  SYS_ioctl = 29, SYS_socket = 198, SYS_clone = 220, SYS_execve = 221, SYS_wait4 = 260, SYS_kill = 129, SYS_fchdir = 50, SYS_fchown = 55,
  SYS_setuid = 146, SYS_setgid = 144, SYS_setpgid = 154, SYS_setsid = 157, SYS_setgroups = 159, SYS_capset = 91,
  SYS_rt_sigtimedwait = 137, SYS_pivot_root = 41, SYS_prctl = 167, SYS_mount = 40, SYS_umount2 = 39,
  SYS_sethostname = 161, SYS_exit_group = 94, SYS_openat = 56, SYS_mkdirat = 34, SYS_faccessat = 48,
  SYS_prlimit64 = 261, SYS_setns = 268, SYS_statx = 291, SYS_pidfd_open = 434, SYS_close_range = 436, SYS_chdir = 49,
  SYS_lseek = 62, SYS_umask = 166, SYS_getpid = 172, SYS_openat2 = 437,
};
static inline i64 syscall6(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  register i64 x8 __asm__("x8") = n;
  register i64 x0 __asm__("x0") = a;
  register i64 x1 __asm__("x1") = b;
  register i64 x2 __asm__("x2") = c;
  register i64 x3 __asm__("x3") = d;
  register i64 x4 __asm__("x4") = e;
  register i64 x5 __asm__("x5") = f;
  __asm__ volatile("svc #0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
}
__asm__(".global _start\n_start:\n  mov x29, #0\n  mov x0, sp\n  bl start\n");
#else
#error "unsupported architecture"
#endif

#define CALL(name, ...) CALL_(SYS_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(n, a, b, c, d, e, f, ...) syscall6((n), (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), (i64)(f))

enum { EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, ENOEXEC = 8, ECHILD = 10, EACCES = 13, EEXIST = 17, ENOTDIR = 20, EINVAL = 22 };
enum { AT_FDCWD = -100, O_RDONLY = 0, O_WRONLY = 1, O_CLOEXEC = 02000000 };
/* O_DIRECTORY differs between the two architectures; a plain open of a directory serves here. */
enum { MS_RDONLY = 1, MS_NOSUID = 2, MS_NODEV = 4, MS_NOEXEC = 8, MS_REMOUNT = 32, MS_BIND = 4096, MS_REC = 16384, MS_PRIVATE = 1 << 18, MNT_DETACH = 2 };
enum { CLONE_NEWNS = 0x20000, CLONE_NEWPID = 0x20000000, CLONE_NEWNET = 0x40000000, SIGCHLD = 17, SIGKILL = 9, SIGTTOU = 22, SIGTTIN = 21, SIGSTOP = 19 };
enum { PR_SET_SECCOMP = 22, SECCOMP_MODE_FILTER = 2 };
enum { PR_SET_PDEATHSIG = 1, PR_CAPBSET_DROP = 24, PR_SET_NO_NEW_PRIVS = 38, PR_CAP_AMBIENT = 47, PR_CAP_AMBIENT_CLEAR_ALL = 4 };
enum { TIOCSCTTY = 0x540E, TIOCSPGRP = 0x5410, CLOSE_RANGE_CLOEXEC = 4 };

/* Called by the compiler for structure copies and clearing. */
void *memcpy(void *to, const void *from, u64 length) {
  u8 *t = to;
  const u8 *f = from;
  while (length--) *t++ = *f++;
  return to;
}
void *memset(void *to, int value, u64 length) {
  u8 *t = to;
  while (length--) *t++ = (u8)value;
  return to;
}
static u64 length_of(const char *text) {
  u64 length = 0;
  while (text[length]) length++;
  return length;
}
static int starts_with(const char *text, const char *prefix) {
  while (*prefix)
    if (*text++ != *prefix++) return 0;
  return 1;
}
static int has_slash(const char *text) {
  for (; *text; text++)
    if (*text == '/') return 1;
  return 0;
}
