import { expect } from "bun:test";
import { join, resolve } from "node:path";
import type { Architecture } from "../../iso-builder";

/** What tests of bootstrap ISOs share: the first stage, a stand-in for the tether, and QEMU as a firmware finds it. */

/** A VM boots in seconds; a busy machine may take some minutes. */
const BOOT_TIMEOUT_MS = 200_000;

/** Says that it runs, what the root is, and powers off. */
export const standIn = `#!/bin/sh
echo "stand-in runs as $$"
busybox awk '$2 == "/" { print "root " $3 " " $4 }' /proc/mounts
/sbin/mke2fs -V 2>&1 | busybox head -n 1
[ -d /sys/firmware/efi ] && echo "started by UEFI" || echo "started by BIOS"
for file in /sys/firmware/efi/efivars/SecureBoot-*; do
  [ -e "$file" ] && echo "Secure Boot variable is there"
done
busybox dmesg | busybox grep -i 'secure boot' | busybox head -n 2
busybox poweroff -f
`;

/** Compiles the first stage. @returns its path */
export async function compileInit(folder: string, architecture: Architecture = "x86_64"): Promise<string> {
  const build = Bun.spawn([resolve(import.meta.dir, "../../iso-builder/init/build.sh"), folder], { stderr: "inherit" });
  expect(await build.exited).toBe(0);
  return join(folder, `init.${architecture}`);
}

/** UEFI firmware of the distribution. `secure` has the keys of Debian's test authority enrolled, with Secure Boot on. */
export const efiFirmware = {
  code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
  secureCode: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
  secureVariables: "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
  testKey: "/usr/share/ovmf/PkKek-1-snakeoil.key",
  testCertificate: "/usr/share/ovmf/PkKek-1-snakeoil.pem",
} as const;

export interface BootedMachine {
  iso: string;
  /** IDE needs the old chipset, SATA the new one. */
  bus: "ide" | "sata";
  firmware: "bios" | "efi" | { variables: string };
  memoryMB?: number;
  /** Ends the machine when this is printed, for those that do not power off. */
  until?: RegExp;
}

/** Runs QEMU until the guest powers off, and gives what it printed on its serial port. */
export async function boot({ iso, bus, firmware, memoryMB = 512, until }: BootedMachine): Promise<string> {
  const secure = typeof firmware === "object";
  const drive = (file: string, readOnly: boolean) => [
    "-drive",
    `if=pflash,format=raw,${readOnly ? "readonly=on," : ""}file=${file}`,
  ];
  const flash =
    firmware === "bios"
      ? []
      : secure
        ? [...drive(efiFirmware.secureCode, true), ...drive(firmware.variables, false)]
        : drive(efiFirmware.code, true);
  return run(
    [
      "qemu-system-x86_64",
      ...["-machine", bus === "ide" ? "pc" : `q35${secure ? ",smm=on" : ""}`],
      ...(secure ? ["-global", "driver=cfi.pflash01,property=secure,value=on"] : []),
      ...["-accel", "tcg", "-m", String(memoryMB), "-display", "none", "-nodefaults", "-no-reboot"],
      ...["-serial", "stdio", "-device", "pvscsi", ...flash],
      ...["-drive", `if=none,id=cd,media=cdrom,format=raw,readonly=on,file=${iso}`, "-device", "ide-cd,drive=cd"],
    ],
    until,
  );
}

/**
 * Runs an arm64 guest until it powers off. QEMU's firmware for it cannot read AHCI drives, so that it gets the image a second
 * time, in a drive for which the kernel's drivers are not on the image; the guest finds it by AHCI.
 */
export function bootArm64(iso: string, memoryMB = 512): Promise<string> {
  const medium = (id: string) => ["-drive", `if=none,id=${id},media=cdrom,format=raw,readonly=on,file=${iso}`];
  return run([
    "qemu-system-aarch64",
    ...["-machine", "virt", "-cpu", "cortex-a72", "-accel", "tcg", "-m", String(memoryMB)],
    ...["-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio"],
    ...["-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"],
    ...["-device", "virtio-scsi-pci,id=scsi0", ...medium("boot"), "-device", "scsi-cd,drive=boot,bus=scsi0.0"],
    ...["-device", "ich9-ahci,id=sata0", ...medium("root"), "-device", "ide-cd,drive=root,bus=sata0.0"],
  ]);
}

async function run(command: string[], until?: RegExp): Promise<string> {
  const child = Bun.spawn(command, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
    timeout: BOOT_TIMEOUT_MS,
  });
  let output = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    output += decoder.decode(chunk, { stream: true });
    if (until?.test(output)) child.kill();
  }
  await child.exited;
  return output.replaceAll("\r", "");
}
