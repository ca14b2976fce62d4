/** The `.vmsd` file: which snapshots a VM has. VMware's keys, and `lab.` ones for what has no key there. */
import { formatVmx, parseVmx } from "../vmx-file.ts";

export interface StoredSnapshot {
  /** `VirtualMachineSnapshotTree.id`, never used again in this VM. */
  uid: number;
  /** Inventory id of the snapshot object. */
  id: string;
  name: string;
  description: string;
  created: Date;
  /** What a revert makes of the VM. */
  state: "poweredOn" | "poweredOff" | "suspended";
  quiesced: boolean;
  parent: number | undefined;
  /** In the VM's directory: the configuration as it was. */
  configurationFile: string;
  /** In the VM's directory: the memory as it was. */
  memoryFile: string | undefined;
  /** Datastore paths of the disks that must not change any more, for people and for recovery. */
  disks: readonly string[];
}

export interface SnapshotList {
  lastUid: number;
  current: number | undefined;
  snapshots: readonly StoredSnapshot[];
}

export const NO_SNAPSHOTS: SnapshotList = { lastUid: 0, current: undefined, snapshots: [] };
/** Snapshots of a VM: vSphere's limit for the depth of a chain is far below. */
const SNAPSHOT_LIMIT = 496;

/** Two 32-bit halves of the time in microseconds, as VMware writes it. */
function timeEntries(prefix: string, time: Date): [string, string][] {
  const microseconds = BigInt(time.getTime()) * 1000n;
  const signed = (value: bigint): string => String(BigInt.asIntN(32, value));
  return [
    [`${prefix}.createTimeHigh`, signed(microseconds >> 32n)],
    [`${prefix}.createTimeLow`, signed(microseconds & 0xffff_ffffn)],
  ];
}

function readTime(get: (key: string) => string | undefined): Date {
  const number = (text: string | undefined): bigint => BigInt(/^-?\d{1,12}$/.test(text ?? "") ? (text ?? "0") : "0");
  const high = BigInt.asUintN(32, number(get("createTimeHigh")));
  const low = BigInt.asUintN(32, number(get("createTimeLow")));
  return new Date(Number(((high << 32n) | low) / 1000n));
}

export function formatVmsd(list: SnapshotList): string {
  const entries: [string, string][] = [
    ["snapshot.lastUID", String(list.lastUid)],
    ["snapshot.numSnapshots", String(list.snapshots.length)],
  ];
  if (list.current !== undefined) entries.push(["snapshot.current", String(list.current)]);
  for (const [index, snapshot] of list.snapshots.entries()) {
    const prefix = `snapshot${index}`;
    entries.push(
      [`${prefix}.uid`, String(snapshot.uid)],
      [`${prefix}.filename`, snapshot.configurationFile],
      ...(snapshot.parent === undefined ? [] : [[`${prefix}.parent`, String(snapshot.parent)] as [string, string]]),
      [`${prefix}.displayName`, snapshot.name],
      [`${prefix}.description`, snapshot.description],
      // VMware: 0 for a VM that was off, 1 for one with memory.
      [`${prefix}.type`, snapshot.memoryFile === undefined ? "0" : "1"],
      ...timeEntries(prefix, snapshot.created),
      [`${prefix}.numDisks`, String(snapshot.disks.length)],
      ...snapshot.disks.map((path, disk): [string, string] => [`${prefix}.disk${disk}.fileName`, path]),
      [`${prefix}.lab.id`, snapshot.id],
      [`${prefix}.lab.state`, snapshot.state],
      [`${prefix}.lab.quiesced`, String(snapshot.quiesced)],
    );
    if (snapshot.memoryFile !== undefined) entries.push([`${prefix}.lab.memory`, snapshot.memoryFile]);
  }
  return formatVmx(entries);
}

/** Reads a list; entries without what a snapshot needs are left out. `newId` names a snapshot that has no id yet. */
export function parseVmsd(text: string, newId: () => string): SnapshotList {
  const entries = parseVmx(text);
  const number = (key: string): number | undefined => {
    const value = entries.get(key);
    return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
  };
  const snapshots: StoredSnapshot[] = [];
  const count = Math.min(number("snapshot.numSnapshots") ?? 0, SNAPSHOT_LIMIT);
  for (let index = 0; index < count; index++) {
    const get = (key: string): string | undefined => entries.get(`snapshot${index}.${key}`);
    const uid = number(`snapshot${index}.uid`);
    const configurationFile = get("filename");
    if (uid === undefined || configurationFile === undefined || configurationFile.includes("/")) continue;
    const memoryFile = get("lab.memory");
    const state = get("lab.state");
    const disks = Array.from(
      { length: Math.min(number(`snapshot${index}.numDisks`) ?? 0, SNAPSHOT_LIMIT) },
      (_, disk) => get(`disk${disk}.fileName`),
    );
    snapshots.push({
      uid,
      id: get("lab.id") ?? newId(),
      name: get("displayName") ?? `Snapshot ${uid}`,
      description: get("description") ?? "",
      created: readTime(get),
      state: state === "poweredOn" || state === "suspended" ? state : "poweredOff",
      quiesced: get("lab.quiesced") === "true",
      parent: number(`snapshot${index}.parent`),
      configurationFile,
      memoryFile: memoryFile?.includes("/") ? undefined : memoryFile,
      disks: disks.filter((path) => path !== undefined),
    });
  }
  const uids = new Set(snapshots.map(({ uid }) => uid));
  const current = number("snapshot.current");
  return {
    lastUid: Math.max(number("snapshot.lastUID") ?? 0, ...uids, 0),
    current: current !== undefined && uids.has(current) ? current : undefined,
    // A parent that is gone makes a root.
    snapshots: snapshots.map((snapshot) => ({
      ...snapshot,
      parent: snapshot.parent !== undefined && uids.has(snapshot.parent) ? snapshot.parent : undefined,
    })),
  };
}

export const checkSnapshotCount = (list: SnapshotList): boolean => list.snapshots.length < SNAPSHOT_LIMIT;
