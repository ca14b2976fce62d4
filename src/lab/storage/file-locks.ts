import { fileLocked } from "../fault.ts";

/**
 * Who has which file of a datastore open. A disk that a running VM writes is locked for everybody else; the files that it only
 * reads (parents, ISO images) may be read by others too but not written, moved or deleted.
 */
export class FileLocks {
  readonly #holders = new Map<string, { writer: string | undefined; readers: Set<string> }>();

  /** Takes all locks or none; FileLocked names the first file in the way. `display` spells a file for the message. */
  acquire(owner: string, files: { write: string[]; read: string[] }, display: (file: string) => string): void {
    for (const file of files.write) this.requireFree(file, owner, display(file));
    for (const file of files.read) {
      const writer = this.#holders.get(file)?.writer;
      if (writer !== undefined && writer !== owner) throw fileLocked(display(file), writer);
    }
    for (const file of files.write) this.#entry(file).writer = owner;
    for (const file of files.read) this.#entry(file).readers.add(owner);
  }

  release(owner: string): void {
    for (const file of [...this.#holders.keys()]) this.releaseFile(owner, file);
  }

  releaseFile(owner: string, file: string): void {
    const entry = this.#holders.get(file);
    if (!entry) return;
    if (entry.writer === owner) entry.writer = undefined;
    entry.readers.delete(owner);
    if (entry.writer === undefined && entry.readers.size === 0) this.#holders.delete(file);
  }

  /** FileLocked when anybody but `owner` has the file, or a file below it, open. */
  requireFree(file: string, owner: string | undefined, display: string): void {
    for (const [held, { writer, readers }] of this.#holders) {
      if (held !== file && !held.startsWith(`${file}/`)) continue;
      const other = [writer, ...readers].find((holder) => holder !== undefined && holder !== owner);
      if (other !== undefined) throw fileLocked(display, other);
    }
  }

  /** FileLocked when somebody writes the file: its content must not become a child's foundation. */
  requireNoWriter(file: string, display: string): void {
    const writer = this.#holders.get(file)?.writer;
    if (writer !== undefined) throw fileLocked(display, writer);
  }

  #entry(file: string) {
    const known = this.#holders.get(file);
    if (known) return known;
    const entry = { writer: undefined as string | undefined, readers: new Set<string>() };
    this.#holders.set(file, entry);
    return entry;
  }
}
