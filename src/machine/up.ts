import { mkdir } from "node:fs/promises";
import { ensureBootstrapIso } from "./bootstrap-iso.ts";
import { ensureCertificates } from "./certificates.ts";
import { LAB_SWITCH } from "../lab/hypervisor/index.ts";
import { connectVSphere } from "../vsphere/index.ts";
import { findDaemon, startDaemon, stopDaemon } from "./daemon.ts";
import type { LabReady } from "./lab-process.ts";
import type { StatePaths } from "./paths.ts";
import { importSampleImage } from "./sample-image.ts";
import {
  type ControlLink,
  controlLinkOf,
  type EndpointSettings,
  makeSettings,
  readSettings,
  type SettingsChoices,
  writeSettings,
} from "./settings.ts";

export interface UpRequest {
  choices: SettingsChoices;
  /** Which of the changeable choices were named on this command line. */
  changed: { memory: boolean; cpus: boolean; insecureRegistries: boolean };
  /** What was named of the way that guests are reached by. */
  controlLink: { carrier?: ControlLink | undefined; address?: string; port?: number };
  sampleImage: boolean;
  say: (line: string) => void;
}

async function settle(paths: StatePaths, request: UpRequest): Promise<EndpointSettings> {
  const { external } = request.choices;
  const known = await readSettings(paths);
  if (known && external) {
    if (known.lab !== undefined)
      throw new Error(
        `The VCH in ${paths.root} runs on its own lab. Choose another --state for one on ${external.vsphere.url}.`,
      );
    known.vsphere = external.vsphere;
    known.bridge = { ...known.bridge, network: external.network, interfaceName: external.interfaceName };
  }
  const settings = known ?? (await makeSettings(request.choices));
  if (request.changed.memory) settings.defaults.memoryMB = request.choices.memoryMB;
  if (request.changed.cpus) settings.defaults.cpus = request.choices.cpus;
  if (request.changed.insecureRegistries) settings.insecureRegistries = request.choices.insecureRegistries;
  if (request.choices.bindRoots !== undefined) settings.bindRoots = request.choices.bindRoots;
  const { carrier, address, port } = request.controlLink;
  if (carrier !== undefined || address !== undefined) {
    const before = controlLinkOf(settings);
    settings.controlLink = {
      ...before,
      ...(carrier === undefined ? {} : { carrier }),
      ...(address === undefined ? {} : { address }),
      ...(port === undefined ? {} : { port }),
    };
  }
  const link = controlLinkOf(settings);
  if (settings.lab === undefined && link.carrier !== "net" && link.address === undefined)
    throw new Error(
      `--control-link ${link.carrier} needs an address of this machine that the hosts of ${settings.vsphere.url} can dial: add --serial-address.`,
    );
  const { containerNetworks } = request.choices;
  if (containerNetworks !== undefined) {
    const bridge = containerNetworks.find(({ portGroup }) => portGroup === settings.bridge.network);
    if (bridge)
      throw new Error(
        `--container-network ${bridge.portGroup}: this port group is the bridge network, which is for this VCH alone. Choose another.`,
      );
    settings.containerNetworks = containerNetworks;
  }
  await writeSettings(paths, settings);
  return settings;
}

/** A running lab gets the port groups of container networks; one that starts makes them itself. */
async function addPortGroups({ vsphere, containerNetworks }: EndpointSettings): Promise<void> {
  if (!containerNetworks?.length) return;
  const connection = await connectVSphere(vsphere);
  try {
    for (const { portGroup } of containerNetworks)
      await connection.addPortGroup({ name: portGroup, virtualSwitch: LAB_SWITCH, vlanId: 0 });
  } finally {
    await connection.close();
  }
}

/**
 * Makes what is missing and starts what is not running. Safe to repeat, and to repeat after an interruption: every step
 * looks first whether it is done.
 */
export async function bringUp(paths: StatePaths, request: UpRequest): Promise<EndpointSettings> {
  await mkdir(paths.root, { recursive: true, mode: 0o755 });
  const before = (await readSettings(paths))?.containerNetworks ?? [];
  const settings = await settle(paths, request);
  const networksDiffer = JSON.stringify(before) !== JSON.stringify(settings.containerNetworks ?? []);
  await ensureCertificates(paths, settings);
  await ensureBootstrapIso(paths, request.say);
  if (settings.lab === undefined) request.say(`vSphere: ${settings.vsphere.url}`);
  else if ((await findDaemon(paths, "lab")) === undefined) {
    const ready = JSON.parse(await startDaemon(paths, "lab", ["lab", "--state", paths.root])) as LabReady;
    settings.vsphere.url = ready.url;
    settings.vsphere.fingerprint = ready.fingerprint;
    settings.bridge.interfaceName = ready.bridgeInterface;
    await writeSettings(paths, settings);
    request.say(`Lab: ${ready.url}, VMs run with ${ready.accelerator}`);
  } else {
    request.say(`Lab: running at ${settings.vsphere.url}`);
    await addPortGroups(settings);
  }
  if (networksDiffer && (await stopDaemon(paths, "serve")))
    request.say("Endpoint: starts again with the changed container networks; containers go on meanwhile");
  if ((await findDaemon(paths, "serve")) === undefined) {
    await startDaemon(paths, "serve", ["serve", "--state", paths.root]);
    request.say(
      `Endpoint: ${settings.docker.host}:${settings.docker.port} (TLS, client certificate) and ${paths.socket}`,
    );
  } else request.say(`Endpoint: running at ${settings.docker.host}:${settings.docker.port}`);
  if (request.sampleImage) await importSampleImage(paths, request.say);
  return settings;
}
