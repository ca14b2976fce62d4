import { invalidArgument, LabFault, notSupported } from "../fault.ts";
import type { DataObject } from "../model/data.ts";
import type { ComputeResource } from "./compute-resource.ts";
import type { StoredClusterSettings } from "./inventory-store.ts";

const LIMIT = 1000;

/** Groups and rules of a cluster. They bind only DRS, which the lab does not have, as they do on a cluster where it is off. */
export function clusterSettings(cluster: ComputeResource): StoredClusterSettings {
  return cluster.context.store.inventory.clusterSettings?.[cluster.reference.value] ?? { groups: [], rules: [] };
}

/** ReconfigureComputeResource of a cluster. */
export async function reconfigureCluster(cluster: ComputeResource, spec: DataObject): Promise<void> {
  const known = new Set(["_type", "dasConfig", "drsConfig", "rulesSpec", "groupSpec"]);
  const other = Object.entries(spec).find(
    ([name, value]) => !known.has(name) && !(Array.isArray(value) && value.length === 0),
  );
  if (other) throw notSupported(`the lab's clusters have no setting '${other[0]}'; leave it out.`);
  for (const [name, product] of [
    ["dasConfig", "vSphere HA"],
    ["drsConfig", "DRS"],
  ] as const) {
    if ((spec[name] as DataObject | undefined)?.enabled === true)
      throw notSupported(`the lab's clusters have no ${product}.`);
  }
  const before = clusterSettings(cluster);
  const groups = applied(cluster, before.groups, spec.groupSpec, "name", "spec.groupSpec");
  const nextKey = Math.max(0, ...before.rules.map(({ key }) => Number(key))) + 1;
  const rules = applied(cluster, before.rules, spec.rulesSpec, "key", "spec.rulesSpec", nextKey);
  const { inventory } = cluster.context.store;
  inventory.clusterSettings = { ...inventory.clusterSettings, [cluster.reference.value]: { groups, rules } };
  cluster.changed("configurationEx", "configuration");
  await cluster.context.store.save();
}

/** An array with its ArrayUpdateSpecs applied. `identity`: the field that tells its members apart. */
function applied(
  cluster: ComputeResource,
  before: readonly DataObject[],
  specs: unknown,
  identity: "name" | "key",
  parameter: string,
  nextKey?: number,
): DataObject[] {
  const after = [...before];
  let key = nextKey;
  for (const spec of (specs as DataObject[] | undefined) ?? []) {
    const info = spec.info as DataObject | undefined;
    const id = spec.operation === "remove" ? spec.removeKey : info?.[identity];
    const at = after.findIndex((member) => member[identity] === id);
    if (spec.operation === "add") {
      if (!info) throw invalidArgument(`${parameter}.info`, "What shall be added is missing.");
      if (after.some(({ name }) => name === info.name)) {
        throw new LabFault("DuplicateName", `The name '${String(info.name)}' already exists.`, {
          name: String(info.name),
          object: cluster.reference,
        });
      }
      if (after.length >= LIMIT) throw new LabFault("LimitExceeded", `A cluster has at most ${LIMIT} of them.`);
      after.push(key === undefined ? info : { ...info, key: key++, userCreated: true, status: "green" });
    } else if (at < 0) {
      throw invalidArgument(parameter, `There is none with the ${identity} '${String(id)}'.`);
    } else if (spec.operation === "remove") after.splice(at, 1);
    else if (info) after[at] = { ...after[at], ...info };
  }
  return after;
}
