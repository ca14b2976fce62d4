/** A machine outside of the VCH, as a network namespace that is plugged into port groups of the lab. */
import { expect } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { type Result, run, STATE } from "./docker.ts";

const NAMESPACE = "vche2e-outside";
/** Time for something to be said in a log. */
const LOG_LIMIT_MILLISECONDS = 60_000;

const must = async (...command: string[]): Promise<string> => {
  const result = await run(command);
  expect(result, command.join(" ")).toMatchObject({ code: 0 });
  return result.stdout;
};

/** Runs a command out there. */
export const outside = (...command: string[]): Promise<Result> => run(["ip", "netns", "exec", NAMESPACE, ...command]);

/** Who lets `source` in: `tcp:HOST:PORT` and so on. */
export async function reach(source: string, ...targets: string[]): Promise<Record<string, string>> {
  const result = await outside("python3", "tests/e2e/reach.py", source, ...targets);
  expect(result).toMatchObject({ code: 0 });
  return JSON.parse(result.stdout) as Record<string, string>;
}

/** Makes the machine, with these addresses on the container networks (by name) of the VCH. */
export async function openOutside(addresses: Record<string, string[]>): Promise<void> {
  await closeOutside();
  await must("ip", "netns", "add", NAMESPACE);
  await must("ip", "-n", NAMESPACE, "link", "set", "lo", "up");
  const status = JSON.parse(await must("dist/vch", "status", "--json", "--state", STATE)) as {
    containerNetworks: { name: string; interface: string }[];
  };
  for (const [index, [name, list]] of Object.entries(addresses).entries()) {
    const bridge = status.containerNetworks.find((network) => network.name === name)?.interface ?? "";
    const cable = `vcheout${index}`;
    const there = `out${index}`;
    await must("ip", "link", "add", cable, "type", "veth", "peer", "name", there, "netns", NAMESPACE);
    await must("ip", "link", "set", cable, "master", bridge, "up");
    for (const address of list) await must("ip", "-n", NAMESPACE, "addr", "add", address, "dev", there);
    await must("ip", "-n", NAMESPACE, "link", "set", there, "up");
  }
}

export async function closeOutside(): Promise<void> {
  // Its cables go with it.
  await run(["ip", "netns", "del", NAMESPACE]);
}

/** A DHCP and name server out there. */
export interface DhcpServer {
  /** What it has logged so far. */
  log(): string;
  /** Resolves when a line fits that was logged after the first `from` characters. */
  logs(pattern: RegExp, from?: number): Promise<void>;
  close(): Promise<void>;
}

/** `options` of dnsmasq, on the interface with the number that the network has in `openOutside`. */
export async function startDhcpServer(directory: string, index: number, options: string[]): Promise<DhcpServer> {
  await mkdir(directory, { recursive: true });
  const logFile = `${directory}/dnsmasq.log`;
  const output = openSync(logFile, "a");
  const child = Bun.spawn(
    [
      "ip",
      "netns",
      "exec",
      NAMESPACE,
      "dnsmasq",
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--log-facility=-",
      "--log-dhcp",
      "--user=root",
      "--no-resolv",
      "--no-hosts",
      "--no-ping",
      "--bind-interfaces",
      `--interface=out${index}`,
      `--dhcp-leasefile=${directory}/leases`,
      "--pid-file",
      ...options,
    ],
    { stdin: "ignore", stdout: output, stderr: output },
  );
  closeSync(output);
  const log = (): string => (existsSync(logFile) ? readFileSync(logFile, "utf8") : "");
  return {
    log,
    logs: async (pattern, from = 0) => {
      const deadline = Date.now() + LOG_LIMIT_MILLISECONDS;
      while (!pattern.test(log().slice(from))) {
        if (Date.now() > deadline) throw new Error(`${pattern} was not logged:\n${log().slice(from).slice(-3000)}`);
        await Bun.sleep(200);
      }
    },
    close: async () => {
      child.kill();
      await child.exited;
      await rm(directory, { recursive: true, force: true });
    },
  };
}
