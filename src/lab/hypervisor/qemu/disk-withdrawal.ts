/**
 * QEMU saves no machine that has a VMDK open (the format has a migration blocker). So, while the guest stands still, the
 * disks are taken from under their devices and empty stand-ins put there; a resumed machine opens its disks anew.
 */
import type { MachineDisk } from "../contract.ts";
import type { QmpClient } from "../qmp/qmp-client.ts";
import { type DiskImages, diskBlockNode } from "./block-nodes.ts";
import { nodeOf } from "./devices.ts";
import { diskDevice, diskNode } from "./naming.ts";

const standInNode = (key: number) => `disk-away-${key}`;

async function setDrive(qmp: QmpClient, key: number, node: string): Promise<void> {
  await qmp.execute("qom-set", { path: `/machine/peripheral/${diskDevice(key)}`, property: "drive", value: node });
}

async function nodeNames(qmp: QmpClient): Promise<Set<string>> {
  const nodes = (await qmp.execute("query-named-block-nodes", { flat: true })) as { "node-name"?: string }[];
  return new Set(nodes.map((node) => String(node["node-name"])));
}

/** The guest must be stopped. Closes, and thereby flushes, every disk. */
export async function withdrawDisks(qmp: QmpClient, disks: readonly MachineDisk[]): Promise<void> {
  for (const { key } of disks) {
    await qmp.execute("blockdev-add", { driver: "null-co", "node-name": standInNode(key), "read-zeroes": true });
    await setDrive(qmp, key, standInNode(key));
    await qmp.execute("blockdev-del", { "node-name": diskNode(key) });
  }
}

/** Undo withdrawDisks, wherever it was interrupted; also when another process began it. Before the guest runs again. */
export async function restoreDisks(
  qmp: QmpClient,
  disks: readonly MachineDisk[],
  prepare: (disk: MachineDisk) => Promise<DiskImages>,
): Promise<void> {
  const nodes = await nodeNames(qmp);
  const blocks = await qmp.execute("query-block");
  for (const disk of disks) {
    const standIn = standInNode(disk.key);
    if (nodeOf(blocks, diskDevice(disk.key)) === standIn) {
      if (!nodes.has(diskNode(disk.key))) await qmp.execute("blockdev-add", diskBlockNode(await prepare(disk)));
      await setDrive(qmp, disk.key, diskNode(disk.key));
    }
    if (nodes.has(standIn)) await qmp.execute("blockdev-del", { "node-name": standIn });
  }
}
