/** Networks as `docker network ls` and `inspect` show them. */
import type { Container } from "../containers/container.ts";
import type { EngineContext } from "../context.ts";
import type { Filters, Schemas } from "../contract.ts";
import { invalid } from "../errors.ts";
import { anyOf, booleanFilter, checkFilters, expressionMatches, labelsMatch } from "../filters.ts";
import { PREDEFINED } from "./default-networks.ts";
import { placeOf } from "./leased.ts";
import { type AddressBlock, NETWORK_OPTION, type NetworkRecord } from "./network-record.ts";

/** Containers that are on the network; a stopped one only has its place there. */
export function containersOn(context: EngineContext, network: NetworkRecord): Container[] {
  return context.table
    .all()
    .filter(({ document }) => Object.values(document.endpoints).some(({ networkId }) => networkId === network.id));
}

export const activeOn = (context: EngineContext, network: NetworkRecord): Container[] =>
  containersOn(context, network).filter((container) => container.isRunning || container.starting !== undefined);

export function listNetworks(context: EngineContext, filters: Filters): Schemas["NetworkInspect"][] {
  checkFilters(filters, ["dangling", "driver", "id", "label", "label!", "name", "scope", "type"]);
  const dangling = booleanFilter(filters, "dangling");
  for (const type of filters.get("type") ?? [])
    if (!["builtin", "custom"].includes(type)) throw invalid(`invalid filter: 'type'='${type}'`);
  const isBuiltIn = (record: NetworkRecord): boolean => PREDEFINED.includes(record.name);
  return context.networks
    .all()
    .filter(
      (record) =>
        anyOf(filters, "name", (value) => expressionMatches(value, record.name)) &&
        anyOf(filters, "id", (value) => record.id.startsWith(value)) &&
        anyOf(filters, "driver", (value) => record.driver === value) &&
        anyOf(filters, "scope", (value) => value === "local") &&
        anyOf(filters, "type", (value) => (value === "builtin") === isBuiltIn(record)) &&
        labelsMatch(filters, record.labels) &&
        // Predefined networks are never dangling, nor do they count as used.
        (dangling === undefined || (!isBuiltIn(record) && dangling === (activeOn(context, record).length === 0))),
    )
    .map((record) => describeNetwork(context, record, false));
}

export function describeNetwork(
  context: EngineContext,
  record: NetworkRecord,
  detailed: boolean,
): Schemas["NetworkInspect"] {
  return {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: "local",
    Driver: record.driver,
    EnableIPv4: true,
    EnableIPv6: record.ipv6 !== undefined,
    IPAM: {
      Driver: record.external && !record.ipv4 ? "dhcp" : "default",
      Options: {},
      Config: [record.ipv4, record.ipv6].flatMap((block) => (block ? [describeBlock(block)] : [])),
    },
    Internal: record.internal,
    Attachable: record.attachable,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: detailed
      ? Object.fromEntries(activeOn(context, record).map((container) => [container.id, resource(container, record)]))
      : {},
    // The port group also where the endpoint chose it: an administrator looks for it.
    Options:
      record.portGroup === "" ? record.options : { ...record.options, [NETWORK_OPTION.portGroup]: record.portGroup },
    Labels: record.labels,
  };
}

const describeBlock = ({ subnet, gateway, ipRange, auxiliary }: AddressBlock): Schemas["IPAMConfig"] => ({
  Subnet: subnet,
  ...(ipRange ? { IPRange: ipRange } : {}),
  Gateway: gateway,
  ...(Object.keys(auxiliary).length > 0 ? { AuxiliaryAddresses: auxiliary } : {}),
});

function resource(container: Container, network: NetworkRecord): Schemas["EndpointResource"] {
  const endpoint = Object.values(container.document.endpoints).find(({ networkId }) => networkId === network.id);
  const place = endpoint && placeOf(container, endpoint);
  return {
    Name: container.name,
    EndpointID: endpoint?.endpointId ?? "",
    MacAddress: endpoint?.macAddress ?? "",
    IPv4Address: place?.address ? `${place.address}/${place.prefixLength}` : "",
    IPv6Address: endpoint?.ipv6 ? `${endpoint.ipv6.address}/${endpoint.ipv6.prefixLength}` : "",
  };
}
