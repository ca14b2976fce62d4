/** Finds UEFI firmware (OVMF) where distributions put it. */
import { access, copyFile, rename } from "node:fs/promises";
import { HypervisorError } from "../contract.ts";

/** Code and empty variables, in order of preference. Builds with Secure Boot need SMM, which the lab's machine has not. */
const candidates = [
  { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" },
  { code: "/usr/share/OVMF/OVMF_CODE.fd", variables: "/usr/share/OVMF/OVMF_VARS.fd" },
  { code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", variables: "/usr/share/edk2/ovmf/OVMF_VARS.fd" },
  { code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", variables: "/usr/share/edk2/x64/OVMF_VARS.4m.fd" },
  { code: "/usr/share/qemu/edk2-x86_64-code.fd", variables: "/usr/share/qemu/edk2-i386-vars.fd" },
];

const exists = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  );

/** The firmware's code and this machine's variables (its nvram file), which are made at its first start. */
export async function prepareFirmware(nvramFile: string): Promise<{ code: string; variables: string }> {
  for (const { code, variables } of candidates) {
    if (!(await exists(code)) || !(await exists(variables))) continue;
    if (!(await exists(nvramFile))) {
      await copyFile(variables, `${nvramFile}.new`);
      await rename(`${nvramFile}.new`, nvramFile);
    }
    return { code, variables: nvramFile };
  }
  throw new HypervisorError(
    "GenericVmConfigFault",
    "UEFI firmware is not installed; install the package ovmf, or use BIOS firmware",
  );
}
