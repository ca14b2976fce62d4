/** What becomes of every field of a network create request and of a container's place on a network. The documentation is made from it. */
import { type FieldRule, isDefault, refusalOf, unknownField } from "../containers/fields.ts";
import { NETWORK_OPTION } from "./network-record.ts";

/** Name of the interface in the guest. */
export const INTERFACE_NAME_OPTION = "com.docker.network.endpoint.ifname";

const applied = (field: string, note: string): FieldRule => ({ field, treatment: "applied", note });
const refused = (field: string, note: string, harmless: readonly unknown[] = []): FieldRule => ({
  field,
  treatment: "refused",
  note,
  harmless,
});

const NO_SWARM = "there is no swarm here; leave it out";
const NO_TEMPLATES = "configuration-only networks are not known here; give each network its options itself";

export const NETWORK_FIELDS: readonly FieldRule[] = [
  applied("Network.Name", "name, which no other network may have"),
  applied("Network.CheckDuplicate", "two networks never have one name"),
  applied("Network.Driver", "bridge; others are refused, each with what to do instead"),
  refused("Network.Scope", NO_SWARM, ["local"]),
  applied("Network.Internal", "no way out, no default route, no published ports"),
  applied("Network.Attachable", "shown; containers can be connected to every network"),
  refused("Network.Ingress", NO_SWARM),
  refused("Network.ConfigOnly", NO_TEMPLATES),
  refused("Network.ConfigFrom", NO_TEMPLATES),
  applied("Network.IPAM", "one block of addresses for each family: subnet, gateway, ip-range, auxiliary addresses"),
  applied(
    "Network.EnableIPv4",
    "true; a network without IPv4 is refused, because the control link of its containers uses it",
  ),
  applied(
    "Network.EnableIPv6",
    "dual stack; without an IPv6 subnet one is chosen from a unique local prefix (RFC 4193)",
  ),
  applied(
    "Network.Options",
    `${Object.values(NETWORK_OPTION)
      .filter((name) => name !== NETWORK_OPTION.bridgeName && name !== NETWORK_OPTION.defaultBridge)
      .join(", ")}; others are refused`,
  ),
  applied("Network.Labels", "shown and filtered by"),
];

/** Fields of an endpoint that are applied. */
export const ENDPOINT_FIELDS: readonly FieldRule[] = [
  applied(
    "Endpoint.IPAMConfig",
    "IPv4Address and IPv6Address; link-local addresses are refused, the guest makes its own",
  ),
  applied("Endpoint.Links", "names of other containers that only this one knows"),
  applied("Endpoint.Aliases", "further names on a user-defined network"),
  applied("Endpoint.MacAddress", "static MAC address of the vNIC"),
  applied("Endpoint.DriverOpts", `${INTERFACE_NAME_OPTION}: name of the interface in the guest; others are refused`),
  applied("Endpoint.GwPriority", "the highest one has the default route and the published ports"),
];

const RULES = new Map(NETWORK_FIELDS.map((rule) => [rule.field, rule]));

/** Refuses every field of a create request that would not hold. Throws EngineError. */
export function checkNetworkFields(body: object): void {
  for (const [name, value] of Object.entries(body)) {
    if (isDefault(value)) continue;
    const rule = RULES.get(`Network.${name}`);
    if (!rule) throw unknownField(`Network.${name}`);
    if (rule.treatment === "refused" && !(rule.harmless ?? []).includes(value)) throw refusalOf(rule);
  }
}
