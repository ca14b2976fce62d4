/** What a create request wants mounted where: -v, --mount, --tmpfs, --volumes-from and the image's VOLUMEs. */
import { posix } from "node:path";
import type { HostConfig, Schemas } from "../contract.ts";
import { invalid, notImplemented } from "../errors.ts";
import { NAME_CHARACTERS, NAME_RULE } from "../identifiers.ts";
import { type PlannedBind, parseBindMount, parseBindText } from "./bind-mount.ts";
import type { BindMount, TmpfsMount, VolumeMount } from "./document.ts";
import { parseSize } from "./sizes.ts";

export interface PlannedVolume {
  type: "volume";
  /** Undefined for an anonymous volume. */
  name: string | undefined;
  destination: string;
  readOnly: boolean;
  copyUp: boolean;
  subpath?: string;
  mode: string;
  driver?: string;
  driverOptions: Record<string, string>;
  labels: Record<string, string>;
}

export interface PlannedImage {
  type: "image";
  reference: string;
  destination: string;
  readOnly: boolean;
  subpath?: string;
}

export type PlannedMount = PlannedVolume | TmpfsMount | PlannedImage | PlannedBind;

const TMPFS_FLAGS = new Set([
  "ro",
  "rw",
  "exec",
  "noexec",
  "suid",
  "nosuid",
  "dev",
  "nodev",
  "sync",
  "async",
  "dirsync",
  "atime",
  "noatime",
  "diratime",
  "nodiratime",
  "relatime",
  "norelatime",
  "strictatime",
  "nostrictatime",
  "mand",
  "nomand",
]);
const TMPFS_VALUES = /^(uid|gid|nr_inodes|nr_blocks|mpol|huge)=[\w.:%,-]+$/;

/** All mounts in order of precedence; a destination twice is refused, except that VOLUMEs yield to explicit mounts. */
export function planMounts(
  hostConfig: Partial<HostConfig>,
  configVolumes: readonly string[],
  inherited: readonly (VolumeMount | BindMount)[],
): PlannedMount[] {
  const plan = new Map<string, PlannedMount>();
  const add = (mount: PlannedMount): void => {
    if (plan.has(mount.destination)) throw invalid(`Duplicate mount point: ${mount.destination}`);
    plan.set(mount.destination, mount);
  };
  for (const bind of hostConfig.Binds ?? []) add(parseBind(bind, hostConfig.VolumeDriver));
  for (const mount of hostConfig.Mounts ?? []) add(parseMount(mount));
  for (const [destination, options] of Object.entries(hostConfig.Tmpfs ?? {}))
    add(parseTmpfs(checkDestination(destination), options));
  for (const mount of inherited)
    if (plan.has(mount.destination)) continue;
    else if (mount.type === "bind") plan.set(mount.destination, mount);
    else
      plan.set(mount.destination, {
        type: "volume",
        name: mount.name,
        destination: mount.destination,
        readOnly: mount.readOnly,
        copyUp: mount.copyUp,
        ...(mount.subpath === undefined ? {} : { subpath: mount.subpath }),
        mode: mount.mode,
        driverOptions: {},
        labels: {},
      });
  for (const volume of configVolumes) {
    const destination = checkDestination(volume);
    if (!plan.has(destination)) plan.set(destination, anonymous(destination, hostConfig.VolumeDriver));
  }
  return [...plan.values()];
}

function anonymous(destination: string, driver: string | undefined): PlannedVolume {
  return {
    type: "volume",
    name: undefined,
    destination,
    readOnly: false,
    copyUp: true,
    mode: "",
    ...(driver ? { driver } : {}),
    driverOptions: {},
    labels: {},
  };
}

function checkDestination(text: string): string {
  if (!posix.isAbsolute(text)) throw invalid(`invalid mount path: '${text}' mount path must be absolute`);
  const path = posix.normalize(text).replace(/(.)\/$/, "$1");
  if (path === "/") throw invalid(`invalid specification: destination can't be '/'`);
  return path;
}

/** `[name:]destination[:options]`, with an absolute path for a name a bind mount. */
export function parseBind(text: string, driver: string | undefined): PlannedVolume | PlannedBind {
  const parts = text.split(":");
  if (parts.length > 3 || parts.some((part) => part === "")) throw invalid(`invalid volume specification: '${text}'`);
  if (parts.length === 1) return anonymous(checkDestination(text), driver);
  const [source = "", target = "", mode = ""] = parts;
  if (posix.isAbsolute(source)) return parseBindText(source, checkDestination(target), mode);
  if (!NAME_RULE.test(source))
    throw invalid(
      `${JSON.stringify(source)} includes invalid characters for a local volume name, only ${JSON.stringify(NAME_CHARACTERS)} are allowed. If you intended to pass a host directory, use absolute path`,
    );
  const options = mode === "" ? [] : mode.split(",");
  for (const option of options) {
    if (["z", "Z"].includes(option))
      throw notImplemented(`volume option ${option} is not supported: a container VM has no SELinux; leave it out`);
    if (!["rw", "ro", "nocopy"].includes(option)) throw invalid(`invalid mode: ${mode}`);
  }
  return {
    type: "volume",
    name: source,
    destination: checkDestination(target),
    readOnly: options.includes("ro"),
    copyUp: !options.includes("nocopy"),
    mode,
    ...(driver ? { driver } : {}),
    driverOptions: {},
    labels: {},
  };
}

/** `--mount`, as the API carries it. */
export function parseMount(mount: Schemas["Mount"]): PlannedMount {
  const destination = checkDestination(mount.Target ?? "");
  switch (mount.Type) {
    case "volume": {
      const options: Partial<NonNullable<Schemas["Mount"]["VolumeOptions"]>> = mount.VolumeOptions ?? {};
      const name = mount.Source || undefined;
      if (name !== undefined && !NAME_RULE.test(name))
        throw invalid(
          `invalid mount config for type "volume": ${JSON.stringify(name)} includes invalid characters for a local volume name, only ${JSON.stringify(NAME_CHARACTERS)} are allowed`,
        );
      const subpath = checkSubpath("volume", options.Subpath);
      return {
        type: "volume",
        name,
        destination,
        readOnly: mount.ReadOnly === true,
        copyUp: options.NoCopy !== true,
        ...(subpath === undefined ? {} : { subpath }),
        mode: "",
        ...(options.DriverConfig?.Name ? { driver: options.DriverConfig.Name } : {}),
        driverOptions: options.DriverConfig?.Options ?? {},
        labels: options.Labels ?? {},
      };
    }
    case "tmpfs": {
      const options = mount.TmpfsOptions ?? {};
      if (mount.Source) throw invalid(`invalid mount config for type "tmpfs": field Source must not be specified`);
      return {
        type: "tmpfs",
        destination,
        readOnly: mount.ReadOnly === true,
        ...(options.SizeBytes ? { sizeBytes: options.SizeBytes } : {}),
        ...(options.Mode === undefined ? {} : { mode: options.Mode }),
        options: (options.Options ?? []).map((option) => tmpfsOption(option.join("="))),
      };
    }
    case "bind":
      return parseBindMount(mount, destination);
    case "image": {
      if (!mount.Source) throw invalid(`invalid mount config for type "image": field Source must not be empty`);
      const subpath = checkSubpath("image", mount.ImageOptions?.Subpath);
      return {
        type: "image",
        reference: mount.Source,
        destination,
        readOnly: mount.ReadOnly === true,
        ...(subpath === undefined ? {} : { subpath }),
      };
    }
    case "cluster":
    case "npipe":
      throw notImplemented(`mount type ${mount.Type} is not supported: it belongs to swarm and Windows. Use a volume`);
    default:
      throw invalid(`invalid mount config for type ${JSON.stringify(mount.Type ?? "")}: mount type unknown`);
  }
}

function checkSubpath(type: string, subpath: string | undefined): string | undefined {
  if (!subpath) return undefined;
  if (posix.isAbsolute(subpath) || subpath.split("/").includes(".."))
    throw invalid(`invalid mount config for type "${type}": invalid subpath ${JSON.stringify(subpath)}`);
  return subpath;
}

function tmpfsOption(option: string): string {
  if (!TMPFS_FLAGS.has(option) && !TMPFS_VALUES.test(option))
    throw invalid(`invalid tmpfs option ${JSON.stringify(option)}`);
  return option;
}

/** `--tmpfs /path:size=64m,mode=1777,noexec` */
export function parseTmpfs(destination: string, text: string): TmpfsMount {
  const mount: TmpfsMount = { type: "tmpfs", destination, readOnly: false, options: [] };
  for (const option of text === "" ? [] : text.split(",")) {
    const [key = "", value] = option.split("=", 2);
    if (key === "size" && value !== undefined) {
      const size = parseSize(value);
      if (size === undefined) throw invalid(`invalid tmpfs option ${JSON.stringify(option)}`);
      mount.sizeBytes = size;
    } else if (key === "mode" && value !== undefined && /^[0-7]{3,4}$/.test(value)) {
      mount.mode = Number.parseInt(value, 8);
    } else if (option === "ro") {
      mount.readOnly = true;
    } else if (option !== "rw") {
      mount.options.push(tmpfsOption(option));
    }
  }
  return mount;
}
