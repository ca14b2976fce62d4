import { Command } from "commander";
import { OPERATIONS_ROLE, roleCommands } from "../machine/operations-role.ts";

export function roleCommand(): Command {
  return new Command("role")
    .description("print the role that the vSphere user of a VCH needs, and the govc commands that make and grant it")
    .option("--principal <user>", "user or group to grant it to", "vch@vsphere.local")
    .option("--json", "print JSON: { name, privileges: { PRIVILEGE: what it is needed on } }")
    .action((options: { principal: string; json?: boolean }) => {
      console.log(options.json ? JSON.stringify(OPERATIONS_ROLE, undefined, 2) : roleCommands(options.principal));
    });
}
