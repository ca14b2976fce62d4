/**
 * `/folder/<path>?dcPath=<datacenter>&dsName=<datastore>`: contents of datastore files by GET, HEAD, PUT and DELETE; directories
 * and, without `dsName`, the datastores as HTML.
 */
import { join } from "node:path";
import { asFault, fileAlreadyExists, invalidDatastorePath, LabFault } from "../fault.ts";
import { type ServiceTickets, TICKET_COOKIE_NAME } from "../session/service-tickets.ts";
import { COOKIE_NAME, cookieValue, type Sessions } from "../session/sessions.ts";
import type { User, Users } from "../session/users.ts";
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
import { IncompleteBody, openForReading, receiveFile, streamOf } from "./file-transfer.ts";

export const FOLDER_ROOT = "/folder";

export interface FolderContext {
  readonly storage: StorageContext;
  readonly sessions: Sessions;
  readonly users: Users;
  readonly tickets: ServiceTickets;
  /** Inventory path of the one datacenter, what `dcPath` must name. */
  readonly datacenterPath: string;
  readonly log: (line: string) => void;
}

const STATUS: Readonly<Record<string, number>> = {
  NoPermission: 403,
  FileNotFound: 404,
  InvalidDatastore: 404,
  InvalidDatastorePath: 400,
  FileAlreadyExists: 409,
  CannotDeleteFile: 409,
  FileLocked: 423,
  NoDiskSpace: 507,
};

export class FolderService {
  constructor(private readonly context: FolderContext) {}

  /** Answers one request; failures become answers too. */
  async handle(request: Request): Promise<Response> {
    const access = this.#authenticate(request);
    if (!access) {
      return text(401, "Log in first.", { "WWW-Authenticate": 'Basic realm="VMware HTTP server"' });
    }
    try {
      return await this.#answer(request, access.user);
    } catch (error) {
      if (error instanceof IncompleteBody) return text(400, error.message);
      const fault = asFault(error);
      const status = STATUS[fault.fault] ?? 500;
      if (!(error instanceof LabFault)) this.context.log(`${request.method} ${request.url}: ${fault.message}`);
      return text(status, fault.message);
    } finally {
      access.end();
    }
  }

  /** By session, service ticket or HTTP Basic. */
  #authenticate(request: Request): { user: User; end: () => void } | undefined {
    const { sessions, tickets, users } = this.context;
    const cookies = request.headers.get("cookie") ?? undefined;
    const session = sessions.find(cookieValue(cookies, COOKIE_NAME));
    if (session) return { user: session.user, end: session.beginCall() };
    const ticket = tickets.redeem(cookieValue(cookies, TICKET_COOKIE_NAME), request.method, request.url);
    const user = ticket ?? basicUser(request.headers.get("authorization"), users);
    return user && { user, end: () => undefined };
  }

  async #answer(request: Request, user: User): Promise<Response> {
    const url = new URL(request.url);
    const path = relativePath(url.pathname);
    const dcPath = url.searchParams.get("dcPath");
    const { datacenterPath } = this.context;
    if (dcPath !== null && dcPath.replace(/^\/+|\/+$/g, "") !== datacenterPath) {
      return text(404, `There is no datacenter '${dcPath}'; this one is '${datacenterPath}'.`);
    }
    const name = url.searchParams.get("dsName");
    if (name === null) return this.#listDatastores(request, user, path);
    const datastore = this.context.storage.datastores().find(({ folder }) => folder.name === name);
    if (!datastore) return text(404, `There is no datastore '${name}'.`);
    const reads = request.method === "GET" || request.method === "HEAD";
    requireFilePrivilege(user, datastore, reads ? "Datastore.Browse" : "Datastore.FileManagement");
    const target = await fileOf(datastore, path);
    switch (request.method) {
      case "GET":
      case "HEAD":
        return this.#get(request, target, url.search);
      case "PUT":
      // Clients of old spell an upload so.
      case "POST":
        return this.#put(request, target);
      case "DELETE":
        await removeFile(this.context.storage, target);
        return new Response(null, { status: 204 });
      default:
        return text(405, "Use GET, HEAD, PUT or DELETE.", { Allow: "GET, HEAD, PUT, POST, DELETE" });
    }
  }

  #listDatastores(request: Request, user: User, path: string): Response {
    if (path !== "") return text(400, "The query parameter dsName is missing.");
    if (request.method !== "GET" && request.method !== "HEAD") return text(405, "Name a datastore with dsName.");
    const { storage, datacenterPath } = this.context;
    const datastores = storage.datastores();
    for (const datastore of datastores) requireFilePrivilege(user, datastore, "Datastore.Browse");
    const rows = datastores.map(({ folder }) => ({
      name: folder.name,
      link: `${FOLDER_ROOT}?dcPath=${encodeURIComponent(datacenterPath)}&dsName=${encodeURIComponent(folder.name)}`,
    }));
    return html(request, directoryIndex(`Datastores of ${datacenterPath}`, rows));
  }

  async #get(request: Request, target: DatastoreFile, query: string): Promise<Response> {
    const { folder } = target.datastore;
    const { directory } = await folder.resolveExisting(target.path);
    if (directory) return this.#index(request, target, query);
    this.context.storage.locks.requireNoWriter(target.file, target.display);
    const { handle, size, modified } = await openForReading(target.file);
    const etag = `"${size.toString(16)}-${Math.floor(modified.getTime()).toString(16)}"`;
    const headers: Record<string, string> = {
      "Content-Type": "application/octet-stream",
      "Accept-Ranges": "bytes",
      "Last-Modified": modified.toUTCString(),
      ETag: etag,
    };
    const refuse = async (status: number, more: Record<string, string> = {}): Promise<Response> => {
      await handle.close();
      return new Response(null, { status, headers: { ...headers, ...more } });
    };
    if (request.headers.get("if-none-match") === etag) return refuse(304);
    // A range of another version than the client has is of no use to it.
    const condition = request.headers.get("if-range");
    const heeded = condition === null || condition === etag ? request.headers.get("range") : null;
    const range = parseByteRange(heeded, size);
    if (range === "unsatisfiable") return refuse(416, { "Content-Range": `bytes */${size}` });
    const { start, end } = range ?? { start: 0, end: size };
    const status = range ? 206 : 200;
    headers["Content-Length"] = String(end - start);
    if (range) headers["Content-Range"] = `bytes ${start}-${end - 1}/${size}`;
    if (request.method === "HEAD" || start === end) return refuse(status);
    return new Response(streamOf(handle, { start, end }), { status, headers });
  }

  async #index(request: Request, { path, datastore, display }: DatastoreFile, query: string): Promise<Response> {
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
    return html(request, directoryIndex(`Index of ${display}`, rows));
  }

  /** The file appears under its name when all of it is there, and not before. */
  async #put(request: Request, target: DatastoreFile): Promise<Response> {
    const { storage } = this.context;
    await requireParentDirectory(target);
    const { folder } = target.datastore;
    const existed = await folder.exists(target.path);
    if (existed && (await folder.resolveExisting(target.path)).directory) throw fileAlreadyExists(target.display);
    // Found out now rather than after gigabytes.
    storage.locks.requireFree(target.file, undefined, target.display);
    storage.relations.requireNoChildren(target.file, target.display);
    const work = await openWorkDirectory(folder);
    try {
      const file = join(work.directory, "upload");
      await receiveFile(request, file);
      commitFile(storage, file, target, true);
      await noteDisks(storage, target, false);
    } catch (error) {
      throw asFileFault(error, target);
    } finally {
      await work.dispose();
    }
    return new Response(null, { status: existed ? 200 : 201 });
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

function basicUser(header: string | null, users: Users): User | undefined {
  const encoded = /^Basic\s+([A-Za-z0-9+/=]+)\s*$/i.exec(header ?? "")?.[1];
  if (encoded === undefined) return undefined;
  const credentials = Buffer.from(encoded, "base64").toString("utf8");
  const colon = credentials.indexOf(":");
  return colon < 0 ? undefined : users.verify(credentials.slice(0, colon), credentials.slice(colon + 1));
}

const text = (status: number, message: string, headers: Record<string, string> = {}): Response =>
  new Response(`${message}\n`, { status, headers: { "Content-Type": "text/plain; charset=utf-8", ...headers } });

const html = (request: Request, page: string): Response =>
  new Response(request.method === "HEAD" ? null : page, { headers: { "Content-Type": "text/html; charset=utf-8" } });
