/**
 * What the engine needs of bridge networks: addresses, outbound NAT, published ports and the resolver.
 * The process that implements it is the gateway of the network: the appliance, or the endpoint on a lab machine.
 */

export type TransportProtocol = "tcp" | "udp" | "sctp";

/** A port to publish, as a container asks for it. */
export interface PortRequest {
  containerPort: number;
  protocol: TransportProtocol;
  /**
   * An address of this machine; "0.0.0.0" and "::" are all of one family, "" is all of both where the container has both.
   * An IPv6 address needs a network with IPv6.
   */
  hostAddress: string;
  /** A port, a range to take the first free one of, or undefined for a free one of the ephemeral range. */
  hostPort?: number | { first: number; last: number };
}

/** A port that is published. */
export interface PublishedPort {
  containerPort: number;
  protocol: TransportProtocol;
  /** "0.0.0.0" for all IPv4 addresses, "::" for all IPv6 ones. */
  hostAddress: string;
  hostPort: number;
}

/** One container's place on a bridge network, for publishing. */
export interface PublishingEndpoint {
  /** The container's full id. */
  containerId: string;
  containerName: string;
  /** The container's address on this network. */
  address: string;
  /** Its IPv6 address, where the network has IPv6. */
  address6?: string;
  ports: readonly PortRequest[];
}

export type NetworkErrorCode =
  /** Another container or program has the port. */
  | "port-in-use"
  | "address-in-use"
  | "addresses-exhausted"
  | "invalid"
  | "unsupported"
  /** A system command or call failed. */
  | "system";

/** Messages are Docker's where Docker has one. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
  constructor(
    readonly code: NetworkErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** An address that is kept for one container until live inventory shows it. */
export interface AddressLease {
  readonly address: string;
  /** Call when the container's VM is in inventory (then `inUse` keeps the address) or was not made. Idempotent. */
  release(): void;
}

/** Addresses of one subnet of either family, leased from what live inventory does not use. */
export interface AddressPool {
  readonly subnet: string;
  readonly prefixLength: number;
  /**
   * The next free address (least recently handed out first), or exactly `address`.
   * Throws NetworkError `address-in-use`, `invalid` (outside of the subnet, or reserved) or `addresses-exhausted`.
   */
  lease(address?: string): AddressLease;
}

/**
 * Names that the resolver on the gateway answers itself: the addresses of `name` (lower case, no trailing dot) for the guest
 * with address `from`; undefined to ask the machine's own name servers.
 */
export type NameLookup = (name: string, from: string) => readonly string[] | undefined;

/** The one adapter that may use an address, of either family. */
export interface AddressBinding {
  address: string;
  /** Lower case with colons. */
  macAddress: string;
}

/** The IPv6 side of a network. */
export interface Ipv6Options {
  /** `fd00:18::/64` */
  subnet: string;
  /** This machine's address on the network, inside `subnet`. */
  gateway: string;
  reserved?: readonly string[];
  leaseRange?: string;
}

export interface BridgeNetworkOptions {
  /** The VCH's name; goes into the nftables table's name and comment. */
  owner: string;
  /** The Linux interface that is on the bridge network: a bridge made by the lab, or the appliance's vNIC. Must exist. */
  interfaceName: string;
  /** `172.18.0.0/16` */
  subnet: string;
  /** This machine's address on the network, inside `subnet`. */
  gateway: string;
  /** Left out: nothing of IPv6 goes to or from the network. */
  ipv6?: Ipv6Options;
  /** TCP ports on the gateway that guests may reach besides DNS: the control link's. */
  allowedPorts: readonly number[];
  /** docker network create --internal: no way out, no published ports. */
  internal?: boolean;
  /** False leaves the guests' own addresses on what goes out: somebody else routes or translates them. */
  masquerade?: boolean;
  /** Drop what comes from an address of the network by another adapter than the one that it is bound to. */
  checkSources?: boolean;
  /** Addresses that are not leased besides network, broadcast and gateway. */
  reserved?: readonly string[];
  /** docker network create --ip-range: lease only from this part of the subnet. */
  leaseRange?: string;
  /** Addresses of the containers in live inventory. */
  addressesInUse: () => Iterable<string>;
  names?: NameLookup;
  log: (message: string) => void;
}

export interface BridgeNetwork {
  readonly interfaceName: string;
  readonly subnet: string;
  readonly gateway: string;
  readonly addresses: AddressPool;
  /** Where the network has IPv6. */
  readonly addresses6: AddressPool | undefined;
  /**
   * From now on only these adapters send from their addresses, and what is for an address goes to its adapter, whatever is
   * said by ARP or neighbour discovery. Replaces earlier bindings of the addresses.
   */
  bind(bindings: readonly AddressBinding[]): Promise<void>;
  /** Addresses that are not bound are no error. */
  unbind(addresses: readonly string[]): Promise<void>;
  /**
   * Publish a started container's ports, all or none. Replaces what the container had published before.
   * Throws NetworkError with Docker's text (`driver failed programming external connectivity on endpoint …`).
   */
  publish(endpoint: PublishingEndpoint): Promise<PublishedPort[]>;
  /** Unknown ids are no error. */
  withdraw(containerId: string): Promise<void>;
  published(containerId: string): readonly PublishedPort[];
  /**
   * Make the rules what running containers need, after a start of the endpoint: rules of an earlier run are kept where they
   * still fit (also host ports that were picked at random), the others go. Ports that cannot be had are answered, not thrown.
   * Of bindings of an earlier run only these are kept.
   */
  reconcile(
    endpoints: readonly PublishingEndpoint[],
    bindings?: readonly AddressBinding[],
  ): Promise<{ published: Map<string, PublishedPort[]>; failures: { containerId: string; error: NetworkError }[] }>;
  /** `removeRules` false leaves NAT and published ports working while the endpoint is away. */
  close(options: { removeRules: boolean }): Promise<void>;
}

/**
 * Implemented in bridge-network.ts:
 *   openBridgeNetwork(options: BridgeNetworkOptions): Promise<BridgeNetwork>
 *   removeBridgeNetwork(options: { owner: string; interfaceName: string }): Promise<void>   (for `vch delete`: leaves nothing)
 */
export type OpenBridgeNetwork = (options: BridgeNetworkOptions) => Promise<BridgeNetwork>;
