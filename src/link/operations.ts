/**
 * Operations on the control link: what the engine may ask of a tether and what comes back.
 *
 * The engine opens a channel with a request (one JSON object). The tether answers with control messages (JSON) and data
 * frames on numbered streams. Every channel ends with exactly one `close`, with or without an error.
 * Frames, flow control and limits are in session.ts.
 */
import type {
  DiskAddress,
  GuestLimits,
  GuestState,
  HealthStatus,
  NetworkConfiguration,
  PeerNetwork,
  ProcessConfiguration,
  RestartPolicy,
} from "./guest-configuration.ts";

/** Data streams of a channel. Towards the guest only `stdin` is used. Tar archives and log records use `stdout`. */
export const STREAM = { stdin: 0, stdout: 1, stderr: 2 } as const;

/** The main process, or an exec by its id. */
export type ProcessTarget = "main" | { exec: string };

/** Where an archive or file operation works: the running container's root, or a disk mounted by a loader. */
export type TreeTarget = "container" | { mount: string };

export interface FileStat {
  name: string;
  size: number;
  /** As Go's os.FileMode (what Docker's X-Docker-Container-Path-Stat carries). */
  mode: number;
  /** RFC 3339 with nanoseconds. */
  mtime: string;
  linkTarget: string;
}

export interface LayerStatistics {
  /** Bytes of regular file content written. */
  bytes: number;
  entries: number;
}

export interface GuestStatistics {
  readAt: string;
  cpu: {
    totalNanoseconds: number;
    systemNanoseconds: number;
    userNanoseconds: number;
    kernelNanoseconds: number;
    online: number;
    /** How often the CPU limit held the container back; older tethers do not tell. */
    throttling?: { periods: number; throttledPeriods: number; throttledNanoseconds: number };
  };
  memory: { usageBytes: number; limitBytes: number; statistics: Record<string, number> };
  pids: number;
  networks: Record<
    string,
    {
      rxBytes: number;
      rxPackets: number;
      rxErrors: number;
      rxDropped: number;
      txBytes: number;
      txPackets: number;
      txErrors: number;
      txDropped: number;
    }
  >;
  block: { major: number; minor: number; operation: "read" | "write"; bytes: number; operations: number }[];
}

/** Requests with the shape of their one-message answer. `undefined` means an empty answer. */
export interface Calls {
  /** Signal number. Fails with code "not-running" if the process has ended. */
  signal: { request: { process: ProcessTarget; signal: number }; response: undefined };
  resize: { request: { process: ProcessTarget; rows: number; columns: number }; response: undefined };
  /** Ask the process to stop (configured signal unless given), wait, then SIGKILL. Answers when it is gone. No restart follows. */
  stop: { request: { signal?: number; timeoutSeconds?: number }; response: GuestState };
  /** Freeze all processes of the container; answers when they stand still. Fails with "not-running", or "busy" when they do not come to a stop. */
  pause: { request: Record<string, never>; response: undefined };
  unpause: { request: Record<string, never>; response: undefined };
  /** New limits and restart policy; what is left out of `limits` is no longer limited. */
  update: { request: { limits: GuestLimits; restart: RestartPolicy }; response: undefined };
  /** The engine has stored the exit state: the VM may power off. */
  acknowledgeExit: { request: Record<string, never>; response: undefined };
  state: { request: Record<string, never>; response: GuestState };
  top: { request: { arguments: string }; response: { titles: string[]; processes: string[][] } };
  statistics: { request: Record<string, never>; response: GuestStatistics };
  /**
   * The container's networks as they are now: interfaces that are new are waited for and set up, others are taken down.
   * `endpoints` replaces where the control link calls. Repeating it changes nothing.
   */
  configureNetwork: { request: { network: NetworkConfiguration; endpoints: string[] }; response: undefined };
  /** The whole table of the container's peers, for its resolver. */
  setPeers: { request: { networks: PeerNetwork[] }; response: undefined };
  pathStat: { request: { tree: TreeTarget; path: string }; response: FileStat };
  /** Loader: wait until the disk is visible, then make an ext4 filesystem with our layout. `label` at most 16 bytes. */
  diskFormat: { request: { disk: DiskAddress; label: string }; response: undefined };
  /** Loader: mount a disk; answers the mount's id. */
  diskMount: { request: { disk: DiskAddress; readOnly: boolean }; response: { mount: string } };
  /** Loader: sync and unmount; afterwards the disk may be detached. Also deletes the SCSI device. */
  diskUnmount: { request: { mount: string }; response: undefined };
  /** Loader: let the filesystem of a mounted disk take all of a disk that has become larger; answers the disk's size. */
  diskGrow: { request: { mount: string }; response: { totalBytes: number } };
  /** Loader: used and total bytes of a mounted disk's content. */
  diskUsage: { request: { mount: string }; response: { usedBytes: number; totalBytes: number } };
  /** Loader: the last GuestState that a container's tether wrote on its RW disk, or null. */
  diskState: { request: { mount: string }; response: GuestState | null };
  /** Sync, unmount and power the VM off (a loader's end; a container is stopped with `stop`). */
  shutdown: { request: Record<string, never>; response: undefined };
}

/** Requests that stream. The comments give the control messages sent back, in order. */
export interface Streams {
  /**
   * stdio of the main process. `fromStart` replays this run's output first.
   * Controls back: `{ exited: exitCode }` when the process ends and all its output was sent.
   * Ending the stdin stream half-closes the process's stdin (subject to stdinOnce).
   */
  attach: { request: { stdin: boolean; stdout: boolean; stderr: boolean; fromStart: boolean } };
  /** Start another process. Controls back: `{ started: pid }` or a close with an error; then `{ exited: exitCode }`. */
  exec: { request: { id: string; process: ProcessConfiguration; detach: boolean } };
  /**
   * Log records on stdout stream: u8 stream (1|2), u64 big-endian nanoseconds since the epoch, u32 big-endian length, bytes.
   * `since`/`until` in nanoseconds as decimal strings; `tail` counts lines, -1 for all. In a loader, `tree` names the mount.
   */
  logs: {
    request: {
      tree: TreeTarget;
      since?: string;
      until?: string;
      tail: number;
      follow: boolean;
      stdout: boolean;
      stderr: boolean;
    };
  };
  /** Tar of a path (Docker's GET archive rules). Control first: FileStat. */
  archiveRead: { request: { tree: TreeTarget; path: string } };
  /** Unpack a tar (stdin stream) into a directory (Docker's PUT archive rules). Control at the end: LayerStatistics. */
  archiveWrite: {
    request: {
      tree: TreeTarget;
      path: string;
      noOverwriteDirNonDir: boolean;
      copyOwner: boolean;
      /** With `copyOwner`, for a loader: the container's user, which a running container knows itself. */
      user?: string;
    };
  };
  /** Loader: apply one image layer (uncompressed tar on stdin stream) with OCI whiteouts. Control at the end: LayerStatistics. */
  layerApply: { request: { mount: string } };
  /** Tar of the whole content of a disk, of a running container its root disk without mounts (docker export). */
  treeExport: { request: { tree: TreeTarget } };
  /** What is on a disk, in the order of a walk, as records on the stdout stream: see tree-record.ts. Mounts as with treeExport. */
  treeList: { request: { tree: TreeTarget } };
  /**
   * A tar of single paths. The stdin stream carries them, each a letter, the path without a slash in front, and a NUL:
   * `P` packs the file or directory itself, `D` makes an OCI whiteout. A path that has vanished is left out.
   */
  layerPack: { request: { tree: TreeTarget } };
  /** Keep all processes frozen for as long as the channel is open; ends by itself with the session. Control: `{ frozen: true }`. */
  freeze: { request: Record<string, never> };
  /**
   * Opened by the tether: file operations on the container's bind mounts, as src/format/file-share has them, on the stdout
   * stream in both directions. Control back: `{ serving: true }` before the first reply.
   */
  share: { request: Record<string, never> };
  /**
   * Opened by the tether: a connection to the socket that bind mount number `index` of the container is. Bytes on the stdin
   * stream to the socket, on the stdout stream from it. Control back: `{ connected: true }`.
   */
  socket: { request: { index: number } };
}

export interface HealthProbe {
  /** RFC 3339 with nanoseconds. */
  start: string;
  end: string;
  exitCode: number;
  output: string;
}

/** Unasked messages from the tether to the engine, on a channel that the tether opens with op `event`. */
export type GuestEvent =
  | { type: "state"; state: GuestState }
  /** After each probe, and at the start of each session: the last probes, oldest first. */
  | { type: "health"; status: HealthStatus; failingStreak: number; log: HealthProbe[] }
  | { type: "oom" };

/** Codes of errors that cross the link; the message is for people. */
export type LinkErrorCode =
  | "not-found"
  | "not-running"
  | "not-executable"
  | "not-a-directory"
  | "permission"
  | "no-space"
  | "read-only"
  | "invalid"
  | "busy"
  | "exists"
  | "no-such-user"
  | "bad-working-directory"
  | "unsupported"
  /** The session ended before the answer. */
  | "disconnected"
  | "internal";
