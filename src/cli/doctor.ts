import type { Command } from "commander";
import { checkMachine } from "../machine/checks.ts";
import { statePaths } from "../machine/paths.ts";
import { checkExternalTarget, resolveTarget } from "../machine/target.ts";
import { CommandError, stateCommand } from "./command.ts";
import {
  addContainerNetworkOptions,
  type ContainerNetworkOptionValues,
  containerNetworks,
} from "./container-network-options.ts";
import { addTargetOptions, type TargetOptions, targetRequest } from "./target-options.ts";

export function doctorCommand(): Command {
  const command = stateCommand(
    "doctor",
    "check what this machine, or with --target a vSphere, offers; each failed line names what mends it",
  );
  return addContainerNetworkOptions(addTargetOptions(command), { removable: false })
    .option("--json", "print JSON: { ok, checks: [{ id, title, status, required, detail, fix }] }")
    .addHelpText("after", "\nExit code 1 when something that is required failed.")
    .action(async (options: TargetOptions & ContainerNetworkOptionValues & { state: string; json?: boolean }) => {
      const paths = statePaths(options.state);
      const named = targetRequest(options);
      const networks = containerNetworks(options);
      if (networks !== undefined && !named)
        throw new CommandError("Port groups are looked for in a vSphere: name it with --target.", 2);
      const checks = named
        ? await checkExternalTarget(await resolveTarget(named.request), named.bridge, networks ?? [])
        : await checkMachine(paths);
      const ok = checks.every(({ status, required }) => status === "PASS" || !required);
      if (options.json) console.log(JSON.stringify({ ok, checks }, undefined, 2));
      else
        for (const { status, title, detail, required, fix } of checks) {
          console.log(`${status} ${title}: ${detail}${status === "FAIL" && !required ? " (optional)" : ""}`);
          if (status === "FAIL" && fix !== undefined) console.log(`     fix: ${fix}`);
        }
      if (!ok) process.exitCode = 1;
    });
}
