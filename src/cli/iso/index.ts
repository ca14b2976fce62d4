import { Command } from "commander";
import { isoBuildCommand } from "./build.ts";
import { isoInspectCommand, isoVerifyCommand } from "./inspect.ts";

export function isoCommand(): Command {
  return new Command("iso")
    .description("bootstrap ISOs: what container VMs boot")
    .addCommand(isoBuildCommand())
    .addCommand(isoInspectCommand())
    .addCommand(isoVerifyCommand());
}
