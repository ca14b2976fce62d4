/** Leases addresses of one subnet. Nothing is stored: what is taken comes from live inventory and from open leases. */
import { formatIp, formatNetwork, networkHas, networkIncludes, parseIp, parseNetwork } from "../format/ip-address.ts";
import { type AddressLease, type AddressPool, NetworkError } from "./contract.ts";
import { hostSubnet } from "./host-subnet.ts";

export interface AddressPoolOptions {
  /** IPv4 or IPv6. */
  subnet: string;
  /** Never leased: the gateway and others. The network's own address never is anyway, nor is IPv4's broadcast address. */
  reserved: readonly string[];
  /** Lease only from this part of the subnet, unless an address is asked for. */
  leaseRange?: string;
  /** Addresses of the containers in live inventory; those of the other family do not count. */
  inUse: () => Iterable<string>;
}

export function createAddressPool(options: AddressPoolOptions): AddressPool {
  const subnet = hostSubnet(options.subnet);
  const range = options.leaseRange === undefined ? subnet : parseNetwork(options.leaseRange);
  const { family } = subnet;
  const ends = family === 4 ? [subnet.first, subnet.last] : [subnet.first];
  if (range === undefined || !networkIncludes(subnet, range)) {
    throw new NetworkError("invalid", `invalid ip-range ${options.leaseRange}: it is not inside ${options.subnet}`);
  }
  const reserved = new Set<bigint>(ends);
  for (const text of options.reserved) {
    const address = parseIp(text);
    if (address?.family !== family) throw new NetworkError("invalid", `invalid reserved address ${text}`);
    reserved.add(address.value);
  }
  const leased = new Set<bigint>();
  // Addresses are handed out round and round, so that a removed container's address is not at once another's.
  let cursor = range.first;

  function taken(): Set<bigint> {
    const addresses = new Set<bigint>(leased);
    for (const text of options.inUse()) {
      const address = parseIp(text);
      if (address?.family === family) addresses.add(address.value);
    }
    return addresses;
  }

  function makeLease(value: bigint): AddressLease {
    leased.add(value);
    let open = true;
    return {
      address: formatIp({ family, value }),
      release() {
        if (open) leased.delete(value);
        open = false;
      },
    };
  }

  function leaseExactly(text: string): AddressLease {
    const address = parseIp(text);
    if (address?.family !== family) throw new NetworkError("invalid", `invalid IPv${family} address: ${text}`);
    if (!networkHas(subnet, address) || ends.includes(address.value)) {
      throw new NetworkError(
        "invalid",
        `invalid address ${text}: It does not belong to any of this network's subnets (${formatNetwork(subnet)})`,
      );
    }
    if (reserved.has(address.value) || taken().has(address.value)) {
      throw new NetworkError("address-in-use", "Address already in use");
    }
    return makeLease(address.value);
  }

  return {
    subnet: formatNetwork(subnet),
    prefixLength: subnet.prefixLength,
    lease(wanted) {
      if (wanted !== undefined && wanted !== "") return leaseExactly(wanted);
      const used = taken();
      const size = range.last - range.first + 1n;
      // More steps than there are taken addresses cannot be needed: one of that many candidates is free.
      const enough = BigInt(used.size + reserved.size + 1);
      const steps = size < enough ? size : enough;
      for (let step = 0n; step < steps; step++) {
        const value = cursor;
        cursor = cursor === range.last ? range.first : cursor + 1n;
        if (!reserved.has(value) && !used.has(value)) return makeLease(value);
      }
      throw new NetworkError(
        "addresses-exhausted",
        `no available IPv${family} addresses on this network's address pools: ${formatNetwork(range)} (all ${size} are taken)`,
      );
    },
  };
}
