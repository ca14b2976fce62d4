/*
 * The least that a first program can do: say on the console when it ran, and switch the VM off. What it prints:
 * `VCH_BARE firmware=MS kernel=MS`, the time from power-on until the kernel's clock began, and that clock's own count.
 */
#include "../../../iso-builder/init/system.h"

static unsigned long nanoseconds(void) {
  struct timespec now = {0, 0};
  sys2(SYS_clock_gettime, CLOCK_BOOTTIME, (long)&now);
  return (unsigned long)now.seconds * 1000000000 + (unsigned long)now.nanoseconds;
}

static void print(const char *text) { sys3(SYS_write, 1, (long)text, (long)length_of(text)); }

void start(void) {
  char number[24];
  unsigned long ticks = processor_ticks(), begun = nanoseconds();
  print("\nVCH_BARE ");
  unsigned long later = processor_ticks(), now = nanoseconds();
  unsigned long firmware = later / ((later - ticks) * 1000 / (now - begun)) * 1000 - now;
  print("firmware=");
  decimal(number, firmware / 1000000);
  print(number);
  print(" kernel=");
  decimal(number, begun / 1000000);
  print(number);
  print("\n");
  sys4(SYS_reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_POWER_OFF, 0);
  for (;;) sys1(SYS_exit, 1);
}
