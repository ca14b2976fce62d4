import { copyFile, cp, mkdir, rename, rm } from "node:fs/promises";
import { fileAlreadyExists, fileNotFound, invalidArgument, LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Reference } from "../model/data.ts";
import { type Call, ManagedObject, sessionOf } from "../model/managed-object.ts";
import { datastoreOf } from "../storage/datastore-folder.ts";
import { parentDirectory, parseDatastorePath } from "../storage/datastore-path.ts";
import { requireDatacenter } from "./datacenter-parameter.ts";

interface Place {
  display: string;
  /** Relative to the datastore; "" is its top. */
  path: string;
  file: string;
}

/** Files and directories of datastores. */
export class FileManager extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
  ) {
    super(context.registry, reference);
    const task = (call: Call, work: () => Promise<void>): Reference =>
      context.tasks.run(call.method, undefined, sessionOf(call).user.name, work);
    this.methods({
      MakeDirectory: async (p) => {
        requireDatacenter(context, p.datacenter, "datacenter");
        await this.#makeDirectory(await this.#place(p.name), p.createParentDirectories === true);
      },
      DeleteDatastoreFile_Task: (p, call) => {
        requireDatacenter(context, p.datacenter, "datacenter");
        parseDatastorePath(p.name as string);
        return task(call, async () => this.#delete(await this.#place(p.name)));
      },
      MoveDatastoreFile_Task: (p, call) => {
        requireDatacenter(context, p.sourceDatacenter, "sourceDatacenter");
        parseDatastorePath(p.sourceName as string);
        parseDatastorePath(p.destinationName as string);
        return task(call, async () =>
          this.#move(await this.#place(p.sourceName), await this.#place(p.destinationName), p.force === true),
        );
      },
      CopyDatastoreFile_Task: (p, call) => {
        requireDatacenter(context, p.sourceDatacenter, "sourceDatacenter");
        parseDatastorePath(p.sourceName as string);
        parseDatastorePath(p.destinationName as string);
        return task(call, async () =>
          this.#copy(await this.#place(p.sourceName), await this.#place(p.destinationName), p.force === true),
        );
      },
    });
  }

  async #place(name: unknown): Promise<Place> {
    const parsed = parseDatastorePath(name as string);
    const folder = datastoreOf(this.context.folders, parsed);
    return { display: folder.format(parsed.path), path: parsed.path, file: await folder.resolve(parsed.path) };
  }

  async #makeDirectory(place: Place, parents: boolean): Promise<void> {
    try {
      const made = await mkdir(place.file, { recursive: parents });
      if (parents && made === undefined) throw fileAlreadyExists(place.display);
    } catch (error) {
      throw fileFault(error, place.display);
    }
  }

  async #delete(place: Place): Promise<void> {
    if (place.path === "") throw invalidArgument("name", "A datastore itself cannot be deleted.");
    await this.#requireExisting(place);
    this.#requireMovable(place, false);
    const registered = this.context.host.virtualMachines.find(
      (vm) => vm.powerState !== "poweredOff" && within(vm.vmPathName, place.display),
    );
    if (registered) throw inUse(place, registered.name);
    try {
      await rm(place.file, { recursive: true });
    } catch (error) {
      throw fileFault(error, place.display);
    }
    this.context.host.relations.remove(place.file);
  }

  async #move(from: Place, to: Place, force: boolean): Promise<void> {
    await this.#requireExisting(from);
    this.#requireMovable(from, true);
    const registered = this.context.host.virtualMachines.find((vm) => within(vm.vmPathName, from.display));
    if (registered) throw inUse(from, registered.name);
    await this.#requireTarget(to, force);
    try {
      await rename(from.file, to.file);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EXDEV")) throw fileFault(error, to.display);
      await cp(from.file, to.file, { recursive: true, errorOnExist: !force, force });
      await rm(from.file, { recursive: true });
    }
    this.context.host.relations.remove(from.file);
    await this.#readDisks(to);
  }

  async #copy(from: Place, to: Place, force: boolean): Promise<void> {
    const { directory } = await this.#requireExisting(from);
    if (directory) throw invalidArgument("sourceName", "Only files can be copied.");
    this.context.locks.requireNoWriter(from.file, from.display);
    await this.#requireTarget(to, force);
    const partial = `${to.file}.copying`;
    try {
      await copyFile(from.file, partial);
      await rename(partial, to.file);
    } catch (error) {
      await rm(partial, { force: true });
      throw fileFault(error, to.display);
    }
    await this.#readDisks(to);
  }

  async #readDisks(place: Place): Promise<void> {
    if (place.file.endsWith(".vmdk")) await this.context.host.relations.read(place.file);
    else if ((await this.#requireExisting(place)).directory) await this.context.host.relations.scan(place.file);
  }

  async #requireExisting(place: Place): Promise<{ directory: boolean }> {
    const parsed = parseDatastorePath(place.display);
    return datastoreOf(this.context.folders, parsed).resolveExisting(parsed.path);
  }

  #requireMovable(place: Place, move: boolean): void {
    this.context.locks.requireFree(place.file, undefined, place.display);
    if (move) this.context.host.relations.requireUnlinked(place.file, place.display);
    else this.context.host.relations.requireNoChildren(place.file, place.display);
  }

  async #requireTarget(to: Place, force: boolean): Promise<void> {
    if (to.path === "") throw invalidArgument("destinationName", "A datastore is no file.");
    if (!(await this.context.host.exists(to.display))) return;
    if (!force) throw fileAlreadyExists(to.display);
    if ((await this.#requireExisting(to)).directory) throw fileAlreadyExists(to.display);
    this.#requireMovable(to, false);
  }
}

const within = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`);

const inUse = (place: Place, vm: string): LabFault =>
  new LabFault("CannotAccessFile", `${place.display} belongs to the VM '${vm}'.`, { file: place.display });

/** The vSphere fault for a file system's error. */
export function fileFault(error: unknown, display: string): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT" || code === "ENOTDIR") return fileNotFound(parentDirectory(display) || display);
  if (code === "EEXIST" || code === "EISDIR") return fileAlreadyExists(display);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const datastore = /^\[([^\]]+)\]/.exec(display)?.[1] ?? "";
    return new LabFault("NoDiskSpace", `There is not enough space on the datastore '${datastore}'.`, {
      file: display,
      datastore,
    });
  }
  if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTEMPTY") {
    return new LabFault("CannotAccessFile", `Unable to access file ${display}`, { file: display });
  }
  return error;
}
