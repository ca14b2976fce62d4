/** The source of a bind mount: whether it may be mounted, what it is, and how it is made when it is missing. */
import { mkdir, realpath, stat } from "node:fs/promises";
import { posix } from "node:path";
import { type EngineError, invalid, notImplemented } from "../errors.ts";
import type { BindSettings } from "./settings.ts";

/** Where clients expect Docker's socket; both are the endpoint's own, whatever else is there on its machine. */
const DOCKER_SOCKETS = ["/var/run/docker.sock", "/run/docker.sock"];
/** Files of the kernel, and devices: what they mean is bound to the machine that they are on. */
const KERNEL_TREES = ["/proc", "/sys", "/dev"];
const INSTEAD = "use a volume (-v name:/path), copy the files with docker cp, or build them into the image";

export interface BindSource {
  kind: "directory" | "file" | "socket";
  /** The directory that it must stay below; undefined where every path is allowed. */
  below: string | undefined;
  /** What a socket leads to. */
  socket?: { path: string; mode: number; uid: number; gid: number };
}

const within = (path: string, directory: string): boolean =>
  directory === "/" || path === directory || path.startsWith(`${directory}/`);

const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : "");

/** The path with its symlinks followed; of a missing one, as far as there is something. */
const realPathOf = async (path: string): Promise<string> => {
  try {
    return await realpath(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT" || path === "/") throw error;
    return posix.join(await realPathOf(posix.dirname(path)), posix.basename(path));
  }
};

const refused = ({ roots }: BindSettings, source: string): EngineError => {
  if (roots === "any" || roots.length > 0)
    return notImplemented(
      `bind mount of ${source} is not supported: this endpoint allows paths below ${roots === "any" ? "/" : roots.join(", ")} only (vch up --bind-root). Use one of these, or ${INSTEAD}`,
    );
  return notImplemented(
    `bind mount of ${source} is not supported: this endpoint shares no directory of its machine. Allow one with vch up --bind-root ${source}, or ${INSTEAD}`,
  );
};

/** The allowed directory that a path, with its symlinks followed, is in. Throws EngineError when there is none. */
const allowedRoot = async (settings: BindSettings, source: string): Promise<string | undefined> => {
  const { roots } = settings;
  if (roots.length === 0) throw refused(settings, source);
  if (roots === "any") return undefined;
  const real = await realPathOf(source);
  for (const root of roots) {
    const realRoot = await realpath(root).catch(() => undefined);
    if (realRoot !== undefined && within(real, realRoot)) return realRoot;
  }
  throw refused(settings, source);
};

/**
 * Looks at the source of a bind mount. Undefined when it is missing, unless `create`: then it becomes a directory, as dockerd
 * does for -v. Throws EngineError when it may not be mounted.
 */
export const findBindSource = async (
  settings: BindSettings,
  source: string,
  { create }: { create: boolean },
): Promise<BindSource | undefined> => {
  if (settings.dockerSocket !== "" && [...DOCKER_SOCKETS, settings.dockerSocket].includes(source)) {
    const { mode, uid, gid } = await stat(settings.dockerSocket);
    return { kind: "socket", below: undefined, socket: { path: settings.dockerSocket, mode: mode & 0o7777, uid, gid } };
  }
  if (KERNEL_TREES.some((tree) => within(source, tree)))
    throw notImplemented(
      `bind mount of ${source} is not supported: a container VM has its own kernel and devices. Use --device for a device of the VM, or --privileged for all of them`,
    );
  const below = await allowedRoot(settings, source);
  let found: Awaited<ReturnType<typeof stat>>;
  try {
    found = await stat(source);
  } catch (error) {
    if (!["ENOENT", "ENOTDIR"].includes(codeOf(error))) throw invalid(`bind mount of ${source}: ${reason(error)}`);
    if (!create) return undefined;
    await mkdir(source, { recursive: true, mode: 0o755 }).catch((problem: unknown) => {
      throw invalid(`error while creating mount source path '${source}': mkdir ${source}: ${reason(problem)}`);
    });
    return { kind: "directory", below };
  }
  if (found.isDirectory()) return { kind: "directory", below };
  if (found.isFile()) return { kind: "file", below };
  const { mode, uid, gid } = found;
  if (found.isSocket()) return { kind: "socket", below, socket: { path: source, mode: mode & 0o7777, uid, gid } };
  throw notImplemented(
    `bind mount of ${source} is not supported: it is neither a file, a directory nor a unix socket. Use --device for a device of the container's VM`,
  );
};

/** Go's words for what node:fs reports. */
const reason = (error: unknown): string => {
  const words: Record<string, string> = {
    EACCES: "permission denied",
    EROFS: "read-only file system",
    ENOTDIR: "not a directory",
    EEXIST: "file exists",
    ELOOP: "too many levels of symbolic links",
    ENAMETOOLONG: "file name too long",
    ENOSPC: "no space left on device",
  };
  return words[codeOf(error)] ?? (error instanceof Error ? error.message : String(error));
};
