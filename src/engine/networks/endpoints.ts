/** A container's places on networks: which it asks for, and making them. */
import type { AddressLease } from "../../network/contract.ts";
import type { NetworkAdapterSpec } from "../../vsphere/contract.ts";
import type { ContainerDocument, ControlAdapter, EndpointRecord } from "../containers/document.ts";
import type { ContainerTable } from "../containers/table.ts";
import type { InfrastructureContext } from "../context.ts";
import type { ContainerConfig, ContainerCreateBody, HostConfig } from "../contract.ts";
import { conflict, EngineError, invalid, notImplemented } from "../errors.ts";
import { chooseMac, newId } from "../identifiers.ts";
import { checkEndpoint, type EndpointSettings } from "./endpoint-fields.ts";
import { INTERFACE_NAME_OPTION } from "./network-fields.ts";
import { NETWORK_OPTION, type NetworkRecord, prefixLengthOf } from "./network-record.ts";
import { blockOf, type NetworkBinding, networkPrefixLength } from "./network-table.ts";

export interface WantedEndpoint {
  network: NetworkRecord;
  given: EndpointSettings;
}

/** The networks a create names, the one of NetworkMode first; none for `--network none`. Throws EngineError. */
export function wantedEndpoints(
  { networks }: InfrastructureContext,
  config: Partial<ContainerConfig>,
  hostConfig: Partial<HostConfig>,
  networking: ContainerCreateBody["NetworkingConfig"],
): { mode: string; wanted: WantedEndpoint[] } {
  const given = Object.entries(networking?.EndpointsConfig ?? {});
  const mode = hostConfig.NetworkMode || "default";
  refuseForeignStack(mode);
  const find = (reference: string): NetworkRecord =>
    reference === "default" ? networks.bridge : networks.find(reference);
  const endpoints = new Map<string, WantedEndpoint>();
  const first = mode === "default" && given.length > 0 ? undefined : find(mode);
  if (first) endpoints.set(first.id, { network: first, given: {} });
  for (const [reference, settings] of given.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const network = find(reference);
    endpoints.set(network.id, { network, given: settings ?? {} });
  }
  const wanted = [...endpoints.values()];
  for (const { network, given: settings } of wanted) checkWanted(network, settings);
  const legacyMac = (config as { MacAddress?: string }).MacAddress;
  const [main] = wanted;
  if (legacyMac && main && !main.given.MacAddress) main.given = { ...main.given, MacAddress: legacyMac };
  if (wanted.some(({ network }) => network.driver === "host")) refuseForeignStack("host");
  const isNone = config.NetworkDisabled === true || wanted.some(({ network }) => network.driver === "null");
  if (isNone && wanted.length > 1)
    throw invalid("container cannot be connected to multiple networks with one of the networks in private (none) mode");
  if (isNone) return { mode: networks.none.name, wanted: [] };
  return { mode: mode === "default" ? (main?.network.name ?? mode) : mode, wanted };
}

function refuseForeignStack(mode: string): void {
  if (mode === "host")
    throw notImplemented(
      "network mode host is not supported: a container VM is not on the endpoint's network stack. Publish ports with -p",
    );
  if (mode.startsWith("container:"))
    throw notImplemented(
      "network mode container is not supported: containers have kernels of their own and cannot share one network stack. Put both on one user-defined network, where they reach each other by name",
    );
}

function checkWanted(network: NetworkRecord, given: EndpointSettings): void {
  checkEndpoint(network.name, given);
  const isDefaultBridge = network.options[NETWORK_OPTION.defaultBridge] === "true";
  if (isDefaultBridge && given.Aliases?.length)
    throw invalid("network-scoped aliases are only supported for user-defined networks");
}

/** Endpoints that were made, with their addresses held until `release`. */
export interface MadeEndpoints {
  endpoints: Record<string, EndpointRecord>;
  control: ControlAdapter | undefined;
  release(): void;
}

/**
 * Leases addresses and chooses MACs; all or none. A container whose networks cannot carry the control link is called over a serial
 * port; where there is no serial carrier it gets a hidden vNIC.
 */
export function makeEndpoints(context: InfrastructureContext, wanted: readonly WantedEndpoint[]): MadeEndpoints {
  const leases: AddressLease[] = [];
  const release = (): void => {
    for (const lease of leases) lease.release();
  };
  try {
    const endpoints: Record<string, EndpointRecord> = {};
    for (const { network, given } of wanted) {
      const endpoint = makeEndpoint(context, network, given, Object.values(endpoints), leases);
      endpoints[network.name] = endpoint;
    }
    const use = context.links.serial?.use ?? "never";
    const overNetwork = use === "always" ? undefined : controlOf(endpoints);
    const control = overNetwork ?? (use === "never" ? hiddenControl(context, leases) : undefined);
    return { endpoints, control, release };
  } catch (error) {
    release();
    throw error;
  }
}

/** One more endpoint beside `others`. The lease is added to `leases`. Throws EngineError. */
export function makeEndpoint(
  context: InfrastructureContext,
  network: NetworkRecord,
  given: EndpointSettings,
  others: readonly EndpointRecord[],
  leases: AddressLease[],
): EndpointRecord {
  checkWanted(network, given);
  if (network.external && !network.ipv4) return dynamicEndpoint(context, network, given, others);
  const lease = context.networks.lease(network, given.IPAMConfig?.IPv4Address || undefined);
  leases.push(lease);
  const wanted6 = given.IPAMConfig?.IPv6Address || undefined;
  const lease6 = context.networks.lease6(network, wanted6);
  if (lease6) leases.push(lease6);
  else if (wanted6 !== undefined)
    throw invalid(`invalid IPv6 address ${wanted6}: network ${network.name} has no IPv6. Create it with --ipv6`);
  const macAddress = macOf(
    context,
    given.MacAddress || undefined,
    lease.address,
    others.map((other) => other.macAddress),
  );
  return {
    networkId: network.id,
    endpointId: newId(),
    macAddress,
    address: lease.address,
    prefixLength: networkPrefixLength(network),
    gateway: blockOf(network).gateway,
    ...(network.external ? { external: true } : {}),
    ...(lease6 && network.ipv6
      ? {
          ipv6: {
            address: lease6.address,
            prefixLength: prefixLengthOf(network.ipv6),
            gateway: network.ipv6.gateway,
          },
        }
      : {}),
    interfaceName: interfaceName(network, given, others),
    given,
  };
}

/** On a container network without ranges the guest asks for its address by DHCP. */
function dynamicEndpoint(
  context: InfrastructureContext,
  network: NetworkRecord,
  given: EndpointSettings,
  others: readonly EndpointRecord[],
): EndpointRecord {
  const wanted = given.IPAMConfig?.IPv4Address || given.IPAMConfig?.IPv6Address;
  if (wanted)
    throw invalid(
      `network ${network.name} gives addresses by DHCP, so ${wanted} cannot be had from here: let the DHCP server reserve it for a --mac-address`,
    );
  const inUse = others.map(({ macAddress }) => macAddress);
  return {
    networkId: network.id,
    endpointId: newId(),
    macAddress: macOf(context, given.MacAddress || undefined, undefined, inUse),
    address: "",
    prefixLength: 0,
    gateway: "",
    external: true,
    dynamic: true,
    interfaceName: interfaceName(network, given, others),
    given,
  };
}

/** The control link goes over the first network that the endpoint is on. */
export function controlOf(endpoints: Record<string, EndpointRecord>): ControlAdapter | undefined {
  const first = Object.values(endpoints).find(({ external }) => !external);
  return first && { macAddress: first.macAddress, address: first.address, networkId: first.networkId };
}

/** A vNIC on the default bridge that only the tether uses. */
export function hiddenControl(context: InfrastructureContext, leases: AddressLease[]): ControlAdapter {
  const lease = context.networks.lease(context.networks.bridge);
  leases.push(lease);
  return {
    macAddress: macOf(context, undefined, lease.address, []),
    address: lease.address,
    networkId: context.networks.bridge.id,
  };
}

function macOf(
  context: InfrastructureContext,
  fixed: string | undefined,
  address: string | undefined,
  others: readonly string[],
): string {
  const inUse = new Set(context.view.list().flatMap((vm) => vm.networkAdapters.map((nic) => nic.macAddress)));
  for (const other of others) inUse.add(other);
  if (fixed === undefined) return chooseMac(address, inUse);
  const mac = fixed.toLowerCase().replaceAll("-", ":");
  if (!/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/.test(mac)) throw invalid(`invalid MAC address: ${fixed}`);
  if (inUse.has(mac)) throw conflict(`MAC address ${mac} is in use by another VM of this virtual container host`);
  return mac;
}

/** As in Docker: eth0, eth1 … in the order of connecting, or what an option says. */
function interfaceName(network: NetworkRecord, given: EndpointSettings, others: readonly EndpointRecord[]): string {
  const taken = new Set(others.map((other, index) => other.interfaceName ?? `eth${index}`));
  const chosen = given.DriverOpts?.[INTERFACE_NAME_OPTION];
  if (chosen !== undefined) {
    if (taken.has(chosen)) throw invalid(`interface name ${chosen} is in use by another network of the container`);
    return chosen;
  }
  const prefix = network.options[NETWORK_OPTION.interfacePrefix] ?? "eth";
  for (let index = 0; ; index++) if (!taken.has(`${prefix}${index}`)) return `${prefix}${index}`;
}

/** As at the next start of a stopped container: interface names count from the beginning again. */
export function renumbered(
  { networks }: Pick<InfrastructureContext, "networks">,
  endpoints: Record<string, EndpointRecord>,
): Record<string, EndpointRecord> {
  const done: EndpointRecord[] = [];
  return Object.fromEntries(
    Object.entries(endpoints).map(([name, endpoint]) => {
      const network = networks.byId(endpoint.networkId);
      const named = network ? { ...endpoint, interfaceName: interfaceName(network, endpoint.given, done) } : endpoint;
      done.push(named);
      return [name, named];
    }),
  );
}

/** The vNICs of a container's VM. Throws EngineError when one of its networks is gone. */
export function adaptersOf(
  context: InfrastructureContext,
  { endpoints, control }: Pick<ContainerDocument, "endpoints" | "control">,
): NetworkAdapterSpec[] {
  const records = Object.values(endpoints);
  const adapters = records.map((endpoint) => adapterOf(context, endpoint.networkId, endpoint.macAddress));
  const hidden = hiddenAdapter({ endpoints, control });
  return hidden
    ? [adapterOf(context, hidden.networkId ?? context.networks.bridge.id, hidden.macAddress), ...adapters]
    : adapters;
}

/** The vNIC of the control link, when it is none of the container's networks'. */
export const hiddenAdapter = ({
  endpoints,
  control,
}: Pick<ContainerDocument, "endpoints" | "control">): ControlAdapter | undefined =>
  Object.values(endpoints).some(({ macAddress }) => macAddress === control?.macAddress) ? undefined : control;

export function adapterOf(context: InfrastructureContext, networkId: string, macAddress: string): NetworkAdapterSpec {
  const network = context.networks.byId(networkId);
  if (!network) throw new EngineError("not-found", `network ${networkId} not found`);
  return { network: network.portGroup, macAddress, connected: true };
}

/** Of both families. */
export const addressesOf = ({ address, ipv6 }: EndpointRecord): string[] => [
  ...(address === "" ? [] : [address]),
  ...(ipv6 ? [ipv6.address] : []),
];

/** Which adapter of a container has which address. */
export function bindingsOf(
  { networks }: Pick<InfrastructureContext, "networks">,
  { endpoints, control }: Pick<ContainerDocument, "endpoints" | "control">,
): NetworkBinding[] {
  const places = Object.values(endpoints).flatMap((endpoint) =>
    addressesOf(endpoint).map((address) => ({
      networkId: endpoint.networkId,
      address,
      macAddress: endpoint.macAddress,
    })),
  );
  const hidden = hiddenAdapter({ endpoints, control });
  if (hidden === undefined) return places;
  const { macAddress, address, networkId = networks.bridge.id } = hidden;
  return [{ macAddress, address, networkId }, ...places];
}

/** Addresses of a network that containers hold, running or not: they keep them for as long as they exist. */
export function* addressesOn(table: ContainerTable, networkId: string): Generator<string> {
  for (const { document } of table.all()) {
    // Documents without a network's id are of a time when there was one network.
    const { control } = document;
    if (control && (control.networkId ?? networkId) === networkId) yield control.address;
    for (const endpoint of Object.values(document.endpoints))
      if (endpoint.networkId === networkId) yield* addressesOf(endpoint);
  }
}
