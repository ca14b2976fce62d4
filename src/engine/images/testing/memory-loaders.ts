/** A loader pool for tests whose disks are maps of file names to contents. Layers are read by the real tar reader. */
import { readTar } from "../../../format/tar/index.ts";
import type { Channel, ChannelMessage, LinkSession } from "../../../link/contract.ts";
import type { DiskAddress } from "../../../link/guest-configuration.ts";
import { LinkError } from "../../../link/link-error.ts";
import type { LoaderDisk, LoaderPool } from "../../loader/contract.ts";
import type { MemoryDatastore } from "./memory-datastore.ts";

interface Disk {
  parent: string | undefined;
  formatted: boolean;
  files: Map<string, Uint8Array>;
}

export class MemoryLoaders implements LoaderPool {
  readonly disks = new Map<string, Disk>();
  /** Number of `use` calls, and of layers applied. */
  uses = 0;
  applied = 0;
  /** When set, layers fail with it. */
  failure: LinkError | undefined;

  constructor(private readonly datastore: MemoryDatastore) {}

  async use<T>(
    disks: LoaderDisk[],
    work: (loader: { link: LinkSession; disks: DiskAddress[] }) => Promise<T>,
  ): Promise<T> {
    this.uses += 1;
    for (const { path, create } of disks) {
      if (create === undefined) continue;
      if (create.parent !== undefined && !this.datastore.contents.has(create.parent)) throw new Error("no such parent");
      await this.datastore.makeDisk(path);
      this.disks.set(path, { parent: create.parent, formatted: create.parent !== undefined, files: new Map() });
    }
    return work({ link: this.#link(disks), disks: disks.map((_, unit) => ({ bus: 0, unit })) });
  }

  async close(): Promise<void> {
    return undefined;
  }

  /** Content of a file as a container on this disk sees it. */
  read(path: string, name: string): string | undefined {
    for (let disk = this.disks.get(path); disk !== undefined; disk = this.disks.get(disk.parent ?? "")) {
      const bytes = disk.files.get(name);
      if (bytes !== undefined) return new TextDecoder().decode(bytes);
    }
    return undefined;
  }

  #link(disks: LoaderDisk[]): LinkSession {
    const diskAt = (unit: number): Disk => {
      const disk = this.disks.get(disks[unit]?.path ?? "");
      if (disk === undefined) throw new LinkError("not-found", "no such disk");
      return disk;
    };
    const call = async (op: string, request: Record<string, unknown>): Promise<unknown> => {
      if (op === "diskFormat") diskAt((request.disk as DiskAddress).unit).formatted = true;
      else if (op === "diskMount") {
        const { unit } = request.disk as DiskAddress;
        if (!diskAt(unit).formatted) throw new LinkError("invalid", "no filesystem");
        return { mount: String(unit) };
      }
      return undefined;
    };
    const open = (op: string, request: Record<string, unknown>): Channel => {
      if (op !== "layerApply") throw new Error(`unexpected ${op}`);
      return this.#applyChannel(diskAt(Number(request.mount)));
    };
    return {
      call,
      open,
      onChannel: () => undefined,
      close: () => undefined,
      closed: new Promise(() => undefined),
    } as unknown as LinkSession;
  }

  #applyChannel(disk: Disk): Channel {
    const pipe = new TransformStream<Uint8Array, Uint8Array>();
    const writer = pipe.writable.getWriter();
    const unpack = async (): Promise<Record<string, unknown>> => {
      if (this.failure !== undefined) throw this.failure;
      let bytes = 0;
      let entries = 0;
      for await (const { header, body } of readTar(pipe.readable)) {
        entries += 1;
        if (header.type !== "file") continue;
        const content = new Uint8Array(await new Response(readable(body)).arrayBuffer());
        disk.files.set(header.name.replace(/^\.\//, ""), content);
        bytes += content.length;
      }
      this.applied += 1;
      return { bytes, entries };
    };
    const result = unpack();
    result.catch((error: unknown) => writer.abort(error).catch(() => undefined));
    async function* messages(): AsyncGenerator<ChannelMessage> {
      yield { kind: "control", message: await result };
    }
    return {
      request: { op: "layerApply" },
      [Symbol.asyncIterator]: messages,
      send: async (_stream, bytes) => {
        await writer.write(bytes);
      },
      end: async () => {
        await writer.close();
      },
      control: async () => undefined,
      close: (error) => {
        if (error !== undefined) writer.abort(new LinkError(error.code, error.message)).catch(() => undefined);
      },
      closed: result.then(
        () => undefined,
        () => undefined,
      ),
    };
  }
}

function readable(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      const next = await iterator.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value.slice());
    },
  });
}
