import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import {
  type ContainerConfiguration,
  DISK_LAYOUT,
  type MountConfiguration,
} from "../../src/link/guest-configuration.ts";
import { PATHS } from "../paths.ts";
import { MOUNT, makeNode, mount, NODE_TYPE, OPEN, open, openInRoot, RESOLVE } from "../system/libc.ts";
import { addDevice } from "./devices.ts";
import { blockDevice, DISK_WAIT_LIMIT, diskName, limitSize, mountDisk } from "./disks.ts";
import { ETC_FILES } from "./etc-files.ts";
import type { LaterMount } from "./later-mount.ts";
import { ensureDirectory, ensureFile, existsInRoot, withPathInRoot } from "./tree-path.ts";
import { waitForDevice } from "./uevents.ts";

const NOT_FOR_PROGRAMS = MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec;

/** Name, major, minor of the nodes that every container has. */
const NODES: [string, number, number][] = [
  ["null", 1, 3],
  ["zero", 1, 5],
  ["full", 1, 7],
  ["random", 1, 8],
  ["urandom", 1, 9],
  ["tty", 5, 0],
];

/** Where the disks of a container are mounted. */
export interface ContainerTree {
  /** Mount point of the RW disk. */
  disk: string;
  /** Directory of our own files on the RW disk. */
  private: string;
  /** Open directory: the container's root with everything mounted below it. */
  root: number;
}

const requireDevice = (disk: { bus: number; unit: number }): string => {
  const device = waitForDevice(() => blockDevice(disk), DISK_WAIT_LIMIT);
  if (device === undefined) throw new Error(`disk ${diskName(disk)} did not appear within ${DISK_WAIT_LIMIT / 1000} s`);
  return device;
};

/** Mounts the RW disk: the earliest point from which state and logs can be kept. */
export const mountRootDisk = (configuration: ContainerConfiguration): ContainerTree => {
  const device = requireDevice(configuration.rootDisk);
  const disk = mountDisk(device, "root", false);
  const privateDirectory = `${disk}/${DISK_LAYOUT.private}`;
  mkdirSync(`${privateDirectory}/${DISK_LAYOUT.logs}`, { recursive: true, mode: 0o700 });
  mkdirSync(PATHS.root, { recursive: true, mode: 0o755 });
  const content = `${disk}/${DISK_LAYOUT.content}`;
  if (configuration.rootSizeBytes !== undefined) limitSize(disk, device, configuration.rootSizeBytes);
  if (!existsSync(content)) mkdirSync(content, { mode: 0o755 });
  mount(content, PATHS.root, "", MOUNT.bind);
  return { disk, private: privateDirectory, root: open(PATHS.root, OPEN.readOnly) };
};

/**
 * Mounts everything that belongs into the container's root, and answers what must wait for the control link: what the
 * endpoint serves, and whatever may be mounted in it.
 */
export const buildRoot = (configuration: ContainerConfiguration, tree: ContainerTree): LaterMount[] => {
  const { root } = tree;
  const { privileged } = configuration.process;
  const at = (path: string, source: string, type: string, flags: number, data = ""): void => {
    ensureDirectory(root, path);
    withPathInRoot(root, path, (target) => mount(source, target, type, flags, data));
  };
  ensureDirectory(root, "/proc");
  at("/sys", "sysfs", "sysfs", NOT_FOR_PROGRAMS | (privileged ? 0 : MOUNT.readOnly));
  if (privileged) at("/dev", "devtmpfs", "devtmpfs", MOUNT.noSuid, "mode=755");
  else at("/dev", "tmpfs", "tmpfs", MOUNT.noSuid, "mode=755,size=65536k");
  withPathInRoot(root, "/dev", (dev) => fillDev(dev, privileged));
  at("/dev/pts", "devpts", "devpts", MOUNT.noSuid | MOUNT.noExec, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  at("/dev/shm", "shm", "tmpfs", NOT_FOR_PROGRAMS, `mode=1777,size=${configuration.shmSizeBytes}`);
  if (existsSync("/proc/sys/fs/mqueue")) at("/dev/mqueue", "mqueue", "mqueue", NOT_FOR_PROGRAMS);
  if (existsSync(PATHS.cgroup)) {
    withPathInRoot(root, "/sys/fs/cgroup", (target) => {
      mount(PATHS.cgroup, target, "", MOUNT.bind);
      const mode = privileged ? 0 : MOUNT.readOnly;
      withPathInRoot(root, "/sys/fs/cgroup", (top) =>
        mount("", top, "", MOUNT.bind | MOUNT.remount | NOT_FOR_PROGRAMS | mode),
      );
    });
  }
  for (const device of configuration.devices ?? []) addDevice(root, device);
  for (const name of ETC_FILES) {
    ensureFile(root, `/etc/${name}`);
    withPathInRoot(root, `/etc/${name}`, (target) => mount(`${tree.private}/${name}`, target, "", MOUNT.bind));
  }
  const byDepth = [...configuration.mounts].sort((a, b) => depth(a.destination) - depth(b.destination));
  const later: LaterMount[] = [];
  for (const [index, entry] of byDepth.entries()) {
    const served = entry.type === "share" || entry.type === "socket";
    if (served || later.length > 0) later.push(...prepareLater(root, entry, index, tree));
    else if (entry.type === "tmpfs") mountTmpfs(root, entry);
    else mountVolume(root, entry, index);
  }
  return later;
};

/** A mount for later. Nothing may be looked up in a share by this program, which serves it. */
const prepareLater = (root: number, entry: MountConfiguration, index: number, tree: ContainerTree): LaterMount[] => {
  switch (entry.type) {
    case "share":
      return [entry, ...(entry.destination === "/etc" ? ETC_FILES.map((name) => etcFile(tree, name)) : [])];
    case "socket":
      return [entry];
    case "tmpfs": {
      const { flags, data } = tmpfsOptions(entry);
      const { destination } = entry;
      return [
        {
          type: "mount",
          kind: "directory",
          destination,
          source: "tmpfs",
          fileSystem: "tmpfs",
          flags,
          data,
          remount: 0,
        },
      ];
    }
    case "volume":
      return [laterVolume(root, entry, index)];
  }
};

const etcFile = (tree: ContainerTree, name: string): LaterMount => ({
  type: "mount",
  kind: "file",
  destination: `/etc/${name}`,
  source: `${tree.private}/${name}`,
  fileSystem: "",
  flags: MOUNT.bind,
  data: "",
  remount: 0,
});

const laterVolume = (root: number, entry: VolumeMount, index: number): LaterMount => {
  const content = volumeContent(entry, index);
  if (entry.copyUp && existsInRoot(root, entry.destination)) copyUp(root, entry.destination, content);
  const volume = open(content, OPEN.readOnly);
  // Stays open: the path of the descriptor is what will be mounted.
  const source = openInRoot(volume, entry.subpath ?? "/", OPEN.path, 0, RESOLVE.inRoot | RESOLVE.noMagicLinks);
  closeSync(volume);
  return {
    type: "mount",
    kind: "directory",
    destination: entry.destination,
    source: `/proc/${process.pid}/fd/${source}`,
    fileSystem: "",
    flags: MOUNT.bind | MOUNT.recursive,
    data: "",
    remount: entry.readOnly ? MOUNT.bind | MOUNT.remount | MOUNT.readOnly : 0,
    done: () => closeSync(source),
  };
};

const depth = (path: string): number => path.split("/").filter((part) => part !== "").length;

const fillDev = (dev: string, privileged: boolean): void => {
  for (const [name, major, minor] of NODES) {
    const path = `${dev}/${name}`;
    if (!existsSync(path)) makeNode(path, NODE_TYPE.character | 0o666, major, minor);
    chmodSync(path, 0o666);
  }
  if (!existsSync(`${dev}/console`)) writeFileSync(`${dev}/console`, "", { mode: 0o600 });
  if (privileged) Bun.spawnSync([PATHS.busybox, "rm", "-f", `/proc/${process.pid}/fd/${dev.split("/").pop()}/ptmx`]);
  const links = { fd: "/proc/self/fd", stdin: "/proc/self/fd/0", stdout: "/proc/self/fd/1", stderr: "/proc/self/fd/2" };
  for (const [name, target] of Object.entries({ ...links, core: "/proc/kcore", ptmx: "pts/ptmx" })) {
    if (!existsSync(`${dev}/${name}`)) symlinkSync(target, `${dev}/${name}`);
  }
};

type VolumeMount = Extract<MountConfiguration, { type: "volume" }>;
type TmpfsMount = Extract<MountConfiguration, { type: "tmpfs" }>;

const TMPFS_FLAGS: Record<string, number> = {
  ro: MOUNT.readOnly,
  rw: 0,
  nosuid: MOUNT.noSuid,
  suid: 0,
  nodev: MOUNT.noDev,
  dev: 0,
  noexec: MOUNT.noExec,
  exec: 0,
  noatime: MOUNT.noAtime,
  relatime: MOUNT.relAtime,
};

const tmpfsOptions = (entry: TmpfsMount): { flags: number; data: string } => {
  let flags = MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec | (entry.readOnly ? MOUNT.readOnly : 0);
  const data: string[] = [];
  for (const option of entry.options) {
    if (option === "exec") flags &= ~MOUNT.noExec;
    else if (option === "suid") flags &= ~MOUNT.noSuid;
    else if (option === "dev") flags &= ~MOUNT.noDev;
    else if (option in TMPFS_FLAGS) flags |= TMPFS_FLAGS[option] ?? 0;
    else data.push(option);
  }
  if (entry.sizeBytes !== undefined) data.push(`size=${entry.sizeBytes}`);
  data.push(`mode=${(entry.mode ?? 0o1777).toString(8)}`);
  return { flags, data: data.join(",") };
};

const mountTmpfs = (root: number, entry: TmpfsMount): void => {
  const { flags, data } = tmpfsOptions(entry);
  ensureDirectory(root, entry.destination);
  withPathInRoot(root, entry.destination, (target) => mount("tmpfs", target, "tmpfs", flags, data));
};

/** The disk is mounted writable even for `:ro`: its journal may need replaying, and the image's content may be copied up. */
const volumeContent = (entry: VolumeMount, index: number): string =>
  `${mountDisk(requireDevice(entry.disk), `volume-${index}`, false)}/${DISK_LAYOUT.content}`;

const mountVolume = (root: number, entry: VolumeMount, index: number): void => {
  const content = volumeContent(entry, index);
  ensureDirectory(root, entry.destination);
  if (entry.copyUp) copyUp(root, entry.destination, content);
  const volume = open(content, OPEN.readOnly);
  try {
    withPathInRoot(volume, entry.subpath ?? "/", (source) =>
      withPathInRoot(root, entry.destination, (target) => mount(source, target, "", MOUNT.bind | MOUNT.recursive)),
    );
  } finally {
    closeSync(volume);
  }
  if (entry.readOnly) {
    withPathInRoot(root, entry.destination, (target) =>
      mount("", target, "", MOUNT.bind | MOUNT.remount | MOUNT.readOnly),
    );
  }
};

/** Docker: an empty volume takes over what the image has at the mount point, with its owner and mode. */
const copyUp = (root: number, destination: string, content: string): void => {
  if (readdirSync(content).length > 0) return;
  withPathInRoot(root, destination, (source, fd) => {
    if (readdirSync(source).length > 0) {
      const copy = Bun.spawnSync([PATHS.busybox, "cp", "-a", `/proc/${process.pid}/fd/${fd}/.`, `${content}/`], {
        env: {},
      });
      if (copy.exitCode !== 0)
        throw new Error(`copying ${destination} into the volume: ${copy.stderr.toString().trim()}`);
    }
    const { uid, gid, mode } = statSync(source);
    chownSync(content, uid, gid);
    chmodSync(content, mode & 0o7777);
  });
};
