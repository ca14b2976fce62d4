/** Addresses that containers have by DHCP: their guests tell them, and guests are hostile. */
import { parseIp } from "../../format/ip-address.ts";
import type { GuestState } from "../../link/guest-configuration.ts";
import type { Container } from "../containers/container.ts";
import type { EndpointRecord } from "../containers/document.ts";

type Place = Pick<EndpointRecord, "address" | "prefixLength" | "gateway">;

const isIpv4 = (text: unknown): text is string => typeof text === "string" && parseIp(text)?.family === 4;

/** Where a container is on a network now: as it was given an address, or as its guest says. Empty while there is none. */
export function placeOf(container: Container, endpoint: EndpointRecord): Place {
  return endpoint.dynamic ? leasedPlace(container.guest, endpoint.macAddress) : endpoint;
}

function leasedPlace(guest: GuestState | undefined, macAddress: string): Place {
  const lease = guest?.leases?.find((entry) => entry?.mac === macAddress);
  const prefixLength = lease?.prefixLength;
  if (
    !isIpv4(lease?.address) ||
    !Number.isInteger(prefixLength) ||
    Number(prefixLength) < 0 ||
    Number(prefixLength) > 32
  )
    return { address: "", prefixLength: 0, gateway: "" };
  return {
    address: lease.address,
    prefixLength: Number(prefixLength),
    gateway: isIpv4(lease.gateway) ? lease.gateway : "",
  };
}

/** True when peers have to be told. */
export const leasesDiffer = (before: GuestState | undefined, now: GuestState): boolean =>
  JSON.stringify(before?.leases ?? []) !== JSON.stringify(now.leases ?? []);
