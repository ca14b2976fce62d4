/**
 * Filesystem work on disks that no container is running on: a loader VM gets the disks attached and its tether does the work.
 */

import type { LinkSession } from "../../link/contract.ts";
import type { DiskAddress } from "../../link/guest-configuration.ts";
import type { DatastorePath } from "../../vsphere/contract.ts";

export interface LoaderDisk {
  path: DatastorePath;
  /** Attached independent_nonpersistent; to be mounted read-only. */
  readOnly: boolean;
  /** Make the file while attaching it. */
  create?: { capacityBytes?: number; parent?: DatastorePath };
}

export interface LoaderPool {
  /**
   * Attach the disks to a loader VM (started when none is idle), run `work`, and detach them again whatever happens.
   * `disks` has the address of each requested disk, in order. A file that `create` made stays when `work` fails:
   * the caller's commit marker decides, and removes it.
   */
  use<T>(disks: LoaderDisk[], work: (loader: { link: LinkSession; disks: DiskAddress[] }) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}
