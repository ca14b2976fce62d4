/** Child disks that snapshots make: their names, and which disks take part in snapshots at all. */
import { baseName, formatDatastorePath, parentDirectory, parseDatastorePath } from "../../storage/datastore-path.ts";
import type { Disk } from "../device/device.ts";
import type { VirtualMachine } from "../virtual-machine.ts";

const DELTA = /-(\d{6})\.vmdk$/;
const DELTA_LIMIT = 999_999;

/** Independent disks, and disks whose writes are thrown away, are left out of snapshots. */
export const followsSnapshots = (disk: Disk): boolean => disk.mode === "persistent";

/** Is the datastore path that of a child disk that a snapshot of this VM made? */
export function isDelta(vm: VirtualMachine, path: string): boolean {
  const { datastore, path: relative } = parseDatastorePath(path);
  const home = parseDatastorePath(vm.vmPathName);
  return datastore === home.datastore && parentDirectory(relative) === parentDirectory(home.path) && DELTA.test(path);
}

/** `disk-000001.vmdk` and so on, in the VM's directory, wherever the disk itself lies. */
export async function newDeltaPath(vm: VirtualMachine, diskPath: string, taken: ReadonlySet<string>): Promise<string> {
  const home = parseDatastorePath(vm.vmPathName);
  const stem = baseName(parseDatastorePath(diskPath).path)
    .replace(DELTA, "")
    .replace(/\.vmdk$/, "");
  for (let number = 1; number <= DELTA_LIMIT; number++) {
    const name = `${stem}-${String(number).padStart(6, "0")}.vmdk`;
    const path = formatDatastorePath({ datastore: home.datastore, path: `${parentDirectory(home.path)}/${name}` });
    if (!taken.has(path) && !(await vm.context.inventory.exists(path))) return path;
  }
  throw new Error(`There is no name left for a child of ${diskPath}`);
}
