import { createHash } from "node:crypto";
import { rename } from "node:fs/promises";
import { type Long, toNumber } from "../../vsphere/vim25/index.ts";
import { fileAlreadyExists, invalidArgument, LabFault, notSupported } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject, type Parameters, sessionOf } from "../model/managed-object.ts";
import { formatDatastorePath, parseDatastorePath } from "../storage/datastore-path.ts";
import { describeDisk } from "../vm/disk-files.ts";
import { requireDatacenter } from "./datacenter-parameter.ts";
import { fileFault } from "./file-manager.ts";

/** Types of VirtualDiskSpec that can be honoured: every disk of the lab is thin. */
const DISK_TYPES = new Set(["thin", "preallocated", "eagerZeroedThick", "sparse2Gb", "flatMonolithic", "seSparse"]);
const THIN = "thin";

/** Disk files without a VM. */
export class VirtualDiskManager extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
  ) {
    super(context.registry, reference);
    const run = (call: Call, work: () => Promise<unknown>): Reference =>
      context.tasks.run(call.method, undefined, sessionOf(call).user.name, work);
    const method =
      (work: (path: string, p: Parameters) => Promise<unknown>) =>
      (p: Parameters, call: Call): Reference => {
        requireDatacenter(context, p.datacenter, "datacenter");
        const path = diskPath(p.name);
        return run(call, () => work(path, p));
      };
    const pair =
      (from: string, to: string, work: (from: string, to: string, p: Parameters) => Promise<unknown>) =>
      (p: Parameters, call: Call): Reference => {
        requireDatacenter(context, p[from.replace(/Name$/, "Datacenter")], `${from.replace(/Name$/, "")}Datacenter`);
        const [source, target] = [diskPath(p[from]), diskPath(p[to])];
        return run(call, () => work(source, target, p));
      };
    this.methods({
      CreateVirtualDisk_Task: method((path, p) => this.#create(path, p.spec as DataObject)),
      DeleteVirtualDisk_Task: method((path) => this.#delete(path)),
      ExtendVirtualDisk_Task: method((path, p) => this.#extend(path, toNumber(p.newCapacityKb as Long) * 1024)),
      CopyVirtualDisk_Task: pair("sourceName", "destName", (from, to, p) => this.#copy(from, to, p)),
      MoveVirtualDisk_Task: pair("sourceName", "destName", (from, to, p) => this.#move(from, to, p.force === true)),
      CreateChildDisk_Task: pair("childName", "parentName", (child, parent) => this.#createChild(child, parent)),
      QueryVirtualDiskInfo_Task: method((path, p) => this.#info(path, p.includeParents === true)),
      QueryVirtualDiskUuid: async (p) => {
        requireDatacenter(context, p.datacenter, "datacenter");
        const path = diskPath(p.name);
        await describeDisk(context, path);
        return uuidOf(path);
      },
      QueryVirtualDiskGeometry: async (p) => {
        requireDatacenter(context, p.datacenter, "datacenter");
        const { capacityBytes } = await describeDisk(context, diskPath(p.name));
        const [head, sector] = [255, 63];
        return data("HostDiskDimensionsChs", {
          cylinder: Math.floor(capacityBytes / 512 / head / sector),
          head,
          sector,
        });
      },
    });
  }

  async #create(path: string, spec: DataObject): Promise<string> {
    requireDiskType(spec);
    if (spec._type !== "FileBackedVirtualDiskSpec" && spec._type !== "SeSparseVirtualDiskSpec") {
      throw invalidArgument("spec", `A ${spec._type} makes no file; use FileBackedVirtualDiskSpec.`);
    }
    const capacityBytes = toNumber(spec.capacityKb as Long) * 1024;
    if (capacityBytes <= 0) throw invalidArgument("spec.capacityKb", "A disk needs a capacity.");
    await this.#requireFree(path);
    const file = await this.#make(path, (target) => this.context.disks.create(target, capacityBytes));
    return this.context.host.display(file);
  }

  async #delete(path: string): Promise<void> {
    const file = await this.#existing(path);
    this.context.host.relations.requireNoChildren(file, path);
    this.context.locks.requireFree(file, undefined, path);
    await this.context.disks.remove(file);
    this.context.host.relations.remove(file);
  }

  async #extend(path: string, capacityBytes: number): Promise<void> {
    const file = await this.#existing(path);
    const { capacityBytes: before } = await describeDisk(this.context, path);
    if (capacityBytes <= before) throw invalidArgument("newCapacityKb", `The disk has ${before} bytes already.`);
    this.context.host.relations.requireNoChildren(file, path);
    this.context.locks.requireFree(file, undefined, path);
    await this.context.disks.extend(file, capacityBytes);
  }

  /** The copy stands alone: a chain becomes one disk. */
  async #copy(from: string, to: string, p: Parameters): Promise<string> {
    if (p.destSpec !== undefined) requireDiskType(p.destSpec as DataObject);
    const source = await this.#existing(from);
    this.context.locks.requireNoWriter(source, from);
    await this.#makeRoom(to, p.force === true);
    const file = await this.#make(to, (target) => this.context.disks.copy(source, target));
    return this.context.host.display(file);
  }

  async #move(from: string, to: string, force: boolean): Promise<string> {
    const source = await this.#existing(from);
    this.context.host.relations.requireUnlinked(source, from);
    this.context.locks.requireFree(source, undefined, from);
    await this.#makeRoom(to, force);
    const file = await this.#make(to, async (target) => {
      try {
        await rename(source, target);
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "EXDEV")) throw error;
        await this.context.disks.copy(source, target);
        await this.context.disks.remove(source);
      }
    });
    return this.context.host.display(file);
  }

  async #createChild(child: string, parent: string): Promise<string> {
    const parentFile = await this.#existing(parent);
    this.context.locks.requireNoWriter(parentFile, parent);
    await this.#requireFree(child);
    const file = await this.#make(child, (target) => this.context.disks.createChild(target, parentFile));
    this.context.host.relations.add(file, parentFile);
    return this.context.host.display(file);
  }

  async #info(path: string, includeParents: boolean): Promise<DataObject[]> {
    const { parents } = await describeDisk(this.context, path);
    const chain = includeParents ? [path, ...parents] : [path];
    return chain.map((name, index) =>
      data("VirtualDiskInfo", { "unit.name": name, diskType: THIN, parent: [path, ...parents][index + 1] }),
    );
  }

  async #existing(path: string): Promise<string> {
    await describeDisk(this.context, path);
    return this.context.host.resolve(path);
  }

  async #requireFree(path: string): Promise<void> {
    if (await this.context.host.exists(path)) throw fileAlreadyExists(path);
  }

  async #makeRoom(path: string, force: boolean): Promise<void> {
    if (!(await this.context.host.exists(path))) return;
    if (!force) throw fileAlreadyExists(path);
    await this.#delete(path);
  }

  async #make(path: string, work: (file: string) => Promise<void>): Promise<string> {
    const file = await this.context.host.resolve(path);
    try {
      await work(file);
    } catch (error) {
      throw fileFault(error, path);
    }
    return file;
  }
}

function diskPath(name: unknown): string {
  const parsed = parseDatastorePath(String(name));
  if (/\.vmdk$/i.test(parsed.path)) return formatDatastorePath(parsed);
  throw new LabFault(
    "InvalidArgument",
    `A specified parameter was not correct: name. ${String(name)} is no .vmdk file.`,
    {
      invalidProperty: "name",
    },
  );
}

function requireDiskType(spec: DataObject): void {
  if (!DISK_TYPES.has(String(spec.diskType))) throw notSupported(`disks of type '${String(spec.diskType)}'.`);
}

/** A disk's UUID as vSphere spells it: 16 bytes in VMware's range. Derived from the place, so that it stays the same. */
function uuidOf(path: string): string {
  const hash = createHash("sha256").update(path).digest("hex").slice(0, 25);
  const bytes = `6000c29${hash}`.match(/../g) ?? [];
  return `${bytes.slice(0, 8).join(" ")}-${bytes.slice(8).join(" ")}`;
}
