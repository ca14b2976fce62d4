import type { Command } from "commander";
import { checkMachine } from "../machine/checks.ts";
import { statePaths } from "../machine/paths.ts";
import { stateCommand } from "./command.ts";

export function doctorCommand(): Command {
  return stateCommand("doctor", "check what this machine offers; each failed line names the command that mends it")
    .option("--json", "print JSON: { ok, checks: [{ id, title, status, required, detail, fix }] }")
    .addHelpText("after", "\nExit code 1 when something that is required failed.")
    .action(async (options: { state: string; json?: boolean }) => {
      const checks = await checkMachine(statePaths(options.state));
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
