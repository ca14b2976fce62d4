/** Where things are on the datastore. One directory per VCH; nothing of ours is outside of it. */
import type { DatastorePath } from "../vsphere/contract.ts";

/** Name of a container's RW disk in its VM's directory. */
export const RW_DISK = "rw.vmdk";
/** Name of the disk in its VM's directory that an image is mounted from. */
export const imageMountDisk = (index: number): string => `image-${index}.vmdk`;
/** Console log of kernel and tether. vSphere makes the file at power-on, so it also tells a VM that never ran. */
export const CONSOLE_LOG = "tether.debug";

export interface EnginePaths {
  root: DatastorePath;
  containers: DatastorePath;
  loaders: DatastorePath;
  volumes: DatastorePath;
  images: DatastorePath;
  networks: DatastorePath;
  container(id: string): DatastorePath;
  loader(id: string): DatastorePath;
  volume(name: string): DatastorePath;
  volumeDisk(name: string): DatastorePath;
  volumeRecord(name: string): DatastorePath;
  network(id: string): DatastorePath;
  /** Bootstrap ISOs, their records, and which one is the default. */
  isos: DatastorePath;
}

export function enginePaths(datastore: string, name: string): EnginePaths {
  const root = `[${datastore}] vch/${name}`;
  return {
    root,
    containers: `${root}/containers`,
    loaders: `${root}/loaders`,
    volumes: `${root}/volumes`,
    images: `${root}/images`,
    networks: `${root}/networks`,
    container: (id) => `${root}/containers/${id}`,
    loader: (id) => `${root}/loaders/${id}`,
    volume: (volume) => `${root}/volumes/${volume}`,
    volumeDisk: (volume) => `${root}/volumes/${volume}/volume.vmdk`,
    volumeRecord: (volume) => `${root}/volumes/${volume}/volume.json`,
    network: (id) => `${root}/networks/${id}.json`,
    isos: `${root}/iso`,
  };
}
