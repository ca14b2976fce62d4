/** VMs of which it is not known whether they are there: the answer to their creation or removal was lost. */
import type { DatastorePath } from "../vsphere/contract.ts";
import type { InfrastructureContext } from "./context.ts";

/**
 * Removes the VM whose files are in `directory`, if there is one, and the directory. Can be repeated at any point.
 * Throws when vSphere cannot be asked, or when the VM has files but does not show in inventory yet.
 */
export async function removeAbandonedMachine(
  { vsphere, view }: InfrastructureContext,
  directory: DatastorePath,
  keepDisks: readonly DatastorePath[],
): Promise<void> {
  const machine = view.list().find(({ vmPathName }) => vmPathName.startsWith(`${directory}/`));
  if (machine) {
    await vsphere.powerOff(machine.reference);
    await vsphere.destroyVm(machine.reference, { keepDisks: [...keepDisks] });
  } else {
    if (!(await vsphere.files.exists(directory))) return;
    if ((await vsphere.files.list(directory)).some(({ name }) => name.endsWith(".vmx")))
      throw new Error(`${directory} has a VM that does not show in inventory yet`);
  }
  await vsphere.files.remove(directory);
}
