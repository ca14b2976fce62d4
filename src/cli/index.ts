import { Command, CommanderError } from "commander";
import { BUILD } from "../machine/build.ts";
import { caCommand } from "./ca.ts";
import { CommandError } from "./command.ts";
import { doctorCommand } from "./doctor.ts";
import { downCommand } from "./down.ts";
import { envCommand } from "./env.ts";
import { isoCommand } from "./iso/index.ts";
import { labCommand } from "./lab.ts";
import { roleCommand } from "./role.ts";
import { serveCommand } from "./serve.ts";
import { statusCommand } from "./status.ts";
import { upCommand } from "./up.ts";
import { versionCommand } from "./version.ts";

/** The whole command line, for running and for checking its help texts. */
export function commandLine(): Command {
  const program = new Command("vch")
    .description("A virtual container host: a Docker endpoint where every container is its own virtual machine.")
    .version(BUILD.version, "-v, --version")
    .option("--debug", "print stack traces of errors")
    .showHelpAfterError("(vch --help lists the commands)")
    .helpCommand("help [command]", "help for a command");
  program.commandsGroup("Every day:");
  program.addCommand(upCommand());
  program.addCommand(downCommand());
  program.addCommand(envCommand());
  program.addCommand(statusCommand());
  program.addCommand(doctorCommand());
  program.commandsGroup("Parts:");
  program.addCommand(serveCommand());
  program.addCommand(labCommand());
  program.addCommand(isoCommand());
  program.addCommand(caCommand());
  program.addCommand(roleCommand());
  program.addCommand(versionCommand());
  // A repeatable option begins as an empty list, which is none for whoever reads the help.
  for (const { options } of everyCommand(program))
    for (const option of options)
      if (Array.isArray(option.defaultValue) && option.defaultValue.length === 0)
        option.defaultValueDescription = "none";
  return program;
}

const everyCommand = (command: Command): Command[] => [command, ...command.commands.flatMap(everyCommand)];

/** Runs the command line and answers the exit code: 0 done, 1 failed, 2 wrong use. */
export async function runCommandLine(commandArguments: string[]): Promise<number> {
  const program = commandLine();
  for (const command of everyCommand(program)) command.exitOverride();
  try {
    await program.parseAsync(commandArguments, { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    console.error(`vch: ${error instanceof Error ? error.message : error}`);
    if (program.opts<{ debug?: boolean }>().debug && error instanceof Error) console.error(error.stack);
    return error instanceof CommandError ? error.exitCode : 1;
  }
}
