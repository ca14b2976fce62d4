/**
 * `/folder/<path>?dcPath=<datacenter>&dsName=<datastore>`: contents of datastore files by GET, HEAD, PUT and DELETE; directories
 * and, without `dsName`, the datastores as HTML.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { fileAlreadyExists, invalidDatastorePath, type LabFault } from "../fault.ts";
import type { User } from "../session/users.ts";
import { normalizeRelativePath } from "../storage/datastore-path.ts";
import { commitFile, noteDisks, removeFile, requireParentDirectory } from "../storage/file-operations.ts";
import {
  asFileFault,
  type DatastoreFile,
  fileOf,
  requireFilePrivilege,
  type StorageContext,
} from "../storage/storage-context.ts";
import { isWorkPath, openWorkDirectory } from "../storage/work-area.ts";
import { parseByteRange } from "./byte-range.ts";
import { directoryIndex } from "./directory-index.ts";
import { openForReading, receiveFile, sendFile } from "./file-transfer.ts";
import { HttpError } from "./http-error.ts";

const FOLDER_ROOT = "/folder";

export interface FolderContext extends StorageContext {
  readonly naming: StorageContext["naming"] & { readonly datacenterName: string };
}

/** HTTP status of a fault; 500 for those that are not the client's doing. */
export function statusOfFault(fault: LabFault): number {
  return STATUS[fault.fault] ?? 500;
}

const STATUS: Readonly<Record<string, number>> = {
  NoPermission: 403,
  FileNotFound: 404,
  InvalidDatastore: 404,
  InvalidDatastorePath: 400,
  InvalidDiskFormat: 400,
  FileAlreadyExists: 409,
  CannotDeleteFile: 409,
  FileLocked: 423,
  NoDiskSpace: 507,
};

export class FolderService {
  constructor(private readonly context: FolderContext) {}

  /** Answers one request of an authenticated user. Throws LabFault and HttpError as long as nothing is sent. */
  async handle(request: IncomingMessage, response: ServerResponse, url: URL, user: User): Promise<void> {
    const path = relativePath(url.pathname);
    const dcPath = url.searchParams.get("dcPath");
    const { datacenterName } = this.context.naming;
    if (dcPath !== null && dcPath.replace(/^\/+|\/+$/g, "") !== datacenterName) {
      throw new HttpError(404, `There is no datacenter '${dcPath}'; this one is '${datacenterName}'`);
    }
    const name = url.searchParams.get("dsName");
    if (name === null) return this.#listDatastores(request, response, user, path);
    const datastore = this.context.inventory.datastores.find(({ folder }) => folder.name === name);
    if (!datastore) throw new HttpError(404, `There is no datastore '${name}'`);
    const reads = request.method === "GET" || request.method === "HEAD";
    requireFilePrivilege(user, datastore, reads ? "Datastore.Browse" : "Datastore.FileManagement");
    const target = await fileOf(datastore, path);
    switch (request.method) {
      case "GET":
      case "HEAD":
        return this.#get(request, response, target, url.search);
      case "PUT":
      // Clients of old spell an upload so.
      case "POST":
        return this.#put(request, response, target);
      case "DELETE":
        await removeFile(this.context, target);
        response.writeHead(204).end();
        return;
      default:
        response.setHeader("Allow", "GET, HEAD, PUT, POST, DELETE");
        throw new HttpError(405, "Use GET, HEAD, PUT or DELETE");
    }
  }

  #listDatastores(request: IncomingMessage, response: ServerResponse, user: User, path: string): void {
    if (path !== "") throw new HttpError(400, "The query parameter dsName is missing");
    if (request.method !== "GET" && request.method !== "HEAD") throw new HttpError(405, "Name a datastore with dsName");
    const { inventory, naming } = this.context;
    for (const datastore of inventory.datastores) requireFilePrivilege(user, datastore, "Datastore.Browse");
    const rows = inventory.datastores.map(({ folder }) => ({
      name: folder.name,
      link: `${FOLDER_ROOT}?dcPath=${encodeURIComponent(naming.datacenterName)}&dsName=${encodeURIComponent(folder.name)}`,
    }));
    sendPage(request, response, directoryIndex(`Datastores of ${naming.datacenterName}`, rows));
  }

  async #get(request: IncomingMessage, response: ServerResponse, target: DatastoreFile, query: string): Promise<void> {
    const { folder } = target.datastore;
    const { directory } = await folder.resolveExisting(target.path);
    if (directory) return this.#index(request, response, target, query);
    this.context.locks.requireNoWriter(target.file, target.display);
    const { handle, size, modified } = await openForReading(target.file);
    const etag = `"${size.toString(16)}-${Math.floor(modified.getTime()).toString(16)}"`;
    response.setHeader("Content-Type", "application/octet-stream");
    response.setHeader("Accept-Ranges", "bytes");
    response.setHeader("Last-Modified", modified.toUTCString());
    response.setHeader("ETag", etag);
    const sendHead = async (status: number, length: number): Promise<void> => {
      await handle.close();
      response.writeHead(status, { "Content-Length": length }).end();
    };
    if (request.headers["if-none-match"] === etag) {
      await handle.close();
      response.writeHead(304).end();
      return;
    }
    // A range of another version than the client has is of no use to it.
    const condition = request.headers["if-range"];
    const heeded = condition === undefined || condition === etag ? request.headers.range : undefined;
    const range = parseByteRange(heeded, size);
    if (range === "unsatisfiable") {
      response.setHeader("Content-Range", `bytes */${size}`);
      return sendHead(416, 0);
    }
    const { start, end } = range ?? { start: 0, end: size };
    if (range) response.setHeader("Content-Range", `bytes ${start}-${end - 1}/${size}`);
    const status = range ? 206 : 200;
    if (request.method === "HEAD" || start === end) return sendHead(status, end - start);
    response.writeHead(status, { "Content-Length": end - start });
    await sendFile(handle, { start, end }, response);
  }

  async #index(
    request: IncomingMessage,
    response: ServerResponse,
    { path, datastore, display }: DatastoreFile,
    query: string,
  ): Promise<void> {
    const entries = await datastore.folder.list(path);
    const at = (name: string): string => (path === "" ? name : `${path}/${name}`);
    const link = (relative: string): string =>
      `${FOLDER_ROOT}/${relative.split("/").map(encodeURIComponent).join("/")}${query}`;
    const rows = entries
      .filter(({ name }) => !isWorkPath(at(name)))
      .map(({ name, directory, size, modified }) => ({
        name: directory ? `${name}/` : name,
        link: link(at(name)),
        modified,
        ...(directory ? {} : { size }),
      }));
    sendPage(request, response, directoryIndex(`Index of ${display}`, rows));
  }

  /** The file appears under its name when all of it is there, and not before. */
  async #put(request: IncomingMessage, response: ServerResponse, target: DatastoreFile): Promise<void> {
    await requireParentDirectory(target);
    const { folder } = target.datastore;
    const existed = await folder.exists(target.path);
    if (existed && (await folder.resolveExisting(target.path)).directory) throw fileAlreadyExists(target.display);
    // Found out now rather than after gigabytes.
    this.context.locks.requireFree(target.file, undefined, target.display);
    this.context.inventory.relations.requireNoChildren(target.file, target.display);
    const work = await openWorkDirectory(folder);
    try {
      const file = join(work.directory, "upload");
      await receiveFile(request, file);
      commitFile(this.context, file, target, true);
      await noteDisks(this.context, target, false);
    } catch (error) {
      throw asFileFault(error, target);
    } finally {
      await work.dispose();
    }
    response.writeHead(existed ? 200 : 201, { "Content-Length": 0 }).end();
  }
}

/** The decoded path below `/folder`, without anything that leads out of the datastore. */
function relativePath(pathname: string): string {
  let path: string;
  try {
    path = decodeURIComponent(pathname.slice(FOLDER_ROOT.length));
  } catch (error) {
    if (error instanceof URIError) throw invalidDatastorePath(pathname);
    throw error;
  }
  return normalizeRelativePath(path, path);
}

function sendPage(request: IncomingMessage, response: ServerResponse, page: string): void {
  const headers = { "Content-Type": "text/html; charset=utf-8", "Content-Length": Buffer.byteLength(page) };
  response.writeHead(200, headers).end(request.method === "HEAD" ? undefined : page);
}
