/** What an engine is made with. */
import type { RegistrySettings } from "../registry/settings.ts";
import type { DatastorePath, VSphere } from "../vsphere/contract.ts";
import type { BindSettings } from "./binds/settings.ts";
import type { GuestLinkOptions } from "./guests/guest-links.ts";
import type { IsoFacts } from "./isos/record.ts";
import type { ContainerNetworkOptions } from "./networks/container-networks.ts";
import type { PortGroupOptions } from "./networks/port-groups.ts";
import type { BuildInformation } from "./system/index.ts";

export interface EngineOptions {
  vsphere: VSphere;
  /** Name of the VCH; its directory on the datastore. */
  name: string;
  bridge: {
    /** This machine's interface on the bridge network. */
    interfaceName: string;
    /** Port group of the bridge network. */
    network: string;
    subnet: string;
    gateway: string;
    /** Left out: the default bridge has no IPv6. */
    ipv6?: { subnet: string; gateway: string };
  };
  /** Where networks that users make get their port groups from; without it they make none. */
  portGroups?: PortGroupOptions;
  /** Port groups on which containers have addresses of their own. */
  containerNetworks?: readonly ContainerNetworkOptions[];
  /** The bootstrap ISO: on the datastore already, or a file of this machine that is uploaded once. */
  iso: { datastorePath: DatastorePath } | { file: string; facts: IsoFacts };
  /** Where tethers call. `host` is the gateway address when left out; the port must stay the same over restarts. */
  link: Omit<GuestLinkOptions, "host" | "log"> & { host?: string };
  /** Asked at each use, so that changed settings count at once. */
  registries: () => RegistrySettings;
  /** Paths of this machine that containers may mount; none when left out. */
  binds?: BindSettings;
  /** Of containers that say nothing. */
  defaults: { memoryMB: number; cpus: number };
  /** Most containers; 0 or nothing for no limit. */
  containerLimit?: number;
  /** Directory of this machine for the files of `docker build` on their way; the system's temporary directory when left out. */
  buildDirectory?: string;
  build: BuildInformation;
  log: (message: string) => void;
  /** Details for whoever looks for something; nowhere when left out. */
  debug?: (message: string) => void;
}
