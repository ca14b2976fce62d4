/** The networks that always exist, by Docker's names. Their ids follow from the VCH's name, so they are the same after a restart. */
import { idOf } from "../identifiers.ts";

export interface NetworkRecord {
  id: string;
  name: string;
  driver: "bridge" | "null" | "host";
  created: string;
}

export interface DefaultNetworks {
  bridge: NetworkRecord;
  none: NetworkRecord;
  host: NetworkRecord;
  /** Port group of the bridge network. */
  portGroup: string;
  subnet: string;
  prefixLength: number;
  gateway: string;
}

export function defaultNetworks(
  vch: string,
  bridge: { network: string; subnet: string; gateway: string },
  created: string,
): DefaultNetworks {
  const record = (name: string, driver: NetworkRecord["driver"]): NetworkRecord => ({
    id: idOf("network", vch, name),
    name,
    driver,
    created,
  });
  return {
    bridge: record("bridge", "bridge"),
    none: record("none", "null"),
    host: record("host", "host"),
    portGroup: bridge.network,
    subnet: bridge.subnet,
    prefixLength: Number(bridge.subnet.split("/")[1]),
    gateway: bridge.gateway,
  };
}
