/** Volumes as the Docker API asks for them. */

import type { EngineContext } from "../context.ts";
import type { Filters, Schemas, Volumes } from "../contract.ts";
import { EngineError, notImplemented } from "../errors.ts";
import { anyOf, booleanFilter, checkFilters, expressionMatches, labelsMatch } from "../filters.ts";
import { describeVolume, type VolumeRecord } from "./store.ts";

export function makeVolumes(context: EngineContext): Volumes {
  const { volumes, events } = context;
  const describe = (record: VolumeRecord): Schemas["Volume"] => describeVolume(record, volumes.path(record.name));
  return {
    create: async (options) => {
      if (options.ClusterVolumeSpec)
        throw notImplemented("cluster volumes are not supported: they belong to swarm. Make an ordinary volume");
      const record = await volumes.ensure({
        ...(options.Name ? { name: options.Name } : {}),
        driver: options.Driver,
        options: options.DriverOpts ?? {},
        labels: options.Labels ?? {},
      });
      return describe(record);
    },
    list: async (filters) => {
      checkFilters(filters, ["dangling", "driver", "label", "label!", "name"]);
      const dangling = booleanFilter(filters, "dangling");
      return volumes
        .all()
        .filter(
          (record) =>
            anyOf(filters, "name", (value) => expressionMatches(value, record.name)) &&
            anyOf(filters, "driver", (value) => record.driver === value) &&
            labelsMatch(filters, record.labels) &&
            (dangling === undefined || (volumes.users(record.name).length === 0) === dangling),
        )
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map(describe);
    },
    inspect: async (name) => describe(volumes.get(name)),
    remove: (name, options) => volumes.remove(name, options),
    prune: async (filters: Filters) => {
      checkFilters(filters, ["all", "label", "label!"]);
      const all = booleanFilter(filters, "all") ?? false;
      const result = { VolumesDeleted: [] as string[], SpaceReclaimed: 0 };
      for (const record of volumes.all()) {
        if (!(all || record.anonymous) || !labelsMatch(filters, record.labels)) continue;
        if (volumes.users(record.name).length > 0) continue;
        try {
          const size = await volumes.sizeOnDatastore(record.name);
          await volumes.remove(record.name, { force: true });
          result.VolumesDeleted.push(record.name);
          result.SpaceReclaimed += size;
        } catch (error) {
          // A container took it meanwhile.
          if (!(error instanceof EngineError)) throw error;
          context.log(`prune: ${error.message}`);
        }
      }
      events.publish("volume", "prune", "", { reclaimed: String(result.SpaceReclaimed) });
      return result;
    },
  };
}
