/** Makes the read-only disks that images stand on. */
import { randomBytes } from "node:crypto";
import { digestOf } from "../../registry/digest.ts";
import { EngineError } from "../errors.ts";
import type { LoaderPool } from "../loader/contract.ts";
import type { Catalog } from "./catalog.ts";
import { chainIds, EMPTY_LAYER_DIFF_ID } from "./chain.ts";
import type { LayerBelow, LayerContentSource } from "./contract.ts";
import type { KeptLayer } from "./layer-blobs.ts";
import { type LayerWriter, withLayerWriter, withTreeExport } from "./layer-writer.ts";
import { hexOf } from "./layout.ts";
import { type DiskRecord, EMPTY_CHAIN } from "./records.ts";

/** Longest chain of disks: each one costs the container that reads through it. */
export const DEPTH_LIMIT = 8;

/** Where the layers of an image come from. Called in order, only for layers that are not stored. */
export interface LayerSource {
  /** Raw bytes of layer `index`, compressed or not. */
  open(index: number): AsyncIterable<Uint8Array>;
  applied?(index: number): void;
}

export interface PinnedDisk {
  disk: DiskRecord;
  /** Call when an image refers to the disk, or never will. */
  release(): void;
}

export class DiskStore {
  /** Disks in use by work under way: name → users. */
  readonly #pins = new Map<string, number>();
  /** Chain ids whose disk is being made. */
  readonly #making = new Map<string, Promise<unknown>>();

  constructor(
    private readonly catalog: Catalog,
    private readonly loaders: LoaderPool,
    private readonly capacityBytes: number,
  ) {}

  pin(name: string): () => void {
    this.#pins.set(name, (this.#pins.get(name) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const users = (this.#pins.get(name) ?? 1) - 1;
      if (users === 0) this.#pins.delete(name);
      else this.#pins.set(name, users);
    };
  }

  get pinned(): ReadonlySet<string> {
    return new Set(this.#pins.keys());
  }

  /** How many of the layers need not be fetched, lowest first, and the disk that holds them. */
  storedPrefix(diffIds: readonly string[]): { count: number; disk: DiskRecord | undefined } {
    const chain = chainIds(diffIds);
    for (let count = chain.length; count > 0; count--) {
      const disk = this.catalog.diskOfChain(chain[count - 1] ?? "");
      // The whole image may stand on a disk of any depth; a new child needs a parent that is not at the limit.
      if (disk !== undefined && (count === chain.length || disk.depth < DEPTH_LIMIT)) return { count, disk };
    }
    return { count: 0, disk: chain.length === 0 ? this.catalog.diskOfChain(EMPTY_CHAIN) : undefined };
  }

  /** The disk of these layers, made when it is not there. All layers above the stored prefix go into one new disk. */
  async ensure(diffIds: readonly string[], source: LayerSource, signal: AbortSignal): Promise<PinnedDisk> {
    const chainId = chainIds(diffIds).at(-1) ?? EMPTY_CHAIN;
    for (;;) {
      const other = this.#making.get(chainId);
      if (other === undefined) break;
      await other.catch(() => undefined); // If the other one fails, it is our turn.
      signal.throwIfAborted();
    }
    const stored = this.catalog.diskOfChain(chainId);
    if (stored !== undefined) return { disk: stored, release: this.pin(stored.name) };
    const making = this.#make(diffIds, chainId, source, signal);
    this.#making.set(chainId, making);
    try {
      return await making;
    } finally {
      this.#making.delete(chainId);
    }
  }

  async #make(
    diffIds: readonly string[],
    chainId: string,
    source: LayerSource,
    signal: AbortSignal,
  ): Promise<PinnedDisk> {
    const chain = chainIds(diffIds);
    const { count, disk: parent } = this.storedPrefix(diffIds);
    return this.#create(hexOf(chainId), parent, signal, async (apply, capacityBytes) => {
      const layers: DiskRecord["layers"] = [];
      for (const [index, diffId] of diffIds.entries()) {
        if (index < count) continue;
        signal.throwIfAborted();
        const bytes =
          diffId === EMPTY_LAYER_DIFF_ID
            ? 0
            : (await apply(source.open(index), { diffId, limitBytes: capacityBytes }, signal)).statistics.bytes;
        layers.push({ diffId, chainId: chain[index] ?? "", bytes });
        source.applied?.(index);
      }
      return { layers, chainId };
    });
  }

  /** A disk of one layer whose digest is known only when it is written (docker import). */
  async makeFromTar(data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<PinnedDisk> {
    return this.#create(
      `import-${randomBytes(16).toString("hex")}`,
      undefined,
      signal,
      async (apply, capacityBytes) => {
        const { statistics, diffId } = await apply(data, { diffId: undefined, limitBytes: capacityBytes }, signal);
        return { layers: [{ diffId, chainId: diffId, bytes: statistics.bytes }], chainId: diffId };
      },
    );
  }

  /** A disk with one more layer over `below`, whose digest is known only when it is written (docker commit). */
  async addLayer(
    below: DiskRecord,
    data: LayerContentSource,
    signal: AbortSignal,
  ): Promise<PinnedDisk & { diffId: string; bytes: number }> {
    const releaseBelow = this.pin(below.name);
    try {
      const isFlat = below.depth >= DEPTH_LIMIT;
      let added: { diffId: string; bytes: number } | undefined;
      const pinned = await this.#create(
        `layer-${randomBytes(16).toString("hex")}`,
        isFlat ? undefined : below,
        signal,
        async (apply, limitBytes, applyOnly, files) => {
          const lower = isFlat ? await this.#copyContent(below, applyOnly, limitBytes, signal) : [];
          const { statistics, diffId } = await apply(
            typeof data === "function" ? data(files) : data,
            { diffId: undefined, limitBytes },
            signal,
          );
          added = { diffId, bytes: statistics.bytes };
          if (diffId === EMPTY_LAYER_DIFF_ID) return { layers: lower, chainId: below.chainId };
          const chainId = below.chainId === EMPTY_CHAIN ? diffId : digestOf(`${below.chainId} ${diffId}`);
          return { layers: [...lower, { diffId, chainId, bytes: statistics.bytes }], chainId };
        },
        below.capacityBytes,
      );
      if (added === undefined) throw new EngineError("internal", "the layer was not written");
      return { ...pinned, ...added };
    } finally {
      releaseBelow();
    }
  }

  /** A chain at its greatest depth begins anew: everything that `below` shows goes into the new disk. */
  async #copyContent(
    below: DiskRecord,
    apply: LayerWriter["apply"],
    limitBytes: number,
    signal: AbortSignal,
  ): Promise<DiskRecord["layers"]> {
    const source = [{ path: this.catalog.layout.disk(below.name).file, readOnly: true }];
    await this.loaders.use(source, ({ link, disks: [disk] }) => {
      if (disk === undefined) throw new EngineError("internal", "the loader VM has no address for the image disk");
      return withTreeExport(link, disk, (tar) => apply(tar, { diffId: undefined, limitBytes }, signal));
    });
    return this.catalog
      .lineage(below.name)
      .reverse()
      .flatMap(({ layers }) => layers);
  }

  async #create(
    name: string,
    parent: DiskRecord | undefined,
    signal: AbortSignal,
    /** `apply` keeps the layer's bytes, `applyOnly` does not. */
    fill: (
      apply: LayerWriter["apply"],
      capacityBytes: number,
      applyOnly: LayerWriter["apply"],
      files: LayerBelow,
    ) => Promise<{ layers: DiskRecord["layers"]; chainId: string }>,
    wantedCapacityBytes = this.capacityBytes,
  ): Promise<PinnedDisk> {
    const { catalog } = this;
    const paths = catalog.layout.disk(name);
    const capacityBytes = parent?.capacityBytes ?? wantedCapacityBytes;
    const release = this.pin(name);
    const releaseParent = parent === undefined ? () => undefined : this.pin(parent.name);
    const kept: KeptLayer[] = [];
    /** Unpacks a layer and keeps it; it is kept for good when its digest has turned out right. */
    const keeping =
      (writer: LayerWriter): LayerWriter["apply"] =>
      async (data, expected, applySignal) => {
        const layer = catalog.blobs.keep(data, expected.diffId);
        kept.push(layer);
        const result = await writer.apply(layer.data, expected, applySignal);
        await layer.commit(result.diffId);
        return result;
      };
    try {
      await catalog.diskRemoved(name);
      await catalog.files.makeDirectory(paths.directory);
      const create = parent === undefined ? { capacityBytes } : { parent: catalog.layout.disk(parent.name).file };
      const { layers, chainId } = await this.loaders.use(
        [{ path: paths.file, readOnly: false, create }],
        async ({ link, disks }) => {
          const [address] = disks;
          if (address === undefined)
            throw new EngineError("internal", "the loader VM has no address for the image disk");
          signal.throwIfAborted();
          return withLayerWriter(link, address, parent === undefined, (writer) =>
            fill(keeping(writer), capacityBytes, writer.apply, writer.below),
          );
        },
      );
      signal.throwIfAborted();
      const twin = catalog.diskOfChain(chainId);
      if (twin !== undefined) {
        await catalog.removeDisk(name);
        release();
        return { disk: twin, release: this.pin(twin.name) };
      }
      const disk: DiskRecord = {
        version: 1,
        name,
        chainId,
        layers,
        parent: parent?.name ?? null,
        depth: (parent?.depth ?? 0) + 1,
        capacityBytes,
      };
      await catalog.addDisk(disk);
      return { disk, release };
    } catch (error) {
      release();
      await catalog.removeDisk(name);
      throw error;
    } finally {
      for (const layer of kept) await layer.close();
      releaseParent();
    }
  }
}
