/** What becomes of the fields of an endpoint, at `docker create` and `docker network connect`: applied or refused, never ignored. */
import { isIPv4 } from "node:net";
import { parseIp } from "../../format/ip-address.ts";
import { isDefault } from "../containers/fields.ts";
import type { Schemas } from "../contract.ts";
import { invalid, notImplemented } from "../errors.ts";
import { ENDPOINT_FIELDS, INTERFACE_NAME_OPTION } from "./network-fields.ts";

export type EndpointSettings = Partial<Schemas["EndpointSettings"]>;

const APPLIED = new Set(ENDPOINT_FIELDS.map(({ field }) => field.replace("Endpoint.", "")));
/** What inspect answers: a client that sends it back asks for nothing with it. */
const REPORTED = new Set([
  "NetworkID",
  "EndpointID",
  "Gateway",
  "IPAddress",
  "IPPrefixLen",
  "IPv6Gateway",
  "GlobalIPv6Address",
  "GlobalIPv6PrefixLen",
  "DNSNames",
]);
const ALIAS_LIMIT = 256;
const ALIAS = /^[^\s\x00-\x1f\x7f]{1,253}$/;

/** Throws EngineError for anything that would not hold. `network` is the name for messages. */
export function checkEndpoint(network: string, given: EndpointSettings): void {
  for (const [name, value] of Object.entries(given)) {
    if (isDefault(value) || APPLIED.has(name) || REPORTED.has(name)) continue;
    throw invalid(
      `EndpointsConfig.${network}.${name} is not known to this engine, so it would have no effect: leave it out`,
    );
  }
  checkAddresses(given);
  for (const [name, value] of Object.entries(given.DriverOpts ?? {})) {
    if (name !== INTERFACE_NAME_OPTION)
      throw notImplemented(
        `endpoint option ${name} is not supported: it would have no effect. Only ${INTERFACE_NAME_OPTION} is`,
      );
    if (!/^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$/.test(value) || value === "lo")
      throw invalid(`invalid interface name ${JSON.stringify(value)}: give 1 to 15 letters and digits`);
  }
  if ((given.Aliases ?? []).length > ALIAS_LIMIT) throw invalid(`more than ${ALIAS_LIMIT} aliases on one network`);
  for (const alias of given.Aliases ?? [])
    if (!ALIAS.test(alias)) throw invalid(`invalid network alias ${JSON.stringify(alias)}`);
}

function checkAddresses({ IPAMConfig: ipam }: EndpointSettings): void {
  for (const name of Object.keys(ipam ?? {}))
    if (!["IPv4Address", "IPv6Address", "LinkLocalIPs"].includes(name))
      throw invalid(`IPAMConfig.${name} is not known to this engine, so it would have no effect: leave it out`);
  if (ipam?.IPv4Address && !isIPv4(ipam.IPv4Address)) throw invalid(`invalid IPv4 address: ${ipam.IPv4Address}`);
  if (ipam?.IPv6Address && parseIp(ipam.IPv6Address)?.family !== 6)
    throw invalid(`invalid IPv6 address: ${ipam.IPv6Address}`);
  if (ipam?.LinkLocalIPs?.length)
    throw notImplemented(
      "link-local addresses are not supported: the guest's kernel makes one from the MAC address. Leave them out",
    );
}
