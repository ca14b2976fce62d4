/** `docker volume create --driver` and `-o`. */
import { parseSize } from "../containers/sizes.ts";
import { invalid, notImplemented } from "../errors.ts";
import { MAXIMUM_VOLUME_CAPACITY, MINIMUM_VOLUME_CAPACITY } from "../limits.ts";

const DRIVERS = ["local", "vsphere"] as const;
export type VolumeDriver = (typeof DRIVERS)[number];

/** The store that every endpoint has, as vSphere Integrated Containers called it. */
const DEFAULT_STORE = "default";
export const isCapacity = (option: string): boolean => ["capacity", "size"].includes(option.toLowerCase());

/** Throws EngineError for one that is not known. */
export function volumeDriver(name: string | undefined): VolumeDriver {
  const driver = DRIVERS.find((known) => known === (name || "local"));
  if (!driver)
    throw notImplemented(
      `volume driver ${name} is not supported: volumes are virtual disks. Use local or vsphere, which are the same`,
    );
  return driver;
}

/**
 * -o Capacity=10G, or `size` as other drivers call it; undefined when it is not given. -o VolumeStore=default is what holds anyway.
 * Throws for any other option.
 */
export function volumeCapacity(options: Record<string, string>): number | undefined {
  let capacity: number | undefined;
  for (const [name, value] of Object.entries(options)) {
    if (name.toLowerCase() === "volumestore") {
      if (value !== DEFAULT_STORE)
        throw invalid(`no volume store is called ${JSON.stringify(value)}: this endpoint has one, ${DEFAULT_STORE}`);
      continue;
    }
    if (!isCapacity(name))
      throw notImplemented(
        `volume option ${name} is not supported: a volume is a virtual disk of its own. Use -o Capacity=10G for its size`,
      );
    // A bare number is megabytes, as it was in vSphere Integrated Containers.
    const bytes = /^\d+$/.test(value) ? Number(value) * 1024 * 1024 : parseSize(value);
    if (bytes === undefined || bytes < MINIMUM_VOLUME_CAPACITY || bytes > MAXIMUM_VOLUME_CAPACITY)
      throw invalid(`volume capacity ${JSON.stringify(value)}: give a size from 16M to 62T, such as 10G`);
    capacity = bytes;
  }
  return capacity;
}
