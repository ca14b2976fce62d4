/** Leases addresses of one subnet. Nothing is stored: what is taken comes from live inventory and from open leases. */
import { type AddressLease, type AddressPool, NetworkError } from "./contract.ts";
import { contains, formatIpv4, formatSubnet, parseIpv4, parseSubnet } from "./subnet.ts";

export interface AddressPoolOptions {
  subnet: string;
  /** Never leased: the gateway and others; network and broadcast address never are anyway. */
  reserved: readonly string[];
  /** Lease only from this part of the subnet, unless an address is asked for. */
  leaseRange?: string;
  /** Addresses of the containers in live inventory. */
  inUse: () => Iterable<string>;
}

export function createAddressPool(options: AddressPoolOptions): AddressPool {
  const subnet = parseSubnet(options.subnet);
  const range = options.leaseRange === undefined ? subnet : parseSubnet(options.leaseRange);
  if (!contains(subnet, range.first) || !contains(subnet, range.last)) {
    throw new NetworkError("invalid", `invalid ip-range ${options.leaseRange}: it is not inside ${options.subnet}`);
  }
  const reserved = new Set<number>([subnet.first, subnet.last]);
  for (const text of options.reserved) {
    const address = parseIpv4(text);
    if (address === undefined) throw new NetworkError("invalid", `invalid reserved address ${text}`);
    reserved.add(address);
  }
  const leased = new Set<number>();
  // Addresses are handed out round and round, so that a removed container's address is not at once another's.
  let cursor = range.first;

  function taken(): Set<number> {
    const addresses = new Set<number>(leased);
    for (const text of options.inUse()) {
      const address = parseIpv4(text);
      if (address !== undefined) addresses.add(address);
    }
    return addresses;
  }

  function makeLease(address: number): AddressLease {
    leased.add(address);
    let open = true;
    return {
      address: formatIpv4(address),
      release() {
        if (open) leased.delete(address);
        open = false;
      },
    };
  }

  function leaseExactly(text: string): AddressLease {
    const address = parseIpv4(text);
    if (address === undefined) throw new NetworkError("invalid", `invalid IPv4 address: ${text}`);
    if (!contains(subnet, address) || address === subnet.first || address === subnet.last) {
      throw new NetworkError(
        "invalid",
        `invalid address ${text}: It does not belong to any of this network's subnets (${formatSubnet(subnet)})`,
      );
    }
    if (reserved.has(address) || taken().has(address)) {
      throw new NetworkError("address-in-use", "Address already in use");
    }
    return makeLease(address);
  }

  return {
    subnet: formatSubnet(subnet),
    prefixLength: subnet.prefixLength,
    lease(wanted) {
      if (wanted !== undefined && wanted !== "") return leaseExactly(wanted);
      const used = taken();
      const size = range.last - range.first + 1;
      // More steps than there are taken addresses cannot be needed: one of that many candidates is free.
      const steps = Math.min(size, used.size + reserved.size + 1);
      for (let step = 0; step < steps; step++) {
        const address = cursor;
        cursor = cursor === range.last ? range.first : cursor + 1;
        if (!reserved.has(address) && !used.has(address)) return makeLease(address);
      }
      throw new NetworkError(
        "addresses-exhausted",
        `no available IPv4 addresses on this network's address pools: ${formatSubnet(range)} (all ${size} are taken)`,
      );
    },
  };
}
