/**
 * Kernel and initramfs of a CD-ROM, handed to QEMU instead of being read by firmware and boot loader, which takes long when the
 * processor is emulated. What boots is the same: only media whose isolinux would start one kernel without being asked qualify.
 */
import { createHash } from "node:crypto";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { FormatError } from "../../../format/format-error.ts";
import { type IsoEntry, isolinuxBoot, readIsoFile } from "../../../format/iso9660";
import type { MachineDefinition } from "../contract.ts";

export interface DirectBoot {
  kernel: string;
  initrd: string;
  commandLine: string;
}

/** Media whose kernels are kept; each takes some 25 MiB. */
const MEDIA_KEPT = 4;
/** Largest kernel or initramfs that is taken out; others boot by firmware. */
const FILE_LIMIT = 256 * 1024 ** 2;

export class DirectBoots {
  /** Media that do not qualify have `undefined`. One entry per file and state of it. */
  readonly #known = new Map<string, Promise<DirectBoot | undefined>>();

  /** `directory`: where kernels are kept; files of earlier processes are overwritten. */
  constructor(readonly directory: string) {}

  /** What the machine's CD-ROM boots, or undefined when its firmware must find out. */
  async of(definition: MachineDefinition): Promise<DirectBoot | undefined> {
    const medium = definition.cdroms[0]?.file;
    if (definition.firmware !== "bios" || medium === undefined) return undefined;
    const { dev, ino, size, mtimeNs } = await stat(medium, { bigint: true });
    const key = createHash("sha256").update(`${dev} ${ino} ${size} ${mtimeNs}`).digest("hex").slice(0, 32);
    const known = this.#known.get(key);
    if (known) {
      // The map's order is that of use: what was not used for long goes first.
      this.#known.delete(key);
      this.#known.set(key, known);
      return known;
    }
    const taking = this.#take(medium, key);
    this.#known.set(key, taking);
    try {
      const boot = await taking;
      await this.#removeOld();
      return boot;
    } catch (error) {
      this.#known.delete(key);
      throw error;
    }
  }

  async #take(medium: string, key: string): Promise<DirectBoot | undefined> {
    const source = Bun.file(medium);
    try {
      const boot = await isolinuxBoot(source);
      if (boot === undefined || boot.kernel.size > FILE_LIMIT || boot.initrd.size > FILE_LIMIT) return undefined;
      const folder = join(this.directory, key);
      const unfinished = `${folder}.new`;
      await rm(unfinished, { recursive: true, force: true });
      await mkdir(unfinished, { recursive: true, mode: 0o700 });
      const put = async (name: string, entry: IsoEntry): Promise<string> => {
        const writer = Bun.file(join(unfinished, name)).writer();
        for await (const chunk of readIsoFile(source, entry)) {
          writer.write(chunk);
          await writer.flush();
        }
        await writer.end();
        return join(folder, name);
      };
      const kernel = await put("kernel", boot.kernel);
      const initrd = await put("initrd", boot.initrd);
      await rm(folder, { recursive: true, force: true });
      await rename(unfinished, folder);
      return { kernel, initrd, commandLine: boot.commandLine };
    } catch (error) {
      // A disc of another kind, or a damaged one: the firmware sees to it.
      if (error instanceof FormatError) return undefined;
      throw error;
    }
  }

  /** QEMU has read the files when it has started. */
  async #removeOld(): Promise<void> {
    for (const key of [...this.#known.keys()].slice(0, -MEDIA_KEPT)) {
      this.#known.delete(key);
      await rm(join(this.directory, key), { recursive: true, force: true });
    }
  }
}
