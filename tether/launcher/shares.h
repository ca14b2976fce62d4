/*
 * Helpers of the tether for mounts that the endpoint serves. PID 1 serves such a mount and must never wait for it, so
 * everything that may touch one is done here, in a process of its own:
 *
 *   launcher share d|f DESTINATION FLAGS DATA             FUSE mount; fd 0: replies, fd 1: requests, fd 4: one byte once mounted
 *   launcher mount d|f DESTINATION FLAGS DATA SOURCE TYPE REMOUNT-FLAGS
 *   launcher read PATH LIMIT                              content of a regular file, on fd 1
 *
 * fd 3 is the container's root. `d` or `f`: the destination is a directory or a file, and is made when missing. Paths are
 * resolved as after chroot. A failure writes the name of the step to fd 2; the exit status is the errno.
 */
#pragma once
#include "system.h"

enum { ROOT = 3, MOUNTED = 4, MESSAGE_LIMIT = 256 * 1024, NAME_LIMIT = 4096 };
enum { O_RDWR = 2, O_CREAT = 0100, O_EXCL = 0200, O_NONBLOCK = 04000, O_PATH = 010000000, RESOLVE_NO_MAGICLINKS = 2, RESOLVE_IN_ROOT = 0x10 };
enum { EAGAIN = 11, ENODEV = 19, EFBIG = 27 };

static u8 message[MESSAGE_LIMIT];

__attribute__((noreturn)) static void give_up(i64 error, const char *step) {
  CALL(write, 2, step, length_of(step));
  for (;;) CALL(exit_group, error < 0 ? -error : error);
}

static i64 require(i64 result, const char *step) {
  if (result < 0) give_up(result, step);
  return result;
}

static u64 number_of(const char *text) {
  u64 value = 0;
  for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (u64)(*text - '0');
  return value;
}

static i64 open_in_root(const char *path, u64 flags) {
  struct { u64 flags, mode, resolve; } how = {flags | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
  return CALL(openat2, ROOT, path, &how, sizeof how);
}

/* Path of an open file that nobody can redirect any more. */
static void descriptor_path(char *out, i64 fd) {
  const char *prefix = "/proc/self/fd/";
  u64 at = length_of(prefix);
  memcpy(out, prefix, at);
  char digits[20];
  int count = 0;
  do digits[count++] = (char)('0' + fd % 10); while ((fd /= 10) > 0);
  while (count > 0) out[at++] = digits[--count];
  out[at] = 0;
}

/* The destination of a mount, made with its parents when it is missing. */
static i64 open_destination(char kind, const char *destination) {
  char path[NAME_LIMIT];
  u64 length = length_of(destination);
  if (length >= sizeof path) give_up(36 /* ENAMETOOLONG */, "destination");
  memcpy(path, destination, length + 1);
  i64 parent = require(open_in_root("/", O_PATH), "root");
  for (u64 begin = 0; begin < length;) {
    while (path[begin] == '/') begin++;
    u64 end = begin;
    while (path[end] && path[end] != '/') end++;
    if (end == begin) break;
    int last = 1;
    for (u64 i = end; i < length; i++) if (path[i] != '/') last = 0;
    char kept = path[end];
    path[end] = 0;
    i64 found = open_in_root(path, O_PATH);
    if (found == -ENOENT) {
      if (last && kind == 'f') {
        i64 made = require(CALL(openat, parent, path + begin, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), "make mount point");
        CALL(close, made);
      } else {
        require(CALL(mkdirat, parent, path + begin, 0755), "make mount point");
      }
      found = open_in_root(path, O_PATH);
    }
    require(found, "mount point");
    path[end] = kept;
    CALL(close, parent);
    parent = found;
    begin = end;
  }
  return parent;
}

static void mount_at(char **arguments) {
  char target[40];
  i64 destination = open_destination(arguments[0][0], arguments[1]);
  descriptor_path(target, destination);
  require(CALL(mount, arguments[4], target, arguments[5], number_of(arguments[2]), arguments[3]), "mount");
  u64 remount = number_of(arguments[6]);
  if (remount == 0) return;
  /* The descriptor is of what was there before. */
  descriptor_path(target, require(open_in_root(arguments[1], O_PATH), "mount"));
  require(CALL(mount, "", target, "", remount, ""), "remount");
}

static int write_all(i64 fd, const u8 *bytes, u64 length) {
  while (length > 0) {
    i64 written = CALL(write, fd, bytes, length);
    if (written == -EINTR) continue;
    if (written <= 0) return 0;
    bytes += written;
    length -= (u64)written;
  }
  return 1;
}

static int read_all(i64 fd, u8 *bytes, u64 length) {
  while (length > 0) {
    i64 got = CALL(read, fd, bytes, length);
    if (got == -EINTR) continue;
    if (got <= 0) return 0;
    bytes += got;
    length -= (u64)got;
  }
  return 1;
}

/* Replies of the tether to the kernel. A reply that the kernel does not want any more is no error. */
__attribute__((noreturn)) static void pass_replies(i64 device, i64 parent) {
  for (;;) {
    u32 length = 0;
    if (!read_all(0, message, 4)) break;
    memcpy(&length, message, 4);
    if (length < 16 || length > sizeof message || !read_all(0, message + 4, length - 4)) break;
    if (CALL(write, device, message, length) == -ENODEV) break;
  }
  CALL(kill, parent, SIGKILL);
  for (;;) CALL(exit_group, 0);
}

static void pass_requests(i64 device) {
  for (;;) {
    i64 length = CALL(read, device, message, sizeof message);
    if (length == -EINTR || length == -EAGAIN || length == -ENOENT) continue;
    if (length <= 0 || !write_all(1, message, (u64)length)) return;
  }
}

static void serve_share(char **arguments) {
  char target[40], data[512];
  i64 device = require(CALL(openat, AT_FDCWD, "/dev/fuse", O_RDWR | O_CLOEXEC, 0), "/dev/fuse");
  i64 destination = open_destination(arguments[0][0], arguments[1]);
  descriptor_path(target, destination);
  descriptor_path(data, device);
  /* data: "fd=N" and what the tether adds. */
  u64 prefix = length_of("/proc/self/fd/"), digits = length_of(data) - prefix, more = length_of(arguments[3]);
  if (digits + more + 4 > sizeof data) give_up(EINVAL, "options");
  char number[20];
  memcpy(number, data + prefix, digits);
  memcpy(data, "fd=", 3);
  memcpy(data + 3, number, digits);
  memcpy(data + 3 + digits, arguments[3], more + 1);
  require(CALL(mount, "share", target, "fuse", number_of(arguments[2]), data), "mount");
  CALL(close, destination);
  CALL(close, ROOT);
  i64 self = CALL(getpid);
  i64 child = require(CALL(clone, SIGCHLD, 0, 0, 0, 0), "clone");
  if (child == 0) {
    CALL(close, MOUNTED);
    CALL(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    pass_replies(device, self);
  }
  CALL(close, 0);
  CALL(write, MOUNTED, "M", 1);
  CALL(close, MOUNTED);
  pass_requests(device);
}

static void read_file(char **arguments) {
  i64 fd = require(open_in_root(arguments[0], O_NONBLOCK), "open");
  u8 stat[256];
  require(CALL(statx, fd, "", 0x1000 /* AT_EMPTY_PATH */, 1 /* STATX_TYPE */, stat), "stat");
  if (((stat[28] | (u32)stat[29] << 8) & 0170000) != 0100000) return;
  for (u64 left = number_of(arguments[1]); left > 0;) {
    i64 got = CALL(read, fd, message, left < sizeof message ? left : sizeof message);
    if (got == -EINTR) continue;
    require(got, "read");
    if (got == 0 || !write_all(1, message, (u64)got)) return;
    left -= (u64)got;
  }
}

/* Does what the arguments ask for; returns when they ask for none of these. */
static void run_share_command(u64 count, char **arguments) {
  char **rest = arguments + 2;
  if (count < 2) return;
  if (starts_with(arguments[1], "share") && count == 6) serve_share(rest);
  else if (starts_with(arguments[1], "mount") && count == 9) mount_at(rest);
  else if (starts_with(arguments[1], "read") && count == 4) read_file(rest);
  else give_up(EINVAL, "arguments");
  for (;;) CALL(exit_group, 0);
}
