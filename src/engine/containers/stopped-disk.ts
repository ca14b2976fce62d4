/** The disks of a container that is not running, mounted in a loader VM. */
import type { LinkSession } from "../../link/contract.ts";
import type { DatastorePath } from "../../vsphere/contract.ts";
import type { EngineContext } from "../context.ts";
import { conflict, notImplemented } from "../errors.ts";
import { RW_DISK } from "../paths.ts";
import type { Container } from "./container.ts";
import { diskMounts } from "./container-events.ts";

/** Where a path of the container is: on its root disk, or on that of a volume or an image. */
export interface DiskLocation {
  disk: DatastorePath;
  /** Path on that disk. */
  path: string;
  readOnly: boolean;
}

export function locate(context: EngineContext, container: Container, path: string): DiskLocation {
  const absolute = path.startsWith("/") ? path : `/${path}`;
  const covers = ({ destination }: { destination: string }): boolean =>
    absolute === destination || absolute.startsWith(`${destination}/`);
  const bind = container.document.mounts.find((mount) => mount.type === "bind" && covers(mount));
  if (
    bind?.type === "bind" &&
    !diskMounts(container).some((mount) => covers(mount) && mount.destination.length > bind.destination.length)
  )
    throw notImplemented(
      `${path} is in the bind mount of ${bind.source}, which only a running container has: copy to or from ${bind.source} on the endpoint's machine, or start the container`,
    );
  const mount = diskMounts(container)
    .filter(covers)
    .sort((a, b) => b.destination.length - a.destination.length)[0];
  if (!mount)
    return {
      disk: `${context.paths.container(container.id)}/${RW_DISK}`,
      path: absolute,
      readOnly: container.document.hostConfig.ReadonlyRootfs === true,
    };
  const inside = absolute.slice(mount.destination.length) || "/";
  return {
    disk: mount.path,
    path: mount.subpath === undefined ? inside : `/${mount.subpath}${inside}`,
    readOnly: mount.readOnly,
  };
}

/** Mounted read-only unless `write`. Throws when the container is started meanwhile. */
export async function withStoppedDisk<T>(
  context: EngineContext,
  container: Container,
  work: (link: LinkSession, mount: string) => Promise<T>,
  options: { write: boolean; disk?: DatastorePath } = { write: false },
): Promise<T> {
  const path = options.disk ?? `${context.paths.container(container.id)}/${RW_DISK}`;
  return await context.loaders.use([{ path, readOnly: !options.write }], async ({ link, disks: [disk] }) => {
    if (container.isRunning || container.starting || !disk)
      throw conflict(`container ${container.name} was started meanwhile: try again`);
    const { mount } = await link.call("diskMount", { disk, readOnly: !options.write });
    try {
      return await work(link, mount);
    } finally {
      await link.call("diskUnmount", { mount });
    }
  });
}
