/** What differs between the machines that images are made for. */

export type Architecture = "x86_64" | "aarch64";

export interface ArchitectureFacts {
  name: Architecture;
  /** As Debian and RPM packages call it, and packages for all machines. */
  packageNames: ReadonlySet<string>;
  debianName: string;
  /** Debian's package that depends on the newest fitting kernel. */
  kernelPackage: string;
  /** Whether its machines have a BIOS besides UEFI. */
  hasBios: boolean;
  efi: {
    /** The stub that turns a kernel into a UEFI program, where Debian and Photon put it. */
    stubFile: RegExp;
    /** Machine type in a PE header. */
    machine: number;
    /** Where UEFI looks on a medium that it does not know. */
    program: string;
  };
  /** Serial consoles; the last one that the machine has becomes `/dev/console`. */
  consoles: readonly string[];
  /** Drivers of controllers that a CD-ROM may be on: at least one must be there. */
  cdControllers: readonly { module: string; bus: "ide" | "sata" }[];
  /** Drivers of controllers that disks are on: at least one of each list must be there. */
  diskControllers: readonly string[];
}

const architectures: Readonly<Record<Architecture, ArchitectureFacts>> = {
  x86_64: {
    name: "x86_64",
    packageNames: new Set(["amd64", "x86_64", "all", "noarch"]),
    debianName: "amd64",
    kernelPackage: "linux-image-cloud-amd64",
    hasBios: true,
    efi: {
      stubFile: /^(usr\/)?lib\/systemd\/boot\/efi\/linuxx64\.efi\.stub$/,
      machine: 0x8664,
      program: "/EFI/BOOT/BOOTX64.EFI",
    },
    consoles: ["ttyS0"],
    cdControllers: [
      { module: "ata_piix", bus: "ide" },
      { module: "ahci", bus: "sata" },
    ],
    diskControllers: ["vmw_pvscsi"],
  },
  aarch64: {
    name: "aarch64",
    packageNames: new Set(["arm64", "aarch64", "all", "noarch"]),
    debianName: "arm64",
    // The one for clouds has no AHCI, and thereby no CD-ROM.
    kernelPackage: "linux-image-arm64",
    hasBios: false,
    efi: {
      stubFile: /^(usr\/)?lib\/systemd\/boot\/efi\/linuxaa64\.efi\.stub$/,
      machine: 0xaa64,
      program: "/EFI/BOOT/BOOTAA64.EFI",
    },
    // A 16550 as ESXi has it, or the PL011 of other machines.
    consoles: ["ttyAMA0", "ttyS0"],
    cdControllers: [{ module: "ahci", bus: "sata" }],
    // Linux itself builds the PVSCSI driver for x86 only; Photon's kernel has it on arm64 too.
    diskControllers: ["vmw_pvscsi", "nvme"],
  },
};

export const factsOf = (architecture: Architecture): ArchitectureFacts => architectures[architecture];

/** @throws Error for any other machine */
export function parseArchitecture(text: string): Architecture {
  if (text === "x86_64" || text === "amd64") return "x86_64";
  if (text === "aarch64" || text === "arm64") return "aarch64";
  throw new Error(`architecture "${text}": images are made for x86_64 and aarch64`);
}
