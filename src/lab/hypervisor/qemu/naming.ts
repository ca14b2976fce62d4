/** Ids of QEMU's devices and back ends, and PCI slots: functions of the vSphere device key, so that they never change. */

export const diskDevice = (key: number) => `disk-${key}`;
export const diskNode = (key: number) => `disk-node-${key}`;
export const cdromDevice = (key: number) => `cdrom-${key}`;
/** A medium has its own node; `which` tells media of one drive apart. */
export const mediumNode = (key: number, which: string) => `medium-${key}-${which}`;
export const adapterDevice = (key: number) => `nic-${key}`;
export const adapterBackend = (key: number) => `net-${key}`;

/**
 * PCI slots of the i440FX machine: 0 is the host bridge, 1 the PIIX. A resumed VM needs every device where it was, also
 * those that were plugged while it ran, so the slot must follow from the key.
 */
const FIRST_ADAPTER_SLOT = 3;
const ADAPTER_SLOTS = 13;
const SCSI_SLOT = 16;
const SATA_SLOT = 20;
const NVME_SLOT = 24;

export const scsiSlot = (bus: number) => SCSI_SLOT + bus;
export const sataSlot = (controller: number) => SATA_SLOT + controller;
export const nvmeSlot = (controller: number) => NVME_SLOT + controller;

/** Slot of a network adapter beside adapters with the keys in `others`; undefined when all slots are taken. */
export function adapterSlot(key: number, others: readonly number[]): number | undefined {
  const taken = new Set<number>();
  // Keys count up from 4000, so they collide only when a VM had more adapters than there are slots.
  for (const candidate of [...others].filter((other) => other !== key).sort((a, b) => a - b)) {
    const slot = freeSlot(candidate, taken);
    if (slot !== undefined) taken.add(slot);
  }
  return freeSlot(key, taken);
}

function freeSlot(key: number, taken: ReadonlySet<number>): number | undefined {
  for (let step = 0; step < ADAPTER_SLOTS; step++) {
    const slot = FIRST_ADAPTER_SLOT + ((key + step) % ADAPTER_SLOTS);
    if (!taken.has(slot)) return slot;
  }
  return undefined;
}

/** Files of one machine in its run directory. */
export interface RunFiles {
  directory: string;
  /** QMP, answered by QEMU, for the life of the machine. */
  qmpSocket: string;
  /** QMP, dialled by QEMU when it starts: tells without polling that it is up. */
  startSocket: string;
  rpciSocket: string;
  /** Of a serial port whose bytes the lab carries, by its key. */
  serialSocket(key: number): string;
  migrationSocket: string;
  pidFile: string;
  processFile: string;
  logFile: string;
}

export function runFiles(runDirectory: string, id: string): RunFiles {
  const directory = `${runDirectory}/${id}`;
  return {
    directory,
    qmpSocket: `${directory}/qmp.sock`,
    startSocket: `${directory}/start.sock`,
    rpciSocket: `${directory}/rpci.sock`,
    serialSocket: (key) => `${directory}/s${key}.sock`,
    migrationSocket: `${directory}/migrate.sock`,
    pidFile: `${directory}/pid`,
    processFile: `${directory}/process.json`,
    logFile: `${directory}/qemu.log`,
  };
}
