/** The bootstrap ISOs of a VCH on its datastore. */
import { basename } from "node:path";
import type { Command } from "commander";
import { BUILT_IN_ISO, listIsos, removeIso, type UsedIso, uploadIso, useIso } from "../../machine/isos.ts";
import { CommandError, stateCommand } from "../command.ts";
import { requireSettings } from "../env.ts";

const MEBIBYTE = 2 ** 20;

function table(isos: readonly UsedIso[]): string {
  const rows = [
    ["NAME", "DEFAULT", "KERNEL", "TETHER", "SIZE", "CD-ROM", "FIRMWARE", "VMS", "UPLOADED"],
    ...isos.map((iso) => [
      iso.name,
      iso.isDefault ? "yes" : "",
      iso.kernelVersion,
      iso.tetherVersion,
      `${(iso.sizeBytes / MEBIBYTE).toFixed(1)} MiB`,
      iso.cdromBuses.join(","),
      iso.firmware.join(","),
      String(iso.usedBy.length),
      iso.uploaded.replace(/\.\d+Z$/, "Z"),
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

export function isoListCommand(): Command {
  return stateCommand("ls", "list the bootstrap ISOs on the datastore of this VCH")
    .option("--json", "print JSON")
    .action(async (options: { state: string; json?: boolean }) => {
      const isos = await listIsos(await requireSettings(options.state));
      console.log(options.json ? JSON.stringify(isos, undefined, 2) : table(isos));
    });
}

export function isoUploadCommand(): Command {
  return stateCommand("upload", "verify a bootstrap ISO and put it on the datastore; containers choose it by --runtime")
    .argument("<file>", "the ISO")
    .option("--name <name>", "name of the ISO and runtime (default: the file's name without .iso)")
    .option("--replace", "give the name another content; existing containers keep the earlier one")
    .action(async (path: string, options: { state: string; name?: string; replace?: boolean }) => {
      const name = options.name ?? basename(path).replace(/\.iso$/, "");
      if (name === BUILT_IN_ISO)
        throw new CommandError(
          `The name ${BUILT_IN_ISO} is that of the endpoint's own ISO. Choose another with --name.`,
          2,
        );
      const settings = await requireSettings(options.state);
      const record = await uploadIso(settings, path, name, { replace: options.replace ?? false });
      console.log(`${record.name}: ${record.file}, Linux ${record.kernelVersion}, tether ${record.tetherVersion}`);
    });
}

export function isoUseCommand(): Command {
  return stateCommand("use", "make a bootstrap ISO the default of containers that are created from now on")
    .argument("<name>", `name as vch iso ls shows it; ${BUILT_IN_ISO} is the endpoint's own`)
    .action(async (name: string, options: { state: string }) => {
      await useIso(await requireSettings(options.state), name);
      console.log(`${name} is the default. Existing containers keep theirs.`);
    });
}

export function isoRemoveCommand(): Command {
  return stateCommand("rm", "delete a bootstrap ISO that no container uses")
    .argument("<name>", "name as vch iso ls shows it")
    .action(async (name: string, options: { state: string }) => {
      await removeIso(await requireSettings(options.state), name);
      console.log(`${name} is deleted.`);
    });
}
