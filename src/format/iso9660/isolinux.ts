import { FormatError } from "../format-error";
import { type IsoEntry, type IsoSource, readIso, readIsoFile } from "./reader";

/** What isolinux would start from an image. */
export interface IsolinuxBoot {
  kernel: IsoEntry;
  initrd: IsoEntry;
  commandLine: string;
}

const MAX_CONFIGURATION = 64 * 1024;

/**
 * The kernel, initramfs and command line that an image's isolinux starts without being asked. With them a hypervisor
 * that can load a kernel by itself gets round the firmware's slow reading of CD-ROMs.
 *
 * @returns `undefined` when the image has no isolinux, or one whose configuration is not a single Linux kernel
 * @throws FormatError when the image is damaged
 */
export async function isolinuxBoot(source: IsoSource): Promise<IsolinuxBoot | undefined> {
  const entries = new Map<string, IsoEntry>();
  for await (const entry of readIso(source)) {
    if (entry.type === "file" && entry.path.startsWith("/isolinux/")) entries.set(entry.path, entry);
  }
  const configuration = entries.get("/isolinux/isolinux.cfg");
  if (configuration === undefined) return undefined;
  if (configuration.size > MAX_CONFIGURATION) throw new FormatError("iso9660", "isolinux.cfg is too large");
  const text = Buffer.concat(await Array.fromAsync(readIsoFile(source, configuration))).toString();
  const values = (keyword: string): string[] =>
    Array.from(text.matchAll(new RegExp(`^\\s*${keyword}\\s+(.*?)\\s*$`, "gim")), ([, value = ""]) => value);
  const [linux, initrd, append] = [values("LINUX"), values("INITRD"), values("APPEND")];
  if (linux.length !== 1 || initrd.length !== 1 || append.length > 1) return undefined;
  const kernelFile = entries.get(linux[0] ?? "");
  const initrdFile = entries.get(initrd[0] ?? "");
  if (kernelFile === undefined || initrdFile === undefined) return undefined;
  return { kernel: kernelFile, initrd: initrdFile, commandLine: append[0] ?? "" };
}
