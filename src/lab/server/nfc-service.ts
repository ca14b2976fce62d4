/** `/nfc/<lease>/<file>`: disks of a lease, as streamOptimized VMDKs. GET for an export, PUT or POST for an import. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { LabContext } from "../inventory/context.ts";
import { HttpNfcLease, type LeaseDevice } from "../ovf/lease.ts";
import { datastoreOf } from "../storage/datastore-folder.ts";
import { parseDatastorePath } from "../storage/datastore-path.ts";
import { commitFile } from "../storage/file-operations.ts";
import { asFileFault } from "../storage/storage-context.ts";
import { openWorkDirectory } from "../storage/work-area.ts";
import { HttpError } from "./http-error.ts";

const PATH = /^\/nfc\/([A-Za-z0-9-]{1,64})\/([A-Za-z0-9.-]{1,64})$/;

export class NfcService {
  constructor(private readonly context: LabContext) {}

  async handle(request: IncomingMessage, response: ServerResponse, pathname: string): Promise<void> {
    const [, id = "", fileName = ""] = PATH.exec(pathname) ?? [];
    const lease = this.context.registry.find({ type: "HttpNfcLease", value: id });
    const device = lease instanceof HttpNfcLease ? lease.device(fileName) : undefined;
    if (!(lease instanceof HttpNfcLease) || !device) throw new HttpError(404, "There is no such lease, or it is over");
    const reads = request.method === "GET" || request.method === "HEAD";
    if (reads !== (lease.kind === "export") || (!reads && request.method !== "PUT" && request.method !== "POST")) {
      response.setHeader("Allow", lease.kind === "export" ? "GET, HEAD" : "PUT, POST");
      throw new HttpError(405, `This lease is for an ${lease.kind}`);
    }
    if (reads) await this.#send(request, response, lease, device);
    else await this.#receive(request, response, lease, device);
  }

  async #send(
    request: IncomingMessage,
    response: ServerResponse,
    lease: HttpNfcLease,
    device: LeaseDevice,
  ): Promise<void> {
    const file = await this.context.inventory.resolve(device.path);
    response.writeHead(200, { "Content-Type": "application/x-vnd.vmware-streamVmdk" });
    if (request.method === "HEAD") return void response.end();
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    try {
      for await (const chunk of lease.measured(device, this.context.disks.send(file, device.fileName))) {
        if (response.destroyed) return;
        if (!response.write(chunk)) await once(response, "drain", { signal: gone.signal });
      }
      response.end();
    } catch (error) {
      if (!gone.signal.aborted) throw error;
    }
  }

  /** The disk gets its content when all of it is there, and not before. */
  async #receive(
    request: IncomingMessage,
    response: ServerResponse,
    lease: HttpNfcLease,
    device: LeaseDevice,
  ): Promise<void> {
    const { context } = this;
    const { datastore: name, path } = parseDatastorePath(device.path);
    const datastore = context.inventory.datastores.find(({ folder }) => folder.name === name);
    if (!datastore) throw new HttpError(404, `There is no datastore '${name}'`);
    const folder = datastoreOf(context.folders, { datastore: name, path });
    const target = { datastore, path, file: await folder.resolve(path), display: device.path };
    const work = await openWorkDirectory(folder);
    try {
      const file = join(work.directory, "disk.vmdk");
      await context.disks.receive(file, lease.measured(device, request as AsyncIterable<Buffer>));
      const { capacityBytes } = await context.disks.inspect(file);
      if (capacityBytes > device.capacityKB * 1024) {
        throw new HttpError(400, `The disk has ${capacityBytes} bytes, more than the package says`);
      }
      if (capacityBytes < device.capacityKB * 1024) await context.disks.extend(file, device.capacityKB * 1024);
      commitFile(context, file, target, true);
    } catch (error) {
      throw asFileFault(error, target);
    } finally {
      await work.dispose();
    }
    response.writeHead(201, { "Content-Length": 0 }).end();
  }
}
