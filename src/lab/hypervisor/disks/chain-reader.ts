/** Reads the content of a disk through its chain of parents. */
import { type FileHandle, open } from "node:fs/promises";
import { VmdkError } from "../../../format/vmdk/descriptor.ts";
import {
  decodeEntries,
  decodeSparseHeader,
  SECTOR,
  type SparseHeader,
  ZERO_GRAIN,
} from "../../../format/vmdk/sparse-extent.ts";
import { type DiskFile, readAt } from "./disk-files.ts";

/** Grain tables kept in memory per extent. */
const TABLE_CACHE = 16;

/** What stands at a sector, for `run` sectors from there. */
export type Mapping =
  | { kind: "data"; handle: FileHandle; position: number; run: number }
  | { kind: "zero" | "absent"; run: number };

interface Extent {
  first: number;
  sectors: number;
  map(sector: number): Promise<Mapping>;
}

async function sparseMapper(handle: FileHandle, header: SparseHeader): Promise<(sector: number) => Promise<Mapping>> {
  const { grainSectors, entriesPerGrainTable } = header;
  const tableSpan = grainSectors * entriesPerGrainTable;
  const directoryLength = Math.ceil(header.capacitySectors / tableSpan);
  const directory = decodeEntries(await readAt(handle, header.directoryOffset * SECTOR, directoryLength * 4));
  if (directory.length !== directoryLength) throw new VmdkError("the grain directory is cut short");
  const tables = new Map<number, Uint32Array>();
  const table = async (index: number): Promise<Uint32Array | undefined> => {
    const sector = directory[index] ?? 0;
    if (sector === 0) return undefined;
    const cached = tables.get(index);
    if (cached !== undefined) return cached;
    const entries = decodeEntries(await readAt(handle, sector * SECTOR, entriesPerGrainTable * 4));
    if (entries.length !== entriesPerGrainTable) throw new VmdkError("a grain table is cut short");
    const oldest = tables.size >= TABLE_CACHE ? tables.keys().next().value : undefined;
    if (oldest !== undefined) tables.delete(oldest);
    tables.set(index, entries);
    return entries;
  };
  return async (sector) => {
    const tableIndex = Math.floor(sector / tableSpan);
    const entries = await table(tableIndex);
    if (entries === undefined) return { kind: "absent", run: (tableIndex + 1) * tableSpan - sector };
    const entryAt = (grain: number) => entries[grain % entriesPerGrainTable] ?? 0;
    let grain = Math.floor(sector / grainSectors);
    const inGrain = sector - grain * grainSectors;
    const entry = entryAt(grain);
    if (entry > ZERO_GRAIN) {
      return { kind: "data", handle, position: (entry + inGrain) * SECTOR, run: grainSectors - inGrain };
    }
    const last = (tableIndex + 1) * entriesPerGrainTable - 1;
    while (grain < last && entryAt(grain + 1) === entry) grain++;
    return { kind: entry === ZERO_GRAIN ? "zero" : "absent", run: (grain + 1) * grainSectors - sector };
  };
}

/** An open chain; close() it. */
export class ChainReader {
  readonly #links: { capacity: number; extents: Extent[] }[] = [];
  readonly #handles: FileHandle[] = [];

  static async open(chain: readonly DiskFile[]): Promise<ChainReader> {
    const reader = new ChainReader();
    try {
      for (const disk of chain)
        reader.#links.push({ capacity: disk.capacitySectors, extents: await reader.#openExtents(disk) });
    } catch (error) {
      await reader.close();
      throw error;
    }
    return reader;
  }

  async #openExtents(disk: DiskFile): Promise<Extent[]> {
    const extents: Extent[] = [];
    let first = 0;
    for (const [index, extent] of disk.descriptor.extents.entries()) {
      const sectors = disk.sparse?.capacitySectors ?? extent.sectors;
      const file = disk.extentFiles[index];
      let map: Extent["map"] = async () => ({ kind: "zero", run: Number.MAX_SAFE_INTEGER });
      if (file !== undefined) {
        const handle = await open(file, "r");
        this.#handles.push(handle);
        if (extent.type === "FLAT" || extent.type === "VMFS") {
          map = async (sector) => ({
            kind: "data",
            handle,
            position: (extent.offset + sector) * SECTOR,
            run: sectors - sector,
          });
        } else if (extent.type === "SPARSE") {
          map = await sparseMapper(handle, disk.sparse ?? decodeSparseHeader(await readAt(handle, 0, SECTOR)));
        } else throw new VmdkError(`extents of type ${extent.type} cannot be read here`);
      }
      extents.push({ first, sectors, map });
      first += sectors;
    }
    return extents;
  }

  /** Where the content of a sector comes from: the nearest link that has it; zeros where none has. */
  async map(sector: number): Promise<Mapping> {
    let run = Number.MAX_SAFE_INTEGER;
    for (const link of this.#links) {
      // A parent may be shorter than its child; beyond its end it reads as zeros.
      if (sector >= link.capacity) return { kind: "zero", run };
      run = Math.min(run, link.capacity - sector);
      const extent = link.extents.find(
        (candidate) => sector >= candidate.first && sector < candidate.first + candidate.sectors,
      );
      if (extent === undefined) return { kind: "zero", run };
      const mapping = await extent.map(sector - extent.first);
      run = Math.min(run, mapping.run, extent.first + extent.sectors - sector);
      if (mapping.kind !== "absent") return { ...mapping, run };
    }
    return { kind: "zero", run };
  }

  async close(): Promise<void> {
    await Promise.all(this.#handles.splice(0).map((handle) => handle.close()));
  }
}
