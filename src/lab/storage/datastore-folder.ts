import { lstatSync, type Stats } from "node:fs";
import { readdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { fileNotFound, invalidDatastorePath } from "../fault.ts";
import { formatDatastorePath, type ParsedDatastorePath } from "./datastore-path.ts";

/** A datastore is a directory of this machine. Nothing outside of it is reachable through it, also not by symbolic links. */
export class DatastoreFolder {
  constructor(
    readonly name: string,
    readonly directory: string,
  ) {}

  /** The datastore path in vSphere's notation. */
  format(path: string): string {
    return formatDatastorePath({ datastore: this.name, path });
  }

  /**
   * The file of this machine behind a relative datastore path, which need not exist. Refuses a path that passes through a
   * symbolic link (InvalidDatastorePath), because a link could lead out of the datastore.
   */
  async resolve(path: string): Promise<string> {
    let current = this.directory;
    for (const segment of path.split("/").filter(Boolean)) {
      current = join(current, segment);
      const status = statusOf(current);
      if (!status) return join(this.directory, path);
      if (status.isSymbolicLink()) throw invalidDatastorePath(this.format(path));
    }
    return current;
  }

  /** As `resolve`; FileNotFound when there is nothing. */
  async resolveExisting(path: string): Promise<{ file: string; directory: boolean; size: number; modified: Date }> {
    const file = await this.resolve(path);
    const status = statusOf(file);
    if (!status) throw fileNotFound(this.format(path));
    return { file, directory: status.isDirectory(), size: status.size, modified: status.mtime };
  }

  async exists(path: string): Promise<boolean> {
    return statusOf(await this.resolve(path)) !== undefined;
  }

  /** Entries of a directory in name order, without symbolic links and special files. */
  async list(
    path: string,
  ): Promise<{ name: string; directory: boolean; size: number; modified: Date; blocks: number }[]> {
    const { file, directory } = await this.resolveExisting(path);
    if (!directory) throw fileNotFound(this.format(path));
    const entries = [];
    for (const entry of await readdir(file, { withFileTypes: true })) {
      if (!entry.isFile() && !entry.isDirectory()) continue;
      const status = statusOf(join(file, entry.name));
      if (!status) continue;
      entries.push({
        name: entry.name,
        directory: status.isDirectory(),
        size: status.size,
        modified: status.mtime,
        blocks: status.blocks,
      });
    }
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Bytes of the file system below the datastore. */
  async space(): Promise<{ capacity: number; free: number }> {
    const status = await statfs(this.directory);
    return { capacity: status.blocks * status.bsize, free: status.bavail * status.bsize };
  }

  /** The relative path of a file of this machine below the datastore, or undefined. */
  relative(file: string): string | undefined {
    return file.startsWith(`${this.directory}/`) ? file.slice(this.directory.length + 1) : undefined;
  }
}

/** Directories of this machine answer faster than another thread could be asked: paths are looked at for every operation. */
function statusOf(file: string): Stats | undefined {
  try {
    return lstatSync(file, { throwIfNoEntry: false });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** The datastore that a parsed path names, or InvalidDatastorePath. */
export function datastoreOf(
  folders: ReadonlyMap<string, DatastoreFolder>,
  parsed: ParsedDatastorePath,
): DatastoreFolder {
  const folder = folders.get(parsed.datastore);
  if (!folder) throw invalidDatastorePath(formatDatastorePath(parsed));
  return folder;
}
