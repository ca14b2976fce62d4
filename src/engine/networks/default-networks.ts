/** The networks that always exist, by Docker's names. Their ids follow from the VCH's name, so they are the same after a restart. */
import { idOf } from "../identifiers.ts";
import { NETWORK_OPTION, type NetworkRecord } from "./network-record.ts";

export const BRIDGE = "bridge";
export const NONE = "none";
export const HOST = "host";
export const PREDEFINED: readonly string[] = [BRIDGE, NONE, HOST];

export function defaultNetworks(
  vch: string,
  bridge: { network: string; subnet: string; gateway: string; ipv6?: { subnet: string; gateway: string } },
  created: string,
): { bridge: NetworkRecord; none: NetworkRecord; host: NetworkRecord } {
  const record = (name: string, driver: NetworkRecord["driver"]): NetworkRecord => ({
    version: 1,
    id: idOf("network", vch, name),
    name,
    created,
    driver,
    status: "ready",
    portGroup: "",
    internal: false,
    attachable: false,
    options: {},
    labels: {},
  });
  return {
    bridge: {
      ...record(BRIDGE, "bridge"),
      portGroup: bridge.network,
      portGroupGiven: true,
      ipv4: { subnet: bridge.subnet, gateway: bridge.gateway, auxiliary: {} },
      ...(bridge.ipv6 ? { ipv6: { ...bridge.ipv6, auxiliary: {} } } : {}),
      options: { [NETWORK_OPTION.defaultBridge]: "true", [NETWORK_OPTION.portGroup]: bridge.network },
    },
    none: record(NONE, "null"),
    host: record(HOST, "host"),
  };
}
