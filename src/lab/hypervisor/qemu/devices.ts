/** Changes of a running machine's devices over QMP. Each either happens whole or is taken back. */
import { HypervisorError, type MachineDisk, type MachineNetworkAdapter } from "../contract.ts";
import { type QmpClient, QmpCommandError } from "../qmp/qmp-client.ts";
import { adapterBackendObject, adapterDeviceObject } from "./arguments.ts";
import { type DiskImages, diskBlockNode, mediumBlockNode, scsiDiskDevice } from "./block-nodes.ts";
import { adapterBackend, adapterDevice, cdromDevice, diskDevice, diskNode, mediumNode } from "./naming.ts";
import { qemuError } from "./qemu-error.ts";

/** A guest gives a device back within this time, or the removal has failed. */
const UNPLUG_TIMEOUT_MS = 20_000;

function asHypervisorError(action: string, error: unknown): HypervisorError {
  if (error instanceof HypervisorError) return error;
  if (error instanceof QmpCommandError) return qemuError(action, error.description);
  return new HypervisorError(
    "GenericVmConfigFault",
    `cannot ${action}: ${error instanceof Error ? error.message : error}`,
  );
}

export async function plugDisk(qmp: QmpClient, images: DiskImages): Promise<void> {
  const { disk } = images;
  try {
    await qmp.execute("blockdev-add", diskBlockNode(images));
    try {
      await qmp.execute("device_add", scsiDiskDevice(disk));
    } catch (error) {
      await qmp.execute("blockdev-del", { "node-name": diskNode(disk.key) });
      throw error;
    }
  } catch (error) {
    throw asHypervisorError(`attach disk ${images.files[0]}`, error);
  }
}

/** Ask the guest to let go of a device and wait until it has. */
async function unplugDevice(qmp: QmpClient, device: string): Promise<void> {
  const deleted = qmp.waitFor(
    `the guest's release of ${device}`,
    (event) => event.name === "DEVICE_DELETED" && event.data.device === device,
    UNPLUG_TIMEOUT_MS,
  );
  const refused = qmp.waitFor(
    `a refusal to release ${device}`,
    (event) => event.name === "DEVICE_UNPLUG_GUEST_ERROR" && event.data.device === device,
    UNPLUG_TIMEOUT_MS,
  );
  deleted.catch(() => undefined);
  refused.catch(() => undefined);
  await qmp.execute("device_del", { id: device });
  await Promise.race([
    deleted,
    refused.then(() => {
      throw new Error("the guest refused");
    }),
  ]);
}

export async function unplugDisk(qmp: QmpClient, disk: MachineDisk): Promise<void> {
  try {
    await unplugDevice(qmp, diskDevice(disk.key));
    await qmp.execute("blockdev-del", { "node-name": diskNode(disk.key) });
  } catch (error) {
    throw asHypervisorError(`detach disk ${disk.file}`, error);
  }
}

/** `attach` connects the new tap to its bridge before the guest sees the adapter. */
export async function plugNetworkAdapter(
  qmp: QmpClient,
  adapter: MachineNetworkAdapter,
  otherKeys: readonly number[],
  tap: string,
  attach: () => Promise<void>,
): Promise<void> {
  try {
    await qmp.execute("netdev_add", adapterBackendObject(adapter.key, tap));
    try {
      await attach();
      await qmp.execute("device_add", adapterDeviceObject(adapter, otherKeys));
    } catch (error) {
      await qmp.execute("netdev_del", { id: adapterBackend(adapter.key) });
      throw error;
    }
    if (!adapter.connected) await qmp.execute("set_link", { name: adapterDevice(adapter.key), up: false });
  } catch (error) {
    throw asHypervisorError(`attach network adapter ${adapter.macAddress}`, error);
  }
}

export async function unplugNetworkAdapter(qmp: QmpClient, adapter: MachineNetworkAdapter): Promise<void> {
  try {
    await unplugDevice(qmp, adapterDevice(adapter.key));
    await qmp.execute("netdev_del", { id: adapterBackend(adapter.key) });
  } catch (error) {
    throw asHypervisorError(`detach network adapter ${adapter.macAddress}`, error);
  }
}

/** Block node behind a device, from query-block's answer; undefined for an empty drive. Pure. */
export function nodeOf(answer: unknown, device: string): string | undefined {
  for (const entry of Array.isArray(answer) ? answer : []) {
    const { qdev, inserted } = entry as { qdev?: unknown; inserted?: { "node-name"?: unknown } };
    if (typeof qdev !== "string" || !(qdev === device || qdev.split("/").includes(device))) continue;
    const node = inserted?.["node-name"];
    return typeof node === "string" ? node : undefined;
  }
  return undefined;
}

/** Put another medium (or none) into a drive. */
export async function changeMedium(qmp: QmpClient, key: number, file: string | undefined): Promise<void> {
  const id = cdromDevice(key);
  // The old medium may have been put in by an earlier lab process, so QEMU is asked for it.
  const next = mediumNode(key, Bun.randomUUIDv7().replaceAll("-", "").slice(-12));
  try {
    const old = nodeOf(await qmp.execute("query-block"), id);
    if (file !== undefined) await qmp.execute("blockdev-add", mediumBlockNode(next, file));
    await qmp.execute("blockdev-open-tray", { id, force: true });
    if (old !== undefined) {
      await qmp.execute("blockdev-remove-medium", { id });
      await qmp.execute("blockdev-del", { "node-name": old });
    }
    if (file !== undefined) await qmp.execute("blockdev-insert-medium", { id, "node-name": next });
    await qmp.execute("blockdev-close-tray", { id });
  } catch (error) {
    throw asHypervisorError(`change the medium of CD-ROM drive ${key}`, error);
  }
}
