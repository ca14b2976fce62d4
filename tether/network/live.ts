/** The networks of a running container: what `docker network connect` and `disconnect` change, and the names of its peers. */
import type { ContainerConfiguration, NetworkConfiguration, PeerNetwork } from "../../src/link/guest-configuration.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { updateEtcFiles } from "../boot/etc-files.ts";
import { deviceAppears } from "../boot/uevents.ts";
import {
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
  #network: NetworkConfiguration;
  #resolver: Resolver | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  readonly #link: () => LinkOfNetwork;

  constructor(configuration: ContainerConfiguration, directory: string, link: () => LinkOfNetwork) {
    this.#link = link;
    this.#configuration = configuration;
    this.#directory = directory;
    this.#network = configuration.network;
    this.#peers = new PeerNames(`${directory}/${PEERS_FILE}`);
  }

  /** Starts the resolver of a container that has one. */
  async begin(): Promise<void> {
    await this.#configureResolver();
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
    const before = this.#network;
    if (this.#configuration.network.isolated && !network.isolated)
      throw new LinkError(
        "unsupported",
        "the container was started without a network, so its processes have none to add to: restart it",
      );
    const known = new Set(before.interfaces.map(({ mac }) => mac));
    const wanted = new Set(network.interfaces.map(({ mac }) => mac));
    for (const configuration of network.interfaces) {
      if (known.has(configuration.mac)) continue;
      const found = await deviceAppears(() => interfaceByMac(configuration.mac), ADAPTER_LIMIT);
      if (found === undefined)
        throw new LinkError("not-found", `no network adapter with address ${configuration.mac} has appeared`);
      // The default route is changed for all interfaces together.
      setUpInterface(found, { ...configuration, gateway: undefined, gateway6: undefined });
    }
    this.#network = network;
    const gone = before.interfaces.filter(({ mac }) => !wanted.has(mac));
    const gateway = gatewayOf(network);
    if (gateway !== gatewayOf(before)) replaceDefaultRoute(gatewayOf(before), gateway);
    const gateway6 = gateway6Of(network);
    if (gateway6?.gateway !== gateway6Of(before)?.gateway) replaceIPv6DefaultRoute(gateway6Of(before), gateway6);
    updateEtcFiles(this.#directory, { ...this.#configuration, network });
    await this.#configureResolver();
    // The answer may have to go over what is taken down: then it goes over the next connection of the session.
    const finish = (): void => {
      for (const { mac } of gone) {
        const name = interfaceByMac(mac);
        if (name !== undefined) takeDownInterface(name);
      }
      this.#link().useEndpoints(endpoints);
    };
    if (gone.length === 0 || this.#link().isResumable) finish();
    else setTimeout(finish, FAREWELL);
  }

  async #configureResolver(): Promise<void> {
    const { resolver } = this.#network;
    if (resolver === undefined) {
      this.#resolver?.close();
      this.#resolver = undefined;
    } else if (this.#resolver) this.#resolver.configure(resolver);
    else this.#resolver = await openResolver(resolver, this.#peers);
  }
}

const gatewayOf = ({ interfaces }: NetworkConfiguration): string | undefined =>
  interfaces.find(({ gateway }) => gateway !== undefined)?.gateway;

function gateway6Of({ interfaces }: NetworkConfiguration): IPv6Route | undefined {
  const carrier = interfaces.find(({ gateway6 }) => gateway6 !== undefined);
  const name = carrier && interfaceByMac(carrier.mac);
  const index = name === undefined ? undefined : interfaceIndex(name);
  return carrier?.gateway6 === undefined || index === undefined ? undefined : { gateway: carrier.gateway6, index };
}
