import type { Command } from "commander";
import { bringDown } from "../machine/down.ts";
import { statePaths } from "../machine/paths.ts";
import { stateCommand } from "./command.ts";

export function downCommand(): Command {
  return stateCommand("down", "stop the endpoint, every container VM and the lab; take away bridges, taps and rules")
    .option("--delete", "also delete the state: images, containers, volumes and certificates")
    .action(async (options: { state: string; delete?: boolean }) => {
      await bringDown(statePaths(options.state), {
        deleteState: options.delete === true,
        say: (line) => console.log(line),
      });
    });
}
