/** Which QEMU is installed. */
import { HypervisorError } from "../contract.ts";

export const DEFAULT_QEMU_BINARY = "qemu-system-x86_64";
/** Older ones lack options used here. */
const OLDEST = [6, 2] as const;

export interface QemuVersion {
  /** `7.2.22` */
  text: string;
  numbers: readonly [number, number];
}

/** Reads the output of `qemu --version`; undefined when it is something else. Pure. */
export function parseQemuVersion(output: string): QemuVersion | undefined {
  const match = /version (\d+)\.(\d+)(?:\.\d+)?/.exec(output);
  return match === null
    ? undefined
    : { text: match[0].slice("version ".length), numbers: [Number(match[1]), Number(match[2])] };
}

/** Throws HypervisorError when QEMU is missing or too old. */
export async function findQemuVersion(binary: string): Promise<QemuVersion> {
  let output: string;
  try {
    const child = Bun.spawn([binary, "--version"], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
      timeout: 10_000,
    });
    output = await child.stdout.text();
  } catch {
    throw new HypervisorError("HostConfigFault", `cannot run ${binary}: install the package qemu-system-x86`);
  }
  const version = parseQemuVersion(output);
  if (version === undefined) throw new HypervisorError("HostConfigFault", `${binary} is not QEMU`);
  const [major, minor] = version.numbers;
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw new HypervisorError(
      "HostConfigFault",
      `QEMU ${version.text} is too old; the lab needs ${OLDEST.join(".")} or later`,
    );
  }
  return version;
}
