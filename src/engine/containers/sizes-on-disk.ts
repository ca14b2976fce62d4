/** Sizes of `docker ps -s`: what the RW disk takes on the datastore, and that plus the image. */
import type { EngineContext } from "../context.ts";
import { RW_DISK } from "../paths.ts";
import type { Container } from "./container.ts";

/** The RW disk's files: descriptor, and extents named after it (`rw-delta.vmdk`, `rw-000001-sesparse.vmdk` …). */
const DISK_FILE = new RegExp(`^${RW_DISK.replace(".vmdk", "")}[\\w-]*\\.vmdk$`);

export async function containerSizes(
  context: EngineContext,
  container: Container,
): Promise<{ rw: number; root: number }> {
  const entries = await context.vsphere.files.list(context.paths.container(container.id));
  const rw = entries
    .filter((entry) => !entry.directory && DISK_FILE.test(entry.name))
    .reduce((sum, entry) => sum + entry.size, 0);
  return { rw, root: rw + container.document.image.sizeBytes };
}
