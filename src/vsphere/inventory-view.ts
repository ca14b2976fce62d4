/** The live view of the VMs in a folder: one container view, one filter, one long poll. */
import {
  type InventoryView,
  type VirtualMachineChange,
  type VirtualMachineRecord,
  type VirtualMachineReference,
  VSphereFault,
} from "./contract.ts";
import type { Networks } from "./networks.ts";
import { retrieveOne, viewFilter } from "./properties.ts";
import { PropertyWatcher } from "./property-watcher.ts";
import type { Session } from "./session.ts";
import type { AnyValue, ManagedObjectReference, ObjectUpdate, PropertyFilterSpec } from "./vim25/index.ts";
import { hasUnknownNetwork, virtualMachineRecord, WATCHED_PROPERTIES } from "./virtual-machine-record.ts";

interface Entry {
  properties: Map<string, AnyValue>;
  record: VirtualMachineRecord;
}

type Listener = (change: VirtualMachineChange) => void;

export class FolderView implements InventoryView {
  private readonly entries = new Map<string, Entry>();
  private readonly listeners = new Set<Listener>();
  private watcher: PropertyWatcher | undefined;
  /** During a full set: the VMs seen so far; those not seen when it is complete are gone. */
  private seen: Set<string> | undefined;
  private view: ManagedObjectReference<"ContainerView"> | undefined;
  private closed = false;

  private constructor(
    private readonly session: Session,
    private readonly folder: ManagedObjectReference<"Folder">,
    private readonly networks: Networks,
  ) {}

  /** Resolves when every VM of the folder is known. */
  static async open(
    session: Session,
    folder: ManagedObjectReference<"Folder">,
    networks: Networks,
  ): Promise<FolderView> {
    await networks.refresh();
    const view = new FolderView(session, folder, networks);
    try {
      await new Promise<void>((resolve, reject) => {
        view.watcher = new PropertyWatcher(session, {
          filter: () => view.filter(),
          onStart: () => {
            view.seen = new Set();
          },
          onUpdates: (updates, complete) => {
            view.apply(updates, complete);
            if (complete) resolve();
          },
          onRefused: reject,
        });
      });
    } catch (error) {
      await view.close();
      throw error;
    }
    return view;
  }

  get(reference: VirtualMachineReference): VirtualMachineRecord | undefined {
    return this.entries.get(reference.value)?.record;
  }

  list(): VirtualMachineRecord[] {
    return [...this.entries.values()].map(({ record }) => record);
  }

  onChange(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  waitFor(
    reference: VirtualMachineReference,
    predicate: (record: VirtualMachineRecord) => boolean,
    timeoutMilliseconds: number,
    what: string,
  ): Promise<VirtualMachineRecord> {
    return new Promise((resolve, reject) => {
      const current = this.get(reference);
      if (current && predicate(current)) {
        resolve(current);
        return;
      }
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        stop();
        settle();
      };
      const timer = setTimeout(() => {
        const seconds = timeoutMilliseconds / 1000;
        finish(() =>
          reject(new VSphereFault("Timedout", `${what}: not seen within ${seconds} s on ${reference.value}`)),
        );
      }, timeoutMilliseconds);
      const stop = this.onChange((change) => {
        const target = change.kind === "updated" ? change.record.reference : change.reference;
        if (target.value !== reference.value) return;
        if (change.kind === "removed") {
          const text = `${what}: the VM ${reference.value} was removed`;
          finish(() => reject(new VSphereFault("ManagedObjectNotFound", text, { obj: reference })));
          return;
        }
        try {
          if (predicate(change.record)) finish(() => resolve(change.record));
        } catch (error) {
          finish(() => reject(error));
        }
      });
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    this.listeners.clear();
    await this.watcher?.close();
    // It ends with the session at the latest.
    if (this.view && !this.session.isClosed)
      await this.session.call("DestroyView", this.view, {}).catch(() => undefined);
  }

  private async filter(): Promise<PropertyFilterSpec> {
    const { viewManager } = this.session.content;
    if (!viewManager) throw new VSphereFault("NotSupported", "The server offers no view manager");
    const view = await this.session.call("CreateContainerView", viewManager, {
      container: this.folder,
      type: ["VirtualMachine"],
      recursive: true,
    });
    this.view = view;
    const members = viewFilter(view, { VirtualMachine: WATCHED_PROPERTIES });
    // The folder itself makes sure that a first set comes even when it is empty.
    return {
      propSet: [...members.propSet, { type: "Folder", pathSet: ["name"] }],
      objectSet: [{ obj: this.folder }, ...members.objectSet],
    };
  }

  private apply(updates: readonly ObjectUpdate[], complete: boolean): void {
    for (const update of updates) {
      if (update.obj.type !== "VirtualMachine") continue;
      const reference: VirtualMachineReference = { type: "VirtualMachine", value: update.obj.value };
      if (update.kind === "leave") this.remove(reference);
      else this.update(reference, update);
    }
    if (!complete || !this.seen) return;
    const { seen } = this;
    this.seen = undefined;
    for (const { record } of [...this.entries.values()])
      if (!seen.has(record.reference.value)) this.remove(record.reference);
  }

  private update(reference: VirtualMachineReference, update: ObjectUpdate): void {
    this.seen?.add(reference.value);
    const before = this.entries.get(reference.value);
    const properties = new Map(update.kind === "enter" ? [] : before?.properties);
    for (const change of update.changeSet ?? []) {
      if (!WATCHED_PROPERTIES.includes(change.name)) {
        // Told in another granularity than asked for: read the VM as a whole.
        void this.reread(reference);
      } else if (change.val === undefined || change.op === "remove" || change.op === "indirectRemove") {
        properties.delete(change.name);
      } else {
        properties.set(change.name, change.val);
      }
    }
    this.store(reference, properties);
  }

  private store(reference: VirtualMachineReference, properties: Map<string, AnyValue>): void {
    const previous = this.entries.get(reference.value)?.record;
    const record = virtualMachineRecord(reference, properties, this.networks);
    this.entries.set(reference.value, { properties, record });
    if (previous && Bun.deepEquals(previous, record)) return;
    this.emit({ kind: "updated", record, previous });
    if (hasUnknownNetwork(properties, this.networks)) void this.learnNetworks(reference);
  }

  private remove(reference: VirtualMachineReference): void {
    const previous = this.entries.get(reference.value)?.record;
    if (!this.entries.delete(reference.value)) return;
    this.emit({ kind: "removed", reference, previous });
  }

  private emit(change: VirtualMachineChange): void {
    for (const listener of [...this.listeners]) {
      try {
        listener(change);
      } catch (error) {
        // One listener's failure must neither stop the view nor the others.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  private async reread(reference: VirtualMachineReference): Promise<void> {
    try {
      const properties = await retrieveOne(this.session, reference, WATCHED_PROPERTIES);
      if (!this.closed && this.entries.has(reference.value)) this.store(reference, new Map(properties));
    } catch {
      // Removed or out of reach: the poll says so itself.
      return;
    }
  }

  private async learnNetworks(reference: VirtualMachineReference): Promise<void> {
    try {
      await this.networks.refresh();
    } catch {
      // The network keeps its empty name until the VM changes again.
      return;
    }
    const entry = this.entries.get(reference.value);
    if (!entry || this.closed || hasUnknownNetwork(entry.properties, this.networks)) return;
    this.store(reference, entry.properties);
  }
}
