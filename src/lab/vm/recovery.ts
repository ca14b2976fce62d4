import { rm } from "node:fs/promises";
import { basename } from "node:path";
import type { LabContext } from "../inventory/context.ts";
import { readIfPresent } from "../state-file.ts";
import type { Intent } from "./journal.ts";
import { removeOwnFiles } from "./removal.ts";

/** Finishes or undoes what a killed lab had begun. Runs before VMs are loaded. */
export async function settleIntent(context: LabContext, intent: Intent): Promise<void> {
  if (intent.kind === "make") return settleMaking(context, intent);
  for (const file of intent.files) await removeFile(context, file);
  if (intent.directory !== undefined) await removeOwnFiles(intent.directory);
  // The index may still list the VM when the crash came before it was saved.
  const { inventory } = context.store;
  const { directory } = intent;
  if (directory !== undefined) {
    inventory.virtualMachines = inventory.virtualMachines.filter(({ vmPathName }) => {
      const file = fileOf(context, vmPathName);
      return file === undefined || !file.startsWith(`${directory}/`);
    });
  }
}

/** New files stay when the VM is in the index and its configuration names them. */
async function settleMaking(context: LabContext, intent: Extract<Intent, { kind: "make" }>): Promise<void> {
  const registered = context.store.inventory.virtualMachines.some(
    ({ vmPathName }) => fileOf(context, vmPathName) === intent.vmxFile,
  );
  const configuration = registered ? await readIfPresent(intent.vmxFile) : undefined;
  const snapshots = (await readIfPresent(intent.vmxFile.replace(/\.vmx$/i, ".vmsd"))) ?? "";
  for (const file of intent.files) {
    if (
      configuration !== undefined &&
      (file === intent.vmxFile ||
        configuration.includes(`"${context.inventory.display(file)}"`) ||
        snapshots.includes(`"${basename(file)}"`))
    )
      continue;
    await removeFile(context, file);
  }
  if (!registered && intent.directory !== undefined) await removeOwnFiles(intent.directory);
}

function fileOf(context: LabContext, vmPathName: string): string | undefined {
  const match = /^\[([^\]]+)\] (.+)$/.exec(vmPathName);
  const folder = match?.[1] === undefined ? undefined : context.folders.get(match[1]);
  return folder && `${folder.directory}/${match?.[2] ?? ""}`;
}

async function removeFile(context: LabContext, file: string): Promise<void> {
  if (file.endsWith(".vmdk")) {
    try {
      await context.disks.remove(file);
    } catch (error) {
      // Half a disk is none: the file itself goes.
      context.log(`${file}: ${error instanceof Error ? error.message : String(error)}`);
    }
    context.inventory.relations.remove(file);
  }
  await rm(file, { force: true });
}
