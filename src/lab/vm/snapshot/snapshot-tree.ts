import { statSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { type DataObject, data, type Reference } from "../../model/data.ts";
import { readIfPresent, writeAtomically } from "../../state-file.ts";
import type { Configuration } from "../configuration.ts";
import { disksOf } from "../device/device-changes.ts";
import type { VirtualMachine } from "../virtual-machine.ts";
import { fromVmx } from "../vmx-configuration.ts";
import { parseVmx, VMX_LIMIT } from "../vmx-file.ts";
import { Snapshot } from "./snapshot.ts";
import { formatVmsd, NO_SNAPSHOTS, parseVmsd, type SnapshotList, type StoredSnapshot } from "./vmsd.ts";

/** Bytes of a `.vmsd` that is read. */
const VMSD_LIMIT = 4 * 1024 * 1024;

/** The snapshots of one VM: the list in its `.vmsd`, the configurations in the `.vmsn` files, the objects of the inventory. */
export class SnapshotTree {
  #list: SnapshotList = NO_SNAPSHOTS;
  readonly #objects = new Map<number, Snapshot>();
  readonly #configurations = new Map<number, Configuration>();

  constructor(private readonly vm: VirtualMachine) {}

  get list(): SnapshotList {
    return this.#list;
  }

  /** Reads what the VM's directory holds. A snapshot whose configuration cannot be read is told of and left out. */
  async load(): Promise<void> {
    const { vm } = this;
    const file = await this.#file();
    const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    const text = size === 0 || size > VMSD_LIMIT ? undefined : await readIfPresent(file);
    if (text === undefined) return;
    const list = parseVmsd(text, () => this.newId(0));
    const readable: StoredSnapshot[] = [];
    for (const snapshot of list.snapshots) {
      try {
        const path = await vm.resolveOwn(snapshot.configurationFile);
        if ((await stat(path)).size > VMX_LIMIT) throw new Error("it is too large");
        this.#configurations.set(snapshot.uid, fromVmx(parseVmx(await readFile(path, "utf8")), vm.name));
        readable.push(snapshot);
      } catch (error) {
        vm.context.log(
          `${snapshot.configurationFile} of ${vm.name}: ${error instanceof Error ? error.message : error}`,
        );
      }
    }
    this.#adopt({ ...list, snapshots: readable });
  }

  newId(uid: number): string {
    const { naming, store } = this.vm.context;
    return naming.personality === "HostAgent"
      ? `${this.vm.reference.value}-snapshot-${uid}`
      : `snapshot-${store.nextNumber()}`;
  }

  /** Makes a list true: on disk first, then for everybody who watches. `configuration`: of a new snapshot. */
  async store(list: SnapshotList, added?: { uid: number; configuration: Configuration }): Promise<void> {
    await writeAtomically(await this.#file(), formatVmsd(list));
    if (added) this.#configurations.set(added.uid, added.configuration);
    this.#adopt(list);
  }

  find(uid: number): StoredSnapshot | undefined {
    return this.#list.snapshots.find((snapshot) => snapshot.uid === uid);
  }

  configuration(uid: number): Configuration {
    const configuration = this.#configurations.get(uid);
    if (!configuration) throw new Error(`Snapshot ${uid} of ${this.vm.name} has no configuration`);
    return configuration;
  }

  /** A disk was merged into another: configurations of snapshots name that one now. */
  setConfiguration(uid: number, configuration: Configuration): void {
    this.#configurations.set(uid, configuration);
  }

  object(uid: number): Snapshot | undefined {
    return this.#objects.get(uid);
  }

  children(uid: number | undefined): StoredSnapshot[] {
    return this.#list.snapshots.filter((snapshot) => snapshot.parent === uid);
  }

  /** A snapshot and everything below it, parents first. */
  descendants(uid: number): StoredSnapshot[] {
    const found = this.find(uid);
    return found ? [found, ...this.children(uid).flatMap((child) => this.descendants(child.uid))] : [];
  }

  /** How many snapshots lie above the next one. */
  get depth(): number {
    let depth = 0;
    for (let uid = this.#list.current; uid !== undefined; uid = this.find(uid)?.parent) depth++;
    return depth;
  }

  /** Datastore paths of all disks that snapshots hold. */
  get diskPaths(): Set<string> {
    const paths = new Set<string>();
    for (const { uid } of this.#list.snapshots) {
      for (const disk of disksOf(this.configuration(uid).devices)) paths.add(disk.path);
    }
    return paths;
  }

  get rootReferences(): Reference[] {
    return this.children(undefined).flatMap(({ uid }) => this.#objects.get(uid)?.reference ?? []);
  }

  childReferences(uid: number): Reference[] {
    return this.children(uid).flatMap((child) => this.#objects.get(child.uid)?.reference ?? []);
  }

  /** `VirtualMachine.snapshot`: unset without snapshots. */
  info(): DataObject | undefined {
    const { current, snapshots } = this.#list;
    if (snapshots.length === 0) return undefined;
    return data("VirtualMachineSnapshotInfo", {
      currentSnapshot: current === undefined ? undefined : this.#objects.get(current)?.reference,
      rootSnapshotList: this.children(undefined).map((snapshot) => this.#tree(snapshot)),
    });
  }

  #tree(snapshot: StoredSnapshot): DataObject {
    const below = this.children(snapshot.uid).map((child) => this.#tree(child));
    return data("VirtualMachineSnapshotTree", {
      snapshot: this.#objects.get(snapshot.uid)?.reference,
      vm: this.vm.reference,
      name: snapshot.name,
      description: snapshot.description,
      id: snapshot.uid,
      createTime: snapshot.created,
      state: snapshot.state,
      quiesced: snapshot.quiesced,
      childSnapshotList: below.length > 0 ? below : undefined,
      replaySupported: false,
    });
  }

  /** Takes the objects out of the inventory with their VM. */
  dispose(): void {
    for (const object of this.#objects.values()) this.vm.registry.remove(object);
    this.#objects.clear();
  }

  #adopt(list: SnapshotList): void {
    this.#list = list;
    const uids = new Set(list.snapshots.map(({ uid }) => uid));
    for (const [uid, object] of this.#objects) {
      if (uids.has(uid)) continue;
      this.vm.registry.remove(object);
      this.#objects.delete(uid);
      this.#configurations.delete(uid);
    }
    for (const { uid, id } of list.snapshots) {
      if (this.#objects.has(uid)) continue;
      const object = new Snapshot(this.vm, { type: "VirtualMachineSnapshot", value: id }, uid);
      this.#objects.set(uid, object);
      this.vm.registry.add(object);
    }
    for (const object of this.#objects.values()) object.changed("childSnapshot");
    this.vm.touch("snapshot", "rootSnapshot", "layoutEx");
  }

  #file(): Promise<string> {
    return this.vm.resolveOwn(`${this.vm.fileStem}.vmsd`);
  }
}
