/** The lab's machines under QEMU: starts, finds again and ends them, and keeps their networks. */
import { access, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Accelerator } from "./accelerator.ts";
import {
  type Hypervisor,
  HypervisorError,
  type MachineDefinition,
  type MachineEvents,
  type PortGroupSecurity,
  type RunningMachine,
} from "./contract.ts";
import type { DiskRoots } from "./disks/disk-files.ts";
import { discardRedo, prepareDisk } from "./disks/nonpersistent.ts";
import { limitCpu, releaseCpuLimit, releaseCpuLimits } from "./host/cpu-limit.ts";
import { tapName } from "./host/interface-names.ts";
import { HostNetwork } from "./host/network.ts";
import { findRecordedProcess, killProcess, type ProcessRecord, waitForExit } from "./host/process.ts";
import { launchQemu, type QemuProcess, readLogTail } from "./launch.ts";
import { QemuMachine } from "./machine.ts";
import { qemuArguments } from "./qemu/arguments.ts";
import { DirectBoots } from "./qemu/direct-boot.ts";
import { prepareFirmware } from "./qemu/firmware.ts";
import { adapterDevice, type RunFiles, runFiles } from "./qemu/naming.ts";
import { qemuError } from "./qemu/qemu-error.ts";
import type { QemuVersion } from "./qemu/version.ts";
import { QmpClient } from "./qmp/qmp-client.ts";
import { RpciServer } from "./rpci-server.ts";
import { ProxiedPorts } from "./serial/proxied-ports.ts";
import { openStateFile } from "./state-file.ts";
import { VmwareLog } from "./vmware-log.ts";

const END_LIMIT_MS = 30_000;
const RESUME_LIMIT_MS = 10 * 60_000;
/** Where the launched process finds the state to resume from: the first descriptor after stderr. */
const INCOMING_DESCRIPTOR = 3;
/** sun_path of a Unix socket address. */
const SOCKET_PATH_LIMIT = 107;

export interface HypervisorOptions {
  /** Lasting state: the list of port groups, what the KVM probe found. Tells this lab's interfaces from another's. */
  stateDirectory: string;
  /** Sockets, process records and QEMU's output; may be emptied when the machine restarts. */
  runDirectory: string;
  events: MachineEvents;
  log: (message: string) => void;
  qemuBinary?: string;
  /** Load the kernel of a CD-ROM with isolinux by QEMU instead of by firmware and boot loader. No, when left out. */
  directBoot?: boolean;
  /** Directories that disks must lie in, with their extents and parents. */
  diskRoots: readonly string[];
}

export class QemuHypervisor implements Hypervisor {
  readonly #machines = new Map<string, QemuMachine>();
  readonly #starting = new Set<string>();
  readonly #network: HostNetwork;
  readonly #roots: DiskRoots;
  readonly #directBoots: DirectBoots;

  constructor(
    readonly accelerator: Accelerator,
    readonly options: HypervisorOptions & { qemuBinary: string },
    readonly version: QemuVersion,
  ) {
    this.#network = new HostNetwork(options.stateDirectory);
    this.#roots = options.diskRoots;
    this.#directBoots = new DirectBoots(join(options.stateDirectory, "kernels"));
  }

  async powerOn(definition: MachineDefinition, from?: { stateFile: string }): Promise<RunningMachine> {
    const { id } = definition;
    if (this.#machines.has(id) || this.#starting.has(id)) {
      throw new HypervisorError("InvalidState", `VM ${definition.name} is powered on already`);
    }
    const files = this.#files(id);
    const log = new VmwareLog(definition.directory, this.options.log);
    this.#starting.add(id);
    try {
      const machine = await this.#start(definition, files, log, from);
      this.#machines.set(id, machine);
      void machine.gone.then(() => this.#machines.delete(id));
      return machine;
    } catch (error) {
      log.write(`Power on failed: ${error instanceof Error ? error.message : error}`);
      await this.#cleanUp(definition, files, from !== undefined);
      throw error;
    } finally {
      this.#starting.delete(id);
    }
  }

  async #start(
    definition: MachineDefinition,
    files: RunFiles,
    log: VmwareLog,
    from: { stateFile: string } | undefined,
  ): Promise<QemuMachine> {
    await log.rotate();
    log.write(
      `Powering on ${definition.name} (${definition.id}) with QEMU ${this.version.text}, ${this.accelerator.kind}`,
    );
    const left = await findRecordedProcess(files);
    if (left !== undefined) {
      throw new HypervisorError(
        "InvalidState",
        `VM ${definition.name} still runs as process ${left.pid}; it was not adopted`,
      );
    }
    if (definition.networkAdapters.length > 0) await this.#requireTun();
    await rm(files.directory, { recursive: true, force: true });
    await mkdir(files.directory, { recursive: true, mode: 0o700 });
    const disks = await Promise.all(
      definition.disks.map((disk) => prepareDisk(disk, definition.directory, this.#roots, from !== undefined)),
    );
    // The state of a suspended machine holds its kernel, but also the option ROMs that it started with.
    const directBoot = this.options.directBoot ? await this.#directBoots.of(definition) : undefined;
    const incoming = from === undefined ? undefined : openStateFile(from.stateFile, this.#stateHeader());
    let qemu: QemuProcess | undefined;
    try {
      const words = qemuArguments(definition, {
        files,
        accelerator: this.accelerator.kind,
        qemuVersion: this.version.numbers,
        disks,
        taps: new Map(definition.networkAdapters.map(({ key }) => [key, this.#tap(definition.id, key)])),
        ...(definition.firmware === "efi"
          ? { firmware: await prepareFirmware(join(definition.directory, `${definition.name}.nvram`)) }
          : {}),
        ...(directBoot === undefined ? {} : { directBoot }),
        resuming: incoming !== undefined,
      });
      qemu = await launchQemu(this.options.qemuBinary, words, files, incoming?.descriptor);
      return await this.#bringUp(definition, files, log, qemu, incoming !== undefined);
    } catch (error) {
      if (qemu !== undefined) {
        qemu.qmp.close();
        await this.#endProcess(qemu.record);
      }
      if (error instanceof HypervisorError) throw error;
      throw qemuError("start the VM", (await readLogTail(files)) || String(error));
    } finally {
      incoming?.close();
    }
  }

  /** From a stopped guest with a control connection to a running one. */
  async #bringUp(
    definition: MachineDefinition,
    files: RunFiles,
    log: VmwareLog,
    qemu: QemuProcess,
    resuming: boolean,
  ): Promise<QemuMachine> {
    const { qmp, record } = qemu;
    if (definition.cpuLimitMhz > 0)
      await limitCpu(this.#network.prefix, definition.id, record.pid, definition.cpuLimitMhz);
    const [rpci, serialPorts] = await Promise.all([
      RpciServer.connect(files.rpciSocket, this.options.events.guestInfo(definition.id)),
      ProxiedPorts.open(definition, files, (message) => log.write(message)),
      this.#attachAdapters(definition, qmp),
      resuming ? this.#load(qmp) : undefined,
    ]);
    const machine = this.#machine(definition, files, log, {
      record,
      qmp,
      rpci,
      serialPorts,
      exited: qemu.exited,
    });
    try {
      await qmp.execute("cont");
    } catch (error) {
      machine.detach();
      throw error;
    }
    log.write(resuming ? "Resumed" : "Powered on");
    return machine;
  }

  async #attachAdapters(definition: MachineDefinition, qmp: QmpClient): Promise<void> {
    const { networkAdapters } = definition;
    if (networkAdapters.length === 0) return;
    await this.#network.attach(
      networkAdapters.map((adapter) => ({ tap: this.#tap(definition.id, adapter.key), ...adapter })),
    );
    for (const adapter of networkAdapters) {
      if (!adapter.connected) await qmp.execute("set_link", { name: adapterDevice(adapter.key), up: false });
    }
  }

  /** A resumed guest may run only when its memory is complete. */
  async #load(qmp: QmpClient): Promise<void> {
    await qmp.execute("migrate-set-capabilities", { capabilities: [{ capability: "events", state: true }] });
    const finished = qmp.waitFor(
      "loading the memory",
      ({ name, data }) => name === "MIGRATION" && /^(completed|failed)$/.test(String(data.status)),
      RESUME_LIMIT_MS,
    );
    finished.catch(() => undefined);
    await qmp.execute("migrate-incoming", { uri: `fd:${INCOMING_DESCRIPTOR}` });
    const { data } = await finished;
    if (data.status !== "completed") throw new Error("QEMU could not load the suspended state");
  }

  #machine(
    definition: MachineDefinition,
    files: RunFiles,
    log: VmwareLog,
    process: {
      record: ProcessRecord;
      qmp: QmpClient;
      rpci: RpciServer;
      serialPorts: ProxiedPorts;
      exited?: Promise<void>;
    },
  ): QemuMachine {
    const { id } = definition;
    const machine: QemuMachine = new QemuMachine({
      definition,
      files,
      log,
      ...process,
      network: this.#network,
      stateHeader: this.#stateHeader(),
      tapOf: (key) => this.#tap(id, key),
      prepareDisk: (disk, reopen) => prepareDisk(disk, definition.directory, this.#roots, reopen),
      cleanUp: () => this.#cleanUp(definition, files, machine.state === "suspended"),
      readLog: () => readLogTail(files),
      outOfSpace: () => this.options.events.outOfSpace(id),
      stopped: (cause) => {
        this.#machines.delete(id);
        this.options.events.stopped(id, cause);
      },
    });
    return machine;
  }

  async adopt(known: MachineDefinition[]): Promise<RunningMachine[]> {
    await this.#network.ensureBridges();
    const definitions = new Map(known.map((definition) => [definition.id, definition]));
    const adopted = await Promise.all(
      (await this.#runIds()).map(async (id) => {
        if (this.#machines.has(id)) return undefined;
        const files = this.#files(id);
        const record = await findRecordedProcess(files);
        const definition = definitions.get(id);
        const machine = record && definition ? await this.#adoptMachine(definition, files, record) : undefined;
        if (machine !== undefined) return machine;
        if (record !== undefined) await this.#endProcess(record);
        if (definition !== undefined) await this.#cleanUp(definition, files, true);
        else await this.#removeRun(id, files);
        return undefined;
      }),
    );
    return adopted.filter((machine) => machine !== undefined);
  }

  /** undefined when the machine is of no use: its start was never finished, or it does not answer. */
  async #adoptMachine(
    definition: MachineDefinition,
    files: RunFiles,
    record: ProcessRecord,
  ): Promise<QemuMachine | undefined> {
    const { id } = definition;
    let qmp: QmpClient | undefined;
    try {
      qmp = await QmpClient.connect(files.qmpSocket);
      const { status } = (await qmp.execute("query-status")) as { status: string };
      if (status === "prelaunch" || status === "inmigrate") throw new Error("its start was interrupted");
      const rpci = await RpciServer.connect(files.rpciSocket, this.options.events.guestInfo(id));
      const log = new VmwareLog(definition.directory, this.options.log);
      const serialPorts = await ProxiedPorts.open(definition, files, (message) => log.write(message));
      await this.#attachAdapters(definition, qmp);
      const machine = this.#machine(definition, files, log, { record, qmp, rpci, serialPorts });
      if (status !== "running") {
        try {
          // Out of space: the write is tried again, and when it fails again, that is told as the first time.
          await (status === "io-error" ? machine.resume() : machine.continueAfterSuspension());
        } catch (error) {
          machine.detach();
          throw error;
        }
      }
      this.#machines.set(id, machine);
      void machine.gone.then(() => this.#machines.delete(id));
      this.options.log(`adopted VM ${definition.name} (${id}), process ${record.pid}`);
      return machine;
    } catch (error) {
      qmp?.close();
      this.options.log(`VM ${definition.name} (${id}) is ended: ${error instanceof Error ? error.message : error}`);
      return undefined;
    }
  }

  async makePortGroup(name: string, security?: PortGroupSecurity): Promise<{ bridge: string }> {
    return this.#network.make(name, security);
  }

  async removePortGroup(name: string): Promise<void> {
    await this.#network.remove(name);
  }

  async portGroups(): Promise<{ name: string; bridge: string }[]> {
    return this.#network.portGroups();
  }

  async dispose(options: { stopMachines: boolean }): Promise<void> {
    if (!options.stopMachines) {
      for (const machine of this.#machines.values()) machine.detach();
      this.#machines.clear();
      return;
    }
    await Promise.all([...this.#machines.values()].map((machine) => machine.powerOff()));
    // Machines that this process never adopted.
    for (const id of await this.#runIds()) {
      const files = this.#files(id);
      const record = await findRecordedProcess(files);
      if (record !== undefined) await this.#endProcess(record);
      await this.#removeRun(id, files);
    }
    await releaseCpuLimits(this.#network.prefix).catch((error: Error) =>
      this.options.log(`CPU limits: ${error.message}`),
    );
    await this.#network.removeInterfaces();
  }

  #files(id: string): RunFiles {
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(id))
      throw new HypervisorError("InvalidArgument", `${JSON.stringify(id)} is no VM id`);
    const files = runFiles(this.options.runDirectory, id);
    if (Buffer.byteLength(files.migrationSocket) > SOCKET_PATH_LIMIT) {
      throw new HypervisorError(
        "HostConfigFault",
        `the run directory ${this.options.runDirectory} is too deep for Unix sockets; choose a shorter one`,
      );
    }
    return files;
  }

  #tap(id: string, key: number): string {
    return tapName(this.#network.prefix, id, key);
  }

  #stateHeader() {
    return { qemuVersion: this.version.text, accelerator: this.accelerator.kind };
  }

  async #runIds(): Promise<string[]> {
    const entries = await readdir(this.options.runDirectory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  }

  async #requireTun(): Promise<void> {
    const usable = await access("/dev/net/tun").then(
      () => true,
      () => false,
    );
    if (!usable) {
      throw new HypervisorError(
        "HostConfigFault",
        "network adapters need /dev/net/tun: load the module tun (modprobe tun) and run the lab as root",
      );
    }
  }

  async #endProcess(record: ProcessRecord): Promise<void> {
    killProcess(record);
    if (!(await waitForExit(record, END_LIMIT_MS))) throw new Error(`process ${record.pid} does not end`);
  }

  async #cleanUp(definition: MachineDefinition, files: RunFiles, keepRedo: boolean): Promise<void> {
    if (!keepRedo) {
      for (const disk of definition.disks) if (disk.discardWrites) await discardRedo(definition.directory, disk.key);
    }
    await this.#removeRun(definition.id, files);
  }

  async #removeRun(id: string, files: RunFiles): Promise<void> {
    await releaseCpuLimit(this.#network.prefix, id).catch((error: Error) =>
      this.options.log(`CPU limit of ${id}: ${error.message}`),
    );
    await rm(files.directory, { recursive: true, force: true });
  }
}
