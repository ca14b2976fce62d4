/*
 * First program of a container VM, started by the kernel out of the initramfs. It finds the boot medium, makes it the
 * root, and becomes the tether. A failure prints one line on the console and powers the VM off: it never hangs.
 *
 * Freestanding: no C library, one static binary of a few kilobytes, for x86-64 and arm64.
 */
#include "system.h"

enum {
  MEDIUM_TIMEOUT_MS = 30000,
  /* A drive that is still taking in its medium sends no event, so look again this often while waiting. */
  MEDIUM_RECHECK_MS = 250,
  MAX_DRIVES = 4,
  MAX_LIST = 16384,
  MEDIUM_ID_LENGTH = 64,
};

/* Where ISO 9660 keeps the volume set identifier, which carries our medium id. */
#define MEDIUM_ID_OFFSET (16 * 2048 + 190)

static char phases[256] = "VCH_INIT_PHASES=";

static void print(const char *text) { sys3(SYS_write, 2, (long)text, (long)length_of(text)); }

/* Ends the VM with one line that says what failed. */
static void __attribute__((noreturn)) fail(const char *what, const char *object, long error) {
  char number[24];
  print("\nvch-init: ");
  print(what);
  print(object);
  if (error < 0) {
    print(": error ");
    decimal(number, (unsigned long)-error);
    print(number);
  }
  print("; powering off\n");
  sys1(SYS_sync, 0);
  sys4(SYS_reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_POWER_OFF, 0);
  /* Only reached where there is no power to switch off: ending PID 1 makes the kernel panic, which restarts. */
  for (;;) sys1(SYS_exit, 1);
}

static unsigned long microseconds(void) {
  struct timespec now = {0, 0};
  sys2(SYS_clock_gettime, CLOCK_BOOTTIME, (long)&now);
  return (unsigned long)now.seconds * 1000000 + (unsigned long)now.nanoseconds / 1000;
}

static unsigned long milliseconds(void) { return microseconds() / 1000; }

/* Notes a number of milliseconds for the tether. */
static void note(const char *name, unsigned long milliseconds) {
  char number[24];
  decimal(number, milliseconds);
  if (length_of(phases) > length_of("VCH_INIT_PHASES=")) append(phases, sizeof phases, ",");
  append(phases, sizeof phases, name);
  append(phases, sizeof phases, "=");
  append(phases, sizeof phases, number);
}

/* Notes when a phase ended, in milliseconds since the kernel started. */
static void phase_done(const char *name) { note(name, milliseconds()); }

/*
 * Notes how long firmware, boot loader and the kernel's unpacking took: the processor's counter starts with the VM, the
 * kernel's clock after them. `ticks` and `since` are of one earlier moment. Nothing is noted where the counter does not fit.
 */
static void note_firmware(unsigned long ticks, unsigned long since) {
  unsigned long later = processor_ticks(), now = microseconds();
  if (later <= ticks || now <= since || later - ticks < now - since) return;
  unsigned long since_power_on = later / ((later - ticks) / (now - since));
  if (since_power_on > now && since_power_on - now < 600000000) note("firmware", (since_power_on - now) / 1000);
}

static void mount_at(const char *type, const char *target, unsigned long flags, const char *data) {
  long result = sys5(SYS_mount, (long)type, (long)target, (long)type, (long)flags, (long)data);
  /* The kernel may have mounted devtmpfs itself. */
  if (result < 0 && result != -EBUSY) fail("cannot mount ", target, result);
}

static void mount_system(void) {
  mount_at("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
  mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
  mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
  mount_at("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
  mount_at("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
}

/* Standard streams, if the kernel could not open the console itself. */
static void open_console(void) {
  long fd = sys4(SYS_openat, AT_FDCWD, (long)"/dev/console", O_RDWR, 0);
  while (fd >= 0 && fd < 2) fd = sys3(SYS_fcntl, fd, F_DUPFD, 0);
  if (fd > 2) sys1(SYS_close, fd);
}

static long read_file(const char *path, char *buffer, long size) {
  long fd = sys4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  long filled = 0, got;
  while ((got = sys3(SYS_read, fd, (long)(buffer + filled), size - 1 - filled)) > 0) filled += got;
  sys1(SYS_close, fd);
  if (got < 0) return got;
  buffer[filled] = 0;
  return filled;
}

static long load_module(const char *path, const char *parameters) {
  long fd = sys4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  long result = sys3(SYS_finit_module, fd, (long)parameters, 0);
  sys1(SYS_close, fd);
  return result == -EEXIST ? 0 : result;
}

/*
 * Loads the modules that a list names, in that order: a line is a path and, after a space, parameters. Where the modules are in the initramfs, they are
 * deleted at once, so that their memory comes back. A driver may say that its hardware is absent (ENODEV).
 */
static void load_modules(const char *list, int delete_after) {
  static char text[MAX_LIST];
  long length = read_file(list, text, sizeof text);
  if (length < 0) fail("cannot read ", list, length);
  if (length == sizeof text - 1) fail("too long: ", list, 0);
  for (char *line = text; *line;) {
    char *end = line;
    while (*end && *end != '\n') end++;
    int last = *end == 0;
    *end = 0;
    char *parameters = line;
    while (*parameters && *parameters != ' ') parameters++;
    if (*parameters) *parameters++ = 0;
    long result = *line ? load_module(line, parameters) : 0;
    if (result < 0 && result != -ENODEV) fail("cannot load module ", line, result);
    if (delete_after) sys3(SYS_unlinkat, AT_FDCWD, (long)line, 0);
    line = last ? end : end + 1;
  }
  if (delete_after) sys3(SYS_unlinkat, AT_FDCWD, (long)list, 0);
}

static long open_event_socket(void) {
  struct netlink_address address = {AF_NETLINK, 0, 0, 1};
  long fd = sys3(SYS_socket, AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  if (fd < 0) fail("cannot open the ", "device event socket", fd);
  long result = sys3(SYS_bind, fd, (long)&address, sizeof address);
  if (result < 0) fail("cannot bind the ", "device event socket", result);
  return fd;
}

/* Whether the drive holds the medium that this initramfs belongs to. */
static int is_our_medium(const char *drive, const char *expected) {
  char id[MEDIUM_ID_LENGTH];
  long fd = sys4(SYS_openat, AT_FDCWD, (long)drive, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  long got = sys4(SYS_pread64, fd, (long)id, sizeof id, MEDIUM_ID_OFFSET);
  sys1(SYS_close, fd);
  if (got != sizeof id) return 0;
  for (int index = 0; index < MEDIUM_ID_LENGTH; index++) {
    if (id[index] != expected[index]) return 0;
  }
  return 1;
}

/* Waits until a drive shows our medium. The socket was opened before any driver, so no event can be missed. */
static void find_medium(long events, char *drive) {
  static char expected[MEDIUM_ID_LENGTH + 2];
  static char event[4096];
  long length = read_file("/medium.id", expected, sizeof expected);
  if (length < MEDIUM_ID_LENGTH) fail("cannot read ", "/medium.id", length);
  unsigned long deadline = milliseconds() + MEDIUM_TIMEOUT_MS;
  for (;;) {
    for (int number = 0; number < MAX_DRIVES; number++) {
      drive[length_of("/dev/sr")] = (char)('0' + number);
      if (is_our_medium(drive, expected)) return;
    }
    if (milliseconds() >= deadline) fail("no CD-ROM drive holds the medium that this VM was booted from", "", 0);
    struct timespec recheck = {0, MEDIUM_RECHECK_MS * 1000000L};
    struct poll_entry poll = {(int)events, POLLIN, 0};
    sys5(SYS_ppoll, (long)&poll, 1, (long)&recheck, 0, 0);
    while (sys3(SYS_read, events, (long)event, sizeof event) > 0) {
    }
  }
}

/* The medium is ISO 9660, and may be a compressed squashfs beside that: the initramfs says which one holds the root. */
static void mount_medium(const char *drive) {
  static char type[16];
  long length = read_file("/medium.type", type, sizeof type);
  if (length < 0) fail("cannot read ", "/medium.type", length);
  for (char *end = type; *end; end++) {
    if (*end == '\n') *end = 0;
  }
  long result = sys5(SYS_mount, (long)drive, (long)"/medium", (long)type, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOATIME, 0);
  if (result < 0) fail("cannot mount ", drive, result);
  sys3(SYS_unlinkat, AT_FDCWD, (long)"/medium.type", 0);
}

static void move_mount(const char *from, const char *to) {
  long result = sys5(SYS_mount, (long)from, (long)to, 0, MS_MOVE, 0);
  if (result < 0) fail("cannot move the mount ", from, result);
}

/* Makes the medium the root. What is left in the initramfs is deleted, so that its memory comes back. */
static void switch_root(void) {
  move_mount("/dev", "/medium/dev");
  move_mount("/proc", "/medium/proc");
  move_mount("/sys", "/medium/sys");
  move_mount("/run", "/medium/run");
  move_mount("/tmp", "/medium/tmp");
  sys3(SYS_unlinkat, AT_FDCWD, (long)"/medium.id", 0);
  sys3(SYS_unlinkat, AT_FDCWD, (long)"/init", 0);
  long result = sys1(SYS_chdir, (long)"/medium");
  if (result < 0) fail("cannot enter ", "/medium", result);
  move_mount(".", "/");
  result = sys1(SYS_chroot, (long)".");
  if (result < 0) fail("cannot change the root to ", "the medium", result);
  sys1(SYS_chdir, (long)"/");
}

/*
 * Disk and network drivers are not needed to start the tether, so a child loads them meanwhile; the tether waits for
 * its devices by event. The tether reaps this child like any orphan.
 */
static void load_late_modules(void) {
  long child = fork_process();
  if (child < 0) fail("cannot fork", "", child);
  if (child > 0) return;
  load_modules("/modules.late.list", 0);
  for (;;) sys1(SYS_exit, 0);
}

void start(void) {
  char drive[] = "/dev/sr0";
  unsigned long ticks = processor_ticks(), since = microseconds();
  open_console();
  mount_system();
  open_console();
  phase_done("start");

  long events = open_event_socket();
  load_modules("/modules.list", 1);
  phase_done("modules");

  find_medium(events, drive);
  sys1(SYS_close, events);
  phase_done("medium");

  mount_medium(drive);
  switch_root();
  load_late_modules();
  phase_done("root");
  note_firmware(ticks, since);

  char *arguments[] = {"/sbin/tether", 0};
  /* Nothing of the kernel command line reaches the tether's environment: Bun would read BUN_* variables there. */
  char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux",
                         phases, 0};
  long result = sys3(SYS_execve, (long)arguments[0], (long)arguments, (long)environment);
  fail("cannot start ", arguments[0], result);
}
