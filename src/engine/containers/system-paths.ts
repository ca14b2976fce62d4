/** Paths of /proc and /sys that tell or change what belongs to the kernel, as Docker hides them. */
import type { HostConfig } from "../contract.ts";

const MASKED = [
  "/proc/asound",
  "/proc/acpi",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/sys/firmware",
  "/sys/devices/virtual/powercap",
];
const READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** What holds: the client's lists (an empty one hides nothing), Docker's where it gave none, nothing for a privileged container. */
export function systemPaths(hostConfig: Partial<HostConfig>): { masked: string[]; readOnly: string[] } {
  if (hostConfig.Privileged) return { masked: [], readOnly: [] };
  return { masked: hostConfig.MaskedPaths ?? MASKED, readOnly: hostConfig.ReadonlyPaths ?? READ_ONLY };
}
