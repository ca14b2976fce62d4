import { FormatError } from "../format-error";

/** A file for a FAT image. */
export interface FatFile {
  /** Absolute path of 8.3 names, such as `/EFI/BOOT/BOOTX64.EFI`. */
  path: string;
  content: Uint8Array;
}

export interface FatImage {
  bytes: Uint8Array;
  /** Where a file's content begins: files are contiguous, and begin at multiples of 2048. */
  offsetOf(path: string): number;
}

const SECTOR = 512;
const SECTORS_PER_CLUSTER = 4;
const CLUSTER = SECTOR * SECTORS_PER_CLUSTER;
/** A file system without clusters is none. */
const MIN_CLUSTERS = 16;
const ROOT_ENTRIES = 256;
const ENTRY = 32;
const FATS = 2;
const MEDIA = 0xf8;
/** Below this many clusters a file system is FAT12, below the second FAT16 (Microsoft's FAT specification 1.03). */
const FAT16_MIN_CLUSTERS = 4085;
const FAT32_MIN_CLUSTERS = 65_525;
const attribute = { directory: 0x10, archive: 0x20, volume: 0x08 } as const;

interface Directory {
  name: string;
  cluster: number;
  directories: Directory[];
  files: { name: string; content: Uint8Array; cluster: number }[];
}

/**
 * A FAT12 or FAT16 file system that holds some files, as UEFI boots from. The same files give the same bytes.
 * @param serial volume serial number
 * @param time what all files carry, in seconds since the epoch
 * @throws FormatError for names that are not 8.3, or more than 127 MiB
 */
export function makeFat(files: readonly FatFile[], serial: number, time: number): FatImage {
  const root: Directory = { name: "", cluster: 0, directories: [], files: [] };
  for (const { path, content } of files) insert(root, path, content);
  let next = 2;
  const take = (bytes: number): number => {
    const cluster = next;
    next += Math.max(1, Math.ceil(bytes / CLUSTER));
    return cluster;
  };
  const place = (directory: Directory): void => {
    for (const below of directory.directories) {
      below.cluster = take((2 + below.directories.length + below.files.length) * ENTRY);
      place(below);
    }
    for (const file of directory.files) file.cluster = file.content.length === 0 ? 0 : take(file.content.length);
  };
  place(root);
  const clusters = Math.max(next - 2, MIN_CLUSTERS);
  if (clusters >= FAT32_MIN_CLUSTERS) throw new FormatError("fat", "the files are larger than 127 MiB");
  const isFat16 = clusters >= FAT16_MIN_CLUSTERS;
  const fatSectors = Math.ceil((isFat16 ? (clusters + 2) * 2 : Math.ceil((clusters + 2) * 1.5)) / SECTOR);
  const rootSectors = (ROOT_ENTRIES * ENTRY) / SECTOR;
  // So many reserved sectors that clusters lie on the blocks of a CD-ROM.
  const reserved = 1 + (-(1 + FATS * fatSectors + rootSectors) & (SECTORS_PER_CLUSTER - 1));
  const rootStart = (reserved + FATS * fatSectors) * SECTOR;
  const dataStart = rootStart + rootSectors * SECTOR;
  const bytes = new Uint8Array(dataStart + clusters * CLUSTER);
  bytes.set(bootSector({ serial, reserved, fatSectors, isFat16, sectors: bytes.length / SECTOR }));

  const links = new Map<number, number>();
  const at = (cluster: number): number => dataStart + (cluster - 2) * CLUSTER;
  const offsets = new Map<string, number>();
  const chain = (cluster: number, length: number): void => {
    const count = Math.max(1, Math.ceil(length / CLUSTER));
    for (let index = 0; index < count; index++)
      links.set(cluster + index, index === count - 1 ? 0xffff : cluster + index + 1);
  };
  const write = (directory: Directory, start: number, path: string, parent: number): void => {
    const entries: Uint8Array[] = [];
    if (directory !== root) {
      entries.push(entry(".          ", attribute.directory, directory.cluster, 0, time));
      entries.push(entry("..         ", attribute.directory, parent, 0, time));
    }
    for (const below of directory.directories) {
      entries.push(entry(shortName(below.name), attribute.directory, below.cluster, 0, time));
      chain(below.cluster, (2 + below.directories.length + below.files.length) * ENTRY);
      write(below, at(below.cluster), `${path}/${below.name}`, directory.cluster);
    }
    for (const { name, content, cluster } of directory.files) {
      entries.push(entry(shortName(name), attribute.archive, cluster, content.length, time));
      if (content.length === 0) continue;
      chain(cluster, content.length);
      bytes.set(content, at(cluster));
      offsets.set(`${path}/${name}`, at(cluster));
    }
    bytes.set(Buffer.concat(entries), start);
  };
  if (root.directories.length + root.files.length > ROOT_ENTRIES) throw new FormatError("fat", "too many files");
  write(root, rootStart, "", 0);
  const table = encodeTable(links, isFat16, fatSectors * SECTOR);
  for (let copy = 0; copy < FATS; copy++) bytes.set(table, (reserved + copy * fatSectors) * SECTOR);
  return {
    bytes,
    offsetOf(path) {
      const offset = offsets.get(path);
      if (offset === undefined) throw new FormatError("fat", `there is no file ${path}`);
      return offset;
    },
  };
}

function insert(root: Directory, path: string, content: Uint8Array): void {
  const parts = path.split("/").filter(Boolean);
  const name = parts.pop();
  if (name === undefined) throw new FormatError("fat", "a file has no name");
  let current = root;
  for (const part of parts) {
    let below = current.directories.find((directory) => directory.name === part);
    if (below === undefined) {
      below = { name: part, cluster: 0, directories: [], files: [] };
      current.directories.push(below);
    }
    current = below;
  }
  if (current.files.some((file) => file.name === name)) throw new FormatError("fat", `${path} is there twice`);
  current.files.push({ name, content, cluster: 0 });
}

function shortName(name: string): string {
  const [, base, extension = ""] = /^([A-Z0-9_-]{1,8})(?:\.([A-Z0-9_-]{1,3}))?$/.exec(name) ?? [];
  if (base === undefined) throw new FormatError("fat", `"${name}" is not a name of eight and three capitals`);
  return base.padEnd(8) + extension.padEnd(3);
}

function entry(name: string, attributes: number, cluster: number, size: number, time: number): Uint8Array {
  const bytes = new Uint8Array(ENTRY);
  const view = new DataView(bytes.buffer);
  const date = new Date(time * 1000);
  const clock = (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1);
  const day = ((date.getUTCFullYear() - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate();
  bytes.set(Buffer.from(name, "latin1"));
  bytes[11] = attributes;
  view.setUint16(14, clock, true);
  view.setUint16(16, day, true);
  view.setUint16(18, day, true);
  view.setUint16(22, clock, true);
  view.setUint16(24, day, true);
  view.setUint16(26, cluster, true);
  view.setUint32(28, size, true);
  return bytes;
}

function bootSector(facts: {
  serial: number;
  reserved: number;
  fatSectors: number;
  isFat16: boolean;
  sectors: number;
}): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  // A jump that no x86 takes: there is nothing to boot by BIOS here.
  bytes.set([0xeb, 0x3c, 0x90]);
  bytes.set(Buffer.from("MSWIN4.1"), 3);
  view.setUint16(11, SECTOR, true);
  bytes[13] = SECTORS_PER_CLUSTER;
  view.setUint16(14, facts.reserved, true);
  bytes[16] = FATS;
  view.setUint16(17, ROOT_ENTRIES, true);
  view.setUint16(19, facts.sectors < 0x1_0000 ? facts.sectors : 0, true);
  bytes[21] = MEDIA;
  view.setUint16(22, facts.fatSectors, true);
  view.setUint16(24, 32, true);
  view.setUint16(26, 64, true);
  view.setUint32(32, facts.sectors < 0x1_0000 ? 0 : facts.sectors, true);
  bytes[36] = 0x80;
  bytes[38] = 0x29;
  view.setUint32(39, facts.serial >>> 0, true);
  bytes.set(Buffer.from("NO NAME    "), 43);
  bytes.set(Buffer.from(facts.isFat16 ? "FAT16   " : "FAT12   "), 54);
  bytes.set([0x55, 0xaa], 510);
  return bytes;
}

function encodeTable(links: ReadonlyMap<number, number>, isFat16: boolean, length: number): Uint8Array {
  const table = new Uint8Array(length);
  const view = new DataView(table.buffer);
  const set = (cluster: number, value: number): void => {
    if (isFat16) {
      view.setUint16(cluster * 2, value, true);
      return;
    }
    const at = Math.floor(cluster * 1.5);
    const twelve = value & 0xfff;
    const old = view.getUint16(at, true);
    view.setUint16(at, cluster % 2 === 0 ? (old & 0xf000) | twelve : (old & 0x000f) | (twelve << 4), true);
  };
  set(0, 0xff00 | MEDIA);
  set(1, 0xffff);
  for (const [cluster, value] of links) set(cluster, value);
  return table;
}
