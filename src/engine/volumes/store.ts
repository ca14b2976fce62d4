/** Volumes: an ext4 disk and a record in one directory each. The record is written last; a directory without it is no volume. */
import type { DatastorePath } from "../../vsphere/contract.ts";
import type { InfrastructureContext } from "../context.ts";
import type { Schemas } from "../contract.ts";
import { conflict, EngineError, invalid, notFound } from "../errors.ts";
import { idOf, NAME_CHARACTERS, NAME_RULE, newId } from "../identifiers.ts";
import { DEFAULT_VOLUME_CAPACITY, METADATA_LIMIT } from "../limits.ts";
import type { LoaderPool } from "../loader/contract.ts";
import { formatTime, nowNanoseconds } from "../time.ts";
import { isCapacity, type VolumeDriver, volumeCapacity, volumeDriver } from "./options.ts";

/** volume.json */
export interface VolumeRecord {
  version: 1;
  name: string;
  driver: VolumeDriver;
  options: Record<string, string>;
  labels: Record<string, string>;
  created: string;
  capacityBytes: number;
  anonymous: boolean;
  /** The container that an anonymous volume was made for and goes with, until it is kept. */
  owner?: string;
}

export interface VolumeRequest {
  name?: string;
  driver?: string;
  options?: Record<string, string>;
  labels?: Record<string, string>;
  owner?: string;
}

/** It is the name of a directory on the datastore. */
const LONGEST_NAME = 200;
/** Docker marks anonymous volumes so. */
export const ANONYMOUS_LABEL = "com.docker.volume.anonymous";

export class VolumeStore {
  readonly #context: InfrastructureContext;
  readonly #loaders: LoaderPool;
  readonly #records = new Map<string, VolumeRecord>();
  readonly #making = new Map<string, Promise<VolumeRecord>>();

  constructor(context: InfrastructureContext, loaders: LoaderPool) {
    this.#context = context;
    this.#loaders = loaders;
  }

  /** Read the records; throw away what has none, and anonymous volumes whose container was never made. */
  async load(): Promise<void> {
    const { vsphere, paths, table, log } = this.#context;
    if (!(await vsphere.files.exists(paths.volumes))) return;
    for (const entry of await vsphere.files.list(paths.volumes)) {
      if (!entry.directory) continue;
      const record = await this.#read(entry.name);
      const orphan = record?.owner !== undefined && table.byId(record.owner) === undefined;
      if (record && !orphan) {
        this.#records.set(record.name, record);
        continue;
      }
      log(`volume ${entry.name}: ${record ? "its container was never made" : "was not made completely"}; removing`);
      await this.#erase(entry.name);
    }
  }

  all(): VolumeRecord[] {
    return [...this.#records.values()];
  }

  /** Throws EngineError not-found with Docker's text. */
  get(name: string): VolumeRecord {
    const record = this.#records.get(name);
    if (!record) throw notFound(`get ${name}: no such volume`);
    return record;
  }

  path(name: string): DatastorePath {
    return this.#context.paths.volumeDisk(name);
  }

  /** The volume of that name, made when it is not there, larger when more is asked for. Throws when it has another driver. */
  async ensure(request: VolumeRequest): Promise<VolumeRecord> {
    const driver = volumeDriver(request.driver);
    const wantedCapacity = volumeCapacity(request.options ?? {});
    const name = request.name || newId();
    if (name.length === 1)
      throw invalid(`create ${name}: volume name is too short, names should be at least two alphanumeric characters`);
    if (!NAME_RULE.test(name) || name.length > LONGEST_NAME)
      throw invalid(
        `create ${name}: ${JSON.stringify(name)} includes invalid characters for a local volume name, only ${JSON.stringify(NAME_CHARACTERS)} are allowed. If you intended to pass a host directory, use absolute path`,
      );
    const existing = (await this.#making.get(name)) ?? this.#records.get(name);
    if (existing) {
      if (request.driver && driver !== existing.driver)
        throw conflict(
          `create ${name}: a volume with that name already exists with driver ${existing.driver}: choose a different volume name`,
        );
      if (wantedCapacity === undefined || wantedCapacity === existing.capacityBytes) return existing;
      return await this.#inTurn(name, () => this.#grow(name, wantedCapacity, request.options ?? {}));
    }
    return await this.#inTurn(name, () =>
      this.#make({
        version: 1,
        name,
        driver,
        options: request.options ?? {},
        labels: { ...request.labels, ...(request.name ? {} : { [ANONYMOUS_LABEL]: "" }) },
        created: formatTime(nowNanoseconds()),
        capacityBytes: wantedCapacity ?? DEFAULT_VOLUME_CAPACITY,
        anonymous: !request.name,
        ...(request.owner === undefined ? {} : { owner: request.owner }),
      }),
    );
  }

  /** Others that want the volume meanwhile get what comes out. */
  async #inTurn(name: string, work: () => Promise<VolumeRecord>): Promise<VolumeRecord> {
    const making = work();
    this.#making.set(name, making);
    try {
      return await making;
    } finally {
      this.#making.delete(name);
    }
  }

  /** An anonymous volume that stays when its container goes. */
  async keep(name: string): Promise<void> {
    const record = this.#records.get(name);
    if (record?.owner === undefined) return;
    const { owner: _owner, ...kept } = record;
    await this.#write(kept);
    this.#records.set(name, kept);
  }

  async remove(name: string, options: { force: boolean }): Promise<void> {
    if (!this.#records.has(name)) {
      if (options.force) return;
      throw notFound(`get ${name}: no such volume`);
    }
    const users = this.users(name);
    if (users.length > 0)
      throw conflict(`remove ${name}: volume is in use - [${users.map(({ id }) => id).join(", ")}]`);
    const record = this.get(name);
    this.#records.delete(name);
    try {
      await this.#erase(name);
    } catch (error) {
      this.#records.set(name, record);
      throw error;
    }
    this.#context.events.publish("volume", "destroy", name, { driver: record.driver });
  }

  /** Bytes that the volume's files take. */
  async sizeOnDatastore(name: string): Promise<number> {
    const entries = await this.#context.vsphere.files.list(this.#context.paths.volume(name));
    return entries.reduce((sum, entry) => sum + entry.size, 0);
  }

  users(name: string): { id: string; name: string }[] {
    return this.#context.table.all().filter(({ document }) => document.mounts.some((mount) => isVolume(mount, name)));
  }

  async #make(record: VolumeRecord): Promise<VolumeRecord> {
    const { vsphere, paths, events, untilDone } = this.#context;
    const path = paths.volumeDisk(record.name);
    const removal = `removing what was made of volume ${record.name}`;
    await untilDone.settled(removal);
    try {
      // Inside, too: its answer may be lost when it was made.
      await vsphere.files.makeDirectory(paths.volume(record.name));
      await this.#loaders.use(
        [{ path, readOnly: false, create: { capacityBytes: record.capacityBytes } }],
        async ({ link, disks: [disk] }) => {
          if (!disk) throw new EngineError("internal", "the loader gave no address of the new disk");
          await link.call("diskFormat", { disk, label: idOf(record.name).slice(0, 16) });
        },
      );
      await this.#write(record);
    } catch (error) {
      await untilDone.run(removal, () => this.#erase(record.name));
      throw error;
    }
    this.#records.set(record.name, record);
    events.publish("volume", "create", record.name, { driver: record.driver });
    return record;
  }

  /**
   * Disk, file system, record: cut off after any of them, the volume is good as it was, and a repeat goes on. The containers that
   * use it must be off.
   */
  async #grow(name: string, capacityBytes: number, options: Record<string, string>): Promise<VolumeRecord> {
    const record = this.get(name);
    if (capacityBytes < record.capacityBytes)
      throw conflict(
        `create ${name}: a volume with that name already exists with ${record.capacityBytes} bytes and cannot be made smaller: make another one and copy the files`,
      );
    const user = this.#context.table
      .all()
      .find(({ isRunning, document }) => isRunning && document.mounts.some((mount) => isVolume(mount, name)));
    if (user)
      throw conflict(
        `create ${name}: the volume is in use by running container ${user.name}: stop it to make it larger`,
      );
    const path = this.path(name);
    await this.#context.vsphere.files.growDisk(path, capacityBytes);
    await this.#loaders.use([{ path, readOnly: false }], async ({ link, disks: [disk] }) => {
      if (!disk) throw new EngineError("internal", "the loader gave no address of the disk");
      const { mount } = await link.call("diskMount", { disk, readOnly: false });
      try {
        const { totalBytes } = await link.call("diskGrow", { mount });
        if (totalBytes < capacityBytes)
          throw new EngineError("internal", `vSphere made the disk of volume ${name} only ${totalBytes} bytes large`);
      } finally {
        await link.call("diskUnmount", { mount });
      }
    });
    const others = Object.entries(record.options).filter(([option]) => !isCapacity(option));
    const grown = { ...record, capacityBytes, options: { ...Object.fromEntries(others), ...options } };
    await this.#write(grown);
    this.#records.set(name, grown);
    return grown;
  }

  async #write(record: VolumeRecord): Promise<void> {
    const { files } = this.#context.vsphere;
    const path = this.#context.paths.volumeRecord(record.name);
    await files.write(`${path}.new`, `${JSON.stringify(record)}\n`);
    await files.move(`${path}.new`, path);
  }

  async #read(name: string): Promise<VolumeRecord | undefined> {
    const { files } = this.#context.vsphere;
    const path = this.#context.paths.volumeRecord(name);
    if (!(await files.exists(path))) return undefined;
    const record = JSON.parse(await files.readText(path, METADATA_LIMIT)) as VolumeRecord;
    if (record.version !== 1 || record.name !== name)
      throw new Error(`${path} is not a volume record of this version: restore it, or remove its directory`);
    return record;
  }

  /** Record first: what is left of a removal cut off half-way is then no volume. */
  async #erase(name: string): Promise<void> {
    const { files } = this.#context.vsphere;
    const { paths } = this.#context;
    await files.remove(paths.volumeRecord(name));
    if (await files.exists(paths.volumeDisk(name))) await files.removeDisk(paths.volumeDisk(name));
    await files.remove(paths.volume(name));
  }
}

const isVolume = (mount: { type: string; name?: string }, name: string): boolean =>
  mount.type === "volume" && mount.name === name;

/** The record as Docker shows it. */
export function describeVolume(record: VolumeRecord, path: DatastorePath): Schemas["Volume"] {
  return {
    Name: record.name,
    Driver: record.driver,
    Mountpoint: path,
    CreatedAt: record.created.replace(/\.\d+Z$/, "Z"),
    Labels: record.labels,
    Scope: "local",
    Options: record.options,
  };
}
