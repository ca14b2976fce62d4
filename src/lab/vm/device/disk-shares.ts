/**
 * How a disk competes with others for its datastore. The lab keeps and shows shares as vSphere does; they have no effect, as they have
 * none on a host that nobody competes on.
 */
import { type Long, toNumber } from "../../../vsphere/vim25/index.ts";
import { type DataObject, data } from "../../model/data.ts";
import { type ChangeContext, invalidDevice } from "./device-changes.ts";

export interface DiskShares {
  level: "low" | "normal" | "high" | "custom";
  shares: number;
}

/** Of a disk, at the levels that have a name. */
const LEVELS = { low: 500, normal: 1000, high: 2000 } as const;
export const NORMAL_SHARES: DiskShares = { level: "normal", shares: LEVELS.normal };
/** Bounds of a custom value, which vSphere's clients hold to. */
const LEAST = 200;
const MOST = 4000;
const UNLIMITED = -1;

/** What a spec's `storageIOAllocation` (or, from older clients, `shares`) makes of `before`. */
export function wantedShares(context: ChangeContext, device: DataObject, before: DiskShares): DiskShares {
  const allocation = device.storageIOAllocation as DataObject | undefined;
  if (allocation?.limit !== undefined && toNumber(allocation.limit as Long) !== UNLIMITED)
    throw invalidDevice(context, "The lab does not limit the operations of a disk; leave out the limit, or give -1.");
  if (allocation?.reservation !== undefined && toNumber(allocation.reservation as Long) !== 0)
    throw invalidDevice(context, "The lab does not reserve operations for a disk; leave out the reservation.");
  const info = (allocation?.shares ?? device.shares) as DataObject | undefined;
  if (info === undefined) return before;
  const level = info.level as DiskShares["level"];
  if (level !== "custom") return { level, shares: LEVELS[level] };
  const shares = toNumber(info.shares as Long);
  if (shares < LEAST || shares > MOST)
    throw invalidDevice(context, `A disk has ${LEAST} to ${MOST} shares, not ${shares}.`);
  return { level, shares };
}

export const vimShares = (held: DiskShares): { shares: DataObject; storageIOAllocation: DataObject } => ({
  shares: data("SharesInfo", { ...held }),
  storageIOAllocation: data("StorageIOAllocationInfo", {
    limit: UNLIMITED,
    shares: data("SharesInfo", { ...held }),
    reservation: 0,
  }),
});

/** Of a `.vmx`: a level's name or a number. */
export const formatShares = ({ level, shares }: DiskShares): string => (level === "custom" ? String(shares) : level);

export function parseShares(text: string | undefined): DiskShares {
  if (text === "low" || text === "normal" || text === "high") return { level: text, shares: LEVELS[text] };
  const shares = Number(text);
  return Number.isInteger(shares) && shares > 0 ? { level: "custom", shares } : NORMAL_SHARES;
}
