import type { Command } from "commander";
import { runEndpoint } from "../machine/endpoint-process.ts";
import { statePaths } from "../machine/paths.ts";
import { stateCommand } from "./command.ts";
import { requireSettings } from "./env.ts";

export function serveCommand(): Command {
  return stateCommand("serve", "run the Docker endpoint in the foreground")
    .addHelpText(
      "after",
      "\nIt can be killed and started again at any time: containers go on running, and everything it knows is read back from vSphere.",
    )
    .action(async (options: { state: string }) => {
      await runEndpoint(statePaths(options.state), await requireSettings(options.state));
    });
}
