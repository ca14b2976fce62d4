/** The bind mounts of a container, at create and at every start. */
import type { Container } from "../containers/container.ts";
import type { PlannedBind } from "../containers/bind-mount.ts";
import type { BindMount, MountRecord } from "../containers/document.ts";
import { EngineError, invalid } from "../errors.ts";
import { type BindSource, findBindSource } from "./source.ts";
import type { BindSettings } from "./settings.ts";

const recordOf = (mount: PlannedBind | BindMount, found: BindSource | undefined): BindMount => ({
  type: "bind",
  source: mount.source,
  destination: mount.destination,
  readOnly: mount.readOnly,
  createSource: mount.createSource,
  nonRecursive: mount.nonRecursive,
  propagation: mount.propagation,
  mode: mount.mode,
  // A directory is what becomes of a missing source.
  kind: found?.kind ?? "directory",
  ...(found?.socket ? { socketFile: { mode: found.socket.mode, uid: found.socket.uid, gid: found.socket.gid } } : {}),
});

/** Throws EngineError when the source may not be mounted, or is missing although it must be there. */
export const bindRecord = async (settings: BindSettings, planned: PlannedBind): Promise<BindMount> => {
  const found = await findBindSource(settings, planned.source, { create: false });
  if (found === undefined && !planned.createSource)
    throw invalid(`invalid mount config for type "bind": bind source path does not exist: ${planned.source}`);
  return recordOf(planned, found);
};

/** Makes missing sources and looks anew what they are. Throws EngineError. */
export const prepareBinds = async (settings: BindSettings, { document }: Container): Promise<void> => {
  const mounts: MountRecord[] = [];
  for (const mount of document.mounts) {
    if (mount.type !== "bind") {
      mounts.push(mount);
      continue;
    }
    const found = await findBindSource(settings, mount.source, { create: mount.createSource });
    if (found === undefined)
      throw new EngineError(
        "internal",
        `failed to create task for container: error mounting "${mount.source}" to rootfs at "${mount.destination}": no such file or directory`,
      );
    mounts.push(recordOf(mount, found));
  }
  document.mounts = mounts;
};

/** Files and directories among the binds, in the order of their numbers on the control link. */
export const sharesOf = (mounts: readonly MountRecord[]): BindMount[] =>
  mounts.filter((mount): mount is BindMount => mount.type === "bind" && mount.kind !== "socket");

/** Sockets among the binds, in the order of their numbers on the control link. */
export const socketsOf = (mounts: readonly MountRecord[]): BindMount[] =>
  mounts.filter((mount): mount is BindMount => mount.type === "bind" && mount.kind === "socket");
