import { type Long, toNumber } from "../../vsphere/vim25/index.ts";
import { invalidArgument } from "../fault.ts";
import { type DataObject, data } from "../model/data.ts";
import type { HostFacts } from "./host-facts.ts";
import type { Allocation } from "./inventory-store.ts";

const LEVEL_FACTORS = { low: 0.5, normal: 1, high: 2 } as const;

/**
 * A ResourceAllocationInfo laid over what held before; unset fields keep their value.
 * @param normalShares shares at level normal, which the other levels are derived from
 */
export function mergeAllocation(
  property: string,
  before: Allocation,
  info: DataObject | undefined,
  normalShares: number,
): Allocation {
  if (!info) return before;
  const number = (name: string): number | undefined =>
    info[name] === undefined ? undefined : toNumber(info[name] as Long);
  const reservation = number("reservation") ?? before.reservation;
  const limit = number("limit") ?? before.limit;
  if (reservation < 0) throw invalidArgument(`${property}.reservation`, "It cannot be negative.");
  if (limit < -1 || (limit !== -1 && limit < reservation)) {
    throw invalidArgument(`${property}.limit`, "It must be -1 or at least the reservation.");
  }
  const shares = info.shares as DataObject | undefined;
  return {
    reservation,
    limit,
    expandableReservation: (info.expandableReservation as boolean | undefined) ?? before.expandableReservation,
    shares: shares ? sharesOf(shares, normalShares) : before.shares,
  };
}

function sharesOf(info: DataObject, normalShares: number): Allocation["shares"] {
  const level = info.level as Allocation["shares"]["level"];
  if (level === "custom") return { level, shares: toNumber(info.shares as Long) };
  return { level, shares: Math.round(normalShares * LEVEL_FACTORS[level]) };
}

export const vimAllocation = (allocation: Allocation): DataObject =>
  data("ResourceAllocationInfo", {
    reservation: allocation.reservation,
    expandableReservation: allocation.expandableReservation,
    limit: allocation.limit,
    shares: data("SharesInfo", allocation.shares),
  });

const MEBIBYTE = 2 ** 20;

/** All that there is: what a root pool has. CPU in MHz, memory in MB. */
export function totalAllocation(facts: HostFacts, kind: "cpu" | "memory"): Allocation {
  const amount = kind === "cpu" ? facts.threads * facts.cpuMhz : Math.floor(facts.memoryBytes / MEBIBYTE);
  return {
    reservation: amount,
    expandableReservation: false,
    limit: amount,
    shares: { level: "custom", shares: kind === "cpu" ? 4000 : 163_840 },
  };
}
