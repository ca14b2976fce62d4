/** What is kept of a network: one JSON file on the datastore. */
import type { ExternalNetwork } from "./container-networks.ts";

/** One range of addresses: Docker's IPAM.Config entry. */
export interface AddressBlock {
  /** `172.18.0.0/16`, `fd00:18::/64` */
  subnet: string;
  gateway: string;
  ipRange?: string;
  /** Addresses that are never handed out, by the name the client gave them. */
  auxiliary: Record<string, string>;
}

export interface NetworkRecord {
  version: 1;
  id: string;
  name: string;
  /** RFC 3339 with nanoseconds. */
  created: string;
  driver: "bridge" | "null" | "host" | "external";
  /** `making` and `removing` are steps that were cut off when a start of the engine finds them: then the network goes. */
  status: "making" | "ready" | "removing";
  /** Name of the port group; empty for `none` and `host`. */
  portGroup: string;
  /** VLAN of the port group when it was taken from the administrator's range. */
  vlanId?: number;
  /** The port group was there before and stays when the network goes. */
  portGroupGiven?: boolean;
  internal: boolean;
  attachable: boolean;
  ipv4?: AddressBlock;
  /** Of a network with IPv6. */
  ipv6?: AddressBlock;
  /** Of a container network, which is a port group of the administrator. */
  external?: ExternalNetwork;
  options: Record<string, string>;
  labels: Record<string, string>;
}

/** Options of the driver `bridge` that are applied. */
export const NETWORK_OPTION = {
  masquerade: "com.docker.network.bridge.enable_ip_masquerade",
  communication: "com.docker.network.bridge.enable_icc",
  hostBinding: "com.docker.network.bridge.host_binding_ipv4",
  defaultBridge: "com.docker.network.bridge.default_bridge",
  bridgeName: "com.docker.network.bridge.name",
  mtu: "com.docker.network.driver.mtu",
  interfacePrefix: "com.docker.network.container_iface_prefix",
  /** Ours: use this port group, which the administrator has made. */
  portGroup: "vch.network.portgroup",
} as const;

/** What inspect tells of a container network; only the administrator sets it. */
export const EXTERNAL_OPTION = {
  firewall: "vch.network.firewall",
  ranges: "vch.network.ip-range",
  nameServers: "vch.network.dns",
} as const;

export const mtuOf = ({ options }: NetworkRecord): number | undefined => {
  const text = options[NETWORK_OPTION.mtu];
  return text === undefined ? undefined : Number(text);
};

export const prefixLengthOf = (block: AddressBlock): number => Number(block.subnet.split("/")[1]);
