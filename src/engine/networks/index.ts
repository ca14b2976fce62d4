/** Networks as the Docker API asks for them: bridge and none, and host, which is shown because clients look for it. */

import type { EngineContext } from "../context.ts";
import type { Filters, Networks, Schemas } from "../contract.ts";
import { conflict, EngineError, invalid, notFound, notImplemented } from "../errors.ts";
import { anyOf, booleanFilter, checkFilters, expressionMatches, labelsMatch } from "../filters.ts";
import type { NetworkRecord } from "./default-networks.ts";

const NO_USER_NETWORKS =
  "networks of your own are not supported yet: each needs a port group of its own. Containers on the bridge network reach each other by name";

export function makeNetworks(context: EngineContext): Networks {
  const { networks } = context;
  const all = (): NetworkRecord[] => [networks.bridge, networks.host, networks.none];
  const find = (reference: string): NetworkRecord => {
    const exact = all().find(({ id, name }) => name === reference || id === reference);
    if (exact) return exact;
    const matches = all().filter(({ id }) => reference !== "" && id.startsWith(reference));
    if (matches.length > 1)
      throw invalid(`network ${reference} is ambiguous (${matches.length} matches found on ID prefix)`);
    const [match] = matches;
    if (!match) throw notFound(`network ${reference} not found`);
    return match;
  };
  return {
    list: async (filters) => listNetworks(context, all(), filters),
    inspect: async (reference, options) => {
      if (options.scope && options.scope !== "local") throw notFound(`network ${reference} not found`);
      return describeNetwork(context, find(reference), true);
    },
    create: async (options) => {
      if (all().some(({ name }) => name === options.Name))
        throw new EngineError("forbidden", `operation is not permitted on predefined ${options.Name} network`);
      throw notImplemented(NO_USER_NETWORKS);
    },
    remove: async (reference) => {
      const network = find(reference);
      throw new EngineError("forbidden", `${network.name} is a pre-defined network and cannot be removed`);
    },
    connect: async (reference, containerReference) => {
      const network = find(reference);
      const container = context.table.get(containerReference);
      if (container.document.endpoints[network.name])
        throw conflict(`endpoint with name ${container.name} already exists in network ${network.name}`);
      throw notImplemented(
        `container ${container.name} cannot be connected to ${network.name} after its creation yet: create it with --network ${network.name}`,
      );
    },
    disconnect: async (reference, containerReference) => {
      const network = find(reference);
      const container = context.table.get(containerReference);
      if (!container.document.endpoints[network.name])
        throw new EngineError("forbidden", `container ${container.id} is not connected to network ${network.name}`);
      throw notImplemented(
        `container ${container.name} cannot be disconnected from ${network.name} yet: create it with --network none`,
      );
    },
    prune: async (filters) => {
      checkFilters(filters, ["label", "label!", "until"]);
      context.events.publish("network", "prune", "", { reclaimed: "0" });
      return { NetworksDeleted: [] };
    },
  };
}

function listNetworks(
  context: EngineContext,
  records: readonly NetworkRecord[],
  filters: Filters,
): Schemas["NetworkInspect"][] {
  checkFilters(filters, ["dangling", "driver", "id", "label", "label!", "name", "scope", "type"]);
  const dangling = booleanFilter(filters, "dangling");
  return records
    .filter(
      (record) =>
        anyOf(filters, "name", (value) => expressionMatches(value, record.name)) &&
        anyOf(filters, "id", (value) => record.id.startsWith(value)) &&
        anyOf(filters, "driver", (value) => record.driver === value) &&
        anyOf(filters, "scope", (value) => value === "local") &&
        anyOf(filters, "type", (value) => value === "builtin") &&
        labelsMatch(filters, {}) &&
        // Predefined networks are never dangling.
        dangling !== true,
    )
    .map((record) => describeNetwork(context, record, false));
}

function describeNetwork(context: EngineContext, record: NetworkRecord, detailed: boolean): Schemas["NetworkInspect"] {
  const { networks, table } = context;
  const isBridge = record.driver === "bridge";
  const containers = table
    .all()
    .filter((container) => container.isRunning && container.document.endpoints[record.name]);
  return {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: "local",
    Driver: record.driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: {
      Driver: "default",
      Options: {},
      Config: isBridge ? [{ Subnet: networks.subnet, Gateway: networks.gateway }] : [],
    },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: detailed
      ? Object.fromEntries(
          containers.map((container) => {
            const endpoint = container.document.endpoints[record.name];
            return [
              container.id,
              {
                Name: container.name,
                EndpointID: endpoint?.endpointId ?? "",
                MacAddress: endpoint?.macAddress ?? "",
                IPv4Address: `${endpoint?.address}/${endpoint?.prefixLength}`,
                IPv6Address: "",
              },
            ];
          }),
        )
      : {},
    Options: isBridge
      ? { "com.docker.network.bridge.default_bridge": "true", "vch.network.portgroup": networks.portGroup }
      : {},
    Labels: {},
  };
}
