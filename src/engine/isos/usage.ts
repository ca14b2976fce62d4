/** Which ISOs the VMs of a VCH start from. A stopped container counts: its VM keeps the CD-ROM that it was made with. */
import type { DatastorePath, InventoryView } from "../../vsphere/contract.ts";
import { DOCUMENT_CHUNKS_KEY, LOADER_KEY } from "../containers/document.ts";
import { ISO_KEY } from "./record.ts";

export interface IsoUse {
  /** Names of VMs by the file that they start from. */
  readonly files: ReadonlyMap<string, readonly string[]>;
  /** Whether every VM tells its file. Those made by versions of vch that knew one ISO only do not. */
  readonly isComplete: boolean;
}

export function isoUse(view: Pick<InventoryView, "list">): IsoUse {
  const files = new Map<string, string[]>();
  let isComplete = true;
  for (const { name, extraConfig } of view.list()) {
    const file = extraConfig.get(ISO_KEY);
    if (file === undefined) {
      if (extraConfig.has(DOCUMENT_CHUNKS_KEY) || extraConfig.has(LOADER_KEY)) isComplete = false;
      continue;
    }
    const users = files.get(file);
    if (users === undefined) files.set(file, [name]);
    else users.push(name);
  }
  return { files, isComplete };
}

/** What a VM's extraConfig says of its ISO. */
export const isoEntry = (path: DatastorePath): Record<string, string> => ({
  [ISO_KEY]: path.slice(path.lastIndexOf("/") + 1),
});
