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

function isZero(bytes: Uint8Array): boolean {
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
  return words.every((word) => word === 0n);
}

/** The content of `sectors` sectors, or undefined when all of it is known to be zeros; `skip` sectors on are zeros too. */
async function readGrain(
  reader: ChainReader,
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
      grain ??= new Uint8Array(GRAIN_BYTES);
      grain.set(await readAt(mapping.handle, mapping.position, run * SECTOR), at * SECTOR);
    } else if (at === 0) zeroRun = mapping.run;
    at += run;
  }
  return { ...(grain === undefined || isZero(grain) ? {} : { grain }), zeroRun };
}

/** Write every grain that is not all zeros behind the tables, and the tables. */
export async function fillFromChain(reader: ChainReader, handle: FileHandle, layout: SparseLayout): Promise<void> {
  const { capacitySectors } = layout.header;
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
  for (let sector = 0; sector < capacitySectors; ) {
    const grainIndex = sector / GRAIN_SECTORS;
    const owner = Math.floor(grainIndex / ENTRIES_PER_GRAIN_TABLE);
    if (owner !== tableIndex) {
      await flush();
      tableIndex = owner;
    }
    const sectors = Math.min(GRAIN_SECTORS, capacitySectors - sector);
    const { grain, zeroRun } = await readGrain(reader, sector, sectors);
    if (grain === undefined) {
      sector += Math.max(GRAIN_SECTORS, Math.floor(zeroRun / GRAIN_SECTORS) * GRAIN_SECTORS);
      continue;
    }
    await writeAt(handle, end * SECTOR, grain);
    table[grainIndex % ENTRIES_PER_GRAIN_TABLE] = end;
    dirty = true;
    end += GRAIN_SECTORS;
    sector += GRAIN_SECTORS;
  }
  await flush();
}
