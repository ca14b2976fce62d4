/** Copies the content of a disk chain into the grains of a new sparse disk. */
import type { FileHandle } from "node:fs/promises";
import { VmdkError } from "../../../format/vmdk/descriptor.ts";
import {
  ENTRIES_PER_GRAIN_TABLE,
  encodeEntries,
  GRAIN_SECTORS,
  SECTOR,
  type SparseLayout,
} from "../../../format/vmdk/sparse-extent.ts";
import type { ChainReader } from "./chain-reader.ts";
import { readAt, writeAt } from "./disk-files.ts";

const GRAIN_BYTES = GRAIN_SECTORS * SECTOR;

/** Most bytes read at once from a run of consecutive data. */
const READ_AHEAD_BYTES = 1024 * 1024;
const zeros = Buffer.alloc(GRAIN_BYTES);

/** Reads flat extents in larger pieces than a grain. */
class ReadAhead {
  #handle: FileHandle | undefined;
  #position = 0;
  #bytes: Uint8Array = new Uint8Array(0);

  /** `length` bytes; `available` follow one another in the file from `position` on. */
  async read(handle: FileHandle, position: number, length: number, available: number): Promise<Uint8Array> {
    const offset = position - this.#position;
    if (handle === this.#handle && offset >= 0 && offset + length <= this.#bytes.length) {
      return this.#bytes.subarray(offset, offset + length);
    }
    this.#bytes = await readAt(handle, position, Math.max(length, Math.min(available, READ_AHEAD_BYTES)));
    this.#handle = handle;
    this.#position = position;
    return this.#bytes.subarray(0, length);
  }
}

/** The content of `sectors` sectors, or undefined when all of it is known to be zeros. `zeroRun`: sectors known to be zeros. */
async function readGrain(
  reader: ChainReader,
  ahead: ReadAhead,
  first: number,
  sectors: number,
): Promise<{ grain?: Uint8Array; zeroRun: number }> {
  let grain: Uint8Array | undefined;
  let at = 0;
  let zeroRun = 0;
  while (at < sectors) {
    const mapping = await reader.map(first + at);
    const run = Math.min(mapping.run, sectors - at);
    if (mapping.kind === "data") {
      const bytes = await ahead.read(mapping.handle, mapping.position, run * SECTOR, mapping.run * SECTOR);
      if (run === GRAIN_SECTORS) return { ...(zeros.equals(bytes) ? {} : { grain: bytes }), zeroRun };
      grain ??= new Uint8Array(GRAIN_BYTES);
      grain.set(bytes, at * SECTOR);
    } else if (at === 0) zeroRun = mapping.run;
    at += run;
  }
  return { ...(grain === undefined || zeros.equals(grain) ? {} : { grain }), zeroRun };
}

/** Every grain of a chain that is not all zeros, in order. */
export async function* grainsOf(
  reader: ChainReader,
  capacitySectors: number,
): AsyncGenerator<{ sector: number; bytes: Uint8Array }> {
  const ahead = new ReadAhead();
  for (let sector = 0; sector < capacitySectors; ) {
    const sectors = Math.min(GRAIN_SECTORS, capacitySectors - sector);
    const { grain, zeroRun } = await readGrain(reader, ahead, sector, sectors);
    if (grain === undefined) {
      sector += Math.max(GRAIN_SECTORS, Math.floor(zeroRun / GRAIN_SECTORS) * GRAIN_SECTORS);
      continue;
    }
    yield { sector, bytes: grain };
    sector += GRAIN_SECTORS;
  }
}

/** Write every grain that is not all zeros behind the tables, and the tables. */
export function fillFromChain(reader: ChainReader, handle: FileHandle, layout: SparseLayout): Promise<void> {
  return fillWithGrains(grainsOf(reader, layout.header.capacitySectors), handle, layout);
}

/** As `fillFromChain`, with a block of its own for every grain. */
export function fillWholly(reader: ChainReader, handle: FileHandle, layout: SparseLayout): Promise<void> {
  return fillWithGrains(everyGrain(reader, layout.header.capacitySectors), handle, layout);
}

async function* everyGrain(reader: ChainReader, capacitySectors: number) {
  let next = 0;
  for await (const grain of grainsOf(reader, capacitySectors)) {
    for (; next < grain.sector; next += GRAIN_SECTORS) yield { sector: next, bytes: zeros };
    yield grain;
    next = grain.sector + GRAIN_SECTORS;
  }
  for (; next < capacitySectors; next += GRAIN_SECTORS) yield { sector: next, bytes: zeros };
}

/** Write grains, which come in rising order, behind the tables, and the tables. */
export async function fillWithGrains(
  grains: AsyncIterable<{ sector: number; bytes: Uint8Array }>,
  handle: FileHandle,
  layout: SparseLayout,
): Promise<void> {
  let end = layout.header.overheadSectors;
  let table = new Uint32Array(ENTRIES_PER_GRAIN_TABLE);
  let tableIndex = 0;
  let dirty = false;
  const flush = async () => {
    if (!dirty) return;
    for (const directory of [layout.redundantDirectory, layout.directory]) {
      const sector = directory[tableIndex];
      if (sector === undefined) throw new VmdkError("the disk is larger than its grain directory");
      await writeAt(handle, sector * SECTOR, encodeEntries(table));
    }
    table = new Uint32Array(ENTRIES_PER_GRAIN_TABLE);
    dirty = false;
  };
  for await (const { sector, bytes } of grains) {
    const grainIndex = sector / GRAIN_SECTORS;
    const owner = Math.floor(grainIndex / ENTRIES_PER_GRAIN_TABLE);
    if (owner !== tableIndex) {
      await flush();
      tableIndex = owner;
    }
    const whole = bytes.length === GRAIN_BYTES ? bytes : Buffer.concat([bytes], GRAIN_BYTES);
    await writeAt(handle, end * SECTOR, whole);
    table[grainIndex % ENTRIES_PER_GRAIN_TABLE] = end;
    dirty = true;
    end += GRAIN_SECTORS;
  }
  await flush();
}
