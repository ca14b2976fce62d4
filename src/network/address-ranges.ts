/** Leases IPv4 addresses out of an administrator's ranges. As with address-pool.ts nothing is stored. */
import { formatIp, type IpNetwork, networkHas, parseIp } from "../format/ip-address.ts";
import { type AddressLease, type AddressPool, NetworkError } from "./contract.ts";

/** From one address to another, both included. */
export interface AddressRange {
  first: string;
  last: string;
}

export interface AddressRangesOptions {
  subnet: IpNetwork;
  ranges: readonly AddressRange[];
  /** Never leased: the gateway. The subnet's own address and its broadcast address never are anyway. */
  reserved: readonly string[];
  /** Addresses of the containers in live inventory. */
  inUse: () => Iterable<string>;
}

const value = (text: string): bigint => {
  const address = parseIp(text);
  if (address?.family !== 4) throw new NetworkError("invalid", `invalid IPv4 address: ${text}`);
  return address.value;
};

/** Throws NetworkError `invalid` when a range is not inside of the subnet. */
export function createAddressRanges({ subnet, ranges, reserved, inUse }: AddressRangesOptions): AddressPool {
  const spans = ranges.map((range) => ({ first: value(range.first), last: value(range.last) }));
  for (const [index, { first, last }] of spans.entries()) {
    const inside = [first, last].every((end) => networkHas(subnet, { family: 4, value: end }));
    if (first > last || !inside)
      throw new NetworkError(
        "invalid",
        `invalid range ${rangeText(ranges[index])}: it is not inside of ${formatIp({ family: 4, value: subnet.first })}/${subnet.prefixLength}`,
      );
  }
  const never = new Set<bigint>([subnet.first, subnet.last, ...reserved.map(value)]);
  const leased = new Set<bigint>();
  /** Handed out round and round, so that a removed container's address is not at once another's. */
  let previous: bigint | undefined;

  const taken = (): Set<bigint> => {
    const addresses = new Set<bigint>(leased);
    for (const text of inUse()) {
      const address = parseIp(text);
      if (address?.family === 4) addresses.add(address.value);
    }
    return addresses;
  };

  const lease = (address: bigint): AddressLease => {
    leased.add(address);
    let open = true;
    return {
      address: formatIp({ family: 4, value: address }),
      release() {
        if (open) leased.delete(address);
        open = false;
      },
    };
  };

  /** All addresses, beginning after the one that was given last. */
  function* candidates(): Generator<bigint> {
    const at = spans.findIndex(({ first, last }) => previous !== undefined && previous >= first && previous <= last);
    const start = Math.max(at, 0);
    for (let turn = 0; turn <= spans.length; turn++) {
      const span = spans[(start + turn) % spans.length];
      if (!span) return;
      const from = turn === 0 && at >= 0 && previous !== undefined ? previous + 1n : span.first;
      const to = turn === spans.length && previous !== undefined ? previous : span.last;
      for (let address = from; address <= to && address <= span.last; address++) yield address;
    }
  }

  return {
    subnet: `${formatIp({ family: 4, value: subnet.first })}/${subnet.prefixLength}`,
    prefixLength: subnet.prefixLength,
    lease(wanted) {
      const used = taken();
      if (wanted !== undefined && wanted !== "") {
        const address = value(wanted);
        if (!spans.some(({ first, last }) => address >= first && address <= last))
          throw new NetworkError(
            "invalid",
            `invalid address ${wanted}: it is in none of this network's ranges (${ranges.map(rangeText).join(", ")})`,
          );
        if (never.has(address) || used.has(address)) throw new NetworkError("address-in-use", "Address already in use");
        return lease(address);
      }
      for (const address of candidates()) {
        if (never.has(address) || used.has(address)) continue;
        previous = address;
        return lease(address);
      }
      throw new NetworkError(
        "addresses-exhausted",
        `no available IPv4 addresses in this network's ranges (${ranges.map(rangeText).join(", ")}): remove a container, or ask the administrator for more`,
      );
    },
  };
}

export const rangeText = (range: AddressRange | undefined): string =>
  range === undefined ? "" : range.first === range.last ? range.first : `${range.first}-${range.last}`;
