/**
 * Container networks: port groups of the administrator on which containers have addresses of their own. Made from the settings at each
 * start; nothing of them is kept.
 */
import { formatNetwork, networkOf, parseIp } from "../../format/ip-address.ts";
import type { TrustLevel } from "../../link/guest-configuration.ts";
import { type AddressRange, rangeText } from "../../network/address-ranges.ts";
import { idOf } from "../identifiers.ts";
import { EXTERNAL_OPTION, type NetworkRecord } from "./network-record.ts";

export interface ContainerNetworkOptions {
  /** As docker knows it. */
  name: string;
  portGroup: string;
  trust: TrustLevel;
  /** Addresses that this VCH may give out. Without them containers ask by DHCP. */
  addresses?: { gateway: string; prefixLength: number; ranges: AddressRange[] };
  /** Name servers; those of the lease when there are none. */
  nameServers: string[];
}

/** What a record of a container network has besides. */
export interface ExternalNetwork {
  trust: TrustLevel;
  /** Empty for DHCP. */
  ranges: AddressRange[];
  nameServers: string[];
}

/** Their ids follow from the VCH's name, so that they are the same after a restart. */
export function containerNetworkRecord(vch: string, options: ContainerNetworkOptions, created: string): NetworkRecord {
  const { name, portGroup, trust, addresses, nameServers } = options;
  const ranges = addresses?.ranges ?? [];
  return {
    version: 1,
    id: idOf("network", vch, name),
    name,
    created,
    driver: "external",
    status: "ready",
    portGroup,
    portGroupGiven: true,
    internal: false,
    attachable: false,
    ...(addresses ? { ipv4: { subnet: subnetOf(addresses), gateway: addresses.gateway, auxiliary: {} } } : {}),
    external: { trust, ranges, nameServers },
    options: {
      [EXTERNAL_OPTION.firewall]: trust,
      ...(ranges.length > 0 ? { [EXTERNAL_OPTION.ranges]: ranges.map(rangeText).join(",") } : {}),
      ...(nameServers.length > 0 ? { [EXTERNAL_OPTION.nameServers]: nameServers.join(",") } : {}),
    },
    labels: {},
  };
}

function subnetOf({ gateway, prefixLength }: { gateway: string; prefixLength: number }): string {
  const address = parseIp(gateway);
  if (address?.family !== 4) throw new Error(`gateway ${gateway} is not an IPv4 address`);
  return formatNetwork(networkOf(address, prefixLength));
}
