/** Where the image store keeps things on the datastore. See docs of each marker in records.ts. */
import type { DatastorePath } from "../../vsphere/contract.ts";

export interface ImageLayout {
  root: DatastorePath;
  disks: DatastorePath;
  images: DatastorePath;
  /** Layers of `docker load` wait here for their turn. Emptied at each start. */
  incoming: DatastorePath;
  /** Compressed layers, for push and save. */
  blobs: DatastorePath;
  repositories: DatastorePath;
  disk(name: string): { directory: DatastorePath; file: DatastorePath; marker: DatastorePath };
  image(id: string): {
    directory: DatastorePath;
    config: DatastorePath;
    manifest: DatastorePath;
    marker: DatastorePath;
  };
}

/** The hex digits of `sha256:…`: a colon is not for file names. */
export const hexOf = (digest: string): string => digest.slice(digest.indexOf(":") + 1);

export function imageLayout(root: DatastorePath): ImageLayout {
  const disks = `${root}/disks`;
  const images = `${root}/images`;
  return {
    root,
    disks,
    images,
    incoming: `${root}/incoming`,
    blobs: `${root}/blobs`,
    repositories: `${root}/repositories.json`,
    disk: (name) => ({
      directory: `${disks}/${name}`,
      file: `${disks}/${name}/disk.vmdk`,
      marker: `${disks}/${name}/disk.json`,
    }),
    image: (id) => ({
      directory: `${images}/${hexOf(id)}`,
      config: `${images}/${hexOf(id)}/config.json`,
      manifest: `${images}/${hexOf(id)}/manifest.json`,
      marker: `${images}/${hexOf(id)}/image.json`,
    }),
  };
}
