/**
 * The compressed layers of stored images, kept beside their disks for push and save. Why they are kept: docs/images.md.
 * A blob is a directory of parts of known length and a marker, `blob.json`, that is written last.
 */
import { randomBytes } from "node:crypto";
import { Digester } from "../../registry/digest.ts";
import type { DatastoreFiles, DatastorePath } from "../../vsphere/contract.ts";
import { EngineError } from "../errors.ts";
import { METADATA_LIMIT } from "../limits.ts";
import type { UntilDone } from "../until-done.ts";
import { compressed, type LayerCompression } from "./compress.ts";
import { writeAtomically } from "./records.ts";

/** `blob.json` */
export interface BlobRecord {
  version: 1;
  /** Name of its directory. */
  name: string;
  /** Digest of the uncompressed layer. */
  diffId: string;
  /** Digest and length of what is kept. */
  digest: string;
  sizeBytes: number;
  partBytes: number;
  compression: LayerCompression;
}

/** What a layer holds in memory while it is kept, twice; and what a push sends with one request. */
const PART_BYTES = 8 * 1024 * 1024;
const MARKER = "blob.json";

export interface KeptLayer {
  /** The source's own bytes, for whoever unpacks them; keeping happens while they pass. */
  data: AsyncIterable<Uint8Array>;
  /** The layer is sound. Call when `data` has ended; the blob stays from then on. */
  commit(diffId: string): Promise<void>;
  /** Call in any case, after commit or instead of it. */
  close(): Promise<void>;
}

export class LayerBlobs {
  readonly #records = new Map<string, BlobRecord>();
  readonly #held = new Map<string, number>();

  constructor(
    private readonly files: DatastoreFiles,
    private readonly directory: DatastorePath,
    private readonly untilDone: UntilDone,
    private readonly log: (message: string) => void,
  ) {}

  /** Reads the markers and removes what was never finished. */
  async load(): Promise<void> {
    await this.files.makeDirectory(this.directory);
    for (const { name, directory } of await this.files.list(this.directory)) {
      if (!directory) continue;
      const record = await this.#read(name);
      if (record === undefined || this.#records.has(record.diffId)) {
        this.log(`removing the layer ${name}, which was never finished`);
        await this.files.remove(`${this.directory}/${name}`);
      } else this.#records.set(record.diffId, record);
    }
  }

  get(diffId: string): BlobRecord | undefined {
    return this.#records.get(diffId);
  }

  /** Its bytes as they are kept, part by part. */
  async *parts(record: BlobRecord): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for (let start = 0, number = 0; start < record.sizeBytes; start += record.partBytes, number++) {
      const part = Buffer.allocUnsafe(Math.min(record.partBytes, record.sizeBytes - start));
      let filled = 0;
      for await (const chunk of await this.files.read(this.#part(record.name, number))) {
        if (filled + chunk.length > part.length) throw damaged(record);
        part.set(chunk, filled);
        filled += chunk.length;
      }
      if (filled !== part.length) throw damaged(record);
      yield part;
    }
  }

  /** Keeps a layer while it is read by somebody else. A layer that is kept already only passes. */
  keep(source: AsyncIterable<Uint8Array>, diffId: string | undefined): KeptLayer {
    if (diffId !== undefined && this.#records.has(diffId)) {
      const release = this.hold([diffId]);
      return { data: source, commit: async () => undefined, close: async () => release() };
    }
    const name = randomBytes(16).toString("hex");
    const writer = new BlobWriter(this.files, `${this.directory}/${name}`, (number) => this.#part(name, number));
    const passing = compressed(source, (bytes) => writer.write(bytes));
    let release: (() => void) | undefined;
    let committed = false;
    return {
      data: passing.data,
      commit: async (foundDiffId) => {
        const compression = passing.compression();
        const { digest, sizeBytes } = await writer.finish();
        release = this.hold([foundDiffId]);
        if (this.#records.has(foundDiffId)) return;
        const record: BlobRecord = {
          version: 1,
          name,
          diffId: foundDiffId,
          digest,
          sizeBytes,
          partBytes: PART_BYTES,
          compression,
        };
        await writeAtomically(this.files, `${this.directory}/${name}/${MARKER}`, JSON.stringify(record));
        // Somebody else may have kept the same layer meanwhile.
        if (this.#records.has(foundDiffId)) return;
        this.#records.set(foundDiffId, record);
        committed = true;
      },
      close: async () => {
        release?.();
        if (committed) return;
        await writer.settled();
        await this.#remove(name);
      },
    };
  }

  /** Keeps these from being removed until the returned function is called. */
  hold(diffIds: readonly string[]): () => void {
    for (const diffId of diffIds) this.#held.set(diffId, (this.#held.get(diffId) ?? 0) + 1);
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      for (const diffId of diffIds) {
        const users = (this.#held.get(diffId) ?? 1) - 1;
        if (users === 0) this.#held.delete(diffId);
        else this.#held.set(diffId, users);
      }
    };
  }

  /** Removes every blob whose layer is on no disk any more. */
  async removeUnused(used: ReadonlySet<string>): Promise<void> {
    for (const [diffId, { name }] of [...this.#records]) {
      if (used.has(diffId) || this.#held.has(diffId)) continue;
      this.#records.delete(diffId);
      await this.#remove(name);
    }
  }

  /** Marker first: what is left of a removal that was cut off is then no blob. */
  async #remove(name: string): Promise<void> {
    await this.untilDone.run(`removing the layer ${name}`, async () => {
      await this.files.remove(`${this.directory}/${name}/${MARKER}`);
      await this.files.remove(`${this.directory}/${name}`);
    });
  }

  /** Bytes on the datastore. */
  get totalBytes(): number {
    return [...this.#records.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  #part(name: string, number: number): DatastorePath {
    return `${this.directory}/${name}/${number}`;
  }

  async #read(name: string): Promise<BlobRecord | undefined> {
    const path: DatastorePath = `${this.directory}/${name}/${MARKER}`;
    if (!(await this.files.exists(path))) return undefined;
    try {
      const record = JSON.parse(await this.files.readText(path, METADATA_LIMIT)) as BlobRecord;
      return record.version === 1 && record.name === name ? record : undefined;
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  }
}

const damaged = (record: BlobRecord): EngineError =>
  new EngineError(
    "internal",
    `the stored layer ${record.digest} is not ${record.sizeBytes} bytes long: remove the image and pull it again`,
  );

/** Cuts a stream into parts and writes each while the next one fills. */
class BlobWriter {
  readonly #digester = new Digester();
  #part = Buffer.allocUnsafe(PART_BYTES);
  #filled = 0;
  #number = 0;
  #size = 0;
  #writing: Promise<void> | undefined;

  constructor(
    private readonly files: DatastoreFiles,
    private readonly directory: DatastorePath,
    private readonly path: (number: number) => DatastorePath,
  ) {}

  async write(bytes: Uint8Array): Promise<void> {
    this.#digester.update(bytes);
    this.#size += bytes.length;
    for (let from = 0; from < bytes.length; ) {
      const piece = bytes.subarray(from, from + PART_BYTES - this.#filled);
      this.#part.set(piece, this.#filled);
      this.#filled += piece.length;
      from += piece.length;
      if (this.#filled === PART_BYTES) await this.#flush();
    }
  }

  async finish(): Promise<{ digest: string; sizeBytes: number }> {
    if (this.#filled > 0) await this.#flush();
    await this.#writing;
    return { digest: this.#digester.digest(), sizeBytes: this.#size };
  }

  /** Resolves when nothing is being written any more. */
  async settled(): Promise<void> {
    await this.#writing?.catch(() => undefined); // Whoever wrote was told.
  }

  async #flush(): Promise<void> {
    await this.#writing;
    if (this.#number === 0) await this.files.makeDirectory(this.directory);
    const part = this.#part.subarray(0, this.#filled);
    const writing = this.files.write(this.path(this.#number++), part);
    writing.catch(() => undefined); // Told by the next flush or by finish.
    this.#writing = writing;
    this.#part = Buffer.allocUnsafe(PART_BYTES);
    this.#filled = 0;
  }
}
