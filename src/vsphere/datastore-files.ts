/** Files of one datastore: contents by the `/folder` HTTP service, everything else by the file and disk managers. */
import { Readable } from "node:stream";
import { type DatastoreEntry, type DatastoreFiles, type DatastorePath, VSphereFault } from "./contract.ts";
import { joinDatastorePath, parentDirectory, splitDatastorePath } from "./datastore-path.ts";
import type { Inventory } from "./inventory.ts";
import { retrieveOne } from "./properties.ts";
import type { Session } from "./session.ts";
import type { Tasks } from "./tasks.ts";
import { ConnectionError } from "./transport.ts";
import type {
  DatastoreSummary,
  FileInfo,
  HostDatastoreBrowserSearchResults,
  ManagedObjectReference,
} from "./vim25/index.ts";
import { toNumber } from "./vim25/index.ts";

const ERROR_TEXT_LIMIT = 200;

export class Files implements DatastoreFiles {
  readonly datastore: string;

  constructor(
    private readonly session: Session,
    private readonly tasks: Tasks,
    private readonly inventory: Inventory,
  ) {
    this.datastore = inventory.datastoreName;
  }

  async read(path: DatastorePath, range?: { start: number; end?: number }): Promise<ReadableStream<Uint8Array>> {
    const headers: Record<string, string> = {};
    // `end` is exclusive here, inclusive in HTTP.
    if (range) headers.Range = `bytes=${range.start}-${range.end === undefined ? "" : range.end - 1}`;
    const response = await this.session.file("GET", this.url(path), headers);
    const wanted = range ? 206 : 200;
    if (response.status !== wanted) await this.refuse(path, response.status, response.body, range !== undefined);
    return Readable.toWeb(response.body) as ReadableStream<Uint8Array>;
  }

  async readText(path: DatastorePath, limitBytes: number): Promise<string> {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of await this.read(path)) {
      length += chunk.length;
      if (length > limitBytes)
        throw new VSphereFault("FileTooLarge", `${path} is longer than the ${limitBytes} bytes that are expected`, {
          file: path,
        });
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  async write(
    path: DatastorePath,
    content: Uint8Array | string | { stream: ReadableStream<Uint8Array>; length: number },
  ): Promise<void> {
    const body = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const response = await this.session.file(
      "PUT",
      this.url(path),
      { "Content-Type": "application/octet-stream" },
      body,
    );
    if (response.status !== 200 && response.status !== 201 && response.status !== 204) {
      await this.refuse(path, response.status, response.body, false);
    }
    for await (const _ of response.body);
  }

  async list(directory: DatastorePath): Promise<DatastoreEntry[]> {
    return (await this.search(directory)).map((file) => ({
      name: file.path,
      directory: file._type === "FolderFileInfo",
      size: toNumber(file.fileSize ?? 0),
      modified: file.modification ?? new Date(0),
    }));
  }

  async exists(path: DatastorePath): Promise<boolean> {
    const { directory, name } = parentDirectory(path);
    // The datastore itself.
    if (name === "") return true;
    try {
      return (await this.search(directory, name)).some((file) => file.path === name);
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async makeDirectory(path: DatastorePath): Promise<void> {
    const { datacenter } = this.inventory;
    const { fileManager } = this.session.content;
    try {
      await this.session.call("MakeDirectory", needed(fileManager, "file manager"), {
        name: path,
        datacenter,
        createParentDirectories: true,
      });
    } catch (error) {
      if (!(error instanceof VSphereFault) || error.fault !== "FileAlreadyExists") throw error;
    }
  }

  async remove(path: DatastorePath): Promise<void> {
    const manager = needed(this.session.content.fileManager, "file manager");
    try {
      await this.tasks.run("DeleteDatastoreFile_Task", manager, { name: path, datacenter: this.inventory.datacenter });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  async move(from: DatastorePath, to: DatastorePath): Promise<void> {
    const { datacenter } = this.inventory;
    await this.tasks.run("MoveDatastoreFile_Task", needed(this.session.content.fileManager, "file manager"), {
      sourceName: from,
      sourceDatacenter: datacenter,
      destinationName: to,
      destinationDatacenter: datacenter,
      force: true,
    });
  }

  async space(): Promise<{ capacityBytes: number; freeBytes: number }> {
    const values = await retrieveOne(this.session, this.inventory.datastore, ["summary"]);
    const summary = values.get("summary") as DatastoreSummary | undefined;
    if (!summary) throw new VSphereFault("InvalidDatastore", `vSphere does not tell the capacity of ${this.datastore}`);
    return { capacityBytes: toNumber(summary.capacity), freeBytes: toNumber(summary.freeSpace) };
  }

  async makeDisk(path: DatastorePath, capacityBytes: number): Promise<void> {
    await this.tasks.run(
      "CreateVirtualDisk_Task",
      needed(this.session.content.virtualDiskManager, "virtual disk manager"),
      {
        name: path,
        datacenter: this.inventory.datacenter,
        spec: {
          _type: "FileBackedVirtualDiskSpec",
          diskType: "thin",
          adapterType: "lsiLogic",
          capacityKb: Math.ceil(capacityBytes / 1024),
        },
      },
    );
  }

  /** A disk of its own with the content of another one and of all its parents. */
  async copyDisk(from: DatastorePath, to: DatastorePath): Promise<void> {
    const { datacenter } = this.inventory;
    await this.tasks.run(
      "CopyVirtualDisk_Task",
      needed(this.session.content.virtualDiskManager, "virtual disk manager"),
      // Without a specification the copy is what its source is; vCenter ignores or refuses one on some datastores.
      { sourceName: from, sourceDatacenter: datacenter, destName: to, destDatacenter: datacenter },
    );
  }

  /** Makes a disk larger. One that is as large already is no error. */
  async growDisk(path: DatastorePath, capacityBytes: number): Promise<void> {
    const manager = needed(this.session.content.virtualDiskManager, "virtual disk manager");
    const newCapacityKb = Math.ceil(capacityBytes / 1024);
    try {
      const { datacenter } = this.inventory;
      await this.tasks.run("ExtendVirtualDisk_Task", manager, { name: path, datacenter, newCapacityKb });
    } catch (error) {
      if (!(error instanceof VSphereFault) || error.fault !== "InvalidArgument") throw error;
    }
  }

  async removeDisk(path: DatastorePath): Promise<void> {
    const manager = needed(this.session.content.virtualDiskManager, "virtual disk manager");
    try {
      await this.tasks.run("DeleteVirtualDisk_Task", manager, { name: path, datacenter: this.inventory.datacenter });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  private async search(directory: DatastorePath, name = "*"): Promise<FileInfo[]> {
    const result: HostDatastoreBrowserSearchResults = await this.tasks.run(
      "SearchDatastore_Task",
      this.inventory.datastoreBrowser,
      {
        datastorePath: directory,
        searchSpec: {
          details: { fileType: true, fileSize: true, modification: true, fileOwner: false },
          matchPattern: [name],
        },
      },
    );
    return result.file ?? [];
  }

  private url(path: DatastorePath): string {
    const split = splitDatastorePath(path);
    const file = split.path.split("/").map(encodeURIComponent).join("/");
    const { datacenterPath } = this.inventory;
    return `/folder/${file}?dcPath=${encodeURIComponent(datacenterPath)}&dsName=${encodeURIComponent(split.datastore)}`;
  }

  private async refuse(path: DatastorePath, status: number, body: Readable, ranged: boolean): Promise<never> {
    const file = joinDatastorePath(splitDatastorePath(path));
    if (status === 404) {
      body.resume();
      throw new VSphereFault("FileNotFound", `File ${file} was not found`, { file });
    }
    let text = "";
    for await (const chunk of body) {
      text += String(chunk);
      if (text.length > ERROR_TEXT_LIMIT) break;
    }
    body.destroy();
    if (ranged && status === 200)
      throw new ConnectionError(`The file service ignores byte ranges, so ${file} cannot be read in part`, false);
    if (status === 416) throw new VSphereFault("OutOfBounds", `${file} has no such range of bytes`, { file });
    const detail = text
      .replace(/<[^>]*>/g, " ")
      .replace(/\s+/g, " ")
      .slice(0, ERROR_TEXT_LIMIT)
      .trim();
    throw new VSphereFault(
      "CannotAccessFile",
      `The file service refused ${file} with HTTP status ${status}: ${detail}`,
      { file },
    );
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof VSphereFault && error.fault === "FileNotFound";
}

function needed<T extends string>(
  manager: ManagedObjectReference<T> | undefined,
  what: string,
): ManagedObjectReference<T> {
  if (!manager) throw new VSphereFault("NotSupported", `The server offers no ${what}`);
  return manager;
}
