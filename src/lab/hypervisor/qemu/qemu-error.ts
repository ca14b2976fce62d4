/** From QEMU's messages to vSphere faults. */
import { HypervisorError, type HypervisorFault } from "../contract.ts";

const faults: readonly [RegExp, HypervisorFault][] = [
  [/Failed to get .*lock|Is another process using the image|Failed to lock byte/i, "FileLocked"],
  [/No such file or directory/i, "FileNotFound"],
  [/Permission denied/i, "CannotAccessFile"],
  [/No space left on device/i, "NoDiskSpace"],
  [/Cannot allocate memory|cannot set up guest memory/i, "InsufficientResourcesFault"],
  [/not a VMDK|Invalid image|Unsupported image|VMDK version/i, "InvalidDiskFormat"],
  [/\/dev\/net\/tun|TUNSETIFF/i, "HostConfigFault"],
];

const advice: Partial<Record<HypervisorFault, string>> = {
  FileLocked: "; the file is in use by another running VM",
  HostConfigFault: "; run the lab as root on a kernel with the tun module",
};

/** Most characters of QEMU's output in an error. */
const OUTPUT_LIMIT = 600;

/** QEMU's last lines, without time stamps. */
export function lastLines(output: string): string {
  const lines = output
    .split("\n")
    .map((line) =>
      line
        .replace(/^[0-9T:.Z-]{20,} /, "")
        .replace(/^qemu-system-\w+: /, "")
        .trim(),
    )
    .filter((line) => line !== "");
  return lines.slice(-4).join("; ").slice(-OUTPUT_LIMIT);
}

export function qemuError(action: string, output: string): HypervisorError {
  const fault = faults.find(([pattern]) => pattern.test(output))?.[1] ?? "GenericVmConfigFault";
  return new HypervisorError(
    fault,
    `cannot ${action}: ${lastLines(output) || "QEMU ended without a message"}${advice[fault] ?? ""}`,
  );
}
