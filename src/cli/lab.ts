import type { Command } from "commander";
import { runLab } from "../machine/lab-process.ts";
import { statePaths } from "../machine/paths.ts";
import { parseListenAddress, stateCommand } from "./command.ts";
import { requireSettings } from "./env.ts";

export function labCommand(): Command {
  return stateCommand("lab", "run the embedded vSphere in the foreground: a vim25 endpoint whose VMs run under QEMU")
    .option("--listen <address>", "host:port of the SOAP endpoint (default: as `vch up` decided)")
    .option("--personality <kind>", "HostAgent (one ESXi host) or VirtualCenter", "HostAgent")
    .addHelpText(
      "after",
      "\nUser name and password are in endpoint.json of the state directory. VMs outlive this process: the next start adopts them.",
    )
    .action(async (options: { state: string; listen?: string; personality: string }) => {
      const settings = await requireSettings(options.state);
      const listen = options.listen === undefined ? settings.lab : parseListenAddress(options.listen);
      await runLab(
        statePaths(options.state),
        settings,
        listen ?? { host: "127.0.0.1", port: 8989 },
        options.personality,
      );
    });
}
