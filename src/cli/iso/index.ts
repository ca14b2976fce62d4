import { Command } from "commander";
import { isoBuildCommand } from "./build.ts";
import { isoListCommand, isoRemoveCommand, isoUploadCommand, isoUseCommand } from "./catalog.ts";
import { isoInspectCommand, isoVerifyCommand } from "./inspect.ts";

export function isoCommand(): Command {
  const command = new Command("iso").description("bootstrap ISOs: what container VMs boot");
  command.commandsGroup("Files:");
  command.addCommand(isoBuildCommand());
  command.addCommand(isoInspectCommand());
  command.addCommand(isoVerifyCommand());
  command.commandsGroup("On the datastore of this VCH:");
  command.addCommand(isoListCommand());
  command.addCommand(isoUploadCommand());
  command.addCommand(isoUseCommand());
  command.addCommand(isoRemoveCommand());
  return command;
}
