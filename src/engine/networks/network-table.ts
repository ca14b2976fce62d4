/** All networks of the VCH: their records, and the gateway that this process is on each of them. */
import { type IpNetwork, parseNetwork } from "../../format/ip-address.ts";
import type {
  AddressBinding,
  AddressLease,
  AddressPool,
  BridgeNetwork,
  NameLookup,
  OpenBridgeNetwork,
  PublishedPort,
  PublishingEndpoint,
} from "../../network/contract.ts";
import { NetworkError } from "../../network/contract.ts";
import { freeSubnet, machineSubnets } from "../../network/free-subnet.ts";
import { createAddressRanges } from "../../network/address-ranges.ts";
import { hostSubnet } from "../../network/host-subnet.ts";
import { conflict, EngineError, invalid, notFound } from "../errors.ts";
import type { GuestLinks } from "../guests/guest-links.ts";
import { newId } from "../identifiers.ts";
import { formatTime, nowNanoseconds } from "../time.ts";
import { OperationQueue } from "../waiting.ts";
import { PREDEFINED } from "./default-networks.ts";
import { type BlockWish, chooseBlock } from "./address-blocks.ts";
import { checkNetwork, type NetworkWish } from "./network-options.ts";
import { type AddressBlock, NETWORK_OPTION, type NetworkRecord, prefixLengthOf } from "./network-record.ts";
import type { NetworkStore } from "./network-store.ts";
import type { PortGroups } from "./port-groups.ts";

/** Networks of one VCH; the lab and a vSwitch take a thousand port groups. */
const NETWORK_LIMIT = 500;
const QUEUE_LIMIT = 256;

export interface NetworkTableOptions {
  owner: string;
  defaults: { bridge: NetworkRecord; none: NetworkRecord; host: NetworkRecord };
  /** Networks of the administrator; there are no others of their names. */
  containerNetworks: readonly NetworkRecord[];
  /** This machine's interface on the default bridge. */
  interfaceName: string;
  linkPort: number;
  store: NetworkStore;
  portGroups: PortGroups;
  openBridgeNetwork: OpenBridgeNetwork;
  /** Takes NAT rules and gateway of an interface away, also when nothing is there. */
  removeBridgeNetwork(options: { owner: string; interfaceName: string }): Promise<void>;
  addressesInUse(networkId: string): Iterable<string>;
  names(network: NetworkRecord): NameLookup | undefined;
  log: (message: string) => void;
}

/** An adapter's address on a network. */
export interface NetworkBinding extends AddressBinding {
  networkId: string;
}

interface Gateway {
  bridge: BridgeNetwork;
  /** Where tethers of this network call. */
  listener: { close(): void } | undefined;
}

export class NetworkTable {
  readonly #options: NetworkTableOptions;
  readonly #records = new Map<string, NetworkRecord>();
  readonly #gateways = new Map<string, Gateway>();
  /** Of container networks with addresses that are given out here. */
  readonly #ranges = new Map<string, AddressPool>();
  #links: GuestLinks | undefined;
  /** Networks are made and removed one after the other: a subnet or VLAN is chosen from what is free. */
  readonly #queue = new OperationQueue(QUEUE_LIMIT, () =>
    conflict(`${QUEUE_LIMIT} network operations are waiting: try again later`),
  );

  constructor(options: NetworkTableOptions) {
    this.#options = options;
    for (const record of [...Object.values(options.defaults), ...options.containerNetworks])
      this.#records.set(record.id, record);
    for (const record of options.containerNetworks) {
      const { external, ipv4 } = record;
      if (!external || !ipv4) continue;
      const inUse = (): Iterable<string> => options.addressesInUse(record.id);
      const subnet = hostSubnet(ipv4.subnet);
      const ranges = createAddressRanges({ subnet, ranges: external.ranges, reserved: [ipv4.gateway], inUse });
      this.#ranges.set(record.id, ranges);
    }
  }

  get bridge(): NetworkRecord {
    return this.#options.defaults.bridge;
  }
  get none(): NetworkRecord {
    return this.#options.defaults.none;
  }
  get host(): NetworkRecord {
    return this.#options.defaults.host;
  }
  /** Of the default bridge. */
  get portGroup(): string {
    return this.bridge.portGroup;
  }
  get block(): AddressBlock {
    return blockOf(this.bridge);
  }

  all(): NetworkRecord[] {
    return [...this.#records.values()].filter(({ status }) => status === "ready");
  }

  byId(id: string): NetworkRecord | undefined {
    const record = this.#records.get(id);
    return record?.status === "ready" ? record : undefined;
  }

  /** By id, name, or unique id prefix, in Docker's order. Throws EngineError with Docker's texts. */
  find(reference: string): NetworkRecord {
    const all = this.all();
    const exact = all.find(({ id }) => id === reference) ?? all.find(({ name }) => name === reference);
    if (exact) return exact;
    const matches = all.filter(({ id }) => reference !== "" && id.startsWith(reference));
    if (matches.length > 1)
      throw invalid(`network ${reference} is ambiguous (${matches.length} matches found on ID prefix)`);
    const [match] = matches;
    if (!match) throw notFound(`network ${reference} not found`);
    return match;
  }

  /** The default bridge. Rejects when it cannot be had. */
  async openDefault(): Promise<void> {
    this.#gateways.set(this.bridge.id, { bridge: await this.#openBridge(this.bridge), listener: undefined });
  }

  /** The other networks, after a start. What cannot be opened is told: its containers run on without a gateway. */
  async openOthers(links: GuestLinks): Promise<void> {
    this.#links = links;
    const { store, log } = this.#options;
    for (const record of await store.load()) {
      const same = this.#options.containerNetworks.find(({ name }) => name === record.name);
      if (same)
        log(
          `network ${record.name}: a container network has the same name now, so that this one is found by its id alone: ${record.id}`,
        );
      this.#records.set(record.id, record);
      try {
        if (record.status === "ready") await this.#open(record);
        else await this.#erase(record);
      } catch (error) {
        log(`network ${record.name}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  async close(): Promise<void> {
    for (const { bridge, listener } of this.#gateways.values()) {
      listener?.close();
      await bridge.close({ removeRules: false });
    }
    this.#gateways.clear();
  }

  /** Makes the network that the client asks for. Throws EngineError. */
  create(body: Parameters<typeof checkNetwork>[0]): Promise<NetworkRecord> {
    const wish = checkNetwork(body);
    return this.#queue.run(async () => {
      await this.#eraseLeftovers();
      const record = this.#plan(wish);
      this.#records.set(record.id, record);
      try {
        // The record comes first: what a crash leaves half made is found by it and taken away.
        await this.#options.store.write(record);
        await this.#options.portGroups.make(record);
        await this.#open(record);
        const ready: NetworkRecord = { ...record, status: "ready" };
        await this.#options.store.write(ready);
        this.#records.set(record.id, ready);
        return ready;
      } catch (error) {
        await this.#erase(record).catch((problem: unknown) => {
          this.#options.log(`network ${record.name}: ${problem instanceof Error ? problem.message : problem}`);
        });
        throw asEngineError(error);
      }
    });
  }

  /** `prepare` takes vNICs off the port group; it runs when nobody can be connected any more. */
  remove(record: NetworkRecord, prepare: () => Promise<void>): Promise<void> {
    return this.#queue.run(async () => {
      if (!this.byId(record.id)) throw notFound(`network ${record.name} not found`);
      const removing: NetworkRecord = { ...record, status: "removing" };
      await this.#options.store.write(removing);
      this.#records.set(record.id, removing);
      try {
        await prepare();
      } catch (error) {
        await this.#options.store.write(record);
        this.#records.set(record.id, record);
        throw error;
      }
      await this.#erase(removing);
    });
  }

  /** What could not be taken away when it failed, because vSphere was away, goes before the next network comes. */
  async #eraseLeftovers(): Promise<void> {
    for (const record of [...this.#records.values()].filter(({ status }) => status !== "ready"))
      try {
        await this.#erase(record);
      } catch (error) {
        this.#options.log(`network ${record.name}: ${error instanceof Error ? error.message : error}`);
      }
  }

  #plan(wish: NetworkWish): NetworkRecord {
    const { name } = wish;
    if (PREDEFINED.includes(name))
      throw new EngineError("forbidden", `operation is not permitted on predefined ${name} network`);
    const existing = [...this.#records.values()];
    if (existing.some((record) => record.name === name)) throw conflict(`network with name ${name} already exists`);
    if (existing.length >= NETWORK_LIMIT)
      throw new EngineError("forbidden", `there are ${NETWORK_LIMIT} networks already: remove one first`);
    const id = newId();
    const subnets = existing.flatMap(({ ipv4, ipv6 }): IpNetwork[] =>
      [ipv4, ipv6].flatMap((block) => (block && parseNetwork(block.subnet)) ?? []),
    );
    const { owner } = this.#options;
    const block = (family: 4 | 6, wanted: BlockWish): AddressBlock =>
      chooseBlock(wanted, subnets, () => freeSubnet(family, [...subnets, ...machineSubnets()], owner));
    return {
      version: 1,
      id,
      name,
      created: formatTime(nowNanoseconds()),
      driver: "bridge",
      status: "making",
      ...this.#options.portGroups.choose({ id, name }, wish.portGroup, existing),
      internal: wish.internal,
      attachable: wish.attachable,
      ipv4: block(4, wish.ipv4),
      ...(wish.ipv6 ? { ipv6: block(6, wish.ipv6) } : {}),
      options: wish.options,
      labels: wish.labels,
    };
  }

  async #open(record: NetworkRecord): Promise<void> {
    const bridge = await this.#openBridge(record);
    try {
      const listener = await this.#links?.serve(blockOf(record).gateway);
      this.#gateways.set(record.id, { bridge, listener });
    } catch (error) {
      await bridge.close({ removeRules: true });
      throw error;
    }
  }

  #openBridge(record: NetworkRecord): Promise<BridgeNetwork> {
    const { owner, linkPort, portGroups, openBridgeNetwork, addressesInUse, log } = this.#options;
    const block = blockOf(record);
    const { ipv6 } = record;
    const masquerade = record.options[NETWORK_OPTION.masquerade];
    return openBridgeNetwork({
      owner,
      interfaceName: record === this.bridge ? this.#options.interfaceName : portGroups.interfaceOf(record),
      subnet: block.subnet,
      gateway: block.gateway,
      ...(ipv6
        ? {
            ipv6: {
              subnet: ipv6.subnet,
              gateway: ipv6.gateway,
              reserved: Object.values(ipv6.auxiliary),
              leaseRange: ipv6.ipRange,
            },
          }
        : {}),
      allowedPorts: [linkPort],
      internal: record.internal,
      masquerade: masquerade === undefined || ["true", "1", ""].includes(masquerade),
      checkSources: true,
      reserved: Object.values(block.auxiliary),
      leaseRange: block.ipRange,
      addressesInUse: () => addressesInUse(record.id),
      names: this.#options.names(record),
      log,
    });
  }

  /** Everything of a network, record last. Each step is fine when it was done before. */
  async #erase(record: NetworkRecord): Promise<void> {
    const { store, portGroups, owner, removeBridgeNetwork } = this.#options;
    const gateway = this.#gateways.get(record.id);
    this.#gateways.delete(record.id);
    gateway?.listener?.close();
    if (gateway) await gateway.bridge.close({ removeRules: true });
    else await removeBridgeNetwork({ owner, interfaceName: portGroups.interfaceOf(record) });
    await portGroups.remove(record);
    await store.remove(record.id);
    this.#records.delete(record.id);
  }

  /** A free IPv4 address of a network, or exactly this one, kept until released. Throws EngineError. */
  lease(record: NetworkRecord, address?: string): AddressLease {
    return this.#lease(record, this.#ranges.get(record.id) ?? this.#gateways.get(record.id)?.bridge.addresses, address);
  }

  /** The same for IPv6; undefined when the network has none. */
  lease6(record: NetworkRecord, address?: string): AddressLease | undefined {
    return record.ipv6 && this.#lease(record, this.#gateways.get(record.id)?.bridge.addresses6, address);
  }

  #lease(record: NetworkRecord, pool: AddressPool | undefined, address: string | undefined): AddressLease {
    if (!pool) throw new EngineError("unavailable", `the endpoint is not on network ${record.name}: see its log`);
    try {
      return pool.lease(address);
    } catch (error) {
      throw asEngineError(error);
    }
  }

  /** Publishes ports on the network of the endpoint. Throws NetworkError. */
  async publish(networkId: string, endpoint: PublishingEndpoint): Promise<PublishedPort[]> {
    const gateway = this.#gateways.get(networkId);
    if (!gateway) throw new NetworkError("system", `the endpoint is not on network ${networkId}`);
    const record = this.#records.get(networkId);
    const address = record?.options[NETWORK_OPTION.hostBinding];
    return await gateway.bridge.publish(withDefaultAddress(endpoint, address));
  }

  /** Makes addresses usable for these adapters and no others. Networks without a gateway of ours are left out. */
  async bind(bindings: readonly NetworkBinding[]): Promise<void> {
    for (const [id, group] of byNetwork(bindings)) await this.#gateways.get(id)?.bridge.bind(group);
  }

  async unbind(bindings: readonly NetworkBinding[]): Promise<void> {
    for (const [id, group] of byNetwork(bindings))
      await this.#gateways.get(id)?.bridge.unbind(group.map(({ address }) => address));
  }

  async withdraw(containerId: string): Promise<void> {
    for (const { bridge } of this.#gateways.values()) await bridge.withdraw(containerId);
  }

  /** After a start: what running containers publish, by network. Ports that cannot be had are answered. */
  async reconcile(
    endpoints: ReadonlyMap<string, readonly PublishingEndpoint[]>,
    bindings: readonly NetworkBinding[],
  ): Promise<{ published: Map<string, PublishedPort[]>; failures: { containerId: string; error: NetworkError }[] }> {
    const published = new Map<string, PublishedPort[]>();
    const failures: { containerId: string; error: NetworkError }[] = [];
    const bound = byNetwork(bindings);
    for (const [id, { bridge }] of this.#gateways) {
      const address = this.#records.get(id)?.options[NETWORK_OPTION.hostBinding];
      const result = await bridge.reconcile(
        (endpoints.get(id) ?? []).map((endpoint) => withDefaultAddress(endpoint, address)),
        bound.get(id) ?? [],
      );
      for (const [containerId, ports] of result.published) published.set(containerId, ports);
      failures.push(...result.failures);
    }
    return { published, failures };
  }

  /** True when the endpoint is the gateway of the network. */
  isOpen(id: string): boolean {
    return this.#gateways.has(id);
  }
}

function byNetwork(bindings: readonly NetworkBinding[]): Map<string, AddressBinding[]> {
  const groups = new Map<string, AddressBinding[]>();
  for (const { networkId, address, macAddress } of bindings)
    groups.set(networkId, [...(groups.get(networkId) ?? []), { address, macAddress }]);
  return groups;
}

/** `com.docker.network.bridge.host_binding_ipv4` counts where -p names no address. */
function withDefaultAddress(endpoint: PublishingEndpoint, address: string | undefined): PublishingEndpoint {
  if (address === undefined) return endpoint;
  const ports = endpoint.ports.map((port) => (port.hostAddress === "" ? { ...port, hostAddress: address } : port));
  return { ...endpoint, ports };
}

/** The addresses of a network that has some. */
export function blockOf(record: NetworkRecord): AddressBlock {
  if (!record.ipv4) throw new EngineError("internal", `network ${record.name} has no addresses`);
  return record.ipv4;
}

export const networkPrefixLength = (record: NetworkRecord): number => prefixLengthOf(blockOf(record));

export function asEngineError(error: unknown): unknown {
  if (!(error instanceof NetworkError)) return error;
  switch (error.code) {
    case "invalid":
      return new EngineError("invalid", error.message, { cause: error });
    case "address-in-use":
      return new EngineError("forbidden", error.message, { cause: error });
    case "unsupported":
      return new EngineError("not-implemented", error.message, { cause: error });
    default:
      return new EngineError("internal", error.message, { cause: error });
  }
}
