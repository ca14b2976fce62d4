import { isAbsolute, relative } from "node:path";
import { Command } from "commander";
import { DEFAULT_STATE_DIRECTORY } from "../machine/paths.ts";

/** An error whose message is all that a user needs; everything else is printed with its stack under --debug. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  constructor(
    message: string,
    readonly exitCode = 1,
  ) {
    super(message);
  }
}

export const stateDirectoryDefault = (): string => process.env.VCH_STATE ?? DEFAULT_STATE_DIRECTORY;

/** This program as it can be called from here. */
export function programName(): string {
  if (Bun.which("vch") === process.execPath) return "vch";
  const path = relative(process.cwd(), process.execPath);
  return path.startsWith("..") || isAbsolute(path) ? process.execPath : path;
}

/** A command with the option that nearly all share. */
export function stateCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option("--state <directory>", "where this VCH keeps its state (environment: VCH_STATE)", stateDirectoryDefault());
}

/** Parses `host:port`, `[v6]:port` or a bare port. */
export function parseListenAddress(text: string): { host: string; port: number } {
  const match = /^(?:(\[[0-9a-fA-F:]+\]|[^:[\]]*):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65535)
    throw new CommandError(`Address "${text}": write host:port, such as 127.0.0.1:2376.`, 2);
  const host = (match[1] ?? "127.0.0.1").replace(/^\[|\]$/g, "");
  return { host: host === "" ? "0.0.0.0" : host, port };
}

/** Parses a whole number in a range; `what` names the option in the error. */
export function parseWholeNumber(what: string, minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < minimum || value > maximum)
      throw new CommandError(`${what} "${text}": write a whole number from ${minimum} to ${maximum}.`, 2);
    return value;
  };
}
