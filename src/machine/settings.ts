import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { formatIp, formatNetwork, parseNetwork } from "../format/ip-address.ts";
import type { VSphereTarget } from "../vsphere/index.ts";
import { writeFileAtomically } from "./atomic-file.ts";
import type { BindRoots } from "./bind-roots.ts";
import { chooseBridgeSubnet, gatewayOf } from "./bridge-subnet.ts";
import type { ContainerNetwork } from "./container-networks.ts";
import type { StatePaths } from "./paths.ts";

/** What `vch up` decided once and every later start keeps: addresses that guests know must not move. */
export interface EndpointSettings {
  version: 1;
  /** Name of the VCH; part of inventory folder, datastore directory and nftables table. */
  name: string;
  vsphere: {
    /** `https://host:port/sdk` */
    url: string;
    username: string;
    password: string;
    /** SHA-256 of the server's certificate; filled in when the embedded lab has started. */
    fingerprint?: string;
    datacenter?: string;
    resourcePool?: string;
    folder?: string;
    datastore?: string;
    host?: string;
    /** PEM, instead of the fingerprint. */
    certificateAuthority?: string;
  };
  /** Set when the vSphere is our own, started by `vch up`. */
  lab?: { host: string; port: number };
  docker: { host: string; port: number };
  bridge: {
    /** Port group of the bridge network. */
    network: string;
    subnet: string;
    gateway: string;
    /** Of a bridge network with IPv6. */
    ipv6?: { subnet: string; gateway: string };
    /** Where tethers dial, on the gateway address. */
    linkPort: number;
    /** Name of this machine's interface on that port group; filled in by the lab. */
    interfaceName?: string;
  };
  /** How VMs are reached that no network of the endpoint can reach. Not in settings of earlier versions. */
  controlLink?: ControlLinkSettings;
  /** Port groups on which containers have addresses of their own. */
  containerNetworks?: ContainerNetwork[];
  defaults: { memoryMB: number; cpus: number };
  /** Registries that may be spoken to without TLS: `host[:port]` or CIDR. */
  insecureRegistries: string[];
  /** Paths of this machine that containers may mount; by default any with a lab, none without. */
  bindRoots?: BindRoots;
}

export const CONTROL_LINKS = ["auto", "net", "serial"] as const;
export type ControlLink = (typeof CONTROL_LINKS)[number];

export interface ControlLinkSettings {
  /** `auto`: over a serial port where no network carries it; `net`: over a hidden vNIC there; `serial`: over a serial port always. */
  carrier: ControlLink;
  /** What hosts dial for serial ports, an address of this machine. The gateway of the bridge network when left out. */
  address?: string;
  port: number;
}

/** IANA has it free; beside the control link's 2377. */
export const SERIAL_PORT = 2378;

/**
 * The lab's host is this machine. Other hosts need a route to the address, a firewall rule (remoteSerialPort) and a licence with
 * remote serial ports, which is for the administrator to say: `net` there.
 */
export const controlLinkOf = (settings: Pick<EndpointSettings, "lab" | "controlLink">): ControlLinkSettings =>
  settings.controlLink ?? { carrier: settings.lab === undefined ? "net" : "auto", port: SERIAL_PORT };

export interface SettingsChoices {
  name: string;
  listen: { host: string; port: number };
  labListen: { host: string; port: number };
  subnet?: string;
  /** Gives the bridge network IPv6. */
  subnet6?: string;
  memoryMB: number;
  cpus: number;
  insecureRegistries: string[];
  /** Undefined leaves them as they are. */
  containerNetworks?: ContainerNetwork[];
  bindRoots?: BindRoots;
  /** A vSphere that is not our own lab, with the bridge network there. */
  external?: { vsphere: VSphereTarget; network: string; interfaceName: string };
}

/** Name rule: it ends up in file names, folder names and an nftables table. */
const VCH_NAME = /^[a-z0-9][a-z0-9-]{0,30}$/;

/** Settings of a first start. The embedded lab gets a new random password. */
export async function makeSettings(choices: SettingsChoices): Promise<EndpointSettings> {
  if (!VCH_NAME.test(choices.name))
    throw new Error(
      `Name "${choices.name}": use 1 to 31 lower-case letters, digits and dashes, starting with a letter or digit.`,
    );
  const subnet = choices.subnet ?? (await chooseBridgeSubnet());
  return {
    version: 1,
    name: choices.name,
    ...(choices.external ? { vsphere: choices.external.vsphere } : embeddedLab(choices.labListen)),
    docker: choices.listen,
    bridge: {
      network: choices.external?.network ?? "bridge",
      subnet,
      gateway: gatewayOf(subnet),
      ...(choices.subnet6 === undefined ? {} : { ipv6: ipv6Of(choices.subnet6) }),
      linkPort: 2377,
      ...(choices.external ? { interfaceName: choices.external.interfaceName } : {}),
    },
    defaults: { memoryMB: choices.memoryMB, cpus: choices.cpus },
    insecureRegistries: choices.insecureRegistries,
    ...(choices.bindRoots === undefined ? {} : { bindRoots: choices.bindRoots }),
  };
}

/** The subnet with its first address, which the endpoint takes. */
function ipv6Of(text: string): { subnet: string; gateway: string } {
  const network = parseNetwork(text);
  if (network?.family !== 6 || network.prefixLength < 8 || network.prefixLength > 126)
    throw new Error(`Subnet "${text}": write an IPv6 network with 8 to 126 prefix bits, such as fd00:30::/64.`);
  return { subnet: formatNetwork(network), gateway: formatIp({ family: 6, value: network.first + 1n }) };
}

function embeddedLab(listen: { host: string; port: number }): Pick<EndpointSettings, "vsphere" | "lab"> {
  return {
    vsphere: {
      url: `https://${listen.host}:${listen.port}/sdk`,
      username: "root",
      password: randomBytes(18).toString("base64url"),
    },
    lab: listen,
  };
}

/** The settings written by an earlier start, or undefined. A damaged file is an error that names it. */
export async function readSettings(paths: StatePaths): Promise<EndpointSettings | undefined> {
  let text: string;
  try {
    text = await readFile(paths.settings, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const settings = JSON.parse(text) as EndpointSettings;
    if (settings.version !== 1) throw new Error(`version ${settings.version} is not known`);
    return settings;
  } catch (error) {
    throw new Error(
      `${paths.settings} is damaged (${error instanceof Error ? error.message : error}). Restore it, or remove it to start anew.`,
    );
  }
}

export async function writeSettings(paths: StatePaths, settings: EndpointSettings): Promise<void> {
  await writeFileAtomically(paths.settings, `${JSON.stringify(settings, undefined, 2)}\n`, 0o600);
}
