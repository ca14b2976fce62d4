import { expect, test } from "bun:test";
import { checkWeights, diskShares } from "./disk-shares.ts";

test("weights are shares of disks; the root disk may have its own", () => {
  expect(diskShares({})).toEqual({ root: undefined, others: undefined });
  expect(diskShares({ BlkioWeight: 500 })).toEqual({ root: 1000, others: 1000 });
  expect(diskShares({ BlkioWeight: 10 })).toEqual({ root: 200, others: 200 });
  expect(diskShares({ BlkioWeightDevice: [{ Path: "/dev/sda", Weight: 1000 }] })).toEqual({
    root: 2000,
    others: undefined,
  });
});

test("impossible ones", () => {
  expect(() => checkWeights({ BlkioWeight: 5 })).toThrow("Range of blkio weight is from 10 to 1000");
  const device = (Path: string, Weight: number) => ({ BlkioWeightDevice: [{ Path, Weight }] });
  expect(() => checkWeights(device("sda", 100))).toThrow("bad format for device path: sda");
  expect(() => checkWeights(device("/dev/sda", 2000))).toThrow("invalid weight for device: /dev/sda:2000");
  expect(() => checkWeights(device("/dev/sdb", 100))).toThrow("are not certain before the VM runs");
});
