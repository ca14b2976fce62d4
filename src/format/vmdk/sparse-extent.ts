/**
 * Hosted sparse extents ("Virtual Disk Format 5.0", SparseExtentHeader): the file format of a monolithicSparse VMDK.
 *
 * Data is allocated in grains. A grain directory points to grain tables, whose entries point to grains, all in sectors of
 * 512 bytes; both exist twice. Entry 0 means "not in this file" (ask the parent), entry 1 "reads as zeros".
 */
import { VmdkError } from "./descriptor.ts";

export const SECTOR = 512;
/** Sectors per grain of the disks made here: 64 KiB, the format's customary size. */
export const GRAIN_SECTORS = 128;
export const ENTRIES_PER_GRAIN_TABLE = 512;
/** Grain table entry of a grain that reads as zeros. */
export const ZERO_GRAIN = 1;
/** Sectors kept for the embedded descriptor. */
export const DESCRIPTOR_SECTORS = 20;
/** Largest capacity in bytes: entries are 32-bit sector numbers, and the tables need room too. */
export const CAPACITY_LIMIT = 2 * 1024 ** 4 - 1024 ** 3;

const MAGIC = 0x564d444b;
const GRAIN_TABLE_SECTORS = (ENTRIES_PER_GRAIN_TABLE * 4) / SECTOR;
const FLAG_NEWLINE_TEST = 1;
const FLAG_REDUNDANT_TABLES = 2;
/** Header flag: grain table entries may say ZERO_GRAIN. */
export const FLAG_ZERO_GRAINS = 4;
const FLAG_COMPRESSED = 0x1_0000;
/** gdOffset of a file whose grain directory stands at its end (streamOptimized). */
const DIRECTORY_AT_END = 0xffff_ffff_ffff_ffffn;
/** Version 2 allows zero grains. */
const VERSION_ZERO_GRAINS = 2;
const NEWLINE_TEST = [0x0a, 0x20, 0x0d, 0x0a];
/** Bounds for headers that others wrote. */
const LARGEST_GRAIN_SECTORS = 2048;
const LARGEST_DIRECTORY_ENTRIES = 4 * 1024 * 1024;

export interface SparseHeader {
  version: number;
  flags: number;
  capacitySectors: number;
  grainSectors: number;
  descriptorOffset: number;
  descriptorSectors: number;
  entriesPerGrainTable: number;
  /** 0: no second set of tables. */
  redundantDirectoryOffset: number;
  directoryOffset: number;
  /** First sector that may hold grains. */
  overheadSectors: number;
}

/** Number of grain tables, which is the number of grain directory entries. */
export function grainTableCount(
  header: Pick<SparseHeader, "capacitySectors" | "grainSectors" | "entriesPerGrainTable">,
): number {
  return Math.ceil(Math.ceil(header.capacitySectors / header.grainSectors) / header.entriesPerGrainTable);
}

export function encodeSparseHeader(header: SparseHeader): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, header.version, true);
  view.setUint32(8, header.flags, true);
  view.setBigUint64(12, BigInt(header.capacitySectors), true);
  view.setBigUint64(20, BigInt(header.grainSectors), true);
  view.setBigUint64(28, BigInt(header.descriptorOffset), true);
  view.setBigUint64(36, BigInt(header.descriptorSectors), true);
  view.setUint32(44, header.entriesPerGrainTable, true);
  view.setBigUint64(48, BigInt(header.redundantDirectoryOffset), true);
  view.setBigUint64(56, BigInt(header.directoryOffset), true);
  view.setBigUint64(64, BigInt(header.overheadSectors), true);
  bytes.set(NEWLINE_TEST, 73);
  return bytes;
}

/** True when the bytes begin like a hosted sparse extent. */
export function isSparseExtent(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true) === MAGIC;
}

/** Throws VmdkError when the header is damaged or of a kind (streamOptimized) that is not random access. */
export function decodeSparseHeader(bytes: Uint8Array): SparseHeader {
  if (bytes.length < SECTOR || !isSparseExtent(bytes)) throw new VmdkError("there is no sparse extent header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, SECTOR);
  const number = (offset: number, what: string): number => {
    const value = view.getBigUint64(offset, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new VmdkError(`the sparse extent's ${what} is out of range`);
    return Number(value);
  };
  const version = view.getUint32(4, true);
  const flags = view.getUint32(8, true);
  if (version < 1 || version > 3) throw new VmdkError(`sparse extent version ${version} is not supported`);
  if ((flags & FLAG_COMPRESSED) !== 0 || view.getBigUint64(56, true) === DIRECTORY_AT_END) {
    throw new VmdkError("the disk is streamOptimized, a transport format; convert it to a sparse or flat disk first");
  }
  const header: SparseHeader = {
    version,
    flags,
    capacitySectors: number(12, "capacity"),
    grainSectors: number(20, "grain size"),
    descriptorOffset: number(28, "descriptor offset"),
    descriptorSectors: number(36, "descriptor size"),
    entriesPerGrainTable: view.getUint32(44, true),
    redundantDirectoryOffset:
      (flags & FLAG_REDUNDANT_TABLES) === 0 ? 0 : number(48, "redundant grain directory offset"),
    directoryOffset: number(56, "grain directory offset"),
    overheadSectors: number(64, "overhead"),
  };
  const { grainSectors, entriesPerGrainTable } = header;
  if (grainSectors < 1 || grainSectors > LARGEST_GRAIN_SECTORS || (grainSectors & (grainSectors - 1)) !== 0) {
    throw new VmdkError(`a grain size of ${grainSectors} sectors is not supported`);
  }
  if (entriesPerGrainTable < 1 || entriesPerGrainTable > ENTRIES_PER_GRAIN_TABLE) {
    throw new VmdkError(`${entriesPerGrainTable} entries per grain table are not supported`);
  }
  if (grainTableCount(header) > LARGEST_DIRECTORY_ENTRIES) throw new VmdkError("the grain directory is too large");
  return header;
}

/** Where the tables of a new disk stand. */
export interface SparseLayout {
  header: SparseHeader;
  /** Grain directory entries: the first sector of each grain table. The tables themselves are zeros. */
  directory: Uint32Array;
  redundantDirectory: Uint32Array;
}

/** Entries of a directory whose tables follow one another from `firstTableSector`. */
function consecutiveTables(count: number, firstTableSector: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, index) => firstTableSector + index * GRAIN_TABLE_SECTORS);
}

/** Sectors that `count` directory entries and their tables take. */
function tableSectors(count: number): { directory: number; total: number } {
  const directory = Math.ceil((count * 4) / SECTOR);
  return { directory, total: directory + count * GRAIN_TABLE_SECTORS };
}

const alignToGrain = (sector: number) => Math.ceil(sector / GRAIN_SECTORS) * GRAIN_SECTORS;

function checkCapacity(capacitySectors: number): void {
  if (!Number.isSafeInteger(capacitySectors) || capacitySectors < 1 || capacitySectors * SECTOR > CAPACITY_LIMIT) {
    throw new VmdkError(`a sparse disk holds 512 bytes to ${CAPACITY_LIMIT} bytes, not ${capacitySectors * SECTOR}`);
  }
}

/** Plan an empty disk. Throws VmdkError for a capacity out of range. */
export function layoutSparseExtent(capacitySectors: number): SparseLayout {
  checkCapacity(capacitySectors);
  const shape = { capacitySectors, grainSectors: GRAIN_SECTORS, entriesPerGrainTable: ENTRIES_PER_GRAIN_TABLE };
  const tables = grainTableCount(shape);
  const size = tableSectors(tables);
  const redundantDirectoryOffset = 1 + DESCRIPTOR_SECTORS;
  const directoryOffset = redundantDirectoryOffset + size.total;
  return {
    header: {
      version: VERSION_ZERO_GRAINS,
      flags: FLAG_NEWLINE_TEST | FLAG_REDUNDANT_TABLES | FLAG_ZERO_GRAINS,
      ...shape,
      descriptorOffset: 1,
      descriptorSectors: DESCRIPTOR_SECTORS,
      redundantDirectoryOffset,
      directoryOffset,
      overheadSectors: alignToGrain(directoryOffset + size.total),
    },
    redundantDirectory: consecutiveTables(tables, redundantDirectoryOffset + size.directory),
    directory: consecutiveTables(tables, directoryOffset + size.directory),
  };
}

/**
 * Plan a larger grain directory behind `endSector`, the present end of the file. The old tables stay where they are and
 * the new directories point to them, so nothing the file refers to now is overwritten: the header switches over.
 */
export function layoutExtension(
  header: SparseHeader,
  directory: Uint32Array,
  redundantDirectory: Uint32Array,
  capacitySectors: number,
  endSector: number,
): SparseLayout & { endSector: number } {
  checkCapacity(capacitySectors);
  if (header.grainSectors !== GRAIN_SECTORS || header.entriesPerGrainTable !== ENTRIES_PER_GRAIN_TABLE) {
    throw new VmdkError("only disks with 64 KiB grains can be extended; copy the disk first");
  }
  if (header.redundantDirectoryOffset === 0)
    throw new VmdkError("a disk without redundant tables cannot be extended; copy it first");
  const tables = grainTableCount({ ...header, capacitySectors });
  const added = tables - directory.length;
  if (added < 0) throw new VmdkError("a disk cannot be made smaller");
  const directorySectors = Math.ceil((tables * 4) / SECTOR);
  const redundantDirectoryOffset = alignToGrain(endSector);
  const directoryOffset = redundantDirectoryOffset + directorySectors + added * GRAIN_TABLE_SECTORS;
  const grown = (old: Uint32Array, offset: number) =>
    Uint32Array.from([...old, ...consecutiveTables(added, offset + directorySectors)]);
  const end = alignToGrain(directoryOffset + directorySectors + added * GRAIN_TABLE_SECTORS);
  if (end > 0xffff_ffff) throw new VmdkError("the disk file is too large to extend");
  return {
    header: { ...header, capacitySectors, redundantDirectoryOffset, directoryOffset },
    redundantDirectory: grown(redundantDirectory, redundantDirectoryOffset),
    directory: grown(directory, directoryOffset),
    endSector: end,
  };
}

/** Little-endian bytes of table entries. */
export function encodeEntries(entries: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(entries.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [index, entry] of entries.entries()) view.setUint32(index * 4, entry, true);
  return bytes;
}

export function decodeEntries(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Uint32Array.from({ length: Math.floor(bytes.length / 4) }, (_, index) => view.getUint32(index * 4, true));
}

/** Geometry as vSphere writes it into the disk database: 255 heads and 63 sectors from 1 GiB on. */
export function diskDatabase(capacitySectors: number): Map<string, string> {
  const [heads, sectors] = capacitySectors * SECTOR >= 1024 ** 3 ? [255, 63] : [64, 32];
  return new Map([
    ["ddb.adapterType", "lsilogic"],
    ["ddb.geometry.cylinders", String(Math.min(Math.floor(capacitySectors / (heads * sectors)), 0xffff_ffff))],
    ["ddb.geometry.heads", String(heads)],
    ["ddb.geometry.sectors", String(sectors)],
    ["ddb.thinProvisioned", "1"],
    ["ddb.virtualHWVersion", "20"],
  ]);
}
