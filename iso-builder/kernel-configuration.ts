/** What a kernel was built with: its `.config`, where the source has one. */
export class KernelConfiguration {
  readonly #options: ReadonlyMap<string, string> | undefined;

  /** @param text the `.config`, or `undefined` when the kernel's source has none */
  constructor(text: string | undefined) {
    if (text === undefined) return;
    this.#options = new Map(
      Array.from(text.matchAll(/^CONFIG_(\w+)=(.*)$/gm), ([, name = "", value = ""]) => [name, value]),
    );
  }

  /** Whether it is known at all. Without it, nothing can be said about what is missing. */
  get isKnown(): boolean {
    return this.#options !== undefined;
  }

  /** Whether an option is built in (`=y`). */
  has(option: string): boolean {
    return this.#options?.get(option) === "y";
  }

  /** Whether an option is there at all, built in or as a module. */
  offers(option: string): boolean {
    const value = this.#options?.get(option);
    return value === "y" || value === "m";
  }

  /** @throws Error naming the options without which a container VM cannot run */
  requireEssentials(): void {
    if (!this.isKnown) return;
    const missing = essentials.filter(([option]) => !option.split("|").some((one) => this.has(one)));
    if (missing.length === 0) return;
    const list = missing
      .map(([option, why]) => `${option.replace(/\w+/g, "CONFIG_$&=y").replace("|", " or ")} (${why})`)
      .join(", ");
    throw new Error(`the kernel lacks ${list}; use another kernel, or build it with these options`);
  }

  /** The options with which the kernel was built that module `name` would be built by, if it is built in. */
  isBuiltin(module: string): boolean {
    const option = optionOfModule[module];
    return option !== undefined && this.has(option);
  }
}

/** Options that no module can stand in for. */
const essentials: readonly (readonly [option: string, why: string])[] = [
  ["BLK_DEV_INITRD", "the first stage is an initramfs"],
  ["DEVTMPFS", "device files"],
  ["PROC_FS", "/proc"],
  ["SYSFS", "/sys"],
  ["TMPFS", "/run and /tmp"],
  ["BINFMT_ELF", "programs"],
  ["SERIAL_8250_CONSOLE|SERIAL_AMBA_PL011_CONSOLE", "the console log"],
  ["INET", "networks"],
  ["UNIX", "sockets"],
  ["CGROUPS", "limits of containers"],
  ["NAMESPACES", "isolation of containers"],
  ["FUTEX", "threads"],
  ["EPOLL", "the tether's event loop"],
];

/** Option behind each module that the image cares for, for kernels whose packages have no `modules.builtin`. */
export const optionOfModule: Readonly<Record<string, string>> = {
  ahci: "SATA_AHCI",
  ata_piix: "ATA_PIIX",
  ext4: "EXT4_FS",
  isofs: "ISO9660_FS",
  loop: "BLK_DEV_LOOP",
  nvme: "BLK_DEV_NVME",
  overlay: "OVERLAY_FS",
  sd_mod: "BLK_DEV_SD",
  squashfs: "SQUASHFS",
  sr_mod: "BLK_DEV_SR",
  vmw_pvscsi: "VMWARE_PVSCSI",
  vmw_vmci: "VMWARE_VMCI",
  vmw_vsock_vmci_transport: "VMWARE_VMCI_VSOCKETS",
  vmxnet3: "VMXNET3",
};
