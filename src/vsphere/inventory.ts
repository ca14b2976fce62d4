/** Finds the objects that the target names: datacenter, resource pool, folder, datastore, host. */
import { VSphereFault, type VSphereTarget } from "./contract.ts";
import { retrieveBelow } from "./properties.ts";
import type { Session } from "./session.ts";
import type { ManagedObjectReference } from "./vim25/index.ts";

export interface Inventory {
  datacenter: ManagedObjectReference<"Datacenter">;
  /** Inventory path without the leading slash; the file service wants it. */
  datacenterPath: string;
  /** Where our VMs are. */
  folder: ManagedObjectReference<"Folder">;
  networkFolder: ManagedObjectReference<"Folder">;
  resourcePool: ManagedObjectReference<"ResourcePool" | "VirtualApp">;
  compute: ManagedObjectReference<"ComputeResource" | "ClusterComputeResource">;
  datastore: ManagedObjectReference<"Datastore">;
  datastoreName: string;
  datastoreBrowser: ManagedObjectReference<"HostDatastoreBrowser">;
  host: ManagedObjectReference<"HostSystem"> | undefined;
}

interface Entity {
  reference: ManagedObjectReference;
  name: string;
  /** `/DC0/host/C0/Resources/pool` */
  path: string;
  values: Map<string, unknown>;
}

const NAMED = ["name", "parent"];

export async function findInventory(session: Session, target: VSphereTarget): Promise<Inventory> {
  const entities = await readEntities(session);
  const of = (...types: string[]) => entities.filter(({ reference }) => types.includes(reference.type));

  const datacenter = choose("datacenter", of("Datacenter"), target.datacenter);
  const inside = (candidates: Entity[]) => candidates.filter(({ path }) => path.startsWith(`${datacenter.path}/`));
  const vmFolder = reference<"Folder">(datacenter.values.get("vmFolder"));
  const folder = target.folder
    ? choose(
        "folder",
        inside(of("Folder")).filter(({ path }) => path.startsWith(`${datacenter.path}/vm/`)),
        target.folder,
      ).reference
    : vmFolder;
  const pool = choosePool(
    inside(of("ResourcePool", "VirtualApp")),
    inside(of("ComputeResource", "ClusterComputeResource")),
    target,
  );
  const datastore = choose("datastore", inside(of("Datastore")), target.datastore);
  const host = target.host ? choose("host", inside(of("HostSystem")), target.host).reference : undefined;
  return {
    datacenter: reference<"Datacenter">(datacenter.reference),
    datacenterPath: datacenter.path.slice(1),
    folder: reference<"Folder">(folder),
    networkFolder: reference<"Folder">(datacenter.values.get("networkFolder")),
    resourcePool: reference<"ResourcePool" | "VirtualApp">(pool.reference),
    compute: reference<"ComputeResource" | "ClusterComputeResource">(pool.values.get("owner")),
    datastore: reference<"Datastore">(datastore.reference),
    datastoreName: datastore.name,
    datastoreBrowser: reference<"HostDatastoreBrowser">(datastore.values.get("browser")),
    host: host && reference<"HostSystem">(host),
  };
}

async function readEntities(session: Session): Promise<Entity[]> {
  const found = await retrieveBelow(session, session.content.rootFolder, {
    Folder: NAMED,
    Datacenter: [...NAMED, "vmFolder", "networkFolder"],
    ComputeResource: [...NAMED, "resourcePool"],
    ResourcePool: [...NAMED, "owner"],
    HostSystem: NAMED,
    Datastore: [...NAMED, "browser"],
  });
  const byId = new Map(found.map((object) => [object.reference.value, object]));
  const path = (id: string, depth = 0): string => {
    const object = byId.get(id);
    const parent = object?.values.get("parent");
    if (!object || depth > MAX_DEPTH) return "";
    const above = typeof parent === "object" && "value" in parent ? path(String(parent.value), depth + 1) : "";
    return `${above}/${String(object.values.get("name"))}`;
  };
  return found.map(({ reference, values }) => ({
    reference,
    name: String(values.get("name")),
    path: path(reference.value),
    values,
  }));
}

/** Inventories nest far less; a loop in a broken answer must not hang us. */
const MAX_DEPTH = 64;

function reference<T extends string>(value: unknown): ManagedObjectReference<T> {
  if (typeof value === "object" && value !== null && "type" in value && "value" in value)
    return value as ManagedObjectReference<T>;
  throw new VSphereFault(
    "NoPermission",
    "vSphere hides parts of the inventory from this user: it needs System.View from the root down",
  );
}

/** The only candidate, or the one with this name, inventory path, or end of a path. */
function choose(kind: string, candidates: Entity[], wanted: string | undefined): Entity {
  const matches = wanted === undefined ? candidates : matching(candidates, wanted);
  const [first] = matches;
  if (first && matches.length === 1) return first;
  const listed =
    candidates
      .slice(0, 20)
      .map(({ path }) => path)
      .join(", ") || "none";
  if (wanted === undefined && first)
    throw new VSphereFault("NotFound", `There is more than one ${kind}: name one of ${listed}`);
  if (first)
    throw new VSphereFault("NotFound", `"${wanted}" names more than one ${kind}: give the whole path, ${listed}`);
  throw new VSphereFault(
    "NotFound",
    `There is no ${kind}${wanted === undefined ? "" : ` "${wanted}"`}; visible are: ${listed}`,
  );
}

function matching(candidates: Entity[], wanted: string): Entity[] {
  const exact = candidates.filter(({ path }) => path === wanted || path === `/${wanted}`);
  if (exact.length > 0) return exact;
  const end = wanted.startsWith("/") ? wanted : `/${wanted}`;
  return candidates.filter(({ path }) => path.endsWith(end));
}

/** Naming a cluster or host means its root pool; naming nothing means the only root pool. */
function choosePool(pools: Entity[], computes: Entity[], target: VSphereTarget): Entity {
  const roots = pools.filter(({ reference: pool }) =>
    computes.some(({ values }) => {
      const root = values.get("resourcePool");
      return typeof root === "object" && root !== null && "value" in root && root.value === pool.value;
    }),
  );
  if (target.resourcePool === undefined) return choose("resource pool", roots, undefined);
  const [compute, ...others] = matching(computes, target.resourcePool);
  if (compute && others.length === 0 && matching(pools, target.resourcePool).length === 0) {
    const root = compute.values.get("resourcePool");
    const pool = roots.find(
      ({ reference: { value } }) =>
        typeof root === "object" && root !== null && "value" in root && root.value === value,
    );
    if (pool) return pool;
  }
  return choose("resource pool", pools, target.resourcePool);
}
