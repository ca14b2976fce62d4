import type { ShareConfiguration, SocketConfiguration } from "../../src/link/guest-configuration.ts";

/** A mount that waits for the control link: one that the endpoint serves, or one whose mount point may be in such a one. */
export type LaterMount =
  | ShareConfiguration
  | SocketConfiguration
  | {
      type: "mount";
      kind: "directory" | "file";
      destination: string;
      source: string;
      /** Name of the file system; empty for a bind mount. */
      fileSystem: string;
      /** Flags and data of mount(2). */
      flags: number;
      data: string;
      /** Flags of a second mount(2) that changes the first; 0 for none. */
      remount: number;
      /** Called once it is mounted. */
      done?: () => void;
    };
