import type { Architecture, ArchitectureFacts } from "./architecture";

/**
 * The kernel command line of container VMs.
 *
 * `console=… quiet loglevel=3`: only errors reach the console, where each character costs an exit of the VM.
 * `no_timer_check`: timer interrupts of a hypervisor arrive; no waiting to see whether they do.
 * Not `tsc=reliable`: a hypervisor that tells its TSC's frequency (ESXi, KVM) makes it reliable by itself. Where the kernel
 * must measure it (emulation), a virtual CPU that got no time at that moment measures wrong, up to twelve times too fast;
 * the kernel's watchdog then notices and takes the ACPI timer instead.
 * `noreplace-smp`: leaves lock prefixes as they are instead of patching the kernel when one processor is found.
 * `cryptomgr.notests`: the self tests of algorithms take tens of milliseconds and protect against compiler bugs.
 * `random.trust_cpu=on`: randomness from the processor counts, so that nothing waits for it.
 * `panic=-1`: a dead kernel restarts at once instead of hanging; the engine sees the restart.
 * `rd.` and `root=` are not needed: /init of the initramfs does all of it.
 *
 * Mitigations stay on. A container VM has one tenant, but that tenant may run several users' processes. Whoever wants
 * `mitigations=off` adds it by `kernelArguments`.
 */
const common: readonly string[] = ["quiet", "loglevel=3"];
const forArchitecture: Readonly<Record<Architecture, readonly string[]>> = {
  x86_64: ["no_timer_check", "noreplace-smp"],
  aarch64: [],
};
const further: readonly string[] = ["cryptomgr.notests", "random.trust_cpu=on", "panic=-1"];

/** Longest command line that Linux takes on x86 (COMMAND_LINE_SIZE without its end). */
const MAX_LENGTH = 2047;

/** The whole command line. @throws Error when an argument cannot stand in a boot loader's configuration */
export function kernelCommandLine({ name, consoles }: ArchitectureFacts, additional: readonly string[]): string {
  for (const argument of additional) {
    if (!/^[\x21-\x7e]+$/.test(argument))
      throw new Error(`kernel argument ${JSON.stringify(argument)} has spaces or unprintable characters`);
  }
  const serial = consoles.map((console) => `console=${console}`);
  const line = [...serial, ...common, ...forArchitecture[name], ...further, ...additional].join(" ");
  if (line.length > MAX_LENGTH) throw new Error(`the kernel command line is longer than ${MAX_LENGTH} characters`);
  return line;
}
