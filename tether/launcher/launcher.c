/*
 * Starts one process in the container: the main process as PID 1 of a new PID namespace, or a further one (exec) in the
 * namespaces of the first. Stays as the parent, waits, and exits with the process's status (128 + n when signal n ended it),
 * so that whoever started this program learns the status from its own child.
 *
 * A program of its own, in C without a library, because a second start of the tether costs half a second under emulation.
 *
 * fd 0-2  stdio of the process
 * fd 3    the specification: a file of records `u8 tag, u32 little-endian length, bytes`, see read_specification
 * fd 4    reports: `P` + u32 pid once the process exists, then either end of file (it runs), or
 *         `E` + class + u32 errno + name of the failed step. Classes: n not found, x not executable, d working
 *         directory, r not running (the container has ended), m mounts, o other.
 *
 * With arguments it does something else: see shares.h.
 */
#include "system.h"
#include "shares.h"

enum { SPEC = 3, REPORT = 4, MAX_ARGUMENTS = 65536, MAX_GROUPS = 1024, MAX_PATHS = 128, MAX_LIMITS = 32, PATH_LENGTH = 4352 };

struct limit { u64 resource, soft, hard; };
struct specification {
  char *arguments[MAX_ARGUMENTS + 1], *environment[MAX_ARGUMENTS + 1];
  u32 argument_count, environment_count;
  const char *directory, *root, *cgroup, *oom_score;
  u8 make_directory, terminal, init, no_new_privileges, read_only_root, isolated;
  u32 uid, gid, join_pid;
  u32 groups[MAX_GROUPS], group_count;
  u64 capabilities;
  struct limit limits[MAX_LIMITS];
  u32 limit_count;
  const u8 *filter; /* struct sock_filter, 8 bytes each */
  u32 filter_length;
  const char *masked[MAX_PATHS], *read_only[MAX_PATHS];
  u32 masked_count, read_only_count;
};
static struct specification spec;

__attribute__((noreturn)) static void leave(int status) {
  for (;;) CALL(exit_group, status);
}

__attribute__((noreturn)) static void fail(char class, i64 error, const char *step) {
  u8 report[128];
  u32 number = (u32)(error < 0 ? -error : error);
  u64 length = length_of(step);
  if (length > sizeof report - 6) length = sizeof report - 6;
  report[0] = 'E';
  report[1] = (u8)class;
  memcpy(report + 2, &number, 4);
  memcpy(report + 6, step, length);
  CALL(write, REPORT, report, 6 + length);
  leave(127);
}

static void check(i64 result, char class, const char *step) {
  if (result < 0) fail(class, result, step);
}

static void read_specification(void) {
  i64 size = CALL(lseek, SPEC, 0, 2);
  check(size, 'o', "specification");
  u8 *at = (u8 *)CALL(mmap, 0, size, 3 /* read, write */, 2 /* private */, SPEC, 0);
  check((i64)at < 0 && (i64)at > -4096 ? (i64)at : 0, 'o', "specification");
  u8 *end = at + size;
  while (at + 5 <= end) {
    u8 tag = at[0];
    u32 length;
    memcpy(&length, at + 1, 4);
    u8 *value = at + 5;
    if (length > (u64)(end - value)) fail('o', EINVAL, "specification");
    at = value + length;
    const char *text = (const char *)value; /* text values end with a NUL */
    u32 number = 0;
    if (length == 4) memcpy(&number, value, 4);
#define APPEND(list, count, max, item) do { if ((count) >= (max)) fail('o', EINVAL, "too many values"); (list)[(count)++] = (item); } while (0)
    switch (tag) {
      case 'a': APPEND(spec.arguments, spec.argument_count, MAX_ARGUMENTS, (char *)text); break;
      case 'e': APPEND(spec.environment, spec.environment_count, MAX_ARGUMENTS, (char *)text); break;
      case 'd': spec.directory = text; break;
      case 'D': spec.make_directory = 1; break;
      case 'r': spec.root = text; break;
      case 'R': spec.read_only_root = 1; break;
      case 'j': spec.join_pid = number; break;
      case 'f': spec.cgroup = text; break;
      case 'O': spec.oom_score = text; break;
      case 'u': spec.uid = number; break;
      case 'g': spec.gid = number; break;
      case 'G': APPEND(spec.groups, spec.group_count, MAX_GROUPS, number); break;
      case 'c': if (length == 8) memcpy(&spec.capabilities, value, 8); break;
      case 'l': {
        struct limit limit;
        if (length != sizeof limit) fail('o', EINVAL, "specification");
        memcpy(&limit, value, sizeof limit);
        APPEND(spec.limits, spec.limit_count, MAX_LIMITS, limit);
        break;
      }
      case 's': spec.filter = value; spec.filter_length = length / 8; break;
      case 'n': spec.no_new_privileges = 1; break;
      case 'N': spec.isolated = 1; break;
      case 't': spec.terminal = 1; break;
      case 'i': spec.init = 1; break;
      case 'm': APPEND(spec.masked, spec.masked_count, MAX_PATHS, text); break;
      case 'o': APPEND(spec.read_only, spec.read_only_count, MAX_PATHS, text); break;
      default: fail('o', EINVAL, "specification");
    }
  }
  if (spec.argument_count == 0 || !spec.directory || (!spec.root && !spec.join_pid)) fail('o', EINVAL, "specification");
}

static i64 write_file(const char *path, const char *text) {
  i64 fd = CALL(openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  i64 written = CALL(write, fd, text, length_of(text));
  CALL(close, fd);
  return written;
}

/* A path that the container must not read: a directory is covered with an empty tmpfs, a file with /dev/null. */
static void mask(const char *path) {
  i64 result = CALL(mount, "/dev/null", path, 0, MS_BIND, 0);
  if (result == -ENOTDIR) result = CALL(mount, "tmpfs", path, "tmpfs", MS_RDONLY, "size=0k");
  if (result != -ENOENT) check(result, 'm', path);
}

static void make_read_only(const char *path) {
  i64 result = CALL(mount, path, path, 0, MS_BIND | MS_REC, 0);
  if (result == -ENOENT) return;
  check(result, 'm', path);
  check(CALL(mount, path, path, 0, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0), 'm', path);
}

/* Makes the prepared directory the root of a mount namespace of the process's own. */
static void enter_root(void) {
  check(CALL(mount, "", "/", 0, MS_PRIVATE | MS_REC, 0), 'm', "make mounts private");
  check(CALL(mount, spec.root, spec.root, 0, MS_BIND | MS_REC, 0), 'm', "bind root");
  check(CALL(chdir, spec.root), 'm', "enter root");
  check(CALL(pivot_root, ".", "."), 'm', "pivot_root");
  check(CALL(umount2, ".", MNT_DETACH), 'm', "leave old root");
  check(CALL(chdir, "/"), 'm', "enter root");
  check(CALL(mount, "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0), 'm', "/proc");
  /* sysfs shows the network namespace of who mounts it: a namespace of its own needs a mount of its own. */
  if (spec.isolated) check(CALL(mount, "sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, 0), 'm', "/sys");
  for (u32 i = 0; i < spec.masked_count; i++) mask(spec.masked[i]);
  for (u32 i = 0; i < spec.read_only_count; i++) make_read_only(spec.read_only[i]);
  if (spec.read_only_root) check(CALL(mount, "/", "/", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0), 'm', "read-only root");
}

static void enter_directory(void) {
  if (spec.make_directory) {
    char path[PATH_LENGTH];
    u64 length = length_of(spec.directory);
    if (length >= sizeof path) fail('d', 36 /* ENAMETOOLONG */, spec.directory);
    memcpy(path, spec.directory, length + 1);
    for (u64 i = 1; i <= length; i++) {
      if (path[i] != '/' && path[i] != 0) continue;
      char kept = path[i];
      path[i] = 0;
      CALL(mkdirat, AT_FDCWD, path, 0755); /* what matters is whether chdir works */
      path[i] = kept;
    }
  }
  check(CALL(chdir, spec.directory), 'd', "chdir");
}

/* The process's user owns its stdio, as with runc: it may reopen /dev/stdout. */
static void own_stdio(void) {
  for (int fd = 0; fd < 3; fd++) {
    u8 stat[256];
    if (CALL(statx, fd, "", 0x1000 /* AT_EMPTY_PATH */, 2 /* STATX_MODE */, stat) < 0) continue;
    u32 type = (stat[28] | (u32)stat[29] << 8) & 0170000;
    if (type == 0010000 || (spec.terminal && type == 0020000)) CALL(fchown, fd, spec.uid, -1);
  }
}

/* Without no_new_privs the kernel asks for CAP_SYS_ADMIN, so this comes before the capabilities go. */
static void filter_system_calls(void) {
  struct { unsigned short length; const u8 *filter; } program = {(unsigned short)spec.filter_length, spec.filter};
  if (spec.filter_length > 0) check(CALL(prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 'o', "seccomp");
}

static void drop_privileges(void) {
  for (u32 i = 0; i < spec.limit_count; i++) {
    u64 pair[2] = {spec.limits[i].soft, spec.limits[i].hard};
    check(CALL(prlimit64, 0, spec.limits[i].resource, pair, 0), 'o', "setrlimit");
  }
  own_stdio();
  for (u32 capability = 0; capability < 64; capability++) {
    if (spec.capabilities >> capability & 1) continue;
    i64 result = CALL(prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
    if (result == -EINVAL) break; /* beyond the kernel's last capability */
    check(result, 'o', "capabilities");
  }
  CALL(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (!spec.no_new_privileges) filter_system_calls();
  check(CALL(setgroups, spec.group_count, spec.groups), 'o', "setgroups");
  check(CALL(setgid, spec.gid), 'o', "setgid");
  check(CALL(setuid, spec.uid), 'o', "setuid");
  if (spec.uid == 0) {
    u32 header[2] = {0x20080522 /* version 3 */, 0};
    u64 own = spec.capabilities & ((1UL << 41) - 1);
    u32 low = (u32)own, high = (u32)(own >> 32);
    u32 sets[6] = {low, low, 0, high, high, 0}; /* effective, permitted, inheritable */
    check(CALL(capset, header, sets), 'o', "capabilities");
  }
  if (spec.no_new_privileges) {
    check(CALL(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'o', "no_new_privs");
    filter_system_calls();
  }
}

static void reset_signals(void) {
  u64 none = 0;
  struct { u64 handler, flags, restorer, mask; } action = {0, 0, 0, 0};
  for (int signal = 1; signal <= 64; signal++) CALL(rt_sigaction, signal, &action, 0, 8);
  CALL(rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, 8);
}

/* Replaces this process. Looks up a plain name in PATH of the process's own environment, as Go's exec.LookPath. */
__attribute__((noreturn)) static void execute(void) {
  char *name = spec.arguments[0];
  CALL(umask, 022);
  CALL(close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
  if (has_slash(name)) {
    i64 error = CALL(execve, name, spec.arguments, spec.environment);
    int exists = CALL(faccessat, AT_FDCWD, name, 0) == 0;
    if (error == -ENOENT || error == -ENOTDIR) fail('n', error, exists ? "exec" : "stat");
    fail('x', error, "exec");
  }
  const char *path = "";
  for (u32 i = 0; i < spec.environment_count; i++)
    if (starts_with(spec.environment[i], "PATH=")) path = spec.environment[i] + 5;
  u64 name_length = length_of(name);
  for (const char *from = path; name_length > 0;) {
    u64 length = 0;
    while (from[length] && from[length] != ':') length++;
    char full[PATH_LENGTH];
    if (length + name_length + 3 < sizeof full) {
      u64 at = length;
      memcpy(full, from, length);
      if (length == 0) full[at++] = '.';
      full[at++] = '/';
      memcpy(full + at, name, name_length + 1);
      i64 error = CALL(execve, full, spec.arguments, spec.environment);
      if (error != -ENOENT && error != -ENOTDIR && error != -EACCES) fail('x', error, "exec");
      if (error == -ENOENT && CALL(faccessat, AT_FDCWD, full, 0) == 0) fail('n', error, "exec");
    }
    if (!from[length]) break;
    from += length + 1;
  }
  fail('n', ENOENT, "lookup");
}

static int exit_code(u32 status) {
  u32 signal = status & 0x7f;
  return signal ? (int)(128 + signal) : (int)(status >> 8 & 0xff);
}

/* docker run --init: passes signals on to the one child, reaps whatever ends, and ends with the child. */
__attribute__((noreturn)) static void run_init(i64 child) {
  for (int fd = 0; fd <= REPORT; fd++) CALL(close, fd);
  u64 all = ~0UL;
  for (;;) {
    u8 info[128];
    i64 signal = CALL(rt_sigtimedwait, &all, info, 0, 8);
    if (signal < 0) continue;
    if (signal != SIGCHLD) {
      CALL(kill, child, signal);
      continue;
    }
    for (;;) {
      u32 status = 0;
      i64 pid = CALL(wait4, -1, &status, 1 /* WNOHANG */, 0);
      if (pid <= 0) break;
      if (pid == child) leave(exit_code(status));
    }
  }
}

/* docker run --network none: a network namespace with nothing but a loopback interface. */
static void raise_loopback(void) {
  i64 fd = CALL(socket, 2 /* AF_INET */, 2 | O_CLOEXEC /* SOCK_DGRAM */, 0);
  check(fd, 'o', "loopback");
  struct { char name[16]; short flags; char rest[22]; } request = {"lo", 1 /* IFF_UP */, {0}};
  check(CALL(ioctl, fd, 0x8914 /* SIOCSIFFLAGS */, &request), 'o', "loopback");
  CALL(close, fd);
}

__attribute__((noreturn)) static void run_container_process(void) {
  if (spec.isolated) raise_loopback();
  if (spec.root) enter_root();
  check(CALL(setsid), 'o', "setsid");
  if (spec.terminal) check(CALL(ioctl, 0, TIOCSCTTY, 0), 'o', "controlling terminal");
  if (spec.init) {
    u64 all = ~0UL;
    CALL(rt_sigprocmask, 2, &all, 0, 8);
    i64 child = CALL(clone, SIGCHLD, 0, 0, 0, 0);
    check(child, 'o', "clone");
    if (child > 0) run_init(child);
    CALL(setpgid, 0, 0);
    u32 group = 2; /* the first child of PID 1 */
    if (spec.terminal) CALL(ioctl, 0, TIOCSPGRP, &group);
  }
  reset_signals();
  enter_directory();
  drop_privileges();
  execute();
}

__attribute__((noreturn)) static void supervise(i64 child) {
  u8 report[5] = {'P'};
  u32 number = (u32)child;
  memcpy(report + 1, &number, 4);
  CALL(write, REPORT, report, 5);
  /* The stdio and the report must end when the process ends, or runs: so none of them stays open here. */
  for (int fd = 0; fd <= REPORT; fd++) CALL(close, fd);
  u32 status = 0;
  while (CALL(wait4, child, &status, 0, 0) == -EINTR) continue;
  leave(exit_code(status));
}

__attribute__((noreturn, used)) void start(u64 *stack) {
  run_share_command(stack[0], (char **)(stack + 1));
  read_specification();
  if (spec.cgroup) check(write_file(spec.cgroup, "0"), 'o', "cgroup");
  u64 all = ~0UL;
  CALL(rt_sigprocmask, 2, &all, 0, 8); /* the supervisor heeds nothing but SIGKILL */
  u64 flags = SIGCHLD;
  if (spec.join_pid) {
    i64 process = CALL(pidfd_open, spec.join_pid, 0);
    check(process, 'r', "container process");
    check(CALL(setns, process, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET), 'r', "join namespaces");
  } else {
    flags |= CLONE_NEWNS | CLONE_NEWPID | (spec.isolated ? CLONE_NEWNET : 0);
  }
  i64 child = CALL(clone, flags, 0, 0, 0, 0);
  check(child, 'o', "clone");
  if (child > 0) supervise(child);
  CALL(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  /* Only the tether and its launchers are spared by the out-of-memory killer. Not there: nothing to reset. */
  write_file("/proc/self/oom_score_adj", spec.oom_score ? spec.oom_score : "0");
  run_container_process();
}
