import { cpioMember, cpioTrailer, fileType } from "../src/format/cpio/newc";

/** What the first stage needs to find its medium. */
export interface InitramfsContent {
  /** The static program that becomes `/init`. */
  init: Uint8Array;
  /** Modules in load order. */
  modules: { path: string; content: Uint8Array }[];
  /** 64 characters that the right medium carries as its volume set identifier. */
  mediumId: string;
}

const directories = ["dev", "proc", "sys", "run", "tmp", "medium", "modules"];

/**
 * The initramfs, an uncompressed cpio archive. It is small enough (see the builder's documentation for the measurement)
 * that decompressing it in an emulated guest costs more than reading it.
 */
export function makeInitramfs({ init, modules, mediumId }: InitramfsContent): Uint8Array {
  const parts: Uint8Array[] = [];
  let inode = 1;
  const add = (
    name: string,
    mode: number,
    content: Uint8Array,
    device?: { deviceMajor: number; deviceMinor: number },
  ) => {
    parts.push(cpioMember({ name, mode, ...device }, content, inode++));
  };
  const nothing = new Uint8Array(0);
  for (const name of directories) add(name, fileType.directory | 0o755, nothing);
  // The kernel opens it for init's standard streams, before anything is mounted.
  add("dev/console", fileType.character | 0o600, nothing, { deviceMajor: 5, deviceMinor: 1 });
  add("init", fileType.file | 0o755, init);
  for (const { path, content } of modules) add(path.slice(1), fileType.file | 0o644, content);
  add("modules.list", fileType.file | 0o644, Buffer.from(modules.map(({ path }) => `${path}\n`).join("")));
  add("medium.id", fileType.file | 0o644, Buffer.from(`${mediumId}\n`));
  parts.push(cpioTrailer());
  return Buffer.concat(parts);
}
