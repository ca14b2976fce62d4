import type { SquashfsCompression, SquashfsOptions } from "../src/format/squashfs";
import type { KernelConfiguration } from "./kernel-configuration";

/**
 * How the root file system lies on the medium.
 *
 * `none`: as files of ISO 9660. Starts fastest where reading costs little, and is the largest.
 * `zstd`, `gzip`: as squashfs, which the guest decompresses page by page as it needs them.
 * `auto`: the best that the kernel can read.
 */
export interface MediumCompression {
  method: "none" | "auto" | SquashfsCompression;
  /** 1 to 22 for zstd, 1 to 9 for gzip. */
  level?: number;
  /** Bytes compressed together, which is what one page fault costs; a power of two from 4 KiB to 1 MiB. */
  blockSize?: number;
}

/** Larger blocks are smaller on the medium but cost more at each fault: 1 MiB saves 6 % and doubles the time to start. */
const DEFAULT_BLOCK_SIZE = 128 * 1024;
/** Beyond these, a percent costs minutes. */
const defaultLevel: Readonly<Record<SquashfsCompression, number>> = { gzip: 9, zstd: 15 };
const kernelOption: Readonly<Record<SquashfsCompression, string>> = { gzip: "SQUASHFS_ZLIB", zstd: "SQUASHFS_ZSTD" };

/**
 * What a kernel can read of what is wanted.
 * @returns `undefined` for no compression
 * @throws Error naming the kernel's option when it lacks what was asked for by name
 */
export function chooseCompression(
  wanted: MediumCompression,
  kernel: KernelConfiguration,
): Pick<SquashfsOptions, "compression" | "level" | "blockSize"> | undefined {
  if (wanted.method === "none") return undefined;
  const supported = (["zstd", "gzip"] as const).filter(
    (method) => kernel.offers("SQUASHFS") && kernel.has(kernelOption[method]),
  );
  const compression = wanted.method === "auto" ? supported[0] : wanted.method;
  if (compression === undefined) return undefined;
  if (kernel.isKnown && !supported.includes(compression)) {
    throw new Error(
      `the kernel cannot read ${compression} squashfs (CONFIG_SQUASHFS and CONFIG_${kernelOption[compression]}); ` +
        `use another compression${supported.length > 0 ? `: ${supported.join(", ")}` : " or none"}`,
    );
  }
  const level = wanted.level ?? defaultLevel[compression];
  const highest = compression === "gzip" ? 9 : 22;
  if (!Number.isInteger(level) || level < 1 || level > highest) {
    throw new Error(`the compression level of ${compression} is a whole number from 1 to ${highest}`);
  }
  return { compression, level, blockSize: wanted.blockSize ?? DEFAULT_BLOCK_SIZE };
}
