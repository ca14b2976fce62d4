/** The RW disk of a container that is not running, mounted in a loader VM. */
import type { LinkSession } from "../../link/contract.ts";
import type { EngineContext } from "../context.ts";
import { conflict } from "../errors.ts";
import { RW_DISK } from "../paths.ts";
import type { Container } from "./container.ts";

/** Read-only unless `write`. Throws when the container is started meanwhile. */
export async function withStoppedDisk<T>(
  context: EngineContext,
  container: Container,
  work: (link: LinkSession, mount: string) => Promise<T>,
  options: { write: boolean } = { write: false },
): Promise<T> {
  const path = `${context.paths.container(container.id)}/${RW_DISK}`;
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
