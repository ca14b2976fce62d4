/** One machine that runs under QEMU. */
import {
  HypervisorError,
  isProxied,
  type MachineCdrom,
  type MachineCounters,
  type MachineDefinition,
  type MachineDisk,
  type MachineNetworkAdapter,
  type MachineSerialPort,
  type MachineState,
  type RunningMachine,
} from "./contract.ts";
import { type HostNetwork, tapCounters } from "./host/network.ts";
import { isAlive, killProcess, type ProcessRecord, processUsage, waitForExit } from "./host/process.ts";
import { checkScsiAddress } from "./qemu/arguments.ts";
import type { DiskImages } from "./qemu/block-nodes.ts";
import { parseBlockStatistics } from "./qemu/block-statistics.ts";
import { changeMedium, plugDisk, plugNetworkAdapter, unplugDisk, unplugNetworkAdapter } from "./qemu/devices.ts";
import { restoreDisks, withdrawDisks } from "./qemu/disk-withdrawal.ts";
import { adapterDevice, diskDevice, type RunFiles } from "./qemu/naming.ts";
import { lastLines } from "./qemu/qemu-error.ts";
import type { QmpClient, QmpEvent } from "./qmp/qmp-client.ts";
import type { RpciServer } from "./rpci-server.ts";
import type { ProxiedPorts } from "./serial/proxied-ports.ts";
import { receiveState, type StateHeader } from "./state-file.ts";
import type { VmwareLog } from "./vmware-log.ts";

/** QEMU ends by itself within this time of being told to, or it is killed. */
const QUIT_LIMIT_MS = 5000;
/** A killed process that has not ended after this time hangs in the kernel. */
const KILL_LIMIT_MS = 30_000;
const SUSPEND_LIMIT_MS = 10 * 60_000;

export interface MachineParts {
  definition: MachineDefinition;
  files: RunFiles;
  record: ProcessRecord;
  qmp: QmpClient;
  rpci: RpciServer;
  serialPorts: ProxiedPorts;
  network: HostNetwork;
  log: VmwareLog;
  stateHeader: StateHeader;
  /** For children of this process: resolves when the process is gone. */
  exited?: Promise<void>;
  tapOf(key: number): string;
  /** `reopen`: the disk is in use already and its discardable writes are kept. */
  prepareDisk(disk: MachineDisk, reopen: boolean): Promise<DiskImages>;
  /** Remove what the machine leaves behind in the run directory and in the host. */
  cleanUp(): Promise<void>;
  readLog(): Promise<string>;
  outOfSpace(): void;
  stopped(cause: { kind: "guest" | "host" | "crashed"; detail: string }): void;
}

export class QemuMachine implements RunningMachine {
  readonly id: string;
  readonly #parts: MachineParts;
  readonly #disks: Map<number, MachineDisk>;
  readonly #adapters: Map<number, MachineNetworkAdapter>;
  readonly #drives: Map<number, MachineCdrom>;
  readonly #gone = Promise.withResolvers<void>();
  #state: MachineState = "running";
  /** Why the process is about to end, as far as known. */
  #cause: { kind: "guest" | "host"; detail: string } | undefined;
  #suspending = false;
  #detached = false;
  /** Device changes happen one after another. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(parts: MachineParts) {
    const { definition, qmp, exited } = parts;
    this.id = definition.id;
    this.#parts = parts;
    this.#disks = new Map(definition.disks.map((disk) => [disk.key, disk]));
    this.#adapters = new Map(definition.networkAdapters.map((adapter) => [adapter.key, adapter]));
    this.#drives = new Map(definition.cdroms.map((cdrom) => [cdrom.key, cdrom]));
    qmp.onEvent((event) => this.#onEvent(event));
    if (exited !== undefined) void exited.then(() => this.#finish());
    void qmp.closed.then(() => this.#connectionEnded());
  }

  get state(): MachineState {
    return this.#state;
  }

  /** Resolves when the process is gone and everything of it is cleaned up. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** Leave the machine running and know no more of it (the lab ends). */
  detach(): void {
    this.#detached = true;
    this.#parts.rpci.close();
    this.#parts.serialPorts.close();
    this.#parts.qmp.close();
  }

  async powerOff(): Promise<void> {
    this.#cause ??= { kind: "host", detail: "powered off" };
    await this.#end();
  }

  async reset(): Promise<void> {
    this.#parts.log.write("Reset");
    await this.#command("reset the VM", "system_reset");
  }

  async requestShutdown(): Promise<void> {
    this.#parts.log.write("Guest shutdown requested");
    await this.#command("shut the guest down", "system_powerdown");
  }

  suspend(stateFile: string): Promise<void> {
    return this.#serialized(async () => {
      await this.#standStill("suspend the VM", stateFile);
      this.#suspending = true;
      this.#parts.log.write(`Suspended to ${stateFile}`);
      await this.#end();
    });
  }

  checkpoint({ stateFile, work }: { stateFile?: string; work: () => Promise<MachineDisk[]> }): Promise<void> {
    return this.#serialized(async () => {
      await this.#standStill("save the state of the VM", stateFile);
      try {
        const disks = await work();
        this.#disks.clear();
        for (const disk of disks) this.#disks.set(disk.key, disk);
      } finally {
        await this.continueAfterSuspension();
      }
      this.#parts.log.write(stateFile === undefined ? "Disks changed" : `State saved to ${stateFile}`);
    });
  }

  /** Stops the guest, closes its disks and saves its memory. When that fails, the guest goes on. */
  async #standStill(action: string, stateFile: string | undefined): Promise<void> {
    await this.#command(action, "stop");
    try {
      if (stateFile === undefined) await withdrawDisks(this.#parts.qmp, [...this.#disks.values()]);
      else await this.#saveMemory(stateFile);
    } catch (error) {
      await this.continueAfterSuspension();
      throw new HypervisorError(
        "GenericVmConfigFault",
        `cannot ${action}: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  async #saveMemory(stateFile: string): Promise<void> {
    const { qmp, files, stateHeader } = this.#parts;
    const receiver = await receiveState(files.migrationSocket, stateFile, stateHeader);
    try {
      await qmp.execute("migrate-set-capabilities", { capabilities: [{ capability: "events", state: true }] });
      // The guest stands still: save as fast as the disk takes it.
      await qmp.execute("migrate-set-parameters", { "max-bandwidth": 2 ** 50 });
      const finished = qmp.waitFor(
        "saving the memory",
        ({ name, data }) => name === "MIGRATION" && /^(completed|failed|cancelled)$/.test(String(data.status)),
        SUSPEND_LIMIT_MS,
      );
      finished.catch(() => undefined);
      await withdrawDisks(qmp, [...this.#disks.values()]);
      await qmp.execute("migrate", { uri: `unix:${files.migrationSocket}` });
      const status = String((await finished).data.status);
      if (status !== "completed") throw new Error(`saving the memory ${status}`);
      receiver.commit();
    } catch (error) {
      receiver.abort();
      throw error;
    }
    await receiver.saved;
  }

  /** Undo a suspension that was not finished. */
  resume(): Promise<void> {
    return this.#command("go on", "cont");
  }

  async continueAfterSuspension(): Promise<void> {
    const { qmp, prepareDisk } = this.#parts;
    await restoreDisks(qmp, [...this.#disks.values()], (disk) => prepareDisk(disk, true));
    await qmp.execute("cont");
  }

  plugDisk(disk: MachineDisk): Promise<void> {
    return this.#serialized(async () => {
      if (disk.bus !== "scsi") {
        throw new HypervisorError(
          "GenericVmConfigFault",
          `the lab adds disks to a running VM on SCSI controllers only, not on ${disk.bus}`,
        );
      }
      if (this.#disks.has(disk.key))
        throw new HypervisorError("GenericVmConfigFault", `the VM has a disk ${disk.key} already`);
      checkScsiAddress(disk, this.#parts.definition.scsiControllers);
      await plugDisk(this.#parts.qmp, await this.#parts.prepareDisk(disk, false));
      this.#disks.set(disk.key, disk);
      this.#parts.log.write(`Hot-added disk scsi${disk.controller}:${disk.unit} ${disk.file}`);
    });
  }

  unplugDisk(key: number): Promise<void> {
    return this.#serialized(async () => {
      const disk = this.#known(this.#disks, key, "disk");
      if (disk.bus !== "scsi")
        throw new HypervisorError("GenericVmConfigFault", "the lab removes only SCSI disks from a running VM");
      await unplugDisk(this.#parts.qmp, disk);
      this.#disks.delete(key);
      this.#parts.log.write(`Hot-removed disk scsi${disk.controller}:${disk.unit} ${disk.file}`);
    });
  }

  plugNetworkAdapter(adapter: MachineNetworkAdapter): Promise<void> {
    return this.#serialized(async () => {
      if (this.#adapters.has(adapter.key)) {
        throw new HypervisorError("GenericVmConfigFault", `the VM has a network adapter ${adapter.key} already`);
      }
      const { qmp, network, tapOf, log } = this.#parts;
      const tap = tapOf(adapter.key);
      await plugNetworkAdapter(qmp, adapter, [...this.#adapters.keys()], tap, () =>
        network.attach([{ tap, ...adapter }]),
      );
      this.#adapters.set(adapter.key, adapter);
      log.write(`Hot-added network adapter ${adapter.macAddress} on ${adapter.portGroup}`);
    });
  }

  unplugNetworkAdapter(key: number): Promise<void> {
    return this.#serialized(async () => {
      const adapter = this.#known(this.#adapters, key, "network adapter");
      await unplugNetworkAdapter(this.#parts.qmp, adapter);
      this.#adapters.delete(key);
      this.#parts.log.write(`Hot-removed network adapter ${adapter.macAddress}`);
    });
  }

  setLink(key: number, connected: boolean): Promise<void> {
    return this.#serialized(async () => {
      const adapter = this.#known(this.#adapters, key, "network adapter");
      await this.#command("change the link", "set_link", { name: adapterDevice(key), up: connected });
      await this.#parts.network.setLink(this.#parts.tapOf(key), connected);
      this.#adapters.set(key, { ...adapter, connected });
    });
  }

  changeMedium(key: number, file: string | undefined): Promise<void> {
    return this.#serialized(async () => {
      const drive = this.#known(this.#drives, key, "CD-ROM drive");
      await changeMedium(this.#parts.qmp, key, file);
      const { file: _old, ...rest } = drive;
      this.#drives.set(key, { ...rest, ...(file === undefined ? {} : { file }) });
      this.#parts.log.write(file === undefined ? `Ejected CD-ROM ${key}` : `Inserted ${file} into CD-ROM ${key}`);
    });
  }

  async changeSerialPort(port: MachineSerialPort): Promise<void> {
    if (!isProxied(port) || !this.#parts.serialPorts.use(port))
      throw new HypervisorError(
        "GenericVmConfigFault",
        "the lab changes a serial port of a running VM only when it goes through a concentrator, before and after",
      );
    this.#parts.log.write(`Serial port ${port.key} ${port.connected ? "connected" : "disconnected"}`);
  }

  async hostChanged(): Promise<void> {
    await this.#parts.serialPorts.move();
  }

  async counters(): Promise<MachineCounters> {
    const { record, qmp, tapOf } = this.#parts;
    const [usage, answer, networkAdapters] = await Promise.all([
      processUsage(record.pid),
      qmp.execute("query-blockstats"),
      Promise.all([...this.#adapters.keys()].map(async (key) => ({ key, ...(await tapCounters(tapOf(key))) }))),
    ]);
    const blocks = parseBlockStatistics(answer);
    const none = { readBytes: 0, writeBytes: 0, readOperations: 0, writeOperations: 0 };
    return {
      ...usage,
      disks: [...this.#disks.keys()].map((key) => ({ key, ...(blocks.get(diskDevice(key)) ?? none) })),
      networkAdapters,
    };
  }

  #known<T>(devices: ReadonlyMap<number, T>, key: number, what: string): T {
    const device = devices.get(key);
    if (device === undefined)
      throw new HypervisorError("GenericVmConfigFault", `the VM has no ${what} with key ${key}`);
    return device;
  }

  #serialized<T>(work: () => Promise<T>): Promise<T> {
    const guarded = async () => {
      if (this.#state !== "running") throw new HypervisorError("InvalidPowerState", `the VM is ${this.#state}`);
      return await work();
    };
    const result = this.#queue.then(guarded, guarded);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #command(action: string, command: string, parameters = {}): Promise<void> {
    if (this.#state !== "running")
      throw new HypervisorError("InvalidPowerState", `cannot ${action}: the VM is ${this.#state}`);
    try {
      await this.#parts.qmp.execute(command, parameters);
    } catch (error) {
      throw new HypervisorError(
        "GenericVmConfigFault",
        `cannot ${action}: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  #onEvent({ name, data }: QmpEvent): void {
    if (name === "RESET") this.#parts.rpci.guestReset();
    if (name === "RESET" && data.guest === true) this.#parts.log.write("Guest reset");
    if (name === "SHUTDOWN") {
      const reason = String(data.reason ?? "");
      this.#cause ??=
        data.guest === true ? { kind: "guest", detail: "guest powered off" } : { kind: "host", detail: reason };
    }
    if (name === "BLOCK_IO_ERROR") {
      this.#parts.log.write(`Disk error: ${JSON.stringify(data)}`);
      if (data.action === "stop" && data.nospace === true) this.#parts.outOfSpace();
    }
  }

  /** End the process: politely, then not. */
  async #end(): Promise<void> {
    const { qmp, record } = this.#parts;
    const timer = setTimeout(() => killProcess(record), QUIT_LIMIT_MS);
    try {
      // The answer may be lost with the process: what counts is its end.
      await qmp.execute("quit").catch(() => undefined);
      await this.#gone.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  async #connectionEnded(): Promise<void> {
    if (this.#detached) return;
    const { record, exited } = this.#parts;
    const ended =
      exited === undefined
        ? waitForExit(record, QUIT_LIMIT_MS)
        : Promise.race([exited.then(() => true), Bun.sleep(QUIT_LIMIT_MS)]);
    // QEMU without its control connection is out of reach: end it rather than leave a VM that nobody controls.
    if ((await ended) !== true && isAlive(record)) {
      killProcess(record);
      await waitForExit(record, KILL_LIMIT_MS);
    }
    await this.#finish();
  }

  async #finish(): Promise<void> {
    if (this.#detached || this.#state !== "running") return;
    this.#state = this.#suspending ? "suspended" : "stopped";
    const { rpci, serialPorts, qmp, cleanUp, readLog, log, stopped } = this.#parts;
    rpci.close();
    serialPorts.close();
    qmp.close();
    const output = lastLines(await readLog());
    await cleanUp();
    const cause = this.#cause ?? { kind: "crashed" as const, detail: output || "QEMU ended without a message" };
    if (!this.#suspending) log.write(`Powered off (${cause.kind}): ${cause.detail}`);
    await log.flushed();
    this.#gone.resolve();
    if (!this.#suspending) stopped(cause);
  }
}
