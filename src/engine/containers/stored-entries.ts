/**
 * What we last wrote into a VM's extraConfig. The inventory view may lag behind our own writes; comparing with it would
 * cost a reconfigure at every quick start, or miss a needed one.
 */
import type { VirtualMachineChanges } from "../../vsphere/contract.ts";
import type { EngineContext } from "../context.ts";
import type { Container } from "./container.ts";

/** The entries that differ from what is stored; an empty value deletes. */
export function changedEntries(
  stored: ReadonlyMap<string, string>,
  wanted: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(Object.entries(wanted).filter(([key, value]) => (stored.get(key) ?? "") !== value));
}

/** One reconfigure, remembered. */
export async function writeEntries(
  context: EngineContext,
  container: Container,
  extraConfig: Record<string, string>,
  more: Pick<
    VirtualMachineChanges,
    "name" | "annotation" | "allocation" | "cpus" | "memoryMB" | "addNetworkAdapters" | "removeNetworkAdapters"
  > = {},
): Promise<void> {
  await context.vsphere.reconfigureVm(container.virtualMachine, { ...more, extraConfig });
  for (const [key, value] of Object.entries(extraConfig))
    if (value === "") container.stored.delete(key);
    else container.stored.set(key, value);
}
