import { rm } from "node:fs/promises";
import { LabFault } from "../../fault.ts";
import type { VirtualMachine } from "../virtual-machine.ts";
import { consolidate } from "./consolidate.ts";
import type { StoredSnapshot } from "./vmsd.ts";

/** Forgets snapshots. Their children hang below the next one that stays; disks that no longer need to be apart are merged. */
export async function removeSnapshots(
  vm: VirtualMachine,
  doomed: readonly (StoredSnapshot | undefined)[],
  options: { consolidate: boolean },
): Promise<void> {
  const gone = new Map(doomed.flatMap((snapshot) => (snapshot ? [[snapshot.uid, snapshot] as const] : [])));
  const { list } = vm.snapshots;
  const survivor = (uid: number | undefined): number | undefined => {
    let at = uid;
    while (at !== undefined && gone.has(at)) at = gone.get(at)?.parent;
    return at;
  };
  const files: string[] = [];
  for (const { configurationFile, memoryFile } of gone.values()) {
    files.push(await vm.resolveOwn(configurationFile));
    if (memoryFile !== undefined) files.push(await vm.resolveOwn(memoryFile));
  }
  await vm.snapshots.store({
    ...list,
    current: survivor(list.current),
    snapshots: list.snapshots
      .filter(({ uid }) => !gone.has(uid))
      .map((snapshot) => ({ ...snapshot, parent: survivor(snapshot.parent) })),
  });
  for (const file of files) await rm(file, { force: true });
  vm.setConsolidationNeeded(true);
  if (!options.consolidate) return;
  try {
    await consolidate(vm);
  } catch (error) {
    // The snapshot is gone all the same; the VM says that its disks wait for ConsolidateVMDisks_Task.
    if (!(error instanceof LabFault && error.fault === "FileLocked")) throw error;
  }
}
