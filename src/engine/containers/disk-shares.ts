/** Docker's weights of block I/O as vSphere's shares of disks. */
import type { HostConfig } from "../contract.ts";
import { invalid, notImplemented } from "../errors.ts";

/** The root disk in the guest, and the only one whose name there is certain. */
const ROOT_DEVICE = "/dev/sda";
const [LEAST_WEIGHT, MOST_WEIGHT] = [10, 1000];
/** vSphere's shares per unit of Docker's weight: 500 and 1000 are the neutral values. */
const SHARES_PER_WEIGHT = 2;
/** vSphere's least. */
const LEAST_SHARES = 200;

/** Throws EngineError, with Docker's texts where it has one. */
export function checkWeights({ BlkioWeight, BlkioWeightDevice }: Partial<HostConfig>): void {
  if (BlkioWeight && !isWeight(BlkioWeight)) throw invalid("Range of blkio weight is from 10 to 1000");
  for (const { Path: path = "", Weight: weight } of BlkioWeightDevice ?? []) {
    if (!path.startsWith("/dev/")) throw invalid(`bad format for device path: ${path}`);
    if (!isWeight(weight)) throw invalid(`invalid weight for device: ${path}:${weight}`);
    if (path !== ROOT_DEVICE)
      throw notImplemented(
        `HostConfig.BlkioWeightDevice of ${path} is not supported: names of disks other than ${ROOT_DEVICE}, the root disk, are not certain before the VM runs. Use --blkio-weight for all of them`,
      );
  }
}

const isWeight = (weight: number | undefined): boolean =>
  Number.isInteger(weight) && Number(weight) >= LEAST_WEIGHT && Number(weight) <= MOST_WEIGHT;

const sharesOf = (weight: number): number => Math.max(LEAST_SHARES, weight * SHARES_PER_WEIGHT);

/** Shares of the root disk and of each other disk; undefined where nothing was asked for. */
export function diskShares({ BlkioWeight, BlkioWeightDevice }: Partial<HostConfig>): {
  root: number | undefined;
  others: number | undefined;
} {
  const others = BlkioWeight ? sharesOf(BlkioWeight) : undefined;
  const own = BlkioWeightDevice?.find(({ Path }) => Path === ROOT_DEVICE)?.Weight;
  return { root: own ? sharesOf(own) : others, others };
}
