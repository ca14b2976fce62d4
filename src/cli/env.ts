import { hostname } from "node:os";
import type { Command } from "commander";
import { statePaths } from "../machine/paths.ts";
import { type EndpointSettings, readSettings } from "../machine/settings.ts";
import { CommandError, stateCommand } from "./command.ts";

/** The settings of the VCH in this state directory, or an error that says how to make one. */
export async function requireSettings(stateDirectory: string): Promise<EndpointSettings> {
  const settings = await readSettings(statePaths(stateDirectory));
  if (settings === undefined) throw new CommandError(`There is no VCH in ${stateDirectory}. Make one with: vch up`);
  return settings;
}

/** Address that a client on this machine uses for a listen address. */
const clientHost = (host: string): string =>
  host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "[::1]" : host.includes(":") ? `[${host}]` : host;

export const dockerHost = (settings: EndpointSettings): string =>
  `tcp://${clientHost(settings.docker.host)}:${settings.docker.port}`;

/** Quotes a word for a POSIX shell. */
const shellQuote = (word: string): string =>
  /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** The lines for `eval "$(vch env)"`. */
export function environmentLines(settings: EndpointSettings, certificates: string): string {
  return [
    `export DOCKER_HOST=${shellQuote(dockerHost(settings))}`,
    "export DOCKER_TLS_VERIFY=1",
    `export DOCKER_CERT_PATH=${shellQuote(certificates)}`,
    "unset DOCKER_CONTEXT",
  ].join("\n");
}

async function makeContext(settings: EndpointSettings, certificates: string, name: string): Promise<void> {
  const endpoint = `host=${dockerHost(settings)},ca=${certificates}/ca.pem,cert=${certificates}/cert.pem,key=${certificates}/key.pem`;
  const exists = Bun.spawnSync(["docker", "context", "inspect", name]).exitCode === 0;
  const command = [
    "docker",
    "context",
    exists ? "update" : "create",
    name,
    "--description",
    `vch on ${hostname()}`,
    "--docker",
    endpoint,
  ];
  const result = Bun.spawnSync(command, { env: { PATH: process.env.PATH, HOME: process.env.HOME } });
  if (result.exitCode !== 0) throw new CommandError(`docker context: ${result.stderr.toString().trim()}`);
  console.log(`Docker context "${name}" ${exists ? "updated" : "made"}. Use it with: docker context use ${name}`);
}

export function envCommand(): Command {
  return stateCommand("env", "print the shell variables that point the docker CLI at this endpoint")
    .option("--context [name]", "make or update a docker context instead of printing variables (default name: vch)")
    .option("--unset", "print lines that undo the variables")
    .action(async (options: { state: string; context?: string | true; unset?: boolean }) => {
      if (options.unset) {
        console.log("unset DOCKER_HOST DOCKER_TLS_VERIFY DOCKER_CERT_PATH");
        return;
      }
      const settings = await requireSettings(options.state);
      const { clientCertificates } = statePaths(options.state);
      if (options.context)
        await makeContext(settings, clientCertificates, options.context === true ? "vch" : options.context);
      else console.log(environmentLines(settings, clientCertificates));
    });
}
