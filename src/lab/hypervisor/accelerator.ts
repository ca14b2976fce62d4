/** KVM or emulation: decided by booting a guest, because the presence of /dev/kvm proves nothing. */
import { access, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { PROBE_EXIT_STATUS, PROBE_PORT, probeGuest } from "./kvm-probe-guest.ts";
import { lastLines } from "./qemu/qemu-error.ts";
import { DEFAULT_QEMU_BINARY, findQemuVersion } from "./qemu/version.ts";

/** The guest needs some tens of milliseconds where KVM works. */
const PROBE_LIMIT_MS = 3000;
const REASON_LIMIT = 200;

export interface Accelerator {
  kind: "kvm" | "tcg";
  reason: string;
}

/** Boot the probe guest. `accelerator` other than kvm serves to test the guest itself. */
export async function bootProbeGuest(
  binary: string,
  accelerator: "kvm" | "tcg",
): Promise<{ works: boolean; reason: string }> {
  const directory = await mkdtemp(join(tmpdir(), "vch-probe-"));
  try {
    const image = join(directory, "guest");
    await writeFile(image, probeGuest);
    const words = ["-machine", "pc", "-accel", accelerator, "-cpu", accelerator === "kvm" ? "host" : "max", "-m", "16"];
    words.push("-nodefaults", "-no-user-config", "-display", "none", "-kernel", image);
    words.push("-device", `isa-debug-exit,iobase=${PROBE_PORT},iosize=1`);
    const child = Bun.spawn([binary, ...words], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      timeout: PROBE_LIMIT_MS,
      killSignal: "SIGKILL",
    });
    const [errors] = await Promise.all([child.stderr.text(), child.exited]);
    if (child.exitCode === PROBE_EXIT_STATUS) return { works: true, reason: "a test guest ran" };
    const told = /^.*(error|fail|abort|KVM).*$/im.exec(errors)?.[0] ?? lastLines(errors);
    const end =
      child.signalCode === "SIGKILL" ? `a test guest hung for ${PROBE_LIMIT_MS / 1000} s` : "a test guest failed";
    return { works: false, reason: told === "" ? end : `${end}: ${lastLines(told).slice(0, REASON_LIMIT)}` };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What the answer depends on: this boot of this kernel, and this QEMU. */
async function probeKey(binary: string): Promise<string> {
  const bootId = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  return [release(), bootId, binary, (await findQemuVersion(binary)).text].join(" ");
}

async function decide(binary: string): Promise<Accelerator> {
  const usable = await access("/dev/kvm").then(
    () => true,
    () => false,
  );
  if (!usable) return { kind: "tcg", reason: "this machine has no /dev/kvm" };
  const { works, reason } = await bootProbeGuest(binary, "kvm");
  return works ? { kind: "kvm", reason } : { kind: "tcg", reason: `KVM does not work here: ${reason}` };
}

/**
 * The accelerator to use. The answer is kept in `stateDirectory` and found anew after a restart of the machine or a change
 * of kernel or QEMU. Throws HypervisorError when there is no usable QEMU.
 */
export async function probeAccelerator(stateDirectory: string, binary = DEFAULT_QEMU_BINARY): Promise<Accelerator> {
  const key = await probeKey(binary);
  const file = join(stateDirectory, "accelerator.json");
  const remembered = await readFile(file, "utf8")
    .then((text) => JSON.parse(text) as { key?: unknown; kind?: unknown; reason?: unknown })
    .catch(() => undefined);
  if (remembered?.key === key && (remembered.kind === "kvm" || remembered.kind === "tcg")) {
    return { kind: remembered.kind, reason: String(remembered.reason) };
  }
  const accelerator = await decide(binary);
  await mkdir(stateDirectory, { recursive: true });
  await writeFile(`${file}.new`, JSON.stringify({ key, ...accelerator }));
  await rename(`${file}.new`, file);
  return accelerator;
}
