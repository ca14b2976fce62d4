/** The four servers that the driver's tests run against, and in what they differ from vSphere or from each other. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { VSphereTarget } from "../../src/vsphere/index.ts";
import { serveFakeLab } from "../lab/fake-lab-process.ts";
import { startSimulator } from "./simulator.ts";

/** Ways in which a server is not what a vSphere is. Each one has its reason in DIFFERENCES. */
export type Difference =
  | "forgets on restart"
  | "ignores changeVersion"
  | "tells devices late"
  | "does not tell memory"
  | "no hot-add of controllers";

export const DIFFERENCES: Record<Difference, string> = {
  "forgets on restart":
    "its inventory is in memory: after a restart the VMs of before are gone, and the driver says so",
  "ignores changeVersion": "ReconfigVM_Task takes any changeVersion; ConcurrentAccess comes from the proxy instead",
  "tells devices late": "a new VM is in the view before its devices and extraConfig are; the tests wait for them",
  "does not tell memory": "a changed memory size is not told to watchers (`config.hardware.memoryMB`)",
  "no hot-add of controllers":
    "as on ESXi with a guest that does not take part, a disk for a bus without controller cannot be added while the VM runs",
};

export interface RunningServer {
  target: VSphereTarget;
  pid: number;
  stop(): Promise<void>;
}

export interface ServerKind {
  name: string;
  apiType: "VirtualCenter" | "HostAgent";
  /** Of a port group for VMs. */
  network: string;
  /** What has to be chosen among several. */
  selection: Partial<VSphereTarget>;
  differences: readonly Difference[];
  /** With the same port and directory the same server starts again. */
  start(directory: string, port?: number, ...options: string[]): Promise<RunningServer>;
}

async function simulator(selection: Partial<VSphereTarget>, options: string[]): Promise<RunningServer> {
  const { url, fingerprint, pid, stop } = await startSimulator(...options);
  return { target: { url, fingerprint, username: "user", password: "pass", ...selection }, pid, stop };
}

async function lab(personality: "VirtualCenter" | "HostAgent", directory: string, port = 0): Promise<RunningServer> {
  const { url, fingerprint, pid, stop } = await serveFakeLab(directory, personality, port);
  return { target: { url, fingerprint, username: "administrator@vsphere.local", password: "secret" }, pid, stop };
}

const listen = (port = 0): string[] => ["-listen", `127.0.0.1:${port}`];
const IN_SIMULATED_CENTER = { resourcePool: "DC0_C0_RP1", datastore: "LocalDS_1", folder: "vm/F0" };
const OF_SIMULATOR: Difference[] = [
  "forgets on restart",
  "ignores changeVersion",
  "tells devices late",
  "does not tell memory",
];

export const SERVERS: readonly ServerKind[] = [
  {
    name: "vcsim as vCenter",
    apiType: "VirtualCenter",
    network: "DC0_DVPG0",
    selection: IN_SIMULATED_CENTER,
    differences: OF_SIMULATOR,
    start: (_directory, port, ...options) => simulator(IN_SIMULATED_CENTER, [...listen(port), ...options]),
  },
  {
    name: "vcsim as standalone host",
    apiType: "HostAgent",
    network: "VM Network",
    selection: {},
    differences: OF_SIMULATOR,
    start: (_directory, port, ...options) => simulator({}, ["-esx", ...listen(port), ...options]),
  },
  {
    name: "lab as vCenter",
    apiType: "VirtualCenter",
    network: "VM Network",
    selection: {},
    differences: ["no hot-add of controllers"],
    start: (directory, port) => lab("VirtualCenter", directory, port),
  },
  {
    name: "lab as standalone host",
    apiType: "HostAgent",
    network: "VM Network",
    selection: {},
    differences: ["no hot-add of controllers"],
    start: (directory, port) => lab("HostAgent", directory, port),
  },
];

/** Runs with a folder for the server's state, which is removed afterwards. */
export async function stateFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "vch-server-"));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}
