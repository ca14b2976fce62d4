import { expect, test } from "bun:test";
import { data } from "../../model/data.ts";
import type { ChangeContext } from "./device-changes.ts";
import { formatShares, NORMAL_SHARES, parseShares, vimShares, wantedShares } from "./disk-shares.ts";

const context = { index: 0 } as ChangeContext;
const disk = (allocation: Record<string, unknown>) =>
  data("VirtualDisk", { storageIOAllocation: data("StorageIOAllocationInfo", allocation as never) });
const shares = (level: string, value = 0) => ({ shares: data("SharesInfo", { level, shares: value }) });

test("shares of a disk: by level, by number, or as before", () => {
  expect(wantedShares(context, data("VirtualDisk", {}), NORMAL_SHARES)).toEqual(NORMAL_SHARES);
  expect(wantedShares(context, disk(shares("high")), NORMAL_SHARES)).toEqual({ level: "high", shares: 2000 });
  const custom = wantedShares(context, disk({ ...shares("custom", 300), limit: -1 }), NORMAL_SHARES);
  expect(custom).toEqual({ level: "custom", shares: 300 });
  expect(vimShares(custom).storageIOAllocation).toMatchObject({ limit: -1, shares: { level: "custom", shares: 300 } });
  for (const held of [custom, NORMAL_SHARES]) expect(parseShares(formatShares(held))).toEqual(held);
  expect(parseShares("nonsense")).toEqual(NORMAL_SHARES);
});

test("what the lab does not do is refused", () => {
  for (const [allocation, reason] of [
    [shares("custom", 100), "200 to 4000 shares"],
    [{ limit: 500 }, "does not limit the operations"],
    [{ reservation: 10 }, "does not reserve operations"],
  ] as const)
    expect(() => wantedShares(context, disk(allocation), NORMAL_SHARES)).toThrow(reason);
});
