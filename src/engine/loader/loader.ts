/** One loader VM: boots the bootstrap ISO, gets disks plugged in and out, and its tether works on them. */
import type { LinkSession } from "../../link/contract.ts";
import type { DiskAddress, LoaderConfiguration } from "../../link/guest-configuration.ts";
import { encodeConfiguration } from "../../link/guest-configuration-codec.ts";
import type { DatastorePath, DiskSpec, VirtualMachineReference } from "../../vsphere/contract.ts";
import { removeAbandonedMachine } from "../abandoned-machine.ts";
import { LOADER_KEY } from "../containers/document.ts";
import type { InfrastructureContext } from "../context.ts";
import { EngineError } from "../errors.ts";
import type { GuestOwner } from "../guests/guest-links.ts";
import { chooseMac, newId, newToken, shortId, uuidOf } from "../identifiers.ts";
import { isoEntry } from "../isos/usage.ts";
import { LOADER_MEMORY_MB, LOADER_START_TIMEOUT, SCSI_CONTROLLERS, SCSI_RESERVED_UNIT, SCSI_UNITS } from "../limits.ts";
import { type NetworkBinding, networkPrefixLength } from "../networks/network-table.ts";
import { noSpaceLeft, spaceQuestion } from "../out-of-space.ts";
import { CONSOLE_LOG } from "../paths.ts";
import { deferred, OperationQueue, within } from "../waiting.ts";
import type { LoaderDisk } from "./contract.ts";

/** Attach and detach requests that may wait for one loader. */
const CHANGES_WAITING = 64;

export class Loader implements GuestOwner {
  readonly id = newId();
  /** Pieces of work in it; counted by the pool. */
  jobs = 0;
  /** Its VM or its link is gone: no new work. */
  broken = false;
  readonly #context: InfrastructureContext;
  readonly #changes = new OperationQueue(
    CHANGES_WAITING,
    () => new EngineError("unavailable", "too much work waits for the loader VM: try again later"),
  );
  readonly #attached = new Map<string, DatastorePath>();
  readonly #session = deferred<LinkSession>();
  readonly #gone = deferred<void>();
  readonly #forget: () => void;
  readonly #token = newToken();
  #machine: Promise<VirtualMachineReference> | undefined;
  #on: Promise<void> | undefined;
  /** Its VM stands still because the datastore is full. */
  #outOfSpace = false;
  readonly #stopWatching: () => void;
  #destroying = false;
  #binding: NetworkBinding | undefined;
  #address: { address: string; release(): void } | undefined;

  constructor(context: InfrastructureContext) {
    this.#context = context;
    this.#forget = context.links.expect(this.#token, this);
    this.#session.promise.catch(() => undefined);
    this.#stopWatching = context.view.onChange((change) => {
      if (change.kind === "updated" && change.record.uuid === uuidOf(this.id) && spaceQuestion(change.record))
        this.#standsStill();
    });
  }

  /** What it was to do cannot be done, and waiting for space would let the client wait for hours. */
  #standsStill(): void {
    this.broken = true;
    this.#outOfSpace = true;
    const full = noSpaceLeft(this.#context.vsphere.files.datastore);
    this.#session.reject(full);
    this.#session.promise.then(
      (session) => session.close(full.message),
      () => undefined,
    );
  }

  connected(session: LinkSession): void {
    session.onChannel((channel) => channel.close({ code: "unsupported", message: "a loader has no events" }));
    void session.closed.then(() => {
      this.broken = true;
    });
    this.#session.resolve(session);
  }

  async work<T>(
    disks: readonly LoaderDisk[],
    work: (loader: { link: LinkSession; disks: DiskAddress[] }) => Promise<T>,
  ): Promise<T> {
    try {
      const link = await this.#ready();
      const addresses = await this.#attach(disks);
      try {
        return await work({ link, disks: addresses });
      } finally {
        await this.#detach(addresses);
      }
    } catch (error) {
      throw this.#outOfSpace ? noSpaceLeft(this.#context.vsphere.files.datastore) : error;
    }
  }

  /** Resolves when its VM is gone, or nothing more is tried. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  isGone(): void {
    this.#gone.resolve();
  }

  holdsAny(disks: readonly LoaderDisk[]): boolean {
    const attached = new Set(this.#attached.values());
    return disks.some(({ path }) => attached.has(path));
  }

  /** Can be repeated when it failed. */
  async destroy(): Promise<void> {
    this.broken = true;
    this.#stopWatching();
    this.#forget();
    const { vsphere, paths } = this.#context;
    const keepDisks = [...this.#attached.values()];
    // Whether it was made is unknown when creating it failed, and whether it is gone when destroying it failed before.
    const machine = this.#destroying ? undefined : await this.#machine?.catch(() => undefined);
    this.#destroying = true;
    if (machine) {
      await vsphere.powerOff(machine);
      await vsphere.destroyVm(machine, { keepDisks });
    } else if (this.#machine) await removeAbandonedMachine(this.#context, paths.loader(this.id), keepDisks);
    if (this.#binding) await this.#context.networks.unbind([this.#binding]);
    this.#address?.release();
  }

  async #ready(): Promise<LinkSession> {
    try {
      this.#machine ??= this.#create();
      this.#on ??= this.#machine.then((machine) => this.#powerOn(machine));
      await this.#on;
      return await within(this.#session.promise, LOADER_START_TIMEOUT, () => {
        throw new EngineError(
          "unavailable",
          `the loader VM did not report within ${LOADER_START_TIMEOUT / 1000} s: see ${CONSOLE_LOG} in ${this.#context.paths.loader(this.id)}`,
        );
      });
    } catch (error) {
      this.broken = true;
      throw error;
    }
  }

  async #create(): Promise<VirtualMachineReference> {
    const { vsphere, networks, links, paths, view, changes, isos } = this.#context;
    const medium = await isos.medium();
    const lease = networks.lease(networks.bridge);
    this.#address = lease;
    const mac = chooseMac(
      lease.address,
      new Set(view.list().flatMap((vm) => vm.networkAdapters.map((nic) => nic.macAddress))),
    );
    this.#binding = { networkId: networks.bridge.id, address: lease.address, macAddress: mac };
    await networks.bind([this.#binding]);
    const hostname = `loader-${shortId(this.id)}`;
    const configuration: LoaderConfiguration = {
      version: 1,
      role: "loader",
      id: this.id,
      hostname,
      link: { ...links.configuration, token: this.#token },
      network: {
        interfaces: [
          {
            mac,
            name: "eth0",
            addresses: [{ address: lease.address, prefixLength: networkPrefixLength(networks.bridge) }],
            gateway: networks.block.gateway,
          },
        ],
        nameservers: [],
        search: [],
        options: [],
        hosts: [],
      },
    };
    return await changes.run(() =>
      vsphere.createVm({
        name: `${this.#context.name}-${hostname}`,
        uuid: uuidOf(this.id),
        annotation: `Loader of virtual container host ${this.#context.name}: writes and reads disks of stopped containers. It goes by itself.`,
        directory: paths.loader(this.id),
        cpus: 1,
        memoryMB: LOADER_MEMORY_MB,
        firmware: medium.firmware,
        cdrom: { path: medium.path, bus: medium.cdromBus },
        disks: [],
        networkAdapters: [{ network: networks.portGroup, macAddress: mac, connected: true }],
        serialPorts: [{ kind: "file", path: `${paths.loader(this.id)}/${CONSOLE_LOG}` }],
        extraConfig: { ...encodeConfiguration(configuration), ...isoEntry(medium.path), [LOADER_KEY]: "[]" },
      }),
    );
  }

  async #powerOn(machine: VirtualMachineReference): Promise<void> {
    const { vsphere, changes, boots } = this.#context;
    const booted = await boots.enter();
    void this.#session.promise.then(booted, booted);
    try {
      await changes.run(() => vsphere.powerOn(machine));
    } catch (error) {
      booted();
      throw error;
    }
  }

  #attach(disks: readonly LoaderDisk[]): Promise<DiskAddress[]> {
    if (disks.length === 0) return Promise.resolve([]);
    return this.#changes.run(async () => {
      const addresses = this.#freeAddresses(disks.length);
      const specs = disks.map(
        (disk, index): DiskSpec => ({
          ...(addresses[index] ?? { bus: 0, unit: 0 }),
          path: disk.path,
          mode: disk.readOnly ? "independent_nonpersistent" : "persistent",
          ...(disk.create ? { create: disk.create } : {}),
        }),
      );
      for (const spec of specs) this.#attached.set(`${spec.bus}:${spec.unit}`, spec.path);
      try {
        await this.#reconfigure({ addDisks: specs });
      } catch (error) {
        // Whether they are attached is unknown when the answer was lost: only the end of its VM tells.
        this.broken = true;
        throw error;
      }
      return addresses;
    });
  }

  async #detach(addresses: readonly DiskAddress[]): Promise<void> {
    // A VM that stands still lets no disk go.
    if (addresses.length === 0 || this.#outOfSpace) return;
    try {
      await this.#changes.run(async () => {
        await this.#reconfigure({ removeDisks: [...addresses] });
        for (const { bus, unit } of addresses) this.#attached.delete(`${bus}:${unit}`);
      });
    } catch (error) {
      // Its disks come free only with its VM: no more work for this loader.
      this.broken = true;
      this.#context.log(`loader VM: cannot detach disks: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** One reconfigure; the mark in extraConfig lists the attached disks, for whoever finds this VM after a crash. */
  async #reconfigure(change: { addDisks?: DiskSpec[]; removeDisks?: DiskAddress[] }): Promise<void> {
    const machine = await this.#machine;
    if (!machine) throw new EngineError("internal", "the loader VM is not there");
    const gone = new Set((change.removeDisks ?? []).map(({ bus, unit }) => `${bus}:${unit}`));
    const attached = [...this.#attached].filter(([address]) => !gone.has(address)).map(([, path]) => path);
    await this.#context.vsphere.reconfigureVm(machine, {
      ...change,
      extraConfig: { [LOADER_KEY]: JSON.stringify(attached) },
    });
  }

  #freeAddresses(count: number): DiskAddress[] {
    const free: DiskAddress[] = [];
    for (let bus = 0; bus < SCSI_CONTROLLERS; bus++)
      for (let unit = 0; unit < SCSI_UNITS && free.length < count; unit++)
        if (unit !== SCSI_RESERVED_UNIT && !this.#attached.has(`${bus}:${unit}`)) free.push({ bus, unit });
    if (free.length < count)
      throw new EngineError("unavailable", `a loader VM has no room for ${count} more disks: try again later`);
    return free;
  }
}
