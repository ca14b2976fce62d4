/** A datastore in memory, for tests: files only, directories are implied. */
import type { DatastoreFiles } from "../../../vsphere/contract.ts";

export class MemoryDatastore implements DatastoreFiles {
  readonly datastore = "ds";
  readonly contents = new Map<string, Uint8Array>();
  /** Called before each change; may throw, to play a crash. */
  beforeChange: (what: string, path: string) => void = () => undefined;

  async read(path: string): Promise<ReadableStream<Uint8Array>> {
    return new Blob([this.#get(path) as Uint8Array<ArrayBuffer>]).stream();
  }
  async readText(path: string, limitBytes: number): Promise<string> {
    const bytes = this.#get(path);
    if (bytes.length > limitBytes) throw new Error(`${path} is too long`);
    return new TextDecoder().decode(bytes);
  }
  async write(
    path: string,
    content: Uint8Array | string | { stream: ReadableStream<Uint8Array>; length: number },
  ): Promise<void> {
    this.beforeChange("write", path);
    if (typeof content === "string") this.contents.set(path, new TextEncoder().encode(content));
    else if (content instanceof Uint8Array) this.contents.set(path, content);
    else {
      const bytes = new Uint8Array(await new Response(content.stream).arrayBuffer());
      if (bytes.length !== content.length) throw new Error(`${path}: ${bytes.length} bytes, not ${content.length}`);
      this.contents.set(path, bytes);
    }
  }
  async list(directory: string) {
    const entries = new Map<string, boolean>();
    for (const path of this.contents.keys()) {
      if (!path.startsWith(`${directory}/`)) continue;
      const [name = "", ...deeper] = path.slice(directory.length + 1).split("/");
      entries.set(name, deeper.length > 0);
    }
    return [...entries].map(([name, isDirectory]) => ({
      name,
      directory: isDirectory,
      size: 0,
      modified: new Date(0),
    }));
  }
  async exists(path: string): Promise<boolean> {
    return this.contents.has(path);
  }
  async makeDirectory(): Promise<void> {
    return undefined;
  }
  async remove(path: string): Promise<void> {
    this.beforeChange("remove", path);
    for (const name of [...this.contents.keys()])
      if (name === path || name.startsWith(`${path}/`)) this.contents.delete(name);
  }
  async move(from: string, to: string): Promise<void> {
    this.beforeChange("move", to);
    this.contents.set(to, this.#get(from));
    this.contents.delete(from);
  }
  async space() {
    return { capacityBytes: 1e12, freeBytes: 1e12 };
  }
  async makeDisk(path: string): Promise<void> {
    this.contents.set(path, new Uint8Array());
  }
  async growDisk(path: string): Promise<void> {
    throw new Error(`${path}: disks of images do not grow`);
  }

  async removeDisk(path: string): Promise<void> {
    this.beforeChange("removeDisk", path);
    this.contents.delete(path);
  }
  #get(path: string): Uint8Array {
    const bytes = this.contents.get(path);
    if (bytes === undefined) throw new Error(`no file ${path}`);
    return bytes;
  }
}
