import { join } from "node:path";
import type { Hypervisor } from "../lab/hypervisor/contract.ts";
import { createDiskStore, createHypervisor } from "../lab/hypervisor/index.ts";
import { type LabOptions, startLab } from "../lab/index.ts";
import { announceReady, recordDaemon } from "./daemon.ts";
import { log } from "./log.ts";
import type { StatePaths } from "./paths.ts";
import type { EndpointSettings } from "./settings.ts";
import { untilTermination } from "./termination.ts";

/** What `vch lab` tells the process that started it. */
export interface LabReady {
  url: string;
  fingerprint: string;
  /** Linux bridge of the bridge network's port group. */
  bridgeInterface: string;
  accelerator: string;
}

/** What a lab has besides one host and its datastore. */
export type LabTopology = Partial<Pick<LabOptions, "clusters" | "datastores" | "portGroups">>;

/** Runs the embedded vSphere until SIGTERM or SIGINT. Its VMs go on running afterwards. */
export async function runLab(
  paths: StatePaths,
  settings: EndpointSettings,
  listen: { host: string; port: number },
  personality: string,
  topology: LabTopology = {},
): Promise<void> {
  if (personality !== "HostAgent" && personality !== "VirtualCenter")
    throw new Error(`--personality "${personality}": choose HostAgent or VirtualCenter.`);
  let hypervisor: Hypervisor | undefined;
  const lab = await startLab({
    stateDirectory: paths.lab,
    listen,
    personality,
    username: settings.vsphere.username,
    password: settings.vsphere.password,
    ...(topology.clusters === undefined ? {} : { clusters: topology.clusters }),
    datastores: [{ name: "datastore1", directory: paths.datastore }, ...(topology.datastores ?? [])],
    portGroups: [
      ...new Set([
        settings.bridge.network,
        ...(settings.containerNetworks ?? []).map(({ portGroup }) => portGroup),
        ...(topology.portGroups ?? []),
      ]),
    ],
    hypervisor: async (events, diskRoots) => {
      hypervisor = await createHypervisor({
        stateDirectory: paths.lab,
        runDirectory: join(paths.run, "lab"),
        diskRoots,
        events,
        log: log("hypervisor"),
        directBoot: true,
      });
      return hypervisor;
    },
    disks: createDiskStore,
    log: log("lab"),
  });
  const portGroup = (await hypervisor?.portGroups())?.find(({ name }) => name === settings.bridge.network);
  if (hypervisor === undefined || portGroup === undefined)
    throw new Error(`The lab made no port group "${settings.bridge.network}".`);
  const ready: LabReady = {
    url: lab.url,
    fingerprint: lab.fingerprint,
    bridgeInterface: portGroup.bridge,
    accelerator: `${hypervisor.accelerator.kind} (${hypervisor.accelerator.reason})`,
  };
  await recordDaemon(paths, "lab");
  console.log(`lab: ${ready.url}, fingerprint ${ready.fingerprint}, accelerator ${ready.accelerator}`);
  await announceReady(JSON.stringify(ready));
  await untilTermination();
  await lab.close();
}
