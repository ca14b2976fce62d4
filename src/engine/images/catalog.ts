/** The store's memory: images, disks and names, as they are on the datastore. Read at start, written through. */
import type { DatastoreFiles } from "../../vsphere/contract.ts";
import { EngineError } from "../errors.ts";
import type { UntilDone } from "../until-done.ts";
import { type ImageConfiguration, parseImageConfiguration } from "./image-config.ts";
import { LayerBlobs } from "./layer-blobs.ts";
import { hexOf, type ImageLayout } from "./layout.ts";
import {
  type DiskRecord,
  type ImageRecord,
  parseDiskRecord,
  parseImageRecord,
  parseRepositories,
  RECORD_LIMIT_BYTES,
  REPOSITORIES_LIMIT_BYTES,
  type Repositories,
  writeAtomically,
} from "./records.ts";

export interface CatalogImage {
  record: ImageRecord;
  configuration: ImageConfiguration;
}

/** Files read at once at start. */
const READ_CONCURRENCY = 8;

export class Catalog {
  readonly images = new Map<string, CatalogImage>();
  /** By name of their directory. */
  readonly disks = new Map<string, DiskRecord>();
  repositories: Repositories = { version: 1, repositories: {}, lastTagged: {} };
  readonly blobs: LayerBlobs;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly files: DatastoreFiles,
    readonly layout: ImageLayout,
    readonly untilDone: UntilDone,
    readonly log: (message: string) => void,
  ) {
    this.blobs = new LayerBlobs(files, layout.blobs, untilDone, log);
  }

  /** Reads everything and removes what was left half made. */
  async load(): Promise<void> {
    const { files, layout } = this;
    for (const directory of [layout.root, layout.disks, layout.images]) await files.makeDirectory(directory);
    await files.remove(layout.incoming);
    await this.blobs.load();

    const diskNames = (await files.list(layout.disks)).filter(({ directory }) => directory);
    await inBatches(diskNames, async ({ name }) => {
      const paths = layout.disk(name);
      const record = (await files.exists(paths.marker))
        ? parseDiskRecord(await files.readText(paths.marker, RECORD_LIMIT_BYTES))
        : undefined;
      if (record === undefined || record.name !== name) {
        this.log(`removing the image disk ${name}, which was never finished`);
        await this.removeDisk(name);
      } else this.disks.set(name, record);
    });

    const imageNames = (await files.list(layout.images)).filter(({ directory }) => directory);
    await inBatches(imageNames, async ({ name }) => {
      const paths = layout.image(name);
      const record = (await files.exists(paths.marker))
        ? parseImageRecord(await files.readText(paths.marker, RECORD_LIMIT_BYTES))
        : undefined;
      if (record === undefined || hexOf(record.id) !== name || !this.disks.has(record.disk)) {
        this.log(`removing the image ${name}, which was never finished`);
        await files.remove(paths.directory);
        return;
      }
      const configuration = parseImageConfiguration(await files.readText(paths.config, RECORD_LIMIT_BYTES));
      this.images.set(record.id, { record, configuration });
    });

    if (await files.exists(layout.repositories)) {
      const repositories = parseRepositories(await files.readText(layout.repositories, REPOSITORIES_LIMIT_BYTES));
      if (repositories === undefined) {
        throw new EngineError(
          "internal",
          `${layout.repositories} is damaged: restore it, or delete it and tag the images again`,
        );
      }
      this.repositories = repositories;
    }
    await this.removeUnusedDisks(new Set());
  }

  /** Changes the names, on the datastore first: when that fails, nothing has changed. */
  changeRepositories<T>(change: (repositories: Repositories) => T): Promise<T> {
    return this.#inTurn(async () => {
      const next = structuredClone(this.repositories);
      const answer = change(next);
      await writeAtomically(this.files, this.layout.repositories, JSON.stringify(next));
      this.repositories = next;
      return answer;
    });
  }

  /** Images and names change one after the other, so that an image cannot be made in a directory that is being removed. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async addDisk(record: DiskRecord): Promise<void> {
    await writeAtomically(this.files, this.layout.disk(record.name).marker, JSON.stringify(record));
    this.disks.set(record.name, record);
  }

  addImage(record: ImageRecord, configText: string, manifestText: string | undefined): Promise<CatalogImage> {
    return this.#inTurn(async () => {
      const paths = this.layout.image(record.id);
      await this.untilDone.settled(`removing ${paths.directory}`);
      try {
        await this.files.makeDirectory(paths.directory);
        await this.files.write(paths.config, configText);
        if (manifestText !== undefined) await this.files.write(paths.manifest, manifestText);
        await writeAtomically(this.files, paths.marker, JSON.stringify(record));
      } catch (error) {
        if (!this.images.has(record.id))
          await this.untilDone.run(`removing ${paths.directory}`, () => this.files.remove(paths.directory));
        throw error;
      }
      const image = { record, configuration: parseImageConfiguration(configText) };
      this.images.set(record.id, image);
      return image;
    });
  }

  /** The configuration's exact text, whose digest is the image's id. */
  configurationText(id: string): Promise<string> {
    return this.files.readText(this.layout.image(id).config, RECORD_LIMIT_BYTES);
  }

  /** The manifest that the image came with, if it came with one. */
  async manifestText(id: string): Promise<string | undefined> {
    const { manifest } = this.layout.image(id);
    return (await this.files.exists(manifest)) ? this.files.readText(manifest, RECORD_LIMIT_BYTES) : undefined;
  }

  /** No longer shown, kept for the containers that stand on it. */
  hideImage(id: string): Promise<void> {
    return this.#inTurn(async () => {
      const image = this.images.get(id);
      if (image === undefined) return;
      const record = { ...image.record, hidden: true };
      await writeAtomically(this.files, this.layout.image(id).marker, JSON.stringify(record));
      this.images.set(id, { ...image, record });
    });
  }

  /** The marker goes first: a crash leaves something unfinished, which the next start removes. */
  removeImage(id: string): Promise<void> {
    return this.#inTurn(async () => {
      const paths = this.layout.image(id);
      await this.files.remove(paths.marker);
      this.images.delete(id);
      await this.untilDone.run(`removing ${paths.directory}`, () => this.files.remove(paths.directory));
    });
  }

  /** The finished disk that shows exactly these layers. */
  diskOfChain(chainId: string): DiskRecord | undefined {
    for (const disk of this.disks.values()) if (disk.chainId === chainId) return disk;
    return undefined;
  }

  /** The disk and everything under it, topmost first. */
  lineage(name: string): DiskRecord[] {
    const disks: DiskRecord[] = [];
    for (
      let disk = this.disks.get(name);
      disk !== undefined;
      disk = disk.parent === null ? undefined : this.disks.get(disk.parent)
    ) {
      disks.push(disk);
      if (disks.length > this.disks.size) break; // A circle can only come from damaged records.
    }
    return disks;
  }

  /** Removes disks that no image (shown or hidden), no other disk and nobody in `pinned` uses. Answers their chain ids. */
  async removeUnusedDisks(pinned: ReadonlySet<string>): Promise<DiskRecord[]> {
    const used = new Set<string>();
    for (const name of [...[...this.images.values()].map(({ record }) => record.disk), ...pinned]) {
      for (const disk of this.lineage(name)) used.add(disk.name);
    }
    const unused = [...this.disks.values()].filter(({ name }) => !used.has(name));
    // Children before their parents, so that no child is ever without its parent.
    unused.sort((a, b) => b.depth - a.depth);
    // From here on nobody can choose them as parents.
    for (const { name } of unused) this.disks.delete(name);
    for (const { name } of unused) await this.removeDisk(name);
    const layers = [...this.disks.values()].flatMap((disk) => disk.layers);
    await this.blobs.removeUnused(new Set(layers.map(({ diffId }) => diffId)));
    return unused;
  }

  /** Removes a disk that is in nobody's list any more, now or in the end; marker first. */
  async removeDisk(name: string): Promise<void> {
    await this.untilDone.run(removalOf(name), async () => {
      await this.files.remove(this.layout.disk(name).marker);
      await this.#removeDiskFiles(name);
    });
  }

  /** Resolves when a removal of this disk that is under way has ended. */
  async diskRemoved(name: string): Promise<void> {
    await this.untilDone.settled(removalOf(name));
  }

  async #removeDiskFiles(name: string): Promise<void> {
    const { file, directory } = this.layout.disk(name);
    if (await this.files.exists(file)) await this.files.removeDisk(file);
    await this.files.remove(directory);
  }
}

const removalOf = (disk: string): string => `removing image disk ${disk}`;

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = [...items];
  const worker = async (): Promise<void> => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: READ_CONCURRENCY }, worker));
}
