import type { LabContext } from "../inventory/context.ts";
import { isReference } from "../model/data.ts";
import { datastoreOf } from "../storage/datastore-folder.ts";
import { baseName, formatDatastorePath, parentDirectory, parseDatastorePath } from "../storage/datastore-path.ts";
import type { DeviceEnvironment } from "./device/device-changes.ts";
import { describeDisk } from "./disk-files.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/** What planning devices needs to know, answered by the lab's inventory and datastores. */
export function deviceEnvironment(
  context: LabContext,
  vmPathName: string,
  vm: VirtualMachine | undefined,
): DeviceEnvironment {
  const normalizePath = (path: string): string => {
    const parsed = parseDatastorePath(path);
    datastoreOf(context.folders, parsed);
    return formatDatastorePath(parsed);
  };
  const exists = async (path: string): Promise<boolean> => {
    const parsed = parseDatastorePath(path);
    return datastoreOf(context.folders, parsed).exists(parsed.path);
  };
  return {
    normalizePath,
    exists,
    async newDiskPath(datastore, taken) {
      const home = parseDatastorePath(vmPathName);
      const stem = baseName(home.path).replace(/\.vmx$/, "");
      const wanted = datastore === undefined ? undefined : parseDatastorePath(datastore);
      const directory = wanted?.path || parentDirectory(home.path);
      const inStore = wanted?.datastore ?? home.datastore;
      for (let number = 0; ; number++) {
        const path = `${directory}/${stem}${number === 0 ? "" : `_${number}`}.vmdk`;
        const full = normalizePath(formatDatastorePath({ datastore: inStore, path }));
        if (!taken.has(full) && !(await exists(full))) return full;
      }
    },
    inspectDisk: (path) => describeDisk(context, path),
    hasNetwork: (name) => context.inventory.networks.some((network) => network.name === name),
    networkName: (reference) => {
      if (!isReference(reference)) return undefined;
      return context.inventory.networks.find((network) => network.reference.value === reference.value)?.name;
    },
    newMacAddress: (taken) => context.inventory.newMacAddress(taken, vm),
  };
}
