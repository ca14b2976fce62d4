/**
 * Members of a `docker load` archive, which come in any order: layers often before the manifest that says what they are.
 * Small ones are kept in memory within a limit; the others wait on the datastore, never on the appliance's own disk.
 */
import { randomBytes } from "node:crypto";
import { readTar } from "../../format/tar/index.ts";
import type { DatastoreFiles, DatastorePath } from "../../vsphere/contract.ts";
import { invalid } from "../errors.ts";

/** A member up to this size is kept in memory … */
const MEMORY_MEMBER_LIMIT = 1024 * 1024;
/** … until that much is. */
const MEMORY_LIMIT = 32 * 1024 * 1024;
const MEMBER_LIMIT = 20_000;
/** Links to links are followed this far. */
const LINK_LIMIT = 8;

export interface ArchiveMember {
  size: number;
  open(): AsyncIterable<Uint8Array>;
}

export class ArchiveMembers {
  readonly #members = new Map<string, ArchiveMember | { linkTo: string }>();
  readonly #directory: DatastorePath;
  #spooled = 0;
  #memory = 0;

  /** @param incoming directory on the datastore, emptied at each start */
  constructor(
    private readonly files: DatastoreFiles,
    incoming: DatastorePath,
  ) {
    this.#directory = `${incoming}/${randomBytes(8).toString("hex")}`;
  }

  async read(tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    for await (const { header, body } of readTar(tar)) {
      signal.throwIfAborted();
      if (this.#members.size >= MEMBER_LIMIT) throw invalid(`the archive has more than ${MEMBER_LIMIT} members`);
      const name = normalize(header.name);
      if (header.type === "file") this.#members.set(name, await this.#keep(header.size, body, signal));
      else if (header.type === "link") this.#members.set(name, { linkTo: normalize(header.linkName) });
      else if (header.type === "symlink") {
        // Old `docker save` links equal layers: `<id>/layer.tar` → `../<other id>/layer.tar`.
        this.#members.set(name, { linkTo: normalize(`${name}/../${header.linkName}`) });
      }
    }
  }

  find(path: string): ArchiveMember | undefined {
    let member = this.#members.get(normalize(path));
    for (let links = 0; member !== undefined && "linkTo" in member; links++) {
      if (links === LINK_LIMIT) return undefined;
      member = this.#members.get(member.linkTo);
    }
    return member;
  }

  /** The text of a member. Throws EngineError `invalid` when it is missing or too long. */
  async text(path: string, limitBytes: number): Promise<string> {
    const member = this.find(path);
    if (member === undefined) throw invalid(`invalid archive: it does not contain ${path}`);
    if (member.size > limitBytes) throw invalid(`invalid archive: ${path} is larger than ${limitBytes} bytes`);
    const chunks: Uint8Array[] = [];
    for await (const chunk of member.open()) chunks.push(chunk);
    return Buffer.concat(chunks).toString("utf8");
  }

  async remove(): Promise<void> {
    this.#members.clear();
    if (this.#spooled > 0) await this.files.remove(this.#directory);
  }

  async #keep(size: number, body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<ArchiveMember> {
    if (size <= MEMORY_MEMBER_LIMIT && this.#memory + size <= MEMORY_LIMIT) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk.slice());
      this.#memory += size;
      return {
        size,
        open: async function* () {
          yield* chunks;
        },
      };
    }
    if (this.#spooled === 0) await this.files.makeDirectory(this.#directory);
    this.#spooled += 1;
    const path: DatastorePath = `${this.#directory}/${this.#spooled}`;
    await this.files.write(path, { stream: toStream(body, signal), length: size });
    const { files } = this;
    return {
      size,
      open: async function* () {
        yield* await files.read(path);
      },
    };
  }
}

function normalize(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function toStream(source: AsyncIterable<Uint8Array>, signal: AbortSignal): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      signal.throwIfAborted();
      const next = await iterator.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}
