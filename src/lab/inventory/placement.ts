import { invalidArgument, LabFault } from "../fault.ts";
import type { Reference } from "../model/data.ts";
import { parseDatastorePath } from "../storage/datastore-path.ts";
import type { Configuration } from "../vm/configuration.ts";
import type { Device } from "../vm/device/device.ts";
import type { LabContext } from "./context.ts";
import { Host } from "./host.ts";
import type { ResourcePool } from "./resource-pool.ts";

/** Where a VM shall be: its pool, and the host when the client chose one. */
export interface Placement {
  pool: ResourcePool;
  host: Host | undefined;
  /** The host when nobody chose one and this one can. */
  preferred?: Host;
}

/** Where a VM is. */
export interface Place {
  pool: ResourcePool;
  host: Host;
}

/** A host that a client named, which must be one of the pool's. */
export function placementOf(context: LabContext, pool: ResourcePool, host: unknown, parameter = "host"): Placement {
  if (host === undefined) return { pool, host: undefined };
  const chosen = context.registry.getAs(Host, host as Reference, parameter);
  if (chosen.computeResource !== pool.owner) {
    throw invalidArgument(
      parameter,
      `The host ${chosen.name} does not belong to the resource pool's compute resource.`,
    );
  }
  return { pool, host: chosen };
}

/** Why a host cannot have a VM; undefined when it can. */
function obstacle(context: LabContext, host: Host, vmPathName: string, configuration: Configuration) {
  return host.inMaintenanceMode ? inMaintenance(host) : missingOn(context, host, [vmPathName], configuration.devices);
}

/** The fault for the first datastore or network that the host lacks; undefined when it has all. */
export function missingOn(
  context: LabContext,
  host: Host,
  files: readonly string[],
  devices: readonly Device[],
): LabFault | undefined {
  const paths = [...files];
  for (const device of devices) {
    if ((device.kind === "disk" || device.kind === "cdrom") && device.path !== undefined) paths.push(device.path);
  }
  for (const path of paths) {
    const name = parseDatastorePath(path).datastore;
    const store = context.inventory.datastores.find(({ folder }) => folder.name === name);
    if (store?.isMountedOn(host)) continue;
    return new LabFault("InvalidDatastore", `The datastore '${name}' is not mounted on the host ${host.name}.`, {
      name,
    });
  }
  for (const device of devices) {
    if (device.kind !== "nic") continue;
    const network = context.inventory.networks.find(({ name }) => name === device.network);
    if (!network || network.isOn(host)) continue;
    return new LabFault("CannotUseNetwork", `The network '${network.name}' is not on the host ${host.name}.`, {
      device: "Network adapter",
      backing: network.name,
      connected: device.startConnected,
      reason: "NetworkMissing",
      network: network.reference,
    });
  }
  return undefined;
}

export const inMaintenance = (host: Host): LabFault =>
  new LabFault("InvalidHostState", `The host ${host.name} is in maintenance mode.`, { host: host.reference });

/**
 * The host of a VM: the one that was asked for, or of the cluster's hosts that can have it the one with the fewest VMs.
 * Throws what stands against it; NoCompatibleHost when no host of several can.
 */
export function chooseHost(
  context: LabContext,
  { pool, host, preferred }: Placement,
  vmPathName: string,
  configuration: Configuration,
): Host {
  const candidates = host ? [host] : pool.owner.hosts;
  const judged = candidates.map((candidate) => ({
    candidate,
    fault: obstacle(context, candidate, vmPathName, configuration),
  }));
  const able = judged.filter(({ fault }) => fault === undefined).map(({ candidate }) => candidate);
  if (preferred && able.includes(preferred)) return preferred;
  const [best] = able.sort((a, b) => a.virtualMachines.length - b.virtualMachines.length);
  if (best) return best;
  const [only] = judged;
  if (judged.length === 1 && only?.fault) throw only.fault;
  const why = judged.map(({ fault }) => fault?.message).join(" ");
  throw new LabFault("NoCompatibleHost", `No host of '${pool.owner.name}' can have the VM. ${why}`.trim(), {
    host: candidates.map(({ reference }) => ({ type: "HostSystem", value: reference.value })),
  });
}
