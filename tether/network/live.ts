/** The networks of a running container: what `docker network connect` and `disconnect` change, and the names of its peers. */
import type {
  ContainerConfiguration,
  GuestLease,
  InterfaceConfiguration,
  NetworkConfiguration,
  PeerNetwork,
} from "../../src/link/guest-configuration.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { updateEtcFiles, writeEtcFiles } from "../boot/etc-files.ts";
import { deviceAppears } from "../boot/uevents.ts";
import { reportOf, withLeases } from "./dhcp/effective.ts";
import type { Leases } from "./dhcp/leases.ts";
import {
  addRoutes,
  dropAddress,
  interfaceByMac,
  interfaceIndex,
  replaceDefaultRoute,
  setUpInterface,
  takeDownInterface,
} from "./interfaces.ts";
import { type IPv6Route, replaceIPv6DefaultRoute } from "./ipv6.ts";
import { PeerNames } from "./peer-names.ts";
import { openResolver, type Resolver } from "./resolver.ts";

/** Milliseconds until a hot-added adapter must have shown up. */
const ADAPTER_LIMIT = 15_000;
/** Milliseconds for the answer to leave over an interface that goes, with an endpoint that cannot resume sessions. */
const FAREWELL = 100;
const PEERS_FILE = "peers.json";
const LEASES_FILE = "leases.json";

/** The control link, told where it may call now. */
export interface LinkOfNetwork {
  useEndpoints(endpoints: string[]): void;
  readonly isResumable: boolean;
}

export class LiveNetwork {
  readonly #configuration: ContainerConfiguration;
  /** Where hostname, hosts and resolv.conf are. */
  readonly #directory: string;
  readonly #peers: PeerNames;
  /** As the engine wants it. */
  #network: NetworkConfiguration;
  /** With what the leases add: as it is set up. */
  #effective: NetworkConfiguration;
  /** Made, and its code loaded, for the first interface that needs it. */
  #leases: Leases | undefined;
  #guarded: boolean;
  #resolver: Resolver | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  readonly #link: () => LinkOfNetwork;
  readonly #onLeases: (leases: GuestLease[]) => void;

  constructor(
    configuration: ContainerConfiguration,
    directory: string,
    link: () => LinkOfNetwork,
    onLeases: (leases: GuestLease[]) => void,
  ) {
    this.#link = link;
    this.#onLeases = onLeases;
    this.#configuration = configuration;
    this.#directory = directory;
    this.#network = configuration.network;
    this.#effective = configuration.network;
    this.#guarded = configuration.network.interfaces.some(({ firewall }) => firewall !== undefined);
    this.#peers = new PeerNames(`${directory}/${PEERS_FILE}`);
  }

  /** Gets addresses by DHCP, and starts the resolver of a container that has one. Rejects when there is no address to be had. */
  async begin(): Promise<void> {
    const dynamic = this.#network.interfaces.filter(({ dhcp }) => dhcp !== undefined);
    if (dynamic.length > 0) {
      const leases = await this.#openLeases();
      try {
        await Promise.all(dynamic.map((configuration) => leases.acquire(configuration)));
      } catch (error) {
        leases.releaseAll();
        throw error;
      }
      await this.#settle(this.#network, writeEtcFiles);
    }
    await this.#configureResolver();
  }

  /** Gives leased addresses back. */
  release(): void {
    this.#leases?.releaseAll();
  }

  setPeers(networks: PeerNetwork[]): void {
    this.#peers.set(networks);
  }

  /** Throws LinkError; then what was there before still holds. */
  configure(network: NetworkConfiguration, endpoints: string[]): Promise<void> {
    const result = this.#turn.then(() => this.#apply(network, endpoints));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #apply(network: NetworkConfiguration, endpoints: string[]): Promise<void> {
    const before = this.#effective;
    if (this.#configuration.network.isolated && !network.isolated)
      throw new LinkError(
        "unsupported",
        "the container was started without a network, so its processes have none to add to: restart it",
      );
    const known = new Set(before.interfaces.map(({ mac }) => mac));
    const wanted = new Set(network.interfaces.map(({ mac }) => mac));
    // Before an interface is up, so that nothing comes in meanwhile.
    await this.#guard([
      ...before.interfaces.filter(({ mac }) => !wanted.has(mac)),
      ...this.#withLeases(network).interfaces,
    ]);
    for (const configuration of network.interfaces) {
      if (known.has(configuration.mac)) continue;
      const found = await deviceAppears(() => interfaceByMac(configuration.mac), ADAPTER_LIMIT);
      if (found === undefined)
        throw new LinkError("not-found", `no network adapter with address ${configuration.mac} has appeared`);
      // The default route is changed for all interfaces together.
      setUpInterface(found, { ...configuration, gateway: undefined, gateway6: undefined });
      if (configuration.dhcp === undefined) continue;
      try {
        await (await this.#openLeases()).acquire(configuration);
      } catch (error) {
        takeDownInterface(configuration.name);
        throw new LinkError("unsupported", error instanceof Error ? error.message : String(error));
      }
    }
    const gone = before.interfaces.filter(({ mac }) => !wanted.has(mac));
    for (const { mac } of gone) this.#leases?.release(mac);
    await this.#settle(network, updateEtcFiles, gone);
    await this.#configureResolver();
    // The answer may have to go over what is taken down: then it goes over the next connection of the session.
    const finish = (): void => {
      for (const { mac } of gone) {
        const name = interfaceByMac(mac);
        if (name !== undefined) takeDownInterface(name);
      }
      if (gone.length > 0) this.#guard(this.#effective.interfaces).catch(tell);
      this.#link().useEndpoints(endpoints);
    };
    if (gone.length === 0 || this.#link().isResumable) finish();
    else setTimeout(finish, FAREWELL);
  }

  /** A server has changed or taken back what it gave. */
  async #leasesChanged(): Promise<void> {
    try {
      await this.#settle(this.#network, updateEtcFiles);
      await this.#configureResolver();
    } catch (error) {
      tell(error);
    }
  }

  /** Sets everything up as it follows from `network` and the leases. */
  async #settle(
    network: NetworkConfiguration,
    writeFiles: (directory: string, configuration: ContainerConfiguration) => void,
    /** Interfaces that are up for a moment yet: their rules stay until then. */
    going: readonly InterfaceConfiguration[] = [],
  ): Promise<void> {
    const before = this.#effective;
    const effective = this.#withLeases(network);
    this.#network = network;
    this.#effective = effective;
    for (const configuration of effective.interfaces) if (configuration.dhcp) this.#setLease(configuration);
    this.#setDefaultRoute(before, effective);
    const gateway6 = gateway6Of(effective);
    if (gateway6?.gateway !== gateway6Of(before)?.gateway) replaceIPv6DefaultRoute(gateway6Of(before), gateway6);
    await this.#guard([...going, ...effective.interfaces]);
    writeFiles(this.#directory, { ...this.#configuration, network: effective });
    if (this.#leases) this.#onLeases(reportOf(this.#leases.current));
  }

  /** It goes with the address of its interface, so that another address needs it anew. */
  #setDefaultRoute(before: NetworkConfiguration, now: NetworkConfiguration): void {
    const [old, gateway] = [gatewayOf(before), gatewayOf(now)];
    if (old === gateway && leasedAddresses(before) === leasedAddresses(now)) return;
    try {
      replaceDefaultRoute(old, gateway);
    } catch (error) {
      const isLeased = now.interfaces.some((configuration) => configuration.dhcp && configuration.gateway === gateway);
      if (!isLeased) throw error;
      console.error(`the lease's router ${gateway}: ${error instanceof Error ? error.message : error}`);
    }
  }

  #setLease(configuration: InterfaceConfiguration): void {
    const { mac, name } = configuration;
    const lease = this.#leases?.current.get(mac);
    if (interfaceByMac(mac) === undefined) return;
    if (lease === undefined) {
      dropAddress(name);
      return;
    }
    setUpInterface(name, { ...configuration, gateway: undefined, gateway6: undefined });
    for (const { destination, reason } of addRoutes(lease.routes))
      console.error(`${name}: the route to ${destination} of the lease: ${reason}`);
  }

  #withLeases(network: NetworkConfiguration): NetworkConfiguration {
    return withLeases(network, this.#leases?.current ?? new Map());
  }

  async #openLeases(): Promise<Leases> {
    if (this.#leases === undefined) {
      const { Leases } = await import("./dhcp/leases.ts");
      this.#leases ??= new Leases(`${this.#directory}/${LEASES_FILE}`, this.#configuration.hostname, () => {
        this.#turn = this.#turn.then(() => this.#leasesChanged());
      });
    }
    return this.#leases;
  }

  async #guard(interfaces: readonly InterfaceConfiguration[]): Promise<void> {
    if (!this.#guarded && interfaces.every(({ firewall }) => firewall === undefined)) return;
    this.#guarded = true;
    const { applyFirewall } = await import("./firewall/index.ts");
    applyFirewall(interfaces);
  }

  async #configureResolver(): Promise<void> {
    const { resolver } = this.#effective;
    if (resolver === undefined) {
      this.#resolver?.close();
      this.#resolver = undefined;
    } else if (this.#resolver) this.#resolver.configure(resolver);
    else this.#resolver = await openResolver(resolver, this.#peers);
  }
}

const tell = (error: unknown): void => console.error(`network: ${error instanceof Error ? error.message : error}`);

const leasedAddresses = ({ interfaces }: NetworkConfiguration): string =>
  JSON.stringify(interfaces.flatMap(({ dhcp, addresses }) => (dhcp ? [addresses] : [])));

const gatewayOf = ({ interfaces }: NetworkConfiguration): string | undefined =>
  interfaces.find(({ gateway }) => gateway !== undefined)?.gateway;

function gateway6Of({ interfaces }: NetworkConfiguration): IPv6Route | undefined {
  const carrier = interfaces.find(({ gateway6 }) => gateway6 !== undefined);
  const name = carrier && interfaceByMac(carrier.mac);
  const index = name === undefined ? undefined : interfaceIndex(name);
  return carrier?.gateway6 === undefined || index === undefined ? undefined : { gateway: carrier.gateway6, index };
}
