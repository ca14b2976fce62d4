/** Networks as the Docker API asks for them. */

import { untilOf } from "../containers/prune.ts";
import type { EngineContext } from "../context.ts";
import type { Networks } from "../contract.ts";
import { EngineError, notFound } from "../errors.ts";
import { checkFilters, labelsMatch } from "../filters.ts";
import { parseTime } from "../time.ts";
import { connectNetwork, disconnectNetwork } from "./connect.ts";
import { PREDEFINED } from "./default-networks.ts";
import { activeOn, describeNetwork, listNetworks } from "./describe.ts";
import type { NetworkRecord } from "./network-record.ts";
import { detachStopped } from "./surplus.ts";

export function makeNetworks(context: EngineContext): Networks {
  const { networks, events } = context;
  const publish = (action: string, record: NetworkRecord): void => {
    events.publish("network", action, record.id, { name: record.name, type: record.driver });
  };
  const remove = async (record: NetworkRecord): Promise<void> => {
    refuseActive(context, record);
    await networks.remove(record, async () => {
      refuseActive(context, record);
      await detachStopped(context, record);
    });
    publish("destroy", record);
  };
  return {
    list: async (filters) => listNetworks(context, filters),
    inspect: async (reference, options) => {
      if (options.scope && options.scope !== "local") throw notFound(`network ${reference} not found`);
      return describeNetwork(context, networks.find(reference), true);
    },
    create: async (options) => {
      const record = await networks.create(options);
      publish("create", record);
      return { Id: record.id, Warning: "" };
    },
    remove: async (reference) => {
      const record = networks.find(reference);
      if (PREDEFINED.includes(record.name))
        throw new EngineError("forbidden", `${record.name} is a pre-defined network and cannot be removed`);
      if (record.external)
        throw new EngineError(
          "forbidden",
          `${record.name} is a container network, which the administrator has given to this virtual container host, and cannot be removed: vch up --container-network changes them`,
        );
      await remove(record);
    },
    connect: (reference, container, given) => connectNetwork(context, reference, container, given ?? {}),
    disconnect: (reference, container, force) => disconnectNetwork(context, reference, container, force),
    prune: async (filters) => {
      checkFilters(filters, ["label", "label!", "until"]);
      const until = untilOf(filters);
      const removed: string[] = [];
      for (const record of networks.all()) {
        if (PREDEFINED.includes(record.name) || record.external || !labelsMatch(filters, record.labels)) continue;
        if (until !== undefined && (parseTime(record.created) ?? 0n) >= until) continue;
        if (activeOn(context, record).length > 0) continue;
        try {
          await remove(record);
          removed.push(record.name);
        } catch (error) {
          // Somebody started a container on it meanwhile, or removed it.
          context.log(`network ${record.name} is not pruned: ${error instanceof Error ? error.message : error}`);
        }
      }
      events.publish("network", "prune", "", { reclaimed: "0" });
      return { NetworksDeleted: removed };
    },
  };
}

function refuseActive(context: EngineContext, record: NetworkRecord): void {
  const active = activeOn(context, record);
  if (active.length === 0) return;
  const users = active.map(({ id, name }) => `name:${JSON.stringify(name)} id:${JSON.stringify(id.slice(0, 12))}`);
  throw new EngineError(
    "forbidden",
    `error while removing network: network ${record.name} has active endpoints (${users.join(", ")})`,
  );
}
