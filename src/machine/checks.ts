import { accessSync, constants, existsSync, statfsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { AptConfiguration } from "../../iso-builder/debian/apt-configuration.ts";
import { probeAccelerator } from "../lab/hypervisor/index.ts";
import { findDaemon } from "./daemon.ts";
import type { StatePaths } from "./paths.ts";
import { readSettings } from "./settings.ts";

/** One thing that `vch doctor` looked at. Field names and ids are stable: scripts read them (`vch doctor --json`). */
export interface Check {
  id: string;
  /** What was looked for, in a few words. */
  title: string;
  status: "PASS" | "FAIL";
  /** False: vch works without, as `detail` says. */
  required: boolean;
  detail: string;
  /** Command that mends it; absent when nothing is to do. */
  fix?: string;
}

const MINIMUM_QEMU_MAJOR = 7;
/** Room for an ISO, a few images and their containers. */
const MINIMUM_FREE_BYTES = 4 * 2 ** 30;
const CONNECT_TIMEOUT_MILLISECONDS = 2_000;

type Verdict = Pick<Check, "status" | "detail" | "fix">;
const pass = (detail: string): Verdict => ({ status: "PASS", detail });
const fail = (detail: string, fix?: string): Verdict => ({ status: "FAIL", detail, fix });

function output(command: string[]): string | undefined {
  try {
    const result = Bun.spawnSync(command, { stderr: "pipe" });
    return result.exitCode === 0 ? result.stdout.toString().trim() : undefined;
  } catch {
    return undefined;
  }
}

function checkPlatform(): Verdict {
  return process.platform === "linux" && process.arch === "x64"
    ? pass("Linux on x86_64")
    : fail(`${process.platform} on ${process.arch}: the embedded lab runs on Linux on x86_64 only`);
}

function checkRoot(): Verdict {
  return process.getuid?.() === 0
    ? pass("running as root")
    : fail("bridges, taps and port publishing need root", "run vch with sudo, or as root");
}

function checkQemu(): Verdict {
  const version = output(["qemu-system-x86_64", "--version"])?.match(/version (\d+)\.(\d+)\S*/);
  if (!version) return fail("qemu-system-x86_64 is not installed", "apt-get install qemu-system-x86");
  return Number(version[1]) >= MINIMUM_QEMU_MAJOR
    ? pass(`QEMU ${version[0].slice(8)}`)
    : fail(`QEMU ${version[0].slice(8)} is older than ${MINIMUM_QEMU_MAJOR}.0`, "install a newer qemu-system-x86");
}

async function checkKvm(paths: StatePaths): Promise<Verdict> {
  if (output(["qemu-system-x86_64", "--version"]) === undefined)
    return fail("cannot be tried without QEMU", "apt-get install qemu-system-x86");
  const accelerator = await probeAccelerator(paths.lab);
  if (accelerator.kind === "kvm") return pass("a test guest booted with KVM");
  return fail(
    `${accelerator.reason}; VMs run emulated (TCG), several times slower`,
    existsSync("/dev/kvm")
      ? "use a machine whose virtualisation guests can really use"
      : "enable virtualisation in the firmware, then: modprobe kvm_intel || modprobe kvm_amd",
  );
}

function checkBridge(): Verdict {
  if (output(["ip", "-V"]) === undefined) return fail("the command ip is not installed", "apt-get install iproute2");
  const name = `vchtest${process.pid % 100000}`;
  if (output(["ip", "link", "add", name, "type", "bridge"]) === undefined)
    return fail("a Linux bridge cannot be made", process.getuid?.() === 0 ? "modprobe bridge" : "run as root");
  output(["ip", "link", "delete", name]);
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
  } catch {
    return fail("/dev/net/tun cannot be opened: VMs would have no network", "modprobe tun");
  }
  return pass("bridges and taps can be made");
}

function checkNftables(): Verdict {
  return output(["nft", "list", "tables"]) === undefined
    ? fail("nft is missing or may not be used: no NAT, no published ports", "apt-get install nftables")
    : pass("nftables works");
}

function checkDisk(paths: StatePaths): Verdict {
  let folder = paths.root;
  while (!existsSync(folder)) folder = dirname(folder);
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const text = `${(free / 2 ** 30).toFixed(1)} GiB free at ${folder}`;
  return free >= MINIMUM_FREE_BYTES
    ? pass(text)
    : fail(
        `${text}, less than ${MINIMUM_FREE_BYTES / 2 ** 30} GiB`,
        "free some space, or choose another --state directory",
      );
}

/** Whether something listens there. */
function listens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({
      host: host === "0.0.0.0" ? "127.0.0.1" : host,
      port,
      timeout: CONNECT_TIMEOUT_MILLISECONDS,
    });
    const finish = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => finish(true));
    socket.once("timeout", () => finish(false));
    socket.once("error", () => finish(false));
  });
}

async function checkPorts(paths: StatePaths): Promise<Verdict> {
  const settings = await readSettings(paths);
  const wanted = [
    { name: "serve" as const, ...(settings?.docker ?? { host: "127.0.0.1", port: 2376 }) },
    { name: "lab" as const, ...(settings?.lab ?? { host: "127.0.0.1", port: 8989 }) },
  ];
  for (const { name, host, port } of wanted)
    if ((await findDaemon(paths, name)) === undefined && (await listens(host, port)))
      return fail(
        `another program listens on ${host}:${port}`,
        name === "serve" ? "vch up --listen 127.0.0.1:PORT" : "vch up --lab-listen 127.0.0.1:PORT",
      );
  return pass(`${wanted.map(({ host, port }) => `${host}:${port}`).join(" and ")} are free or ours`);
}

async function checkKernelPackage(paths: StatePaths): Promise<Verdict> {
  if (await Bun.file(paths.iso).exists()) return pass(`bootstrap ISO is built: ${paths.iso}`);
  const { sources } = await AptConfiguration.read();
  if (sources.length > 0) return pass(`packages come from ${[...new Set(sources.map(({ uri }) => uri))].join(", ")}`);
  return fail(
    "no bootstrap ISO yet, and no package sources of Debian to make one from",
    `vch iso build --kernel FILE --package FILE … --out ${paths.iso}`,
  );
}

function checkDockerCli(): Verdict {
  const version = output(["docker", "version", "--format", "{{.Client.Version}}"]) ?? output(["docker", "--version"]);
  return version === undefined
    ? fail("the docker command is not installed", "apt-get install docker-cli || apt-get install docker.io")
    : pass(`docker ${version.split("\n")[0]}`);
}

async function checkMemory(): Promise<Verdict> {
  const available = Number(/MemAvailable:\s+(\d+)/.exec(await readFile("/proc/meminfo", "utf8"))?.[1] ?? 0) / 1024;
  return available >= 1024
    ? pass(`${Math.round(available)} MB available`)
    : fail(
        `${Math.round(available)} MB available: room for a few small VMs only`,
        "end other programs, or start containers with -m",
      );
}

/** Looks at everything that the lab and the endpoint need of this machine; changes nothing. */
export async function checkMachine(paths: StatePaths): Promise<Check[]> {
  const list: [id: string, title: string, required: boolean, check: () => Verdict | Promise<Verdict>][] = [
    ["platform", "operating system", true, checkPlatform],
    ["root", "permissions", true, checkRoot],
    ["qemu", "QEMU", true, checkQemu],
    ["kvm", "hardware virtualisation", false, () => checkKvm(paths)],
    ["bridge", "bridges and taps", true, checkBridge],
    ["nftables", "NAT and port publishing", true, checkNftables],
    ["disk", "disk space", true, () => checkDisk(paths)],
    ["memory", "memory", false, checkMemory],
    ["ports", "ports", true, () => checkPorts(paths)],
    ["kernel-package", "kernel for container VMs", true, () => checkKernelPackage(paths)],
    ["docker-cli", "docker command", false, checkDockerCli],
  ];
  const checks: Check[] = [];
  for (const [id, title, required, check] of list) checks.push({ id, title, required, ...(await check()) });
  return checks;
}
