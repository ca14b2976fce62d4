import { expect, test } from "bun:test";
import type { Command } from "commander";
import { commandLine } from "./index.ts";

const path = (command: Command): string =>
  command.parent ? `${path(command.parent)} ${command.name()}` : command.name();
const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];

test.each(all(commandLine()).map((command) => [path(command), command] as const))(
  "%s explains itself",
  (name, command) => {
    const help = command.helpInformation();
    expect(help).toStartWith(`Usage: ${name} `);
    expect(command.description()).not.toBe("");
    for (const { flags, description } of command.options) expect(description, flags).not.toBe("");
    for (const argument of command.registeredArguments) expect(argument.description, argument.name()).not.toBe("");
    expect(help).not.toContain("default: []");
  },
);
